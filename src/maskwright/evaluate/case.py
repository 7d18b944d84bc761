"""What was counted on one image, from which every measure of it follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.overlap import (
    MEASURES,
    Counts,
    count_confusion,
    counts_of,
    reason_undefined,
)
from maskwright.evaluate.ranking import auc, average_precision

RANKINGS = ("auc", "average_precision")


def plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return None if math.isnan(value) else value


def number(value: float | None) -> float:
    """The inverse of :func:`plain`."""
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class CaseScore:
    """What was counted on one image.

    Args:
        case: Name of the image.
        group: What must not be split, such as a patient; intervals resample it.
        confusion: Pixel counts, rows the truth, columns the prediction.
        missing: There was no prediction; it counted as all background.
        auc: Area under the ROC per class, or ``None`` without probabilities.
        ap: Average precision per class, or ``None`` without probabilities.
    """

    case: str
    group: str
    confusion: tuple[tuple[int, ...], ...]
    missing: bool = False
    auc: tuple[float, ...] | None = None
    ap: tuple[float, ...] | None = None

    def counts(self, class_index: int) -> Counts:
        """The counts of one class against the rest."""
        return counts_of(np.array(self.confusion), class_index)

    def value(self, measure: str, class_index: int) -> float:
        """A measure of one class, NaN where it is undefined."""
        if measure in RANKINGS:
            return self._ranking(measure, class_index)
        counts = self.counts(class_index)
        return MEASURES[measure](counts) if counts.total else math.nan

    def _ranking(self, measure: str, class_index: int) -> float:
        values = self.auc if measure == "auc" else self.ap
        if values is not None:
            return values[class_index]
        counts = self.counts(class_index)
        if not self.missing or counts.true in {0, counts.total}:
            return math.nan
        # A constant score: the image must not drop out of the mean because it was not predicted.
        return 0.5 if measure == "auc" else counts.true / counts.total

    def reason(self, measure: str, class_index: int) -> str | None:
        """Why :meth:`value` is NaN, or ``None`` where it is not."""
        if not math.isnan(self.value(measure, class_index)):
            return None
        counts = self.counts(class_index)
        if counts.total == 0:
            return "there is no pixel inside the region of interest"
        if measure in MEASURES:
            return reason_undefined(measure, counts)
        if self.auc is None and not self.missing:
            return "there are no probabilities"
        return f"the class covers {'every pixel' if counts.true else 'no pixel'} of the truth"

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the classes 1 and above."""
        values = [self.value("dice", k) for k in range(1, len(self.confusion))]
        return sum(values) / len(values)

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain values: the counts and every measure, undefined ones as ``None``."""
        rankings = RANKINGS if self.auc is not None else ()
        return {
            "case": self.case,
            "group": self.group,
            "missing": self.missing,
            "mean_dice": plain(self.mean_dice),
            "classes": {
                name: {m: plain(self.value(m, k)) for m in (*MEASURES, *rankings)}
                for k, name in enumerate(class_names)
            },
            "confusion": [list(row) for row in self.confusion],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CaseScore:
        """The score that :meth:`to_json` wrote."""
        classes = list(values["classes"].values())
        ranked = {
            key: tuple(number(row[key]) for row in classes) if key in classes[0] else None
            for key in RANKINGS
        }
        return CaseScore(
            values["case"],
            values["group"],
            tuple(tuple(int(n) for n in row) for row in values["confusion"]),
            values["missing"],
            ranked["auc"],
            ranked["average_precision"],
        )


def score_case(
    name: str,
    prediction_YX: NDArray[Any] | None,
    truth_YX: NDArray[Any],
    classes: int,
    *,
    probabilities_KYX: NDArray[Any] | None = None,
    valid: NDArray[np.bool_] | None = None,
    group: str | None = None,
) -> CaseScore:
    """Count one image.

    Args:
        name: Name of the image.
        prediction_YX: Predicted class ids, shape ``(Y, X)``; ``None`` when the file is missing,
            which counts as all background and is flagged.
        truth_YX: True class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        probabilities_KYX: Probability of each class, shape ``(K, Y, X)``, for AUC and average
            precision.
        valid: Region of interest, shape ``(Y, X)``; ``None`` counts every pixel.
        group: What must not be split; by default the image itself.

    Returns:
        The score.

    Raises:
        DataError: If shapes differ or an id is not below ``classes``.

    Example:
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> score_case("a", None, truth, 2).mean_dice, score_case("a", truth, truth, 2).mean_dice
        (0.0, 1.0)
    """
    arrays = (
        ("prediction", prediction_YX, truth_YX.shape),
        ("probabilities", probabilities_KYX, (classes, *truth_YX.shape)),
    )
    for what, array, shape in arrays:
        if array is not None and array.shape != shape:
            raise DataError(
                "mask-shape",
                f"{what} of {name}",
                expected=f"shape {shape}",
                found=str(array.shape),
                remedy="predict this image again, or compare it with its own truth",
            )
    predicted = np.zeros_like(truth_YX) if prediction_YX is None else prediction_YX
    confusion = count_confusion(predicted, truth_YX, classes, valid)
    areas: tuple[float, ...] | None = None
    averages: tuple[float, ...] | None = None
    if probabilities_KYX is not None and prediction_YX is not None:
        inside = np.ones(truth_YX.shape, np.bool_) if valid is None else valid
        truth = truth_YX[inside]
        ranked = [
            (auc(scores, truth == k), average_precision(scores, truth == k))
            for k, scores in enumerate(plane_YX[inside] for plane_YX in probabilities_KYX)
        ]
        areas, averages = tuple(a for a, _ in ranked), tuple(p for _, p in ranked)
    rows = tuple(tuple(int(n) for n in row) for row in confusion)
    return CaseScore(name, group or name, rows, prediction_YX is None, areas, averages)
