"""Counting and overlap measures: known answers, laws, and independent references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.confusion import BLOCK_PX
from maskwright.evaluate.overlap import (
    MEASURES,
    Counts,
    count_confusion,
    counts_of,
    dice,
    iou,
    matthews,
    pixel_accuracy,
    precision,
    reason_undefined,
    recall,
    rvd,
    rvd_absolute,
    specificity,
    voe,
    volume_similarity,
)

counts = st.builds(Counts, *[st.integers(0, 10**9)] * 4)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
mask_pairs = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)),
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)),
    )
)

BOTH_EMPTY = Counts(0, 0, 0, 7)
NO_PREDICTION = Counts(0, 0, 3, 4)
NO_TRUTH = Counts(0, 3, 0, 4)


def test_every_measure_has_its_known_value():
    some = Counts(tp=6, fp=2, fn=4, tn=8)
    expected = {
        "dice": 12 / 18,
        "iou": 0.5,
        "precision": 0.75,
        "recall": 0.6,
        "specificity": 0.8,
        "voe": 0.5,
        "rvd": -0.2,
        "rvd_absolute": 0.2,
        "volume_similarity": -4 / 18,
        "pixel_accuracy": 0.7,
        "matthews": 40 / math.sqrt(8 * 10 * 10 * 12),
    }
    assert {name: measure(some) for name, measure in MEASURES.items()} == pytest.approx(expected)


@pytest.mark.parametrize("measure", [dice, iou, precision, recall, matthews])
def test_nothing_to_find_and_nothing_claimed_scores_one(measure):
    assert measure(BOTH_EMPTY) == 1.0


@pytest.mark.parametrize("measure", [dice, iou, precision, recall, matthews])
@pytest.mark.parametrize("one_empty", [NO_PREDICTION, NO_TRUTH])
def test_a_total_miss_scores_zero(measure, one_empty):
    assert measure(one_empty) == 0.0


def test_differences_of_empty_masks_follow_the_rules():
    assert voe(BOTH_EMPTY) == rvd(BOTH_EMPTY) == volume_similarity(BOTH_EMPTY) == 0.0
    assert voe(NO_PREDICTION) == voe(NO_TRUTH) == 1.0
    assert rvd(NO_PREDICTION) == -1.0
    assert math.isnan(rvd(NO_TRUTH))
    assert volume_similarity(NO_PREDICTION) == -2.0
    assert volume_similarity(NO_TRUTH) == 2.0


@pytest.mark.parametrize(
    ("name", "some", "word"),
    [
        ("specificity", Counts(5, 0, 1, 0), "negatives"),
        ("rvd", NO_TRUTH, "truth is empty"),
        ("rvd_absolute", NO_TRUTH, "truth is empty"),
        ("pixel_accuracy", Counts(0, 0, 0, 0), "region of interest"),
    ],
)
def test_an_undefined_value_is_nan_and_says_why(name, some, word):
    assert math.isnan(MEASURES[name](some))
    assert word in reason_undefined(name, some)


@given(counts)
def test_a_reason_is_given_exactly_where_a_value_is_nan(some):
    for name, measure in MEASURES.items():
        assert (reason_undefined(name, some) is None) == (not math.isnan(measure(some)))


def test_an_unknown_measure_is_refused_by_name():
    with pytest.raises(ConfigError, match="measure-unknown"):
        reason_undefined("dise", BOTH_EMPTY)


@given(counts)
def test_dice_follows_from_the_jaccard_index(some):
    assert dice(some) == pytest.approx(2 * iou(some) / (1 + iou(some)), abs=1e-12)


@given(counts)
def test_overlap_is_symmetric_and_swaps_precision_with_recall(some):
    swapped = Counts(some.tp, some.fn, some.fp, some.tn)
    assert dice(some) == dice(swapped)
    assert iou(some) == iou(swapped)
    assert precision(some) == recall(swapped)
    assert volume_similarity(some) == -volume_similarity(swapped)


@given(counts)
def test_every_value_lies_in_its_range(some):
    for name in ("dice", "iou", "precision", "recall", "specificity", "voe", "pixel_accuracy"):
        value = MEASURES[name](some)
        assert math.isnan(value) or 0 <= value <= 1
    assert -1 - 1e-9 <= matthews(some) <= 1 + 1e-9
    assert -2 <= volume_similarity(some) <= 2
    assert math.isnan(rvd(some)) or rvd(some) >= -1
    assert math.isnan(rvd_absolute(some)) or rvd_absolute(some) == abs(rvd(some))


@given(mask_pairs)
def test_measures_agree_with_scikit_learn(pair):
    truth, prediction = pair[0] == 1, pair[1] == 1
    some = counts_of(count_confusion(prediction, truth, 2), 1)
    if not truth.any() or not prediction.any() or truth.all():
        return
    flat = truth.ravel(), prediction.ravel()
    assert dice(some) == pytest.approx(metrics.f1_score(*flat))
    assert iou(some) == pytest.approx(metrics.jaccard_score(*flat))
    assert precision(some) == pytest.approx(metrics.precision_score(*flat))
    assert recall(some) == pytest.approx(metrics.recall_score(*flat))
    assert specificity(some) == pytest.approx(metrics.recall_score(*flat, pos_label=False))
    assert pixel_accuracy(some) == pytest.approx(metrics.accuracy_score(*flat))
    assert matthews(some) == pytest.approx(metrics.matthews_corrcoef(*flat))


@given(mask_pairs)
def test_the_confusion_matrix_is_that_of_scikit_learn(pair):
    truth, prediction = pair
    expected = metrics.confusion_matrix(truth.ravel(), prediction.ravel(), labels=[0, 1, 2])
    assert np.array_equal(count_confusion(prediction, truth, 3), expected)


@given(mask_pairs)
def test_joint_flips_turns_and_relabelling_change_nothing(pair):
    truth, prediction = pair
    matrix = count_confusion(prediction, truth, 3)
    for change in (np.flipud, np.fliplr, np.rot90, np.transpose):
        assert np.array_equal(count_confusion(change(prediction), change(truth), 3), matrix)
    order = np.array([2, 0, 1])
    relabelled = count_confusion(order[prediction], order[truth], 3)
    assert np.array_equal(relabelled[np.ix_(order, order)], matrix)


def test_an_image_of_several_blocks_counts_like_one_pass():
    generator = np.random.default_rng(0)
    prediction, truth = generator.integers(0, 4, (2, 1500, 1501), dtype=np.uint8)
    valid = generator.random(truth.shape) < 0.7
    pairs = truth[valid].astype(int) * 4 + prediction[valid]
    expected = np.bincount(pairs, minlength=16).reshape(4, 4)
    assert truth.size > 2 * BLOCK_PX
    assert np.array_equal(count_confusion(prediction, truth, 4, valid), expected)


def test_counts_of_parts_add_up_to_those_of_the_whole():
    generator = np.random.default_rng(1)
    prediction, truth = generator.integers(0, 2, (2, 20, 31))
    whole = counts_of(count_confusion(prediction, truth, 2), 1)
    left = counts_of(count_confusion(prediction[:, :9], truth[:, :9], 2), 1)
    right = counts_of(count_confusion(prediction[:, 9:], truth[:, 9:], 2), 1)
    assert left + right == whole


def test_pixels_outside_the_region_of_interest_count_nowhere():
    truth = np.array([[0, 1, 255]])
    prediction = np.array([[0, 1, 0]])
    matrix = count_confusion(prediction, truth, 2, np.array([[True, True, False]]))
    assert matrix.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.int64, np.uint64])
def test_every_integer_type_counts_alike(dtype):
    truth = np.array([[0, 1], [1, 1]]).astype(dtype)
    assert count_confusion(truth, truth, 2).tolist() == [[1, 0], [0, 3]]


@pytest.mark.parametrize(
    ("prediction", "truth", "code"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "mask-shape"),
        (np.full((2, 2), 2), np.zeros((2, 2), int), "mask-value"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "mask-value"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "mask-dtype"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(prediction, truth, code):
    with pytest.raises(DataError, match=code):
        count_confusion(prediction, truth, 2)
