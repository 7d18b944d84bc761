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
from maskwright.io import raster, tiff, volume_image
from maskwright.io.durable import replace_file
from maskwright.io.image import Header, Image
from maskwright.io.signature import first_bytes, foreign_format

__all__ = [
    "OTHER_SUFFIXES",
    "READABLE",
    "SUFFIXES",
    "VOLUME_SUFFIXES",
    "Header",
    "Image",
    "image_stem",
    "image_suffix",
    "is_jpeg",
    "mask_suffix",
    "read_header",
    "read_image",
    "read_mask",
    "write_mask",
]


@dataclass(frozen=True)
class _Format:
    """A file format: how it is recognised, read and written.

    Where the first bytes of a file say little, as those of a volume do, the reader judges it.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[tuple[int, bytes], ...]
    read: Callable[[Path, bool], Image]
    read_header: Callable[[Path], Header]
    write: Callable[[Path, Image], None] | None
    is_volume: bool = False

    def begins(self, start: bytes) -> bool:
        """Whether the first bytes of a file are those of the format."""
        return any(start[at:].startswith(magic) for at, magic in self.magic)


def _volume(name: str, suffixes: tuple[str, ...], *magic: tuple[int, bytes]) -> _Format:
    return _Format(
        name,
        suffixes,
        magic,
        volume_image.read_volume,
        partial(volume_image.read_volume_header, name),
        partial(volume_image.write_volume, name),
        is_volume=True,
    )


def _raster(name: str, suffixes: tuple[str, ...], *magic: bytes, lossy: bool = False) -> _Format:
    return _Format(
        name,
        suffixes,
        tuple((0, start) for start in magic),
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
        ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
        tiff.read_tiff,
        tiff.read_tiff_header,
        tiff.write_tiff,
    ),
    _volume("NIfTI", (".nii", ".nii.gz"), (344, b"n+1")),
    _volume("MetaImage", (".mha", ".mhd")),
    _volume("NRRD", (".nrrd", ".nhdr"), (0, b"NRRD")),
)
READABLE = "PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage or NRRD"
"""The formats that can be read, for messages."""

_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}

SUFFIXES: frozenset[str] = frozenset(_BY_SUFFIX)
"""Suffixes of the image files that can be read, lower-case, with the dot."""

VOLUME_SUFFIXES: frozenset[str] = frozenset(
    suffix for format_ in _FORMATS if format_.is_volume for suffix in format_.suffixes
)
"""Those of formats of volumes."""

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
        ".gz",
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

_LONGEST_FIRST = sorted(SUFFIXES, key=len, reverse=True)
# A mask is one file, and one without loss.
_MASK_SUFFIXES = {".mhd": ".mha", ".nhdr": ".nrrd", ".jpg": ".png", ".jpeg": ".png"}


def read_image(path: Path) -> Image:
    """The image in a file, upright, channels first.

    Args:
        path: A PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage or NRRD file.

    Returns:
        Pixels of shape ``(C, Y, X)`` or ``(C, Z, Y, X)`` in the file's own data type, with what
        the file says of their size and place; alpha is left out and a palette expanded to RGB.

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
        path: A PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage or NRRD file.

    Returns:
        Values of shape ``(C, Y, X)`` or ``(C, Z, Y, X)``: palette indices with ``palette`` set,
        1-bit files as bool, colours as three channels (alpha left out).

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
        path: A PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage or NRRD file.

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
    A volume lies where the mask's geometry says, with the very matrices of a NIfTI image.

    Args:
        path: The file to create or replace.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool, uint8 or uint16, or
            ``(3, Y, X)`` uint8.

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
    suffix = image_suffix(path)
    format_ = _BY_SUFFIX.get(suffix)
    is_volume = image.array.ndim == 4
    usable = format_ is not None and mask_suffix(path) == suffix
    if format_ is None or format_.write is None or not usable or is_volume > format_.is_volume:
        expected = "the suffix of a lossless format (.png, .tif, .bmp or .gif)"
        volumes = "the suffix of a format of volumes (.nii.gz, .mha or .nrrd)"
        raise OutputError(
            "mask-format",
            str(path),
            expected=volumes if is_volume else expected,
            found=repr(suffix),
            remedy="use .nii.gz" if is_volume and not usable else f"use {mask_suffix(path)}",
        )
    with replace_file(path) as temporary:
        format_.write(temporary, image)


def image_suffix(path: Path) -> str:
    """The suffix of a file, lower-case, with both parts where the format has two.

    Example:
        >>> image_suffix(Path("v1.2.NII.GZ")), image_suffix(Path("a.tar.gz"))
        ('.nii.gz', '.gz')
    """
    name = Path(path).name.lower()
    return next((s for s in _LONGEST_FIRST if name.endswith(s)), Path(path).suffix.lower())


def image_stem(path: Path) -> str:
    """The name of a file without its suffix, which may have two parts.

    Example:
        >>> image_stem(Path("images/case_01.nii.gz"))
        'case_01'
    """
    name = Path(path).name
    return name[: len(name) - len(image_suffix(path))]


def mask_suffix(path: Path) -> str:
    """The suffix for a mask of an image: the image's own where that loses nothing.

    Args:
        path: The image.

    Returns:
        A lower-case suffix with the dot; ``.png`` for formats that lose values, ``.mha`` and
        ``.nrrd`` for their kinds of two files.

    Example:
        >>> mask_suffix(Path("a.JPG")), mask_suffix(Path("a.tiff")), mask_suffix(Path("a.nii.gz"))
        ('.png', '.tiff', '.nii.gz')
    """
    suffix = image_suffix(path)
    return _MASK_SUFFIXES.get(suffix, suffix if suffix in SUFFIXES else ".png")


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its suffix, so that its values are only nearly what was drawn.

    Example:
        >>> is_jpeg(Path("mask.JPG"))
        True
    """
    return Path(path).suffix.lower() in {".jpg", ".jpeg"}


def _format_of(path: Path) -> _Format:
    """The format of a file, once its suffix is known and its first bytes agree with it."""
    start = first_bytes(path)
    found = next((format_ for format_ in _FORMATS if format_.begins(start)), None)
    suffix = image_suffix(path)
    declared = _BY_SUFFIX.get(suffix)
    foreign = foreign_format(start)
    if declared is None:
        if found is not None:
            raise _wrong_extension(path, found)
        raise ImageReadError(
            "image-unsupported",
            str(path),
            expected=READABLE,
            found=foreign or f"a file ending in {path.suffix or 'nothing'}",
            remedy="convert it to one of them, or move it out of the folder",
        )
    if found is declared and suffix != ".nii.gz":
        return declared
    if found is not None:
        raise _wrong_extension(path, found)
    if foreign is not None and (suffix, foreign) != (".nii.gz", "gzip"):
        zipped = (suffix, foreign) == (".nii", "gzip")
        raise ImageReadError(
            "image-wrong-extension",
            str(path),
            expected=f"a {declared.name} file",
            found=f"the content of a {foreign} file",
            remedy=f"rename it to {path.name}.gz" if zipped else "convert it to PNG or TIFF",
        )
    if declared.is_volume:
        return declared
    if any(magic.startswith(start) for _, magic in declared.magic):
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
        remedy=f"rename it to {image_stem(path)}{found.suffixes[0]}",
    )
