"""Which case is used for what: training, choosing the best weights, and the final test.

Cases of one group never part. Slices of a stack are cut into blocks, so that only the slices at
a cut have a neighbour on the other side::

    validation | training training training | test
"""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskwright.data.case import Case
from maskwright.data.drawing import Wanted, draw_groups
from maskwright.data.naming import natural_key
from maskwright.data.problem import listed
from maskwright.errors import DataError
from maskwright.io.durable import write_text

FEWEST_GROUPS_FOR_TEST = 4
"""With fewer groups, a test part would leave too little to learn from."""

PARTS = ("train", "validation", "test")
"""Names of the parts."""

_UNKNOWN: Mapping[str, Sequence[int]] = MappingProxyType({})


@dataclass(frozen=True)
class Split:
    """Names of the cases in each part.

    Args:
        train: Learnt from.
        validation: Used to choose the best weights, never learnt from.
        test: Used for nothing but the final measures; may be empty.

    Example:
        >>> Split(("a",), ("b",), ()).test
        ()
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split_cases(
    cases: Sequence[Case],
    *,
    seed: int,
    validation_share: float,
    test_share: float,
    sequence: bool,
    present: Mapping[str, Sequence[int]] = _UNKNOWN,
) -> Split:
    """Divide cases by group, so that every class is in training where that can be.

    Args:
        cases: In natural order.
        seed: Seed of the draw.
        validation_share: Wanted share of the cases for validation; at least one group.
        test_share: Wanted share for the test; none with fewer than four groups.
        sequence: Whether the cases are slices of a stack, which are cut into blocks.
        present: Case name → classes in its mask; none are known by default.

    Returns:
        The parts, in the order of the cases.

    Raises:
        DataError: ``split-groups`` when there is only one group.

    Example:
        >>> cases = [Case(str(i), Path(f"{i}.png"), None, str(i)) for i in range(10)]
        >>> split_cases(cases, seed=0, validation_share=0.2, test_share=0.2, sequence=True)
        Split(train=('2', '3', '4', '5', '6', '7'), validation=('0', '1'), test=('8', '9'))
    """
    groups = cases_by_group(cases)
    if len(groups) < 2:
        raise DataError(
            "split-groups",
            "data",
            expected="at least two groups of images",
            found=f"{len(groups)} ({listed(list(groups))})",
            remedy="add images of other subjects, or set group_by=.* to let each image stand alone",
        )
    test_wanted = test_share * len(cases) if len(groups) >= FEWEST_GROUPS_FOR_TEST else 0.0
    classes: dict[str, set[int]] = defaultdict(set)
    for case in cases:
        classes[case.group] |= set(present.get(case.name, ()))
    wanted = Wanted(validation_share * len(cases), test_wanted)
    validation, test = draw_groups(groups, classes, wanted, seed=seed, sequence=sequence)
    return Split(
        tuple(case.name for case in cases if case.group not in validation | test),
        tuple(case.name for case in cases if case.group in validation),
        tuple(case.name for case in cases if case.group in test),
    )


def read_split(
    path: Path,
    cases: Sequence[Case],
    *,
    seed: int,
    validation_share: float,
    sequence: bool,
    present: Mapping[str, Sequence[int]] = _UNKNOWN,
) -> Split:
    """The split that a person wrote down as JSON.

    The file holds ``{"train": […], "validation": […], "test": […]}``, each a list of names or
    patterns such as ``slice_0*``. Without ``validation``, it is drawn from ``train`` by group.

    Args:
        path: The JSON file.
        cases: All cases; those in no list are not used.
        seed: Seed of the draw.
        validation_share: Wanted share of ``train`` for validation.
        sequence: Whether the cases are slices of a stack.
        present: Case name → classes in its mask, which validation should leave in ``train``.

    Returns:
        The parts, in the order of the cases.

    Raises:
        DataError: ``split-json``, ``split-key``, ``split-unknown-name``, ``split-overlap``,
            ``split-empty`` or ``split-groups``.

    Example:
        >>> import tempfile
        >>> cases = [Case(name, Path(name), None, name) for name in ("a1", "a2", "b1")]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "split.json"
        ...     _ = path.write_text('{"train": ["a1"], "validation": ["a2"], "test": ["b*"]}')
        ...     read_split(path, cases, seed=0, validation_share=0.2, sequence=False)
        Split(train=('a1',), validation=('a2',), test=('b1',))
    """
    lists = _read_lists(path)
    parts = {part: _expand(lists.get(part, []), cases, path, part) for part in PARTS}
    owner: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if owner.setdefault(name, part) != part:
                raise DataError(
                    "split-overlap",
                    str(path),
                    expected="each name in one part",
                    found=f"{name} in {owner[name]} and in {part}",
                    remedy="delete it from one of them",
                )
    return _completed(
        parts,
        cases,
        str(path),
        seed=seed,
        validation_share=validation_share,
        sequence=sequence,
        present=present,
    )


def split_by_parts(
    cases: Sequence[Case],
    *,
    seed: int,
    validation_share: float,
    sequence: bool,
    subject: str,
    present: Mapping[str, Sequence[int]] = _UNKNOWN,
) -> Split | None:
    """The split that the cases themselves name, as those of a manifest do.

    Args:
        cases: All cases.
        seed: Seed of the draw.
        validation_share: Wanted share of ``train`` for validation, where no case is for it.
        sequence: Whether the cases are slices of a stack.
        subject: Where the parts are written, for messages.
        present: Case name → classes in its mask, which validation should leave in ``train``.

    Returns:
        The parts, or ``None`` where no case names one.

    Raises:
        DataError: ``split-empty`` or ``split-groups``.

    Example:
        >>> cases = [Case(part, Path(part), None, part, part=part) for part in PARTS]
        >>> split_by_parts(cases, seed=0, validation_share=0.2, sequence=False, subject="m.csv")
        Split(train=('train',), validation=('validation',), test=('test',))
    """
    if not any(case.part for case in cases):
        return None
    parts = {part: [case.name for case in cases if case.part == part] for part in PARTS}
    return _completed(
        parts,
        cases,
        subject,
        seed=seed,
        validation_share=validation_share,
        sequence=sequence,
        present=present,
    )


def _completed(
    parts: dict[str, list[str]],
    cases: Sequence[Case],
    subject: str,
    *,
    seed: int,
    validation_share: float,
    sequence: bool,
    present: Mapping[str, Sequence[int]],
) -> Split:
    """The split of named parts; without validation, it is drawn from training."""
    if not parts["train"]:
        raise DataError(
            "split-empty",
            subject,
            expected="names under train",
            found="none",
            remedy="name the images to learn from",
        )
    if not parts["validation"]:
        named = set(parts["train"])
        own = [case for case in cases if case.name in named]
        drawn = split_cases(
            own,
            seed=seed,
            validation_share=validation_share,
            test_share=0.0,
            sequence=sequence,
            present=present,
        )
        parts["train"], parts["validation"] = list(drawn.train), list(drawn.validation)
    return Split(*(tuple(parts[part]) for part in PARTS))


def write_split(path: Path, split: Split) -> None:
    """Write a split so that :func:`read_split` gives it back.

    Args:
        path: The JSON file.
        split: The parts.

    Raises:
        OutputError: When writing fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_split(Path(folder) / "s.json", Split(("a",), ("b",), ()))
        ...     json.loads((Path(folder) / "s.json").read_text())["train"]
        ['a']
    """
    write_text(path, json.dumps(asdict(split), indent=2, ensure_ascii=False) + "\n")


def cases_by_group(cases: Sequence[Case]) -> dict[str, int]:
    """Group → number of its cases, in natural order.

    Args:
        cases: The cases.

    Example:
        >>> cases_by_group([Case(name, Path(name), None, name[0]) for name in ("b1", "a1", "a2")])
        {'a': 2, 'b': 1}
    """
    groups: dict[str, int] = defaultdict(int)
    for case in sorted(cases, key=lambda case: natural_key(case.name)):
        groups[case.group] += 1
    return dict(groups)


def _read_lists(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "split-json",
            str(path),
            expected="a JSON file that can be read",
            found=str(error),
            remedy="check the path",
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            "split-json",
            f"{path} line {error.lineno}",
            expected="JSON",
            found=error.msg,
            remedy="mend that line",
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            "split-json",
            str(path),
            expected='{"train": [names], "test": [names]}',
            found=f"a {type(content).__name__}",
            remedy="write it in this form",
        )
    for key, names in content.items():
        if key not in PARTS:
            raise DataError(
                "split-key",
                str(path),
                expected="the keys train, validation and test",
                found=repr(key),
                remedy="rename or delete this key",
            )
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                "split-key",
                f"{path} {key}",
                expected="a list of names",
                found=json.dumps(names)[:60],
                remedy='write it as ["a", "b"]',
            )
    return content


def _expand(entries: Sequence[str], cases: Sequence[Case], path: Path, part: str) -> list[str]:
    """The names that entries mean, with or without a suffix, in the order of the cases."""
    name_of = {case.image.name: case.name for case in cases} | {c.name: c.name for c in cases}
    found: set[str] = set()
    for entry in entries:
        # A name may hold brackets, which a pattern would read in another way.
        matches = [entry] if entry in name_of else fnmatch.filter(name_of, entry)
        if not matches:
            raise DataError(
                "split-unknown-name",
                f"{path} {part}",
                expected="names of images in the data set",
                found=repr(entry),
                remedy=f"use names such as {listed([c.name for c in cases], most=3)}",
            )
        found |= {name_of[match] for match in matches}
    return [case.name for case in cases if case.name in found]
