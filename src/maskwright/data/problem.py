"""What a person should know about their data, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from maskwright.errors import DataError, MaskwrightError

Level = Literal["refuse", "warn", "skip"]


@dataclass(frozen=True)
class Problem:
    """Something about the data that a person should know.

    Args:
        code: Stable identifier in kebab case, such as ``mask-missing``.
        level: ``refuse`` stops, ``warn`` is told, ``skip`` lists what was left out.
        subject: The file or folder it is about.
        message: What was found.
        remedy: What to do about it, as an instruction; may be empty for what needs nothing.

    Example:
        >>> Problem("one-case", "refuse", "data", "a single image", "annotate more").line()
        'refused: data: a single image. Annotate more. [one-case]'
    """

    code: str
    level: Level
    subject: str
    message: str
    remedy: str

    @classmethod
    def from_error(cls, error: MaskwrightError, path: Path) -> Problem:
        """The refusal of one file as a problem of its data set."""
        message = f"{error.found} (expected {error.expected})"
        return cls(error.code, "refuse", str(path), message, error.remedy)

    def to_json(self) -> dict[str, str]:
        """The problem as plain values."""
        return asdict(self)

    def line(self) -> str:
        """The problem as a line for the terminal."""
        word = {"refuse": "refused", "warn": "warning", "skip": "skipped"}[self.level]
        remedy = f" {self.remedy[:1].upper()}{self.remedy[1:].rstrip('.')}." if self.remedy else ""
        return f"{word}: {self.subject}: {self.message.rstrip('.')}.{remedy} [{self.code}]"


def raise_first_refusal(problems: Iterable[Problem], *, expected: str) -> None:
    """Stop at the first problem that refuses.

    Raises:
        DataError: With the problem's code, finding and remedy.

    Example:
        >>> raise_first_refusal([Problem("a-b", "warn", "x", "odd", "look")], expected="y")
    """
    for problem in problems:
        if problem.level == "refuse":
            raise DataError(
                problem.code,
                problem.subject,
                expected=expected,
                found=problem.message,
                remedy=problem.remedy,
            )


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in a row, a long list cut short.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    row = ", ".join(names[:most])
    return row if len(names) <= most else f"{row} and {len(names) - most} more"
