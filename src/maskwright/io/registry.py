"""One table from file suffix to reader and writer, and the door all files come through.

A file passes three checks before anything is decoded: it can be opened, its first bytes belong
to the format its suffix names, and the size it declares is one a computer can hold.
"""

from __future__ import annotations

from pathlib import Path

from maskwright.errors import OutputError
from maskwright.io.durable import replace_file
from maskwright.io.formats import BY_SUFFIX, FORMATS, READABLE, format_of, stem_of, suffix_of
from maskwright.io.image import Header, Image

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


SUFFIXES: frozenset[str] = frozenset(BY_SUFFIX)
"""Suffixes of the image files that can be read, lower-case, with the dot."""

VOLUME_SUFFIXES: frozenset[str] = frozenset(
    suffix for format_ in FORMATS if not format_.holds_planes for suffix in format_.suffixes
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
        ".dcm",
        ".gz",
        ".nd2",
        ".czi",
        ".lif",
        ".svs",
        ".ndpi",
        ".h5",
        ".hdf5",
        ".mat",
    }
)
"""Suffixes of image files that cannot be read, so that they are named and not passed over."""

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
    return format_of(path).read(path, True)


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
    return format_of(path).read(path, False)


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
    return format_of(path).read_header(path)


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
    format_ = BY_SUFFIX.get(suffix)
    is_volume = image.array.ndim == 4
    usable = format_ is not None and mask_suffix(path) == suffix
    holds = format_ is not None and (format_.holds_volumes or not is_volume)
    if format_ is None or format_.write is None or not usable or not holds:
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
    return suffix_of(Path(path))


def image_stem(path: Path) -> str:
    """The name of a file without its suffix, which may have two parts.

    Example:
        >>> image_stem(Path("images/case_01.nii.gz"))
        'case_01'
    """
    return stem_of(Path(path))


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
