"""Objects of images of any size, whose pixels are read block by block.

::

    classes ──► blocks ──► pieces in a block ──► joined where blocks touch ──► cut in their boxes
                                │                                                     │
                                └───────────── numbers, on the disk ──────────────────┘

The result is that of :func:`maskwright.predict.objects.find_objects` on the whole image, since an
object depends on its connected piece alone. In memory are one block or one box, and about 200
bytes for each object: 200 MB for a million.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.io.large_mask import blocks_of
from maskwright.io.stored import Block
from maskwright.predict.extents import Extents
from maskwright.predict.objects import SMALLEST_CUT_PX, connected_pieces, cut_piece, framed

STEPS_PX = {2: (1024, 1024), 3: (64, 128, 128)}
"""Blocks in which images are read, by their number of axes."""

# Objects that begin in the same block of this size are cut together.
_NEAR_PX = {2: (512, 512), 3: (32, 64, 64)}


class Predicted(Protocol):
    """What was predicted of an image, read block by block."""

    def classes(self, block: Block) -> NDArray[np.uint8]:
        """Class ids of a block, as an array of its own."""

    def certainty(self, block: Block) -> NDArray[np.uint16] | None:
        """Probability of each pixel's class times 65535, where it is known."""

    def interior(self, block: Block) -> NDArray[np.bool_] | None:
        """Where the insides of objects are, where they are predicted."""


class Numbers(Protocol):
    """An array of uint32, as large as the image, that is read and written block by block."""

    def __getitem__(self, block: Block) -> NDArray[np.uint32]:
        """The numbers of a block, as an array of its own."""

    def __setitem__(self, block: Block, numbers_S: NDArray[np.uint32]) -> None:
        """Replace them."""


@dataclass(frozen=True, eq=False)
class LargeObjects:
    """The objects of an image.

    Args:
        size: Size of the image.
        extents: Where they lie; the object of the number n comes at n − 1.
        stored: Numbers of the pieces that objects consist of.
        table: The number of the object for each of these; 0 for those that were left out.
    """

    size: tuple[int, ...]
    extents: Extents
    stored: Numbers
    table: NDArray[np.uint32]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.extents.sizes.size

    def beyond(self, most_px: int) -> int:
        """How many have a box of more pixels, with a pixel around it."""
        return int(np.count_nonzero(box_px(self.extents) > most_px))

    def read(self, block: Block) -> NDArray[np.uint32]:
        """The numbers of the objects in a block, 0 where there is none."""
        numbers_S: NDArray[np.uint32] = self.table[self.stored[block]]
        return numbers_S


def find_large_objects(
    size: tuple[int, ...],
    predicted: Predicted,
    stored: Numbers,
    *,
    method: str = "components",
    min_px: int = 0,
    spacing: Sequence[float] | None = None,
    border: bool = False,
    most_px: int,
    steps: Sequence[int] | None = None,
) -> LargeObjects:
    """Number the objects of all classes but the first, of an image of any size.

    Args:
        size: Size of the image.
        predicted: What was predicted of it.
        stored: Where numbers are kept; what is there is replaced.
        method: As for :func:`maskwright.predict.objects.find_objects`.
        min_px: Objects of fewer pixels are left out.
        spacing: Length of a pixel along each axis.
        border: Whether insides of objects are predicted.
        most_px: Pixels of the largest box that is held. A piece whose box is larger is not cut.
        steps: Size of the blocks.

    Example:
        >>> from types import SimpleNamespace
        >>> classes = np.array([[1, 1, 0], [0, 0, 2]], np.uint8)
        >>> predicted = SimpleNamespace(classes=lambda block: classes[block])
        >>> found = find_large_objects((2, 3), predicted, np.zeros((2, 3), np.uint32),
        ...                            most_px=9, steps=(1, 2))
        >>> found.read((slice(0, 2), slice(0, 3))).tolist()
        [[1, 1, 0], [0, 0, 2]]
    """
    owner, extents = _pieces(size, predicted, stored, border, steps or STEPS_PX[len(size)])
    if border or method == "watershed":
        cutting = _Cutting(size, predicted, stored, owner, extents, method)
        owner, extents = cutting.cut(spacing, max(min_px, SMALLEST_CUT_PX), most_px)
    kept = np.flatnonzero(extents.sizes >= min_px)
    order = kept[np.argsort(extents.first[kept])]
    number = np.zeros(extents.sizes.size, np.uint32)
    number[order] = np.arange(1, order.size + 1)
    table = np.zeros(owner.size + 1, np.uint32)
    table[1:] = number[owner]
    return LargeObjects(size, extents.take(order), stored, table)


def box_px(extents: Extents) -> NDArray[np.int64]:
    """Pixels of the box of each object, with a pixel around it."""
    found: NDArray[np.int64] = np.prod(extents.high.astype(np.int64) - extents.low + 2, axis=0)
    return found


def near_each_other(
    extents: Extents, chosen: NDArray[np.int64], size: Sequence[int]
) -> Iterator[tuple[Block, list[int]]]:
    """Objects in groups, each with a region that holds their boxes and a pixel around them.

    Args:
        extents: Where objects lie.
        chosen: Indices of those that are wanted.
        size: Size of the image.

    Yields:
        The region and the indices; objects larger than a region of several are on their own.
    """
    low, high = extents.low[:, chosen], extents.high[:, chosen]
    steps = np.array(_NEAR_PX[len(size)])[:, None]
    cells = tuple(-(-length // step) for length, step in zip(size, steps[:, 0], strict=True))
    key = np.ravel_multi_index(tuple(low // steps), cells)
    large = (high - low > steps).any(0)
    key[large] = math.prod(cells) + np.arange(np.count_nonzero(large))
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    for group in np.split(order, ends) if order.size else ():
        box = tuple(
            slice(int(first), int(last))
            for first, last in zip(low[:, group].min(1), high[:, group].max(1), strict=True)
        )
        yield framed(box, size), chosen[group].tolist()


def _pieces(
    size: tuple[int, ...],
    predicted: Predicted,
    stored: Numbers,
    border: bool,
    steps: Sequence[int],
) -> tuple[NDArray[np.int64], Extents]:
    """Connected pieces: that of each stored number, from 0, and where they lie."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, parts = 0, []
    class_of, pairs = [np.zeros(1, np.uint8)], [np.zeros((2, 0), np.int64)]
    for block in blocks_of(size, steps):
        classes_S = predicted.classes(block)
        classes_S = (classes_S > 0).astype(np.uint8) if border else classes_S
        numbers_S = connected_pieces(np.ascontiguousarray(classes_S))
        inside_S = numbers_S > 0
        found = int(numbers_S.max())
        parts.append(Extents.of(numbers_S, found, [part.start for part in block], size))
        classes = np.zeros(found, np.uint8)
        classes[numbers_S[inside_S] - 1] = classes_S[inside_S]
        class_of.append(classes)
        numbers_S[inside_S] += np.uint32(count)
        stored[block] = numbers_S
        count += found
        pairs += _touching(stored, block)
    extents = Extents.concatenated(parts)
    one, other = np.concatenate(pairs, axis=1)
    classes = np.concatenate(class_of)
    same = classes[one] == classes[other]
    links = coo_array(
        (np.ones(np.count_nonzero(same), bool), (one[same] - 1, other[same] - 1)), (count, count)
    )
    pieces, owner = connected_components(links, directed=False) if count else (0, np.empty(0, int))
    return owner.astype(np.int64), extents.joined(owner, pieces)


def _touching(stored: Numbers, block: Block) -> Iterator[NDArray[np.int64]]:
    """Numbers on both sides of the faces at which a block begins, its edges and corners too."""
    before = tuple(slice(max(part.start - 1, 0), part.stop) for part in block)
    for axis, part in enumerate(block):
        if part.start == 0:
            continue
        across = slice(part.start - 1, part.start + 1)
        faces = stored[(*before[:axis], across, *before[axis + 1 :])]
        near_S, far_S = np.moveaxis(faces, axis, 0)
        pairs = []
        for shifts in product((-1, 0, 1), repeat=near_S.ndim):
            ones = near_S[tuple(_shifted(shift) for shift in shifts)]
            others = far_S[tuple(_shifted(-shift) for shift in shifts)]
            both_there = (ones > 0) & (others > 0)
            pairs.append(np.stack([ones[both_there], others[both_there]]).astype(np.int64))
        yield np.unique(np.concatenate(pairs, axis=1), axis=1)


def _shifted(shift: int) -> slice:
    return slice(max(shift, 0), min(shift, 0) or None)


class _Cutting:
    """Cuts pieces, each in its own box.

    The first object of a piece keeps the number of the piece; the others get new ones.
    """

    def __init__(
        self,
        size: tuple[int, ...],
        predicted: Predicted,
        stored: Numbers,
        owner: NDArray[np.int64],
        extents: Extents,
        method: str,
    ) -> None:
        self._size, self._predicted, self._stored = size, predicted, stored
        self._method = method
        self._owner, self._extents = owner, extents
        self._piece_of = np.concatenate([np.zeros(1, np.uint32), (owner + 1).astype(np.uint32)])
        self._added = 0

    def cut(
        self, spacing: Sequence[float] | None, min_px: int, most_px: int
    ) -> tuple[NDArray[np.int64], Extents]:
        """Cut all pieces of at least so many pixels, whose boxes have at most so many.

        Returns:
            The object of each stored number, and where objects lie.
        """
        extents = self._extents
        chosen = np.flatnonzero((extents.sizes >= min_px) & (box_px(extents) <= most_px))
        parts = [extents]
        for region, group in near_each_other(extents, chosen, self._size):
            parts += self._cut_near(region, group, spacing)
        new = np.arange(self._added) + extents.sizes.size
        owner = np.concatenate([self._owner, new])
        return owner, Extents.concatenated(parts)

    def _cut_near(
        self, region: Block, group: Sequence[int], spacing: Sequence[float] | None
    ) -> list[Extents]:
        """Cut the pieces of one region; where the new objects lie, together."""
        numbers_S = self._stored[region]
        pieces_S = self._piece_of[np.where(numbers_S < self._piece_of.size, numbers_S, 0)]
        certainty_S, interior_S = (
            self._predicted.certainty(region),
            self._predicted.interior(region),
        )
        added: list[Extents] = []
        for index in group:
            box = framed(self._extents.box(index), self._size)
            inner = tuple(
                slice(part.start - whole.start, part.stop - whole.start)
                for part, whole in zip(box, region, strict=True)
            )
            cut_S = cut_piece(
                pieces_S[inner] == index + 1,
                None if certainty_S is None else certainty_S[inner],
                spacing,
                None if interior_S is None else interior_S[inner],
                method=self._method,
            )
            objects = int(cut_S.max())
            if objects == 1:
                continue
            found = Extents.of(cut_S, objects, [part.start for part in box], self._size)
            self._extents.replace(index, found)
            added.append(found.take(np.arange(1, objects)))
            others_S = cut_S > 1
            before = self._piece_of.size - 2 + self._added
            numbers_S[inner][others_S] = (before + cut_S[others_S]).astype(np.uint32)
            self._added += objects - 1
        if added:
            self._stored[region] = numbers_S
        return [Extents.concatenated(added)] if added else []
