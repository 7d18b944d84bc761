r"""A table that names images, their masks and what is known of them.

::

    image,mask,image_label,group,split,roi
    scans/a.png,drawn/a.png,well,patient 1,train,
    scans/b.png,drawn/b.png,ill,patient 2,test,fields/b.png

Only the first two columns are needed. Paths are relative to the file, which is called
``manifest.csv`` where a folder is given. Where the channels of an image are in files of their own,
the columns ``image_2``, ``image_3`` … name the further ones, in this order::

    image,image_2,mask
    scans/a_t1.nii.gz,scans/a_t2.nii.gz,drawn/a.nii.gz
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.data.case import Case
from maskwright.data.naming import channel_core
from maskwright.data.problem import Problem, listed
from maskwright.errors import DataError
from maskwright.io.registry import image_stem
from maskwright.io.table import read_table

NAME = "manifest.csv"
"""Name of the table in the folder of a data set."""

PARTS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""What may be written in the column ``split``, and the part that it means."""

_FILES = ("image", "mask", "roi")
_CHANNEL = re.compile(r"image_([2-9]|[1-9][0-9])")
_LONGEST_HEADER = 10_000
_COLUMNS = (*_FILES, "image_label", "group", "split")


def find_manifest(root: Path) -> Path | None:
    """The manifest that a path means: itself, or the one in the folder; ``None`` without one.

    A ``manifest.csv`` in a folder counts if its first line has the columns image and mask.

    Example:
        >>> find_manifest(Path("cells.csv")), find_manifest(Path("no such folder"))
        (PosixPath('cells.csv'), None)
    """
    if root.suffix.lower() == ".csv" and not root.is_dir():
        return root
    path = root / NAME
    if not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = re.split(r"[,;\t]", file.readline(_LONGEST_HEADER).lower())
    return path if {"image", "mask"} <= {name.strip(' "\r\n') for name in header} else None


def read_manifest(path: Path, problems: list[Problem], *, skip: bool) -> tuple[list[Case], bool]:
    r"""The cases of a manifest.

    Args:
        path: The CSV file.
        problems: Takes what is wrong, with the number of the row; the header is row 1.
        skip: Whether images without a mask are left out instead of refused.

    Returns:
        The cases in the order of the rows, and whether it says what must stay together; where it
        does not, the group is the name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a.png", "a_drawn.png"):
        ...         (Path(folder) / name).touch()
        ...     path = Path(folder) / "manifest.csv"
        ...     _ = path.write_text("image,mask,split\na.png,a_drawn.png,val\n")
        ...     cases, grouped = read_manifest(path, [], skip=False)
        >>> cases[0].name, cases[0].part, grouped
        ('a', 'validation', False)
    """
    try:
        rows = [{k.strip().lower(): v.strip() for k, v in row.items()} for row in read_table(path)]
    except DataError as error:
        problems.append(Problem.from_error(error, path))
        return [], False
    columns = set(rows[0]) if rows else set()
    if not {"image", "mask"} <= columns:
        shown = f"the columns {', '.join(sorted(columns))}" if columns else "no row"
        problems.append(
            Problem(
                "manifest-columns",
                "refuse",
                str(path),
                f"{shown}, not image and mask",
                "name the columns image and mask in the first line, and give each image a row",
            )
        )
        return [], False
    channels = sorted(filter(_CHANNEL.fullmatch, columns), key=lambda name: int(name[6:]))
    others = sorted(columns - {*_COLUMNS, *channels})
    if others:
        problems.append(
            Problem("manifest-columns", "skip", str(path), f"columns {listed(others)}", "")
        )
    table = _Table(path, problems, channels)
    cases = [case for n, row in enumerate(rows, start=2) if (case := table.case(n, row))]
    table.check_repeats(cases)
    if any(row.get("split") for row in rows):
        table.check_split(rows)
    return table.paired(_named_apart(path, cases), skip=skip), any(row.get("group") for row in rows)


class _Table:
    """Turns rows into cases and tells what is wrong with them."""

    def __init__(self, path: Path, problems: list[Problem], channels: Sequence[str]) -> None:
        self._path = path
        self._problems = problems
        self._channels = channels

    def case(self, number: int, row: Mapping[str, str]) -> Case | None:
        """The case of a row, ``None`` where a file is missing."""
        columns = (*_FILES, *self._channels)
        files = {column: self._file(number, column, row.get(column, "")) for column in columns}
        image = files["image"]
        for column in ("image", *self._channels):
            if not row[column]:
                self._refuse("file", number, column, "an empty cell", "name the image")
        more = tuple(file for file in (files[c] for c in self._channels) if file is not None)
        if len(more) < len(self._channels):
            return None
        if image is None or any(row.get(c) and files[c] is None for c in columns):
            return None
        split = row.get("split", "")
        if split and split.lower() not in PARTS:
            self._refuse("split", number, "split", repr(split), "write train, validation or test")
        name = image_stem(image)
        return Case(
            (channel_core(name) if more else "") or name,
            image,
            files["mask"],
            row.get("group", ""),
            more,
            roi=files["roi"],
            image_label=row.get("image_label", ""),
            part=PARTS.get(split.lower(), ""),
        )

    def check_split(self, rows: list[dict[str, str]]) -> None:
        """Refuse a split that does not place every row."""
        for number, row in enumerate(rows, start=2):
            if not row.get("split"):
                self._refuse(
                    "split",
                    number,
                    "split",
                    "an empty cell, while others say their part",
                    "write train, validation or test, or delete the row",
                )

    def check_repeats(self, cases: list[Case]) -> None:
        """Refuse an image that two rows name."""
        rows = Counter(path.resolve() for case in cases for path in (case.image, *case.more))
        for image, times in rows.items():
            if times > 1:
                self._problems.append(
                    Problem(
                        "manifest-twice",
                        "refuse",
                        str(self._path),
                        f"the image {image.name} {times} times",
                        "name each image once",
                    )
                )

    def paired(self, cases: list[Case], *, skip: bool) -> list[Case]:
        """The cases that can be used; those without a mask are refused or left out."""
        bare = [case.image.name for case in cases if case.mask is None]
        if bare:
            self._problems.append(
                Problem(
                    "mask-missing",
                    "skip" if skip else "refuse",
                    str(self._path),
                    f"no mask for {listed(bare)}",
                    ""
                    if skip
                    else "name their masks, delete these rows, or leave them out with "
                    "--set skip_unpaired=true",
                )
            )
        return [case for case in cases if case.mask is not None] if skip else cases

    def _file(self, number: int, column: str, cell: str) -> Path | None:
        if not cell:
            return None
        path = self._path.parent / cell.replace("\\", "/")
        if path.exists():
            return path
        self._refuse("file", number, column, f"{cell!r}, which is not there", "correct the path")
        return None

    def _refuse(self, what: str, number: int, column: str, message: str, remedy: str) -> None:
        where = f"{self._path} row {number}, column {column}"
        self._problems.append(Problem(f"manifest-{what}", "refuse", where, message, remedy))


def _named_apart(path: Path, cases: list[Case]) -> list[Case]:
    """Cases whose files have the same name in other folders are called by both."""
    often = {name for name, n in Counter(case.name for case in cases).items() if n > 1}
    named = []
    for case in cases:
        name = case.name
        if name in often:
            folder = case.image.parent
            inside = folder.is_relative_to(path.parent)
            parts = folder.relative_to(path.parent).parts if inside else folder.parts[1:]
            name = "_".join([*parts, case.name])
        named.append(replace(case, name=name, group=case.group or name))
    return named
