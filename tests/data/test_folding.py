"""Folds: every case is held out once, groups stay whole, rare classes are spread."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from maskwright.data.case import Case
from maskwright.data.folding import split_folds
from maskwright.data.split import Split
from maskwright.errors import DataError


def _cases(groups: list[str]) -> list[Case]:
    return [Case(f"{i:03d}", Path(f"{i:03d}.png"), None, group) for i, group in enumerate(groups)]


def _folds(cases: list[Case], count: int, seed: int = 0, **more: object) -> tuple[Split, ...]:
    settings: dict[str, object] = {"validation_share": 0.2, "sequence": False, **more}
    return split_folds(cases, count=count, seed=seed, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(8))
def test_each_case_is_held_out_once_and_no_group_lies_on_two_sides(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 6))
    groups = [f"patient {random.integers(4 * count)}" for _ in range(60)]
    cases = _cases(groups)
    group_of = {case.name: case.group for case in cases}
    folds = _folds(cases, count, seed)
    assert len(folds) == count
    assert Counter(name for fold in folds for name in fold.test) == Counter([*group_of])
    for fold in folds:
        sides = [{group_of[name] for name in part}
                 for part in (fold.train, fold.validation, fold.test)]  # fmt: skip
        assert sum(map(len, sides)) == len(set(groups)), "a group lies on two sides"
        assert all(sides)


def test_folds_differ_by_no_more_than_the_largest_group() -> None:
    sizes = [9, 5, 5, 4, 3, 3, 2, 2, 1, 1]
    cases = _cases([f"g{k}" for k, n in enumerate(sizes) for _ in range(n)])
    held = [len(fold.test) for fold in _folds(cases, 3)]
    assert max(held) - min(held) <= max(sizes)


def test_the_seed_decides() -> None:
    cases = _cases([str(i) for i in range(30)])
    assert _folds(cases, 5, 1) == _folds(cases, 5, 1)
    assert _folds(cases, 5, 1) != _folds(cases, 5, 2)


def test_a_rare_class_is_spread_so_that_every_fold_learns_it() -> None:
    cases = _cases([str(i) for i in range(20)])
    present = {case.name: (0, 1) if i in (3, 4, 5) else (0,) for i, case in enumerate(cases)}
    for seed in range(5):
        folds = _folds(cases, 3, seed, present=present)
        assert [sum(1 in present[name] for name in fold.test) for fold in folds] == [1, 1, 1]


def test_slices_of_a_stack_are_held_out_in_blocks() -> None:
    folds = _folds(_cases([str(i) for i in range(11)]), 4, sequence=True)
    held = [[int(name) for name in fold.test] for fold in folds]
    assert held == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        _folds(_cases(["a", "a", "b", "b", "c"]), 4)
    assert caught.value.code == "folds-groups"
    with pytest.raises(DataError) as caught:
        _folds(_cases(["a", "b", "c"]), 2)
    assert caught.value.code == "folds-groups"


def test_a_class_of_one_group_alone_is_refused() -> None:
    cases = _cases(["a", "b", "c", "d", "e"])
    present = {case.name: (0, 1) if case.group == "c" else (0,) for case in cases}
    with pytest.raises(DataError, match=r"class 1 \(nucleus\) in c alone") as caught:
        _folds(cases, 2, present=present, names=("nothing", "nucleus"))
    assert caught.value.code == "folds-class"
