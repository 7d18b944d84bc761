"""Laws that hold across measures: exchange, complement, relabelling, spacing, and parts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskwright.config import EvaluateConfig
from maskwright.evaluate.calibration import brier, ece, reliability
from maskwright.evaluate.catalogue import CATALOGUE
from maskwright.evaluate.measuring import score_case
from maskwright.evaluate.objects import (
    OBJECT_MEASURES,
    components,
    counts_at,
    match_objects,
    pool,
    precision,
    recall,
)
from maskwright.evaluate.overlap import MEASURES, Counts, count_confusion, counts_of
from maskwright.evaluate.ranking import auc, average_precision
from maskwright.evaluate.surface import (
    SurfaceDistances,
    hd,
    hd95,
    hd95_pooled,
    nsd,
    surface_distances,
)
from maskwright.evaluate.topology import betti_errors

counts = st.builds(Counts, *[st.integers(0, 10**9)] * 4)
seeds = st.integers(0, 10**6)
mask_pairs = hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=7).flatmap(
    lambda shape: st.tuples(hnp.arrays(np.bool_, shape), hnp.arrays(np.bool_, shape))
)
object_pairs = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)) for _ in range(2)]
    )
)


def values(some: Counts) -> dict[str, float]:
    return {name: measure(some) for name, measure in MEASURES.items()}


def drawn(seed: int, shape: tuple[int, ...] = (18, 27)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and a truth drawn from them."""
    generator = np.random.default_rng(seed)
    probability = generator.integers(0, 65, shape) / 64
    return probability, generator.random(shape) < probability


def tiles(shape: tuple[int, int], rows: int, columns: int) -> list[tuple[slice, slice]]:
    return [
        (slice(y, y + rows), slice(x, x + columns))
        for y in range(0, shape[0], rows)
        for x in range(0, shape[1], columns)
    ]


@given(counts)
def test_exchanging_the_masks_swaps_precision_with_recall_and_inverts_the_volume_ratio(some):
    here, there = values(some), values(Counts(some.tp, some.fn, some.fp, some.tn))
    for name in ("dice", "iou", "voe", "pixel_accuracy", "matthews"):
        assert here[name] == pytest.approx(there[name], abs=1e-12, nan_ok=True), name
    assert here["precision"] == there["recall"]
    assert here["volume_similarity"] == -there["volume_similarity"]
    if some.predicted and some.true:
        assert (1 + here["rvd"]) * (1 + there["rvd"]) == pytest.approx(1)


@given(counts)
def test_exchanging_object_and_background_keeps_accuracy_and_swaps_specificity_with_recall(some):
    here, there = values(some), values(Counts(some.tn, some.fn, some.fp, some.tp))
    assert here["pixel_accuracy"] == pytest.approx(there["pixel_accuracy"], nan_ok=True)
    assert here["matthews"] == pytest.approx(there["matthews"], abs=1e-12)
    if some.tn + some.fp:
        assert here["specificity"] == there["recall"]


@settings(deadline=None)
@given(object_pairs)
def test_exchanging_the_images_swaps_precision_with_recall_of_objects(pair):
    here, there = match_objects(*pair), match_objects(*pair[::-1])
    for name in ("ap", "f1", "pq", "dsb"):
        assert OBJECT_MEASURES[name](here) == pytest.approx(OBJECT_MEASURES[name](there)), name
    for threshold in (0.3, 0.5, 0.8):
        assert precision(counts_at(here, threshold)) == recall(counts_at(there, threshold))


def test_measures_that_start_from_the_true_objects_are_not_symmetric():
    first, second = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 1, 2, 2, 0, 3])
    here, there = match_objects(first, second), match_objects(second, first)
    for name in ("aji", "seg", "det"):
        assert OBJECT_MEASURES[name](here) != pytest.approx(OBJECT_MEASURES[name](there)), name


@settings(deadline=None)
@given(mask_pairs, st.sampled_from([0.0, 1.0, 1.5, 3.0]))
def test_surface_dice_and_betti_errors_do_not_ask_which_mask_is_the_truth(pair, tolerance):
    there = nsd(surface_distances(*pair[::-1]), tolerance)
    assert nsd(surface_distances(*pair), tolerance) == there
    assert betti_errors(*pair) == betti_errors(*pair[::-1])


@settings(deadline=None)
@given(mask_pairs, st.sampled_from([0.1, 0.7, 3.0]), st.sampled_from([0.0, 1.0, 2.0, 2.5]))
def test_surface_dice_is_the_same_where_tolerance_and_spacing_grow_together(
    pair, factor, tolerance
):
    spacing = (2.0, 0.5, 1.0)[: pair[0].ndim]
    scaled = surface_distances(*pair, [factor * step for step in spacing])
    assert nsd(scaled, factor * tolerance) == nsd(surface_distances(*pair, spacing), tolerance)


@settings(deadline=None)
@given(mask_pairs)
def test_the_pooled_percentile_never_exceeds_the_next_distance_above_the_directed_ones(pair):
    d = surface_distances(*pair)
    assert hd95_pooled(d) <= hd(d) + 1e-12
    if d.to_truth.size and d.to_prediction.size:
        above = [np.percentile(part, 95, method="higher") for part in (d.to_truth, d.to_prediction)]
        assert hd95_pooled(d) <= max(above) + 1e-12


def test_on_long_outlines_the_pooled_percentile_is_the_smaller_one():
    for seed in range(20):
        field = np.random.default_rng(seed).random((2, 40, 40)).cumsum(1).cumsum(2)
        prediction, truth = (part % 40 < 15 for part in field)
        d = surface_distances(prediction, truth)
        assert 0 < hd95_pooled(d) <= hd95(d) <= hd(d)


def test_of_very_few_distances_interpolation_can_make_the_pooled_percentile_the_larger_one():
    few = np.array([0.0, 10.0])
    d = SurfaceDistances(few, few, 20.0, prediction_empty=False, truth_empty=False)
    assert (hd95(d), hd95_pooled(d)) == (pytest.approx(9.5), 10.0)


@given(seeds)
def test_the_order_of_pixels_changes_no_measure_of_probabilities(seed):
    probability, truth = (part.ravel() for part in drawn(seed))
    order = np.random.default_rng(seed).permutation(truth.size)
    for measure in (auc, average_precision):
        assert measure(probability[order], truth[order]) == pytest.approx(
            measure(probability, truth), abs=1e-12
        )
    here = reliability(probability, truth)
    there = reliability(probability[order], truth[order])
    assert (brier(here), ece(here)) == pytest.approx((brier(there), ece(there)), abs=1e-12)


@given(seeds)
def test_probabilities_of_the_background_score_as_those_of_the_object(seed):
    probability, truth = drawn(seed)
    assert auc(1 - probability, ~truth) == pytest.approx(auc(probability, truth), abs=1e-12)
    complement = reliability(1 - probability, ~truth)
    assert brier(complement) == pytest.approx(brier(reliability(probability, truth)), abs=1e-12)


@given(seeds)
def test_only_the_order_of_the_scores_counts_for_ranking(seed):
    score, truth = drawn(seed)
    for measure in (auc, average_precision):
        assert measure(np.exp(5 * score) - 3, truth) == measure(score, truth)


@pytest.mark.parametrize("seed", range(6))
def test_renaming_the_classes_renames_the_scores_and_changes_none(seed):
    generator = np.random.default_rng(seed)
    truth, prediction = np.repeat(np.repeat(generator.integers(0, 3, (2, 6, 7)), 3, 1), 3, 2)
    logits = generator.normal(size=(3, *truth.shape)) + 2 * (
        prediction == np.arange(3)[:, None, None]
    )
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    config = EvaluateConfig(
        measures=("surface", "objects", "partition", "topology", "calibration", "ranking")
    )
    new = np.array([0, 2, 1])
    here = score_case("a", prediction, truth, 3, probabilities=probabilities, config=config)
    there = score_case(
        "a", new[prediction], new[truth], 3, probabilities=probabilities[new], config=config
    )
    compared = 0
    for name in CATALOGUE:
        for k in (1, 2):
            if here.has(name):
                value = there.value(name, int(new[k]))
                assert here.value(name, k) == pytest.approx(value, nan_ok=True), name
                compared += not math.isnan(value)
    assert compared > 50


@pytest.mark.parametrize("seed", range(10))
def test_counts_and_reliability_of_tiles_add_up_to_those_of_the_whole(seed):
    generator = np.random.default_rng(seed)
    truth, prediction = generator.integers(0, 3, (2, 41, 53))
    probability = generator.random(truth.shape)
    valid = generator.random(truth.shape) < 0.8
    cuts = tiles(truth.shape, *generator.integers(5, 30, 2).tolist())
    whole = count_confusion(prediction, truth, 3, valid)
    parts = [count_confusion(prediction[cut], truth[cut], 3, valid[cut]) for cut in cuts]
    assert np.array_equal(sum(parts), whole)
    some = [counts_of(part, 1) for part in parts]
    assert sum(some[1:], start=some[0]) == counts_of(whole, 1)
    sums = [reliability(probability[cut], truth[cut] == 1, 10, valid[cut]) for cut in cuts]
    together = sum(sums[1:], start=sums[0])
    expected = reliability(probability, truth == 1, 10, valid)
    assert together.counts.tolist() == expected.counts.tolist()
    assert together.positives.tolist() == expected.positives.tolist()
    assert together.probability_sum == pytest.approx(expected.probability_sum)
    assert (brier(together), ece(together)) == pytest.approx((brier(expected), ece(expected)))


@pytest.mark.parametrize("seed", range(10))
def test_objects_of_tiles_that_cut_none_add_up_to_those_of_the_whole(seed):
    generator = np.random.default_rng(seed)
    masks = generator.random((2, 48, 60)) < 0.6
    masks[:, ::12] = masks[:, :, ::12] = False
    prediction, truth = (components(mask).astype(np.int64) for mask in masks)
    pieces = [match_objects(prediction[cut], truth[cut]) for cut in tiles(truth.shape, 12, 12)]
    whole, together = match_objects(prediction, truth), pool(pieces)
    for threshold in (0.1, 0.3, 0.5):
        expected, found = counts_at(whole, threshold), counts_at(together, threshold)
        assert (found.tp, found.fp, found.fn) == (expected.tp, expected.fp, expected.fn)
        assert found.iou_sum == pytest.approx(expected.iou_sum)
    for name, measure in OBJECT_MEASURES.items():
        assert measure(together) == pytest.approx(measure(whole)), name
