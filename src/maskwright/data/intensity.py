"""Intensities: mean 0 and standard deviation 1 in each channel of each image.

Measured over the whole image and applied block by block, so that an image of any size keeps its
own data type in memory and only the block at work becomes float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.io.image import is_grey

_BLOCK_PX = 1 << 20
# A standard deviation below this share of the mean is rounding, so a constant image becomes 0.
_RELATIVE_FLOOR = 1e-6
_ABSOLUTE_FLOOR = 1e-30


@dataclass(frozen=True)
class Intensity:
    """Mean and standard deviation of each channel of one image.

    Args:
        mean: Means, one a channel.
        std: Standard deviations, one a channel, above zero.

    Example:
        >>> Intensity((3.0,), (1.5,)).mean
        (3.0,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure(array_CYX: NDArray[Any], channels: int) -> Intensity:
    """Mean and standard deviation of each channel.

    Sums are taken in float64 over blocks of rows or slices, deviations from the mean in a second
    pass, so that a large offset costs no precision.

    Args:
        array_CYX: Pixels of any real data type, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        channels: Channels of the network, see :func:`select_channels`.

    Returns:
        The values, with a standard deviation of at least a millionth of the mean.

    Raises:
        DataError: ``image-channels``.

    Example:
        >>> measure(np.array([[[1, 3]]], np.uint8), 1)
        Intensity(mean=(2.0,), std=(1.0,))
    """
    selected_CYX = select_channels(array_CYX, channels)
    pixels = math.prod(selected_CYX.shape[1:])
    mean, std = [], []
    for plane_YX in selected_CYX:
        centre = sum(float(block.sum(dtype=np.float64)) for block in _blocks(plane_YX)) / pixels
        squares = sum(
            float(np.square(block - centre).sum())
            for block in (b.astype(np.float64) for b in _blocks(plane_YX))
        )
        floor = max(_RELATIVE_FLOOR * abs(centre), _ABSOLUTE_FLOOR)
        mean.append(centre)
        std.append(max(float(np.sqrt(squares / pixels)), floor))
    return Intensity(tuple(mean), tuple(std))


def apply(array_CYX: NDArray[Any], intensity: Intensity, channels: int) -> NDArray[np.float32]:
    """Normalise a block of an image: ``(value − mean) / std``.

    Args:
        array_CYX: A block of the image, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        intensity: What :func:`measure` found in the whole image.
        channels: Channels of the network.

    Returns:
        A new array with ``channels`` channels.

    Raises:
        DataError: ``image-channels``.

    Example:
        >>> apply(np.array([[[1, 3]]], np.uint8), Intensity((2.0,), (1.0,)), 1).tolist()
        [[[-1.0, 1.0]]]
    """
    selected_CYX = select_channels(array_CYX, channels)
    # 8 and 16 bits are exact in float32; wider types lose their small differences there.
    exact = selected_CYX.dtype.itemsize <= 2 or selected_CYX.dtype == np.float32
    dtype = np.float32 if exact else np.float64
    each = (-1, *(1,) * (selected_CYX.ndim - 1))
    mean_C11 = np.array(intensity.mean, dtype).reshape(each)
    scale_C11 = 1.0 / np.array(intensity.std, np.float64).reshape(each)
    block_CYX: NDArray[Any] = selected_CYX.astype(dtype)
    block_CYX -= mean_C11
    block_CYX *= scale_C11.astype(dtype)
    return block_CYX.astype(np.float32, copy=False)


def select_channels(array_CYX: NDArray[Any], channels: int) -> NDArray[Any]:
    """The channels that the network takes.

    Args:
        array_CYX: Pixels, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        channels: Channels of the network.

    Returns:
        A view with ``channels`` channels: the array itself, one channel of a grey image stored
        as three equal ones, or a grey image repeated.

    Raises:
        DataError: ``image-channels`` for a colour image where the network takes grey, or for any
            other difference.

    Example:
        >>> select_channels(np.ones((3, 2, 2)), 1).shape
        (1, 2, 2)
    """
    if len(array_CYX) == channels:
        return array_CYX
    if channels == 1 and is_grey(array_CYX):
        return array_CYX[:1]
    if channels == 3 and len(array_CYX) == 1:
        return np.broadcast_to(array_CYX, (3, *array_CYX.shape[1:]))
    found = "a colour image" if len(array_CYX) == 3 else f"{len(array_CYX)} channels"
    raise DataError(
        "image-channels",
        "image",
        expected="a grey image" if channels == 1 else f"{channels} channels",
        found=found,
        remedy="convert the image to what the network was trained on",
    )


def _blocks(plane_YX: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_PX // max(1, math.prod(plane_YX.shape[1:])))
    for y in range(0, plane_YX.shape[0], rows):
        yield plane_YX[y : y + rows]
