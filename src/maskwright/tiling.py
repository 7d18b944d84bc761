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

A network that takes means over its whole input agrees for no tiling, and in volumes an exact
context can be wider than what is left of a tile. Their tiles overlap by half, and each counts by
a Gaussian around its centre (:class:`BlendRule`)::

    weight  ▁▂▅▇█▇▅▂▁                 the weights of a pixel sum to one
                ▁▂▅▇█▇▅▂▁
                    ▁▂▅▇█▇▅▂▁
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


Part = tuple[Interval, Interval, Interval]
"""Read, crop and write along one axis."""


@dataclass(frozen=True)
class Tile:
    """One tile of a cover.

    Args:
        read: What the network reads, one interval an axis, in image pixels; may leave the image.
        crop: What of the network's output is kept, in output pixels.
        write: Where that belongs, in image pixels; always inside.
        weights: What the tile counts for along each axis of ``write``, where others write there
            too; a pixel counts by their product. ``None`` where no other tile writes.
    """

    read: tuple[Interval, ...]
    crop: tuple[Interval, ...]
    write: tuple[Interval, ...]
    weights: tuple[NDArray[np.float32], ...] | None = field(default=None, compare=False)

    @staticmethod
    def of(parts: Sequence[Part], weights: tuple[NDArray[np.float32], ...] | None = None) -> Tile:
        """The tile of these parts, one an axis."""
        read, crop, write = zip(*parts, strict=True)
        return Tile(read, crop, write, weights)

    @property
    def crop_slices(self) -> tuple[slice, ...]:
        """``crop`` as an index."""
        return tuple(interval.slice for interval in self.crop)

    @property
    def write_slices(self) -> tuple[slice, ...]:
        """``write`` as an index."""
        return tuple(interval.slice for interval in self.write)

    @property
    def area(self) -> float:
        """Pixels that the tile decides, those that others write too by its weight."""
        if self.weights is None:
            return float(math.prod(interval.size for interval in self.write))
        return math.prod(float(weights.sum(dtype=np.float64)) for weights in self.weights)


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

    Example:
        >>> axis = geometry.Axis((3,) * 5, (2,) * 4, padding="valid")
        >>> rule = TileRule((axis, axis), tile_px=572, mirror_px=0)
        >>> [read.size for read in rule.cover((388, 388))[0].read]
        [572, 572]
    """

    axes: tuple[geometry.Axis, ...]
    tile_px: int | tuple[int, ...]
    mirror_px: int | tuple[int, ...]

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape, in row-major order.

        Args:
            shape: Size in pixels, one number an axis.

        Raises:
            SizeError: When ``tile_px`` leaves nothing to keep.
        """
        count = len(self.axes)
        axes = [
            list(_cover_axis(axis, size, tile_px, mirror_px))
            for axis, size, tile_px, mirror_px in zip(
                self.axes,
                shape,
                _each(self.tile_px, count),
                _each(self.mirror_px, count),
                strict=True,
            )
        ]
        return [Tile.of(parts) for parts in product(*axes)]


@dataclass(frozen=True)
class BlendRule:
    """Overlapping tiles whose probabilities are averaged, wherever tiles cannot agree.

    Neighbours lie at most half a tile apart. Along each axis a tile counts by
    g(x) = exp(−(x − c)² / 2σ²) with σ an eighth of its output, divided by the sum of all tiles'
    g(x): the products of these weights sum to one at every pixel. One tile where the image fits
    into it.

    Args:
        axes: The network's axes.
        tile_px: Largest size of the network's input, one number or one an axis.
        mirror_px: How far the image is mirrored beyond its border, as in :class:`TileRule`.

    Source: Isensee et al. 2021, nnU-Net, Nature Methods 18, for half a tile and an eighth.

    Example:
        >>> axis = geometry.Axis((3,) * 3, (2,) * 2)
        >>> tiles = BlendRule((axis,), tile_px=32, mirror_px=0).cover((64,))
        >>> [tile.write[0].start for tile in tiles]
        [0, 16, 32]
        >>> bool(np.allclose(tiles[0].weights[0][16:] + tiles[1].weights[0][:16], 1))
        True
    """

    axes: tuple[geometry.Axis, ...]
    tile_px: int | tuple[int, ...]
    mirror_px: int | tuple[int, ...]

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape, in row-major order.

        Args:
            shape: Size in pixels, one number an axis.

        Raises:
            SizeError: When the network takes no tile as small as ``tile_px``.
        """
        count = len(self.axes)
        axes = [
            _blend_axis(axis, size, tile_px, mirror_px)
            for axis, size, tile_px, mirror_px in zip(
                self.axes,
                shape,
                _each(self.tile_px, count),
                _each(self.mirror_px, count),
                strict=True,
            )
        ]
        if all(len(parts) == 1 for parts, _ in axes):
            return [Tile.of([parts[0] for parts, _ in axes])]
        chosen = product(*(zip(parts, weights, strict=True) for parts, weights in axes))
        return [
            Tile.of([part for part, _ in several], tuple(weights for _, weights in several))
            for several in chosen
        ]


def _each(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else value


def _blend_axis(
    axis: geometry.Axis, size: int, tile_px: int, mirror_px: int
) -> tuple[list[Part], list[NDArray[np.float32]]]:
    """Read, crop and write of the tiles along one axis, and their weights."""
    step, loss = axis.step, axis.border_loss
    padded = axis.padding == "same"
    mirror = _round_up(mirror_px, step) if padded else 0
    needed = (_round_up(size, step) if padded else size) + 2 * mirror
    largest = axis.previous_legal(tile_px) or 0
    starts = [-mirror]
    if largest - 2 * loss >= needed:
        largest = axis.next_legal(needed + 2 * loss)
    elif largest - 2 * loss < step:
        raise _too_small(axis.next_legal(step + 2 * loss), loss, tile_px)
    else:
        half = max(1, (largest - 2 * loss) // 2 // step)
        way = -(-(needed - largest + 2 * loss) // step)
        gaps = -(-way // half)
        starts = [step * (number * way // gaps) - mirror for number in range(gaps + 1)]
    length = largest - 2 * loss
    parts = []
    for start in starts:
        first, last = max(start, 0), min(start + length, size)
        if first < last:
            read = Interval(start - loss, start - loss + largest)
            crop = Interval(first - start, last - start)
            parts.append((read, crop, Interval(first, last)))
    bell = np.exp(-0.5 * np.square((np.arange(length) - (length - 1) / 2) / (length / 8)))
    total = np.zeros(size)
    for _, crop, write in parts:
        total[write.slice] += bell[crop.slice]
    return parts, [
        (bell[crop.slice] / total[write.slice]).astype(np.float32) for _, crop, write in parts
    ]


def _cover_axis(axis: geometry.Axis, size: int, tile_px: int, mirror_px: int) -> Iterator[Part]:
    step, context = axis.step, axis.context
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
        raise _too_small(axis.next_legal(axis.step + 2 * context), context, tile_px)
    return kept


def _too_small(smallest: int, context: int, tile_px: int) -> SizeError:
    why = f", since {context} px on each side are context" if context else ""
    return SizeError(
        "tile-too-small",
        "--tile",
        expected=f"at least {smallest} px{why}",
        found=f"{tile_px} px",
        remedy=f"use {smallest} or more",
    )


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
    inside, unfolded = mirrored_window(read, array_CYX.shape[array_CYX.ndim - len(read) :])
    channels = (slice(None),) * (array_CYX.ndim - len(read))
    return unfold(array_CYX[channels + inside], unfolded)


Unfolding = tuple[NDArray[np.intp] | None, ...]
"""Positions to take along each axis of a block, ``None`` where it is taken as it is."""


def mirrored_window(
    read: Sequence[Interval], shape: Sequence[int]
) -> tuple[tuple[slice, ...], Unfolding]:
    """The block inside an image that a window needs, and how the window is made from it.

    Args:
        read: The window, which may leave the image.
        shape: Size of the image, one number an axis.

    Returns:
        The block, and what :func:`unfold` takes.

    Example:
        >>> mirrored_window((Interval(-2, 2), Interval(1, 3)), (5, 5))
        ((slice(0, 3, None), slice(1, 3, None)), (array([2, 1, 0, 1]), None))
    """
    inside: list[slice] = []
    unfolded: list[NDArray[np.intp] | None] = []
    for interval, size in zip(read, shape, strict=True):
        if interval.start >= 0 and interval.stop <= size:
            inside.append(interval.slice)
            unfolded.append(None)
        else:
            index = mirror_index(interval, size)
            first = int(index.min())
            inside.append(slice(first, int(index.max()) + 1))
            unfolded.append(index - first)
    return tuple(inside), tuple(unfolded)


def unfold(block_CYX: NDArray[Any], unfolded: Unfolding) -> NDArray[Any]:
    """A window from the block that it needs, see :func:`mirrored_window`."""
    for offset, index in enumerate(unfolded):
        if index is not None:
            block_CYX = np.take(block_CYX, index, axis=block_CYX.ndim - len(unfolded) + offset)
    return block_CYX
