"""What probabilities alone say: known answers, simulation, laws, and real masks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy as scipy_entropy

from maskwright.errors import DataError
from maskwright.evaluate.calibration import BLOCK_PX
from maskwright.evaluate.overlap import count_confusion, counts_of, dice
from maskwright.evaluate.uncertainty import (
    Agreement,
    Trust,
    TrustSums,
    agreement,
    entropy,
    expected_dice,
    trust,
)

MASKS = Path(__file__).parents[3] / "shared" / "data" / "membranes" / "masks"
needs_membranes = pytest.mark.skipif(not MASKS.is_dir(), reason=f"no real masks at {MASKS}")
seeds = st.integers(0, 10**6)


def softmax(logits):
    shifted = np.exp(logits - logits.max(0))
    return (shifted / shifted.sum(0)).astype(np.float32)


def random_case(seed, classes=3, shape=(12, 15)):
    probabilities = softmax(np.random.default_rng(seed).normal(0, 2, (classes, *shape)))
    return probabilities, probabilities.argmax(0)


def simulated_dice(probability, prediction, draws=4000, seed=0):
    """Mean Dice over truths drawn pixel by pixel."""
    generator = np.random.default_rng(seed)
    truth_DN = generator.random((draws, probability.size)) < probability.ravel()
    predicted = prediction.ravel()
    both = 2 * (truth_DN & predicted).sum(1)
    sizes = truth_DN.sum(1) + predicted.sum()
    return float(np.where(sizes > 0, both / np.maximum(sizes, 1), 1.0).mean())


@given(seeds, st.integers(2, 6))
def test_entropy_is_that_of_scipy_over_its_maximum(seed, classes):
    probabilities, _ = random_case(seed, classes)
    expected = scipy_entropy(probabilities.astype(np.float64), base=2, axis=0) / np.log2(classes)
    found = entropy(probabilities)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


def test_entropy_runs_from_sure_to_no_idea():
    assert entropy(np.array([[1.0, 1 / 3], [0.0, 1 / 3], [0.0, 1 / 3]])).tolist() == [0, 1]


def test_entropy_of_an_image_of_several_blocks_is_whole():
    probabilities = np.full((2, BLOCK_PX // 1000, 700), 0.5, np.float32)
    assert probabilities.size > BLOCK_PX
    assert np.array_equal(entropy(probabilities), np.ones(probabilities.shape[1:]))


@pytest.mark.parametrize("seed", range(6))
def test_expected_dice_is_the_mean_of_simulated_truths(seed):
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.4, 0.6, (30, 30))
    prediction = probability > generator.uniform(0.2, 0.8)
    found = expected_dice(probability, prediction)
    assert found == pytest.approx(simulated_dice(probability, prediction), abs=0.002)


def test_the_ratio_of_expectations_is_off_by_one_over_the_size():
    errors = []
    for side in (1, 2, 4):
        probability = np.full((side, 2 * side), 0.6)
        prediction = np.ones(probability.shape, bool)
        found = expected_dice(probability, prediction)
        errors.append(found - simulated_dice(probability, prediction, 40_000))
    assert errors[0] == pytest.approx(0.75 - (0.48 * 2 / 3 + 0.36), abs=0.01)
    assert 0 < errors[2] < errors[1] < errors[0]
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.5)


@pytest.mark.parametrize("chance", [0.0, 1e-4, 0.003, 0.05])
def test_without_a_prediction_the_chance_of_an_empty_truth_is_expected(chance):
    probability, nothing = np.full((20, 30), chance), np.zeros((20, 30), bool)
    found = expected_dice(probability, nothing)
    assert found == pytest.approx((1 - chance) ** 600)
    assert found == pytest.approx(simulated_dice(probability, nothing), abs=0.03)


def test_empty_cases_have_their_known_values():
    nothing, everything = np.zeros(4, bool), np.ones(4, bool)
    assert expected_dice(np.zeros(4), nothing) == 1.0
    assert expected_dice(np.zeros(4), everything) == 0.0
    assert expected_dice(np.array([1.0, 0, 0, 0]), nothing) == 0.0
    assert expected_dice(np.ones(4), everything) == 1.0
    assert math.isnan(expected_dice(np.ones(4), everything, nothing))


@given(seeds)
def test_certain_probabilities_expect_the_dice_itself(seed):
    truth, prediction = np.random.default_rng(seed).random((2, 6, 7)) < 0.3
    actual = dice(counts_of(count_confusion(prediction, truth, 2), 1))
    assert expected_dice(truth.astype(np.float32), prediction) == pytest.approx(actual)


@given(seeds)
def test_trust_is_made_of_the_single_measures(seed):
    probabilities, classes = random_case(seed)
    valid = np.random.default_rng(seed).random(classes.shape) < 0.8
    found = trust(probabilities, classes, valid)
    for k, value in enumerate(found.expected_dice):
        assert value == pytest.approx(expected_dice(probabilities[k], classes == k, valid))
        assert 0 <= value <= 1
    assert found.mean == pytest.approx(np.mean(found.expected_dice[1:]))
    assert found.mean_entropy == pytest.approx(entropy(probabilities)[valid].mean(), abs=1e-6)
    assert found.doubtful_share == (probabilities.max(0)[valid] < 0.75).mean()


def test_trust_does_not_depend_on_flips_or_on_what_lies_outside():
    probabilities, classes = random_case(1)
    whole = trust(probabilities, classes)
    flipped = trust(probabilities[:, ::-1, ::-1], classes[::-1, ::-1])
    assert flipped.expected_dice == pytest.approx(whole.expected_dice)
    valid = np.zeros(classes.shape, bool)
    valid[:5] = True
    inside = trust(probabilities[:, :5], classes[:5])
    probabilities[:, 5:], classes[5:] = np.nan, 255
    assert trust(probabilities, classes, valid) == inside


def test_trust_of_a_volume_of_several_blocks_is_that_of_its_repeated_part():
    probabilities, classes = random_case(2, 2, (8, 60, 70))
    many = trust(np.tile(probabilities, (1, 40, 1, 1)), np.tile(classes, (40, 1, 1)))
    one = trust(probabilities, classes)
    assert 40 * probabilities.size > BLOCK_PX
    assert many.expected_dice == pytest.approx(one.expected_dice)
    assert many.doubtful_share == pytest.approx(one.doubtful_share)


def test_trust_without_a_pixel_is_undefined_and_survives_json():
    probabilities, classes = random_case(3)
    nothing = trust(probabilities, classes, np.zeros(classes.shape, bool))
    assert all(map(math.isnan, (*nothing.expected_dice, nothing.mean, nothing.mean_entropy)))
    values = json.loads(json.dumps(nothing.to_json(), allow_nan=False))
    assert Trust.from_json(values).to_json() == nothing.to_json()
    some = trust(probabilities, classes)
    assert Trust.from_json(json.loads(json.dumps(some.to_json()))) == some


@needs_membranes
def test_expected_dice_foretells_the_actual_one_where_probabilities_are_honest():
    expected, actual = [], []
    generator = np.random.default_rng(0)
    for number, path in enumerate(sorted(MASKS.iterdir())[:12]):
        outline = gaussian_filter((np.asarray(Image.open(path)) == 0).astype(float), 1 + number / 4)
        probability = np.clip(outline, 0, 1)
        truth = generator.random(probability.shape) < probability
        prediction = probability > 0.5
        expected.append(expected_dice(probability, prediction))
        actual.append(dice(counts_of(count_confusion(prediction, truth, 2), 1)))
    found = agreement(expected, actual)
    assert found.mean_absolute_error < 0.005
    assert found.spearman > 0.98


def test_agreement_has_its_known_values():
    found = agreement([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.8, 0.9, 0.6, 0.5, 0.4, 0.3])
    assert (found.n, found.bias) == (6, pytest.approx(0.4 / 6))
    assert found.mean_absolute_error == pytest.approx(0.1)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (6 * 35))


def test_no_rank_correlation_is_given_for_few_or_equal_values():
    assert agreement([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]).spearman is None
    assert agreement([0.5] * 8, list(np.arange(8) / 8)).spearman is None
    assert agreement(list(np.arange(8) / 8), [0.5] * 8).spearman is None


def test_images_without_one_of_the_values_are_left_out():
    assert agreement([0.5, math.nan, 0.7], [0.4, 0.5, math.nan]).n == 1
    nothing = agreement([], [])
    assert nothing.n == 0
    assert math.isnan(nothing.bias)
    with pytest.raises(DataError, match="agreement-length"):
        agreement([0.5], [])


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Agreement(12, 0.05, 0.03, 0.81),
         "Expected Dice lies on average 0.03 above the actual one; the order of the images agrees "
         "(Spearman 0.81, n = 12)."),
        (Agreement(9, 0.05, -0.04, 0.45),
         "Expected Dice lies on average 0.04 below the actual one; the order of the images agrees "
         "in part (Spearman 0.45, n = 9)."),
        (Agreement(9, 0.05, 0.001, -0.2),
         "Expected Dice is on average the actual one; the order of the images does not agree "
         "(Spearman -0.20, n = 9)."),
        (Agreement(4, 0.05, 0.03, None),
         "Expected Dice lies on average 0.03 above the actual one; fewer than 6 images say nothing "
         "about their order (n = 4)."),
        (Agreement(7, 0.05, 0.03, None),
         "Expected Dice lies on average 0.03 above the actual one; values that are equal say "
         "nothing about their order (n = 7)."),
        (Agreement(0, math.nan, math.nan, None),
         "No image has both an expected and an actual Dice."),
    ],
)  # fmt: skip
def test_the_agreement_is_told_in_words(found, sentence):
    assert found.sentence() == sentence


@pytest.mark.parametrize(
    ("probabilities", "classes", "code"),
    [
        (np.full((2, 3), 0.5), np.full(3, 2), "mask-value"),
        (np.full((2, 3), 0.5), np.full(3, -1), "mask-value"),
        (np.full((2, 3), 0.5), np.full(3, 0.5), "mask-value"),
        (np.full((2, 3), 0.5), np.zeros(4, int), "mask-shape"),
        (np.full((2, 3), 0.7), np.zeros(3, int), "probabilities-sum"),
        (np.full((2, 3), np.nan), np.zeros(3, int), "probabilities-range"),
        (np.array([[4.0], [-3.0]]), np.zeros(1, int), "probabilities-range"),
        (np.ones((1, 3)), np.zeros(3, int), "probabilities-classes"),
    ],
)
def test_what_is_no_distribution_or_no_mask_of_it_is_refused(probabilities, classes, code):
    with pytest.raises(DataError, match=code):
        trust(probabilities, classes)


@given(seeds, st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_trust_in_parts_is_that_of_the_whole_with_a_class_taken_away_too(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    p = generator.dirichlet((0.3,) * 4, (9, 11)).transpose(2, 0, 1).astype(np.float32)
    classes = p.argmax(0)
    parts = []
    for rows in (slice(0, 4), slice(4, 9)):
        sums = TrustSums.none(4)
        sums.add(p[:, rows], classes[rows])
        parts.append(sums.numbers())
    found = TrustSums.of(np.sum(parts, axis=0).tolist())
    emptied = np.where(classes == k, 0, classes)
    for one, other in ((found, classes), (found.without(k), emptied)):
        expected = trust(p, other)
        assert one.trust().expected_dice == pytest.approx(expected.expected_dice, rel=1e-9)
        assert one.trust().mean_entropy == pytest.approx(expected.mean_entropy, rel=1e-9)
        assert one.trust().doubtful_share == expected.doubtful_share
