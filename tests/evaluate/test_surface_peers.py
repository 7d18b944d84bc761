"""Surface measures against independent libraries: where they agree, and where they do not."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from maskwright.evaluate.surface import (
    assd,
    hd,
    hd95,
    hd95_pooled,
    masd,
    nsd,
    surface_distances,
)

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "hippocampus" / "labelsTr"
SPACING = (2.5, 0.7, 1.1)


@pytest.fixture
def deepmind(monkeypatch):
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    return pytest.importorskip("surface_distance")


@functools.cache
def pairs():
    """Masks with a spacing: random objects, and real hippocampi against a neighbour."""
    found = []
    for seed, shape in enumerate([(40, 50), (61, 33), (20, 25, 30), (33, 12, 24)]):
        noise = np.random.default_rng(seed).normal(size=(2, *shape))
        smooth = [ndimage.gaussian_filter(part, 2.0) for part in noise]
        masks = [part > np.quantile(part, 0.8) for part in smooth]
        found.append((masks[0], masks[1], SPACING[: len(shape)]))
    return found + hippocampi()


def hippocampi():
    """Both classes of real cases against the next case of the same shape, and one shifted."""
    if not HIPPOCAMPUS.is_dir():
        return []
    by_shape = {}
    found = []
    for path in sorted(HIPPOCAMPUS.glob("*.nii.gz")):
        image = SimpleITK.ReadImage(str(path))
        labels, spacing = SimpleITK.GetArrayFromImage(image), image.GetSpacing()[::-1]
        before = by_shape.get(labels.shape)
        if before is not None and len(found) < 6:
            found += [(labels == k, before == k, spacing) for k in (1, 2)]
        by_shape[labels.shape] = labels
    found.append((np.roll(labels == 1, (1, -2, 1), (0, 1, 2)), labels == 1, (1.3, 0.9, 2.0)))
    return found


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason=f"no real labels at {HIPPOCAMPUS}")
def test_real_labels_are_among_the_masks_compared():
    assert len(pairs()) >= 7


def measured_by_monai(prediction, truth, spacing, tolerance=1.0):
    import torch
    from monai import metrics

    masks = [torch.from_numpy(mask[None, None]) for mask in (prediction, truth)]
    options = {"include_background": True, "spacing": list(spacing)}
    average = metrics.compute_average_surface_distance
    return {
        "hd": metrics.compute_hausdorff_distance(*masks, **options).item(),
        "hd95": metrics.compute_hausdorff_distance(*masks, percentile=95, **options).item(),
        "to_truth": average(*masks, **options).item(),
        "assd": average(*masks, symmetric=True, **options).item(),
        "nsd": metrics.compute_surface_dice(*masks, [tolerance], **options).item(),
    }


def hausdorff_by_itk(prediction, truth, spacing):
    images = []
    for mask in (prediction, truth):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing([float(step) for step in reversed(spacing)])
        images.append(image)
    measured = SimpleITK.HausdorffDistanceImageFilter()
    measured.Execute(*images)
    return measured.GetHausdorffDistance()


def square_with_hole():
    solid = np.zeros((15, 15), bool)
    solid[2:13, 2:13] = True
    hollow = solid.copy()
    hollow[7, 7] = False
    return hollow, solid


def speck_and_square():
    truth = np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    prediction = truth.copy()
    prediction[10:12, 30:32] = True
    return prediction, truth


def test_monai_agrees():
    for prediction, truth, spacing in pairs():
        d = surface_distances(prediction, truth, spacing)
        ours = {
            "hd": hd(d),
            "hd95": hd95(d),
            "to_truth": d.to_truth.mean(),
            "assd": assd(d),
            "nsd": nsd(d, 1.0),
        }
        theirs = measured_by_monai(prediction, truth, spacing)
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_monai_has_no_number_for_a_miss_where_ours_is_the_diagonal():
    prediction, truth = np.zeros((3, 4), bool), np.ones((3, 4), bool)
    miss = measured_by_monai(prediction, truth, (1, 1))
    assert (miss["hd"], miss["nsd"]) == (math.inf, 0)
    assert math.isnan(miss["hd95"])
    assert all(math.isnan(v) for v in measured_by_monai(prediction, prediction, (1, 1)).values())
    d = surface_distances(prediction, truth)
    assert (hd(d), hd95(d), nsd(d, 1.0)) == (5, 5, 0)


def test_medpy_agrees_and_its_hd95_is_the_pooled_one():
    binary = pytest.importorskip("medpy.metric.binary")
    for prediction, truth, spacing in pairs():
        d = surface_distances(prediction, truth, spacing)
        masks = prediction, truth, spacing
        assert hd(d) == pytest.approx(binary.hd(*masks))
        assert hd95_pooled(d) == pytest.approx(binary.hd95(*masks))
        assert assd(d) == pytest.approx(binary.assd(*masks))
        directed = binary.asd(*masks), binary.asd(truth, prediction, spacing)
        assert masd(d) == pytest.approx(sum(directed) / 2)
    theirs = binary.hd95(*speck_and_square())
    assert theirs == pytest.approx(2.75)
    assert hd95(surface_distances(*speck_and_square())) == pytest.approx(11.05)


def test_itk_agrees_on_surfaces():
    for prediction, truth, spacing in pairs():
        surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth)]
        ours = hd(surface_distances(prediction, truth, spacing))
        assert ours == pytest.approx(hausdorff_by_itk(*surfaces, spacing), rel=1e-6)


def test_itk_measures_whole_objects_and_so_plays_down_a_hole():
    hollow, solid = square_with_hole()
    assert hausdorff_by_itk(hollow, solid, (1, 1)) == 1
    assert hd(surface_distances(hollow, solid)) == 4


def test_deepmind_agrees_on_the_distance_of_shifted_boxes(deepmind):
    box = np.zeros((20, 20, 20), bool)
    box[4:9, 5:11, 3:12] = True
    for shift in ((2, 0, 0), (0, 3, 0), (0, 1, 4), (3, 2, 1)):
        moved = np.roll(box, shift, (0, 1, 2))
        theirs = deepmind.compute_surface_distances(box, moved, SPACING)
        ours = hd(surface_distances(moved, box, SPACING))
        assert ours == pytest.approx(deepmind.compute_robust_hausdorff(theirs, 100))


def test_deepmind_measures_between_pixel_corners_weighted_by_area(deepmind):
    hollow, solid = square_with_hole()
    theirs = deepmind.compute_surface_distances(solid, hollow, (1, 1))
    assert deepmind.compute_robust_hausdorff(theirs, 100) == 5
    assert hd(surface_distances(hollow, solid)) == 4
    prediction, truth = speck_and_square()
    theirs = deepmind.compute_surface_distances(truth, prediction, (1, 1))
    d = surface_distances(prediction, truth)
    assert deepmind.compute_robust_hausdorff(theirs, 100) == hd(d) == 12
    assert deepmind.compute_robust_hausdorff(theirs, 95) == 12
    assert hd95(d) == pytest.approx(11.05)
    assert deepmind.compute_surface_dice_at_tolerance(theirs, 1) == pytest.approx(0.9192, abs=5e-5)
    assert nsd(d, 1) == pytest.approx(0.9474, abs=5e-5)


def test_deepmind_stays_within_a_pixel_of_our_maximum(deepmind):
    for prediction, truth, spacing in pairs():
        theirs = deepmind.compute_surface_distances(truth, prediction, spacing)
        difference = deepmind.compute_robust_hausdorff(theirs, 100) - hd(
            surface_distances(prediction, truth, spacing)
        )
        assert abs(difference) <= np.linalg.norm(spacing)
