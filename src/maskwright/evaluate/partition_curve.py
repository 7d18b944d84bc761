"""Partition scores over thresholds: from probabilities of cells to one number per measure.

A probability above the threshold, strictly, is cell. The best threshold is shared by all
slices. Chosen on the data that are scored, it is an oracle: report it as one, or choose it on
validation data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.confusion import Counts
from maskwright.evaluate.masks import check_shape
from maskwright.evaluate.overlap import dice
from maskwright.evaluate.partition import (
    PartitionScore,
    count_overlaps,
    inside_labels,
    v_info,
    v_rand,
)
from maskwright.evaluate.thinning import segments, thin

THRESHOLDS = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class ThresholdScore:
    """Partition scores at one threshold.

    Args:
        threshold: Probabilities above it, strictly, are cell.
        v_rand: Foreground-restricted Rand score.
        v_info: Foreground-restricted information score.
    """

    threshold: float
    v_rand: PartitionScore
    v_info: PartitionScore


@dataclass(frozen=True)
class PartitionCurve:
    """Scores averaged over slices, and the best threshold of each measure.

    Args:
        rows: Mean scores, one row for each threshold. Each ``f`` is the mean of the slices'
            own, not the harmonic mean of the mean merge and split scores.
        best_v_rand: The row of the largest mean V-Rand, the first of equals.
        best_v_info: The row of the largest mean V-Info, the first of equals.
        slices: How many slices every mean is over.
    """

    rows: tuple[ThresholdScore, ...]
    best_v_rand: ThresholdScore
    best_v_info: ThresholdScore
    slices: int


def score_thresholds(
    probability_cells_YX: NDArray[Any],
    truth_labels_YX: NDArray[Any],
    thresholds: Sequence[float] = THRESHOLDS,
    thinned: bool = True,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[ThresholdScore, ...]:
    """V-Rand and V-Info of one slice at every threshold, each from 0 to 1.

    Empty images as in :func:`maskwright.evaluate.partition.v_rand`.

    Args:
        probability_cells_YX: Probability of cell, from 0 to 1, 2D.
        truth_labels_YX: True segments, same shape, 0 is membrane. The truth is never thinned.
        thresholds: The thresholds, the official ones unless given.
        thinned: Whether the proposal's membranes are thinned first, as the official score does.
        valid: Where True the pixel counts; membranes outside still part segments.

    Returns:
        One row for each threshold, in the given order.

    Raises:
        DataError: If the shapes differ, or values are no probabilities or no ids.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142.

    Example:
        >>> cells = np.array([[0.9, 0.4, 0.9]])
        >>> rows = score_thresholds(cells, np.array([[1, 0, 2]]), thresholds=(0.3, 0.5))
        >>> [(row.threshold, round(row.v_rand.f, 4)) for row in rows]
        [(0.3, 0.6667), (0.5, 1.0)]
    """
    probability_YX, truth_YX = np.asarray(probability_cells_YX), np.asarray(truth_labels_YX)
    check_shape(probability_YX, "probabilities", truth_YX.shape)
    check_probabilities(probability_YX)
    # A higher threshold keeps a subset: as many pixels are the same pixels.
    known: dict[int, tuple[PartitionScore, PartitionScore]] = {}
    rows = []
    for threshold in thresholds:
        cells_YX = probability_YX > threshold
        pixels = int(np.count_nonzero(cells_YX))
        if pixels not in known:
            proposal_YX = thin(cells_YX) if thinned else segments(cells_YX)
            known[pixels] = (
                v_rand(proposal_YX, truth_YX, valid),
                v_info(proposal_YX, truth_YX, valid),
            )
        rows.append(ThresholdScore(threshold, *known[pixels]))
    return tuple(rows)


def best_threshold(per_slice: Sequence[Sequence[ThresholdScore]]) -> PartitionCurve:
    """Average the slices' scores at each threshold, then take the largest mean of each measure.

    One threshold serves all slices; V-Rand and V-Info may have different ones.

    Args:
        per_slice: Rows of :func:`score_thresholds` for each slice, at the same thresholds.

    Returns:
        The mean rows and the best of them.

    Raises:
        DataError: If there is no row, or the slices have different thresholds.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142.

    Example:
        >>> good, poor = PartitionScore(1.0, 1.0, 1.0), PartitionScore(0.5, 1.0, 0.6)
        >>> rows = [ThresholdScore(0.4, poor, poor), ThresholdScore(0.5, good, poor)]
        >>> curve = best_threshold([rows, rows])
        >>> curve.best_v_rand.threshold, curve.best_v_info.threshold, curve.slices
        (0.5, 0.4, 2)
    """
    found = {tuple(row.threshold for row in rows) for rows in per_slice}
    if len(found) != 1 or () in found:
        raise DataError(
            "threshold-rows",
            "slices",
            expected="one row for each threshold, the same thresholds in every slice",
            found="no rows" if not found - {()} else f"{len(found)} lists of thresholds",
            remedy="score every slice at the same thresholds",
        )
    rows = tuple(
        ThresholdScore(
            at_threshold[0].threshold,
            _mean([row.v_rand for row in at_threshold]),
            _mean([row.v_info for row in at_threshold]),
        )
        for at_threshold in zip(*per_slice, strict=True)
    )
    return PartitionCurve(
        rows,
        max(rows, key=lambda row: row.v_rand.f),
        max(rows, key=lambda row: row.v_info.f),
        len(per_slice),
    )


def rand_error(
    probabilities: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    thresholds: Sequence[float] = THRESHOLDS,
    valid: Sequence[NDArray[np.bool_]] | None = None,
) -> tuple[float, float]:
    """Rand error of the first challenge, 1 − max F over thresholds, from 0 (best) to 1.

    F = 2TP / (2TP + FP + FN) over pairs of distinct pixels of a slice, a pair being positive
    where both pixels have the same id. The counts are summed over slices. Nothing is thinned,
    membrane is a segment like any other, and no pixel is left out. No pair anywhere: 0.

    Args:
        probabilities: Probability of cell of each slice, from 0 to 1.
        truths: True segments of each slice, integer ids.
        thresholds: The thresholds to try.
        valid: Where the pixels of each slice count; ``None`` counts all.

    Returns:
        The error, and the first threshold that reaches it.

    Raises:
        DataError: If slices are missing, shapes differ, or values are no probabilities or ids.

    Source: Rand 1971, Journal of the American Statistical Association 66:846, as
    ``RandError.getRandIndexMaximalFScore`` of Fiji's Trainable Segmentation has it.

    Example:
        >>> rand_error([np.array([[0.9, 0.2, 0.9]])], [np.array([[1, 0, 2]])], (0.1, 0.5))
        (0.0, 0.5)
    """
    return _least_error("rand", probabilities, truths, thresholds, valid)


def pixel_error(
    probabilities: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    thresholds: Sequence[float] = THRESHOLDS,
    valid: Sequence[NDArray[np.bool_]] | None = None,
) -> tuple[float, float]:
    """Pixel error, 1 − max F-score of the cells over thresholds, from 0 (best) to 1.

    The counts are summed over slices, cells are positive. Nothing true and nothing predicted: 0.

    Args:
        probabilities: Probability of cell of each slice, from 0 to 1.
        truths: Cells (not 0, or True) or segments of each slice.
        thresholds: The thresholds to try.
        valid: Where the pixels of each slice count; ``None`` counts all.

    Returns:
        The error, and the first threshold that reaches it.

    Raises:
        DataError: If slices are missing, shapes differ, or values are no probabilities.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142; ``PixelError`` of
    Fiji's Trainable Segmentation.

    Example:
        >>> pixel_error([np.array([[0.9, 0.4, 0.7]])], [np.array([[1, 0, 0]])], (0.3, 0.5, 0.8))
        (0.0, 0.8)
    """
    return _least_error("pixel", probabilities, truths, thresholds, valid)


def check_probabilities(probabilities: NDArray[Any]) -> None:
    """Refuse values that are no probabilities.

    Args:
        probabilities: The values, any shape.

    Raises:
        DataError: If a value is NaN, below 0 or above 1.

    Example:
        >>> check_probabilities(np.array([0.0, 0.5, 1.0]))
    """
    if not probabilities.size:
        return
    low, high = float(probabilities.min()), float(probabilities.max())
    if not (low >= 0 and high <= 1):
        raise DataError(
            "probability-range",
            "probabilities",
            expected="values from 0 to 1",
            found=f"{low:g} to {high:g}",
            remedy="divide an 8-bit image by 255, or apply the sigmoid to logits",
        )


class ErrorSweep:
    """Adds up the counts of :func:`rand_error` or :func:`pixel_error`, one slice at a time.

    Args:
        kind: Which of the two.
        thresholds: The thresholds to try.

    Example:
        >>> sweep = ErrorSweep("pixel", (0.3, 0.5, 0.8))
        >>> sweep.add(np.array([[0.9, 0.4, 0.7]]), np.array([[1, 0, 0]]))
        >>> sweep.result()
        (0.0, 0.8)
    """

    def __init__(
        self, kind: Literal["rand", "pixel"], thresholds: Sequence[float] = THRESHOLDS
    ) -> None:
        self._count = _count_pairs if kind == "rand" else _count_pixels
        self._thresholds = tuple(thresholds)
        self._totals = [Counts(0, 0, 0, 0)] * len(thresholds)

    def add(
        self,
        probability_YX: NDArray[Any],
        truth_YX: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one slice.

        Args:
            probability_YX: Probability of cell, from 0 to 1.
            truth_YX: True segments, integer ids, same shape.
            valid: Where the pixels count.

        Raises:
            DataError: If shapes differ, or values are no probabilities or ids.
        """
        probability_YX, truth_YX = np.asarray(probability_YX), np.asarray(truth_YX)
        check_shape(probability_YX, "probabilities", truth_YX.shape)
        check_probabilities(probability_YX)
        for index, threshold in enumerate(self._thresholds):
            self._totals[index] += self._count(probability_YX > threshold, truth_YX, valid)

    def result(self) -> tuple[float, float]:
        """The error, and the first threshold that reaches it."""
        scores = [dice(total) for total in self._totals]
        best = max(scores)
        return 1.0 - best, self._thresholds[scores.index(best)]


def _least_error(
    kind: Literal["rand", "pixel"],
    probabilities: Sequence[NDArray[Any]],
    truths: Sequence[NDArray[Any]],
    thresholds: Sequence[float],
    valid: Sequence[NDArray[np.bool_]] | None,
) -> tuple[float, float]:
    regions = [None] * len(truths) if valid is None else valid
    if not len(thresholds) or not len(probabilities) == len(truths) == len(regions) > 0:
        raise DataError(
            "slices-number",
            "slices",
            expected="as many probabilities (and regions) as truths, and a threshold",
            found=f"{len(probabilities)} probabilities, {len(truths)} truths, "
            f"{len(regions)} regions, {len(thresholds)} thresholds",
            remedy="pass one probability image for each truth",
        )
    sweep = ErrorSweep(kind, thresholds)
    for probability_YX, truth_YX, region in zip(probabilities, truths, regions, strict=True):
        sweep.add(probability_YX, truth_YX, region)
    return sweep.result()


def _count_pixels(
    cells: NDArray[np.bool_], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Counts:
    true = truth != 0
    if valid is not None:
        check_shape(np.asarray(valid), "region of interest", truth.shape)
        inside = np.asarray(valid, np.bool_)
        cells, true = cells[inside], true[inside]
    both = int(np.count_nonzero(cells & true))
    fp, fn = int(np.count_nonzero(cells)) - both, int(np.count_nonzero(true)) - both
    return Counts(both, fp, fn, true.size - both - fp - fn)


def _count_pairs(
    cells: NDArray[np.bool_], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Counts:
    predicted, true = inside_labels(segments(cells), truth, valid)
    table = count_overlaps(predicted, true)
    together, of_prediction, of_truth = (
        (int(np.dot(sizes, sizes)) - true.size) // 2
        for sizes in (table.joint, table.predicted, table.true)
    )
    fp, fn = of_prediction - together, of_truth - together
    pairs = true.size * (true.size - 1) // 2
    return Counts(together, fp, fn, pairs - together - fp - fn)


def _mean(scores: list[PartitionScore]) -> PartitionScore:
    n = len(scores)
    return PartitionScore(
        sum(score.merge for score in scores) / n,
        sum(score.split for score in scores) / n,
        sum(score.f for score in scores) / n,
    )
