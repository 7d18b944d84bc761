"""From scores to the sections of a report: what was found, in tables and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskwright.evaluate.breakdown import describe_failures, score_groups, score_sizes
from maskwright.evaluate.calibration import Reliability, brier, ece
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.catalogue import CATALOGUE, Group
from maskwright.evaluate.quality import QUALITY, trend
from maskwright.evaluate.summary import Summary
from maskwright.evaluate.thresholds import ThresholdCurve
from maskwright.evaluate.uncertainty import agreement
from maskwright.report.content import (
    FoldScore,
    FoldTable,
    GroupScore,
    ImageLabels,
    MeasureInfo,
    PartitionTable,
    QualityTrend,
    RegionScore,
    ReliabilityCurve,
    SizeBin,
    SizeScores,
    ThresholdChoice,
    TrustScores,
)
from maskwright.workflow.calibrating import Calibration

_DEFAULT_THRESHOLD = 0.5
# The one measure of each group that stands beside Dice in the table of images.
_COLUMNS: Mapping[Group, str] = {
    "surface": "hd95",
    "objects": "f1",
    "partition": "v_rand_thinned",
    "topology": "cldice",
}


def describe_measures(summary: Summary) -> list[MeasureInfo]:
    """What each measure means, with the unit and tolerance of this evaluation."""
    return [
        MeasureInfo(
            name,
            summary.title(name) if name == "nsd" else measure.title,
            measure.meaning,
            summary.unit if measure.unit == "length" else measure.unit,
            measure.best,
            measure.group,
        )
        for name, measure in CATALOGUE.items()
    ]


def columns_of(case: CaseScore, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The measures that stand beside Dice in the table of images."""
    return {
        measure: {name: case.value(measure, k) for k, name in enumerate(names) if k > 0}
        for measure in _COLUMNS.values()
        if case.has(measure)
    }


def sections_of(cases: Sequence[CaseScore], summary: Summary) -> dict[str, Any]:
    """The fields of a report that follow from the scores alone."""
    names = summary.class_names
    return {
        "catalogue": describe_measures(summary),
        "failures": describe_failures(cases, names, unit=summary.unit),
        "sizes": _sizes(cases, summary),
        "groups": [GroupScore(**vars(group)) for group in score_groups(cases)],
        "confusion": tuple(
            tuple(int(n) for n in row) for row in np.sum([c.confusion for c in cases], axis=0)
        ),
        "trust": _trust(cases),
        "reliability": _reliability(cases, names),
    }


def _sizes(cases: Sequence[CaseScore], summary: Summary) -> list[SizeScores]:
    sections = []
    for k, name in enumerate(summary.class_names):
        bins = score_sizes(cases, k, unit=summary.unit) if k else []
        if sum(b.n for b in bins) > len(cases):
            sections.append(
                SizeScores(
                    name,
                    summary.unit,
                    [SizeBin(b.label(summary.unit), b.n, b.found, b.mean_iou) for b in bins],
                    "Size is the diameter of a disc (in volumes a ball) as large as the object. "
                    "Found means an IoU of at least 0.5 with one predicted object.",
                )
            )
    return sections


def _trust(cases: Sequence[CaseScore]) -> TrustScores | None:
    known = [case for case in cases if case.trust is not None and not math.isnan(case.mean_dice)]
    points = [(c.case, c.trust.mean, c.mean_dice) for c in known if c.trust is not None]
    points = [point for point in points if not math.isnan(point[1])]
    if not points:
        return None
    found = agreement([expected for _, expected, _ in points], [dice for _, _, dice in points])
    return TrustScores(points, found.sentence())


def _reliability(cases: Sequence[CaseScore], names: Sequence[str]) -> list[ReliabilityCurve]:
    kept = [case.reliability for case in cases if case.reliability]
    if not kept:
        return []
    curves = []
    for k, name in enumerate(names):
        bins: Reliability = sum((r[k] for r in kept[1:]), kept[0][k])
        if k == 0 or bins.n == 0:
            continue
        rows = [
            (float(p), float(share), int(n))
            for p, share, n in zip(bins.mean_probability, bins.share_true, bins.counts, strict=True)
            if n
        ]
        curves.append(ReliabilityCurve(name, rows, ece(bins), brier(bins)))
    return curves


def with_calibration(
    curves: Sequence[ReliabilityCurve],
    calibration: Calibration,
    ece_before: Mapping[str, float],
) -> list[ReliabilityCurve]:
    """The same curves, saying what the temperature changed."""
    return [
        ReliabilityCurve(
            curve.class_name,
            curve.bins,
            curve.ece,
            curve.brier,
            calibration.temperature,
            ece_before[curve.class_name],
        )
        for curve in curves
    ]


def threshold_choices(
    calibration: Calibration, oracle: Sequence[ThresholdCurve], names: Sequence[str]
) -> list[ThresholdChoice]:
    """The thresholds that the validation images chose, and what they gain on the test images."""
    choices = []
    for name, chosen_on, test in zip(names[1:], calibration.curves, oracle, strict=False):
        if not chosen_on.n_used or not test.n_used:
            continue
        chosen = chosen_on.best_threshold
        at = dict(zip(test.thresholds, test.dice, strict=True))
        choices.append(
            ThresholdChoice(
                name,
                list(zip(chosen_on.thresholds, chosen_on.dice, strict=True)),
                chosen,
                at[_DEFAULT_THRESHOLD],
                at[chosen],
                test.best_dice,
                test.best_threshold,
            )
        )
    return choices


def quality_trends(
    cases: Sequence[CaseScore], quality: Mapping[str, Mapping[str, float | None]]
) -> list[QualityTrend]:
    """Mean Dice against each property of the images."""
    trends = []
    for name, meaning in QUALITY.items():
        points = [
            (case.case, value, case.mean_dice)
            for case in cases
            if (value := quality.get(case.case, {}).get(name)) is not None
            and not math.isnan(case.mean_dice)
        ]
        if len({x for _, x, _ in points}) < 3:
            continue
        found = trend(
            [x for _, x, _ in points], [y for _, _, y in points], x_name=name, y_name="Dice"
        )
        told = f"{meaning[:1].upper()}{meaning[1:]}."
        trends.append(QualityTrend(name, told, points, found.spearman, found.sentence))
    return trends


def partition_tables(partitions: Mapping[str, Mapping[str, Any]]) -> list[PartitionTable]:
    """Thinned V-Rand and V-Info at each threshold."""
    return [
        PartitionTable(
            name,
            [(row[0], row[1], row[2]) for row in table["rows"]],
            (table["best_v_rand"][0], table["best_v_rand"][1]),
            (table["best_v_info"][0], table["best_v_info"][1]),
            f"Mean over {table['slices']} slices, borders thinned to one pixel. The best threshold "
            "is chosen on these images, as the challenge does, so it flatters. Without thinning, "
            f"over all slices together: Rand error {table['rand_error'][1]:.4f}, pixel error "
            f"{table['pixel_error'][1]:.4f} at their own best thresholds.",
        )
        for name, table in partitions.items()
    ]


def image_labels(values: Mapping[str, Any] | None) -> ImageLabels | None:
    """Scores of the labels of whole images, and which were wrong."""
    if values is None:
        return None
    classes = tuple(values["classes"])
    wrong = []
    for name, case in values["cases"].items():
        said = int(np.argmax(case["probabilities"]))
        if said != case["label"]:
            sure = float(case["probabilities"][said])
            wrong.append((name, classes[case["label"]], classes[said], sure))
    wrong.sort(key=lambda row: (-row[3], row[0]))
    return ImageLabels(classes, values["confusion"], values["sentence"], wrong)


def fold_table(values: Mapping[str, Any] | None) -> FoldTable | None:
    """Mean Dice of each fold, where there are folds."""
    if values is None:
        return None
    each = [
        FoldScore(
            row["fold"],
            row["n"],
            row["n_groups"],
            math.nan if row["mean_dice"] is None else float(row["mean_dice"]),
            row["step"],
        )
        for row in values["each"]
    ]
    return FoldTable(each, values["sentence"])


def region_scores(regions: Sequence[Mapping[str, Any]]) -> list[RegionScore]:
    """Dice inside and outside the region of interest, for the network and a second observer."""
    rows = []
    for entry in regions:
        summary = Summary.from_json(entry["summary"])
        name = summary.class_names[1]
        values = summary.measures[name]
        rows.append(
            RegionScore(
                entry["region"],
                entry["method"],
                name,
                summary.headline,
                values["precision"],
                values["recall"],
                values["specificity"],
            )
        )
    return rows
