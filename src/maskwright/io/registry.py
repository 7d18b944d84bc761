"""One table from file suffix to reader and writer, and the door all files come through.

A file passes three checks before anything is decoded: it can be opened, its first bytes belong
to the format its suffix names, and the size it declares is one a computer can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maskwright.errors import ImageReadError, OutputError
from maskwright.io import raster, tiff
from maskwright.io.durable import replace_file
from maskwright.io.image import Header, Image

__all__ = [
    "OTHER_SUFFIXES",
    "SUFFIXES",
    "Header",
    "Image",
    "is_jpeg",
    "mask_suffix",
    "read_header",
    "read_image",
    "read_mask",
    "write_mask",
]


@dataclass(frozen=True)
class _Format:
    """A file format: how it is recognised, read and written."""

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    read: Callable[[Path, bool], Image]
    read_header: Callable[[Path], Header]
    write: Callable[[Path, Image], None] | None


def _raster(name: str, suffixes: tuple[str, ...], *magic: bytes, lossy: bool = False) -> _Format:
    return _Format(
        name,
        suffixes,
        magic,
        partial(raster.read_raster, name),
        partial(raster.read_raster_header, name),
        None if lossy else partial(raster.write_raster, name),
    )


_FORMATS = (
    _raster("PNG", (".png",), b"\x89PNG\r\n\x1a\n"),
    _raster("JPEG", (".jpg", ".jpeg"), b"\xff\xd8\xff", lossy=True),
    _raster("BMP", (".bmp",), b"BM"),
    _raster("GIF", (".gif",), b"GIF87a", b"GIF89a"),
    _Format(
        "TIFF",
        (".tif", ".tiff"),
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        tiff.read_tiff,
        tiff.read_tiff_header,
        tiff.write_tiff,
    ),
)
_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}

SUFFIXES: frozenset[str] = frozenset(_BY_SUFFIX)
"""Suffixes of the image files that can be read, lower-case, with the dot."""

OTHER_SUFFIXES: frozenset[str] = frozenset(
    {
        ".svg",
        ".eps",
        ".ps",
        ".pdf",
        ".webp",
        ".jp2",
        ".heic",
        ".avif",
        ".psd",
        ".xcf",
        ".exr",
        ".ppm",
        ".pgm",
        ".npy",
        ".npz",
        ".dcm",
        ".nii",
        ".gz",
        ".mha",
        ".mhd",
        ".nrrd",
        ".nd2",
        ".czi",
        ".lif",
        ".svs",
        ".ndpi",
        ".zarr",
        ".h5",
        ".hdf5",
        ".mat",
    }
)
"""Suffixes of image files that cannot be read, so that they are named and not passed over."""

# Kinds of content that are often found under a wrong suffix: where in the file, what, its name.
_FOREIGN = (
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"<html", "HTML"),
    (8, b"WEBP", "WebP"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"ftyp", "HEIC or AVIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89HDF", "HDF5"),
    (128, b"DICM", "DICOM"),
    (344, b"n+1", "NIfTI"),
    (0, b"NRRD", "NRRD"),
)


def read_image(path: Path) -> Image:
    """The image in a file, upright, channels first.

    Args:
        path: A PNG, JPEG, BMP, GIF or TIFF file.

    Returns:
        Pixels of shape ``(C, Y, X)`` in the file's own data type; alpha is left out and a palette
        expanded to RGB.

    Raises:
        ImageReadError: For a file that is missing, empty, truncated, damaged, of another type
            than its suffix says, too large, of several pages, or with NaN pixels.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder) / "a.png", Image(np.eye(4, dtype=np.uint8)[None]))
        ...     read_image(Path(folder) / "a.png").array.shape
        (1, 4, 4)
    """
    path = Path(path)
    return _format_of(path).read(path, True)


def read_mask(path: Path) -> Image:
    """The mask in a file with the values as they are stored.

    Args:
        path: A PNG, JPEG, BMP, GIF or TIFF file.

    Returns:
        Values of shape ``(C, Y, X)``: palette indices with ``palette`` set, 1-bit files as bool,
        colours as three channels (alpha left out).

    Raises:
        ImageReadError: See :func:`read_image`.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder) / "a.png", Image(np.eye(4, dtype=bool)[None]))
        ...     read_mask(Path(folder) / "a.png").array.dtype
        dtype('bool')
    """
    path = Path(path)
    return _format_of(path).read(path, False)


def read_header(path: Path) -> Header:
    """Size, channels, data type and format of a file without decoding its pixels.

    Args:
        path: A PNG, JPEG, BMP, GIF or TIFF file.

    Returns:
        The header, as :func:`read_image` would give the image.

    Raises:
        ImageReadError: See :func:`read_image`.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder) / "a.tif", Image(np.zeros((1, 4, 6), np.uint16)))
        ...     read_header(Path(folder) / "a.tif")
        Header(size=(4, 6), channels=1, dtype='uint16', format='TIFF')
    """
    path = Path(path)
    return _format_of(path).read_header(path)


def write_mask(path: Path, image: Image) -> None:
    """Write a mask durably, without loss, in the format its suffix names.

    bool becomes a 1-bit file; indices with a palette an indexed file; other values 8 or 16 bits.

    Args:
        path: The file to create or replace.
        image: Values of shape ``(1, Y, X)`` bool, uint8 or uint16, or ``(3, Y, X)`` uint8.

    Raises:
        OutputError: For a suffix that cannot hold the mask, or when writing fails.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder) / "a.bmp", Image(np.full((1, 4, 4), 255, np.uint8)))
        ...     int(read_mask(Path(folder) / "a.bmp").array.max())
        255
    """
    path = Path(path)
    format_ = _BY_SUFFIX.get(path.suffix.lower())
    if format_ is None or format_.write is None:
        raise OutputError(
            "mask-format",
            str(path),
            expected="the suffix of a lossless format (.png, .tif, .bmp or .gif)",
            found=repr(path.suffix),
            remedy=f"use {mask_suffix(path)}",
        )
    with replace_file(path) as temporary:
        format_.write(temporary, image)


def mask_suffix(path: Path) -> str:
    """The suffix for a mask of an image: the image's own, or ``.png`` where that loses values.

    Args:
        path: The image.

    Returns:
        A lower-case suffix with the dot.

    Example:
        >>> mask_suffix(Path("a.JPG")), mask_suffix(Path("a.tiff"))
        ('.png', '.tiff')
    """
    suffix = Path(path).suffix.lower()
    format_ = _BY_SUFFIX.get(suffix)
    return ".png" if format_ is None or format_.write is None else suffix


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its suffix, so that its values are only nearly what was drawn.

    Example:
        >>> is_jpeg(Path("mask.JPG"))
        True
    """
    return Path(path).suffix.lower() in {".jpg", ".jpeg"}


def _format_of(path: Path) -> _Format:
    """The format of a file, once its suffix is known and its first bytes agree with it."""
    start = _first_bytes(path)
    found = next((f for f in _FORMATS if start.startswith(f.magic)), None)
    declared = _BY_SUFFIX.get(path.suffix.lower())
    foreign = next((name for at, magic, name in _FOREIGN if start[at:].startswith(magic)), None)
    if declared is None:
        if found is not None:
            raise _wrong_extension(path, found)
        raise ImageReadError(
            "image-unsupported",
            str(path),
            expected="PNG, JPEG, BMP, GIF or TIFF",
            found=foreign or f"a file ending in {path.suffix or 'nothing'}",
            remedy="convert it to PNG or TIFF, or move it out of the folder",
        )
    if found is declared:
        return declared
    if found is not None:
        raise _wrong_extension(path, found)
    if foreign is not None:
        raise ImageReadError(
            "image-wrong-extension",
            str(path),
            expected=f"a {declared.name} file",
            found=f"the content of a {foreign} file",
            remedy="convert it to PNG or TIFF",
        )
    if any(magic.startswith(start) for magic in declared.magic):
        raise ImageReadError(
            "image-truncated",
            str(path),
            expected=f"a whole {declared.name} file",
            found=f"only {len(start)} bytes",
            remedy="copy the file again from its source",
        )
    raise ImageReadError(
        "image-wrong-extension",
        str(path),
        expected=f"a {declared.name} file",
        found="the content of no known image type",
        remedy="export the image again as PNG or TIFF",
    )


def _wrong_extension(path: Path, found: _Format) -> ImageReadError:
    return ImageReadError(
        "image-wrong-extension",
        str(path),
        expected=f"a file that is what its suffix {path.suffix or '(none)'} says",
        found=f"the content of a {found.name} file",
        remedy=f"rename it to {path.stem}{found.suffixes[0]}",
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(400)
    except FileNotFoundError as error:
        raise ImageReadError(
            "image-not-found",
            str(path),
            expected="a file",
            found="nothing there",
            remedy="check the path for typing errors",
        ) from error
    except IsADirectoryError as error:
        raise ImageReadError(
            "image-is-folder",
            str(path),
            expected="a file",
            found="a folder",
            remedy="rename or move the folder",
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            "image-permission",
            str(path),
            expected="a file you may read",
            found="no permission",
            remedy="change its permissions",
        ) from error
    except OSError as error:
        raise ImageReadError(
            "image-io",
            str(path),
            expected="a file that can be read",
            found=error.strerror or str(error),
            remedy="check the disk or the network folder",
        ) from error
    if not start:
        raise ImageReadError(
            "image-empty-file",
            str(path),
            expected="an image",
            found="0 bytes",
            remedy="copy the file again from its source, or delete it",
        )
    return start
