"""Surface distances: worked examples, laws, and independent references."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate import nearest
from maskwright.evaluate.surface import (
    DISTANCES,
    assd,
    class_boxes,
    hd,
    hd95,
    nsd,
    surface_distances,
    surface_distances_by_class,
)

spacings = st.sampled_from([1.0, 0.3, 0.7, 2.0, 2.5, 17.0])
cases = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.bool_, shape),
        hnp.arrays(np.bool_, shape),
        st.lists(spacings, min_size=len(shape), max_size=len(shape)),
    )
)


def surface_by_erosion(mask):
    return mask & ~ndimage.binary_erosion(mask)


def by_distance_maps(prediction, truth, spacing):
    """The definition, over the whole image and with full distance maps."""
    surfaces = surface_by_erosion(prediction), surface_by_erosion(truth)
    maps = [ndimage.distance_transform_edt(~surface, spacing) for surface in surfaces]
    return maps[1][surfaces[0]], maps[0][surfaces[1]]


def random_objects(shape, seed, share=0.15):
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 2.0)
    return smooth > np.quantile(smooth, 1 - share)


def square(extra=False):
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    mask[10:12, 30:32] = extra
    return mask


def test_a_far_speck_gives_the_worked_example():
    d = surface_distances(square(extra=True), square())
    values = {name: measure(d) for name, measure in DISTANCES.items()}
    expected = {"hd": 12, "hd95": 11.05, "hd95_pooled": 2.75, "assd": 0.6053, "masd": 0.575}
    assert values == pytest.approx(expected, abs=5e-5)
    assert nsd(d, 1) == pytest.approx(0.9474, abs=5e-5)


def test_two_single_pixels_are_as_far_apart_as_their_centres():
    first, second = np.eye(1, 6, 1, dtype=bool), np.eye(1, 6, 4, dtype=bool)
    d = surface_distances(first, second)
    assert (hd(d), assd(d)) == (3, 3)
    assert hd(surface_distances(first, second, (1, 2))) == 6


def test_a_shifted_cube_gives_the_worked_example():
    truth = np.zeros((10, 10, 10), bool)
    truth[3:7, 3:7, 3:7] = True
    d = surface_distances(np.roll(truth, 1, axis=0), truth, (3, 1, 1))
    assert hd(d) == 3
    assert assd(d) == pytest.approx(0.9286, abs=5e-5)


def test_a_total_miss_takes_the_image_diagonal_and_is_flagged():
    some, none = np.ones((3, 2), bool), np.zeros((3, 2), bool)
    for pair, word in (((none, some), "prediction"), ((some, none), "truth")):
        d = surface_distances(*pair, spacing=(1, 2))
        assert [measure(d) for measure in DISTANCES.values()] == [5.0] * 5
        assert nsd(d, 100) == 0
        assert d.flag == f"the {word} is empty: distances take the image diagonal"
    assert surface_distances(some, none).to_truth.size == 6


def test_nothing_to_find_and_nothing_claimed_is_no_distance():
    for shape in ((3, 2), (0, 5)):
        d = surface_distances(np.zeros(shape), np.zeros(shape))
        assert [measure(d) for measure in DISTANCES.values()] == [0.0] * 5
        assert nsd(d, 0) == 1
        assert d.flag is None


@settings(max_examples=200, deadline=None)
@given(cases)
def test_distances_are_those_of_exact_distance_maps(case):
    prediction, truth, spacing = case
    if not prediction.any() or not truth.any():
        return
    d = surface_distances(prediction, truth, spacing)
    expected = by_distance_maps(prediction, truth, spacing)
    assert d.to_truth == pytest.approx(expected[0], rel=0, abs=1e-9)
    assert d.to_prediction == pytest.approx(expected[1], rel=0, abs=1e-9)


@pytest.mark.parametrize("shape", [(70, 90), (30, 41, 37)])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.5])
def test_near_and_far_searches_agree_with_distance_maps(shape, share, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK", 100)
    spacing = (3.3, 0.7, 1.1)[: len(shape)]
    prediction, truth = random_objects(shape, 0, share), random_objects(shape, 1, share)
    d = surface_distances(prediction, truth, spacing)
    expected = by_distance_maps(prediction, truth, spacing)
    assert np.abs(d.to_truth - expected[0]).max() < 1e-9
    assert np.abs(d.to_prediction - expected[1]).max() < 1e-9


@settings(deadline=None)
@given(cases)
def test_laws_of_distances_hold(case):
    prediction, truth, spacing = case
    d = surface_distances(prediction, truth, spacing)
    swapped = surface_distances(truth, prediction, spacing)
    scaled = surface_distances(prediction, truth, [3 * step for step in spacing])
    flipped = surface_distances(np.flip(prediction), np.flip(truth), spacing)
    turned = surface_distances(prediction.T, truth.T, spacing[::-1])
    for measure in DISTANCES.values():
        assert measure(swapped) == pytest.approx(measure(d))
        assert measure(scaled) == pytest.approx(3 * measure(d))
        assert measure(flipped) == pytest.approx(measure(d))
        assert measure(turned) == pytest.approx(measure(d))
    assert 0 <= hd95(d) <= hd(d) + 1e-12
    assert assd(d) <= hd(d) + 1e-12
    assert hd(d) <= d.diagonal
    shares = [nsd(d, tolerance) for tolerance in (0, 0.3, 1, 2.5, d.diagonal)]
    assert shares == sorted(shares)
    assert shares[-1] == (d.flag is None)
    assert hd(surface_distances(truth, truth, spacing)) == 0
    assert nsd(surface_distances(truth, truth, spacing), 0) == 1


def test_rounding_does_not_push_a_distance_over_the_tolerance():
    over = 0
    for apart in range(1, 60):
        first, second = np.eye(1, 60, 0, dtype=bool), np.eye(1, 60, apart, dtype=bool)
        d = surface_distances(first, second, (1, 0.1))
        over += hd(d) > round(apart * 0.1, 1)
        assert nsd(d, round(apart * 0.1, 1)) == 1
        assert nsd(d, round(apart * 0.1, 1) - 1e-6) == 0
    assert over > 0


def test_pixels_at_the_border_of_the_image_are_surface():
    d = surface_distances(np.ones((5, 5), bool), np.ones((5, 5), bool))
    assert d.to_truth.size == 16


def test_masks_are_cut_to_the_region_of_interest_first():
    valid = np.zeros((40, 40), bool)
    valid[:, :25] = True
    d = surface_distances(square(extra=True), square(), valid=valid)
    assert hd(d) == 0
    valid[:, 15:] = False
    cut = surface_distances(square(), square(), valid=valid)
    assert cut.to_truth.size == 2 * 10 + 2 * 3


def test_classes_are_measured_one_by_one_in_their_boxes():
    generator = np.random.default_rng(2)
    prediction, truth = generator.integers(0, 4, (2, 15, 16, 17), dtype=np.uint8)
    truth[truth == 2] = 0
    valid = generator.random(truth.shape) < 0.9
    spacing = (2.0, 0.5, 0.5)
    found = dict(surface_distances_by_class(prediction, truth, 6, spacing, valid))
    assert list(found) == [1, 2, 3, 4, 5]
    for k, d in found.items():
        alone = surface_distances(prediction == k, truth == k, spacing, valid)
        assert np.array_equal(d.to_truth, alone.to_truth)
        assert np.array_equal(d.to_prediction, alone.to_prediction)
        assert (d.diagonal, d.flag) == (alone.diagonal, alone.flag)
    assert found[2].truth_empty
    assert found[5].flag is None
    assert class_boxes(prediction, truth, 6)[5] is None
    assert class_boxes(prediction, truth, 1) == {}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_every_kind_of_mask_measures_alike(dtype):
    factor = 255 if dtype in (np.uint8, np.int64) else 1
    prediction, truth = (mask.astype(dtype) * factor for mask in (square(extra=True), square()))
    assert hd(surface_distances(prediction, truth)) == 12


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((np.zeros((2, 3)), np.zeros((3, 2))), "mask-shape"),
        ((np.zeros((2, 3)), np.zeros((2, 3)), None, np.ones((2, 2), bool)), "mask-shape"),
        ((np.array(1), np.array(1)), "mask-shape"),
        ((np.zeros((2, 3)), np.full((2, 3), 0.5)), "mask-value"),
        ((np.full((2, 3), math.nan), np.zeros((2, 3))), "mask-value"),
        ((np.zeros((2, 3)), np.zeros((2, 3)), (1, 1, 1)), "spacing-length"),
        ((np.zeros((2, 3)), np.zeros((2, 3)), (1, 0)), "spacing-value"),
        ((np.zeros((2, 3)), np.zeros((2, 3)), (1, math.inf)), "spacing-value"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, code):
    with pytest.raises(DataError, match=code):
        surface_distances(*arguments)


def test_probabilities_are_no_classes():
    with pytest.raises(DataError, match="mask-dtype"):
        list(surface_distances_by_class(np.zeros((2, 2)), np.zeros((2, 2), int), 2))


@pytest.mark.parametrize("tolerance", [-1, math.nan, math.inf])
def test_a_tolerance_must_be_a_distance(tolerance):
    with pytest.raises(ConfigError, match="tolerance-value"):
        nsd(surface_distances(square(), square()), tolerance)
