"""One image, every group of measures: rules that hold whichever measure is looked at."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from maskwright.config import EvaluateConfig
from maskwright.evaluate.case import BACKGROUND, CaseScore
from maskwright.evaluate.catalogue import CATALOGUE
from maskwright.evaluate.measuring import score_case
from maskwright.evaluate.summary import summarise

EVERYTHING = EvaluateConfig(measures="all")
NAMES = ("background", "cell")
BEST = {"high": 1.0, "low": 0.0, "zero": 0.0}


def blobs(seed=0, shape=(48, 56)):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return (field > 0.02).astype(np.uint8)


def sharp(classes, count=2):
    return np.stack([classes == k for k in range(count)]).astype(np.float32)


def every(prediction, truth, **options):
    return score_case("a", prediction, truth, 2, config=EVERYTHING, **options)


def test_every_measure_of_the_catalogue_is_taken_when_all_are_asked_for():
    truth = blobs()
    case = every(truth, truth, probabilities=sharp(truth))
    assert [name for name in CATALOGUE if not case.has(name)] == []


def test_a_perfect_prediction_scores_the_best_end_of_every_measure():
    truth = blobs()
    case = every(truth, truth, probabilities=sharp(truth))
    for name, measure in CATALOGUE.items():
        assert case.value(name, 1) == pytest.approx(BEST[measure.best]), name


def test_both_masks_empty_scores_as_the_catalogue_says():
    empty = np.zeros((8, 9), np.uint8)
    case = every(empty, empty, probabilities=sharp(empty))
    for name, measure in CATALOGUE.items():
        if measure.both_empty in {"0", "1"}:
            assert case.value(name, 1) == float(measure.both_empty), name
        elif measure.both_empty == "undefined":
            assert math.isnan(case.value(name, 1))
            assert case.reason(name, 1)
    assert case.flags == ()


@pytest.mark.parametrize("which", ["prediction", "truth"])
def test_one_empty_mask_scores_as_the_catalogue_says_and_is_flagged(which):
    drawn, empty = blobs(), np.zeros((48, 56), np.uint8)
    pair = (empty, drawn) if which == "prediction" else (drawn, empty)
    case = every(*pair, probabilities=sharp(pair[0]))
    for name, measure in CATALOGUE.items():
        if measure.one_empty in {"0", "1"}:
            assert case.value(name, 1) == float(measure.one_empty), name
    diagonal = math.hypot(48, 56)
    assert [case.value(d, 1) for d in ("hd", "hd95", "assd")] == pytest.approx([diagonal] * 3)
    assert [k for k, _ in case.flags] == [1]
    assert which in case.flags[0][1]


def test_a_missing_prediction_stays_in_every_mean_it_can_have_a_value_for():
    truth = blobs()
    cases = [every(truth, truth, probabilities=sharp(truth)), every(None, truth)]
    summary = summarise(cases, NAMES)
    for name, estimate in summary.measures["cell"].items():
        assert (estimate.n_used, estimate.n) == (2, 2), name
    assert summary.measures["cell"]["auc"].mean == pytest.approx(0.75)
    assert summary.measures["cell"]["brier"].mean == pytest.approx(truth.mean() / 2)


def test_a_missing_prediction_alone_brings_no_measure_of_probabilities():
    truth = blobs()
    summary = summarise([every(truth, truth), every(None, truth)], NAMES)
    assert "auc" not in summary.measures["cell"]
    assert "hd95" in summary.measures["cell"]


def test_further_measures_of_the_background_are_not_news():
    truth = blobs()
    case = every(truth, truth)
    assert case.reason("hd95", 0) == BACKGROUND
    assert summarise([case], NAMES).undefined == ()


def test_spacing_scales_distances_and_sets_the_unit():
    truth = blobs()
    prediction = np.roll(truth, 2, axis=0)
    pixels = every(prediction, truth)
    scaled = every(prediction, truth, spacing_mm=(0.5, 0.5))
    for name in ("hd", "hd95", "hd95_pooled", "assd", "masd"):
        assert scaled.value(name, 1) == pytest.approx(0.5 * pixels.value(name, 1))
    assert summarise([pixels], NAMES).unit == "px"
    assert summarise([scaled], NAMES).unit == "mm"


def test_the_region_of_interest_holds_for_every_measure():
    truth, prediction = blobs(1), blobs(2)
    prediction[:, :30] = truth[:, :30]
    inside = np.zeros(truth.shape, bool)
    inside[:, :28] = True
    case = every(prediction, truth, probabilities=sharp(prediction), valid=inside)
    for name, measure in CATALOGUE.items():
        assert case.value(name, 1) == pytest.approx(BEST[measure.best]), name


def test_touching_objects_are_told_apart_where_both_masks_number_them():
    ids = np.zeros((6, 8), np.uint16)
    ids[1:5, 1:4], ids[1:5, 4:7] = 7, 300
    mask = (ids > 0).astype(np.uint8)
    apart = every(mask, mask, prediction_objects=ids, truth_objects=ids)
    merged = every(mask, mask, truth_objects=ids)
    assert apart.objects[1].counts.tp == 2
    assert apart.value("pq", 1) == 1.0
    assert (merged.objects[1].counts.tp, merged.objects[1].counts.fn) == (1, 1)
    assert merged.value("v_rand", 1) < 1.0


def test_volumes_have_no_thinned_partition_and_say_why():
    truth = blobs(shape=(6, 20, 20))
    case = every(truth, truth)
    assert case.value("v_rand", 1) == pytest.approx(1.0)
    assert math.isnan(case.value("v_rand_thinned", 1))
    assert "slice" in case.reason("v_rand_thinned", 1)


@settings(max_examples=25, deadline=None)
@given(arrays(np.uint8, (9, 10), elements=st.integers(0, 2)), st.integers(0, 3))
def test_joint_mirrorings_change_no_measure(truth, seed):
    prediction = np.roll(truth, seed, axis=1)
    config = EvaluateConfig(measures=("surface", "objects", "partition", "calibration"))
    scores = [
        score_case("a", p, t, 3, probabilities=sharp(p, 3), config=config)
        for p, t in ((prediction, truth), (prediction[::-1, ::-1], truth[::-1, ::-1]))
    ]
    for name in CATALOGUE:
        # Thinning and warping visit pixels in an order, so that ties fall by direction.
        if scores[0].has(name) and "thinned" not in name and "warping" not in name:
            for k in (1, 2):
                assert scores[0].value(name, k) == pytest.approx(
                    scores[1].value(name, k), nan_ok=True
                ), name


def test_scores_with_everything_survive_json():
    truth = blobs()
    prediction = np.roll(truth, 1, axis=1)
    case = every(prediction, truth, probabilities=sharp(prediction), spacing_mm=(1.0, 2.0))
    text = json.dumps(case.to_json(NAMES), allow_nan=False)
    again = CaseScore.from_json(json.loads(text))
    assert again.to_json(NAMES) == case.to_json(NAMES)
    assert again.objects[1].sizes == case.objects[1].sizes
    assert again.reliability == case.reliability
