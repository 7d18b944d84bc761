"""Intensities: mean 0 and standard deviation 1 in each channel of each image, clipped if wanted.

Measured over the whole image and applied block by block, so that an image of any size keeps its
own data type in memory and only the block at work becomes float. An image that does not fit into
memory is measured block by block too, with the very same values. What is known of a channel from
training (:class:`maskwright.intensity_config.ChannelIntensity`) is not measured again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.quantiles import quantiles
from maskwright.errors import DataError
from maskwright.intensity_config import ChannelIntensity
from maskwright.io.image import is_grey

_BLOCK_PX = 1 << 20
# A standard deviation below this share of the mean is rounding, so a constant image becomes 0.
_RELATIVE_FLOOR = 1e-6
_ABSOLUTE_FLOOR = 1e-30

CLIPPED_SHARES = (0.005, 0.995)
"""Shares of the values that lie below the ends of a window.

Source: Isensee et al. 2021, Nature Methods 18, nnU-Net's scheme for CT.
"""


@dataclass(frozen=True)
class Intensity:
    """Mean and standard deviation of each channel of one image, and where it is clipped.

    Args:
        mean: Means, one a channel.
        std: Standard deviations, one a channel, above zero.
        low: Values below become this one, one a channel; empty where no channel is clipped.
        high: Values above become this one.

    Example:
        >>> Intensity((3.0,), (1.5,)).mean
        (3.0,)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def measure(
    array_CYX: NDArray[Any], channels: int, ways: Sequence[ChannelIntensity] = ()
) -> Intensity:
    """Mean and standard deviation of each channel, and where it is clipped.

    Args:
        array_CYX: Pixels of any real data type, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        channels: Channels of the network, see :func:`select_channels`.
        ways: What is done to each channel; z-score where this is empty.

    Returns:
        The values, with a standard deviation of at least a millionth of the mean.

    Raises:
        DataError: ``image-channels``.

    Example:
        >>> found = measure(np.array([[[1, 3]]], np.uint8), 1)
        >>> found.mean, found.std
        ((2.0,), (1.0,))
    """
    selected_CYX = select_channels(array_CYX, channels)
    if not is_clipped(ways):
        return measure_blocks([selected_CYX], channels)
    return measure_clipped(lambda: [selected_CYX], channels, ways)


def is_clipped(ways: Sequence[ChannelIntensity]) -> bool:
    """Whether anything but the z-score is done to any channel."""
    return any(way.way != "z-score" for way in ways)


def measure_clipped(
    read: Callable[[], Iterable[NDArray[Any]]], channels: int, ways: Sequence[ChannelIntensity]
) -> Intensity:
    """What :func:`measure` finds, of an image that comes in blocks as often as it is needed.

    A window whose mean and deviation are known needs no reading, any other way one, and the
    percentiles of a channel two more.

    Args:
        read: Gives the blocks from the first one on, as :func:`measure_blocks` takes them.
        channels: Channels of the network.
        ways: What is done to each channel.

    Raises:
        DataError: ``image-channels``, and ``intensity-channels`` for another number of ``ways``.
    """
    if len(ways) != channels:
        raise DataError(
            "intensity-channels",
            "image",
            expected=f"one entry of data.channel_intensity for each of {channels} channels",
            found=f"{len(ways)}",
            remedy="restore config.json, or train again",
        )

    def of_channel(c: int) -> Iterator[NDArray[Any]]:
        for block_CYX in read():
            yield select_channels(block_CYX, channels)[c]

    low, high = [-math.inf] * channels, [math.inf] * channels
    for c, way in enumerate(ways):
        if way.low is not None and way.high is not None:
            low[c], high[c] = way.low, way.high
        elif way.way == "percentile":
            low[c], high[c] = quantiles(partial(of_channel, c), CLIPPED_SHARES)
    known = [(way.mean, way.std) for way in ways if way.mean is not None and way.std is not None]
    if len(known) < channels:
        clipped = (
            _clipped(select_channels(part, channels), low, high)
            for block in read()
            for part in _parts(block)
        )
        measured = measure_blocks(clipped, channels)
        known = [
            (way.mean, way.std) if way.mean is not None and way.std is not None else found
            for way, found in zip(ways, zip(measured.mean, measured.std, strict=True), strict=True)
        ]
    mean, std = zip(*known, strict=True)
    return Intensity(mean, std, tuple(low), tuple(high))


def measure_blocks(blocks: Iterable[NDArray[Any]], channels: int) -> Intensity:
    """Mean and standard deviation of each channel of an image that comes in blocks.

    Whole numbers of up to 16 bits are summed exactly. Of others each block's mean and squared
    deviations are combined, so that a large offset costs no precision:
    M = M₁ + M₂ + (m₂ − m₁)² n₁n₂/(n₁ + n₂).

    Args:
        blocks: All rows or slices in order, shape ``(C, rows, …)``. Blocks whose heights are
            multiples of :func:`rows_at_once` give the very same values as the whole image.
        channels: Channels of the network.

    Returns:
        As :func:`measure`.

    Raises:
        DataError: ``image-channels``.

    Source: Chan, Golub and LeVeque 1983, The American Statistician 37.

    Example:
        >>> halves = np.split(np.arange(8, dtype=np.float32).reshape(1, 4, 2), 2, axis=1)
        >>> measure_blocks(halves, 1).mean
        (3.5,)
    """
    found = [_Moments() for _ in range(channels)]
    for block_CYX in blocks:
        rows = rows_at_once(block_CYX.shape[1:])
        selected_CYX = select_channels(block_CYX, channels)
        for moments, plane_YX in zip(found, selected_CYX, strict=True):
            for first in range(0, len(plane_YX), rows):
                moments.add(plane_YX[first : first + rows])
    means = tuple(moments.mean for moments in found)
    floors = (max(_RELATIVE_FLOOR * abs(mean), _ABSOLUTE_FLOOR) for mean in means)
    return Intensity(
        means,
        tuple(max(moments.std, floor) for moments, floor in zip(found, floors, strict=True)),
    )


def rows_at_once(shape: tuple[int, ...]) -> int:
    """Rows or slices of an image of this shape that are measured at once.

    Example:
        >>> rows_at_once((30000, 30000)), rows_at_once((8, 8))
        (34, 131072)
    """
    return max(1, _BLOCK_PX // max(1, math.prod(shape[1:])))


@dataclass
class _Moments:
    """Count, mean and squared deviations of one channel so far; exact sums of small integers."""

    count: int = 0
    total: int = 0
    squares: int = 0
    centre: float = 0.0
    deviations: float = 0.0
    exact: bool = True

    def add(self, block: NDArray[Any]) -> None:
        if block.dtype.kind in "bui" and block.dtype.itemsize <= 2:
            values = block.ravel().astype(np.int64)
            self.total += int(values.sum())
            self.squares += int(np.dot(values, values))
            self.count += values.size
            return
        self.exact = False
        numbers = block.astype(np.float64)
        mean = float(numbers.mean())
        apart = mean - self.centre
        count = self.count + numbers.size
        self.deviations += float(np.square(numbers - mean).sum())
        self.deviations += apart * apart * (self.count * numbers.size / count)
        self.centre += apart * (numbers.size / count)
        self.count = count

    @property
    def mean(self) -> float:
        return self.total / self.count if self.exact else self.centre

    @property
    def std(self) -> float:
        if self.exact:
            return math.sqrt((self.count * self.squares - self.total**2) / self.count**2)
        return math.sqrt(self.deviations / self.count)


def apply(array_CYX: NDArray[Any], intensity: Intensity, channels: int) -> NDArray[np.float32]:
    """Normalise a block of an image: ``(value − mean) / std``, of the clipped value if asked for.

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
    if intensity.low:
        low_C11, high_C11 = (
            np.array(ends, dtype).reshape(each) for ends in (intensity.low, intensity.high)
        )
        np.clip(block_CYX, low_C11, high_C11, out=block_CYX)
    block_CYX -= mean_C11
    block_CYX *= scale_C11.astype(dtype)
    return block_CYX.astype(np.float32, copy=False)


def _parts(block_CYX: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A block in the parts that are measured at once, so that only one of them becomes float."""
    rows = rows_at_once(block_CYX.shape[1:])
    for first in range(0, block_CYX.shape[1], rows):
        yield block_CYX[:, first : first + rows]


def _clipped(
    block_CYX: NDArray[Any], low: Sequence[float], high: Sequence[float]
) -> NDArray[np.float64]:
    ends = [np.array(each).reshape(-1, *(1,) * (block_CYX.ndim - 1)) for each in (low, high)]
    clipped_CYX: NDArray[np.float64] = np.clip(block_CYX.astype(np.float64), *ends)
    return clipped_CYX


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
