"""What training needs to know of each image before it is read again."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.image import Image

# Air is −1000; scanners begin at −1024, interpolation goes below, and what lies outside the round
# field of view is filled with −2000 to −3024.
_AIR_HU = (-3100, -850)
_TISSUE_HU = 100
_BLOCK_PX = 1 << 20


@dataclass(frozen=True)
class ImageFacts:
    """Size, pixel size and range of values of one image.

    Args:
        size: Size in pixels.
        spacing_mm: Pixel size along each axis, where the file says it.
        constant: Whether every channel has one value.
        hounsfield: For each channel whether its values can be Hounsfield units of CT.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    constant: bool
    hounsfield: tuple[bool, ...]


def image_facts(image: Image) -> ImageFacts:
    """Look at one image.

    Args:
        image: The image.

    Example:
        >>> scan = Image(np.array([[[-1024, 40, 900]]], np.int16), spacing_mm=(0.7, 0.7))
        >>> image_facts(scan).hounsfield
        (True,)
    """
    ends = [(float(plane.min()), float(plane.max())) for plane in image.array]
    hounsfield = tuple(
        _AIR_HU[0] <= lowest <= _AIR_HU[1] and highest > _TISSUE_HU and _is_whole(plane)
        for (lowest, highest), plane in zip(ends, image.array, strict=True)
    )
    constant = all(lowest == highest for lowest, highest in ends)
    return ImageFacts(image.size, image.spacing_mm, constant, hounsfield)


def pixel_digest(array_CYX: NDArray[Any]) -> str:
    """A digest of shape, type and pixels, taken in blocks of rows or slices."""
    digest = hashlib.sha256(f"{array_CYX.shape}{array_CYX.dtype}".encode())
    rows = max(1, _BLOCK_PX // max(1, math.prod(array_CYX.shape[2:])))
    for y in range(0, array_CYX.shape[1], rows):
        digest.update(array_CYX[:, y : y + rows].tobytes())
    return digest.hexdigest()


def _is_whole(plane_S: NDArray[Any]) -> bool:
    if plane_S.dtype.kind != "f":
        return True
    flat = plane_S.reshape(-1)
    blocks = (flat[first : first + _BLOCK_PX] for first in range(0, flat.size, _BLOCK_PX))
    return all(bool((np.rint(block) == block).all()) for block in blocks)
