"""Warping error: the mistakes that no wider, narrower or shifted membrane explains.

The truth is bent towards the proposal one pixel at a time, by flips that neither part nor join
anything and neither open nor close a hole. What still differs is wrong in topology. Only pixels
that differ are flipped: a membrane can move beside itself, but one drawn apart from the true
one, without touching it, counts as a split and a merger.
"""

from __future__ import annotations

import functools
import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.masks import check_shape
from maskwright.evaluate.partition_curve import check_probabilities
from maskwright.evaluate.thinning import segments

# The eight neighbours (dy, dx) in a circle from the east; even ones share a side. Bit k of a
# neighbourhood's code tells whether neighbour k is cell.
_CIRCLE = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class WarpingScore:
    """Mistakes in topology, counted in pixels that could not be flipped.

    An all-membrane proposal has no split and no merger and scores a perfect 0, so read
    ``deletions`` beside ``error``.

    Args:
        error: (splits + mergers) / area, from 0 (best) to 1.
        splits: Membrane pixels proposed across a true cell.
        mergers: Cell pixels proposed across a true membrane.
        deletions: Pixels left of true cells that the proposal lacks, membrane all around.
        additions: Pixels of proposed cells with true membrane all around.
        hole_deletions: Pixels whose flip would fill a hole in a cell, or open it outwards.
        hole_additions: Pixels whose flip would make a hole in a cell.
        warped_YX: The truth bent towards the proposal, True where there is cell.
    """

    error: float
    splits: int
    mergers: int
    deletions: int
    additions: int
    hole_deletions: int
    hole_additions: int
    warped_YX: NDArray[np.bool_] = field(repr=False, compare=False)


def warping_error(
    proposal_YX: NDArray[Any],
    truth_YX: NDArray[Any],
    threshold: float = 0.5,
    valid: NDArray[np.bool_] | None = None,
) -> WarpingScore:
    """Share of pixels that are splits or mergers after warping, from 0 (best) to 1.

    Beyond the border everything is membrane. Pixels that differ are tried in order of
    |proposal − threshold|, the surest first, and flipped in the truth where they are simple
    (cells 4-connected, membrane 8-connected), in rounds until none can be flipped. Each pixel
    that remains is classified from the segments around it, as the reference does (it differs
    only in images one pixel wide, where it sees no border). Both images empty: 0.

    Args:
        proposal_YX: Probability of cell from 0 to 1, or a mask, 2D.
        truth_YX: True cells (not 0, or True), same shape; segments must not touch.
        threshold: Probabilities above it, strictly, are cell.
        valid: Where True the truth may be flipped and mistakes count; ``None`` takes all. The
            area is then that of this region.

    Returns:
        The error, the counts and the warped truth.

    Raises:
        DataError: If the images are not 2D, shapes differ, or values are no probabilities.

    Source: Jain et al. 2010, CVPR, 2488, and ``WarpingError`` of Fiji's Trainable Segmentation.

    Example:
        >>> truth = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 0, 1]])
        >>> moved, joined = truth.copy(), truth.copy()
        >>> moved[:, 2], joined[0, 3] = 0, 1
        >>> warping_error(moved, truth).error, warping_error(joined, truth).mergers
        (0.0, 1)
    """
    proposal, truth = np.asarray(proposal_YX), np.asarray(truth_YX)
    if truth.ndim != 2:
        raise DataError(
            "warping-shape",
            "truth",
            expected="a 2D image",
            found=f"shape {truth.shape}",
            remedy="compare a stack slice by slice",
        )
    check_shape(proposal, "proposal", truth.shape)
    check_probabilities(proposal)
    inside = np.ones(truth.shape, np.bool_)
    if valid is not None:
        check_shape(np.asarray(valid), "region of interest", truth.shape)
        inside = np.asarray(valid, np.bool_)
    cells = np.pad(truth != 0, 1)
    wrong = np.pad(((proposal > threshold) != (truth != 0)) & inside, 1)
    # Single precision makes ties where the reference has them.
    sureness = np.abs(proposal.astype(np.float64) - threshold).astype(np.float32)
    _warp(cells, wrong, np.pad(sureness, 1))
    counts = _classify(cells, wrong)
    area = int(np.count_nonzero(inside))
    error = (counts["splits"] + counts["mergers"]) / area if area else 0.0
    return WarpingScore(error=error, **counts, warped_YX=cells[1:-1, 1:-1].copy())


@functools.cache
def simple_points() -> NDArray[np.bool_]:
    """Which of the 256 neighbourhoods of a pixel make it simple, cells being 4-connected.

    A pixel is simple when its flip changes neither the number of cells nor that of holes. That
    is so where exactly one piece of cell touches it, and not all eight neighbours are cell.

    Returns:
        Table of 256; bit k of the index tells whether neighbour k is cell, counted in a circle
        from the east.

    Source: Yokoi, Toriwaki and Fukumura 1975, Computer Graphics and Image Processing 4:63.

    Example:
        >>> int(simple_points().sum()), bool(simple_points()[0b00000001])
        (116, True)
    """
    table: NDArray[np.bool_] = _branches(np.arange(256)) == 1
    return table


def _branches(codes: NDArray[Any]) -> NDArray[np.int64]:
    """How many pieces of cell touch a pixel with a side, inside its eight neighbours."""
    bits = (codes[..., None] >> np.arange(8)) & 1
    sides, corners, following = bits[..., ::2], bits[..., 1::2], np.roll(bits, -2, -1)[..., ::2]
    touching: NDArray[np.int64] = (sides - sides * corners * following).sum(-1)
    return touching


def _codes(cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The neighbourhood of every pixel but those of the frame, where it is left 0."""
    codes = np.zeros(cells.shape, np.uint8)
    height, width = cells.shape
    for bit, (dy, dx) in enumerate(_CIRCLE):
        moved = cells[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        codes[1:-1, 1:-1] |= moved.astype(np.uint8) << bit
    return codes


def _warp(cells: NDArray[np.bool_], wrong: NDArray[np.bool_], sureness: NDArray[Any]) -> None:
    """Flip simple pixels of ``cells`` in place; ``wrong`` keeps those that could not be."""
    width = cells.shape[1]
    # The reference lists pixels column by column and sorts stably.
    columns, rows = np.nonzero(wrong.T)
    pixels = rows * width + columns
    pixels = pixels[np.argsort(-sureness.ravel()[pixels], kind="stable")]
    n = pixels.size
    order = pixels.tolist()
    rank = dict(zip(order, range(n), strict=True))
    codes = _codes(cells).ravel().tolist()
    simple = simple_points().tolist()
    around = [(dy * width + dx, 1 << (bit + 4) % 8) for bit, (dy, dx) in enumerate(_CIRCLE)]
    # A turn is a round times n plus the rank. Only a flip beside it can make a pixel simple, so
    # after the first round only those pixels get another turn, in the order of full rounds.
    turns = list(range(n))
    latest = list(range(n))
    while turns:
        turn = heapq.heappop(turns)
        place = turn % n
        pixel = order[place]
        if not simple[codes[pixel]]:
            continue
        del rank[pixel]
        for step, bit in around:
            codes[pixel + step] ^= bit
            other = rank.get(pixel + step)
            if other is not None and latest[other] < turn:
                latest[other] = turn - place + other + (n if other < place else 0)
                heapq.heappush(turns, latest[other])
    left = np.zeros(wrong.size, np.bool_)
    left[list(rank)] = True
    cells ^= wrong & ~left.reshape(wrong.shape)
    wrong[...] = left.reshape(wrong.shape)


def _classify(cells: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, int]:
    """Count what the remaining pixels are, from the segments among their neighbours."""
    from scipy import ndimage

    y, x = np.nonzero(wrong)
    dy, dx = np.transpose(_CIRCLE)
    neighbours = y[:, None] + dy, x[:, None] + dx
    is_cell = cells[y, x]
    objects = _distinct(segments(cells)[neighbours])
    membranes = (~cells)[neighbours].any(1)
    outsides, _ = ndimage.label(~cells, np.ones((3, 3)))
    # Flipping a cell pixel leaves its branches as pieces of their own, unless they still hang
    # together round a membrane: pieces = branches − separate membranes around + 1.
    pieces = _branches(_codes(cells)[y, x]) - _distinct(outsides[neighbours]) + 1
    splits = is_cell & ((objects > 1) | ((objects == 1) & membranes & (pieces > 1)))
    mergers = ~is_cell & (objects > 1)
    single = (objects == 1) & ~splits
    kinds = {
        "splits": splits,
        "mergers": mergers,
        "deletions": is_cell & (objects == 0),
        "additions": ~is_cell & (objects == 0),
        "hole_deletions": single & (is_cell == membranes),
        "hole_additions": single & (is_cell != membranes),
    }
    return {name: int(np.count_nonzero(kind)) for name, kind in kinds.items()}


def _distinct(labels: NDArray[Any]) -> NDArray[np.int64]:
    """How many different labels other than 0 each row holds."""
    ordered = np.sort(np.pad(labels, ((0, 0), (1, 0))), axis=1)
    changes: NDArray[np.int64] = (np.diff(ordered, axis=1) != 0).sum(1)
    return changes
