"""What a check found, for the terminal, for programs and for training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.data.case import Case
from maskwright.data.image_facts import ImageFacts
from maskwright.data.labelmap import LabelMap
from maskwright.data.problem import Problem
from maskwright.data.spacing import counted, medians, space_facts
from maskwright.errors import DataError


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check_dataset` found.

    Args:
        root: The folder.
        cases: Images with their masks; cases with identical images share a group.
        label_map: What mask values mean, or ``None`` where that is refused.
        problems: Refusals, warnings, and what was skipped.
        sizes: How many images have which height and width, or depth, height and width.
        channels: Channels of the network: 1 when every image is grey, however it is stored.
        dtypes: How many images have which data type.
        class_shares: Share of all mask pixels that each class has.
        grouping: A sentence that says which cases stay together.
        sequence: Whether the cases are slices of a stack.
        digests: Case name → digest of the image's pixels.
        present: Case name → class ids in its mask.
        spacings: How many volumes have which voxel size in mm, along depth, height and width.
        notes: What else there is to know, a sentence each.
        images: Case name → what is known of its image.

    Example:
        >>> CheckReport(Path("data"), (), None, (Problem("one-case", "refuse", "data", "", ""),)).ok
        False
    """

    root: Path
    cases: tuple[Case, ...]
    label_map: LabelMap | None
    problems: tuple[Problem, ...]
    sizes: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    channels: int = 1
    dtypes: Mapping[str, int] = field(default_factory=dict)
    class_shares: tuple[float, ...] = ()
    grouping: str = ""
    sequence: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    present: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spacings: Mapping[tuple[float, ...], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    images: Mapping[str, ImageFacts] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """2 for planes, 3 for volumes."""
        return max((len(size) for size in self.sizes), default=2)

    @property
    def scanned(self) -> bool:
        """Whether pixel sizes are those of space: of volumes and of their slices."""
        return self.dims == 3 or any(case.z is not None for case in self.cases)

    @property
    def median_size(self) -> tuple[int, ...]:
        """Median size along each axis, in pixels; empty without images."""
        return tuple(round(n) for n in medians(self.sizes))

    @property
    def median_spacing_mm(self) -> tuple[float, ...] | None:
        """Median voxel size along each axis of volumes, or ``None`` where none is known."""
        return medians(self.spacings) or None

    @property
    def mean_pixels(self) -> float:
        """Pixels or voxels of an image on average."""
        total = sum(math.prod(size) * images for size, images in self.sizes.items())
        return total / max(1, sum(self.sizes.values()))

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
            noun = "pair" if len(shown) == 1 else "pairs"
            lines.append(f"{len(shown)} {noun}: {', '.join(shown[:2])}{more}")
        if self.sizes:
            grey = "grey" if self.channels == 1 else f"{self.channels} channels"
            count = sum(self.sizes.values())
            noun = ("volume" if self.dims == 3 else "image") + ("" if count == 1 else "s")
            lines.append(f"{count} {noun}, {grey}, {counted(self.dtypes)}")
            lines += space_facts(self.sizes, self.spacings)
        if self.grouping:
            lines.append(f"split: {self.grouping}")
        if self.label_map is not None:
            lines += [
                f"{sentence}, {share:.1%} of the {'voxels' if self.dims == 3 else 'pixels'}"
                for sentence, share in zip(
                    self.label_map.describe(), self.class_shares, strict=True
                )
            ]
        return lines + list(self.notes) + [problem.line() for problem in self.problems]

    def pairs(self) -> list[str]:
        """Each image with its mask, relative to the folder."""
        return [
            f"{self._shown(case, case.image)} + "
            + (self._shown(case, case.mask) if case.mask else "no mask")
            for case in self.cases
        ]

    def _shown(self, case: Case, path: Path) -> str:
        return self._inside(path) + ("" if case.z is None else f" slice {case.z}")

    def _inside(self, path: Path) -> str:
        root = self.root.parent if self.root.is_file() else self.root
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        labels = self.label_map
        return {
            "root": str(self.root),
            "ok": self.ok,
            "cases": [case.to_json() for case in self.cases],
            "sizes": [{"size": list(size), "images": n} for size, n in self.sizes.items()],
            "spacings_mm": [
                {"spacing": list(spacing), "images": n} for spacing, n in self.spacings.items()
            ],
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
            "notes": list(self.notes),
            "problems": [problem.to_json() for problem in self.problems],
        }
