"""Cross-validation: every case is held out once, cases of one group together.

::

    fold 1     held out | train        train        train        validation
    fold 2     train    | held out     train        validation   train
    fold 3     train      validation   held out  |  train        train      …

Slices of a stack are cut into as many blocks, in their order.

Source: Stone 1974, Journal of the Royal Statistical Society B 36, 111-147.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

import numpy as np

from maskwright.data.case import Case
from maskwright.data.problem import listed
from maskwright.data.split import Split, cases_by_group, split_cases
from maskwright.errors import DataError

_FEWEST_LEARNT_FROM = 2


def split_folds(
    cases: Sequence[Case],
    *,
    count: int,
    seed: int,
    validation_share: float,
    sequence: bool,
    present: Mapping[str, Sequence[int]] | None = None,
    names: Sequence[str] = (),
) -> tuple[Split, ...]:
    """One split for each fold; its test part is what the fold holds out.

    Groups with rare classes are dealt out first, each to the fold that has fewest of its rarest
    class and then fewest cases. What a fold does not hold out is divided into training and
    validation, as :func:`maskwright.data.split.split_cases` does it.

    Args:
        cases: In natural order.
        count: Number of folds, at least two.
        seed: Seed of the draw.
        validation_share: Wanted share of the other cases for validation; at least one group.
        sequence: Whether the cases are slices of a stack.
        present: Case name → classes in its mask; none are known by default.
        names: Names of the classes, for messages.

    Returns:
        The folds, each with its parts in the order of the cases.

    Raises:
        DataError: ``folds-groups`` for too few groups, ``folds-class`` for a class of one group
            only, which nothing would be learnt of while that group is held out.

    Example:
        >>> from pathlib import Path
        >>> cases = [Case(str(i), Path(f"{i}.png"), None, str(i)) for i in range(6)]
        >>> folds = split_folds(cases, count=3, seed=0, validation_share=0.2, sequence=True)
        >>> [fold.test for fold in folds]
        [('0', '1'), ('2', '3'), ('4', '5')]
    """
    present = present or {}
    sizes = cases_by_group(cases)
    classes: dict[str, set[int]] = defaultdict(set)
    for case in cases:
        classes[case.group] |= set(present.get(case.name, ()))
    if len(sizes) < max(count, _FEWEST_LEARNT_FROM + 1):
        raise _too_few(count, list(sizes))
    holders = Counter(index for several in classes.values() for index in several)
    for index in sorted(index for index, number in holders.items() if number == 1):
        only = next(group for group, several in classes.items() if index in several)
        name = names[index] if index < len(names) else str(index)
        raise DataError(
            "folds-class",
            "--folds",
            expected="every class in at least two groups of images",
            found=f"class {index} ({name}) in {only} alone",
            remedy="annotate more images of it, join the class to another (--labels may give "
            "several values one name), or train without --folds",
        )
    if sequence:
        held = _blocks(sizes, count)
    else:
        held = _dealt(sizes, classes, holders, count, np.random.default_rng(seed))
    return tuple(
        _fold(cases, groups, count, seed, validation_share, sequence, present) for groups in held
    )


def _fold(
    cases: Sequence[Case],
    held: Set[str],
    count: int,
    seed: int,
    validation_share: float,
    sequence: bool,
    present: Mapping[str, Sequence[int]],
) -> Split:
    rest = [case for case in cases if case.group not in held]
    if len({case.group for case in rest}) < _FEWEST_LEARNT_FROM:
        raise _too_few(count, sorted({case.group for case in cases}))
    drawn = split_cases(
        rest,
        seed=seed,
        validation_share=validation_share,
        test_share=0.0,
        sequence=sequence,
        present=present,
    )
    test = tuple(case.name for case in cases if case.group in held)
    return Split(drawn.train, drawn.validation, test)


def _blocks(sizes: Mapping[str, int], count: int) -> list[set[str]]:
    """Consecutive groups, about as many in each block."""
    parts = np.array_split(np.arange(len(sizes)), count)
    groups = list(sizes)
    return [{groups[i] for i in part} for part in parts]


def _dealt(
    sizes: Mapping[str, int],
    classes: Mapping[str, Set[int]],
    holders: Mapping[int, int],
    count: int,
    random: np.random.Generator,
) -> list[set[str]]:
    """Groups dealt out so that folds are alike in classes and in size."""
    groups = list(sizes)
    shuffled = [groups[i] for i in random.permutation(len(groups))]

    def rarity(group: str) -> tuple[int, int]:
        """Groups that share its rarest class, and that class; more than all where none is known."""
        return min(((holders[i], i) for i in classes.get(group, ())), default=(len(groups) + 1, -1))

    folds: list[set[str]] = [set() for _ in range(count)]
    for group in sorted(shuffled, key=lambda g: (rarity(g), -sizes[g])):
        rarest = rarity(group)[1]
        fullness = [
            (sum(rarest in classes.get(g, ()) for g in fold), sum(sizes[g] for g in fold))
            for fold in folds
        ]
        folds[fullness.index(min(fullness))].add(group)
    return folds


def _too_few(count: int, groups: Sequence[str]) -> DataError:
    return DataError(
        "folds-groups",
        f"--folds {count}",
        expected=f"more groups of images than {max(count, _FEWEST_LEARNT_FROM + 1) - 1}",
        found=f"{len(groups)} ({listed(list(groups))})",
        remedy="use fewer folds, or add images of other subjects",
    )
