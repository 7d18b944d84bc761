"""TIFF, read and written with tifffile: one page of 1 to 64 bits, grey, colour or indexed."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError, OutputError
from maskwright.io import tiff_tags
from maskwright.io.image import (
    DECODER_ERRORS,
    MAX_PIXELS,
    Header,
    Image,
    apply_orientation,
    apply_orientation_to_pair,
    check_finite,
    out_of_memory,
)

if TYPE_CHECKING:
    import tifffile

_NEW_SUBFILE_TYPE = 254
_REDUCED_OR_TRANSPARENCY = 0b101  # bits of NewSubfileType: a smaller version, a transparency mask
_MAX_PAGES = 100_000


def read_tiff(path: Path, expand: bool) -> Image:
    """Read a TIFF file of one page.

    The pixel size is taken from ImageJ or OME metadata, or from a resolution given in
    centimetres; one given in inches is most often a printing default and is not used.

    Args:
        path: The file, whose first bytes are those of a TIFF.
        expand: Whether a palette becomes RGB (images) or stays an index (masks).

    Returns:
        Pixels of shape ``(C, Y, X)``, alpha left out, turned as the orientation tag asks.

    Raises:
        ImageReadError: When the file cannot be decoded, has several pages, or NaN pixels.

    Source: TIFF 6.0 (Adobe, 1992); BigTIFF.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.ones((1, 2, 3), np.uint8), spacing_mm=(0.5, 0.25)))
        ...     read_tiff(path, False).spacing_mm
        (0.5, 0.25)
    """
    with _opened(path) as (file, page):
        orientation = tiff_tags.orientation(page)
        array_CYX = _channels_first(page, _decode(page, path), path)
        palette = tiff_tags.palette(page)
        spacing = tiff_tags.spacing_mm(file, page)
    if expand and page.photometric == 0:
        # Min-is-white images are stored upside down. Masks stay as stored: ImageJ and tifffile
        # write what was drawn as the higher value here too.
        if array_CYX.dtype == np.bool_:
            array_CYX = ~array_CYX
        elif array_CYX.dtype.kind == "u":
            array_CYX = np.iinfo(array_CYX.dtype).max - array_CYX
    if palette is not None and expand:
        array_CYX, palette = np.moveaxis(palette[array_CYX[0]], -1, 0), None
    if not array_CYX.dtype.isnative:
        array_CYX = array_CYX.astype(array_CYX.dtype.newbyteorder("="))
    check_finite(array_CYX, path)
    if spacing is not None:
        spacing = apply_orientation_to_pair(spacing, orientation)
    return Image(
        apply_orientation(array_CYX, orientation),
        spacing_mm=spacing,
        palette=palette,
        exif_turned=orientation != 1,
    )


def read_tiff_header(path: Path) -> Header:
    """Read what a TIFF file says of itself.

    Args:
        path: The file.

    Returns:
        The header, of the image as :func:`read_tiff` gives it with ``expand``.

    Raises:
        ImageReadError: When the file cannot be read or has several pages.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.ones((1, 2, 3), np.uint8)))
        ...     read_tiff_header(path).size
        (2, 3)
    """
    with _opened(path) as (_, page):
        size = apply_orientation_to_pair(
            (page.imagelength, page.imagewidth), tiff_tags.orientation(page)
        )
        if page.photometric == 3:
            return Header(size, 3, "uint8", "TIFF")
        channels = page.samplesperpixel - tiff_tags.alpha_samples(page)
        return Header(size, channels, np.dtype(page.dtype).name, "TIFF")


def write_tiff(path: Path, image: Image) -> None:
    """Write a mask as a deflate-compressed TIFF, with its pixel size where it is known.

    Args:
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` bool or unsigned of up to 32 bits, or ``(3, Y, X)``.

    Raises:
        OutputError: ``mask-dtype`` for other values.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.eye(3, dtype=bool)[None]))
        ...     read_tiff(path, False).array.dtype
        dtype('bool')
    """
    array = image.array
    if array.dtype not in (np.bool_, np.uint8, np.uint16, np.uint32) or image.channels not in (
        1,
        3,
    ):
        raise OutputError(
            "mask-dtype",
            str(path),
            expected="1 or 3 channels of bool, uint8, uint16 or uint32",
            found=f"{image.channels} channels of {array.dtype}",
            remedy="convert the mask first",
        )
    options: dict[str, Any] = {"photometric": "rgb" if image.channels == 3 else "minisblack"}
    if image.palette is not None and array.dtype == np.uint8:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, : len(image.palette)] = image.palette.T.astype(np.uint16) * 257
        options = {"photometric": "palette", "colormap": colours}
    if image.spacing_mm is not None:
        y_mm, x_mm = image.spacing_mm
        options |= {"resolution": (10.0 / x_mm, 10.0 / y_mm), "resolutionunit": "CENTIMETER"}
    pixels = np.moveaxis(array, 0, -1) if image.channels == 3 else array[0]
    _tifffile().imwrite(
        path,
        np.ascontiguousarray(pixels),
        compression="zlib",
        metadata=None,
        software="maskwright",
        **options,
    )


def _tifffile() -> Any:
    """The library, with its log kept from the terminal: what matters is raised."""
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return tifffile


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPage]]:
    """Open a file, check what it declares, and turn decoder errors into ours."""
    try:
        with path.open("rb") as stream:
            pages = _count_pages(stream, path)
        if pages > 1:
            raise _too_many(path, f"{pages} pages")
        with _tifffile().TiffFile(path) as file:
            page = file.pages[0]
            _check_page(file, page, path)
            yield file, page
    except ImageReadError:
        raise
    except MemoryError as error:
        raise out_of_memory(path) from error
    except DECODER_ERRORS as error:
        raise _damaged(path, str(error) or type(error).__name__) from error


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
            raise _damaged(path, f"a page with {entries} tags")
        table = stream.read(entries * entry_bytes)
        pages += not _is_extra_page(table, order, entry_bytes)
        (offset,) = struct.unpack(offset_format, stream.read(struct.calcsize(offset_format)))
    if not seen:
        raise _damaged(path, "a TIFF file without a page")
    return pages


def _is_extra_page(table: bytes, order: str, entry_bytes: int) -> bool:
    for at in range(0, len(table) - entry_bytes + 1, entry_bytes):
        (tag,) = struct.unpack_from(order + "H", table, at)
        if tag == _NEW_SUBFILE_TYPE:
            (value,) = struct.unpack_from(order + "I", table, at + (12 if entry_bytes == 20 else 8))
            return bool(value & _REDUCED_OR_TRANSPARENCY)
    return False


def _check_page(file: tifffile.TiffFile, page: tifffile.TiffPage, path: Path) -> None:
    """Refuse what cannot be read before any pixel is decoded."""
    pixels = page.imagewidth * page.imagelength * max(1, page.imagedepth)
    samples = max(1, page.samplesperpixel)
    chunk = int(np.prod([int(n) for n in page.chunks], dtype=object))
    pixel_bytes = samples * (8 if page.dtype is None else np.dtype(page.dtype).itemsize)
    if pixels > MAX_PIXELS or samples > 64 or max(pixels, chunk) * pixel_bytes > 8 * MAX_PIXELS:
        raise ImageReadError(
            "image-pixel-bomb",
            str(path),
            expected=f"at most {MAX_PIXELS} pixels",
            found=f"{page.imagewidth} × {page.imagelength} with {samples} channels",
            remedy="cut the image into parts of at most 20000 × 20000 pixels",
        )
    if pixels < 1:
        raise _damaged(path, f"{page.imagewidth} × {page.imagelength} pixels")
    if "<!DOCTYPE" in page.description or "<!ENTITY" in page.description:
        raise ImageReadError(
            "tiff-xml-dtd",
            str(path),
            expected="plain metadata",
            found="metadata with a document type definition",
            remedy="export the image again without metadata",
        )
    planes = int((file.imagej_metadata or {}).get("images", 1))
    if planes > 1:
        raise _too_many(path, f"an ImageJ stack of {planes} planes")
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        raise _unsupported(path, f"pixels of {page.bitspersample} bits in an unknown form")
    if page.photometric not in (0, 1, 2, 3, 4) and not (
        page.photometric == 6 and page.compression in (6, 7, 34892)
    ):
        raise _unsupported(path, f"colours as {getattr(page.photometric, 'name', 'unknown')}")
    end = file.filehandle.size
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    expected = int(np.prod([int(n) for n in page.chunked], dtype=object))
    # The library would fill what is missing with zeros.
    if len(parts) < expected or any(n < 1 or at + n > end for at, n in parts):
        raise ImageReadError(
            "image-truncated",
            str(path),
            expected="a whole TIFF file",
            found="missing rows",
            remedy="copy the file again from its source",
        )


def _decode(page: tifffile.TiffPage, path: Path) -> NDArray[Any]:
    import imagecodecs

    try:
        return np.asarray(page.asarray())
    except (ValueError, NotImplementedError, imagecodecs.DelayedImportError) as error:
        if "COMPRESSION" not in str(error) and not isinstance(error, ImportError):
            raise
        name = getattr(page.compression, "name", str(page.compression))
        raise ImageReadError(
            "image-missing-codec",
            str(path),
            expected="a compression known here",
            found=name,
            remedy="save it with deflate (zip) or no compression, or "
            "install the codec with `pip install imagecodecs`",
        ) from error


def _channels_first(page: tifffile.TiffPage, array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Pixels as ``(C, Y, X)`` without alpha, whatever the order in the file."""
    if page.axes == "YX":
        return array[None]
    if page.axes == "YXS":
        array = np.moveaxis(array, -1, 0)
    elif page.axes != "SYX":
        raise _too_many(path, f"a page with the axes {page.axes}")
    return array[: array.shape[0] - tiff_tags.alpha_samples(page)]


def _too_many(path: Path, found: str) -> ImageReadError:
    return ImageReadError(
        "tiff-pages",
        str(path),
        expected="a TIFF of one page",
        found=found,
        remedy="save each page as a file of its own (volumes are not supported yet)",
    )


def _unsupported(path: Path, found: str) -> ImageReadError:
    return ImageReadError(
        "image-unsupported",
        str(path),
        expected="grey, RGB or indexed colours",
        found=found,
        remedy="save it as an 8 or 16-bit grey or RGB TIFF",
    )


def _damaged(path: Path, found: str) -> ImageReadError:
    return ImageReadError(
        "image-damaged",
        str(path),
        expected="an intact TIFF file",
        found=found,
        remedy="copy the file again from its source",
    )
