"""Probabilities brought back to an image's own grid, in slabs along the first axis.

::

    network's grid                       own grid
    ┌──────────────┐
    │ last slice   │ kept of the slab before ──┐
    ├──────────────┤                           ├─► rows between the two
    │ slab, as its │ ──────────────────────────┘
    │ tiles finish │ ────────────────────────────► rows inside it, a few at a time
    └──────────────┘

Never are all classes of a whole image held at its own size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import ImagePrediction, Part, most_probable
from maskwright.resampling import Grid, Line, interpolate

_VALUES_AT_ONCE = 1 << 20


def restored(parts: Iterable[Part], grid: Grid) -> Iterator[Part]:
    """Parts of an image on its own grid, by linear interpolation.

    Args:
        parts: All parts on the network's grid, in order, see
            :func:`maskwright.predict.predictor.join_tiles`.
        grid: Both grids.

    Yields:
        Whole rows in order, each part valid until the next is taken; the same as the interpolation
        of the whole image, bit for bit. Probabilities of whole images come with the next part.
    """
    lines = grid.to_own
    before, after, _ = lines[0].between(slice(0, grid.own_px[0]))
    last: list[NDArray[Any]] = []
    image_L = np.empty(0, np.float32)
    done = 0
    for rows, maps, share_L in _slabs(parts, grid.network_px):
        if share_L.size:
            image_L = image_L + share_L if image_L.size else share_L
        # Rows between the slab before and this one, then those inside it.
        between = int(np.searchsorted(before, rows.start))
        ready = int(np.searchsorted(after, rows.stop))
        pairs = [np.stack([a[:, 0], b[:, 0]], 1) for a, b in zip(last, maps, strict=False)]
        for first, stop, held, start in (
            (done, min(between, ready), pairs, rows.start - 1),
            (max(done, between), ready, maps, rows.start),
        ):
            for own_rows, (values_KS, *levels_KS) in _rows(held, lines, slice(first, stop), start):
                where = (own_rows, *(slice(0, size) for size in grid.own_px[1:]))
                yield Part(where, values_KS, tuple(levels_KS), image_L)
                image_L = np.empty(0, np.float32)
        done = max(done, ready)
        last = [values_KS[:, -1:].copy() for values_KS in maps]


def restore(found: ImagePrediction, grid: Grid) -> ImagePrediction:
    """A prediction with its probabilities on the image's own grid.

    Args:
        found: The prediction on the network's grid, whose probabilities are held.
        grid: Both grids.
    """
    shares_KYX = found.probabilities_KYX
    whole = tuple(slice(0, size) for size in grid.network_px)
    classes_YX = np.empty(grid.own_px, np.uint8)
    own_KYX = np.empty((len(shares_KYX), *grid.own_px), np.float32)
    for part in restored([Part(whole, shares_KYX)], grid):
        own_KYX[(slice(None), *part.where)] = part.probabilities_KYX
        classes_YX[part.where] = most_probable(part.probabilities_KYX)
    return ImagePrediction(classes_YX, own_KYX, found.image_probabilities_L)


def _slabs(
    parts: Iterable[Part], size: tuple[int, ...]
) -> Iterator[tuple[slice, list[NDArray[Any]], NDArray[np.float32]]]:
    """Whole rows of the network's grid: parts as they are, or put together from tiles."""
    slab: list[NDArray[Any]] = []
    image_L, missing = np.empty(0, np.float32), 0
    for part in parts:
        rows, maps = part.where[0], [part.probabilities_KYX, *part.levels_KYX]
        if all(at == slice(0, n) for at, n in zip(part.where[1:], size[1:], strict=True)):
            yield rows, maps, part.image_L
            continue
        if not missing:
            shape = (rows.stop - rows.start, *size[1:])
            slab = [np.empty((len(values_KS), *shape), values_KS.dtype) for values_KS in maps]
            missing, image_L = math.prod(shape), np.empty(0, np.float32)
        for slab_KS, values_KS in zip(slab, maps, strict=True):
            slab_KS[(slice(None), slice(None), *part.where[1:])] = values_KS
        if part.image_L.size:
            image_L = image_L + part.image_L if image_L.size else part.image_L
        missing -= maps[0][0].size
        if not missing:
            yield rows, slab, image_L


def _rows(
    held: Sequence[NDArray[Any]], lines: Sequence[Line], rows: slice, start: int
) -> Iterator[tuple[slice, list[NDArray[Any]]]]:
    """Rows of the own grid, a few at a time, from the slab that begins at ``start``."""
    if not held or rows.start >= rows.stop:
        return
    across = math.prod(max(line.source_px, line.length_px) for line in lines[1:])
    step = max(1, _VALUES_AT_ONCE // (across * len(held[0])))
    rest = [slice(0, line.length_px) for line in lines[1:]]
    origin = (start, *(0,) * len(rest))
    for first in range(rows.start, rows.stop, step):
        part = slice(first, min(first + step, rows.stop))
        yield (
            part,
            [interpolate(values_KS, lines, (part, *rest), first=origin) for values_KS in held],
        )
