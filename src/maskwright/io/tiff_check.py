"""What a TIFF file declares, checked before any pixel is decoded."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from maskwright.errors import ImageReadError
from maskwright.io.image import MAX_PIXELS
from maskwright.io.stored import damaged, refusal

if TYPE_CHECKING:
    import tifffile

MOST_CHUNK_BYTES = 8 * MAX_PIXELS
"""Largest size of a part that has to be decoded as a whole."""

_NEW_SUBFILE_TYPE = 254
_REDUCED_OR_TRANSPARENCY = 0b101  # bits of NewSubfileType: a smaller version, a transparency mask
_MAX_PAGES = 100_000


def tifffile_library() -> Any:
    """The library, with its log kept from the terminal: what matters is raised."""
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return tifffile


def count_pages(path: Path) -> int:
    """Follow the chain of pages; smaller versions and transparency masks do not count.

    The chain is checked here because a library that reads leniently would pass over a circle or
    a page beyond the end of the file.

    Args:
        path: A file whose first bytes are those of a TIFF.

    Raises:
        ImageReadError: ``tiff-circular-pages``, ``image-truncated`` or ``image-damaged``.
    """
    with path.open("rb") as stream:
        return _count_pages(stream, path)


def _count_pages(stream: IO[bytes], path: Path) -> int:
    """Follow the chain of pages; smaller versions and transparency masks do not count.

    The chain is checked here because a library that reads leniently would pass over a circle or
    a page beyond the end of the file.
    """
    start = stream.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    offset = struct.unpack(order + ("Q" if big else "I"), start[8:16] if big else start[4:8])[0]
    count_format, entry_bytes = (order + "Q", 20) if big else (order + "H", 12)
    offset_format = order + ("Q" if big else "I")
    end = stream.seek(0, 2)
    seen: set[int] = set()
    pages = 0
    while offset:
        if offset in seen or len(seen) >= _MAX_PAGES:
            raise ImageReadError(
                "tiff-circular-pages",
                str(path),
                expected="pages in a row",
                found="a page that points back",
                remedy="export the image again",
            )
        if offset >= end:
            raise ImageReadError(
                "image-truncated",
                str(path),
                expected="a whole TIFF file",
                found="a page that lies behind the end of the file",
                remedy="copy the file again from its source",
            )
        seen.add(offset)
        stream.seek(offset)
        (entries,) = struct.unpack(count_format, stream.read(struct.calcsize(count_format)))
        if entries > 4096:
            raise damaged(path, f"a page with {entries} tags")
        table = stream.read(entries * entry_bytes)
        pages += not _is_extra_page(table, order, entry_bytes)
        (offset,) = struct.unpack(offset_format, stream.read(struct.calcsize(offset_format)))
    if not seen:
        raise damaged(path, "a TIFF file without a page")
    return pages


def _is_extra_page(table: bytes, order: str, entry_bytes: int) -> bool:
    for at in range(0, len(table) - entry_bytes + 1, entry_bytes):
        (tag,) = struct.unpack_from(order + "H", table, at)
        if tag == _NEW_SUBFILE_TYPE:
            (value,) = struct.unpack_from(order + "I", table, at + (12 if entry_bytes == 20 else 8))
            return bool(value & _REDUCED_OR_TRANSPARENCY)
    return False


def is_extra(page: tifffile.TiffPage) -> bool:
    """Whether a page is a smaller version of another, or its transparency."""
    return bool(int(page.subfiletype) & _REDUCED_OR_TRANSPARENCY)


def check_metadata(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse a description that an XML reader could be made to expand without end."""
    if "<!DOCTYPE" in page.description or "<!ENTITY" in page.description:
        remedy, found = "export the image again without metadata", "metadata with a document type"
        raise refusal("tiff-xml-dtd", path, "plain metadata", f"{found} definition", remedy)


def check_page(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse a page that cannot be read as an image.

    Raises:
        ImageReadError: ``image-damaged``, ``image-unsupported``, ``image-pixel-bomb`` for what is
            too large to decode in one part, or ``tiff-xml-dtd``.
    """
    samples = max(1, page.samplesperpixel)
    pixel_bytes = samples * (8 if page.dtype is None else np.dtype(page.dtype).itemsize)
    if samples > 64 or math.prod(page.chunks) * pixel_bytes > MOST_CHUNK_BYTES:
        raise pixel_bomb(page, path)
    if page.imagewidth * page.imagelength * max(1, page.imagedepth) < 1:
        raise damaged(path, f"{page.imagewidth} × {page.imagelength} pixels")
    check_metadata(page, path)
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        raise _unsupported(path, f"pixels of {page.bitspersample} bits in an unknown form")
    if page.photometric not in (0, 1, 2, 3, 4) and not (
        page.photometric == 6 and page.compression in (6, 7, 34892)
    ):
        raise _unsupported(path, f"colours as {getattr(page.photometric, 'name', 'unknown')}")


def check_size(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse a page that is too large to be decoded as a whole.

    Raises:
        ImageReadError: ``image-pixel-bomb``.
    """
    pixels = page.imagewidth * page.imagelength * max(1, page.imagedepth)
    samples = max(1, page.samplesperpixel)
    pixel_bytes = samples * (8 if page.dtype is None else np.dtype(page.dtype).itemsize)
    if pixels > MAX_PIXELS or pixels * pixel_bytes > 8 * MAX_PIXELS:
        raise pixel_bomb(page, path)


def check_parts(pages: Sequence[tifffile.TiffPage | tifffile.TiffFrame], path: Path) -> None:
    """Refuse pages of which a strip or tile is not in the file; it would be read as zeros.

    Raises:
        ImageReadError: ``image-truncated``.
    """
    for page in pages:
        keyframe = page.keyframe
        if keyframe is None:
            raise missing_rows(path)
        expected = math.prod(keyframe.chunked)
        end = page.parent.filehandle.size
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if len(parts) < expected or any(n < 1 or at + n > end for at, n in parts):
            raise missing_rows(path)


def missing_rows(path: Path) -> ImageReadError:
    """What is told of a file that ends before its pixels do."""
    remedy = "copy the file again from its source"
    return refusal("image-truncated", path, "a whole TIFF file", "missing rows", remedy)


def pixel_bomb(page: tifffile.TiffPage, path: Path) -> ImageReadError:
    """What is told of a page that is too large."""
    return refusal(
        "image-pixel-bomb",
        path,
        f"at most {MAX_PIXELS} pixels",
        f"{page.imagewidth} × {page.imagelength} with {page.samplesperpixel} channels",
        "cut the image into parts of at most 20000 × 20000 pixels",
    )


def _unsupported(path: Path, found: str) -> ImageReadError:
    expected, remedy = "grey, RGB or indexed colours", "save it as an 8 or 16-bit grey or RGB TIFF"
    return refusal("image-unsupported", path, expected, found, remedy)
