"""Comparing methods: against scipy and worked examples, and what resampling must not do."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, wilcoxon

from maskwright.errors import DataError
from maskwright.evaluate.comparison import _mean_tau, compare_methods
from maskwright.evaluate.paired import holm, on_grid, signed_rank
from maskwright.evaluate.resampling import resampled_means


def compare(values, groups=None, **options):
    cases = [f"case {k}" for k in range(len(next(iter(values.values()))))]
    options = {"measure": "dice", "class_name": "cell", **options}
    return compare_methods(values, cases, groups or cases, **options)


def related(seed=0, n=20, shift=0.02, noise=0.01):
    """Two methods that find the same cases hard, the second better by ``shift``."""
    generator = np.random.default_rng(seed)
    hardness = generator.uniform(0.4, 0.9, n)
    return {
        "a": hardness + generator.normal(0, noise, n),
        "b": hardness + shift + generator.normal(0, noise, n),
    }


def test_holm_corrects_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_plain_value_and_bonferroni_and_keeps_the_order(p_values):
    corrected = np.array(holm(p_values))
    assert (corrected >= np.array(p_values) - 1e-15).all()
    assert (corrected <= np.minimum(1, len(p_values) * np.array(p_values)) + 1e-15).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1, len(p_values) * min(p_values)))


@pytest.mark.parametrize("n", [6, 12, 60])
def test_the_p_value_of_two_methods_is_that_of_scipy(n):
    values = related(n, n, shift=0.005)
    found = compare(values).differences[0]
    assert found.p_value == pytest.approx(wilcoxon(values["b"], values["a"]).pvalue)
    assert found.p_holm == found.p_value
    assert found.mean == pytest.approx(np.mean(values["b"] - values["a"]))


def test_groups_are_the_pairs_of_the_test():
    values = related(1, 24)
    groups = [f"patient {k % 8}" for k in range(24)]
    found = compare(values, groups).differences[0]
    means = {name: np.asarray(v).reshape(3, 8).mean(0) for name, v in values.items()}
    assert found.p_value == pytest.approx(wilcoxon(means["b"], means["a"]).pvalue)
    assert (found.n, found.n_groups) == (24, 8)


def test_copies_of_the_cases_of_a_group_change_neither_p_value_nor_interval():
    values = related(2, 9, shift=0.004)
    groups = [f"g{k}" for k in range(9)]
    many = {name: np.tile(v, 5) for name, v in values.items()}
    once, often = compare(values, groups), compare(many, groups * 5)
    assert often.differences[0].p_value == once.differences[0].p_value
    assert often.differences[0].interval == pytest.approx(once.differences[0].interval)


def test_a_zero_difference_counts_against_an_effect():
    five_of_six = np.array([0.0, 1, 2, 3, 4, 5])
    assert signed_rank(five_of_six) == (0.0625, None)
    assert signed_rank(np.array([1.0, 1, 2, 3, 4, 5])) == (0.03125, None)


def test_differences_that_differ_only_by_rounding_tie():
    a = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    differences = np.round(a + 0.1, 1) - a
    assert np.unique(differences).size > 1
    assert np.unique(on_grid(differences, a)).size == 1
    found = compare({"a": a, "b": np.round(a + 0.1, 1)}).differences[0]
    assert found.p_value == pytest.approx(2 / 2**7)


@pytest.mark.parametrize("n", [1, 5, 6])
def test_fewer_than_six_groups_have_no_p_value(n):
    found = compare(related(3, n, shift=0.5, noise=0)).differences[0]
    assert (found.p_value is None) == (found.p_holm is None) == (n < 6)
    if n < 6:
        assert f"{n} group" in found.reason
        assert "5 can never reach p = 0.05" in found.reason
        assert wilcoxon(np.arange(1.0, 6)).pvalue == 0.0625
    else:
        assert found.p_value == 0.03125
        assert found.reason is None


def test_identical_methods_share_all_ranks_with_p_one():
    values = related(4)["a"]
    found = compare({"x": values, "y": values, "z": values})
    assert all(d.p_value == d.p_holm == 1.0 for d in found.differences)
    assert all(d.reason == "every difference is 0" for d in found.differences)
    assert all(d.interval == (0.0, 0.0) for d in found.differences)
    assert all(m.mean_rank == 2.0 for m in found.methods)
    assert all(m.rank_share == pytest.approx((1 / 3,) * 3) for m in found.methods)
    assert found.kendall_tau == 1.0
    assert "equal to y" in found.sentence()


def test_a_method_that_is_better_everywhere_is_always_first():
    values = related(5, 12, shift=0.3, noise=0)
    found = compare(values)
    assert [m.name for m in found.methods] == ["b", "a"]
    assert found.methods[0].rank_share == (1.0, 0.0)
    assert [m.mean_rank for m in found.methods] == [1.0, 2.0]
    assert found.kendall_tau == 1.0
    assert found.differences[0].interval == pytest.approx((0.3, 0.3))
    assert found.differences[0].p_value == pytest.approx(2 / 2**12)


def test_the_smaller_value_wins_where_lower_is_better():
    found = compare(related(5, 12, shift=0.3), measure="hd95", higher_is_better=False)
    assert [m.name for m in found.methods] == ["a", "b"]
    assert found.methods[0].rank_share[0] == 1.0
    assert "a, " in found.sentence()
    assert "better than b by 0.299" in found.sentence()


def test_sharing_the_resamples_narrows_the_interval_of_a_difference():
    values = related(6, 15)
    groups = [f"g{k}" for k in range(15)]
    low, high = compare(values).differences[0].interval
    a = resampled_means(np.array(values["a"])[:, None], groups, 1000, 1)[:, 0]
    b = resampled_means(np.array(values["b"])[:, None], groups, 1000, 2)[:, 0]
    apart = np.subtract(*np.percentile(b - a, (97.5, 2.5)))
    assert low < 0.02 < high
    assert high - low < 0.2 * apart


def test_the_interval_of_a_method_is_that_of_its_resampled_means():
    values = related(7, 12)
    groups = [f"case {k}" for k in range(12)]
    means = resampled_means(np.array(values["b"])[:, None], groups, 1000, 0)[:, 0]
    best = compare(values).methods[0]
    assert best.interval == pytest.approx(np.percentile(means, (2.5, 97.5)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(3, 9), st.booleans())
def test_shares_of_methods_and_of_ranks_sum_to_one(seed, methods, n, higher):
    # Few distinct values, so that many methods tie.
    values = np.random.default_rng(seed).integers(0, 3, (methods, n)) / 2
    named = {f"m{k}": row for k, row in enumerate(values)}
    found = compare(named, higher_is_better=higher, resamples=50)
    shares = np.array([m.rank_share for m in found.methods])
    assert shares.sum(0) == pytest.approx(1)
    assert shares.sum(1) == pytest.approx(1)
    ranks = rankdata(-values if higher else values, axis=0).mean(1)
    assert [m.mean_rank for m in found.methods] == pytest.approx(
        [ranks[int(m.name[1:])] for m in found.methods]
    )
    assert -1 <= found.kendall_tau <= 1 + 1e-12


def test_the_stability_is_the_mean_of_scipys_kendall_tau_b():
    generator = np.random.default_rng(8)
    full, drawn = generator.integers(0, 4, 5) / 4, generator.integers(0, 4, (200, 5)) / 4
    expected = [kendalltau(full, row).statistic for row in drawn]
    kept = ~np.isnan(expected)
    assert _mean_tau(full, drawn[kept]) == pytest.approx(np.array(expected)[kept].mean())


def test_the_same_seed_gives_the_same_comparison_and_the_order_of_methods_changes_no_number():
    values = related(9)
    first = compare(values, seed=3)
    assert first == compare(values, seed=3)
    assert first.methods[0].interval != compare(values, seed=4).methods[0].interval
    turned = compare(dict(reversed(values.items())), seed=3)
    assert turned.methods == first.methods
    assert turned.difference("a", "b").mean == pytest.approx(first.difference("a", "b").mean)
    assert turned.difference("a", "b").interval == pytest.approx(first.differences[0].interval)
    assert turned.difference("a", "b").p_value == first.differences[0].p_value


def test_a_case_without_a_value_in_one_method_leaves_all_of_them():
    values = {name: np.array(v) for name, v in related(10, 8).items()}
    values["a"][2], values["b"][5], values["a"][5] = np.nan, np.nan, np.inf
    found = compare(values)
    kept = [k for k in range(8) if k not in (2, 5)]
    assert found.n == found.n_groups == 6
    assert [(d.case, d.reason) for d in found.dropped] == [
        ("case 2", "no value for a"),
        ("case 5", "no value for a, b"),
    ]
    assert found.methods[0].mean == pytest.approx(values["b"][kept].mean())
    assert "on 6 cases of 6 groups; 2 left out." in found.sentence()


def test_fewer_than_three_groups_have_no_interval_and_no_stability():
    found = compare(related(11, 6), groups=["left", "right"] * 3)
    assert all(m.interval is None and m.rank_share is None for m in found.methods)
    assert found.kendall_tau is None
    assert found.differences[0].interval is None
    assert "no interval below 3 groups, no p-value below 6 groups" in found.sentence()
    assert found.table()[1][3] == "–"


def test_json_and_table_hold_every_method():
    values = {**related(12), "c": related(12)["a"] - 0.2}
    found = compare(values)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [m["name"] for m in plain["methods"]] == [row[0] for row in found.table()[1:]]
    assert [(d["a"], d["b"]) for d in plain["differences"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert len({len(row) for row in found.table()}) == 1
    assert found.table()[3][4].startswith("-0.")
    assert found.table()[3][5] == "< 0.001"
    assert "p < 0.001, Holm's correction" in found.sentence()
    assert not math.isnan(found.kendall_tau)


@pytest.mark.parametrize(
    ("values", "cases", "groups", "code"),
    [
        ({"a": [1.0]}, ["x"], ["x"], "compare-one"),
        ({"a": [1.0], "b": [1.0, 2.0]}, ["x"], ["x"], "compare-length"),
        ({"a": [1.0], "b": [1.0]}, ["x"], ["x", "y"], "compare-length"),
        ({"a": [1.0, 2.0], "b": [1.0, 2.0]}, ["x", "x"], ["x", "y"], "compare-case-twice"),
        ({"a": [1.0, math.nan], "b": [math.nan, 1.0]}, ["x", "y"], ["x", "y"], "compare-no-case"),
    ],
)
def test_what_cannot_be_compared_is_refused(values, cases, groups, code):
    with pytest.raises(DataError, match=code):
        compare_methods(values, cases, groups, measure="dice", class_name="cell")


def test_a_pair_that_was_not_compared_is_refused_by_name():
    with pytest.raises(DataError, match="compare-unknown"):
        compare(related()).difference("a", "x")
