"""From case to mean: every case first, then the mean over cases with its uncertainty.

Class 0 is the background by convention. The headline is the mean Dice of the other classes; the
tables show all. Intervals come from resampling groups (patients, animals), never pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.calibration import brier, ece
from maskwright.evaluate.case import BACKGROUND, CaseScore, number, plain
from maskwright.evaluate.catalogue import CATALOGUE
from maskwright.evaluate.objects import ap, f1
from maskwright.evaluate.overlap import MEASURES, counts_of, reason_undefined
from maskwright.evaluate.resampling import MIN_GROUPS, percentile_interval, resampled_means

__all__ = ["CaseScore", "Estimate", "Summary", "Undefined", "summarise"]

RESAMPLES = 1000
TABLE_MEASURES = ("dice", "iou", "precision", "recall", "specificity", "pixel_accuracy")


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Args:
        mean: Mean of the values of the cases that have one (macro); NaN when none has.
        interval: 95 % bootstrap interval over groups; ``None`` below three groups.
        n_used: Cases in the mean.
        n: All cases.
        pooled: The measure of the summed counts (micro); NaN where it has no value.
        reason: Why ``mean`` is NaN.
        pooled_reason: Why ``pooled`` is NaN.
    """

    mean: float
    interval: tuple[float, float] | None
    n_used: int
    n: int
    pooled: float
    reason: str | None = None
    pooled_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as ``None`` with its reason."""
        return {
            "mean": plain(self.mean),
            "interval": None if self.interval is None else list(self.interval),
            "n_used": self.n_used,
            "n": self.n,
            "pooled": plain(self.pooled),
            "reason": self.reason,
            "pooled_reason": self.pooled_reason,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Estimate:
        """The estimate that :meth:`to_json` wrote."""
        ends = values["interval"]
        return Estimate(
            number(values["mean"]),
            None if ends is None else (ends[0], ends[1]),
            values["n_used"],
            values["n"],
            number(values["pooled"]),
            values["reason"],
            values["pooled_reason"],
        )

    def text(self, decimals: int = 3) -> str:
        """The mean with its interval, for people."""
        if math.isnan(self.mean):
            return "–"
        mean = f"{self.mean:.{decimals}f}"
        if self.interval is None:
            return mean
        low, high = self.interval
        return f"{mean} ({low:.{decimals}f}–{high:.{decimals}f})"


@dataclass(frozen=True)
class Undefined:
    """A value that left its mean, and why."""

    case: str
    class_name: str
    measure: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """All measures of a set of images.

    Args:
        class_names: Names of the classes; the first is the background.
        n: Number of cases.
        n_groups: Number of groups the intervals resample.
        headline: Mean Dice of the classes after the first.
        measures: Estimate by class name and measure.
        missing: Cases without a prediction, counted as all background.
        extra: Predictions without a truth; they count nowhere.
        undefined: Values that left a mean.
        unit: Unit of distances, ``mm`` or ``px``.
        tolerance: Tolerance of the surface Dice, in that unit.
    """

    class_names: tuple[str, ...]
    n: int
    n_groups: int
    headline: Estimate
    measures: Mapping[str, Mapping[str, Estimate]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    undefined: tuple[Undefined, ...] = ()
    unit: str = "px"
    tolerance: float = 1.0

    def sentence(self, images: str = "image") -> str:
        """The headline in words.

        Args:
            images: What the cases are, in the singular, such as ``held-out image``.

        Example:
            >>> from maskwright.evaluate.measuring import score_case
            >>> scores = [score_case("a", np.eye(2, dtype=int), np.eye(2, dtype=int), 2)]
            >>> summarise(scores, ("cell", "membrane")).sentence()
            'Mean Dice of membrane on 1 image: 1.00 (no interval below 3 groups)'
        """
        *first, last = self.class_names[1:]
        names = f"{', '.join(first)} and {last}" if first else last
        mean = self.headline.mean
        value = "undefined" if math.isnan(mean) else f"{mean:.2f}"
        interval = self.headline.interval
        if interval is None:
            note = f"no interval below {MIN_GROUPS} groups"
        else:
            note = f"95 % interval {interval[0]:.2f}–{interval[1]:.2f}"
        used, plural = self.headline.n_used, "" if self.n == 1 else "s"
        count = f"{self.n}" if used == self.n else f"{used} of {self.n}"
        return f"Mean Dice of {names} on {count} {images}{plural}: {value} ({note})"

    def table(self) -> list[list[str]]:
        """A header and one row for each class, as text for the terminal."""
        rows = [["class", *(_TITLES.get(m, m) for m in TABLE_MEASURES), "n"]]
        for name in self.class_names:
            estimates = [self.measures[name][m] for m in TABLE_MEASURES]
            first, *others = estimates
            used = min(e.n_used for e in estimates)
            rows.append(
                [
                    name,
                    first.text(),
                    *("–" if math.isnan(e.mean) else f"{e.mean:.3f}" for e in others),
                    str(self.n) if used == self.n else f"{used}–{self.n} of {self.n}",
                ]
            )
        return rows

    def further_table(self) -> list[list[str]]:
        """A header and one row for each measure beyond overlap; empty without any."""
        taken = [m for m in CATALOGUE if m not in MEASURES and m in self.measures[self._last]]
        if not taken:
            return []
        names = [name for name in self.class_names if self._has_further(name, taken)]
        rows = [["measure", *names, "n"]]
        for measure in taken:
            estimates = [self.measures[name][measure] for name in names]
            used = min((e.n_used for e in estimates if e.n_used), default=0)
            rows.append(
                [
                    self.title(measure),
                    *(e.text(2 if CATALOGUE[measure].unit else 3) for e in estimates),
                    str(self.n) if used == self.n else f"{used} of {self.n}",
                ]
            )
        return rows

    @property
    def _last(self) -> str:
        return self.class_names[-1]

    def _has_further(self, name: str, taken: Sequence[str]) -> bool:
        return any(self.measures[name][m].n_used for m in taken)

    def title(self, measure: str) -> str:
        """A measure's name for people, with its unit or tolerance."""
        entry = CATALOGUE[measure]
        if measure == "nsd":
            return f"{entry.title} at {self.tolerance:g} {self.unit}"
        return f"{entry.title}, {self.unit}" if entry.unit == "length" else entry.title

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``metrics.json``."""
        return {
            "class_names": list(self.class_names),
            "n": self.n,
            "n_groups": self.n_groups,
            "resamples": RESAMPLES,
            "headline": self.headline.to_json(),
            "classes": {
                name: {measure: estimate.to_json() for measure, estimate in by_measure.items()}
                for name, by_measure in self.measures.items()
            },
            "missing": list(self.missing),
            "extra": list(self.extra),
            "undefined": [vars(item).copy() for item in self.undefined],
            "unit": self.unit,
            "tolerance": self.tolerance,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Summary:
        """The summary that :meth:`to_json` wrote."""
        return Summary(
            tuple(values["class_names"]),
            values["n"],
            values["n_groups"],
            Estimate.from_json(values["headline"]),
            {
                name: {measure: Estimate.from_json(e) for measure, e in by_measure.items()}
                for name, by_measure in values["classes"].items()
            },
            tuple(values["missing"]),
            tuple(values["extra"]),
            tuple(Undefined(**item) for item in values["undefined"]),
            values["unit"],
            values["tolerance"],
        )


_TITLES = {"dice": "Dice", "iou": "IoU", "pixel_accuracy": "pixel accuracy"}


def summarise(
    cases: Sequence[CaseScore],
    class_names: Sequence[str],
    *,
    extra: Sequence[str] = (),
    seed: int = 0,
    tolerance: float = 1.0,
) -> Summary:
    """Means over cases with 95 % bootstrap intervals over groups.

    Args:
        cases: Scores of the images.
        class_names: Names of the classes, the background first.
        extra: Predictions that have no truth, for the record.
        seed: Seed of the resampling.
        tolerance: Tolerance of the surface Dice, for the record.

    Returns:
        The summary.

    Raises:
        DataError: Without cases, or when the classes do not fit the counts.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap (percentile interval).

    Example:
        >>> from maskwright.evaluate.measuring import score_case
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> scores = [score_case(n, p, truth, 2) for n, p in (("a", truth), ("b", None))]
        >>> summary = summarise(scores, ("cell", "membrane"))
        >>> summary.headline.mean, summary.missing
        (0.5, ('b',))
    """
    _check(cases, class_names)
    predicted = [case for case in cases if not case.missing] or list(cases)
    names = [m for m in CATALOGUE if any(case.has(m) for case in predicted)]
    columns = [(k, m) for k in range(len(class_names)) for m in names]
    values_NM = np.array(
        [[case.value(m, k) for k, m in columns] + [case.mean_dice] for case in cases]
    )
    intervals = _bootstrap(values_NM, [case.group for case in cases], seed)
    measures: dict[str, dict[str, Estimate]] = {name: {} for name in class_names}
    undefined: list[Undefined] = []
    pooled = _Pooled(cases)
    for column, (k, measure) in enumerate(columns):
        reasons = [(case.case, case.reason(measure, k)) for case in cases]
        undefined += [
            Undefined(c, class_names[k], measure, r) for c, r in reasons if r and r != BACKGROUND
        ]
        measures[class_names[k]][measure] = _estimate(
            values_NM[:, column], intervals[column], *pooled.value(measure, k)
        )
    foreground = [measures[name]["dice"].pooled for name in class_names[1:]]
    return Summary(
        tuple(class_names),
        len(cases),
        len({case.group for case in cases}),
        _estimate(values_NM[:, -1], intervals[-1], sum(foreground) / len(foreground), None),
        measures,
        tuple(case.case for case in cases if case.missing),
        tuple(extra),
        tuple(undefined),
        "mm" if all(case.spacing_mm for case in cases) else "px",
        tolerance,
    )


class _Pooled:
    """Measures of everything together: counts of all images are added up first."""

    def __init__(self, cases: Sequence[CaseScore]) -> None:
        self._cases = cases
        self._confusion = np.sum([case.confusion for case in cases], axis=0)

    def value(self, measure: str, k: int) -> tuple[float, str | None]:
        """The pooled value, and why there is none."""
        if measure in MEASURES:
            counts = counts_of(self._confusion, k)
            return MEASURES[measure](counts), reason_undefined(measure, counts)
        if measure in {"ap", "f1"} and k > 0:
            tallies = [case.objects[k].counts for case in self._cases if case.objects]
            if tallies:
                return (ap if measure == "ap" else f1)(sum(tallies[1:], tallies[0])), None
        if measure in {"brier", "ece"}:
            bins = [case.reliability[k] for case in self._cases if case.reliability]
            if bins:
                return (brier if measure == "brier" else ece)(sum(bins[1:], bins[0])), None
        return math.nan, "only computed image by image"


def _check(cases: Sequence[CaseScore], class_names: Sequence[str]) -> None:
    if not cases:
        raise DataError(
            "evaluate-no-cases",
            "evaluation",
            expected="at least one image with a truth",
            found="none",
            remedy="check that predictions and truth share file names",
        )
    for case in cases:
        if len(case.confusion) != len(class_names) or len(class_names) < 2:
            raise DataError(
                "evaluate-classes",
                f"class names of {case.case}",
                expected=f"{len(case.confusion)} names",
                found=str(len(class_names)),
                remedy="name every class, the background first",
            )


def _estimate(
    values_N: NDArray[np.float64],
    interval: tuple[float, float] | None,
    pooled: float,
    pooled_reason: str | None,
) -> Estimate:
    used_N = values_N[~np.isnan(values_N)]
    mean = float(used_N.mean()) if used_N.size else math.nan
    return Estimate(
        mean,
        interval,
        used_N.size,
        values_N.size,
        pooled,
        None if used_N.size else "no image has a value",
        pooled_reason,
    )


def _bootstrap(
    values_NM: NDArray[np.float64], groups: Sequence[str], seed: int
) -> list[tuple[float, float] | None]:
    """Percentile intervals of the mean of each column, the same resamples for all."""
    means_RM = resampled_means(values_NM, groups, RESAMPLES, seed)
    group_N = np.array(groups, dtype=object)
    intervals: list[tuple[float, float] | None] = []
    for values_N, means_R in zip(values_NM.T, means_RM.T, strict=True):
        enough = len(set(group_N[~np.isnan(values_N)])) >= MIN_GROUPS
        intervals.append(percentile_interval(means_R) if enough else None)
    return intervals
