"""Which true object belongs to which predicted one: one to one, at an IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError
from maskwright.evaluate.contingency import Matching

# Far above the rounding of a quotient, far below the step between two areas under 10¹⁰ pixels.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ObjectCounts:
    """Objects found, claimed in vain and missed; counts of several images add up.

    Args:
        tp: Matched pairs of a true and a predicted object.
        fp: Predicted objects without a partner.
        fn: True objects without a partner.
        iou_sum: Sum of the IoU of the matched pairs.

    Example:
        >>> ObjectCounts(1, 0, 2, 0.75) + ObjectCounts(1, 1, 0, 0.5)
        ObjectCounts(tp=2, fp=1, fn=2, iou_sum=1.25)
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        """The counts of both together."""
        return ObjectCounts(
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.iou_sum + other.iou_sum,
        )


@dataclass(frozen=True)
class ObjectRow:
    """What became of one true object.

    Args:
        truth_id: Its id in the truth.
        size: Its pixels inside the region of interest.
        found: Whether it has a partner at the threshold.
        iou: Its largest IoU with any predicted object, 0 where none touches it.
    """

    truth_id: int
    size: int
    found: bool
    iou: float


def counts_at(matching: Matching, threshold: float, *, strict: bool = False) -> ObjectCounts:
    """Count the objects that can be matched one to one at an IoU threshold.

    As many pairs as possible are formed among those that reach the threshold; among equally
    many, those with the largest sum of IoU. Above one half no object has two candidates.

    Args:
        matching: What :func:`match_objects` returned.
        threshold: Smallest IoU of a pair, above 0 and at most 1. An IoU that equals it up to
            rounding is accepted.
        strict: Accept only an IoU above the threshold.

    Returns:
        The counts.

    Raises:
        ConfigError: For a threshold outside its range.

    Source: the assignment of ``stardist.matching``; Weigert et al. 2020, arXiv 1908.03636. Below
    one half StarDist settles ties with pairs under the threshold too, which can lower the sum.

    Example:
        >>> from maskwright.evaluate.contingency import match_objects
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([1, 1, 1, 1, 0])
        >>> counts_at(match_objects(prediction, truth), 0.5)
        ObjectCounts(tp=1, fp=0, fn=1, iou_sum=0.5)
    """
    matched = _matched_pairs(matching, threshold, strict)
    tp = int(matched.size)
    iou_sum = float(matching.iou[matched].sum())
    return ObjectCounts(
        tp, matching.prediction_ids.size - tp, matching.truth_ids.size - tp, iou_sum
    )


def _matched_pairs(matching: Matching, threshold: float, strict: bool) -> NDArray[np.int64]:
    """Indices into ``matching.pairs`` of the pairs of an optimal one-to-one matching."""
    if not 0 < threshold <= 1:
        raise ConfigError(
            "object-threshold",
            "IoU threshold",
            expected="a number above 0 and at most 1",
            found=str(threshold),
            remedy="use 0.5, the usual one",
        )
    limit = threshold + _ROUNDING if strict else threshold - _ROUNDING
    eligible = np.flatnonzero(matching.iou > limit)
    truth, prediction = matching.pairs[0][eligible], matching.pairs[1][eligible]
    rivals_truth = np.bincount(truth, minlength=matching.truth_ids.size)[truth]
    rivals_prediction = np.bincount(prediction, minlength=matching.prediction_ids.size)[prediction]
    alone = (rivals_truth == 1) & (rivals_prediction == 1)
    contested = eligible[~alone]
    if not contested.size:
        return eligible
    chosen = _assign(truth[~alone], prediction[~alone], matching.iou[contested])
    return np.sort(np.concatenate((eligible[alone], contested[chosen])))


def _assign(
    truth: NDArray[np.int64], prediction: NDArray[np.int64], iou: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices of the pairs of the largest matching, then of the largest sum of IoU.

    Every true object gets a place of its own to stay unmatched, at a price no choice among
    partners can make up for; so a complete assignment of least cost always exists.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows = np.unique(truth, return_inverse=True)[1]
    columns = np.unique(prediction, return_inverse=True)[1]
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    own = np.arange(n_rows)
    cost = coo_array(
        (
            np.concatenate((1 - iou / (2 * n_rows), np.full(n_rows, 2.0))),
            (np.concatenate((rows, own)), np.concatenate((columns, n_columns + own))),
        ),
        shape=(n_rows, n_columns + n_rows),
    )
    row, column = min_weight_full_bipartite_matching(cost.tocsr())
    real = column < n_columns
    wanted = row[real].astype(np.int64) * n_columns + column[real]
    return np.flatnonzero(np.isin(rows * n_columns + columns, wanted))


def object_rows(matching: Matching, threshold: float = 0.5) -> tuple[ObjectRow, ...]:
    """What became of every true object, for "3 of 14 tumours missed" and scores by size.

    Args:
        matching: What :func:`match_objects` returned.
        threshold: Smallest IoU of a match, as in :func:`counts_at`.

    Returns:
        One row for each true object, in the order of the ids.

    Raises:
        ConfigError: For a threshold outside its range.

    Example:
        >>> from maskwright.evaluate.contingency import match_objects
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([0, 1, 0, 0, 3])
        >>> for row in object_rows(match_objects(prediction, truth)):
        ...     row
        ObjectRow(truth_id=1, size=2, found=True, iou=0.5)
        ObjectRow(truth_id=2, size=2, found=False, iou=0.0)
    """
    found = np.zeros(matching.truth_ids.size, np.bool_)
    found[matching.pairs[0][_matched_pairs(matching, threshold, strict=False)]] = True
    best = np.zeros(matching.truth_ids.size)
    np.maximum.at(best, matching.pairs[0], matching.iou)
    columns = (matching.truth_ids, matching.truth_sizes, found, best)
    return tuple(ObjectRow(*values) for values in zip(*(c.tolist() for c in columns), strict=True))
