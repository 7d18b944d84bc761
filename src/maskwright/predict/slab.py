"""Running sums of overlapping tiles: a slab as high as a tile, never the whole image.

::

    first axis ↓
    ┌────────────────────┐
    │ finished: taken    │   no later tile reaches here
    ├────────────────────┤ ◄── stop: where the next row of tiles starts
    │ sums of this row   │   moves up, and the next row adds to it
    └────────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.tiling import Tile


class Slab:
    """Sums of weighted values, of several maps at once.

    Args:
        tiles: All tiles that will be added, in row-major order.
        shape: Size of the image.
        channels: Channels of each map.
        dtype: Data type of the sums.

    Example:
        >>> from maskwright.geometry import Axis
        >>> from maskwright.tiling import BlendRule
        >>> tiles = BlendRule((Axis((3, 3), (2,)),), 4, 0).cover((6,))
        >>> slab = Slab(tiles, (6,), [1], np.float32)
        >>> slab.add(tiles[0], [np.ones((1, 4), np.float32)])
        >>> slab.take(2)[1][0].tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        shape: tuple[int, ...],
        channels: Sequence[int],
        dtype: type[np.floating[Any]],
    ) -> None:
        height = max(tile.write[0].size for tile in tiles)
        self._first, self._taken = tiles[0].write[0].start, 0
        self._rest = shape[1:]
        self._sums = [np.zeros((count, height, *shape[1:]), dtype) for count in channels]

    def add(self, tile: Tile, maps: Sequence[NDArray[np.float32]]) -> None:
        """Add what a tile says, by its weights.

        Args:
            tile: The tile, whose rows lie in the slab.
            maps: Values of the size of its ``write``, shape ``(K, *S)``.
        """
        self._move()
        rows, *rest = tile.write_slices
        where = (slice(rows.start - self._first, rows.stop - self._first), *rest)
        weights_S: NDArray[np.float32] = np.ones((), np.float32)
        for along in tile.weights or ():
            weights_S = np.multiply.outer(weights_S, along)
        for sums_KS, values_KS in zip(self._sums, maps, strict=True):
            for sums_S, values_S in zip(sums_KS, values_KS, strict=True):
                sums_S[where] += values_S * weights_S

    def take(self, stop: int) -> tuple[tuple[slice, ...], list[NDArray[Any]]]:
        """The rows before ``stop``, which no further tile changes.

        Returns:
            Where they lie in the image, and their values: views, valid until the next tile.
        """
        self._taken = stop - self._first
        where = (slice(self._first, stop), *(slice(0, size) for size in self._rest))
        return where, [sums_KS[:, : self._taken] for sums_KS in self._sums]

    def _move(self) -> None:
        """Move the sums up by the rows that were taken, one channel at a time."""
        if self._taken:
            for sums_S in (sums_S for sums_KS in self._sums for sums_S in sums_KS):
                kept = len(sums_S) - self._taken
                sums_S[:kept] = sums_S[self._taken :]
                sums_S[kept:] = 0
            self._first, self._taken = self._first + self._taken, 0
