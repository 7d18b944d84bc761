"""What the report shows, as values: nothing here computes a score or draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from maskwright.report.chart import Chart
from maskwright.report.sections import (
    Estimated,
    FoldScore,
    FoldTable,
    GroupScore,
    ImageLabels,
    MeasureInfo,
    PartitionTable,
    QualityTrend,
    RegionScore,
    ReliabilityCurve,
    ReportSlice,
    SizeBin,
    SizeScores,
    ThresholdChoice,
    TrustScores,
)

__all__ = [
    "CATALOGUE",
    "Estimated",
    "FoldScore",
    "FoldTable",
    "GroupScore",
    "ImageLabels",
    "MeasureInfo",
    "PartitionTable",
    "QualityTrend",
    "RegionScore",
    "ReliabilityCurve",
    "ReportCase",
    "ReportData",
    "ReportSlice",
    "SizeBin",
    "SizeScores",
    "Summarised",
    "ThresholdChoice",
    "TrustScores",
    "Unscored",
]

CATALOGUE = (
    MeasureInfo("dice", "Dice", "Overlap: 2 × common area ÷ (predicted + true area)."),
    MeasureInfo("iou", "IoU", "Overlap: common area ÷ union; below Dice unless both are 0 or 1."),
    MeasureInfo("precision", "Precision", "The share of the prediction that is true."),
    MeasureInfo("recall", "Recall", "The share of the truth that was found."),
    MeasureInfo("specificity", "Specificity", "The share of everything else that was left alone."),
    MeasureInfo(
        "pixel_accuracy",
        "Pixel accuracy",
        "The share of pixels that are right. For a small class it is high whatever is predicted.",
    ),
    MeasureInfo(
        "rvd",
        "Volume difference",
        "(Predicted − true area) ÷ true area. Negative means too little.",
        best="zero",
    ),
    MeasureInfo("matthews", "Matthews", "Correlation of prediction and truth; 0 is chance."),
    MeasureInfo(
        "auc",
        "AUC",
        "How well the probabilities rank the pixels, without a threshold; 0.5 is chance.",
        group="ranking",
    ),
    MeasureInfo(
        "average_precision",
        "Average precision",
        "How well the probabilities rank the pixels; the share of the class is chance.",
        group="ranking",
    ),
)


class Unscored(Protocol):
    """A value that left its mean, and why."""

    @property
    def case(self) -> str: ...  # noqa: D102
    @property
    def class_name(self) -> str: ...  # noqa: D102
    @property
    def measure(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


class Summarised(Protocol):
    """All measures of a set of images: what the report needs of a ``Summary``."""

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def n_groups(self) -> int: ...  # noqa: D102
    @property
    def headline(self) -> Estimated: ...  # noqa: D102
    @property
    def measures(self) -> Mapping[str, Mapping[str, Estimated]]: ...  # noqa: D102
    @property
    def missing(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def extra(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def undefined(self) -> Sequence[Unscored]: ...  # noqa: D102
    def sentence(self, images: str = "image") -> str: ...  # noqa: D102


@dataclass(frozen=True)
class ReportCase:
    """One image of the report.

    Args:
        name: Name of the image.
        dice: Dice by class name.
        mean_dice: Mean of the classes after the background.
        group: What it belongs to, such as a patient.
        flags: Short remarks, such as ``no prediction``.
        overlay: Picture as a ``data:image/`` address, see ``figures.overlay_uri``.
        values: Further measures to show beside Dice: by measure, then by class name.
        slices: Pictures of a volume instead of ``overlay``, the worst slice first.
        expected: Mean Dice the network expected.
        panels: What the panels of its pictures are, see ``figures.panel_names``.
        fold: The fold that held it out, in a cross-validation.
    """

    name: str
    dice: Mapping[str, float]
    mean_dice: float
    group: str
    flags: tuple[str, ...] = ()
    overlay: str | None = None
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slices: Sequence[ReportSlice] = ()
    expected: float | None = None
    panels: tuple[str, ...] = ("image", "truth", "prediction", "errors")
    fold: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything the report shows. Sections without content do not appear.

    Args:
        title: Title of the page.
        summary: Measures of the masks.
        cases: The images.
        simulated: The images are simulated; a banner says so.
        subject: Who made the masks, in words.
        images: What the cases are, in the singular.
        baselines: Other measures on the same images: methods without training, and under
            ``second observer`` a second person.
        catalogue: What each measure means; measures that ``summary`` lacks are skipped.
        warnings: Sentences a reader must not miss.
        failures: What was missed, in words.
        sizes: Score by object size, one entry a class.
        quality: Score by a property of the images.
        groups: Score by group, such as a patient.
        folds: The folds, where this is a cross-validation.
        regions: Scores inside and outside the region of interest.
        confusion: Pixels, rows true classes, columns predicted ones.
        reliability: Whether probabilities are to be believed, one entry a class.
        thresholds: Thresholds chosen on validation images, one entry a class.
        partitions: Scores of a partition by threshold.
        image_labels: Scores of the labels of whole images.
        trust: Whether expected and actual Dice agree.
        learning: Charts of ``curves.learning_charts``.
        validations: Step and Dice by class, see ``curves.validations``.
        facts: Sentences about the data, such as what each mask value means.
        split: Names of the images of each part.
        data_hash: Hash of the data.
        plan: What was chosen, and why.
        model: Facts about the network.
        timings_s: Seconds by stage.
        cost: What it took besides, such as ``core hours``.
        config: The resolved configuration.
        versions: Versions by package.
        hardware: Facts about the machine.
        commands: Commands that repeat the run.
        citation: How to cite the software, as a sentence.
        bibtex: The same for BibTeX.
        has_region: The pictures carry the dashed border of a region of interest.
    """

    title: str
    summary: Summarised
    cases: Sequence[ReportCase]
    simulated: bool = False
    subject: str = "the trained network"
    images: str = "held-out image"
    baselines: Mapping[str, Summarised] = field(default_factory=dict)
    catalogue: Sequence[MeasureInfo] = ()
    warnings: Sequence[str] = ()
    failures: Sequence[str] = ()
    sizes: Sequence[SizeScores] = ()
    quality: Sequence[QualityTrend] = ()
    groups: Sequence[GroupScore] = ()
    folds: FoldTable | None = None
    regions: Sequence[RegionScore] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: Sequence[ReliabilityCurve] = ()
    thresholds: Sequence[ThresholdChoice] = ()
    partitions: Sequence[PartitionTable] = ()
    image_labels: ImageLabels | None = None
    trust: TrustScores | None = None
    learning: Sequence[Chart] = ()
    validations: Sequence[tuple[int, Mapping[str, float]]] = ()
    facts: Sequence[str] = ()
    split: Mapping[str, Sequence[str]] = field(default_factory=dict)
    data_hash: str = ""
    plan: Sequence[tuple[str, str]] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    citation: str = ""
    bibtex: str = ""
    has_region: bool = False
