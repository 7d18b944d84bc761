"""Tiles for networks of others: sizes, halo and border loss as their description names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

from maskwright.errors import SizeError
from maskwright.tiling import Interval, Part, Tile


class WindowAxis(Protocol):
    """One axis of such a network, as :class:`maskwright.io.package.PackageAxis`."""

    @property
    def smallest(self) -> int:
        """The smallest size of the input."""

    @property
    def divisor(self) -> int:
        """The step between sizes, 0 where only one is possible."""

    @property
    def halo(self) -> int:
        """What is cut from the output on each side of a tile."""

    @property
    def border_loss(self) -> int:
        """By how many pixels the output is smaller on each side."""


@dataclass(frozen=True)
class WindowRule:
    """How such a network is tiled.

    One tile where the image fits into it. Otherwise tiles overlap by the halo; the first and the
    last lie at the image's borders, so that what is predicted there is not computed from mirrored
    pixels.

    Args:
        axes: The network's axes.
        tile_px: Largest size of the input, for networks with a choice.
    """

    axes: Sequence[WindowAxis]
    tile_px: int

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape, in row-major order.

        Args:
            shape: Size in pixels, one number an axis.

        Raises:
            SizeError: ``tile-too-small`` when a tile leaves nothing to keep.
        """
        parts = [
            list(_cover_axis(axis, size, self.tile_px))
            for axis, size in zip(self.axes, shape, strict=True)
        ]
        return [Tile.of(several) for several in product(*parts)]


def _cover_axis(axis: WindowAxis, size: int, tile_px: int) -> Iterator[Part]:
    loss, context = axis.border_loss, axis.border_loss + axis.halo
    needed = size + 2 * loss
    length = _length(axis, needed)
    if length > tile_px and axis.divisor:
        length = max(axis.smallest, _length(axis, tile_px + 1) - axis.divisor)
    step = length - 2 * context
    if axis.divisor and length < needed:
        # Tiles start on the network's own grid, so that pooling meets the same neighbours.
        step = step // axis.divisor * axis.divisor
    if length < needed and step < 1:
        smallest = _length(axis, 2 * context + max(1, axis.divisor))
        raise SizeError(
            "tile-too-small",
            "--tile",
            expected=f"at least {smallest} px, since {context} px on each side are context",
            found=f"{length} px",
            remedy=f"use {smallest} or more" if axis.divisor else "predict smaller images",
        )
    starts = [-loss]
    while starts[-1] + length < size + loss:
        starts.append(min(starts[-1] + step, _last_start(axis, size, length)))
    kept = [0, *(start + context for start in starts[1:]), size]
    for start, first, last in zip(starts, kept, kept[1:], strict=False):
        origin = start + loss
        yield (
            Interval(start, start + length),
            Interval(first - origin, last - origin),
            Interval(first, last),
        )


def _length(axis: WindowAxis, wanted: int) -> int:
    """The size of the input that is nearest to what is wanted, from above."""
    if not axis.divisor:
        return axis.smallest
    steps = -(-(wanted - axis.smallest) // axis.divisor)
    return axis.smallest + max(0, steps) * axis.divisor


def _last_start(axis: WindowAxis, size: int, length: int) -> int:
    """Where the last tile starts: it ends at the border, or less than a step beyond it."""
    start = size + axis.border_loss - length
    divisor = max(1, axis.divisor)
    return -(-(start + axis.border_loss) // divisor) * divisor - axis.border_loss
