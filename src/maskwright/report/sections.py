"""What single sections of the report show: small values, filled by whoever has the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class Estimated(Protocol):
    """A mean over cases, as ``maskwright.evaluate.summary.Estimate`` holds it."""

    @property
    def mean(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def n_used(self) -> int: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def pooled(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class MeasureInfo:
    """What a measure is called and what it means.

    Args:
        name: Key of the measure in a summary, such as ``hd95``.
        title: What the page calls it.
        meaning: One sentence in plain words.
        unit: ``mm``, ``px``, ``bits``, or nothing for a share.
        best: Whether high values, low values or values near zero are good.
        group: Table of the page that shows it.
    """

    name: str
    title: str
    meaning: str
    unit: str = ""
    best: Literal["high", "low", "zero"] = "high"
    group: str = "overlap"


@dataclass(frozen=True)
class SizeBin:
    """Objects of about one size.

    Args:
        label: The sizes in words, such as ``below 6 mm``.
        n: True objects of this size.
        found: How many of them were found.
        mean_iou: Their mean intersection over union, 0–1.
    """

    label: str
    n: int
    found: int
    mean_iou: float


@dataclass(frozen=True)
class SizeScores:
    """Score by size of the objects.

    Args:
        class_name: The class.
        unit: What the size is measured in, such as ``mm``.
        bins: The sizes, small ones first.
        note: How objects were told apart and what counts as found.
    """

    class_name: str
    unit: str
    bins: Sequence[SizeBin]
    note: str = ""


@dataclass(frozen=True)
class QualityTrend:
    """Score against one property of the images.

    Args:
        name: The property, such as ``contrast``.
        meaning: How it is computed, in plain words.
        points: Name of the image, its property and its mean Dice.
        spearman: Rank correlation, −1–1; ``None`` where there is none.
        sentence: What the figure shows.
    """

    name: str
    meaning: str
    points: Sequence[tuple[str, float, float]]
    spearman: float | None = None
    sentence: str = ""


@dataclass(frozen=True)
class GroupScore:
    """Mean Dice of one group of images, such as a patient.

    Args:
        group: Its name.
        n: Number of its images.
        mean: Mean over them.
        worst: The lowest of them.
        best: The highest of them.
    """

    group: str
    n: int
    mean: float
    worst: float
    best: float


@dataclass(frozen=True)
class FoldScore:
    """What one fold of a cross-validation reached on the images that it held out.

    Args:
        number: From 1.
        n: Number of these images.
        n_groups: Number of their groups.
        mean: Mean Dice.
        step: The update whose weights were kept; ``None`` where that is not known.
    """

    number: int
    n: int
    n_groups: int
    mean: float
    step: int | None = None


@dataclass(frozen=True)
class FoldTable:
    """A cross-validation, fold by fold.

    Args:
        each: The folds.
        sentence: Their mean, and how far they differ.
    """

    each: Sequence[FoldScore]
    sentence: str


@dataclass(frozen=True)
class RegionScore:
    """Measures of one class in one region of the images.

    Args:
        region: The region in words, such as ``inside`` or ``whole image``.
        method: Who made the masks: ``network``, or a key of ``ReportData.baselines``.
        class_name: The class.
        dice: Mean Dice.
        precision: Mean precision.
        recall: Mean recall.
        specificity: Mean specificity.
    """

    region: str
    method: str
    class_name: str
    dice: Estimated
    precision: Estimated
    recall: Estimated
    specificity: Estimated


@dataclass(frozen=True)
class ReliabilityCurve:
    """Whether pixels given a probability of 0.8 are right four times in five.

    Args:
        class_name: The class.
        bins: Mean probability, true share, and number of pixels of each bin.
        ece: Expected calibration error, 0–1.
        brier: Mean squared error of the probability, 0–1.
        temperature: What the logits were divided by; ``None`` if nothing was corrected.
        ece_before: Error before that correction.
    """

    class_name: str
    bins: Sequence[tuple[float, float, int]]
    ece: float
    brier: float
    temperature: float | None = None
    ece_before: float | None = None


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold chosen on validation images, and what it is worth on the test images.

    Args:
        class_name: The class.
        curve: Threshold and mean Dice on the validation images.
        chosen: The best threshold of the curve.
        at_default: Mean Dice on the test images at 0.5.
        at_chosen: Mean Dice on the test images at ``chosen``.
        oracle: Best mean Dice on the test images over all thresholds; not a fair score.
        oracle_threshold: The threshold that gives it.
    """

    class_name: str
    curve: Sequence[tuple[float, float]]
    chosen: float
    at_default: float
    at_chosen: float
    oracle: float
    oracle_threshold: float


@dataclass(frozen=True)
class PartitionTable:
    """Scores of a partition into cells at each threshold of the membrane.

    Args:
        class_name: The class that was thresholded.
        rows: Threshold, V-Rand and V-Info after thinning.
        best_v_rand: Threshold and value of the highest V-Rand.
        best_v_info: Threshold and value of the highest V-Info.
        note: On which images, and how the threshold was chosen.
    """

    class_name: str
    rows: Sequence[tuple[float, float, float]]
    best_v_rand: tuple[float, float]
    best_v_info: tuple[float, float]
    note: str = ""


@dataclass(frozen=True)
class ImageLabels:
    """How well the labels of whole images are said.

    Args:
        classes: Names of the classes.
        confusion: Images, rows true classes, columns said ones.
        sentence: Accuracy and area under the curve, in words.
        wrong: Images that were labelled wrongly: name, true label, said label and its probability,
            the surest error first.
    """

    classes: tuple[str, ...]
    confusion: Sequence[Sequence[int]]
    sentence: str
    wrong: Sequence[tuple[str, str, str, float]] = ()


@dataclass(frozen=True)
class TrustScores:
    """Dice that the network expected of its own masks, against what they reached.

    Args:
        points: Name of the image, expected and actual mean Dice.
        sentence: Whether they agree.
    """

    points: Sequence[tuple[str, float, float]]
    sentence: str = ""


@dataclass(frozen=True)
class ReportSlice:
    """One slice of a volume.

    Args:
        index: Its place along Z, from 0.
        picture: Its panels as a ``data:image/`` address, see ``figures.slice_uris``.
    """

    index: int
    picture: str
