"""Scores over thresholds, the Rand error and the pixel error of the first challenge."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.metrics import f1_score
from sklearn.metrics.cluster import pair_confusion_matrix

from maskwright.errors import DataError
from maskwright.evaluate.partition import PartitionScore, segments, thin, v_info, v_rand
from maskwright.evaluate.partition_curve import (
    THRESHOLDS,
    ThresholdScore,
    best_threshold,
    pixel_error,
    rand_error,
    score_thresholds,
)

MASKS = Path(__file__).parents[3] / "shared" / "data" / "membranes" / "masks"
needs_membranes = pytest.mark.skipif(not MASKS.is_dir(), reason=f"no real masks at {MASKS}")

TRUTH = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
PROBABILITY = np.array([[0.9, 0.8, 0.3, 0.8, 0.9], [0.9, 0.8, 0.2, 0.8, 0.9]])


def scored(threshold, rand, info):
    return ThresholdScore(
        threshold, PartitionScore(rand, rand, rand), PartitionScore(info, info, info)
    )


def blurred(cells, sigma=1.5):
    smooth = ndimage.gaussian_filter(cells.astype(float), sigma)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def test_the_official_thresholds_are_eleven_tenths():
    assert THRESHOLDS == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    rows = score_thresholds(PROBABILITY, TRUTH)
    assert tuple(row.threshold for row in rows) == THRESHOLDS


def test_a_pixel_is_cell_only_strictly_above_the_threshold():
    at, above = score_thresholds(PROBABILITY, TRUTH, (0.2, 0.3))
    assert at.v_rand.merge < 1
    assert above.v_rand.f == above.v_info.f == 1
    assert score_thresholds(np.ones((2, 5)), TRUTH, (1,))[0].v_rand.merge == 1


@pytest.mark.parametrize("thinned", [True, False])
def test_each_row_scores_the_proposal_at_its_threshold(thinned):
    generator = np.random.default_rng(0)
    truth = segments(generator.random((30, 31)) < 0.7)
    probability = generator.random(truth.shape).round(1)
    valid = generator.random(truth.shape) < 0.8
    for row in score_thresholds(probability, truth, (0.7, 0.2, 0.25), thinned, valid):
        proposal = (thin if thinned else segments)(probability > row.threshold)
        assert row.v_rand == v_rand(proposal, truth, valid)
        assert row.v_info == v_info(proposal, truth, valid)


def test_a_mask_scores_alike_at_every_threshold_below_1():
    rows = score_thresholds(TRUTH > 0, TRUTH)
    assert {row.v_rand.f for row in rows[:10]} == {1}
    assert rows[10].v_rand == v_rand(np.zeros_like(TRUTH), TRUTH)


def test_the_best_threshold_is_shared_by_all_slices():
    first = [scored(0.4, 1.0, 0.2), scored(0.5, 0.8, 0.4), scored(0.6, 0.1, 0.9)]
    second = [scored(0.4, 0.5, 0.2), scored(0.5, 0.8, 0.4), scored(0.6, 1.0, 0.9)]
    curve = best_threshold([first, second])
    assert [row.v_rand.f for row in curve.rows] == pytest.approx([0.75, 0.8, 0.55])
    assert (curve.best_v_rand.threshold, curve.best_v_info.threshold) == (0.5, 0.6)
    assert curve.best_v_rand.v_rand.f == pytest.approx(0.8)
    assert curve.slices == 2


def test_the_mean_f_is_not_the_f_of_the_means():
    rows = [
        [ThresholdScore(0.5, PartitionScore(1, 0.5, 2 / 3), PartitionScore(1, 0.5, 2 / 3))],
        [ThresholdScore(0.5, PartitionScore(0.5, 1, 2 / 3), PartitionScore(0.5, 1, 2 / 3))],
    ]
    mean = best_threshold(rows).best_v_rand.v_rand
    assert (mean.merge, mean.split) == (0.75, 0.75)
    assert mean.f == pytest.approx(2 / 3)


@pytest.mark.parametrize("slices", [[], [[]], [[], []], [[scored(0.4, 1, 1)], [scored(0.5, 1, 1)]]])
def test_slices_without_common_thresholds_have_no_best(slices):
    with pytest.raises(DataError, match="threshold-rows"):
        best_threshold(slices)


def pairs_by_hand(cells, truth):
    """True positive, false positive and false negative pairs of distinct pixels."""
    same_truth, same_proposal = (
        np.array([a == b for a, b in combinations(image.ravel().tolist(), 2)])
        for image in (truth, segments(cells))
    )
    return np.array(
        [
            np.count_nonzero(same_truth & same_proposal),
            np.count_nonzero(~same_truth & same_proposal),
            np.count_nonzero(same_truth & ~same_proposal),
        ]
    )


def test_the_rand_error_sums_pairs_over_slices_before_the_f_score():
    generator = np.random.default_rng(2)
    probabilities = list(generator.random((3, 5, 6)))
    truths = [segments(generator.random((5, 6)) < 0.6) for _ in range(3)]
    expected = {}
    for threshold in (0.3, 0.5, 0.7):
        counts = sum(
            pairs_by_hand(p > threshold, t) for p, t in zip(probabilities, truths, strict=True)
        )
        expected[threshold] = 1 - 2 * counts[0] / (2 * counts[0] + counts[1] + counts[2])
    error, best = rand_error(probabilities, truths, tuple(expected))
    assert error == pytest.approx(min(expected.values()))
    assert expected[best] == pytest.approx(error)


def test_pairs_are_those_of_scikit_learn():
    generator = np.random.default_rng(3)
    truth = segments(generator.random((40, 41)) < 0.7)
    cells = generator.random(truth.shape) < 0.7
    table = pair_confusion_matrix(truth.ravel(), segments(cells).ravel())
    expected = 1 - 2 * table[1, 1] / (2 * table[1, 1] + table[0, 1] + table[1, 0])
    assert rand_error([cells], [truth], (0.5,)) == (pytest.approx(expected), 0.5)


def test_the_pixel_error_sums_cells_over_slices():
    generator = np.random.default_rng(4)
    probabilities = generator.random((2, 9, 8))
    truths = generator.integers(0, 3, (2, 9, 8))
    expected = 1 - f1_score(truths.ravel() > 0, probabilities.ravel() > 0.1)
    assert pixel_error(probabilities, truths, (0.1,)) == (pytest.approx(expected), 0.1)
    assert pixel_error(probabilities, truths > 0, (0.1, 0.9))[0] == pytest.approx(expected)


def test_perfect_slices_and_empty_slices_have_no_error():
    nothing = np.zeros((3, 3), int)
    for error in (rand_error, pixel_error):
        assert error([TRUTH > 0], [TRUTH]) == (0, 0)
        assert error([nothing], [nothing]) == (0, 0)
        assert error([nothing + 0.2], [nothing], (0.1, 0.2))[0] == 0
    assert pixel_error([nothing], [nothing + 1])[0] == 1
    assert rand_error([np.ones((1, 1))], [np.ones((1, 1), int)])[0] == 0


def test_errors_leave_out_what_lies_outside_the_region_of_interest():
    valid = np.ones(TRUTH.shape, bool)
    valid[:, 2] = False
    spoilt = np.where(valid, TRUTH, 1)
    for error in (rand_error, pixel_error):
        assert error([PROBABILITY], [spoilt], (0.5,), [valid]) == (0, 0.5)
        assert error([PROBABILITY], [spoilt], (0.5,))[0] > 0.1


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 255, np.nan])
def test_values_that_are_no_probabilities_are_refused(wrong):
    probability = np.array([[0.5, wrong]])
    truth = np.array([[1, 2]])
    with pytest.raises(DataError, match="probability-range"):
        score_thresholds(probability, truth)
    for error in (rand_error, pixel_error):
        with pytest.raises(DataError, match="probability-range"):
            error([probability], [truth])


@pytest.mark.parametrize(
    ("probabilities", "truths", "thresholds", "valid", "code"),
    [
        ([], [], (0.5,), None, "slices-number"),
        ([PROBABILITY], [TRUTH, TRUTH], (0.5,), None, "slices-number"),
        ([PROBABILITY], [TRUTH], (), None, "slices-number"),
        ([PROBABILITY], [TRUTH], (0.5,), [], "slices-number"),
        ([PROBABILITY], [TRUTH.T], (0.5,), None, "mask-shape"),
        ([PROBABILITY], [TRUTH], (0.5,), [TRUTH.T > 0], "mask-shape"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(
    probabilities, truths, thresholds, valid, code
):
    for error in (rand_error, pixel_error):
        with pytest.raises(DataError, match=code):
            error(probabilities, truths, thresholds, valid)


def test_segments_are_asked_for_where_a_mask_is_given():
    with pytest.raises(DataError, match=r"segments\(\) first"):
        rand_error([PROBABILITY], [TRUTH > 0])
    with pytest.raises(DataError, match="mask-shape"):
        score_thresholds(PROBABILITY[:1], TRUTH)


@needs_membranes
def test_the_curve_of_a_blurred_real_truth_peaks_in_the_middle():
    truths = [segments(np.array(Image.open(MASKS / f"slice_0{k}.png"))) for k in range(2)]
    proposals = [blurred(truth > 0) for truth in truths]
    curve = best_threshold([score_thresholds(p, t) for p, t in zip(proposals, truths, strict=True)])
    for best, measure in ((curve.best_v_rand, "v_rand"), (curve.best_v_info, "v_info")):
        assert 0.4 <= best.threshold <= 0.7
        assert getattr(best, measure).f > 0.998
        assert getattr(curve.rows[0], measure).f < 0.2
    assert pixel_error(proposals, truths)[0] < 0.01
    assert rand_error(proposals, truths)[0] < 0.06
