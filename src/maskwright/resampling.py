"""One image on two grids: positions by the centres of pixels, values by linear interpolation.

::

    own grid       |   0   |   1   |   2   |        pixels of 3 mm
    other grid     | 0 | 1 | 2 | 3 | 4 |            pixels of 2 mm, from the same edge

Pixel i of the other grid lies at (i + ½)·step − ½ of the own one, where the step is the other
spacing over the own; beyond the outer centres the outermost value holds. Every value depends on
its neighbours alone, so that a block computed by itself is that of the whole, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError

Block = tuple[slice, ...]

# Spacings this close are the same, rounded by a file's header.
_SAME = 1e-4
_AT_ONCE_PX = 1 << 21


@dataclass(frozen=True)
class Line:
    """Where the pixels of one axis lie on the axis that they are taken from.

    Args:
        source_px: Pixels of the axis they are taken from.
        length_px: Pixels of the new axis.
        step: Length of a new pixel in pixels of the source.

    Example:
        >>> line = Line(3, 5, 2 / 3)
        >>> line.nearest(slice(0, 5)).tolist(), line.needed(slice(3, 5))
        ([0, 1, 1, 2, 2], slice(1, 3, None))
    """

    source_px: int
    length_px: int
    step: float

    @property
    def same(self) -> bool:
        """Whether both axes are one."""
        return self.step == 1.0 and self.source_px == self.length_px

    def between(
        self, part: slice
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """The pixels before and after each new one, and the share of the later of the two.

        Args:
            part: Pixels of the new axis.
        """
        at = (np.arange(part.start, part.stop) + 0.5) * self.step - 0.5
        at = np.clip(at, 0, self.source_px - 1)
        before = np.floor(at).astype(np.intp)
        return before, np.minimum(before + 1, self.source_px - 1), at - before

    def nearest(self, part: slice) -> NDArray[np.intp]:
        """The pixels in which the centres of the new ones lie.

        Args:
            part: Pixels of the new axis.
        """
        at = np.floor((np.arange(part.start, part.stop) + 0.5) * self.step)
        return np.minimum(at, self.source_px - 1).astype(np.intp)

    def needed(self, part: slice) -> slice:
        """The pixels of the source on which a part of the new axis depends."""
        before, after, _ = self.between(part)
        return slice(int(before[0]), int(after[-1]) + 1)


@dataclass(frozen=True)
class Grid:
    """The grid of an image and the one its network works on.

    Args:
        own_px: Size of the image.
        network_px: Its size at the network's spacing.
        steps: Spacing of the network over that of the image, 1 where they are the same.
        network_mm: Spacing of the network.

    Example:
        >>> grid = Grid.between((10, 30), (3.0, 1.0), (1.5, 1.0))
        >>> grid.network_px, grid.same
        ((20, 30), False)
    """

    own_px: tuple[int, ...]
    network_px: tuple[int, ...]
    steps: tuple[float, ...]
    network_mm: tuple[float, ...]

    @staticmethod
    def between(
        size: Sequence[int], spacing_mm: Sequence[float], network_mm: Sequence[float]
    ) -> Grid:
        """The two grids of an image.

        Args:
            size: Its size in pixels.
            spacing_mm: Its pixel size along each axis.
            network_mm: The network's.

        Raises:
            DataError: ``spacing-axes`` where the numbers of axes differ, or a size is not positive.
        """
        alike = len(size) == len(spacing_mm) == len(network_mm)
        if not alike or not all(0 < mm < math.inf for mm in spacing_mm):
            raise DataError(
                "spacing-axes",
                "image",
                expected=f"a positive spacing for each of {len(size)} axes",
                found=f"{tuple(spacing_mm)} mm, to be brought to {tuple(network_mm)} mm",
                remedy="give one number for each axis, or use --set data.spacing=none",
            )
        steps = [new / own for own, new in zip(spacing_mm, network_mm, strict=True)]
        steps = [1.0 if abs(step - 1) < _SAME else step for step in steps]
        network_px = [
            max(1, round(length / step)) for length, step in zip(size, steps, strict=True)
        ]
        return Grid(tuple(size), tuple(network_px), tuple(steps), tuple(network_mm))

    @property
    def same(self) -> bool:
        """Whether both grids are one, so that nothing is interpolated."""
        return all(step == 1.0 for step in self.steps)

    @property
    def to_network(self) -> tuple[Line, ...]:
        """From the image's own grid to the network's."""
        sizes = zip(self.own_px, self.network_px, self.steps, strict=True)
        return tuple(Line(own, new, step) for own, new, step in sizes)

    @property
    def to_own(self) -> tuple[Line, ...]:
        """From the network's grid to the image's own."""
        sizes = zip(self.network_px, self.own_px, self.steps, strict=True)
        return tuple(Line(new, own, 1.0 / step) for new, own, step in sizes)


def interpolated_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Data type of interpolated values: float32 where it holds the pixels exactly, else float64.

    Example:
        >>> interpolated_type(np.dtype("int16")).name, interpolated_type(np.dtype("int32")).name
        ('float32', 'float64')
    """
    exact = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if exact else np.float64)


def interpolate(
    held_CS: NDArray[Any],
    lines: Sequence[Line],
    block: Block,
    *,
    first: Sequence[int] | None = None,
) -> NDArray[Any]:
    """A block of an image on another grid, by linear interpolation.

    Args:
        held_CS: The pixels it depends on, and any others, shape ``(C, *S)``.
        lines: From the grid of these pixels to the other one.
        block: Of the other grid.
        first: The first pixel along each axis that is held, by default that of the image.

    Returns:
        Shape ``(C, *block)``, of the data type that :func:`interpolated_type` says.

    Example:
        >>> grid = Grid.between((4,), (1.0,), (2.0,))
        >>> ramp = np.array([[0, 2, 4, 6]], np.uint8)
        >>> interpolate(ramp, grid.to_network, (slice(0, 2),)).tolist()
        [[1.0, 5.0]]
    """
    values: NDArray[Any] = held_CS
    dtype = interpolated_type(held_CS.dtype)
    starts = first or (0,) * len(lines)
    for axis, (line, part, start) in enumerate(zip(lines, block, starts, strict=True), start=1):
        if line.same:
            inner = slice(part.start - start, part.stop - start)
            values = values[(slice(None),) * axis + (inner,)]
            continue
        before, after, share = line.between(part)
        low = np.take(values, before - start, axis).astype(dtype, copy=False)
        gap = np.take(values, after - start, axis).astype(dtype, copy=False)
        gap -= low
        gap *= share.astype(dtype).reshape(-1, *(1,) * (values.ndim - 1 - axis))
        gap += low
        values = gap
    return values.astype(dtype, copy=False)


def interpolate_blocks(
    read: Callable[[Block], NDArray[Any]], lines: Sequence[Line], block: Block
) -> NDArray[Any]:
    """A block of an image on another grid, from an image of which any block can be read.

    Args:
        read: From a block of the image to its pixels, ``(C, *block)``.
        lines: From the image's grid to the other one.
        block: Of the other grid.

    Returns:
        The very values of :func:`interpolate` on the whole image.
    """
    parts = []
    for piece in _pieces(block):
        needed = tuple(line.needed(part) for line, part in zip(lines, piece, strict=True))
        first = [part.start for part in needed]
        parts.append(interpolate(read(needed), lines, piece, first=first))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def resample_image(image_CS: NDArray[Any], lines: Sequence[Line]) -> NDArray[Any]:
    """A whole image on another grid, by linear interpolation; itself where the grid is the same.

    Args:
        image_CS: Shape ``(C, *S)``.
        lines: From its grid to the other one.
    """
    if all(line.same for line in lines):
        return image_CS
    return interpolate_blocks(lambda block: image_CS[(slice(None), *block)], lines, _whole(lines))


def resample_classes(
    read: Callable[[Block], NDArray[np.uint8]], lines: Sequence[Line], block: Block
) -> NDArray[np.uint8]:
    """Class ids on another grid: the class with the largest share of the neighbouring pixels.

    The shares are those of linear interpolation, compared class by class; the lower class where
    two are equal. At most two classes are held as numbers at once, whatever their count.

    Args:
        read: From a block of the class ids' grid to the ids.
        lines: From this grid to the other one.
        block: Of the other grid.

    Example:
        >>> ids = np.array([0, 0, 7, 7], np.uint8)
        >>> lines = Grid.between((4,), (2.0,), (1.0,)).to_network
        >>> resample_classes(lambda block: ids[block], lines, (slice(0, 8),)).tolist()
        [0, 0, 0, 0, 7, 7, 7, 7]
    """
    parts = []
    for piece in _pieces(block):
        needed = tuple(line.needed(part) for line, part in zip(lines, piece, strict=True))
        first = [part.start for part in needed]
        ids_S = read(needed)
        classes = np.unique(ids_S).tolist()
        best_S = np.zeros([part.stop - part.start for part in piece], np.float32)
        found_S = np.full(best_S.shape, classes[0], np.uint8)
        for k in classes if len(classes) > 1 else ():
            share_S = interpolate((ids_S == k)[None], lines, piece, first=first)[0]
            larger_S = share_S > best_S
            found_S[larger_S] = k
            np.maximum(best_S, share_S, out=best_S)
        parts.append(found_S)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def resample_nearest(values_S: NDArray[Any], lines: Sequence[Line]) -> NDArray[Any]:
    """Values on another grid, each that of the pixel in which its centre lies.

    Args:
        values_S: Numbers that must not be mixed, such as those of objects.
        lines: From their grid to the other one.

    Example:
        >>> grid = Grid.between((2,), (2.0,), (1.0,))
        >>> resample_nearest(np.array([3, 900]), grid.to_network).tolist()
        [3, 3, 900, 900]
    """
    taken = values_S
    for axis, line in enumerate(lines):
        if not line.same:
            taken = np.take(taken, line.nearest(slice(0, line.length_px)), axis)
    return taken


def _whole(lines: Sequence[Line]) -> Block:
    return tuple(slice(0, line.length_px) for line in lines)


def _pieces(block: Block) -> Iterator[Block]:
    """A block in slabs along its first axis, so that what is interpolated at once stays small."""
    rows, *rest = block
    across = math.prod(part.stop - part.start for part in rest)
    step = max(1, _AT_ONCE_PX // max(1, across))
    for start in range(rows.start, rows.stop, step):
        yield (slice(start, min(start + step, rows.stop)), *rest)
