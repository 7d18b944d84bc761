"""Where numbered objects lie, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Extents:
    """Sizes, first pixels and boxes of N objects.

    Args:
        sizes: Pixels of each, shape ``(N,)``.
        first: The place of the first pixel of each, counted through the whole image in the order
            of an array, shape ``(N,)``.
        low: The first pixel of each along each axis, shape ``(S, N)``.
        high: The one after the last, shape ``(S, N)``.

    Example:
        >>> found = Extents.of(np.array([[0, 1], [1, 1]]), 1, (0, 5), (2, 7))
        >>> found.sizes.tolist(), found.first.tolist(), found.low.T.tolist(), found.high.T.tolist()
        ([3], [6], [[0, 5]], [[2, 7]])
    """

    sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    low: NDArray[np.int32]
    high: NDArray[np.int32]

    @staticmethod
    def of(
        objects_S: NDArray[Any], count: int, start: Sequence[int], size: Sequence[int]
    ) -> Extents:
        """The extents of the objects in a block.

        Args:
            objects_S: A number for each object from 1, 0 where there is none.
            count: The largest number there may be.
            start: Where the block starts in the image.
            size: Size of the image.
        """
        places = np.flatnonzero(objects_S)
        index = objects_S.ravel()[places].astype(np.int64) - 1
        along_SN = [
            along + offset
            for along, offset in zip(np.unravel_index(places, objects_S.shape), start, strict=True)
        ]
        first = np.full(count, np.iinfo(np.int64).max)
        low = np.full((len(along_SN), count), np.iinfo(np.int32).max, np.int32)
        high = np.zeros((len(along_SN), count), np.int32)
        np.minimum.at(first, index, np.ravel_multi_index(along_SN, tuple(size)))
        for axis, along in enumerate(along_SN):
            np.minimum.at(low[axis], index, along.astype(np.int32))
            np.maximum.at(high[axis], index, along.astype(np.int32) + 1)
        return Extents(np.bincount(index, minlength=count), first, low, high)

    def joined(self, owner: NDArray[Any], count: int) -> Extents:
        """The extents of objects that consist of these.

        Args:
            owner: The object to which each belongs, from 0.
            count: Objects there are.
        """
        first = np.full(count, np.iinfo(np.int64).max)
        low = np.full((len(self.low), count), np.iinfo(np.int32).max, np.int32)
        high = np.zeros((len(self.low), count), np.int32)
        sizes = np.zeros(count, np.int64)
        np.add.at(sizes, owner, self.sizes)
        np.minimum.at(first, owner, self.first)
        for axis in range(len(self.low)):
            np.minimum.at(low[axis], owner, self.low[axis])
            np.maximum.at(high[axis], owner, self.high[axis])
        return Extents(sizes, first, low, high)

    def take(self, chosen: NDArray[Any]) -> Extents:
        """Some of them, in the order of their indices."""
        return Extents(
            self.sizes[chosen], self.first[chosen], self.low[:, chosen], self.high[:, chosen]
        )

    def replace(self, index: int, other: Extents) -> None:
        """Let one of them be as the first of others."""
        self.sizes[index], self.first[index] = other.sizes[0], other.first[0]
        self.low[:, index], self.high[:, index] = other.low[:, 0], other.high[:, 0]

    def box(self, index: int) -> tuple[slice, ...]:
        """The box of one of them."""
        return tuple(
            slice(low, high)
            for low, high in zip(
                self.low[:, index].tolist(), self.high[:, index].tolist(), strict=True
            )
        )

    @staticmethod
    def concatenated(parts: Sequence[Extents]) -> Extents:
        """All objects of several, one after the other."""
        return Extents(
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.low for part in parts], axis=1),
            np.concatenate([part.high for part in parts], axis=1),
        )
