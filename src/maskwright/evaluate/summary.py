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
from maskwright.evaluate.case import RANKINGS, CaseScore, number, plain, score_case
from maskwright.evaluate.overlap import MEASURES, counts_of, reason_undefined

__all__ = ["CaseScore", "Estimate", "Summary", "Undefined", "score_case", "summarise"]

RESAMPLES = 1000
MIN_GROUPS = 3
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
    """

    class_names: tuple[str, ...]
    n: int
    n_groups: int
    headline: Estimate
    measures: Mapping[str, Mapping[str, Estimate]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    undefined: tuple[Undefined, ...] = ()

    def sentence(self, images: str = "image") -> str:
        """The headline in words.

        Args:
            images: What the cases are, in the singular, such as ``held-out image``.

        Example:
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
        )


_TITLES = {"dice": "Dice", "iou": "IoU", "pixel_accuracy": "pixel accuracy"}


def summarise(
    cases: Sequence[CaseScore],
    class_names: Sequence[str],
    *,
    extra: Sequence[str] = (),
    seed: int = 0,
) -> Summary:
    """Means over cases with 95 % bootstrap intervals over groups.

    Args:
        cases: Scores of the images.
        class_names: Names of the classes, the background first.
        extra: Predictions that have no truth, for the record.
        seed: Seed of the resampling.

    Returns:
        The summary.

    Raises:
        DataError: Without cases, or when the classes do not fit the counts.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap (percentile interval).

    Example:
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> scores = [score_case(n, p, truth, 2) for n, p in (("a", truth), ("b", None))]
        >>> summary = summarise(scores, ("cell", "membrane"))
        >>> summary.headline.mean, summary.missing
        (0.5, ('b',))
    """
    _check(cases, class_names)
    rankings = RANKINGS if any(case.auc is not None for case in cases) else ()
    columns = [(k, m) for k in range(len(class_names)) for m in (*MEASURES, *rankings)]
    values_NM = np.array(
        [[case.value(m, k) for k, m in columns] + [case.mean_dice] for case in cases]
    )
    intervals = _bootstrap(values_NM, [case.group for case in cases], seed)
    pooled = np.sum([case.confusion for case in cases], axis=0)
    measures: dict[str, dict[str, Estimate]] = {name: {} for name in class_names}
    undefined: list[Undefined] = []
    for column, (k, measure) in enumerate(columns):
        reasons = [(case.case, case.reason(measure, k)) for case in cases]
        undefined += [Undefined(c, class_names[k], measure, r) for c, r in reasons if r]
        if measure in MEASURES:
            counts = counts_of(pooled, k)
            total, why = MEASURES[measure](counts), reason_undefined(measure, counts)
        else:
            total, why = math.nan, "only computed image by image"
        measures[class_names[k]][measure] = _estimate(
            values_NM[:, column], intervals[column], total, why
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
    )


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
    names, group_N = np.unique(np.array(groups, dtype=object), return_inverse=True)
    known_NM = ~np.isnan(values_NM)
    member_GN = np.equal.outer(np.arange(names.size), group_N).astype(np.float64)
    sums_GM = member_GN @ np.where(known_NM, values_NM, 0.0)
    used_GM = member_GN @ known_NM
    generator = np.random.default_rng(seed)
    drawn_RG = generator.integers(0, names.size, (RESAMPLES, names.size))
    times_RG = np.stack([np.bincount(row, minlength=names.size) for row in drawn_RG])
    totals_RM, counts_RM = times_RG @ sums_GM, times_RG @ used_GM
    intervals: list[tuple[float, float] | None] = []
    for column in range(values_NM.shape[1]):
        if int((used_GM[:, column] > 0).sum()) < MIN_GROUPS:
            intervals.append(None)
            continue
        drawn_R = counts_RM[:, column] > 0
        means_R = totals_RM[drawn_R, column] / counts_RM[drawn_R, column]
        low, high = np.percentile(means_R, (2.5, 97.5))
        intervals.append((float(low), float(high)))
    return intervals
