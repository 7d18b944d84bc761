"""Scores of objects: which true object was found by which predicted one, and how well.

Everything follows from the sizes of the objects and of their overlaps, which :func:`match_objects`
collects in one pass. Without any object on either side every measure is 1, because there was
nothing to find and nothing was claimed; with objects on one side only it is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.evaluate.assignment import ObjectCounts, ObjectRow, counts_at, object_rows
from maskwright.evaluate.contingency import Matching, components, match_objects, pool

__all__ = [
    "OBJECT_MEASURES",
    "Matching",
    "ObjectCounts",
    "ObjectRow",
    "aji",
    "ap",
    "components",
    "counts_at",
    "det",
    "dsb_score",
    "f1",
    "match_objects",
    "object_rows",
    "pool",
    "pq",
    "precision",
    "recall",
    "seg",
]

# Exact fractions: adding up steps of 0.05 would end above some of them and lose objects.
DSB_THRESHOLDS = tuple(k / 20 for k in range(10, 20))

_SPLIT, _MISSED, _SPURIOUS = 5, 10, 1  # weights of the Cell Tracking Challenge


def _share(numerator: float, denominator: float, counts: ObjectCounts) -> float:
    if counts.tp == counts.fp == counts.fn == 0:
        return 1.0
    return numerator / denominator if denominator else 0.0


def ap(counts: ObjectCounts) -> float:
    """Objects' ``ap`` at one threshold, TP / (TP + FP + FN), from 0 to 1.

    No objects at all: 1. This is StarDist's and the Data Science Bowl's; it is not the area under
    a precision-recall curve that COCO calls AP.

    Args:
        counts: Counts of :func:`counts_at`.

    Returns:
        The share.

    Source: Caicedo et al. 2019, Nature Methods 16:1247.

    Example:
        >>> ap(ObjectCounts(tp=1, fp=0, fn=1, iou_sum=0.5))
        0.5
    """
    return _share(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def f1(counts: ObjectCounts) -> float:
    """F1 of the objects, 2TP / (2TP + FP + FN), from 0 to 1.

    No objects at all: 1.

    Args:
        counts: Counts of :func:`counts_at`.

    Returns:
        The harmonic mean of :func:`precision` and :func:`recall`.

    Source: van Rijsbergen 1979, Information Retrieval.

    Example:
        >>> f1(ObjectCounts(tp=1, fp=0, fn=1, iou_sum=0.5))
        0.666...
    """
    return _share(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def precision(counts: ObjectCounts) -> float:
    """Precision of the objects, TP / (TP + FP), from 0 to 1.

    No objects at all: 1. Nothing predicted and objects in the truth: 0.

    Args:
        counts: Counts of :func:`counts_at`.

    Returns:
        The share of the predicted objects that are true.

    Source: van Rijsbergen 1979, Information Retrieval.

    Example:
        >>> precision(ObjectCounts(tp=3, fp=1, fn=5, iou_sum=2.0))
        0.75
    """
    return _share(counts.tp, counts.tp + counts.fp, counts)


def recall(counts: ObjectCounts) -> float:
    """Recall of the objects, TP / (TP + FN), from 0 to 1.

    No objects at all: 1. An empty truth and objects predicted: 0.

    Args:
        counts: Counts of :func:`counts_at`.

    Returns:
        The share of the true objects that were found.

    Source: van Rijsbergen 1979, Information Retrieval.

    Example:
        >>> recall(ObjectCounts(tp=3, fp=5, fn=1, iou_sum=2.0))
        0.75
    """
    return _share(counts.tp, counts.tp + counts.fn, counts)


def pq(counts: ObjectCounts) -> float:
    """Panoptic quality, Σ IoU of the pairs / (TP + FP/2 + FN/2), from 0 to 1.

    No objects at all: 1. Its definition matches above an IoU of one half, so that it is taken of
    ``counts_at(matching, 0.5, strict=True)``.

    Args:
        counts: Counts of :func:`counts_at`.

    Returns:
        The quality: F1 times the mean IoU of the matched pairs.

    Source: Kirillov et al. 2019, CVPR, arXiv 1801.00868.

    Example:
        >>> pq(ObjectCounts(tp=1, fp=0, fn=1, iou_sum=0.75))
        0.5
    """
    return _share(counts.iou_sum, counts.tp + (counts.fp + counts.fn) / 2, counts)


def _empty_score(matching: Matching) -> float | None:
    """The score where one side has no object, or ``None`` where both have."""
    if matching.truth_ids.size and matching.prediction_ids.size:
        return None
    return 0.0 if matching.truth_ids.size or matching.prediction_ids.size else 1.0


def aji(matching: Matching) -> float:
    """Aggregated Jaccard index, Σ |G∩P| / (Σ |G∪P| + Σ |unused P|), from 0 to 1.

    Each true object G takes the predicted object P of the largest IoU (the lowest id among
    equals); one P may serve several. A true object that nothing touches adds its size to the
    denominator. No objects at all: 1. On one side only: 0.

    Args:
        matching: What :func:`match_objects` returned.

    Returns:
        The index.

    Source: Kumar et al. 2017, IEEE Transactions on Medical Imaging 36:1550.

    Example:
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([1, 1, 1, 1, 0])
        >>> aji(match_objects(prediction, truth))
        0.5
    """
    empty = _empty_score(matching)
    if empty is not None:
        return empty
    truth, prediction, intersection = matching.pairs
    # Best first within each true object; the sort is stable, so equals stay in order of id.
    order = np.lexsort((-matching.iou, truth))
    best = order[np.unique(truth[order], return_index=True)[1]]
    common = int(intersection[best].sum())
    used = np.unique(prediction[best])
    predicted = int(matching.prediction_sizes[prediction[best]].sum())
    unused = int(matching.prediction_sizes.sum() - matching.prediction_sizes[used].sum())
    return common / (int(matching.truth_sizes.sum()) + predicted - common + unused)


def dsb_score(matching: Matching) -> float:
    """Score of the 2018 Data Science Bowl: mean of ``ap`` at IoU 0.5, 0.55 … 0.95, from 0 to 1.

    No objects at all: 1. On one side only: 0. An IoU equal to a threshold counts.

    Args:
        matching: What :func:`match_objects` returned.

    Returns:
        The mean.

    Source: Caicedo et al. 2019, Nature Methods 16:1247.

    Example:
        >>> truth, prediction = np.array([1, 1, 1, 1, 0]), np.array([1, 1, 1, 0, 0])
        >>> dsb_score(match_objects(prediction, truth))
        0.6
    """
    return sum(ap(counts_at(matching, t)) for t in DSB_THRESHOLDS) / len(DSB_THRESHOLDS)


def _covering_pairs(matching: Matching) -> NDArray[np.int64]:
    """Indices of the pairs in which more than half of the true object is covered."""
    return np.flatnonzero(2 * matching.pairs[2] > matching.truth_sizes[matching.pairs[0]])


def seg(matching: Matching) -> float:
    """SEG of the Cell Tracking Challenge: mean IoU over all true objects, from 0 to 1.

    A true object R is matched by the predicted S that covers more than half of it,
    |R∩S| > ½|R|; one S may match several. An unmatched object counts 0. No objects at all: 1. No
    true object but predicted ones: 0, although the challenge leaves such an image out; to score a
    set of images as the challenge does, :func:`pool` them first.

    Args:
        matching: What :func:`match_objects` returned.

    Returns:
        The mean.

    Source: Ulman et al. 2017, Nature Methods 14:1141.

    Example:
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([1, 1, 1, 1, 0])
        >>> seg(match_objects(prediction, truth))
        0.5
    """
    empty = _empty_score(matching)
    if empty is not None:
        return empty
    return float(matching.iou[_covering_pairs(matching)].sum()) / matching.truth_ids.size


def det(matching: Matching) -> float:
    """DET of the Cell Tracking Challenge, 1 − min(A, A₀) / A₀, from 0 to 1.

    A = 5 splits + 10 misses + 1 for each predicted object that matches nothing, with the matching
    of :func:`seg`; a predicted object that matches k true ones needs k − 1 splits. A₀ is the cost
    of drawing every true object anew, 10 each. Empty images as in :func:`seg`.

    Args:
        matching: What :func:`match_objects` returned.

    Returns:
        The measure; outlines hardly count in it.

    Source: Matula et al. 2015, PLOS ONE 10:e0144959.

    Example:
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([1, 1, 1, 1, 0])
        >>> det(match_objects(prediction, truth))
        0.75
    """
    empty = _empty_score(matching)
    if empty is not None:
        return empty
    matched = _covering_pairs(matching)
    used = np.unique(matching.pairs[1][matched]).size
    cost = (
        _SPLIT * (matched.size - used)
        + _MISSED * (matching.truth_ids.size - matched.size)
        + _SPURIOUS * (matching.prediction_ids.size - used)
    )
    anew = _MISSED * matching.truth_ids.size
    return 1 - min(cost, anew) / anew


OBJECT_MEASURES: Mapping[str, Callable[[Matching], float]] = MappingProxyType(
    {
        "ap": lambda matching: ap(counts_at(matching, 0.5)),
        "f1": lambda matching: f1(counts_at(matching, 0.5)),
        "pq": lambda matching: pq(counts_at(matching, 0.5, strict=True)),
        "aji": aji,
        "dsb": dsb_score,
        "seg": seg,
        "det": det,
    }
)
