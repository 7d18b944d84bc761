"""Measures of probabilities that need no threshold: how well they rank the pixels.

Both are exact. Positives and negatives are sorted apart, and the ranks of one among the other
are looked up, which needs neither an index array nor a threshold list as long as the image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError

# Bounds the 64-bit ranks held at once.
BLOCK_PX = 1 << 20


def auc(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """Area under the receiver operating characteristic, from the rank statistic.

    P(score of a positive > score of a negative) + ½ P(equal), from 0 to 1; 0.5 is chance.

    Args:
        scores: Scores of the positive class, any shape; only their order matters.
        truth: Which pixels are positive, same shape, bool or 0/1.

    Returns:
        The area, or NaN when positives or negatives are absent.

    Raises:
        DataError: If the shapes differ or a score is NaN.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982, Radiology 143:29.

    Example:
        >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75
    """
    positives, negatives = _sorted_apart(scores, truth)
    pairs = positives.size * negatives.size
    if pairs == 0:
        return math.nan
    swap = positives.size > negatives.size
    keys, among = (negatives, positives) if swap else (positives, negatives)
    # Twice the pairs in which the key is larger, ties counted once, so that it stays an integer.
    twice = 0
    for start in range(0, keys.size, BLOCK_PX):
        block = keys[start : start + BLOCK_PX]
        twice += int(np.searchsorted(among, block, "left").sum())
        twice += int(np.searchsorted(among, block, "right").sum())
    area = twice / (2 * pairs)
    return 1.0 - area if swap else area


def average_precision(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """Average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over all thresholds, from 0 to 1.

    Chance is the share of positives. Nothing is interpolated.

    Args:
        scores: Scores of the positive class, any shape.
        truth: Which pixels are positive, same shape, bool or 0/1.

    Returns:
        The precision averaged over the recall, or NaN without positives.

    Raises:
        DataError: If the shapes differ or a score is NaN.

    Source: Davis and Goadrich 2006, ICML, and the definition used by scikit-learn.

    Example:
        >>> average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.833...
    """
    positives, negatives = _sorted_apart(scores, truth)
    if positives.size == 0:
        return math.nan
    first = np.flatnonzero(np.concatenate(([True], positives[1:] != positives[:-1])))
    total = 0.0
    for start in range(0, first.size, BLOCK_PX):
        ends = first[start : start + BLOCK_PX + 1]
        begins = ends[:BLOCK_PX]
        at_threshold = np.diff(ends, append=positives.size)[: begins.size]
        tp = positives.size - begins
        fp = negatives.size - np.searchsorted(negatives, positives[begins], "left")
        total += float(np.sum(at_threshold * (tp / (tp + fp))))
    return total / positives.size


def _sorted_apart(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores of the positives and of the negatives, each ascending."""
    if scores.shape != truth.shape:
        raise DataError(
            "scores-shape",
            "scores",
            expected=f"the shape of the truth, {truth.shape}",
            found=str(scores.shape),
            remedy="pass the probabilities of one class, one for each pixel of the truth",
        )
    if np.issubdtype(scores.dtype, np.floating) and bool(np.isnan(scores).any()):
        raise DataError(
            "scores-nan",
            "scores",
            expected="numbers",
            found="NaN",
            remedy="leave those pixels out",
        )
    positive = truth.astype(bool, copy=False)
    return np.sort(scores[positive]), np.sort(scores[~positive])
