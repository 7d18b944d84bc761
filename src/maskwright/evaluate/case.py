"""What was measured on one image, from which every mean follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maskwright.evaluate.calibration import Reliability
from maskwright.evaluate.catalogue import CATALOGUE
from maskwright.evaluate.objects import ObjectCounts
from maskwright.evaluate.overlap import MEASURES, Counts, counts_of, reason_undefined
from maskwright.evaluate.uncertainty import Trust

BACKGROUND = "not measured for the background"
"""Why further measures of class 0 have no value; it is no news and not listed."""


def plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return None if math.isnan(value) else value


def number(value: float | None) -> float:
    """The inverse of :func:`plain`."""
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class ClassValues:
    """One measure of one image, class by class.

    Args:
        values: Value by class, NaN where it is undefined.
        reasons: Why a value is NaN, by class; empty where it is not.
    """

    values: tuple[float, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ObjectTally:
    """The objects of one class in one image.

    Args:
        counts: Found, invented and missed objects at IoU ≥ 0.5; tallies of images add up.
        sizes: Pixels of each true object.
        found: Whether each true object was found.
        ious: Best IoU of each true object.
    """

    counts: ObjectCounts
    sizes: tuple[int, ...]
    found: tuple[bool, ...]
    ious: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **vars(self.counts),
            "sizes": list(self.sizes),
            "found": [int(f) for f in self.found],
            "ious": [round(iou, 4) for iou in self.ious],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ObjectTally:
        """The tally that :meth:`to_json` wrote."""
        return ObjectTally(
            ObjectCounts(values["tp"], values["fp"], values["fn"], values["iou_sum"]),
            tuple(values["sizes"]),
            tuple(bool(f) for f in values["found"]),
            tuple(values["ious"]),
        )


@dataclass(frozen=True)
class CaseScore:
    """What was measured on one image.

    Args:
        case: Name of the image.
        group: What must not be split, such as a patient; intervals resample it.
        confusion: Pixel counts, rows the truth, columns the prediction.
        missing: There was no prediction; it counted as all background.
        further: Measures beyond overlap, by name.
        flags: Class and what a reader must know of its values, such as a distance that took the
            worst case; class 0 for the whole image.
        shape: Size of the image in pixels.
        spacing_mm: Pixel size in the order of the array, or ``None`` where it is unknown.
        objects: Objects by class; empty where they were not asked for.
        reliability: Reliability by class; empty without probabilities.
        trust: What the probabilities alone say; ``None`` without them.
    """

    case: str
    group: str
    confusion: tuple[tuple[int, ...], ...]
    missing: bool = False
    further: Mapping[str, ClassValues] = field(default_factory=dict)
    flags: tuple[tuple[int, str], ...] = ()
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    objects: tuple[ObjectTally, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    trust: Trust | None = None

    def counts(self, class_index: int) -> Counts:
        """The counts of one class against the rest."""
        return counts_of(np.array(self.confusion), class_index)

    def has(self, measure: str) -> bool:
        """Whether a measure was taken."""
        return measure in MEASURES or measure in self.further

    def value(self, measure: str, class_index: int) -> float:
        """A measure of one class, NaN where it is undefined."""
        if measure not in MEASURES:
            taken = self.further.get(measure)
            return math.nan if taken is None else taken.values[class_index]
        counts = self.counts(class_index)
        return MEASURES[measure](counts) if counts.total else math.nan

    def reason(self, measure: str, class_index: int) -> str | None:
        """Why :meth:`value` is NaN, or ``None`` where it is not."""
        if not math.isnan(self.value(measure, class_index)):
            return None
        counts = self.counts(class_index)
        if counts.total == 0:
            return "there is no pixel inside the region of interest"
        if measure in MEASURES:
            return reason_undefined(measure, counts)
        taken = self.further.get(measure)
        return "it was not measured" if taken is None else taken.reasons[class_index]

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the classes 1 and above."""
        values = [self.value("dice", k) for k in range(1, len(self.confusion))]
        return sum(values) / len(values)

    def to_json(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain values: the counts and every measure, undefined ones as ``None``."""
        return {
            "case": self.case,
            "group": self.group,
            "missing": self.missing,
            "mean_dice": plain(self.mean_dice),
            "flags": [list(flag) for flag in self.flags],
            "shape": list(self.shape),
            "spacing_mm": None if self.spacing_mm is None else list(self.spacing_mm),
            "classes": {
                name: {m: plain(self.value(m, k)) for m in CATALOGUE if self.has(m)}
                for k, name in enumerate(class_names)
            },
            "reasons": {
                m: list(taken.reasons) for m, taken in self.further.items() if any(taken.reasons)
            },
            "confusion": [list(row) for row in self.confusion],
            "objects": [tally.to_json() for tally in self.objects],
            "reliability": [bins.to_json() for bins in self.reliability],
            "trust": None if self.trust is None else self.trust.to_json(),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CaseScore:
        """The score that :meth:`to_json` wrote."""
        classes = list(values["classes"].values())
        no_reasons = [""] * len(classes)
        further = {
            m: ClassValues(
                tuple(number(row[m]) for row in classes),
                tuple(values["reasons"].get(m, no_reasons)),
            )
            for m in classes[0]
            if m not in MEASURES
        }
        spacing, trust = values["spacing_mm"], values["trust"]
        return CaseScore(
            values["case"],
            values["group"],
            tuple(tuple(int(n) for n in row) for row in values["confusion"]),
            values["missing"],
            further,
            tuple((int(k), str(text)) for k, text in values["flags"]),
            tuple(values["shape"]),
            None if spacing is None else tuple(spacing),
            tuple(ObjectTally.from_json(tally) for tally in values["objects"]),
            tuple(Reliability.from_json(bins) for bins in values["reliability"]),
            None if trust is None else Trust.from_json(trust),
        )
