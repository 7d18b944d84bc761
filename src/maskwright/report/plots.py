"""The charts of the report: where the masks are good, and whether their probabilities hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from maskwright.report.axes import Axes, series, ticks
from maskwright.report.chart import Chart
from maskwright.report.content import (
    GroupScore,
    QualityTrend,
    ReliabilityCurve,
    ReportData,
    SizeScores,
    ThresholdChoice,
    TrustScores,
)
from maskwright.report.rows import Row, confusion_chart, row_chart

Section = Literal[
    "cases",
    "sizes",
    "quality",
    "groups",
    "confusion",
    "reliability",
    "thresholds",
    "trust",
    "learning",
]
# A strip below three images and groups of one image each show nothing that the tables do not.
FEWEST_CASES = 3
FEWEST_GROUPS = 3
MOST_GROUPS = 24
TALLEST_STRIP = 120.0
SHARES = tuple(k / 5 for k in range(6))


def report_charts(report: ReportData) -> dict[Section, list[Chart]]:
    """Every chart of the report, by section; charts without content are left out.

    Args:
        report: The content.

    Returns:
        Charts by section, in the order of the content.
    """
    return {
        "cases": case_charts(report),
        "sizes": [size_chart(scores) for scores in report.sizes],
        "quality": [quality_chart(trend) for trend in report.quality],
        "groups": group_charts(report.groups),
        "confusion": [confusion_chart(report.summary.class_names, report.confusion)]
        if report.confusion
        else [],
        "reliability": [reliability_chart(curve) for curve in report.reliability],
        "thresholds": [threshold_chart(choice) for choice in report.thresholds],
        "trust": [trust_chart(report.trust)] if report.trust and report.trust.points else [],
        "learning": list(report.learning),
    }


def case_charts(report: ReportData) -> list[Chart]:
    """One dot for each image along its mean Dice, with the mean and its interval."""
    known = sorted(
        (case.mean_dice, case.name) for case in report.cases if math.isfinite(case.mean_dice)
    )
    if len(known) < FEWEST_CASES:
        return []
    levels = ticks(known[0][0], 1.0)
    slots: dict[int, int] = {}
    columns = []
    for value, _ in known:
        slot = round((value - levels[0]) / (1.0 - levels[0] or 1.0) * 40)
        columns.append(slots.get(slot, 0))
        slots[slot] = columns[-1] + 1
    # Many dots are packed closer than they are wide, or the strip would become a tower.
    height = min(TALLEST_STRIP, 12 + 8 * max(slots.values()))
    step = (height - 12) / max(slots.values()) / height
    axes = Axes((levels[0], 1.0), (0.0, 1.0), ("mean Dice of an image", ""), plot_height=height)
    axes.grid(levels, ())
    headline = report.summary.headline
    if headline.interval is not None:
        low, high = headline.interval
        axes.band(low, high)
    axes.rule((headline.mean, 0.0), (headline.mean, 1.0), ())
    axes.dots(
        [(value, 6 / height + step * row) for (value, _), row in zip(known, columns, strict=True)],
        "blue",
        labels=[f"{name}: {value:.3f}" for value, name in known],
        radius=3.6,
        opacity=0.75,
    )
    median = known[len(known) // 2][0]
    return [
        axes.chart(
            "cases",
            "Every image",
            f"Mean Dice of {len(known)} images, from {known[0][0]:.2f} ({known[0][1]}) to "
            f"{known[-1][0]:.2f} ({known[-1][1]}); half of them reach {median:.2f} or more. "
            "The line is the mean, the band its interval.",
        )
    ]


def size_chart(scores: SizeScores) -> Chart:
    """Share found and mean IoU of each size of object."""
    rows = [
        Row(
            entry.label,
            bar=entry.found / entry.n if entry.n else math.nan,
            dot=entry.mean_iou,
            value=f"{entry.found} of {entry.n}",
        )
        for entry in scores.bins
    ]
    told = "; ".join(f"{row.label}: {row.value} found" for row in rows)
    return row_chart(
        f"size-{scores.class_name}",
        f"Objects of {scores.class_name} by size",
        f"{told}.",
        rows,
        legend=("share found", "mean IoU"),
    )


def group_charts(groups: Sequence[GroupScore]) -> list[Chart]:
    """Mean, worst and best image of each group, the worst group first."""
    if len(groups) < FEWEST_GROUPS or all(group.n < 2 for group in groups):
        return []
    ordered = sorted(groups, key=lambda group: (group.mean, group.group))[:MOST_GROUPS]
    rows = [
        Row(
            group.group,
            dot=group.mean,
            span=(group.worst, group.best),
            value=f"{group.mean:.2f} ({group.n})",
        )
        for group in ordered
    ]
    first, last = ordered[0], ordered[-1]
    limit = f" The {MOST_GROUPS} worst of {len(groups)} groups." if len(groups) > len(rows) else ""
    return [
        row_chart(
            "groups",
            "Mean Dice by group",
            f"From {first.mean:.2f} ({first.group}) to {last.mean:.2f} ({last.group}). Thin lines "
            f"run from the worst to the best image; the number of images is in brackets.{limit}",
            rows,
        )
    ]


def quality_chart(trend: QualityTrend) -> Chart:
    """Mean Dice of each image against one of its properties."""
    known = [p for p in trend.points if math.isfinite(p[1]) and math.isfinite(p[2])]
    values = [x for _, x, _ in known] or [0.0]
    levels = ticks(min(values), max(values))
    axes = Axes((levels[0], levels[-1]), (0.0, 1.0), (trend.name, "mean Dice"))
    axes.grid(levels, SHARES)
    axes.dots(
        [(x, dice) for _, x, dice in known],
        "blue",
        labels=[f"{name}: {trend.name} {x:.3g}, Dice {dice:.3f}" for name, x, dice in known],
        radius=3.6,
        opacity=0.75,
    )
    return axes.chart(
        f"quality-{trend.name}",
        f"Dice and {trend.name}",
        f"{len(known)} images. {trend.sentence}",
    )


def reliability_chart(curve: ReliabilityCurve) -> Chart:
    """True share against predicted probability, with the number of pixels below."""
    known = [
        (p, share, n)
        for p, share, n in curve.bins
        if n and math.isfinite(p) and math.isfinite(share)
    ]
    axes = Axes((0.0, 1.0), (0.0, 1.0), ("predicted probability", "share that is true"))
    axes.grid(SHARES, SHARES)
    most = max((n for _, _, n in known), default=1)
    for probability, _, n in known:
        # Nearly all pixels lie at 0 and 1; on a plain scale the others would not show.
        axes.column(probability, 44 * math.log1p(n) / math.log1p(most), 12)
    axes.rule((0.0, 0.0), (1.0, 1.0))
    points = [(probability, share) for probability, share, _ in known]
    axes.line(points, 0)
    axes.dots(points, series(0)[0])
    return axes.chart(
        f"reliability-{curve.class_name}",
        f"Probability of {curve.class_name}",
        f"Expected calibration error {curve.ece:.3f}. On the dashed line a probability of 0.8 is "
        f"right four times in five; below it the network is too sure. Grey columns: number of "
        "pixels, logarithmic.",
    )


def threshold_chart(choice: ThresholdChoice) -> Chart:
    """Mean validation Dice at each threshold, with the chosen one marked."""
    known = [(t, dice) for t, dice in choice.curve if math.isfinite(dice)]
    axes = Axes((0.0, 1.0), (0.0, 1.0), ("threshold", "mean Dice on validation images"))
    axes.grid(SHARES, SHARES)
    axes.line(known, 0)
    axes.rule((choice.chosen, 0.0), (choice.chosen, 1.0))
    side: Literal["start", "end"] = "end" if choice.chosen > 0.5 else "start"
    shift = -0.02 if choice.chosen > 0.5 else 0.02
    axes.note(choice.chosen + shift, 0.0, f"chosen: {choice.chosen:.2f}", side, lift=10)
    top = max(known, key=lambda point: point[1], default=(choice.chosen, math.nan))
    return axes.chart(
        f"threshold-{choice.class_name}",
        f"Threshold for {choice.class_name}",
        f"The validation images score highest, {top[1]:.3f}, at {top[0]:.2f}; "
        f"chosen is {choice.chosen:.2f}.",
    )


def trust_chart(trust: TrustScores) -> Chart:
    """Actual against expected Dice of each image."""
    known = [p for p in trust.points if math.isfinite(p[1]) and math.isfinite(p[2])]
    axes = Axes((0.0, 1.0), (0.0, 1.0), ("expected Dice", "actual Dice"))
    axes.grid(SHARES, SHARES)
    axes.rule((0.0, 0.0), (1.0, 1.0))
    axes.dots(
        [(expected, actual) for _, expected, actual in known],
        "blue",
        labels=[f"{name}: expected {x:.3f}, actual {y:.3f}" for name, x, y in known],
        radius=3.6,
        opacity=0.75,
    )
    return axes.chart(
        "trust",
        "Expected and actual Dice",
        f"{len(known)} images. On the dashed line both agree; below it the network promised too "
        "much.",
    )
