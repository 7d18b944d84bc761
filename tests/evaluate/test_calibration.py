"""Reliability, temperature and thresholds: known answers, laws, and independent references."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score, log_loss

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.calibration import (
    BLOCK_PX,
    brier,
    ece,
    reason_undefined,
    reliability,
)
from maskwright.evaluate.temperature import apply_temperature, fit_temperature
from maskwright.evaluate.thresholds import THRESHOLDS, ThresholdCurve, ThresholdSweep

MEMBRANES = Path(__file__).parents[3] / "shared" / "data" / "membranes"
needs_membranes = pytest.mark.skipif(
    not MEMBRANES.is_dir(), reason=f"the real images are not at {MEMBRANES}"
)
seeds = st.integers(0, 10**6)


def drawn(seed, shape=(20, 30), dtype=np.float32):
    """Probabilities, and a truth drawn from them."""
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.6, 1.2, shape).astype(dtype)
    return probability, generator.random(shape) < probability


def softmax(logits):
    shifted = np.exp(logits - logits.max(0))
    return shifted / shifted.sum(0)


def drawn_classes(seed, factor, shape=(60, 70), classes=3):
    """Probabilities that are too sure by a factor, and class ids drawn from the honest ones."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (classes, *shape))
    honest = softmax(logits)
    truth = (generator.random(shape) > np.cumsum(honest, 0)[:-1]).sum(0)
    return softmax(logits * factor).astype(np.float32), truth


def membranes(number):
    """Real membranes, and a probability made of nothing but darkness."""
    image_path = sorted((MEMBRANES / "images").iterdir())[number]
    mask_path = sorted((MEMBRANES / "masks").iterdir())[number]
    grey = gaussian_filter(np.asarray(Image.open(image_path), np.float32), 1.5)
    probability = 1 / (1 + np.exp((grey - 100) / 8))
    return probability.astype(np.float32), np.asarray(Image.open(mask_path)) == 0


def direct_ece(probability, truth, bins):
    """One bin after the other, closed on the right."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (probability > low) & (probability <= high)
        if b == 0:
            inside |= probability == 0
        if inside.any():
            total += inside.sum() * abs(probability[inside].mean() - truth[inside].mean())
    return total / probability.size


def assert_agrees_with_scikit_learn(probability, truth):
    found = reliability(probability, truth, bins=15)
    wide, flat = probability.astype(np.float64).ravel(), truth.ravel()
    assert brier(found) == pytest.approx(brier_score_loss(flat, wide), abs=1e-12)
    share, mean = calibration_curve(flat, wide, n_bins=15)
    filled = found.counts > 0
    np.testing.assert_allclose(found.share_true[filled], share, atol=1e-12)
    np.testing.assert_allclose(found.mean_probability[filled], mean, atol=1e-12)
    assert ece(found) == pytest.approx(direct_ece(wide, flat, 15), abs=1e-12)


@given(seeds)
def test_reliability_agrees_with_scikit_learn_on_random_probabilities(seed):
    assert_agrees_with_scikit_learn(*drawn(seed))


@needs_membranes
def test_reliability_agrees_with_scikit_learn_on_real_membranes():
    probability, truth = membranes(3)
    assert_agrees_with_scikit_learn(probability, truth)
    assert ece(reliability(probability, truth)) > 0.02


def test_every_sum_has_its_known_value():
    found = reliability(np.array([0.0, 0.5, 0.75, 1.0]), np.array([0, 1, 0, 1]), bins=4)
    assert found.counts.tolist() == [1, 1, 1, 1]
    assert found.positives.tolist() == [0, 1, 0, 1]
    assert found.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert brier(found) == (0.25 + 0.5625) / 4
    assert ece(found) == (0.5 + 0.75) / 4


def test_an_empty_bin_has_no_mean():
    found = reliability(np.array([0.9]), np.array([True]), bins=2)
    assert np.isnan(found.mean_probability).tolist() == [True, False]
    assert np.isnan(found.share_true).tolist() == [True, False]


def test_without_a_pixel_there_is_no_value_and_a_reason():
    found = reliability(*drawn(0), valid=np.zeros((20, 30), bool))
    assert math.isnan(brier(found))
    assert math.isnan(ece(found))
    assert "region of interest" in reason_undefined(found)
    assert reason_undefined(reliability(*drawn(0))) is None


@given(seeds, st.integers(1, 29), st.integers(1, 40))
def test_sums_of_tiles_add_up_to_those_of_the_whole(seed, cut, bins):
    probability, truth = drawn(seed)
    whole = reliability(probability, truth, bins)
    left = reliability(probability[:, :cut], truth[:, :cut], bins)
    both = left + reliability(probability[:, cut:], truth[:, cut:], bins)
    assert both.counts.tolist() == whole.counts.tolist()
    assert both.positives.tolist() == whole.positives.tolist()
    assert (brier(both), ece(both)) == pytest.approx((brier(whole), ece(whole)), abs=1e-12)


def test_an_image_of_several_blocks_counts_like_one_pass():
    probability, truth = drawn(1, (1100, 1000))
    valid = np.random.default_rng(2).random(truth.shape) < 0.9
    found = reliability(probability, truth, valid=valid)
    assert truth.size > BLOCK_PX
    assert found.n == valid.sum()
    assert ece(found) == pytest.approx(
        direct_ece(probability[valid].astype(np.float64), truth[valid], 15), abs=1e-12
    )


def test_honest_probabilities_have_hardly_any_error_and_sharpened_ones_do():
    probability, truth = drawn(3, (500, 500))
    sure = probability**3 / (probability**3 + (1 - probability) ** 3)
    assert ece(reliability(probability, truth)) < 0.003
    assert ece(reliability(sure, truth)) > 0.05
    assert brier(reliability(sure, truth)) > brier(reliability(probability, truth))


def test_what_lies_outside_the_region_of_interest_may_be_anything():
    probability, truth = np.array([0.2, np.nan, 7]), np.array([0, 1, 255])
    valid = np.array([True, False, False])
    assert reliability(probability, truth, valid=valid).n == 1


def test_a_reliability_survives_json_and_equals_itself_only():
    found = reliability(*drawn(4))
    assert type(found).from_json(found.to_json()) == found
    assert found != reliability(*drawn(5))
    assert found != 1


@pytest.mark.parametrize(
    ("probability", "truth", "code"),
    [
        ([0.1, np.nan], [0, 1], "probabilities-range"),
        ([0.1, 1.00001], [0, 1], "probabilities-range"),
        ([-0.1, 1], [0, 1], "probabilities-range"),
        ([0.1, 1], [0, 2], "mask-binary"),
        ([0.1, 1], [0, 1, 1], "mask-shape"),
    ],
)
def test_what_is_no_probability_or_no_mask_is_refused(probability, truth, code):
    for measure in (reliability, ThresholdSweep().add):
        with pytest.raises(DataError, match=code):
            measure(np.array(probability), np.array(truth))


def test_rounding_beyond_one_is_forgiven():
    assert brier(reliability(np.array([1 + 1e-7]), np.array([True]))) == 0.0


def test_bins_must_be_some_and_the_same():
    with pytest.raises(ConfigError, match="calibration-bins"):
        reliability(*drawn(0), bins=0)
    with pytest.raises(DataError, match="reliability-bins"):
        reliability(*drawn(0), bins=3) + reliability(*drawn(0), bins=4)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5, 6.0])
def test_the_fit_finds_how_much_too_sure_the_probabilities_are(factor):
    cases = [(*drawn_classes(seed, factor), None) for seed in range(8)]
    fitted = fit_temperature(cases)
    assert fitted.value == pytest.approx(factor, rel=0.04)
    assert fitted.n_px == 8 * 60 * 70
    assert fitted.ece_after < 0.02
    assert fitted.nll_after <= fitted.nll_before
    assert not fitted.is_at_limit
    flat = np.concatenate([p.reshape(3, -1) for p, _, _ in cases], 1).astype(np.float64)
    truth = np.concatenate([t.ravel() for _, t, _ in cases])
    before = log_loss(truth, flat.T / flat.T.sum(1, keepdims=True))
    after = log_loss(truth, softmax(np.log(flat) / fitted.value).T)
    assert (fitted.nll_before, fitted.nll_after) == pytest.approx((before, after), rel=1e-6)
    for other in (0.97, 1.03):
        assert log_loss(truth, softmax(np.log(flat) / fitted.value / other).T) > after


@needs_membranes
def test_the_fit_on_real_membranes_helps_another_slice():
    cases = []
    for number in (0, 6, 12):
        probability, truth = membranes(number)
        cases.append((np.stack([1 - probability, probability]), truth, None))
    fitted = fit_temperature(cases)
    probability, truth = membranes(20)
    scaled = apply_temperature(np.stack([1 - probability, probability]), fitted.value)
    assert fitted.nll_after < fitted.nll_before
    assert brier(reliability(scaled[1], truth)) < brier(reliability(probability, truth))


def test_a_sample_is_repeatable_and_keeps_the_share_of_the_classes():
    cases = [(*drawn_classes(seed, 3.0, (200, 200)), None) for seed in range(3)]
    first = fit_temperature(iter(cases), max_px=5000)
    assert first == fit_temperature(cases, max_px=5000)
    assert first != fit_temperature(cases, max_px=5000, seed=1)
    assert first.n_px == 5000
    assert first.value == pytest.approx(3.0, rel=0.1)
    assert first.nll_before == pytest.approx(fit_temperature(cases).nll_before, rel=0.1)


def test_pixels_outside_the_region_do_not_take_part_in_the_fit():
    probabilities, truth = drawn_classes(0, 2.0)
    valid = np.zeros(truth.shape, bool)
    valid[:, :40] = True
    marked = np.where(valid, truth, 255)
    inside = fit_temperature([(probabilities[..., :40], truth[:, :40], None)])
    assert fit_temperature([(probabilities, marked, valid)]) == inside


def test_perfect_and_worthless_probabilities_end_at_the_limits():
    truth = np.arange(100) % 2
    right = np.where(np.stack([truth == 0, truth == 1]), 0.9, 0.1)
    for probabilities, limit in ((right, 0.05), (right[::-1], 20)):
        fitted = fit_temperature([(probabilities, truth, None)])
        assert fitted.value == limit
        assert fitted.is_at_limit


def test_probabilities_of_zero_keep_the_fit_finite():
    hard = np.zeros((2, 100), np.float16)
    hard[0] = 1
    fitted = fit_temperature([(hard, np.arange(100) % 10 == 0, None)])
    assert fitted.value == pytest.approx(math.log(2**24) / math.log(9), rel=1e-3)
    assert math.isfinite(fitted.nll_before)


@given(seeds, st.floats(0.05, 20))
def test_scaling_keeps_the_winner_and_the_sum(seed, temperature):
    generator = np.random.default_rng(seed)
    probabilities = softmax(generator.normal(0, 4, (3, 6, 7))).astype(np.float32)
    probabilities[:, 0, 0] = [0.5 - 2**-25, 0.5, 2**-25]
    probabilities[:, 0, 1] = [0, 1, 0]
    before = probabilities.copy()
    scaled = apply_temperature(probabilities, temperature)
    assert scaled.dtype == np.float32
    assert np.array_equal(probabilities, before)
    assert np.array_equal(scaled.argmax(0), probabilities.argmax(0))
    assert scaled[:, 0, 1].tolist() == [0, 1, 0]
    np.testing.assert_allclose(scaled.sum(0), 1, atol=1e-6)
    expected = softmax(np.log(np.maximum(probabilities.astype(float), 1e-300)) / temperature)
    np.testing.assert_allclose(scaled[:, 1:], expected[:, 1:], atol=1e-6)


def test_a_temperature_of_one_changes_no_value():
    probabilities = drawn_classes(1, 1.0)[0]
    assert np.array_equal(apply_temperature(probabilities, 1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature-range"):
        apply_temperature(np.full((2, 3), 0.5), temperature)


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        ([], "temperature-empty"),
        ([(np.full((2, 3), 0.5), np.zeros(3, int), np.zeros(3, bool))], "temperature-empty"),
        ([(np.full((2, 3), 0.5), np.full(3, 2), None)], "mask-value"),
        ([(np.full((2, 3), 0.5), np.zeros(4, int), None)], "mask-shape"),
        ([(np.full((2, 3), 0.6), np.zeros(3, int), None)], "probabilities-sum"),
        ([(np.full((1, 3), 1.0), np.zeros(3, int), None)], "probabilities-classes"),
        ([(np.full((k, 3), 1 / k), np.zeros(3, int), None) for k in (2, 3)],
         "probabilities-classes"),
    ],
)  # fmt: skip
def test_what_no_temperature_can_be_fitted_to_is_refused(cases, code):
    with pytest.raises(DataError, match=code):
        fit_temperature(cases)
    with pytest.raises(ConfigError, match="temperature-pixels"):
        fit_temperature(cases, max_px=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_sweep_is_the_direct_dice_at_every_threshold(dtype):
    sweep, direct = ThresholdSweep(), []
    for seed in range(4):
        probability, truth = drawn(seed, (25, 25), dtype)
        probability.ravel()[: len(THRESHOLDS)] = THRESHOLDS
        truth &= seed != 2
        sweep.add(probability, truth)
        direct.append([
            f1_score(truth.ravel(), (probability > t).ravel(), zero_division=1.0)
            for t in THRESHOLDS
        ])  # fmt: skip
    curve = sweep.result()
    np.testing.assert_allclose(curve.dice, np.mean(direct, 0), atol=1e-12)
    assert (curve.n_used, curve.n) == (4, 4)
    assert curve.best_dice == pytest.approx(np.mean(direct, 0).max())


@needs_membranes
def test_the_sweep_is_the_direct_dice_on_real_membranes():
    sweep, direct = ThresholdSweep(), []
    for number in (1, 2):
        probability, truth = membranes(number)
        sweep.add(probability, truth)
        direct.append([
            2 * (truth & (probability > t)).sum() / (truth.sum() + (probability > t).sum())
            for t in THRESHOLDS
        ])  # fmt: skip
    np.testing.assert_allclose(sweep.result().dice, np.mean(direct, 0), atol=1e-12)


def test_ties_go_to_the_threshold_nearest_to_one_half():
    sweep = ThresholdSweep()
    sweep.add(np.array([0.05, 0.95]), np.array([False, True]))
    assert (sweep.result().best_threshold, sweep.result().best_dice) == (0.5, 1.0)
    assert ThresholdCurve((0.45, 0.5, 0.55), (0.9, 0.8, 0.9), 1, 1).best_threshold == 0.45


def test_an_empty_image_scores_one_where_nothing_is_predicted():
    sweep = ThresholdSweep()
    sweep.add(np.full((4, 4), 0.3), np.zeros((4, 4), bool))
    curve = sweep.result()
    assert curve.dice[THRESHOLDS.index(0.29)] == 0.0
    assert curve.dice[THRESHOLDS.index(0.3)] == 1.0


def test_an_image_without_a_pixel_leaves_the_mean():
    sweep, inside = ThresholdSweep(), np.ones((20, 30), bool)
    sweep.add(*drawn(0), ~inside)
    with pytest.raises(DataError, match="threshold-empty"):
        sweep.result()
    sweep.add(*drawn(0), inside)
    assert (sweep.result().n_used, sweep.result().n) == (1, 2)
