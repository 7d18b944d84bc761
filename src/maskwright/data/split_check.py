"""What would make the measures of a split too good, or its training impossible."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskwright.data.case import Case
from maskwright.data.problem import Problem, listed
from maskwright.data.split import PARTS, Split


def check_split(
    split: Split,
    cases: Sequence[Case],
    *,
    digests: Mapping[str, str] | None = None,
    present: Mapping[str, Sequence[int]] | None = None,
    names: Sequence[str] = (),
) -> list[Problem]:
    """Look for what would make the measures too good, or the training impossible.

    Args:
        split: The parts.
        cases: All cases.
        digests: Case name → digest of the image's pixels; without it the files are compared.
        present: Case name → class ids in its mask, to find classes absent from training.
        names: Names of the classes, for the message.

    Returns:
        ``split-group``, ``split-duplicate`` and ``split-class-absent``, each a refusal.

    Example:
        >>> pair = [Case(name, Path(name), None, "one child") for name in ("left", "right")]
        >>> [p.code for p in check_split(Split(("left",), ("right",), ()), pair,
        ...                              digests={})]
        ['split-group']
    """
    part_of = {name: part for part in PARTS for name in getattr(split, part)}
    used = [case for case in cases if case.name in part_of]
    if digests is None:
        digests = {case.name: _digest_file(case.image) for case in used}
    problems = _across(
        "split-group",
        part_of,
        {case.name: case.group for case in used},
        "belong to one group, yet are in different parts",
        "move them into one part, or set group_by if they do not belong together",
    )
    problems += _across(
        "split-duplicate",
        part_of,
        {n: d for n, d in digests.items() if n in part_of},
        "are the same image, yet are in different parts",
        "delete all but one of them",
    )
    if present:
        learnt = {c for name in split.train for c in present.get(name, ())}
        for index in sorted({c for several in present.values() for c in several} - learnt):
            name = names[index] if index < len(names) else str(index)
            problems.append(
                Problem(
                    "split-class-absent",
                    "refuse",
                    "split",
                    f"class {index} ({name}) is in no training mask",
                    "move an image with this class into training with --split, or join the class "
                    "to another: --labels may give several values one name",
                )
            )
    return problems


def _across(
    code: str, part_of: Mapping[str, str], key_of: Mapping[str, str], message: str, remedy: str
) -> list[Problem]:
    """A refusal for each set of cases of one key that is spread over several parts."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, key in key_of.items():
        members[key].append(name)
    return [
        Problem(
            code,
            "refuse",
            "split",
            f"{listed([f'{name} ({part_of[name]})' for name in names])} {message}",
            remedy,
        )
        for names in members.values()
        if len({part_of[name] for name in names}) > 1
    ]


def _digest_file(path: Path) -> str:
    """The digest of a file, or of all files of a folder that is one image."""
    if path.is_dir():
        files = sorted(inside for inside in path.rglob("*") if inside.is_file())
        names = [f"{file.relative_to(path).as_posix()} {_digest_file(file)}" for file in files]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
