"""V-Rand, V-Info and the variation of information: known answers, oracles and real membranes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from skimage import metrics

from maskwright.errors import DataError
from maskwright.evaluate.partition import (
    count_overlaps,
    segments,
    v_info,
    v_rand,
    variation_of_information,
)

MASKS = Path(__file__).parents[3] / "shared" / "data" / "membranes" / "masks"
needs_membranes = pytest.mark.skipif(not MASKS.is_dir(), reason=f"no real masks at {MASKS}")

TRUTH = np.array([1, 1, 2, 2])
MERGED = np.array([1, 1, 1, 1])
ONE_LOST = np.array([1, 0, 2, 2])
ALL_LOST = np.zeros(4, int)

label_pairs = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)),
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)),
    )
)


def numbers(result):
    return result if isinstance(result, tuple) else (result.merge, result.split, result.f)


def pairs_by_hand(prediction, truth):
    """Merge and split scores from all ordered pairs of pixels, each with itself included."""
    inside = np.flatnonzero(truth)
    alone = truth.max() + prediction.max() + 1
    # Lost pixels get ids that nobody shares.
    own = np.where(prediction == 0, alone + np.arange(truth.size), prediction)
    both = together = true = 0
    for i, j in product(inside, inside):
        both += truth[i] == truth[j] and own[i] == own[j]
        together += own[i] == own[j]
        true += truth[i] == truth[j]
    return both / together, both / true


@pytest.mark.parametrize(
    ("prediction", "merge", "split", "rand", "info"),
    [
        (MERGED, 0.5, 1, 0.6667, 0),
        (ONE_LOST, 1, 0.75, 0.8571, 0.8),
        (ALL_LOST, 1, 0.5, 0.6667, 0.6667),
        (TRUTH, 1, 1, 1, 1),
    ],
)
def test_the_worked_examples_have_their_values(prediction, merge, split, rand, info):
    score = v_rand(prediction, TRUTH)
    assert (score.merge, score.split) == (merge, split)
    assert score.f == pytest.approx(rand, abs=5e-5)
    assert v_info(prediction, TRUTH).f == pytest.approx(info, abs=5e-5)


@pytest.mark.parametrize(
    ("prediction", "error"), [(MERGED, 0.5), (ONE_LOST, 0.3333), (ALL_LOST, 0.5)]
)
def test_the_adapted_rand_error_is_another_measure(prediction, error):
    adapted, _, _ = metrics.adapted_rand_error(TRUTH, prediction)
    assert adapted == pytest.approx(error, abs=5e-5)
    assert abs(1 - adapted - v_rand(prediction, TRUTH).f) > 0.1


def test_merge_falls_with_mergers_and_split_with_splits():
    parted = np.array([1, 3, 2, 4])
    for measure in (v_rand, v_info):
        assert measure(MERGED, TRUTH).merge < measure(MERGED, TRUTH).split == 1
        assert measure(parted, TRUTH).split < measure(parted, TRUTH).merge == 1


@settings(deadline=None)
@given(label_pairs)
def test_v_rand_counts_pairs_of_pixels(pair):
    truth, prediction = pair[0].ravel().astype(int), pair[1].ravel().astype(int)
    if truth.any():
        score = v_rand(prediction, truth)
        assert (score.merge, score.split) == pytest.approx(pairs_by_hand(prediction, truth))


@settings(deadline=None)
@given(label_pairs)
def test_v_info_follows_from_the_entropies_of_scikit_image(pair):
    truth, prediction = pair[0].ravel().astype(int), pair[1].ravel().astype(int)
    inside = truth > 0
    if not inside.any():
        return
    alone = np.where(prediction == 0, 10 + np.arange(truth.size), prediction)[inside]
    true, nothing = truth[inside], np.zeros(int(inside.sum()), int)
    parted, merged = metrics.variation_of_information(true, alone)
    entropy_true = metrics.variation_of_information(nothing, true)[0]
    entropy_predicted = metrics.variation_of_information(nothing, alone)[0]
    score = v_info(prediction, truth)
    if entropy_true > 0:
        assert score.merge == pytest.approx(1 - merged / entropy_true, abs=1e-9)
    if entropy_predicted > 0:
        assert score.split == pytest.approx(1 - parted / entropy_predicted, abs=1e-9)


@settings(deadline=None)
@given(label_pairs)
def test_the_variation_of_information_is_that_of_scikit_image(pair):
    truth, prediction = pair
    expected = metrics.variation_of_information(truth, prediction)
    assert variation_of_information(prediction, truth) == pytest.approx(tuple(expected), abs=1e-9)


@settings(deadline=None)
@given(label_pairs)
def test_overlaps_are_the_contingency_table_of_scikit_image(pair):
    truth, prediction = pair[0].ravel(), pair[1].ravel()
    table = count_overlaps(prediction, truth)
    expected = metrics.contingency_table(truth, prediction).toarray()
    expected = expected[expected.any(1)][:, expected.any(0)]
    found = np.zeros(expected.shape, int)
    found[table.joint_true, table.joint_predicted] = table.joint
    assert np.array_equal(found, expected)
    assert np.array_equal(table.true, expected.sum(1))
    assert np.array_equal(table.predicted, expected.sum(0))


@settings(deadline=None)
@given(label_pairs)
def test_every_score_lies_between_0_and_1_and_f_between_merge_and_split(pair):
    truth, prediction = pair
    for measure in (v_rand, v_info):
        score = measure(prediction, truth)
        for value in (score.merge, score.split, score.f):
            assert 0 <= value <= 1
        assert min(score.merge, score.split) - 1e-12 <= score.f
        assert score.f <= max(score.merge, score.split) + 1e-12


@settings(deadline=None)
@given(label_pairs, st.permutations([1, 2, 3]))
def test_numbering_flips_and_order_of_pixels_change_nothing(pair, order):
    truth, prediction = pair
    names = np.array([0, *order])
    for measure in (v_rand, v_info, variation_of_information):
        changed = measure(names[np.flip(prediction)], 40000 * names[np.flip(truth)])
        assert numbers(measure(prediction, truth)) == pytest.approx(numbers(changed), abs=1e-9)


@settings(deadline=None)
@given(label_pairs)
def test_without_lost_pixels_swapping_the_images_swaps_merge_and_split(pair):
    truth, prediction = (image.astype(int) + 1 for image in pair)
    for measure in (v_rand, v_info):
        there, back = measure(prediction, truth), measure(truth, prediction)
        assert (there.merge, there.split) == pytest.approx((back.split, back.merge), abs=1e-9)
    assert variation_of_information(prediction, truth) == pytest.approx(
        variation_of_information(truth, prediction)[::-1], abs=1e-9
    )


@settings(deadline=None)
@given(label_pairs)
def test_the_truth_against_itself_is_exactly_perfect(pair):
    truth = pair[0]
    for measure in (v_rand, v_info):
        assert numbers(measure(truth, truth)) == (1, 1, 1)
    assert variation_of_information(truth, truth) == (0, 0)


@pytest.mark.parametrize("measure", [v_rand, v_info])
def test_a_truth_without_foreground_scores_1_only_without_a_prediction(measure):
    nothing, something = np.zeros((2, 2), int), np.array([[0, 1], [0, 0]])
    assert measure(nothing, nothing).f == 1
    assert measure(something, nothing).f == 0
    assert measure(something, nothing, something == 0).f == 1


@pytest.mark.parametrize("measure", [v_rand, v_info])
def test_segments_predicted_on_true_membrane_count_nowhere(measure):
    truth = np.array([1, 1, 0, 0, 2])
    assert measure(np.array([1, 1, 0, 0, 2]), truth) == measure(np.array([1, 1, 3, 1, 2]), truth)


def test_a_single_true_segment_scores_1_when_perfect_and_0_when_split():
    one = np.ones(6, int)
    assert v_info(one, one).f == 1
    assert v_info(np.array([1, 1, 1, 2, 2, 2]), one).f == 0
    assert v_info(np.zeros(6, int), one).f == 0


def test_pixels_outside_the_region_of_interest_count_nowhere():
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 4, (2, 12, 13))
    valid = generator.random(truth.shape) < 0.6
    for measure in (v_rand, v_info, variation_of_information):
        assert measure(prediction, truth, valid) == measure(prediction[valid], truth[valid])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_integer_type_and_the_largest_ids_count_alike(dtype):
    generator = np.random.default_rng(1)
    truth, prediction = generator.integers(0, 4, (2, 200))
    largest = np.iinfo(dtype).max
    names = np.array([0, largest, largest - 7, 9], dtype)
    for measure in (v_rand, v_info, variation_of_information):
        expected = numbers(measure(prediction, truth))
        assert numbers(measure(names[prediction], names[truth])) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "truth", "valid", "code"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), None, "mask-shape"),
        (np.zeros(3, int), np.zeros(3, int), np.ones(2, bool), "mask-shape"),
        (np.zeros(3), np.zeros(3, int), None, "partition-dtype"),
        (np.zeros(3, int), np.zeros(3, bool), None, "partition-dtype"),
        (np.array([0, -1]), np.zeros(2, int), None, "partition-negative"),
    ],
)
def test_images_that_are_no_partitions_are_refused(prediction, truth, valid, code):
    for measure in (v_rand, v_info, variation_of_information):
        with pytest.raises(DataError, match=code):
            measure(prediction, truth, valid)


def test_nothing_at_all_is_no_disagreement():
    nothing = np.zeros((0, 4), int)
    assert variation_of_information(nothing, nothing) == (0, 0)
    assert v_rand(nothing, nothing).f == v_info(nothing, nothing).f == 1


@needs_membranes
def test_real_cells_with_wider_membranes_are_split_but_never_merged():
    cells = np.array(Image.open(MASKS / "slice_00.png")) > 0
    truth, narrow = segments(cells), segments(ndimage.binary_erosion(cells))
    assert truth.max() == 136
    for measure in (v_rand, v_info):
        assert measure(truth, truth).f == 1
        assert measure(narrow, truth).merge == pytest.approx(1)
        assert 0.8 < measure(narrow, truth).split < 0.99
        joined = measure(segments(ndimage.binary_dilation(cells)), truth)
        assert joined.split == pytest.approx(1)
        assert joined.merge < 0.98


@needs_membranes
def test_a_real_slice_agrees_with_scikit_image():
    truth, prediction = (
        segments(np.array(Image.open(MASKS / name)) > 0)
        for name in ("slice_03.png", "slice_04.png")
    )
    expected = metrics.variation_of_information(truth, prediction)
    assert variation_of_information(prediction, truth) == pytest.approx(tuple(expected))
