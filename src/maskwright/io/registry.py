"""One table from file suffix to reader and writer, and the door all files come through.

A file passes three checks before anything is decoded: it can be opened, its first bytes belong
to the format its suffix names, and the size it declares is one a computer can hold.
"""

from __future__ import annotations

import os
from pathlib import Path

from maskwright.errors import MaskwrightError, OutputError
from maskwright.io.dicom import is_segmentation
from maskwright.io.durable import replace_file, replace_folder
from maskwright.io.formats import (
    BY_SUFFIX,
    FORMATS,
    READABLE,
    format_of,
    is_series,
    is_zarr,
    stem_of,
    suffix_of,
)
from maskwright.io.hdf5 import split_dataset
from maskwright.io.image import Header, Image

__all__ = [
    "OTHER_SUFFIXES",
    "READABLE",
    "SUFFIXES",
    "VOLUME_SUFFIXES",
    "Header",
    "Image",
    "file_of",
    "image_stem",
    "image_suffix",
    "is_image",
    "is_image_folder",
    "is_jpeg",
    "is_volume",
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
        ".ndpi",
        ".mat",
    }
)
"""Suffixes of image files that cannot be read, so that they are named and not passed over."""

# A mask is one file, and one without loss.
_MASK_SUFFIXES = {
    ".mhd": ".mha",
    ".nhdr": ".nrrd",
    ".jpg": ".png",
    ".jpeg": ".png",
    ".svs": ".tif",
    ".dcm": ".nii.gz",
}


def read_image(path: Path) -> Image:
    """The image in a file, upright, channels first.

    Args:
        path: A file of one of :data:`READABLE`, ``file.h5:/dataset``, or the folder of an image.

    Returns:
        Pixels of shape ``(C, Y, X)`` or ``(C, Z, Y, X)`` in the file's own data type, with what
        the file says of their size and place; alpha is left out and a palette expanded to RGB.

    Raises:
        ImageReadError: For a file that is missing, empty, truncated, damaged, of another type
            than its suffix says, too large, with axes that cannot be told apart, or NaN pixels.

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
        path: A file of one of :data:`READABLE`, ``file.h5:/dataset``, or the folder of an image.

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
        path: A file of one of :data:`READABLE`, ``file.h5:/dataset``, or the folder of an image.

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

    bool becomes a 1-bit file where the format has such, else 0 and 1; indices with a palette an
    indexed file; other values keep their type. A volume lies where the mask's geometry says, with
    the very matrices of a NIfTI image; TIFF, HDF5 and Zarr keep the spacing.

    Args:
        path: The file, or the folder of Zarr, to create or replace.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool, uint8 or uint16, or
            ``(3, Y, X)`` uint8 for pictures and TIFF.

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
        expected = "the suffix of a lossless format, such as .png or .tif"
        volumes = "the suffix of a format of volumes, such as .nii.gz, .mha, .nrrd or .tif"
        raise OutputError(
            "mask-format",
            str(path),
            expected=volumes if is_volume else expected,
            found=repr(suffix),
            remedy="use .nii.gz" if is_volume and not usable else f"use {mask_suffix(path)}",
        )
    replaced = replace_folder if format_.is_folder else replace_file
    with replaced(path) as temporary:
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
        ``.nrrd`` for their kinds of two files, ``.tif`` for whole slides, ``.nii.gz`` for DICOM.

    Example:
        >>> mask_suffix(Path("a.JPG")), mask_suffix(Path("a.tiff")), mask_suffix(Path("a.nii.gz"))
        ('.png', '.tiff', '.nii.gz')
    """
    suffix = image_suffix(path)
    if suffix not in SUFFIXES and is_image_folder(path):
        return ".zarr" if is_zarr(path) else ".nii.gz"
    return _MASK_SUFFIXES.get(suffix, suffix if suffix in SUFFIXES else ".png")


def is_image_folder(path: Path) -> bool:
    """Whether a folder is one image: a Zarr store, an array inside one, or DICOM slices.

    Example:
        >>> is_image_folder(Path("images"))
        False
    """
    return is_zarr(Path(path)) or is_series(Path(path))


def is_image(path: Path) -> bool:
    """Whether a path names an image that can be read, by its suffix or as a folder.

    Example:
        >>> is_image(Path("a.h5:/raw")), is_image(Path("notes.txt"))
        (True, False)
    """
    if os.path.isdir(path):
        return is_image_folder(path) or image_suffix(path).endswith(".zarr")
    suffix = image_suffix(path)
    # A slice of a series is not an image of its own.
    return suffix in SUFFIXES and (suffix != ".dcm" or is_segmentation(Path(path)))


def is_volume(path: Path) -> bool:
    """Whether a file holds a volume: by its suffix, else by its header where that can be read.

    Example:
        >>> is_volume(Path("a.nii.gz")), is_volume(Path("a.png"))
        (True, False)
    """
    suffix = image_suffix(path)
    format_ = BY_SUFFIX.get(suffix)
    if format_ is not None and not (format_.holds_planes and format_.holds_volumes):
        return format_.holds_volumes
    try:
        return len(read_header(path).size) == 3
    except MaskwrightError:
        return False


def file_of(path: Path) -> Path:
    """The file that an image is in: the path itself, or that before the name of a dataset.

    Example:
        >>> file_of(Path("a.h5:/raw")).name
        'a.h5'
    """
    return split_dataset(Path(path))[0]


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its suffix, so that its values are only nearly what was drawn.

    Example:
        >>> is_jpeg(Path("mask.JPG"))
        True
    """
    return Path(path).suffix.lower() in {".jpg", ".jpeg"}
