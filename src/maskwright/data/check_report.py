"""What a check found, for the terminal, for programs and for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.data.dataset import Case
from maskwright.data.labelmap import LabelMap
from maskwright.data.problem import Problem, listed
from maskwright.errors import DataError


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check_dataset` found.

    Args:
        root: The folder.
        cases: Images with their masks; cases with identical images share a group.
        label_map: What mask values mean, or ``None`` where that is refused.
        problems: Refusals, warnings, and what was skipped.
        sizes: How many images have which height and width.
        channels: Channels of the network: 1 when every image is grey, however it is stored.
        dtypes: How many images have which data type.
        class_shares: Share of all mask pixels that each class has.
        grouping: A sentence that says which cases stay together.
        sequence: Whether the cases are slices of a stack.
        digests: Case name → digest of the image's pixels.
        present: Case name → class ids in its mask.

    Example:
        >>> CheckReport(Path("data"), (), None, (Problem("one-case", "refuse", "data", "", ""),)).ok
        False
    """

    root: Path
    cases: tuple[Case, ...]
    label_map: LabelMap | None
    problems: tuple[Problem, ...]
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    channels: int = 1
    dtypes: Mapping[str, int] = field(default_factory=dict)
    class_shares: tuple[float, ...] = ()
    grouping: str = ""
    sequence: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is refused."""
        return not self.refusals

    @property
    def refusals(self) -> tuple[Problem, ...]:
        """The problems that stop."""
        return tuple(problem for problem in self.problems if problem.level == "refuse")

    def raise_if_refused(self) -> None:
        """Stop when the data cannot be used.

        Raises:
            DataError: With the code of the first refusal, and the others listed.
        """
        if self.ok:
            return
        first, *others = self.refusals
        also = "".join(
            f"; also {other.subject}: {other.message} [{other.code}]" for other in others[:20]
        )
        more = f"; and {len(others) - 20} more" if len(others) > 20 else ""
        raise DataError(
            first.code,
            first.subject,
            expected="data that can be trained on",
            found=first.message + also + more,
            remedy=first.remedy,
        )

    def lines(self) -> list[str]:
        """The report as lines for the terminal: the facts, then the verdict."""
        refused = len(self.refusals)
        if refused:
            verdict = [f"{refused} problem{'s' if refused > 1 else ''} to mend before training"]
        else:
            verdict = ["ready for training"] if self.cases else []
        return [*self.facts(), *verdict]

    def facts(self) -> list[str]:
        """What there is, what it means, and what is wrong, a sentence each."""
        lines = []
        if self.cases:
            shown = self.pairs()
            more = f" and {len(shown) - 2} more" if len(shown) > 2 else ""
            lines.append(f"{len(shown)} pairs: {', '.join(shown[:2])}{more}")
        if self.sizes:
            lines.append(
                f"{sum(self.sizes.values())} images, "
                f"{'grey' if self.channels == 1 else f'{self.channels} channels'}, "
                f"{counted(self.dtypes)}"
            )
            sizes = {f"{y} × {x}": n for (y, x), n in self.sizes.items()}
            lines.append(f"size in pixels (height × width): {counted(sizes)}")
        if self.grouping:
            lines.append(f"split: {self.grouping}")
        if self.label_map is not None:
            lines += [
                f"{sentence}, {share:.1%} of the pixels"
                for sentence, share in zip(
                    self.label_map.describe(), self.class_shares, strict=True
                )
            ]
        return lines + [problem.line() for problem in self.problems]

    def pairs(self) -> list[str]:
        """Each image with its mask, relative to the folder."""
        return [
            f"{self._inside(case.image)} + {self._inside(case.mask) if case.mask else 'no mask'}"
            for case in self.cases
        ]

    def _inside(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        labels = self.label_map
        return {
            "root": str(self.root),
            "ok": self.ok,
            "cases": [
                {
                    "name": case.name,
                    "image": str(case.image),
                    "group": case.group,
                    "mask": None if case.mask is None else str(case.mask),
                }
                for case in self.cases
            ],
            "sizes": [{"size": list(size), "images": n} for size, n in self.sizes.items()],
            "channels": self.channels,
            "dtypes": dict(self.dtypes),
            "classes": []
            if labels is None
            else [
                {"name": name, "values": list(values), "share": share}
                for name, values, share in zip(
                    labels.names, labels.values, self.class_shares, strict=True
                )
            ],
            "mask_kind": None if labels is None else labels.kind,
            "grouping": self.grouping,
            "sequence": self.sequence,
            "problems": [problem.to_json() for problem in self.problems],
        }


def counted(counts: Mapping[str, int]) -> str:
    """What there is and how often, in a row.

    Example:
        >>> counted({"uint8": 3, "uint16": 1})
        'uint8 (3), uint16 (1)'
    """
    if len(counts) == 1:
        return next(iter(counts))
    return listed([f"{what} ({n})" for what, n in counts.items()], most=6)
