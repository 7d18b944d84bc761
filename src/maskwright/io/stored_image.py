"""Arrays that are stored in parts, read as whole images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from maskwright.io.image import MAX_PIXELS, Header, Image, check_finite
from maskwright.io.stored import StoredArray, decoding, refusal

MAX_VOXELS = 4 * MAX_PIXELS
"""Largest number of voxels a file may declare: 1024 × 1024 × 1900, above a whole-body scan."""


def read_stored(stored: StoredArray, path: Path, expand: bool) -> Image:
    """Read the whole of a stored array.

    Args:
        stored: The array.
        path: The file, for messages.
        expand: Whether this is an image, whose numbers have to be finite, or a mask.

    Returns:
        Pixels of shape ``(C, Y, X)`` or ``(C, Z, Y, X)``, in the byte order of this machine.

    Raises:
        ImageReadError: For too many pixels, damaged data, or NaN.

    Example:
        >>> array = np.ones((2, 3))
        >>> read_stored(StoredArray((2, 3), array.dtype, array.__getitem__, False), Path("a.npy"),
        ...             True).array.shape
        (1, 2, 3)
    """
    check_count(stored, path)
    with decoding(path):
        array = np.asarray(stored.read(tuple(slice(0, n) for n in stored.shape)))
        if array.shape != stored.shape:
            raise ValueError(f"an array of the size {array.shape} in the place of {stored.shape}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not stored.has_channels:
        array = array[None]
    if expand:
        check_finite(array, path)
    return Image(
        array,
        spacing_mm=stored.spacing_mm,
        geometry=stored.geometry,
        axes_implied=stored.axes_implied,
    )


def stored_header(stored: StoredArray, format_name: str) -> Header:
    """What a stored array says of itself.

    Example:
        >>> array = np.ones((2, 3))
        >>> stored_header(StoredArray((2, 3), array.dtype, array.__getitem__, False), "NumPy")
        Header(size=(2, 3), channels=1, dtype='float64', format='NumPy')
    """
    dtype = stored.dtype.name
    if stored.has_channels:
        return Header(stored.shape[1:], stored.shape[0], dtype, format_name)
    return Header(stored.shape, 1, dtype, format_name)


def check_numbers(stored: StoredArray, path: Path) -> None:
    """Refuse an image whose pixels are not numbers.

    Raises:
        ImageReadError: ``image-unsupported``, or ``image-empty`` for an axis of length 0.
    """
    if stored.dtype.kind not in "buif":
        remedy = "save it as whole numbers or as float32"
        raise refusal("image-unsupported", path, "numbers", f"{stored.dtype} values", remedy)
    if min(stored.shape) < 1:
        found = " × ".join(map(str, stored.shape))
        raise refusal("image-empty", path, "at least one pixel", found, "export it again")


def check_count(stored: StoredArray, path: Path) -> None:
    """Refuse an array that is too large to be read as a whole.

    Raises:
        ImageReadError: ``image-pixel-bomb``.
    """
    is_plane = len(stored.shape) - stored.has_channels == 2
    most = MAX_PIXELS if is_plane else MAX_VOXELS
    # A plane of colours may have as many pixels as a grey one.
    count = math.prod(stored.shape[stored.has_channels :] if is_plane else stored.shape)
    if count > most:
        raise refusal(
            "image-pixel-bomb",
            path,
            f"at most {most} {'pixels' if is_plane else 'voxels'}",
            " × ".join(map(str, stored.shape)),
            "cut the image into parts" if is_plane else "cut the volume into parts",
        )
