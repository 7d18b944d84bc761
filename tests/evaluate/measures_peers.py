"""Our measures and those of other libraries on the same images, where the definitions coincide."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import gudhi
import numpy as np
import pytest
import SimpleITK
import torch
from medpy.metric import binary as medpy
from monai import metrics as monai
from scipy import ndimage
from skimage import metrics as skimage
from sklearn import calibration as sklearn_calibration
from sklearn import metrics as sklearn
from stardist.matching import matching as stardist

from maskwright.evaluate import calibration, objects, overlap, partition, ranking, surface, topology

SPACING = (2.5, 0.7, 1.1)

Mask = np.ndarray[Any, np.dtype[np.bool_]]
MaskPair = tuple[Mask, Mask, Sequence[float]]
ArrayPair = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


class Compared(NamedTuple):
    """One measure of one case, as it is here and as another library has it."""

    library: str
    call: str
    measure: str
    ours: Any
    theirs: Any


def random_masks() -> list[MaskPair]:
    found = []
    for seed, shape in enumerate([(40, 50), (61, 33), (33, 12, 24)] * 10):
        noise = np.random.default_rng(seed).normal(size=(2, *shape))
        smooth = [ndimage.gaussian_filter(part, 2.0) for part in noise]
        masks = [part > np.quantile(part, 0.8) for part in smooth]
        found.append((masks[0], masks[1], SPACING[: len(shape)]))
    return found


def random_objects() -> list[ArrayPair]:
    found = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        rows, columns = np.mgrid[:48, :48]
        image = np.zeros((48, 48), np.int64)
        for label, (y, x, radius) in enumerate(generator.integers((0, 0, 3), (48, 48, 9), (12, 3))):
            image[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = label + 1
        found.append((np.roll(image, generator.integers(0, 4, 2), (0, 1)), image))
    return found


def random_probabilities() -> list[ArrayPair]:
    found = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        probability = generator.beta(0.6, 1.2, (20, 30))
        found.append((probability, generator.random((20, 30)) < probability))
    return found


def as_tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)[None, None])


def counts(prediction: Mask, truth: Mask) -> overlap.Counts:
    return overlap.counts_of(overlap.count_confusion(prediction, truth, 2), 1)


def itk(filter_name: str, prediction: Mask, truth: Mask, spacing: Sequence[float] = ()) -> Any:
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth)]
    for image in images:
        image.SetSpacing([float(step) for step in spacing[::-1]] or [1.0] * truth.ndim)
    measured = getattr(SimpleITK, filter_name)()
    measured.Execute(*images)
    return measured


def deepmind(function: str, *arguments: Any) -> Any:
    """Call the surface-distance package, which wants names that NumPy 2 has no more."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("Inf", "NaN"):
            patch.setattr(np, name, getattr(np, name.lower()), raising=False)
        import surface_distance

        return getattr(surface_distance, function)(*arguments)


def compare_masks(pairs: Iterable[MaskPair]) -> Iterator[Compared]:
    """Overlap, distances and Betti numbers of masks that are not empty."""
    for prediction, truth, spacing in pairs:
        some = counts(prediction, truth)
        d = surface.surface_distances(prediction, truth, spacing)
        tensors = as_tensor(prediction), as_tensor(truth)
        on_surface = {"include_background": True, "spacing": [float(step) for step in spacing]}
        hausdorff = functools.partial(monai.compute_hausdorff_distance, *tensors, **on_surface)
        average = functools.partial(monai.compute_average_surface_distance, *tensors, **on_surface)
        within = monai.compute_surface_dice(*tensors, [1.0], **on_surface)
        for call, measure, ours, theirs in (
            ("compute_dice", "dice", overlap.dice(some), monai.compute_dice(*tensors)),
            ("compute_iou", "iou", overlap.iou(some), monai.compute_iou(*tensors)),
            ("compute_hausdorff_distance", "hd", surface.hd(d), hausdorff()),
            ("compute_hausdorff_distance(percentile=95)", "hd95", surface.hd95(d),
             hausdorff(percentile=95)),
            ("compute_average_surface_distance(symmetric=True)", "assd", surface.assd(d),
             average(symmetric=True)),
            ("compute_surface_dice", "nsd", surface.nsd(d, 1.0), within),
        ):  # fmt: skip
            yield Compared("MONAI", call, measure, ours, theirs.item())
        masks = prediction, truth
        for call, measure in (
            ("dc", "dice"), ("jc", "iou"), ("precision", "precision"), ("recall", "recall"),
            ("specificity", "specificity"), ("ravd", "rvd"),
        ):  # fmt: skip
            theirs = getattr(medpy, call)(*masks)
            yield Compared("MedPy", call, measure, overlap.MEASURES[measure](some), theirs)
        for call, measure in (("hd", "hd"), ("hd95", "hd95_pooled"), ("assd", "assd")):
            theirs = getattr(medpy, call)(*masks, spacing)
            yield Compared("MedPy", call, measure, surface.DISTANCES[measure](d), theirs)
        directed = medpy.asd(*masks, spacing) + medpy.asd(*masks[::-1], spacing)
        yield Compared(
            "MedPy", "asd, mean of both directions", "masd", surface.masd(d), directed / 2
        )
        labels = itk("LabelOverlapMeasuresImageFilter", *masks)
        for call, measure in (
            ("GetDiceCoefficient", "dice"), ("GetJaccardCoefficient", "iou"),
            ("GetVolumeSimilarity", "volume_similarity"),
        ):  # fmt: skip
            theirs = getattr(labels, call)()
            yield Compared("SimpleITK", call, measure, overlap.MEASURES[measure](some), theirs)
        surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
        theirs = itk("HausdorffDistanceImageFilter", *surfaces, spacing).GetHausdorffDistance()
        yield Compared(
            "SimpleITK", "GetHausdorffDistance, of surfaces", "hd", surface.hd(d), theirs
        )
        unscaled = surface.hd(surface.surface_distances(*masks))
        theirs = skimage.hausdorff_distance(*surfaces)
        yield Compared("scikit-image", "hausdorff_distance, of surfaces", "hd", unscaled, theirs)
        theirs = deepmind("compute_dice_coefficient", truth, prediction)
        yield Compared("surface-distance", "compute_dice_coefficient", "dice",
                       overlap.dice(some), theirs)  # fmt: skip
        theirs = sklearn.matthews_corrcoef(truth.ravel(), prediction.ravel())
        yield Compared("scikit-learn", "matthews_corrcoef", "matthews",
                       overlap.matthews(some), theirs)  # fmt: skip
        for connectivity, cells in (("full", "top_dimensional_cells"), ("face", "vertices")):
            cubes = gudhi.CubicalComplex(**{cells: np.where(np.pad(truth, 1), 0.0, 1.0)})
            cubes.compute_persistence()
            ours = topology.betti_numbers(truth, connectivity)
            numbers = [ours.b0, ours.b1, ours.b2][: truth.ndim]
            theirs = cubes.persistent_betti_numbers(0.5, 0.5)[: truth.ndim]
            yield Compared("gudhi", f"CubicalComplex({cells}=…)",
                           f"betti_numbers, {connectivity}", numbers, theirs)  # fmt: skip


def compare_shifted_boxes() -> Iterator[Compared]:
    """Between two boxes of one size, pixel corners lie as far apart as pixel centres."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        box = np.zeros((20, 20, 20), bool)
        box[tuple(slice(6, stop) for stop in generator.integers(8, 13, 3))] = True
        moved = np.roll(box, generator.integers(-4, 5, 3), (0, 1, 2))
        ours = surface.hd(surface.surface_distances(moved, box, SPACING))
        distances = deepmind("compute_surface_distances", box, moved, SPACING)
        theirs = deepmind("compute_robust_hausdorff", distances, 100)
        yield Compared("surface-distance", "compute_robust_hausdorff(…, 100), shifted boxes", "hd",
                       ours, theirs)  # fmt: skip


def compare_objects(pairs: Iterable[ArrayPair]) -> Iterator[Compared]:
    """Matching, panoptic quality and partitions of label images."""
    for prediction, truth in pairs:
        found = objects.match_objects(prediction, truth)
        at_half = objects.counts_at(found, 0.5)
        theirs = stardist(truth, prediction)
        per_true = at_half.iou_sum / theirs.n_true
        for call, measure, ours in (
            ("accuracy", "ap", objects.ap(at_half)),
            ("f1", "f1", objects.f1(at_half)),
            ("mean_true_score", "iou_sum, per true object", per_true),
            ("panoptic_quality", "pq", objects.pq(at_half)),
        ):
            yield Compared("stardist", call, measure, ours, getattr(theirs, call))
        every = stardist(truth, prediction, thresh=objects.DSB_THRESHOLDS)
        mean = np.mean([one.accuracy for one in every])
        yield Compared("stardist", "accuracy, mean of 10", "dsb", objects.dsb_score(found), mean)
        ours = objects.pq(objects.counts_at(found, 0.5, strict=True))
        theirs = monai.compute_panoptic_quality(*map(torch.from_numpy, (prediction, truth))).item()
        yield Compared("MONAI", "compute_panoptic_quality", "pq", ours, theirs)
        theirs = skimage.variation_of_information(truth, prediction)
        ours = partition.variation_of_information(prediction, truth)
        yield Compared("scikit-image", "variation_of_information", "variation_of_information",
                       ours, theirs)  # fmt: skip
        table = partition.count_overlaps(prediction.ravel(), truth.ravel())
        theirs = skimage.contingency_table(truth, prediction).toarray()
        met = theirs[np.ix_(theirs.any(1), theirs.any(0))][table.joint_true, table.joint_predicted]
        yield Compared("scikit-image", "contingency_table", "count_overlaps",
                       table.joint, met)  # fmt: skip
        alone = np.where(
            prediction == 0, -1 - np.arange(truth.size).reshape(truth.shape), prediction
        )
        inside = truth > 0
        theirs = sklearn.homogeneity_completeness_v_measure(truth[inside], alone[inside])
        score = partition.v_info(prediction, truth)
        yield Compared("scikit-learn", "homogeneity_completeness_v_measure", "v_info",
                       (score.merge, score.split, score.f), theirs)  # fmt: skip


def compare_probabilities(pairs: Iterable[ArrayPair]) -> Iterator[Compared]:
    """Ranking and calibration of probabilities of one class that occurs."""
    for probability, truth in pairs:
        flat = truth.ravel(), probability.ravel()
        sums = calibration.reliability(probability, truth)
        filled = sums.counts > 0
        shares = sums.share_true[filled], sums.mean_probability[filled]
        binned = monai.CalibrationErrorMetric(num_bins=15)
        binned(as_tensor(probability), as_tensor(truth.astype(np.float64)))
        for library, call, measure, ours, theirs in (
            ("scikit-learn", "roc_auc_score", "auc", ranking.auc(probability, truth),
             sklearn.roc_auc_score(*flat)),
            ("scikit-learn", "average_precision_score", "average_precision",
             ranking.average_precision(probability, truth), sklearn.average_precision_score(*flat)),
            ("scikit-learn", "brier_score_loss", "brier", calibration.brier(sums),
             sklearn.brier_score_loss(*flat)),
            ("scikit-learn", "calibration_curve", "reliability", shares,
             sklearn_calibration.calibration_curve(*flat, n_bins=15)),
            ("MONAI", "CalibrationErrorMetric(num_bins=15)", "ece",
             calibration.ece(sums), binned.aggregate().item()),
        ):  # fmt: skip
            yield Compared(library, call, measure, ours, theirs)


@functools.cache
def compare_random() -> tuple[Compared, ...]:
    """All of them, on images made of fixed seeds."""
    return (
        *compare_masks(random_masks()),
        *compare_shifted_boxes(),
        *compare_objects(random_objects()),
        *compare_probabilities(random_probabilities()),
    )


def differences_by_measure(compared: Iterable[Compared]) -> dict[tuple[str, str, str], list[float]]:
    """For each library, call and measure the difference on each image, relative above 1.

    A value that one side lacks makes a difference of NaN.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for library, call, measure, ours, theirs in compared:
        mine, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        difference = np.abs(mine - other) / np.maximum(1.0, np.abs(mine))
        found.setdefault((library, call, measure), []).append(float(difference.max()))
    return found
