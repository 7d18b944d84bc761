"""Tiles that cover an image: what each reads, what of its output is kept, where that goes.

::

        read.start      write.start          write.stop       read.stop
            │◄── context ──►│◄──── kept ────────►│◄── context ──►│
            ├───────────────┼────────────────────┼───────────────┤
    ····▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│████████████████████│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│
        ▲ mirrored          0 (border of the image)

The kept parts of neighbouring tiles touch and never overlap. Every ``read`` starts on the same
grid of the poolings, so a pixel is pooled with the same neighbours whichever tile computes it:
with the context that :class:`maskwright.geometry.Axis` counts all tilings agree, without seams.
Axes are independent of each other, so images and volumes are tiled alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.errors import SizeError


@dataclass(frozen=True)
class Interval:
    """Pixels ``start`` to ``stop`` along one axis, ``stop`` excluded; may leave the image."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The interval as an index."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Tile:
    """One tile of a cover.

    Args:
        read: What the network reads, one interval an axis, in image pixels; may leave the image.
        crop: What of the network's output is kept, in output pixels.
        write: Where that belongs, in image pixels; always inside.
    """

    read: tuple[Interval, ...]
    crop: tuple[Interval, ...]
    write: tuple[Interval, ...]

    @property
    def crop_slices(self) -> tuple[slice, ...]:
        """``crop`` as an index."""
        return tuple(interval.slice for interval in self.crop)

    @property
    def write_slices(self) -> tuple[slice, ...]:
        """``write`` as an index."""
        return tuple(interval.slice for interval in self.write)


@dataclass(frozen=True)
class TileRule:
    """How a network may be tiled, each axis by its own rule.

    Args:
        axes: The network's axes, see :func:`maskwright.geometry.axes_of`.
        tile_px: Largest size of the network's input, one number for all axes or one for each.
        mirror_px: How far the image is mirrored beyond its border for a ``same`` network, one
            number for all axes or one for each; rounded up to the grid. Beyond that the network's
            own zero padding begins, wherever tiles lie. A ``valid`` network always mirrors as much
            as it loses.
        exact: Whether all tilings must agree. Otherwise, as for networks that take means over the
            whole tile (:func:`maskwright.geometry.is_exact`), at most a quarter of a tile is
            context on either side beyond what the network loses.

    Example:
        >>> axis = geometry.Axis((3,) * 5, (2,) * 4, padding="valid")
        >>> rule = TileRule((axis, axis), tile_px=572, mirror_px=0)
        >>> [read.size for read in rule.cover((388, 388))[0].read]
        [572, 572]
    """

    axes: tuple[geometry.Axis, ...]
    tile_px: int | tuple[int, ...]
    mirror_px: int | tuple[int, ...]
    exact: bool = True

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape, in row-major order.

        Args:
            shape: Size in pixels, one number an axis.

        Raises:
            SizeError: When ``tile_px`` leaves nothing to keep.
        """
        count = len(self.axes)
        axes = [
            list(_cover_axis(axis, size, tile_px, mirror_px, self._context(axis, tile_px)))
            for axis, size, tile_px, mirror_px in zip(
                self.axes,
                shape,
                _each(self.tile_px, count),
                _each(self.mirror_px, count),
                strict=True,
            )
        ]
        return [
            Tile(*(tuple(part[i] for part in parts) for i in range(3))) for parts in product(*axes)
        ]

    def _context(self, axis: geometry.Axis, tile_px: int) -> int:
        quarter = tile_px // 4 // axis.step * axis.step
        return axis.context if self.exact else axis.border_loss + min(axis.halo, quarter)


def _each(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else value


def _cover_axis(
    axis: geometry.Axis, size: int, tile_px: int, mirror_px: int, context: int
) -> Iterator[tuple[Interval, Interval, Interval]]:
    step = axis.step
    longest = _round_up(size, step)
    largest = axis.previous_legal(tile_px) or 0
    domain: Interval | None = None
    if axis.padding == "valid":
        whole = largest - 2 * context >= size
        longest = size if whole else longest
    else:
        mirror = _round_up(mirror_px, step)
        domain = Interval(-mirror, longest + mirror)
        whole = domain.size <= tile_px
    if whole:
        kept = longest
    else:
        kept = _kept_per_tile(axis, largest, tile_px, context)
        # Equal tiles rather than a narrow last one: less context is computed twice.
        kept = min(kept, _round_up(-(-size // -(-size // kept)), step))
    for start in range(0, size, kept):
        stop = min(start + kept, size)
        first = start - context
        last = first + axis.next_legal(min(kept, longest - start) + 2 * context)
        if domain is not None:
            first, last = max(first, domain.start), min(last, domain.stop)
        origin = first + axis.border_loss
        yield (
            Interval(first, last),
            Interval(start - origin, stop - origin),
            Interval(start, stop),
        )


def _kept_per_tile(axis: geometry.Axis, largest: int, tile_px: int, context: int) -> int:
    kept = (largest - 2 * context) // axis.step * axis.step
    if kept < axis.step:
        smallest = axis.next_legal(axis.step + 2 * context)
        raise SizeError(
            "tile-too-small",
            "--tile",
            expected=f"at least {smallest} px, since {context} px on each side are context",
            found=f"{tile_px} px",
            remedy=f"use {smallest} or more",
        )
    return kept


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step


def mirror_index(interval: Interval, size: int) -> NDArray[np.intp]:
    """Pixel to read for each position of an interval, mirrored at the image's borders.

    The border pixel itself is not repeated, as in the paper's figure 2; an interval reaching
    further than the image is wide is mirrored again.

    Args:
        interval: Positions along one axis.
        size: Pixels of the image along it.

    Example:
        >>> mirror_index(Interval(-2, 5), 3).tolist()
        [2, 1, 0, 1, 2, 1, 0]
    """
    positions = np.arange(interval.start, interval.stop)
    if size == 1:
        return np.zeros_like(positions)
    period = 2 * (size - 1)
    folded = np.abs(positions) % period
    mirrored: NDArray[np.intp] = np.minimum(folded, period - folded)
    return mirrored


def read_mirrored(array_CYX: NDArray[Any], read: tuple[Interval, ...]) -> NDArray[Any]:
    """Cut a window that may leave the image, mirrored where it does.

    Args:
        array_CYX: Image, shape ``(C, Y, X)``, or volume, shape ``(C, Z, Y, X)``.
        read: Intervals along its last axes.

    Returns:
        Window of the sizes of ``read``; a view where it lies inside.
    """
    for offset, interval in enumerate(read):
        axis = array_CYX.ndim - len(read) + offset
        size = array_CYX.shape[axis]
        if interval.start >= 0 and interval.stop <= size:
            index: list[slice] = [slice(None)] * array_CYX.ndim
            index[axis] = interval.slice
            array_CYX = array_CYX[tuple(index)]
        else:
            array_CYX = np.take(array_CYX, mirror_index(interval, size), axis=axis)
    return array_CYX
