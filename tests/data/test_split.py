"""Parts that share nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.data.dataset import Case
from maskwright.data.split import Split, read_split, split_cases, write_split
from maskwright.data.split_check import check_split
from maskwright.errors import DataError


def _cases(groups: list[str]) -> list[Case]:
    return [Case(f"c{i:02d}", Path(f"c{i:02d}.png"), None, g) for i, g in enumerate(groups)]


def _single(count: int) -> list[Case]:
    return _cases([f"c{i:02d}" for i in range(count)])


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=40),
    st.integers(0, 99),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_parts_cover_all_cases_once_and_keep_groups_whole(
    groups: list[str], seed: int, validation: float, test: float, sequence: bool
) -> None:
    cases = _cases(groups)
    if len(set(groups)) < 2:
        with pytest.raises(DataError):
            split_cases(
                cases, seed=seed, validation_share=validation, test_share=test, sequence=sequence
            )
        return
    split = split_cases(
        cases, seed=seed, validation_share=validation, test_share=test, sequence=sequence
    )
    assert sorted(split.train + split.validation + split.test) == [c.name for c in cases]
    assert split.train
    assert split.validation
    assert bool(split.test) == (len(set(groups)) >= 4 and test > 0)
    assert check_split(split, cases, digests={}) == []
    assert split == split_cases(
        cases, seed=seed, validation_share=validation, test_share=test, sequence=sequence
    )


def test_shares_are_those_wanted() -> None:
    split = split_cases(_single(100), seed=1, validation_share=0.15, test_share=0.2, sequence=False)
    assert (len(split.train), len(split.validation), len(split.test)) == (65, 15, 20)


def test_seeds_draw_differently() -> None:
    drawn = {
        split_cases(
            _single(30), seed=seed, validation_share=0.2, test_share=0.2, sequence=False
        ).test
        for seed in range(5)
    }
    assert len(drawn) == 5


@pytest.mark.parametrize("seed", range(4))
def test_a_sequence_is_cut_into_three_blocks_with_training_between(seed: int) -> None:
    cases = _single(30)
    split = split_cases(cases, seed=seed, validation_share=0.15, test_share=0.2, sequence=True)
    order = [case.name for case in cases]
    blocks = [
        split.validation + split.train + split.test,
        split.test + split.train + split.validation,
    ]
    assert tuple(order) in blocks
    assert (len(split.validation), len(split.test)) == (4, 6)


def _learnt(split: Split, present: dict[str, set[int]]) -> set[int]:
    return set().union(*(present[name] for name in split.train))


@given(st.integers(0, 99), st.integers(14, 40), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_classes_at_the_ends_of_a_stack_or_in_one_image_only_stay_in_training(
    seed: int, count: int, ends: int, sequence: bool
) -> None:
    cases = _single(count)
    present: dict[str, set[int]] = {case.name: {0} for case in cases}
    for index in range(ends):
        present[cases[index].name] |= {1, index + 2}
        present[cases[-1 - index].name] |= {20 + index}
    split = split_cases(
        cases,
        seed=seed,
        validation_share=0.15,
        test_share=0.2,
        sequence=sequence,
        present={name: sorted(classes) for name, classes in present.items()},
    )
    assert _learnt(split, present) == set().union(*present.values())
    assert split.validation
    assert split.test
    if sequence:
        at = {case.name: index for index, case in enumerate(cases)}
        for part in (split.validation, split.test):
            assert at[part[-1]] - at[part[0]] == len(part) - 1
        pairs = [(at[a], at[b]) for a in split.validation for b in split.test]
        assert min(abs(a - b) for a, b in pairs) > 1


def test_classes_in_every_image_change_no_split() -> None:
    cases = _single(30)
    shares = {"seed": 3, "validation_share": 0.2, "test_share": 0.2}
    for sequence in (True, False):
        known = {case.name: [0, 1] for case in cases}
        assert split_cases(cases, **shares, sequence=sequence, present=known) == split_cases(
            cases, **shares, sequence=sequence
        )


def test_a_class_of_a_single_image_beside_another_one_is_held_out_last() -> None:
    cases = _cases(["a", "b", "c"])
    present = {"c00": [0, 1], "c01": [0, 2], "c02": [0]}
    split = split_cases(
        cases, seed=0, validation_share=0.5, test_share=0.0, sequence=False, present=present
    )
    assert split.validation == ("c02",)


def test_few_groups_leave_no_test() -> None:
    split = split_cases(_single(3), seed=0, validation_share=0.15, test_share=0.2, sequence=False)
    assert (len(split.train), len(split.validation), split.test) == (2, 1, ())


def test_one_group_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        split_cases(
            _cases(["a", "a"]), seed=0, validation_share=0.1, test_share=0.1, sequence=False
        )
    assert caught.value.code == "split-groups"


def test_a_written_split_comes_back(tmp_path: Path) -> None:
    cases = _single(12)
    split = split_cases(cases, seed=3, validation_share=0.2, test_share=0.2, sequence=False)
    write_split(tmp_path / "s.json", split)
    assert (
        read_split(tmp_path / "s.json", cases, seed=9, validation_share=0.5, sequence=False)
        == split
    )


def _read(tmp_path: Path, content: object, cases: list[Case], sequence: bool = False) -> Split:
    path = tmp_path / "s.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_split(path, cases, seed=0, validation_share=0.2, sequence=sequence)


def test_patterns_and_file_names_are_names(tmp_path: Path) -> None:
    split = _read(
        tmp_path, {"train": ["c0*"], "validation": ["c10.png"], "test": ["c1[12]"]}, _single(13)
    )
    assert split.train == tuple(f"c0{i}" for i in range(10))
    assert (split.validation, split.test) == (("c10",), ("c11", "c12"))


def test_names_with_brackets_are_found_as_they_are(tmp_path: Path) -> None:
    cases = [Case(n, Path(f"{n}.png"), None, n) for n in ("a[1]", "a1", "b")]
    assert _read(tmp_path, {"train": ["a[1]"], "validation": ["b"]}, cases).train == ("a[1]",)


def test_without_validation_it_is_drawn_from_training_by_group(tmp_path: Path) -> None:
    cases = _cases(["a", "a", "b", "b", "c", "c", "d", "d", "t", "t"])
    split = _read(
        tmp_path,
        {"train": ["c00", "c01", "c02", "c03", "c04", "c05", "c06", "c07"], "test": ["c08", "c09"]},
        cases,
    )
    assert len(split.validation) == 2
    assert split.test == ("c08", "c09")
    assert check_split(split, cases, digests={}) == []


def test_validation_of_a_sequence_is_a_block_at_an_end_of_training(tmp_path: Path) -> None:
    split = _read(tmp_path, {"train": ["c0*", "c1*"], "test": ["c2*"]}, _single(30), sequence=True)
    assert split.validation in {
        tuple(f"c{i:02d}" for i in range(4)),
        tuple(f"c{i:02d}" for i in range(16, 20)),
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "split-json"),
        ([1], "split-json"),
        ({"train": ["c00"], "tset": []}, "split-key"),
        ({"train": "c00"}, "split-key"),
        ({"train": ["zebra"]}, "split-unknown-name"),
        ({"train": ["c00"], "test": ["c0*"]}, "split-overlap"),
        ({"test": ["c00"]}, "split-empty"),
        ({"train": ["c00"]}, "split-groups"),
    ],
)
def test_files_that_make_no_split_are_refused(tmp_path: Path, content: object, code: str) -> None:
    with pytest.raises(DataError) as caught:
        _read(tmp_path, content, _single(5))
    assert caught.value.code == code


def test_a_missing_split_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_split(tmp_path / "no.json", _single(3), seed=0, validation_share=0.2, sequence=False)
    assert caught.value.code == "split-json"


def test_groups_across_parts_are_refused() -> None:
    problems = check_split(Split(("c00",), ("c01",), ()), _cases(["a", "a"]), digests={})
    assert [(p.code, p.level) for p in problems] == [("split-group", "refuse")]
    assert "c00 (train), c01 (validation)" in problems[0].message


def test_the_same_image_in_two_parts_is_refused(tmp_path: Path) -> None:
    cases = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        cases.append(Case(name, path, None, name))
    problems = check_split(Split(("a",), ("c",), ("b",)), cases)
    assert [(p.code, p.level) for p in problems] == [("split-duplicate", "refuse")]
    assert check_split(Split(("a", "b"), ("c",), ()), cases) == []


def test_a_class_absent_from_training_is_refused() -> None:
    problems = check_split(
        Split(("c00",), ("c01",), ()),
        _single(2),
        digests={},
        present={"c00": (0, 1), "c01": (0, 2)},
        names=("no", "a", "b"),
    )
    assert [(p.code, p.level) for p in problems] == [("split-class-absent", "refuse")]
    assert "class 2 (b)" in problems[0].message
