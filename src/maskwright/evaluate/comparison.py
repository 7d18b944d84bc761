"""Which method is better, and how sure that is: paired tests, intervals and stable ranks.

Methods are compared on the same cases. What is drawn and tested is the group (patient, animal),
because cases of one group are alike::

    values of every case ──▶ means, and a rank in every case
            │
            ├─ groups drawn anew, the same for all methods ──▶ intervals, stability of the ranks
            └─ mean difference of each group ──▶ signed-rank test ──▶ Holm's correction
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.paired import MIN_PAIRS, holm, on_grid, signed_rank
from maskwright.evaluate.resampling import MIN_GROUPS, percentile_interval, resampled_means

Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedDifference:
    """How much one method differs from another on the same cases.

    Args:
        a: The method that is subtracted.
        b: The method it is subtracted from.
        n: Cases.
        n_groups: Groups, the pairs of the test.
        mean: Mean of b − a over cases.
        interval: 95 % bootstrap interval of that mean over groups; ``None`` below three groups.
        p_value: Two-sided p-value of the Wilcoxon signed-rank test on the groups' mean
            differences; ``None`` below six groups.
        p_holm: The same, corrected by Holm's method for all pairs of methods.
        reason: Why there is no p-value, or why it is 1 without a test.
    """

    a: str
    b: str
    n: int
    n_groups: int
    mean: float
    interval: Interval | None
    p_value: float | None
    p_holm: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Ranking:
    """One method among the others.

    Args:
        name: The method.
        mean: Mean over cases.
        interval: 95 % bootstrap interval over groups; ``None`` below three groups.
        mean_rank: Its rank in each case, 1 the best, ties sharing their ranks; mean over cases.
        rank_share: Share of the resamples in which its mean comes 1st, 2nd and so on, a tie
            counting in equal parts; ``None`` below three groups.
    """

    name: str
    mean: float
    interval: Interval | None
    mean_rank: float
    rank_share: tuple[float, ...] | None


@dataclass(frozen=True)
class Dropped:
    """A case that left the comparison, and why."""

    case: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Methods compared on one measure of one class.

    Args:
        measure: The measure.
        class_name: The class.
        higher_is_better: Whether a larger value is better.
        n: Cases in which every method has a value.
        n_groups: Groups of these cases.
        methods: Every method, best first.
        differences: Every pair of methods, in the order in which they were given.
        kendall_tau: Kendall's tau-b of the ranking in a resample with the full ranking, mean
            over resamples: 1 where the ranking never changes; ``None`` below three groups.
        dropped: Cases in which a method has no value.
        resamples: Number of resamples.
    """

    measure: str
    class_name: str
    higher_is_better: bool
    n: int
    n_groups: int
    methods: tuple[Ranking, ...]
    differences: tuple[PairedDifference, ...]
    kendall_tau: float | None
    dropped: tuple[Dropped, ...]
    resamples: int

    def difference(self, a: str, b: str) -> PairedDifference:
        """The difference b − a of two methods, whichever order they were compared in.

        Raises:
            DataError: For two names that were not compared.
        """
        for found in self.differences:
            if (found.a, found.b) == (a, b):
                return found
            if (found.b, found.a) == (a, b):
                ends = found.interval
                turned = None if ends is None else (-ends[1], -ends[0])
                return PairedDifference(
                    **{**vars(found), "a": a, "b": b, "mean": -found.mean, "interval": turned}
                )
        raise DataError(
            "compare-unknown",
            "comparison",
            expected=f"two of {', '.join(method.name for method in self.methods)}",
            found=f"{a} and {b}",
            remedy="use two of these names",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def table(self) -> list[list[str]]:
        """A header and one row for each method, best first, as text."""
        rows = [["method", self.measure, "mean rank", "ranked 1st", "from the best", "p (Holm)"]]
        best = self.methods[0].name
        for method in self.methods:
            row = [
                method.name,
                _with_interval(f"{method.mean:.3f}", method.interval, "{:.3f}"),
                f"{method.mean_rank:.2f}",
                "–" if method.rank_share is None else f"{method.rank_share[0]:.0%}",
            ]
            if method.name == best:
                rows.append([*row, "", ""])
                continue
            gap = self.difference(best, method.name)
            to_best = _with_interval(f"{gap.mean:+.3f}", gap.interval, "{:+.3f}")
            rows.append([*row, to_best, "–" if gap.p_holm is None else _p_text(gap.p_holm)])
        return rows

    def sentence(self) -> str:
        """The best method, its lead over the second and how sure it is, in words.

        Example:
            >>> cases = [f"case {k}" for k in range(6)]
            >>> values = {"otsu": [0.5, 0.6, 0.7, 0.6, 0.5, 0.4], "u-net": [0.8] * 6}
            >>> compare_methods(values, cases, cases, measure="dice", class_name="cell").sentence()
            'Best mean dice of cell: u-net, 0.800, better than otsu by 0.250 (95 % interval 0.167
            to 0.317, p = 0.031) on 6 cases of 6 groups.'
        """
        best, second = self.methods[:2]
        order = (second, best) if self.higher_is_better else (best, second)
        gap = self.difference(order[0].name, order[1].name)
        notes = [f"no interval below {MIN_GROUPS} groups"]
        if gap.interval is not None:
            notes = ["95 % interval {:.3f} to {:.3f}".format(*gap.interval)]
        if gap.p_holm is None:
            notes.append(f"no p-value below {MIN_PAIRS} groups")
        else:
            several = ", Holm's correction" if len(self.differences) > 1 else ""
            p_text = _p_text(gap.p_holm)
            notes.append(f"p {p_text if p_text.startswith('<') else f'= {p_text}'}{several}")
        name = second.name
        lead = f"better than {name} by {gap.mean:.3f}" if gap.mean else f"equal to {name}"
        left_out = f"; {len(self.dropped)} left out" if self.dropped else ""
        return (
            f"Best mean {self.measure} of {self.class_name}: {best.name}, {best.mean:.3f}, {lead} "
            f"({', '.join(notes)}) on {_number(self.n, 'case')} of "
            f"{_number(self.n_groups, 'group')}{left_out}."
        )


def compare_methods(
    values: Mapping[str, Sequence[float]],
    cases: Sequence[str],
    groups: Sequence[str],
    *,
    measure: str,
    class_name: str,
    higher_is_better: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on the same cases, by paired tests and by resampling groups.

    A case without a value (NaN) in any method leaves all of them and is listed. Groups whose
    difference is 0 are ranked with the others and then set aside (Pratt), so that they count
    against a difference. Where all are 0 the p-value is 1.

    Args:
        values: For each method the value of each case.
        cases: Name of each case.
        groups: What must not be split, such as the patient of each case.
        measure: Name of the measure.
        class_name: The class it is of.
        higher_is_better: Whether a larger value is better.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The comparison. P-values are corrected over its pairs, not over several measures.

    Raises:
        DataError: For fewer than two methods, lists of unequal length, a case named twice, or
            when no case has a value in every method.

    Source: Wilcoxon 1945, Biometrics Bulletin 1:80; Pratt 1959, Journal of the American
    Statistical Association 54:655; Holm 1979, Scandinavian Journal of Statistics 6:65; stability
    of ranks as in Wiesenfarth et al. 2021, Scientific Reports 11:2369.

    Example:
        >>> found = compare_methods(
        ...     {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.4, 0.5]}, ["x", "y", "z"], ["x", "y", "z"],
        ...     measure="dice", class_name="cell")
        >>> [method.name for method in found.methods], found.methods[0].rank_share
        (['b', 'a'], (1.0, 0.0))
        >>> found.differences[0].reason
        '3 groups are too few: 6 are needed, as 5 can never reach p = 0.05'
    """
    names = tuple(values)
    _check(values, cases, groups)
    all_NM = np.array([values[name] for name in names], np.float64).T
    missing_NM = ~np.isfinite(all_NM)
    kept_N = np.array([not row_M.any() for row_M in missing_NM])
    dropped = tuple(
        Dropped(cases[row], "no value for " + ", ".join(itertools.compress(names, missing_NM[row])))
        for row in np.flatnonzero(~kept_N).tolist()
    )
    if not kept_N.any():
        raise DataError(
            "compare-no-case",
            f"comparison of {measure} of {class_name}",
            expected="at least one case with a value in every method",
            found="none",
            remedy="compare another measure, or leave out the method without values",
        )
    # Differences that are only rounding must tie, so all values are laid on one fine grid.
    values_NM = on_grid(all_NM[kept_N])
    kept_groups = list(itertools.compress(groups, kept_N))
    n, n_groups = len(kept_groups), len(set(kept_groups))
    means_RM = resampled_means(values_NM, kept_groups, resamples, seed)
    enough = n_groups >= MIN_GROUPS
    mean_M = values_NM.mean(0)
    sign = -1 if higher_is_better else 1
    below_NM, tied_NM = _ties(sign * values_NM)
    mean_rank_M = (below_NM + (tied_NM + 1) / 2).mean(0)
    share_MP = _rank_shares(sign * on_grid(means_RM))
    methods = [
        Ranking(
            name,
            float(mean_M[m]),
            percentile_interval(means_RM[:, m]) if enough else None,
            float(mean_rank_M[m]),
            tuple(share_MP[m].tolist()) if enough else None,
        )
        for m, name in enumerate(names)
    ]
    return Comparison(
        measure,
        class_name,
        higher_is_better,
        n,
        n_groups,
        tuple(sorted(methods, key=lambda method: sign * method.mean)),
        _differences(names, values_NM, kept_groups, means_RM),
        _mean_tau(on_grid(mean_M[None])[0], on_grid(means_RM)) if enough else None,
        dropped,
        resamples,
    )


def _differences(
    names: Sequence[str],
    values_NM: NDArray[np.float64],
    groups: Sequence[str],
    means_RM: NDArray[np.float64],
) -> tuple[PairedDifference, ...]:
    _, group_N = np.unique(np.array(groups, dtype=object), return_inverse=True)
    cases_G = np.bincount(group_N)
    enough = cases_G.size >= MIN_GROUPS
    pairs = list(itertools.combinations(range(len(names)), 2))
    differences_NP = np.stack([values_NM[:, b] - values_NM[:, a] for a, b in pairs], axis=1)
    differences_GP = np.stack(
        [np.bincount(group_N, column) / cases_G for column in differences_NP.T], axis=1
    )
    tests = [signed_rank(column) for column in on_grid(differences_GP, values_NM).T]
    corrected = holm([p for p, _ in tests if p is not None]) or (None,) * len(pairs)
    return tuple(
        PairedDifference(
            names[a],
            names[b],
            values_NM.shape[0],
            cases_G.size,
            float(differences_NP[:, pair].mean()),
            percentile_interval(means_RM[:, b] - means_RM[:, a]) if enough else None,
            p,
            p_holm,
            reason,
        )
        for pair, ((a, b), (p, reason), p_holm) in enumerate(
            zip(pairs, tests, corrected, strict=True)
        )
    )


def _ties(badness_RM: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many methods of a row are before each one, and how many share its place, itself too."""
    below_RM = (badness_RM[:, None, :] < badness_RM[:, :, None]).sum(2)
    tied_RM = (badness_RM[:, None, :] == badness_RM[:, :, None]).sum(2)
    return below_RM, tied_RM


def _rank_shares(badness_RM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the rows in which each method takes each place, shape (methods, places)."""
    below_RM, tied_RM = _ties(badness_RM)
    place_P = np.arange(badness_RM.shape[1])
    taken_RMP = (place_P >= below_RM[..., None]) & (place_P < (below_RM + tied_RM)[..., None])
    shares_MP: NDArray[np.float64] = (taken_RMP / tied_RM[..., None]).mean(0)
    return shares_MP


def _mean_tau(full_M: NDArray[np.float64], means_RM: NDArray[np.float64]) -> float:
    """Kendall's tau-b of each row with the full ranking, mean over rows."""
    first, second = np.triu_indices(full_M.size, 1)
    full_P = np.sign(full_M[first] - full_M[second])
    drawn_RP = np.sign(means_RM[:, first] - means_RM[:, second])
    untied_R = (full_P**2).sum() * (drawn_RP**2).sum(1)
    # With all methods tied on one side there is no order to agree with.
    same_R = np.array([np.array_equal(row, full_P) for row in drawn_RP], np.float64)
    tau_R = np.divide(drawn_RP @ full_P, np.sqrt(untied_R), out=same_R, where=untied_R > 0)
    return float(tau_R.mean())


def _check(
    values: Mapping[str, Sequence[float]], cases: Sequence[str], groups: Sequence[str]
) -> None:
    if len(values) < 2:
        raise DataError(
            "compare-one",
            "comparison",
            expected="at least two methods",
            found=str(len(values)),
            remedy="name another run or a baseline to compare with",
        )
    lengths = {"groups": len(groups), **{name: len(column) for name, column in values.items()}}
    for name, length in lengths.items():
        if length != len(cases):
            raise DataError(
                "compare-length",
                name,
                expected=f"one entry for each of {len(cases)} cases",
                found=str(length),
                remedy="score all methods on the same cases",
            )
    twice = [case for case, times in Counter(cases).items() if times > 1]
    if twice:
        raise DataError(
            "compare-case-twice",
            "comparison",
            expected="each case once",
            found=f"{twice[0]} more than once",
            remedy="give every case a name of its own",
        )


def _with_interval(mean: str, interval: Interval | None, form: str) -> str:
    if interval is None:
        return mean
    low, high = (form.format(end) for end in interval)
    return f"{mean} ({low} to {high})"


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
