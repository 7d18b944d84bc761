"""What the report says in words, and how it writes numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maskwright.report.content import (
    CATALOGUE,
    MeasureInfo,
    ReportCase,
    ReportData,
    Summarised,
    Unscored,
)

SECOND_OBSERVER = "second observer"
METHODS = {
    "otsu": "Otsu’s threshold",
    "kmeans": "k-means clustering",
    "kmeans on filters": "k-means on filtered images",
    "commonest class": "one class everywhere",
    SECOND_OBSERVER: "a second person",
}
CLUSTERING = {"otsu", "kmeans", "kmeans on filters"}
MEASURE_GROUPS = {
    "overlap": "Overlap",
    "surface": "Distance between outlines",
    "objects": "Single objects",
    "partition": "Partition into cells",
    "topology": "Shape and connection",
    "calibration": "Probabilities",
    "ranking": "Ranking by probability",
}
# Gains below this are noise of rounding to two decimals.
SAME = 0.005


@dataclass(frozen=True)
class Method:
    """One row of the comparison."""

    name: str
    summary: Summarised
    kind: Literal["ours", "method", "person"]


@dataclass(frozen=True)
class MeasureTable:
    """Measures of one group; whether any has a pooled value, or a mean that lacks an image."""

    title: str
    measures: tuple[MeasureInfo, ...]
    has_pooled: bool
    has_gaps: bool


def methods(report: ReportData) -> list[Method]:
    """The masks of the report first, then methods without training, best first, then a person."""
    others = sorted(
        (item for item in report.baselines.items() if item[0] != SECOND_OBSERVER),
        key=lambda item: -or_zero(item[1].headline.mean),
    )
    rows = [Method(report.subject, report.summary, "ours")]
    rows += [Method(METHODS.get(name, name), summary, "method") for name, summary in others]
    if SECOND_OBSERVER in report.baselines:
        person = report.baselines[SECOND_OBSERVER]
        rows.append(Method(METHODS[SECOND_OBSERVER], person, "person"))
    return rows


def comparisons(report: ReportData) -> list[str]:
    """Sentences that set the headline against the best other method, and a second person."""
    mean = report.summary.headline.mean
    sentences: list[str] = []
    if math.isnan(mean):
        return sentences
    rows = [row for row in methods(report)[1:] if not math.isnan(row.summary.headline.mean)]
    trained_nothing = [row for row in rows if row.kind == "method"]
    if trained_nothing:
        best = trained_nothing[0]
        score = best.summary.headline.mean
        if mean - score >= SAME:
            sentences.append(
                f"The best method without training, {best.name}, reaches {score:.2f} on the same "
                f"images: training gained {mean - score:.2f}."
            )
        else:
            sentences.append(
                f"A method without training, {best.name}, reaches {score:.2f} on the same images: "
                f"{_short(report.subject)} is no better than that."
            )
    sentences += [
        _against_person(report.subject, mean, row.summary.headline.mean)
        for row in rows
        if row.kind == "person"
    ]
    return sentences


def _against_person(subject: str, mean: float, score: float) -> str:
    name = _short(subject)
    if abs(mean - score) < SAME:
        relation = f"{name} does as well"
    elif mean > score:
        relation = f"{name} lies {mean - score:.2f} above"
    else:
        relation = f"{name} lies {score - mean:.2f} below"
    return (
        f"A second person, who marked the same images, reaches {score:.2f} against this truth: "
        f"{relation}."
    )


def _short(subject: str) -> str:
    return subject.replace("the trained network", "the network")


def compared_with(rows: Sequence[Method]) -> str:
    """Heading of the comparison: with what the masks are compared."""
    kinds = {row.kind for row in rows}
    parts = ["methods that need no training"] if "method" in kinds else []
    parts += ["a second person"] if "person" in kinds else []
    return f"Compared with {' and with '.join(parts)}"


def measure_tables(report: ReportData) -> list[MeasureTable]:
    """Measures that the summary has, by group, in the order of the catalogue."""
    by_class = report.summary.measures.values()
    groups: dict[str, list[MeasureInfo]] = {}
    for info in report.catalogue or CATALOGUE:
        if any(info.name in measures for measures in by_class):
            groups.setdefault(info.group, []).append(info)
    tables = []
    for group, infos in groups.items():
        estimates = [m[info.name] for m in by_class for info in infos if info.name in m]
        tables.append(
            MeasureTable(
                MEASURE_GROUPS.get(group, group.capitalize()),
                tuple(infos),
                any(math.isfinite(estimate.pooled) for estimate in estimates),
                any(estimate.n_used != estimate.n for estimate in estimates),
            )
        )
    return tables


def unscored(undefined: Sequence[Unscored], shown: Sequence[MeasureInfo]) -> list[dict[str, Any]]:
    """Undefined values of the measures on the page, one entry for each reason."""
    titles = {info.name: info.title for info in shown}
    entries: dict[tuple[str, str, str], list[str]] = {}
    for item in undefined:
        if item.measure in titles:
            key = (titles[item.measure], item.class_name, item.reason)
            entries.setdefault(key, []).append(item.case)
    return [
        {"measure": measure, "class_name": name, "reason": reason, "cases": cases}
        for (measure, name, reason), cases in entries.items()
    ]


def case_columns(report: ReportData) -> list[tuple[MeasureInfo, str]]:
    """Further measures of single images: each with the classes that have it."""
    known = {info.name: info for info in report.catalogue or CATALOGUE}
    columns: dict[tuple[str, str], None] = {}
    for case in report.cases:
        for measure, by_class in case.values.items():
            columns.update(dict.fromkeys((measure, name) for name in by_class))
    return [
        (known.get(measure, MeasureInfo(measure, measure, "")), name) for measure, name in columns
    ]


def worst_first(case: ReportCase) -> tuple[bool, float, str]:
    """Sorting key: low scores first, undefined ones last, then by name."""
    is_undefined = math.isnan(case.mean_dice)
    return is_undefined, 0.0 if is_undefined else case.mean_dice, case.name


def settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by section, nested keys dotted, values as text or JSON."""
    loose = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    sections: dict[str, Mapping[str, Any]] = {"general": loose} if loose else {}
    sections.update({key: value for key, value in config.items() if isinstance(value, Mapping)})
    return [(name, list(_flat(values))) for name, values in sections.items()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield prefix + key, text


def or_zero(value: float) -> float:
    """The value, 0 for NaN."""
    return 0.0 if math.isnan(value) else value


def number(value: float, decimals: int = 3) -> str:
    """The value with a real minus sign, a dash for NaN.

    Example:
        >>> number(-0.25), number(float("nan"))
        ('−0.250', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def decimals(value: float, unit: str) -> int:
    """Decimals for a value: three for shares and bits, fewer for long distances.

    Example:
        >>> decimals(0.5, ""), decimals(2.5, "mm"), decimals(12.34, "mm")
        (3, 2, 1)
    """
    if unit in ("", "bits"):
        return 3
    return 1 if abs(or_zero(value)) >= 10 else 2


def percent(value: float) -> str:
    """A share of the bar's width, whatever the value is."""
    return f"{100 * min(1.0, max(0.0, or_zero(value))):.2f}%"


def dash(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    Example:
        >>> duration(192.0)
        '3 min 12 s'
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def method_title(report: ReportData, name: str) -> str:
    """What the page calls a method: a key of the baselines, or ``network`` for the report's own."""
    return report.subject if name == "network" else METHODS.get(name, name)


def pixels(count: int) -> str:
    """A count with thin spaces, as ``12 345``."""
    return f"{count:,}".replace(",", "\u202f")
