"""Overlap of two masks: every measure is a formula of the counts of one class.

Empty masks follow one rule everywhere. Both empty: overlap measures are 1, because there was
nothing to find and nothing was claimed. One empty: they are 0. Where a formula still has no value
(specificity without negatives) the result is NaN and :func:`reason_undefined` says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from maskwright.errors import ConfigError
from maskwright.evaluate.confusion import Counts, count_confusion, counts_of

__all__ = [
    "MEASURES",
    "Counts",
    "count_confusion",
    "counts_of",
    "dice",
    "iou",
    "matthews",
    "pixel_accuracy",
    "precision",
    "reason_undefined",
    "recall",
    "rvd",
    "rvd_absolute",
    "specificity",
    "voe",
    "volume_similarity",
]


def _overlap(numerator: int, denominator: int, counts: Counts) -> float:
    if counts.predicted == 0 and counts.true == 0:
        return 1.0
    return numerator / denominator if denominator else 0.0


def dice(counts: Counts) -> float:
    """Dice coefficient, 2TP / (2TP + FP + FN), from 0 to 1.

    Both masks empty: 1. One empty: 0.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The coefficient; it equals 2J / (1 + J) of the Jaccard index J.

    Source: Dice 1945, Ecology 26:297.

    Example:
        >>> dice(Counts(tp=2, fp=1, fn=1, tn=0)), dice(Counts(0, 0, 0, 9))
        (0.666..., 1.0)
    """
    return _overlap(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def iou(counts: Counts) -> float:
    """Intersection over union (Jaccard index), TP / (TP + FP + FN), from 0 to 1.

    Both masks empty: 1. One empty: 0.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The index.

    Source: Jaccard 1901, Bulletin de la Société vaudoise des sciences naturelles 37:547.

    Example:
        >>> iou(Counts(tp=2, fp=1, fn=1, tn=0))
        0.5
    """
    return _overlap(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def precision(counts: Counts) -> float:
    """Precision (positive predictive value), TP / (TP + FP), from 0 to 1.

    Both masks empty: 1. No prediction and a truth that is not empty: 0.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The share of the prediction that is true.

    Source: van Rijsbergen 1979, Information Retrieval.

    Example:
        >>> precision(Counts(tp=3, fp=1, fn=9, tn=0)), precision(Counts(0, 0, 5, 5))
        (0.75, 0.0)
    """
    return _overlap(counts.tp, counts.predicted, counts)


def recall(counts: Counts) -> float:
    """Recall (sensitivity), TP / (TP + FN), from 0 to 1.

    Both masks empty: 1. An empty truth and a prediction that is not: 0.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The share of the truth that was found.

    Source: van Rijsbergen 1979, Information Retrieval.

    Example:
        >>> recall(Counts(tp=3, fp=9, fn=1, tn=0))
        0.75
    """
    return _overlap(counts.tp, counts.true, counts)


def specificity(counts: Counts) -> float:
    """Specificity, TN / (TN + FP), from 0 to 1.

    Without negatives (the truth covers everything) it is undefined: NaN.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The share of the true background that was left alone, or NaN.

    Source: Yerushalmy 1947, Public Health Reports 62:1432.

    Example:
        >>> specificity(Counts(tp=0, fp=1, fn=0, tn=3)), specificity(Counts(4, 0, 0, 0))
        (0.75, nan)
    """
    negatives = counts.tn + counts.fp
    return counts.tn / negatives if negatives else math.nan


def voe(counts: Counts) -> float:
    """Volumetric overlap error, 1 − IoU, from 0 (best) to 1.

    Both masks empty: 0. One empty: 1.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The error.

    Source: Heimann et al. 2009, IEEE Transactions on Medical Imaging 28:1251.

    Example:
        >>> voe(Counts(tp=2, fp=1, fn=1, tn=0))
        0.5
    """
    return 1.0 - iou(counts)


def rvd(counts: Counts) -> float:
    """Relative volume difference, (|P| − |G|) / |G|, signed, from −1 upwards; 0 is best.

    Both masks empty: 0. An empty truth and a prediction that is not: undefined, NaN.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The difference, or NaN.

    Source: Heimann et al. 2009, IEEE Transactions on Medical Imaging 28:1251.

    Example:
        >>> rvd(Counts(tp=2, fp=0, fn=2, tn=0)), rvd(Counts(0, 1, 0, 3))
        (-0.5, nan)
    """
    difference = counts.predicted - counts.true
    if counts.true:
        return difference / counts.true
    return math.nan if counts.predicted else 0.0


def rvd_absolute(counts: Counts) -> float:
    """Absolute relative volume difference, ||P| − |G|| / |G|, from 0 (best) upwards.

    Empty masks as in :func:`rvd`. Differences of opposite sign do not cancel in its mean.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The difference without its sign, or NaN.

    Source: Heimann et al. 2009, IEEE Transactions on Medical Imaging 28:1251.

    Example:
        >>> rvd_absolute(Counts(tp=2, fp=0, fn=2, tn=0))
        0.5
    """
    return abs(rvd(counts))


def volume_similarity(counts: Counts) -> float:
    """Volume similarity, 2(|P| − |G|) / (|P| + |G|), signed, from −2 to 2; 0 is best.

    Both masks empty: 0. Empty prediction: −2. Empty truth: 2.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The similarity, negative where too little was predicted.

    Source: Tustison and Gee 2009, Insight Journal (``LabelOverlapMeasures`` of ITK).

    Example:
        >>> volume_similarity(Counts(tp=2, fp=0, fn=1, tn=0))
        -0.4
    """
    both = counts.predicted + counts.true
    return 2 * (counts.predicted - counts.true) / both if both else 0.0


def pixel_accuracy(counts: Counts) -> float:
    """Pixel accuracy, (TP + TN) / all, from 0 to 1.

    Undefined (NaN) without any pixel. It is high for a small class whatever is predicted.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The share of pixels that are right, or NaN.

    Source: Long, Shelhamer and Darrell 2015, arXiv 1411.4038.

    Example:
        >>> pixel_accuracy(Counts(tp=1, fp=1, fn=0, tn=2))
        0.75
    """
    return (counts.tp + counts.tn) / counts.total if counts.total else math.nan


def matthews(counts: Counts) -> float:
    """Matthews correlation, (TP·TN − FP·FN) / √(|P|·|G|·(TN + FP)·(TN + FN)), from −1 to 1.

    Where the root is 0, a perfect prediction scores 1 (both masks empty among them) and any
    other 0, the limit of the formula.

    Args:
        counts: Pixel counts of the class.

    Returns:
        The correlation of prediction and truth.

    Source: Matthews 1975, Biochimica et Biophysica Acta 405:442; the limits are those of
    Chicco and Jurman 2020, BMC Genomics 21:6.

    Example:
        >>> matthews(Counts(tp=2, fp=0, fn=0, tn=2)), matthews(Counts(1, 1, 1, 1))
        (1.0, 0.0)
    """
    negatives = (counts.tn + counts.fp) * (counts.tn + counts.fn)
    product = counts.predicted * counts.true * negatives
    if product == 0:
        return 1.0 if counts.fp == counts.fn == 0 else 0.0
    return (counts.tp * counts.tn - counts.fp * counts.fn) / math.sqrt(product)


MEASURES: Mapping[str, Callable[[Counts], float]] = MappingProxyType(
    {
        measure.__name__: measure
        for measure in (
            dice,
            iou,
            precision,
            recall,
            specificity,
            voe,
            rvd,
            rvd_absolute,
            volume_similarity,
            pixel_accuracy,
            matthews,
        )
    }
)

_REASONS = MappingProxyType(
    {
        "specificity": "there are no negatives: the truth covers every pixel",
        "rvd": "the truth is empty: the difference has nothing to relate to",
        "rvd_absolute": "the truth is empty: the difference has nothing to relate to",
    }
)


def reason_undefined(name: str, counts: Counts) -> str | None:
    """Why a measure has no value, or ``None`` where it has one.

    Args:
        name: A key of ``MEASURES``.
        counts: Pixel counts of the class.

    Returns:
        A sentence without its full stop, or ``None``.

    Raises:
        ConfigError: For a name that is no measure.

    Example:
        >>> reason_undefined("specificity", Counts(tp=4, fp=0, fn=0, tn=0))
        'there are no negatives: the truth covers every pixel'
        >>> reason_undefined("dice", Counts(tp=4, fp=0, fn=0, tn=0)) is None
        True
    """
    if name not in MEASURES:
        raise ConfigError(
            "measure-unknown",
            "measure",
            expected="a known measure",
            found=repr(name),
            remedy=f"use one of {', '.join(MEASURES)}",
        )
    if not math.isnan(MEASURES[name](counts)):
        return None
    if counts.total == 0:
        return "there is no pixel inside the region of interest"
    return _REASONS[name]
