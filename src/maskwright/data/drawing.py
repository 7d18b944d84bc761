"""Which groups are held out, so that every class is still there to learn from.

::

    apart       a group may be held out while another one left for training has its classes
    a sequence  validation | training | test, both blocks moved inwards where a class lies at an
                end only:   training | validation | training | test | training
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Wanted:
    """How many cases each part should have.

    Args:
        validation: For validation; at least one group is taken.
        test: For the test; no group is taken for 0.
    """

    validation: float
    test: float


def draw_groups(
    sizes: Mapping[str, int],
    classes: Mapping[str, Set[int]],
    wanted: Wanted,
    *,
    seed: int,
    sequence: bool,
) -> tuple[set[str], set[str]]:
    """Draw the groups of validation and test.

    Args:
        sizes: Group → number of its cases, in natural order; at least two groups.
        classes: Group → classes that its masks show; empty where they are not known.
        wanted: Size of the parts.
        seed: Seed of the draw.
        sequence: Whether the groups are slices of a stack, which are cut into blocks.

    Returns:
        Groups of validation and of the test; all others are for training. The last group with a
        class is held out only where nothing else is left to hold out.

    Example:
        >>> sizes, classes = dict.fromkeys("abcdef", 1), {"a": {2}, "f": {3}}
        >>> [sorted(part) for part in
        ...  draw_groups(sizes, classes, Wanted(1, 1), seed=0, sequence=True)]
        [['b'], ['e']]
    """
    random = np.random.default_rng(seed)
    names = list(sizes)
    if not sequence:
        order = [names[i] for i in random.permutation(len(names))]
        return _draw_apart(order, sizes, classes, wanted)
    order = names[::-1] if random.integers(2) else names
    validation, test = _draw_apart(order, sizes, {}, wanted)
    if not _lacking(classes, [name for name in names if name not in validation | test]):
        return validation, test
    found = _move_blocks(order, classes, len(validation), len(test))
    return found or (validation, test)


def _draw_apart(
    order: Sequence[str],
    sizes: Mapping[str, int],
    classes: Mapping[str, Set[int]],
    wanted: Wanted,
) -> tuple[set[str], set[str]]:
    """Groups for the test from the front of the order, for validation from its end."""
    # One group is kept for validation and one for training, whatever the shares.
    test = _take(order, sizes, classes, order, wanted.test, len(order) - 2, int(wanted.test > 0))
    rest = [name for name in order if name not in test]
    # From the other end: in a sequence, test and validation do not touch.
    validation = _take(rest[::-1], sizes, classes, rest, wanted.validation, len(rest) - 1, 1)
    return set(validation), set(test)


def _take(
    order: Sequence[str],
    sizes: Mapping[str, int],
    classes: Mapping[str, Set[int]],
    left: Sequence[str],
    wanted: float,
    at_most: int,
    at_least: int,
) -> list[str]:
    """The first groups whose cases together come nearest to the wanted number.

    A group that is the last one with a class is passed over, unless too few remain.
    """
    holders: dict[int, int] = {}
    for name in left:
        for index in classes.get(name, ()):
            holders[index] = holders.get(index, 0) + 1
    taken: list[str] = []
    total = 0
    for name in order:
        if len(taken) >= at_most:
            break
        if any(holders[index] == 1 for index in classes.get(name, ())):
            continue
        if len(taken) >= at_least and abs(total + sizes[name] - wanted) >= abs(total - wanted):
            break
        taken.append(name)
        total += sizes[name]
        for index in classes.get(name, ()):
            holders[index] -= 1
    return taken if len(taken) >= at_least else list(order[:at_least])


def _lacking(classes: Mapping[str, Set[int]], train: Sequence[str]) -> set[int]:
    """Classes that no group of training shows."""
    learnt: set[int] = set().union(*(classes.get(name, ()) for name in train))
    return set().union(*classes.values()) - learnt


def _move_blocks(
    order: Sequence[str], classes: Mapping[str, Set[int]], validation: int, test: int
) -> tuple[set[str], set[str]] | None:
    """Both blocks as near to the ends as every class in training allows, smaller where needed.

    Args:
        order: The groups; the test is looked for from the front, validation from the end.
        classes: Group → classes.
        validation: Groups of validation.
        test: Groups of the test.
    """
    every = sorted(set().union(*classes.values()))
    has_GK = np.array([[index in classes.get(name, ()) for index in every] for name in order])
    above_GK = np.concatenate([np.zeros((1, len(every)), int), has_GK.cumsum(axis=0)])
    for sizes in _halved(validation, test):
        places = _places(above_GK, *sizes)
        if places is not None:
            first_test, first = places
            of_test = set(order[first_test : first_test + sizes[1]])
            return set(order[first : first + sizes[0]]), of_test
    return None


def _places(above_GK: NDArray[np.int_], validation: int, test: int) -> tuple[int, int] | None:
    """Where the test and where validation begin, at least one group apart."""
    groups, total_K = len(above_GK) - 1, above_GK[-1]
    starts = np.arange(groups - validation + 1)
    inside_GK = above_GK[starts + validation] - above_GK[starts]
    best: tuple[int, int, int] | None = None
    for first in range(groups - test + 1):
        of_test_K = above_GK[first + test] - above_GK[first]
        fits = (total_K - of_test_K - inside_GK > 0).all(axis=1)
        if test:
            fits &= (starts > first + test) | (starts + validation < first)
        for place in np.flatnonzero(fits)[-1:]:
            moved = first + groups - validation - int(place)
            best = min(best or (moved, first, int(place)), (moved, first, int(place)))
        if not test:
            break
    return None if best is None else best[1:]


def _halved(validation: int, test: int) -> Iterator[tuple[int, int]]:
    while True:
        yield validation, test
        if validation <= 1 and test <= 1:
            return
        validation, test = max(1, validation // 2), max(min(1, test), test // 2)
