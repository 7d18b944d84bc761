"""How well the class of a whole image is said: accuracy, area under the curve, confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.errors import DataError
from maskwright.evaluate.ranking import auc


@dataclass(frozen=True)
class ImageClassScore:
    """Scores of the labels of whole images.

    Args:
        classes: Names of the classes.
        label_of: Case name → true class.
        probabilities_of: Case name → probability of each class.

    Example:
        >>> said = {"a": (1.0, 0.0), "b": (0.6, 0.4)}
        >>> score = ImageClassScore(("well", "ill"), {"a": 0, "b": 1}, said)
        >>> score.accuracy, score.auc, score.confusion
        (0.5, 1.0, ((1, 0), (1, 0)))
    """

    classes: tuple[str, ...]
    label_of: Mapping[str, int]
    probabilities_of: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        """Refuse cases that have a label or probabilities alone."""
        if set(self.label_of) != set(self.probabilities_of) or not self.label_of:
            raise DataError(
                "image-classes-cases",
                "image labels",
                expected="a label and probabilities for the same cases, one at least",
                found=f"{len(self.label_of)} labels, {len(self.probabilities_of)} predictions",
                remedy="give both for each case",
            )

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Images of each true class (rows) by the most probable class (columns)."""
        counts_LL = np.zeros((len(self.classes),) * 2, int)
        for name, label in self.label_of.items():
            counts_LL[label, int(np.argmax(self.probabilities_of[name]))] += 1
        return tuple(tuple(int(n) for n in row) for row in counts_LL)

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is the true one, from 0 to 1."""
        return sum(row[k] for k, row in enumerate(self.confusion)) / len(self.label_of)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy.

        Source: Wilson 1927, doi 10.1080/01621459.1927.10502953.
        """
        from scipy.stats import binomtest

        found = binomtest(round(self.accuracy * len(self.label_of)), len(self.label_of))
        low, high = found.proportion_ci(method="wilson")
        return float(low), float(high)

    @property
    def most_frequent(self) -> float:
        """Accuracy of always saying the most frequent class."""
        return max(sum(row) for row in self.confusion) / len(self.label_of)

    @property
    def auc(self) -> float:
        """Area under the curve; with more than two classes the mean of each against the rest.

        NaN where all images are of one class; classes without an image are left out.
        """
        truth_N = np.array(list(self.label_of.values()))
        scores_NL = np.array([self.probabilities_of[name] for name in self.label_of])
        if len(self.classes) == 2:
            return auc(scores_NL[:, 1], truth_N == 1)
        areas = [auc(scores_NL[:, k], truth_N == k) for k in range(len(self.classes))]
        known = [area for area in areas if not math.isnan(area)]
        return float(np.mean(known)) if known else math.nan

    def sentence(self) -> str:
        """The result in words, beside what always saying the same would reach.

        Example:
            >>> ImageClassScore(("well", "ill"), {"a": 0, "b": 1},
            ...                 {"a": (1.0, 0.0), "b": (0.6, 0.4)}).sentence()
            'Labels of whole images: 1 of 2 right (95 % interval 9 % to 91 %), AUC 1.00; always
            saying the most frequent label gives 50 %.'
        """
        low, high = self.interval
        right = round(self.accuracy * len(self.label_of))
        area = "" if math.isnan(self.auc) else f", AUC {self.auc:.2f}"
        return (
            f"Labels of whole images: {right} of {len(self.label_of)} right (95 % interval "
            f"{low * 100:.0f} % to {high * 100:.0f} %){area}; always saying the most frequent "
            f"label gives {self.most_frequent * 100:.0f} %."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values; an area that is not known is ``None``."""
        area = self.auc
        return {
            "classes": list(self.classes),
            "images": len(self.label_of),
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "most_frequent": self.most_frequent,
            "auc": None if math.isnan(area) else area,
            "sentence": self.sentence(),
            "confusion": [list(row) for row in self.confusion],
            "cases": {
                name: {
                    "label": label,
                    "probabilities": [round(float(p), 6) for p in self.probabilities_of[name]],
                }
                for name, label in self.label_of.items()
            },
        }
