"""Means over cases, intervals over groups, missing predictions, and the JSON round trip."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.config import EvaluateConfig
from maskwright.errors import DataError
from maskwright.evaluate.case import ClassValues
from maskwright.evaluate.measuring import score_case
from maskwright.evaluate.overlap import dice
from maskwright.evaluate.summary import CaseScore, Summary, summarise

RANKING = EvaluateConfig(measures=("ranking",))
NAMES = ("cell", "membrane")


def score(name, tp, fp, fn, tn, group=None, missing=False):
    return CaseScore(name, group or name, ((tn, fp), (fn, tp)), missing)


def some_cases(n=8, groups=4):
    generator = np.random.default_rng(0)
    return [
        score(f"c{k}", *(int(v) for v in generator.integers(5, 90, 4)), group=f"g{k % groups}")
        for k in range(n)
    ]


def test_the_headline_is_the_mean_over_cases_with_the_pooled_value_beside_it():
    summary = summarise([score("a", 10, 0, 0, 10), score("b", 100, 100, 100, 0)], NAMES)
    assert summary.headline.mean == pytest.approx((1.0 + 0.5) / 2)
    assert summary.headline.pooled == pytest.approx(2 * 110 / (2 * 110 + 200))
    assert summary.measures["membrane"]["dice"].mean == summary.headline.mean


def test_the_background_is_in_the_tables_but_not_in_the_headline():
    truth = np.array([[0, 0, 1, 1, 2, 2]])
    prediction = np.array([[0, 1, 1, 1, 2, 0]])
    case = score_case("a", prediction, truth, 3)
    summary = summarise([case], ("back", "one", "two"))
    values = [case.value("dice", k) for k in (1, 2)]
    assert summary.headline.mean == pytest.approx(sum(values) / 2)
    assert summary.measures["back"]["dice"].mean == pytest.approx(0.5)


def test_mean_iou_is_the_mean_of_the_cases_not_computed_from_mean_dice():
    summary = summarise([score("a", 9, 1, 0, 0), score("b", 1, 9, 9, 0)], NAMES)
    estimates = summary.measures["membrane"]
    assert estimates["iou"].mean == pytest.approx((0.9 + 1 / 19) / 2)
    assert estimates["iou"].mean != pytest.approx(
        estimates["dice"].mean / (2 - estimates["dice"].mean)
    )


def test_a_missing_prediction_counts_as_all_background_and_is_listed():
    truth = np.array([[0, 1], [1, 0]])
    cases = [score_case("good", truth, truth, 2), score_case("lost", None, truth, 2)]
    summary = summarise(cases, NAMES, extra=["stray.png"])
    assert summary.headline.mean == 0.5
    assert summary.headline.n_used == 2
    assert summary.missing == ("lost",)
    assert summary.extra == ("stray.png",)


def test_a_missing_prediction_of_an_empty_truth_still_counts():
    assert score_case("lost", None, np.zeros((3, 3), int), 2).mean_dice == 1.0


def test_a_missing_prediction_ranks_by_chance_beside_images_with_probabilities():
    truth = np.array([[0, 1], [1, 1]])
    sharp = np.stack([1.0 - truth, truth])
    cases = [
        score_case("good", truth, truth, 2, probabilities=sharp, config=RANKING),
        score_case("lost", None, truth, 2, config=RANKING),
    ]
    estimates = summarise(cases, NAMES).measures["membrane"]
    assert estimates["auc"].mean == pytest.approx((1 + 0.5) / 2)
    assert estimates["average_precision"].mean == pytest.approx((1 + 0.75) / 2)
    assert estimates["auc"].n_used == 2
    assert math.isnan(estimates["auc"].pooled)
    assert estimates["auc"].pooled_reason


def test_undefined_values_leave_the_mean_with_a_reason_and_a_count():
    summary = summarise([score("full", 4, 0, 0, 0), score("half", 2, 1, 0, 3)], NAMES)
    estimate = summary.measures["membrane"]["specificity"]
    assert (estimate.mean, estimate.n_used, estimate.n) == (0.75, 1, 2)
    reasons = {(u.case, u.class_name, u.measure): u.reason for u in summary.undefined}
    assert "no negatives" in reasons["full", "membrane", "specificity"]


def test_a_case_without_a_pixel_in_the_region_of_interest_is_left_out_and_listed():
    truth = np.ones((2, 2), int)
    nothing = score_case("outside", truth, truth, 2, valid=np.zeros((2, 2), bool))
    summary = summarise([nothing, score("a", 1, 1, 0, 2)], NAMES)
    assert summary.headline.n_used == 1
    assert summary.sentence().startswith("Mean Dice of membrane on 1 of 2 images: 0.67")
    assert any(u.case == "outside" and "region of interest" in u.reason for u in summary.undefined)


def test_the_region_of_interest_applies_to_counts_and_ranking():
    truth = np.array([[0, 1, 1, 0]])
    prediction = np.array([[0, 1, 0, 1]])
    probabilities = np.array([[[0.9, 0.1, 0.9, 0.1]], [[0.1, 0.9, 0.1, 0.9]]])
    inside = np.array([[True, True, False, False]])
    case = score_case(
        "a", prediction, truth, 2, probabilities=probabilities, valid=inside, config=RANKING
    )
    assert case.mean_dice == 1.0
    assert case.further["auc"].values == (1.0, 1.0)
    assert case.further["average_precision"].values == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval_and_it_holds_the_mean():
    cases = some_cases()
    first, again = summarise(cases, NAMES, seed=3), summarise(cases, NAMES, seed=3)
    assert first.to_json() == again.to_json()
    low, high = first.headline.interval
    assert low < first.headline.mean < high
    assert first.headline.interval != summarise(cases, NAMES, seed=4).headline.interval


def test_the_order_of_cases_changes_no_interval():
    cases = some_cases()
    turned = summarise(cases[::-1], NAMES)
    assert turned.headline.interval == pytest.approx(summarise(cases, NAMES).headline.interval)


def test_copies_of_a_case_in_one_group_do_not_narrow_the_interval():
    cases = [score(f"c{k}", 10 + 9 * k, 20, 20, 20) for k in range(6)]
    copies = [
        CaseScore(f"{case.case}-{copy}", case.group, case.confusion)
        for case in cases
        for copy in range(10)
    ]
    assert summarise(copies, NAMES).headline.interval == pytest.approx(
        summarise(cases, NAMES).headline.interval
    )


@pytest.mark.parametrize(("groups", "has_interval"), [(1, False), (2, False), (3, True)])
def test_an_interval_needs_three_groups(groups, has_interval):
    summary = summarise(some_cases(6, groups), NAMES)
    assert (summary.headline.interval is not None) == has_interval
    assert ("interval 0." in summary.sentence()) == has_interval
    assert summary.n_groups == groups


def test_the_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    cases = some_cases(30, 30)
    values = np.array([case.mean_dice for case in cases])
    expected = bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", random_state=0
    ).confidence_interval
    assert summarise(cases, NAMES).headline.interval == pytest.approx(expected, abs=0.01)


count_lists = st.lists(
    st.tuples(*[st.integers(0, 50)] * 4, st.sampled_from("abcd"), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(count_lists)
def test_summaries_and_cases_survive_json(rows):
    cases = [score(f"c{k}", *row[:4], *row[4:]) for k, row in enumerate(rows)]
    summary = summarise(cases, NAMES, extra=("x",))
    text = json.dumps(summary.to_json(), allow_nan=False)
    assert Summary.from_json(json.loads(text)).to_json() == summary.to_json()
    for case in cases:
        again = CaseScore.from_json(json.loads(json.dumps(case.to_json(NAMES), allow_nan=False)))
        assert again == case


def test_ranking_values_survive_json():
    further = {"auc": ClassValues((0.25, math.nan), ("", "the class covers no pixel"))}
    case = CaseScore("a", "g", ((1, 2), (3, 4)), further=further)
    assert CaseScore.from_json(case.to_json(NAMES)).reason("auc", 1) == "the class covers no pixel"
    further = {"auc": ClassValues((0.25, 0.5), ("", ""))}
    case = CaseScore("a", "g", ((1, 2), (3, 4)), further=further)
    assert CaseScore.from_json(case.to_json(NAMES)) == case


def test_the_table_has_a_row_for_each_class_and_says_how_many_cases():
    table = summarise([score("full", 4, 0, 0, 0), score("half", 2, 1, 0, 3)], NAMES).table()
    assert table[0] == [
        "class",
        "Dice",
        "IoU",
        "precision",
        "recall",
        "specificity",
        "pixel accuracy",
        "n",
    ]
    assert [row[0] for row in table[1:]] == list(NAMES)
    assert table[2][-1] == "1–2 of 2"
    assert table[2][1] == f"{(1 + dice(score('h', 2, 1, 0, 3).counts(1))) / 2:.3f}"


def test_the_sentence_names_every_class_but_the_background():
    confusion = ((5, 0, 0), (0, 5, 0), (0, 0, 5))
    cases = [CaseScore(name, name, confusion) for name in "abc"]
    assert summarise(cases, ("back", "cell", "nucleus")).sentence("held-out image") == (
        "Mean Dice of cell and nucleus on 3 held-out images: 1.00 (95 % interval 1.00–1.00)"
    )


def test_what_cannot_be_summarised_is_refused():
    with pytest.raises(DataError, match="evaluate-no-cases"):
        summarise([], NAMES)
    with pytest.raises(DataError, match="evaluate-classes"):
        summarise([score("a", 1, 1, 1, 1)], ("a", "b", "c"))
    with pytest.raises(DataError, match=r"prediction of a.*mask-shape"):
        score_case("a", np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    mask = np.zeros((2, 2), int)
    with pytest.raises(DataError, match=r"probabilities of a.*mask-shape"):
        score_case("a", mask, mask, 2, probabilities=np.zeros((3, 2, 2)))
