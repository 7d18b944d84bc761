"""Everything that is asked for, measured on one image.

Overlap follows from one pass of counts. The other groups look at one class at a time, inside the
box that holds it, and each says for which classes it has no value, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import EvaluateConfig, MeasureGroup, validate
from maskwright.evaluate import objects, partition, ranking, surface, topology, warping
from maskwright.evaluate.calibration import Reliability, brier, ece, reliability
from maskwright.evaluate.case import BACKGROUND, CaseScore, ClassValues, ObjectTally
from maskwright.evaluate.catalogue import CATALOGUE, measures_of
from maskwright.evaluate.confusion import count_confusion
from maskwright.evaluate.masks import check_shape
from maskwright.evaluate.uncertainty import Trust, trust

OVERLAP_ONLY = EvaluateConfig(measures=())
_SLICES_ONLY = "it is defined for single slices"
_FOUND_IOU = 0.5


@dataclass(frozen=True)
class _Pair:
    """A prediction and its truth, as the groups of measures need them."""

    prediction: NDArray[Any]
    truth: NDArray[Any]
    classes: int
    valid: NDArray[np.bool_] | None
    spacing_mm: Sequence[float] | None
    probabilities: NDArray[Any] | None
    prediction_objects: NDArray[Any] | None
    truth_objects: NDArray[Any] | None
    missing: bool

    def masks(self, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return self.prediction == k, self.truth == k


def score_case(
    name: str,
    prediction: NDArray[Any] | None,
    truth: NDArray[Any],
    classes: int,
    *,
    probabilities: NDArray[Any] | None = None,
    valid: NDArray[np.bool_] | None = None,
    group: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    config: EvaluateConfig = OVERLAP_ONLY,
    prediction_objects: NDArray[Any] | None = None,
    truth_objects: NDArray[Any] | None = None,
) -> CaseScore:
    """Measure one image or volume.

    Args:
        name: Name of the image.
        prediction: Predicted class ids, shape ``(Y, X)`` or ``(Z, Y, X)``; ``None`` when the file
            is missing, which counts as all background and is flagged.
        truth: True class ids, same shape.
        classes: Number of classes K, background included.
        probabilities: Probability of each class, shape ``(K, Y, X)`` or ``(K, Z, Y, X)``, for
            calibration and ranking.
        valid: Region of interest, same shape as the truth; ``None`` counts every pixel. It holds
            for every measure.
        group: What must not be split; by default the image itself.
        spacing_mm: Pixel size along each axis; ``None`` measures distances in pixels.
        config: Which groups of measures, and their settings.
        prediction_objects: Number of the object each pixel belongs to, where the prediction tells
            objects apart (two classes only); by default the connected pieces of each class.
        truth_objects: The same of the truth.

    Returns:
        The score.

    Raises:
        DataError: If shapes differ or an id is not below ``classes``.

    Example:
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> score_case("a", None, truth, 2).mean_dice, score_case("a", truth, truth, 2).mean_dice
        (0.0, 1.0)
    """
    expected = {
        "prediction": (prediction, truth.shape),
        "probabilities": (probabilities, (classes, *truth.shape)),
        "objects of the prediction": (prediction_objects, truth.shape),
        "objects of the truth": (truth_objects, truth.shape),
    }
    for what, (array, shape) in expected.items():
        check_shape(array, f"{what} of {name}", shape)
    missing = prediction is None
    predicted = np.zeros(truth.shape, np.uint8) if prediction is None else _ids(prediction)
    truth = _ids(truth)
    confusion = count_confusion(predicted, truth, classes, valid)
    pair = _Pair(
        predicted,
        truth,
        classes,
        valid,
        spacing_mm,
        None if missing else probabilities,
        None if missing else prediction_objects,
        truth_objects,
        missing,
    )
    taken = _Taken(pair, config)
    if confusion.any():
        for group_name in dict.fromkeys(config.measures):
            taken.take(group_name)
    return CaseScore(
        name,
        group or name,
        tuple(tuple(int(n) for n in row) for row in confusion),
        missing,
        taken.further,
        tuple(taken.flags),
        truth.shape,
        None if spacing_mm is None else tuple(float(s) for s in spacing_mm),
        tuple(taken.objects),
        tuple(taken.reliability),
        taken.trust,
    )


def measure(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    *,
    probability: NDArray[Any] | None = None,
    valid: NDArray[np.bool_] | None = None,
    spacing_mm: Sequence[float] | None = None,
    tolerance: float = 1.0,
    measures: str | Sequence[str] = "all",
) -> dict[str, float]:
    """Every measure of one mask against its truth, as a plain dictionary.

    Args:
        prediction: Predicted mask, shape ``(Y, X)`` or ``(Z, Y, X)``, bool or 0 and 1.
        truth: True mask, same shape.
        probability: Probability of the object, same shape, for calibration and ranking.
        valid: Region of interest, same shape.
        spacing_mm: Pixel size along each axis; ``None`` measures distances in pixels.
        tolerance: Of the surface Dice, in mm or pixels.
        measures: Groups of measures beyond overlap, or ``all``.

    Returns:
        Value by the names of the catalogue, NaN where a measure is undefined.

    Raises:
        ConfigError: For an unknown group or an illegal tolerance.
        DataError: If shapes differ or a mask has other values.

    Example:
        >>> truth = np.zeros((40, 40), bool)
        >>> truth[10:20, 10:20] = True
        >>> prediction = truth.copy()
        >>> prediction[10:12, 30:32] = True
        >>> found = measure(prediction, truth)
        >>> found["hd"], round(found["hd95"], 4), round(found["nsd"], 4)
        (12.0, 11.05, 0.9474)
    """
    config = validate(
        EvaluateConfig, {"measures": measures, "tolerance": tolerance}, subject="measure"
    )
    scores = None if probability is None else np.stack([1 - probability, probability])
    case = score_case(
        "prediction",
        prediction,
        truth,
        2,
        probabilities=scores,
        valid=valid,
        spacing_mm=spacing_mm,
        config=config,
    )
    return {name: case.value(name, 1) for name in CATALOGUE if case.has(name)}


class _Taken:
    """Collects the measures of one image, one group after the other."""

    def __init__(self, pair: _Pair, config: EvaluateConfig) -> None:
        self._pair = pair
        self._config = config
        self.further: dict[str, ClassValues] = {}
        self.flags: list[tuple[int, str]] = []
        self.objects: list[ObjectTally] = []
        self.reliability: list[Reliability] = []
        self.trust: Trust | None = None

    def take(self, group: MeasureGroup) -> None:
        """Measure one group."""
        by_group: dict[MeasureGroup, Callable[[], None]] = {
            "surface": self._surfaces,
            "objects": self._objects,
            "partition": self._partitions,
            "topology": self._topology,
            "calibration": self._calibration,
            "ranking": self._ranking,
        }
        by_group[group]()

    def _keep(
        self, names: Sequence[str], rows: Sequence[Sequence[float]], reasons: Sequence[str]
    ) -> None:
        """Keep a table of classes (rows) and measures (columns)."""
        for column, name in enumerate(names):
            values = tuple(float(row[column]) for row in rows)
            why = (r if math.isnan(v) else "" for r, v in zip(reasons, values, strict=True))
            self.further[name] = ClassValues(values, tuple(why))

    def _foreground(self, names: Sequence[str], measured: Iterator[Sequence[float]]) -> None:
        """Keep measures of the classes 1 and above."""
        rows = [[math.nan] * len(names), *measured]
        self._keep(names, rows, [BACKGROUND, *[""] * (len(rows) - 1)])

    def _surfaces(self) -> None:
        pair = self._pair

        def measured() -> Iterator[Sequence[float]]:
            for k, found in surface.surface_distances_by_class(
                pair.prediction, pair.truth, pair.classes, pair.spacing_mm, pair.valid
            ):
                if found.flag:
                    self.flags.append((k, found.flag))
                distances = [measure(found) for measure in surface.DISTANCES.values()]
                yield [*distances, surface.nsd(found, self._config.tolerance)]

        self._foreground([*surface.DISTANCES, "nsd"], measured())

    def _objects(self) -> None:
        pair = self._pair
        names = measures_of("objects")

        def measured() -> Iterator[Sequence[float]]:
            for k in range(1, pair.classes):
                predicted, true = pair.masks(k)
                numbered = pair.classes == 2
                matching = objects.match_objects(
                    _numbered(predicted, pair.prediction_objects if numbered else None),
                    _numbered(true, pair.truth_objects if numbered else None),
                    pair.valid,
                )
                rows = objects.object_rows(matching, _FOUND_IOU)
                self.objects.append(
                    ObjectTally(
                        objects.counts_at(matching, _FOUND_IOU),
                        tuple(row.size for row in rows),
                        tuple(row.found for row in rows),
                        tuple(row.iou for row in rows),
                    )
                )
                yield [objects.OBJECT_MEASURES[name](matching) for name in names]

        self.objects.append(ObjectTally(objects.ObjectCounts(0, 0, 0, 0.0), (), (), ()))
        self._foreground(names, measured())

    def _partitions(self) -> None:
        pair = self._pair
        names = measures_of("partition")
        rows = []
        flat = pair.truth.ndim == 2
        for k in range(pair.classes):
            predicted, true = pair.masks(k)
            truth = partition.segments(true)
            if k == 1 and pair.classes == 2 and pair.truth_objects is not None:
                truth = np.where(true, pair.truth_objects, 0)
            pieces = partition.segments(predicted)
            scores = {
                "v_rand": partition.v_rand(pieces, truth, pair.valid).f,
                "v_info": partition.v_info(pieces, truth, pair.valid).f,
            }
            if flat:
                thin = partition.thin(predicted)
                scores["v_rand_thinned"] = partition.v_rand(thin, truth, pair.valid).f
                scores["v_info_thinned"] = partition.v_info(thin, truth, pair.valid).f
                warped = warping.warping_error(predicted, true, valid=pair.valid)
                scores["warping_error"] = warped.error
                scores["warping_deletions"] = warped.deletions
            rows.append([scores.get(name, math.nan) for name in names])
        why = "the class is absent from the truth" if flat else _SLICES_ONLY
        self._keep(names, rows, [why] * pair.classes)

    def _topology(self) -> None:
        pair = self._pair

        def measured() -> Iterator[Sequence[float]]:
            for k in range(1, pair.classes):
                predicted, true = pair.masks(k)
                errors = topology.betti_errors(predicted, true, pair.valid)
                yield [topology.cldice(predicted, true, pair.valid), errors.b0, errors.b1]

        self._foreground(measures_of("topology"), measured())

    def _calibration(self) -> None:
        pair = self._pair
        scores = pair.probabilities
        if scores is None and pair.missing:
            # Nothing was claimed: the image must not drop out of the mean because of that.
            scores = np.zeros((pair.classes, *pair.truth.shape), np.float32)
            scores[0] = 1
        if scores is None:
            return
        self.reliability = [
            reliability(scores[k], pair.truth == k, self._config.bins, pair.valid)
            for k in range(pair.classes)
        ]
        rows = [[brier(bins), ece(bins)] for bins in self.reliability]
        self._keep(measures_of("calibration"), rows, [""] * pair.classes)
        if pair.probabilities is not None:
            self.trust = trust(pair.probabilities, pair.prediction, pair.valid)

    def _ranking(self) -> None:
        pair = self._pair
        if pair.probabilities is None and not pair.missing:
            return
        inside = ... if pair.valid is None else pair.valid
        truth = pair.truth[inside]
        rows = []
        for k in range(pair.classes):
            positive = truth == k
            if pair.probabilities is None:
                rows.append(_chance(positive))
            else:
                scores = pair.probabilities[k][inside]
                rows.append(
                    (ranking.auc(scores, positive), ranking.average_precision(scores, positive))
                )
        covers = [bool((truth == k).any()) for k in range(pair.classes)]
        reasons = [f"the class covers {'every' if c else 'no'} pixel of the truth" for c in covers]
        self._keep(measures_of("ranking"), rows, reasons)


def _ids(mask: NDArray[Any]) -> NDArray[Any]:
    """Bool as 0 and 1; decoders of 1-bit files may leave other bytes in it."""
    return np.asarray(mask != 0).view(np.uint8) if mask.dtype == np.bool_ else mask


def _numbered(mask: NDArray[np.bool_], ids: NDArray[Any] | None) -> NDArray[Any]:
    return objects.components(mask) if ids is None else np.where(mask, ids, 0)


def _chance(positive: NDArray[np.bool_]) -> tuple[float, float]:
    """AUC and average precision of an image that was not predicted: all pixels rank the same."""
    share = float(positive.mean())
    return (math.nan, math.nan) if share in {0.0, 1.0} else (0.5, share)
