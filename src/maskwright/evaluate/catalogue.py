"""Every measure in one table: its name, unit, direction, and what it does with empty masks.

The pages for people (terminal, report, ``docs/measures.md``) take their words from here, so a
measure is described in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Best = Literal["high", "low", "zero"]
Group = Literal["overlap", "surface", "objects", "partition", "topology", "calibration", "ranking"]

_OVERLAP_EMPTY = ("1", "0")
_PARTITION_EMPTY = ("1", "each pixel a piece of its own without prediction; 0 without truth")
_DISTANCE_EMPTY = ("0", "the image diagonal, flagged")


@dataclass(frozen=True)
class Measure:
    """What a reader must know of a measure.

    Args:
        name: Its key in every file.
        title: Its name for people.
        group: What it looks at.
        best: Which end is good.
        lowest: Lower end of its range.
        highest: Upper end of its range.
        both_empty: Its value when nothing was to be found and nothing was claimed.
        one_empty: Its value when only one of the masks is empty.
        formula: How it is computed.
        meaning: One sentence in plain words.
        unit: ``""`` for a number, ``"length"`` for mm or pixels, ``"bits"``.
    """

    name: str
    title: str
    group: Group
    best: Best
    lowest: str
    highest: str
    both_empty: str
    one_empty: str
    formula: str
    meaning: str
    unit: str = ""


def _share(
    name: str, title: str, group: Group, formula: str, meaning: str, empty: tuple[str, str]
) -> Measure:
    return Measure(name, title, group, "high", "0", "1", *empty, formula, meaning)


def _distance(name: str, title: str, formula: str, meaning: str) -> Measure:
    return Measure(
        name, title, "surface", "low", "0", "∞", *_DISTANCE_EMPTY, formula, meaning, "length"
    )


def _excess(
    name: str, title: str, group: Group, one_empty: str, formula: str, meaning: str
) -> Measure:
    return Measure(name, title, group, "low", "0", "∞", "0", one_empty, formula, meaning)


def _misfit(name: str, title: str, formula: str, meaning: str) -> Measure:
    computed = ("as computed", "as computed")
    return Measure(name, title, "calibration", "low", "0", "1", *computed, formula, meaning)


_ALL = (
    _share(
        "dice",
        "Dice",
        "overlap",
        "2TP / (2TP + FP + FN)",
        "Twice the overlap, divided by the predicted and the true area together.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "iou",
        "IoU",
        "overlap",
        "TP / (TP + FP + FN)",
        "Overlap divided by union (Jaccard); Dice is 2 IoU / (1 + IoU) on one image.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "precision",
        "Precision",
        "overlap",
        "TP / (TP + FP)",
        "The share of the prediction that is true.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "recall",
        "Recall",
        "overlap",
        "TP / (TP + FN)",
        "The share of the truth that was found (sensitivity).",
        _OVERLAP_EMPTY,
    ),
    _share(
        "specificity",
        "Specificity",
        "overlap",
        "TN / (TN + FP)",
        "The share of everything else that was left alone.",
        ("1", "as computed; undefined when the truth is everything"),
    ),
    Measure(
        "voe",
        "Overlap error",
        "overlap",
        "low",
        "0",
        "1",
        "0",
        "1",
        "1 − IoU",
        "Volumetric overlap error: the share of the union that is wrong.",
    ),
    Measure(
        "rvd",
        "Volume difference",
        "overlap",
        "zero",
        "−1",
        "∞",
        "0",
        "−1 without prediction, undefined without truth",
        "(|P| − |G|) / |G|",
        "Relative volume difference; negative means too little.",
    ),
    _excess(
        "rvd_absolute",
        "Volume difference, absolute",
        "overlap",
        "1 without prediction, undefined without truth",
        "||P| − |G|| / |G|",
        "The same without its sign, so that too much and too little do not cancel in a mean.",
    ),
    Measure(
        "volume_similarity",
        "Volume similarity",
        "overlap",
        "zero",
        "−2",
        "2",
        "0",
        "−2 without prediction, 2 without truth",
        "2(|P| − |G|) / (|P| + |G|)",
        "Signed difference of the volumes, divided by their mean.",
    ),
    _share(
        "pixel_accuracy",
        "Pixel accuracy",
        "overlap",
        "(TP + TN) / all",
        "The share of pixels that are right; for a small class it is high whatever is predicted.",
        ("1", "as computed"),
    ),
    Measure(
        "matthews",
        "Matthews correlation",
        "overlap",
        "high",
        "−1",
        "1",
        "1",
        "0",
        "(TP·TN − FP·FN) / √(|P|·|G|·(TN + FP)·(TN + FN))",
        "Correlation of prediction and truth; 0 is chance.",
    ),
    _distance(
        "hd",
        "Hausdorff distance",
        "max over both surfaces of the distance to the other",
        "The largest distance from one outline to the other; one stray pixel decides it.",
    ),
    _distance(
        "hd95",
        "HD95",
        "max of the two directed 95th percentiles",
        "Hausdorff distance without the farthest 5 % of each outline (as MONAI defines it).",
    ),
    _distance(
        "hd95_pooled",
        "HD95, pooled",
        "95th percentile of both directions together",
        "The same with both outlines thrown together (as MedPy defines it); usually smaller.",
    ),
    _distance(
        "assd",
        "Mean surface distance",
        "mean over all surface elements of both",
        "Average symmetric surface distance.",
    ),
    _distance(
        "masd",
        "Mean of mean distances",
        "mean of the two directed means",
        "Both outlines weigh the same, however long they are.",
    ),
    _share(
        "nsd",
        "Surface Dice",
        "surface",
        "surface elements within the tolerance / all, of both",
        "The share of both outlines that lies within the tolerance of the other one.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "ap",
        "Object AP",
        "objects",
        "TP / (TP + FP + FN) at IoU ≥ 0.5",
        "Objects found, divided by objects found, invented and missed.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "f1",
        "Object F1",
        "objects",
        "2TP / (2TP + FP + FN) at IoU ≥ 0.5",
        "Dice of whole objects instead of pixels.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "pq",
        "Panoptic quality",
        "objects",
        "Σ IoU of matches / (TP + FP/2 + FN/2) at IoU > 0.5",
        "Object F1, times the mean IoU of the objects that were found.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "aji",
        "Aggregated Jaccard",
        "objects",
        "Σ |G ∩ P*| / (Σ |G ∪ P*| + Σ unused P)",
        "IoU summed over objects, each with the prediction that fits it best (Kumar).",
        _OVERLAP_EMPTY,
    ),
    _share(
        "dsb",
        "Data Science Bowl score",
        "objects",
        "mean of object AP over IoU ≥ 0.5, 0.55 … 0.95",
        "Object AP, the stricter the outline is drawn the lower.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "seg",
        "SEG",
        "objects",
        "mean Jaccard over true objects; matched iff |R ∩ S| > |R| / 2",
        "The score of the Cell Tracking Challenge and of the U-Net paper's table 2.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "det",
        "DET",
        "objects",
        "1 − min(AOGM-D, AOGM-D₀) / AOGM-D₀",
        "Detection score of the Cell Tracking Challenge; a missed object costs most.",
        _OVERLAP_EMPTY,
    ),
    _share(
        "v_rand",
        "V-Rand",
        "partition",
        "harmonic mean of merge and split score",
        "Rand F-score of the pieces, within the true pieces; 1 is the same partition.",
        _PARTITION_EMPTY,
    ),
    _share(
        "v_rand_thinned",
        "V-Rand, thinned",
        "partition",
        "V-Rand after thinning the proposal's borders to one pixel",
        "As the ISBI 2012 challenge scores: the width of the drawn border does not matter.",
        _PARTITION_EMPTY,
    ),
    _share(
        "v_info",
        "V-Info",
        "partition",
        "harmonic mean of I/H(S) and I/H(T)",
        "Information that the two partitions share.",
        _PARTITION_EMPTY,
    ),
    _share(
        "v_info_thinned",
        "V-Info, thinned",
        "partition",
        "V-Info after thinning the proposal's borders to one pixel",
        "As the ISBI 2012 challenge scores.",
        _PARTITION_EMPTY,
    ),
    Measure(
        "warping_error",
        "Warping error",
        "partition",
        "low",
        "0",
        "1",
        "0",
        "as computed, with deletions beside it",
        "pixels of splits and mergers after warping / all pixels",
        "Errors that change the topology; shifted borders cost nothing.",
    ),
    _excess(
        "warping_deletions",
        "Pieces lost (warping)",
        "partition",
        "the number of pieces without prediction",
        "true pieces that the warped proposal lacks",
        "Stands beside the warping error, which is a perfect 0 where nothing is predicted.",
    ),
    _share(
        "cldice",
        "clDice",
        "topology",
        "harmonic mean of |S(P) ∩ G| / |S(P)| and |S(G) ∩ P| / |S(G)|",
        "Dice of centre lines: whether tubes are found along their whole length.",
        _OVERLAP_EMPTY,
    ),
    _excess(
        "betti0_error",
        "Error in pieces",
        "topology",
        "the number of pieces",
        "|β₀(P) − β₀(G)|",
        "How many connected pieces too many or too few.",
    ),
    _excess(
        "betti1_error",
        "Error in loops",
        "topology",
        "the number of loops",
        "|β₁(P) − β₁(G)|",
        "How many holes (2D) or tunnels (3D) too many or too few.",
    ),
    _misfit(
        "brier",
        "Brier score",
        "mean (p − g)²",
        "Mean squared distance of probability and truth.",
    ),
    _misfit(
        "ece",
        "Calibration error",
        "Σ n_b/n · |mean probability − share true|",
        "Expected calibration error: how far stated probabilities are from what comes true.",
    ),
    _share(
        "auc",
        "AUC",
        "ranking",
        "P(score of a positive > score of a negative)",
        "How well probabilities rank the pixels, without a threshold; 0.5 is chance.",
        ("undefined", "undefined without truth, 0.5 without prediction"),
    ),
    _share(
        "average_precision",
        "Average precision",
        "ranking",
        "Σ (Rₙ − Rₙ₋₁) Pₙ",
        "Precision averaged over recall, without a threshold; chance is the share of the class.",
        ("undefined", "undefined without truth, the share of the class without prediction"),
    ),
)

CATALOGUE: Mapping[str, Measure] = MappingProxyType({measure.name: measure for measure in _ALL})
"""Measure by name, in the order in which they are shown."""


def measures_of(group: Group) -> tuple[str, ...]:
    """Names of the measures of a group.

    Example:
        >>> measures_of("calibration")
        ('brier', 'ece')
    """
    return tuple(name for name, measure in CATALOGUE.items() if measure.group == group)
