"""Centreline Dice and Betti numbers: known shapes, laws, independent references, real masks."""

from __future__ import annotations

from pathlib import Path

import gudhi
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.losses import SoftclDiceLoss
from PIL import Image
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.masks import binary_mask
from maskwright.evaluate.topology import Betti, betti_errors, betti_numbers, cldice, skeleton

DATA = Path(__file__).parents[3] / "shared" / "data"
VESSELS, HIPPOCAMPUS = DATA / "vessels", DATA / "hippocampus" / "labelsTr"
needs_vessels = pytest.mark.skipif(
    not VESSELS.is_dir(), reason=f"the real images are not at {VESSELS}"
)
needs_volumes = pytest.mark.skipif(
    not HIPPOCAMPUS.is_dir(), reason=f"the real volumes are not at {HIPPOCAMPUS}"
)
EMPTY = np.zeros((6, 9), bool)


def line(length=20, start=0, stop=None):
    mask = np.zeros((7, length), bool)
    mask[3, start:stop] = True
    return mask


def bar(*shape, margin=3):
    return np.pad(np.ones(shape, bool), margin)


def direct_cldice(prediction, truth):
    """The definition, pixel by pixel, for two masks that are not empty."""
    skeletons = [set(zip(*np.nonzero(skeletonize(m)), strict=True)) for m in (prediction, truth)]
    pixels = [set(zip(*np.nonzero(m), strict=True)) for m in (prediction, truth)]
    precision = len(skeletons[0] & pixels[1]) / len(skeletons[0])
    sensitivity = len(skeletons[1] & pixels[0]) / len(skeletons[1])
    both = precision + sensitivity
    return 2 * precision * sensitivity / both if both else 0.0


def gudhi_betti(mask, connectivity):
    filtration = np.where(np.pad(mask, 1), 0.0, 1.0)
    name = "top_dimensional_cells" if connectivity == "full" else "vertices"
    complex_ = gudhi.CubicalComplex(**{name: filtration})
    complex_.compute_persistence()
    numbers = complex_.persistent_betti_numbers(0.5, 0.5)
    return Betti(*[*numbers, 0, 0, 0][:3])


def smooth_mask(seed, shape, share=0.5):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    return field > np.quantile(field, 1 - share)


def real_vessels(number):
    name = sorted(p.name for p in (VESSELS / "masks").iterdir())[number]
    second = VESSELS / "second_observer" / name.replace("1st", "2nd")
    return [np.asarray(Image.open(p)) for p in (VESSELS / "masks" / name, second)]


def test_a_gap_costs_its_share_of_the_centreline():
    cut = line()
    cut[3, 8:12] = False
    assert cldice(cut, line()) == pytest.approx(2 * 0.8 / 1.8)


def test_thickness_alone_costs_nothing():
    thick = ndimage.binary_dilation(line(40, 5, 35), iterations=2)
    assert cldice(thick, line(40, 5, 35)) == cldice(line(40, 5, 35), thick) == 1.0
    tube, thin = bar(3, 3, 30), np.zeros((9, 9, 36), bool)
    thin[4, 4, 3:33] = True
    assert cldice(tube, thin) == cldice(thin, tube) == 1.0


@pytest.mark.parametrize("empty", [EMPTY, np.zeros((4, 4, 4), bool)])
def test_empty_masks_follow_the_house_rule(empty):
    full = np.ones_like(empty)
    assert cldice(empty, empty) == 1.0
    assert cldice(full, empty) == cldice(empty, full) == 0.0
    assert betti_errors(empty, empty) == Betti(0, 0, 0)
    assert betti_errors(empty, full) == betti_errors(full, empty) == Betti(1, 0, 0)


def test_lines_that_never_meet_score_zero():
    assert cldice(np.roll(line(), 2, 0), line()) == 0.0


@pytest.mark.parametrize("seed", range(12))
def test_centreline_dice_is_its_definition_on_random_masks(seed):
    prediction, truth = smooth_mask(seed, (40, 50), 0.3), smooth_mask(seed + 99, (40, 50), 0.4)
    assert cldice(prediction, truth) == pytest.approx(direct_cldice(prediction, truth), abs=1e-12)


@needs_vessels
@pytest.mark.parametrize("number", [0, 9])
def test_centreline_dice_of_two_observers_is_its_definition(number):
    truth, second = real_vessels(number)
    expected = direct_cldice(second.view(np.uint8) > 0, truth.view(np.uint8) > 0)
    assert cldice(second, truth) == pytest.approx(expected, abs=1e-12)
    assert 0.7 < expected < 0.95


@pytest.mark.parametrize("shape", [(32, 40), (14, 16, 15)])
def test_centreline_dice_is_symmetric_and_ignores_where_the_masks_lie(shape):
    a, b = smooth_mask(1, shape), smooth_mask(2, shape)
    score = cldice(a, b)
    assert 0 < score < 1
    assert cldice(b, a) == pytest.approx(score, abs=1e-12)
    around = [(5, 2)] * len(shape)
    assert cldice(np.pad(a, around), np.pad(b, around)) == score
    assert cldice(a, a) == 1.0


def test_the_soft_score_used_in_training_differs_from_the_measure():
    truth = np.zeros((32, 32), bool)
    truth[15:18, 4:28] = True
    cut = truth.copy()
    cut[:, 14:18] = False
    as_tensor = [torch.tensor(np.stack([~m, m])[None].astype(np.float32)) for m in (truth, cut)]
    soft = 1 - float(SoftclDiceLoss(smooth=1e-6)(*as_tensor))
    assert (cldice(cut, truth), soft) == pytest.approx((0.9048, 0.8712), abs=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_tubes_of_every_width_keep_their_centreline(width):
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        centre = skeleton(bar(width, width, 40).transpose(axes))
        along = np.flatnonzero(centre.any(axis=tuple(np.flatnonzero(np.array(axes) != 2))))
        assert np.ptp(along) + 1 == along.size
        assert 40 - 2 * width <= along.size <= 40


def test_thinning_the_voxels_themselves_loses_what_the_finer_grid_keeps():
    truth, miss = np.zeros((2, 12, 12, 30), bool)
    truth[2:4, 2:4, 2:28] = miss[8:10, 8:10, 2:28] = True
    assert not skeletonize(truth).any()
    assert cldice(miss, truth) == 0.0
    along, across = np.array([0.6, 0.64, 0.48]), np.indices((24, 24, 24)).reshape(3, -1).T - 5.3
    position = along @ across.T
    near = np.linalg.norm(across - np.outer(position, along), axis=1) <= 0.97
    tube = (near & (position >= 0) & (position <= 16)).reshape(24, 24, 24)
    kept = [np.ptp(position[m.ravel()]) / 16 for m in (skeletonize(tube), skeleton(tube))]
    assert kept[0] < kept[1] - 0.1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_centreline_lies_in_its_mask_and_reaches_every_part(dimensions):
    generator = np.random.default_rng(3)
    for _ in range(40):
        mask = generator.random((8,) * dimensions) < generator.uniform(0.1, 0.9)
        centre = skeleton(mask)
        labels, parts = ndimage.label(mask, np.ones((3,) * dimensions))
        assert not (centre & ~mask).any()
        assert np.unique(labels[centre]).size == parts


def test_pixels_outside_the_region_of_interest_are_cut_away_first():
    truth, prediction = line().astype(np.uint8), line(20, 0, 10).astype(np.uint8)
    valid = np.zeros(truth.shape, bool)
    valid[:, :10] = True
    truth[0, 19] = 255
    assert cldice(prediction, truth, valid) == 1.0
    assert cldice(prediction, truth, ~valid & (truth != 255)) == 0.0
    assert truth[0, 19] == 255
    ring = bar(3, 3, margin=0)
    ring[1, 1] = False
    half = np.ones(ring.shape, bool)
    half[:, 2] = False
    assert betti_errors(ring, ring.astype(int) * 0, half) == Betti(1, 0)


@pytest.mark.parametrize("connectivity", ["full", "face"])
@pytest.mark.parametrize("shape", [(9, 8), (6, 5, 6)])
def test_betti_numbers_agree_with_gudhi_on_random_masks(shape, connectivity):
    generator = np.random.default_rng(4)
    largest = np.zeros(3, int)
    for _ in range(60):
        mask = generator.random(shape) < generator.uniform(0.05, 0.95)
        found = betti_numbers(mask, connectivity)
        assert found == gudhi_betti(mask, connectivity)
        euler = euler_number(np.pad(mask, 1), mask.ndim if connectivity == "full" else 1)
        assert found.b0 - found.b1 + found.b2 == euler
        largest = np.maximum(largest, [found.b0, found.b1, found.b2])
    assert (largest[: len(shape)] >= 1).all()


@needs_vessels
@pytest.mark.parametrize("connectivity", ["full", "face"])
def test_betti_numbers_agree_with_gudhi_on_real_vessels(connectivity):
    truth, second = real_vessels(0)
    found = [betti_numbers(mask, connectivity) for mask in (truth, second)]
    expected = [gudhi_betti(m.view(np.uint8) > 0, connectivity) for m in (truth, second)]
    assert found == expected
    difference = Betti(abs(found[0].b0 - found[1].b0), abs(found[0].b1 - found[1].b1))
    assert betti_errors(second, truth, connectivity=connectivity) == difference


@needs_volumes
@pytest.mark.parametrize("connectivity", ["full", "face"])
def test_betti_numbers_agree_with_gudhi_on_real_volumes(connectivity):
    for path in sorted(HIPPOCAMPUS.glob("*.nii.gz"))[:4]:
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 1
        assert betti_numbers(mask, connectivity) == gudhi_betti(mask, connectivity)


def test_known_shapes_have_their_known_numbers():
    ball = bar(5, 5, 5)
    ball[5, 5, 5] = False
    torus = bar(3, 7, 7)
    torus[:, 5:8, 5:8] = False
    assert betti_numbers(ball) == betti_numbers(ball, "face") == Betti(1, 0, 1)
    assert betti_numbers(torus) == betti_numbers(torus, "face") == Betti(1, 1, 0)
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert betti_numbers(diamond) == Betti(1, 1)
    assert betti_numbers(diamond, "face") == Betti(4, 0)


def test_betti_errors_compare_numbers_and_not_places():
    left, right = line(20, 0, 5), line(20, 12, 18)
    assert betti_errors(left, right) == Betti(0, 0, 0)
    assert betti_errors(left | right, right).total == 1
    assert betti_errors(right, left | right) == betti_errors(left | right, right)


def test_betti_numbers_survive_flips_turns_and_margins():
    mask = smooth_mask(5, (20, 22))
    expected = betti_numbers(mask)
    for change in (np.flipud, np.fliplr, np.rot90, np.transpose, lambda m: np.pad(m, 4)):
        assert betti_numbers(change(mask)) == expected


def test_a_true_stored_as_255_counts_like_any_other():
    odd = (line().astype(np.uint8) * 255).view(bool)
    assert np.array_equal(binary_mask(odd, "mask").view(np.uint8), line().view(np.uint8))
    assert cldice(odd, line()) == 1.0
    assert betti_numbers(odd) == Betti(1, 0)
    assert cldice(odd, line(), (np.full(odd.shape, 255, np.uint8)).view(bool)) == 1.0


@pytest.mark.parametrize(
    ("prediction", "truth", "code"),
    [
        (EMPTY, EMPTY.T, "mask-shape"),
        (np.zeros(5, bool), np.zeros(5, bool), "mask-axes"),
        (np.zeros((2, 2, 2, 2), bool), np.zeros((2, 2, 2, 2), bool), "mask-axes"),
        (np.full((3, 3), 2), np.zeros((3, 3), int), "mask-binary"),
        (np.full((3, 3), 0.5), np.zeros((3, 3), int), "mask-binary"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(prediction, truth, code):
    for measure in (cldice, betti_errors):
        with pytest.raises(DataError, match=code):
            measure(prediction, truth)


def test_an_unknown_connectivity_is_refused():
    with pytest.raises(ConfigError, match="connectivity-unknown"):
        betti_numbers(EMPTY, "diagonal")
