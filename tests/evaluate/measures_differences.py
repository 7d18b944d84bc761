"""Cases in which another library gives another value than ours, each computed, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gudhi
import numpy as np
import torch
from measures_peers import Mask, as_tensor, counts, deepmind, itk
from medpy.metric import binary as medpy
from monai import losses as monai_losses
from monai import metrics as monai
from skimage import metrics as skimage
from skimage.morphology import skeletonize
from sklearn import metrics as sklearn
from stardist.matching import matching as stardist

from maskwright.evaluate import (
    calibration,
    objects,
    overlap,
    partition,
    ranking,
    surface,
    topology,
)
from maskwright.evaluate.detection import Candidate, Finding, froc

NOTHING = np.zeros((3, 4), bool)
DOT = NOTHING.copy()
DOT[1, 1] = True


class Difference(NamedTuple):
    """A case in which a library gives another value, and the reason."""

    case: str
    measure: str
    ours: Any
    call: str
    theirs: Any
    why: str


Row = tuple[str, Any, str, Callable[[], Any], str]


def _rows(case: str, rows: list[Row]) -> Iterator[Difference]:
    for measure, ours, call, theirs, why in rows:
        try:
            value = theirs()
        except (RuntimeError, ValueError) as error:
            value = f"stops ({type(error).__name__})"
        yield Difference(case, measure, ours, call, value, why)


def _hausdorff_monai(prediction: Mask, truth: Mask, **options: Any) -> float:
    tensors = as_tensor(prediction), as_tensor(truth)
    return monai.compute_hausdorff_distance(*tensors, include_background=True, **options).item()


def _nsd_monai(prediction: Mask, truth: Mask) -> float:
    tensors = as_tensor(prediction), as_tensor(truth)
    return monai.compute_surface_dice(*tensors, [1.0], include_background=True).item()


def _mean_dice_monai(*pairs: tuple[Mask, Mask]) -> float:
    metric = monai.DiceMetric()
    for prediction, truth in pairs:
        metric(as_tensor(prediction), as_tensor(truth))
    return float(metric.aggregate())


def _distances_deepmind(prediction: Mask, truth: Mask) -> Any:
    return deepmind("compute_surface_distances", truth, prediction, (1, 1))


def _hd_deepmind(prediction: Mask, truth: Mask, percent: float) -> float:
    found = _distances_deepmind(prediction, truth)
    return float(deepmind("compute_robust_hausdorff", found, percent))


def _nsd_deepmind(prediction: Mask, truth: Mask) -> float:
    found = _distances_deepmind(prediction, truth)
    return float(deepmind("compute_surface_dice_at_tolerance", found, 1.0))


def _hausdorff_itk(prediction: Mask, truth: Mask, kind: str = "") -> float:
    found = itk("HausdorffDistanceImageFilter", prediction, truth)
    return float(getattr(found, f"Get{kind}HausdorffDistance")())


def _dice_itk(prediction: Mask, truth: Mask) -> float:
    return float(itk("LabelOverlapMeasuresImageFilter", prediction, truth).GetDiceCoefficient())


def _v_info_by_the_reference(prediction: list[int], truth: list[int]) -> float:
    """The harmonic mean with the reference's rule: 0 where an entropy is 0."""
    merge_split = sklearn.homogeneity_completeness_v_measure(truth, prediction)[:2]
    one_segment = len(set(prediction)) == 1 or len(set(truth)) == 1
    return 0.0 if one_segment else float(2 * np.prod(merge_split) / np.sum(merge_split))


def empty_masks() -> Iterator[Difference]:
    """Cases in which one of the masks, or both, have no pixel."""
    d = surface.surface_distances(NOTHING, NOTHING)
    nothing = NOTHING.astype(int)
    none = counts(NOTHING, NOTHING)
    matched = objects.counts_at(objects.match_objects(nothing, nothing), 0.5)
    dropped = "It has no value for such a case, and means leave the case out."
    undivided = "NumPy divides 0 by 0 without an error that it could catch."
    yield from _rows("Both masks empty", [
        ("dice", overlap.dice(none), "MONAI `compute_dice`",
         lambda: monai.compute_dice(as_tensor(NOTHING), as_tensor(NOTHING)).item(), dropped),
        ("dice", overlap.dice(none), "MedPy `dc`", lambda: medpy.dc(NOTHING, NOTHING), undivided),
        ("dice", overlap.dice(none), "SimpleITK `GetDiceCoefficient`",
         lambda: _dice_itk(NOTHING, NOTHING), "It puts the largest number for 0 divided by 0."),
        ("dice", overlap.dice(none), "scikit-learn `f1_score`",
         lambda: sklearn.f1_score(NOTHING.ravel(), NOTHING.ravel()),
         "It counts an undefined value as 0, with a warning."),
        ("matthews", overlap.matthews(none), "scikit-learn `matthews_corrcoef`",
         lambda: sklearn.matthews_corrcoef(NOTHING.ravel(), NOTHING.ravel()),
         "It is 0 wherever the root is 0; here a perfect prediction is 1."),
        ("hd", surface.hd(d), "MONAI `compute_hausdorff_distance`",
         lambda: _hausdorff_monai(NOTHING, NOTHING), dropped),
        ("hd", surface.hd(d), "MedPy `hd`", lambda: medpy.hd(NOTHING, NOTHING),
         "It asks for an object in both masks."),
        ("hd", surface.hd(d), "SimpleITK `GetHausdorffDistance`",
         lambda: _hausdorff_itk(NOTHING, NOTHING), "It asks for an object in both masks."),
        ("hd", surface.hd(d), "surface-distance `compute_robust_hausdorff`",
         lambda: _hd_deepmind(NOTHING, NOTHING, 100), "Without a surface nothing is near."),
        ("nsd", surface.nsd(d, 1.0), "MONAI `compute_surface_dice`",
         lambda: _nsd_monai(NOTHING, NOTHING), dropped),
        ("nsd", surface.nsd(d, 1.0), "surface-distance `compute_surface_dice_at_tolerance`",
         lambda: _nsd_deepmind(NOTHING, NOTHING), "It divides 0 by 0."),
        ("ap", objects.ap(matched), "stardist `accuracy`",
         lambda: stardist(nothing, nothing).accuracy, "It counts 0 of 0 objects as 0."),
        ("pq", objects.pq(matched), "stardist `panoptic_quality`",
         lambda: stardist(nothing, nothing).panoptic_quality, "It counts 0 of 0 objects as 0."),
    ])  # fmt: skip
    missed = counts(NOTHING, DOT)
    d = surface.surface_distances(NOTHING, DOT)
    yield from _rows("No prediction, one true pixel of 3 × 4", [
        ("precision", overlap.precision(missed), "MedPy `precision`",
         lambda: medpy.precision(NOTHING, DOT), undivided),
        ("hd", surface.hd(d), "MONAI `compute_hausdorff_distance`",
         lambda: _hausdorff_monai(NOTHING, DOT),
         "One missed image makes a mean infinite; the diagonal is the longest distance there is."),
        ("hd95", surface.hd95(d), "MONAI `compute_hausdorff_distance(percentile=95)`",
         lambda: _hausdorff_monai(NOTHING, DOT, percentile=95),
         "Means leave the case out, so that a missed image can improve them."),
        ("hd", surface.hd(d), "MedPy `hd`", lambda: medpy.hd(NOTHING, DOT),
         "It asks for an object in both masks."),
        ("hd", surface.hd(d), "SimpleITK `GetHausdorffDistance`",
         lambda: _hausdorff_itk(NOTHING, DOT), "It asks for an object in both masks."),
        ("hd", surface.hd(d), "surface-distance `compute_robust_hausdorff`",
         lambda: _hd_deepmind(NOTHING, DOT, 100), "Infinite, as in MONAI."),
        ("hd", surface.hd(d), "scikit-image `hausdorff_distance`",
         lambda: skimage.hausdorff_distance(DOT, NOTHING), "Infinite, as in MONAI."),
    ])  # fmt: skip
    invented = counts(DOT, NOTHING)
    two = (overlap.dice(invented) + overlap.dice(counts(DOT, DOT))) / 2
    flat = NOTHING.ravel(), DOT.ravel().astype(float)
    yield from _rows("Empty truth, one predicted pixel of 3 × 4", [
        ("iou", overlap.iou(invented), "MONAI `compute_iou`",
         lambda: monai.compute_iou(as_tensor(DOT), as_tensor(NOTHING)).item(), dropped),
        ("dice, mean with a perfect case", two, "MONAI `DiceMetric().aggregate()`",
         lambda: _mean_dice_monai((DOT, NOTHING), (DOT, DOT)),
         "The case is left out, so that what was invented there costs nothing."),
        ("recall", overlap.recall(invented), "MedPy `recall`",
         lambda: medpy.recall(DOT, NOTHING), undivided),
        ("rvd", overlap.rvd(invented), "MedPy `ravd`", lambda: medpy.ravd(DOT, NOTHING),
         "Nothing to relate to: here NaN with a reason, so that other cases can go on."),
        ("average_precision", ranking.average_precision(flat[1], flat[0]),
         "scikit-learn `average_precision_score`",
         lambda: sklearn.average_precision_score(*flat),
         "Without positives there is nothing to rank; it says 0, with a warning."),
    ])  # fmt: skip


def distances() -> Iterator[Difference]:
    """Masks of which each library takes another surface, or another percentile."""
    square = np.zeros((40, 40), bool)
    square[10:20, 10:20] = True
    speck = square.copy()
    speck[10:12, 30:32] = True
    d = surface.surface_distances(speck, square)
    of_objects = "It measures from every pixel of an object to the other object, not from surfaces."
    yield from _rows("10 × 10 square; predicted with a far speck of 2 × 2", [
        ("hd95", surface.hd95(d), "MedPy `hd95`", lambda: medpy.hd95(speck, square),
         "The percentile of both directions together, which is our `hd95_pooled`."),
        ("hd95_pooled", surface.hd95_pooled(d), "MONAI `compute_hausdorff_distance(percentile=95)`",
         lambda: _hausdorff_monai(speck, square, percentile=95),
         "The larger of the two directed percentiles, which is our `hd95`."),
        ("hd95", surface.hd95(d), "surface-distance `compute_robust_hausdorff(…, 95)`",
         lambda: _hd_deepmind(speck, square, 95),
         "Elements lie between pixel corners and weigh by their length; nothing is interpolated."),
        ("nsd, at 1", surface.nsd(d, 1.0), "surface-distance `compute_surface_dice_at_tolerance`",
         lambda: _nsd_deepmind(speck, square), "Elements weigh by their length or area."),
        ("masd", surface.masd(d), "MedPy `assd`", lambda: medpy.assd(speck, square),
         "The mean over all elements of both, our `assd`. Older versions (issue 108) took `masd`."),
        ("assd", surface.assd(d), "SimpleITK `GetAverageHausdorffDistance`",
         lambda: _hausdorff_itk(speck, square, "Average"), of_objects),
    ])  # fmt: skip
    solid = np.zeros((15, 15), bool)
    solid[2:13, 2:13] = True
    hollow = solid.copy()
    hollow[7, 7] = False
    d = surface.surface_distances(hollow, solid)
    yield from _rows("11 × 11 square; predicted with a hole of one pixel", [
        ("hd", surface.hd(d), "SimpleITK `GetHausdorffDistance`",
         lambda: _hausdorff_itk(hollow, solid), of_objects),
        ("hd", surface.hd(d), "scikit-image `hausdorff_distance`",
         lambda: skimage.hausdorff_distance(solid, hollow), of_objects),
        ("hd", surface.hd(d), "surface-distance `compute_robust_hausdorff(…, 100)`",
         lambda: _hd_deepmind(hollow, solid, 100), "It measures between pixel corners."),
        ("assd", surface.assd(d), "SimpleITK `GetAverageHausdorffDistance`",
         lambda: _hausdorff_itk(hollow, solid, "Average"), of_objects),
    ])  # fmt: skip


def partitions() -> Iterator[Difference]:
    """Segments of a row of pixels."""
    truth = [1, 1, 2, 2]
    why = "Pairs of distinct pixels; what was predicted as 0 is one segment."
    for prediction in ([1, 1, 1, 1], [1, 0, 2, 2], [0, 0, 0, 0]):
        ours = partition.v_rand(np.array(prediction), np.array(truth))
        theirs = skimage.adapted_rand_error(np.array(truth), np.array(prediction))
        name = "".join(map(str, prediction))
        rows: list[Row] = [
            ("1 − v_rand", 1 - ours.f, "scikit-image `adapted_rand_error`",
             lambda found=theirs: found[0], why),
        ]  # fmt: skip
        if prediction == [1, 1, 1, 1]:
            rows.append(
                ("v_rand, merge score", ours.merge, "scikit-image, its precision",
                 lambda found=theirs: found[1],
                 "It calls recall what others call precision: joining costs its recall.")
            )  # fmt: skip
        yield from _rows(f"Truth 1122, prediction {name}", rows)
    one = [1, 1, 1, 1]
    yield from _rows("Truth 1111, prediction 1111", [
        ("v_info", partition.v_info(np.array(one), np.array(one)).f,
         "Fiji `VariationOfInformation`, its rule written out",
         lambda: _v_info_by_the_reference(one, one),
         "It is 0 where an entropy is 0, even for a perfect slice of one segment."),
    ])  # fmt: skip


def shapes_and_objects() -> Iterator[Difference]:
    """Objects, centrelines and parts."""
    truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([1, 1, 1, 1, 0])
    half = objects.counts_at(objects.match_objects(prediction, truth), 0.5, strict=True)
    yield from _rows("Truth 11220, prediction 11110: an IoU of exactly 0.5", [
        ("pq", objects.pq(half), "stardist `panoptic_quality`",
         lambda: stardist(truth, prediction).panoptic_quality,
         "It takes an IoU of 0.5 as a match; panoptic quality is defined above 0.5."),
    ])  # fmt: skip
    true = np.repeat([1, 2, 0], [20, 10, 3])
    claimed = np.repeat([3, 4, 0, 3, 0, 4], [10, 8, 2, 5, 5, 3])
    low = objects.counts_at(objects.match_objects(claimed, true), 0.3)
    yield from _rows("Two objects, two predictions, matched at an IoU of 0.3", [
        ("iou_sum, per match", low.iou_sum / low.tp, "stardist `mean_matched_score`",
         lambda: stardist(true, claimed, thresh=0.3).mean_matched_score,
         "Below 0.5 it lets pairs under the threshold settle which of two pairs is taken."),
    ])  # fmt: skip
    bar = np.zeros((32, 32), bool)
    bar[15:18, 4:28] = True
    cut = bar.copy()
    cut[:, 14:18] = False
    soft = [torch.tensor(np.stack([~m, m])[None].astype(np.float32)) for m in (bar, cut)]
    yield from _rows("3 × 24 bar; predicted with a gap of 4", [
        ("cldice", topology.cldice(cut, bar), "1 − MONAI `SoftclDiceLoss`",
         lambda: 1 - float(monai_losses.SoftclDiceLoss(smooth=1e-6)(*soft)),
         "Its soft skeleton is made of poolings, so that it has a gradient."),
    ])  # fmt: skip
    tube = np.zeros((12, 12, 30), bool)
    tube[2:4, 2:4, 2:28] = True
    yield from _rows("3D tube, 2 × 2 × 26 voxels", [
        ("skeleton, voxels", int(topology.skeleton(tube).sum()),
         "scikit-image `skeletonize`",
         lambda: int(skeletonize(tube).sum()),
         "It erases tubes of even width; ours thins on a grid twice as fine."),
    ])  # fmt: skip
    corner = np.eye(2, dtype=bool)
    yield from _rows("Two pixels that touch at a corner", [
        ("betti_numbers, pieces", topology.betti_numbers(corner).b0,
         "gudhi `CubicalComplex(vertices=…)`",
         lambda: _pieces_by_vertices(corner),
         "Pixels as vertices touch at sides only: our `face`. The cells of gudhi are our `full`."),
    ])  # fmt: skip


def _pieces_by_vertices(mask: Mask) -> int:
    cubes = gudhi.CubicalComplex(vertices=np.where(np.pad(mask, 1), 0.0, 1.0))
    cubes.compute_persistence()
    return int(cubes.persistent_betti_numbers(0.5, 0.5)[0])


def probabilities() -> Iterator[Difference]:
    """Bins of probabilities, and points of the free-response curve."""
    probability, truth = np.array([0.04, 0.06]), np.array([0, 1])
    binned = monai.CalibrationErrorMetric()
    binned(as_tensor(probability), as_tensor(truth))
    yield from _rows("Probabilities 0.04 and 0.06, the second one true", [
        ("ece", calibration.ece(calibration.reliability(probability, truth)),
         "MONAI `CalibrationErrorMetric()`", lambda: binned.aggregate().item(),
         "It has 20 bins unless told otherwise, ours 15: state them beside the value."),
    ])  # fmt: skip
    origin = (0.0, 0.0, 0.0)
    nodules = [Finding("A", origin, 10.0), Finding("B", origin, 6.0)]
    marks = [
        Candidate(scan, position, probability)
        for scan, position, probability in (
            ("A", (1.0, 0.0, 0.0), 0.9), ("A", (2.0, 0.0, 0.0), 0.95), ("A", (50.0, 0.0, 0.0), 0.8),
            ("B", (3.0, 0.0, 0.0), 0.7), ("B", (0.0, 0.0, 2.0), 0.6), ("C", origin, 0.5),
        )
    ]  # fmt: skip
    wrong, found = np.array([0.8, 0.7, 0.5]), np.array([0.95, 0.6])
    curve = monai.compute_froc_curve_data(wrong, found, 2, 3)
    yield from _rows("Three scans with two nodules and six marks", [
        ("froc, CPM", froc(marks, nodules, ["A", "B", "C"], resamples=0).cpm,
         "MONAI `compute_froc_score`",
         lambda: monai.compute_froc_score(*curve),
         "It reads the curve at six rates from 1/4; LUNA16 has 1/8 too."),
    ])  # fmt: skip


def differences() -> list[Difference]:
    """All of them, in the order of the page."""
    kinds = (empty_masks, distances, partitions, shapes_and_objects, probabilities)
    return [row for kind in kinds for row in kind()]
