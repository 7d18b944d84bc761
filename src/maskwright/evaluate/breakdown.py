"""Scores looked at from other sides: by object size, by group, and failures in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.evaluate.case import CaseScore

_MOST_BINS = 4
_MOST_NAMES = 5
_POOR_DICE = 0.5


@dataclass(frozen=True)
class SizeBin:
    """Objects of one range of sizes.

    Args:
        low: Smallest diameter of the range.
        high: Diameter that ends it; infinite for the last one.
        n: True objects.
        found: Those that were found.
        mean_iou: Mean over all true objects of the best IoU, missed ones included.
    """

    low: float
    high: float
    n: int
    found: int
    mean_iou: float

    def label(self, unit: str) -> str:
        """The range in words."""
        if self.low == 0:
            return f"below {self.high:g} {unit}" if math.isfinite(self.high) else "all sizes"
        if math.isinf(self.high):
            return f"{self.low:g} {unit} and more"
        return f"{self.low:g} to {self.high:g} {unit}"


def diameters(case: CaseScore, class_index: int, *, unit: str) -> NDArray[np.float64]:
    """Diameter of the disc (2D) or ball (3D) as large as each true object.

    Args:
        case: A score with objects.
        class_index: The class.
        unit: ``mm`` uses the pixel size, anything else counts pixels.

    Returns:
        Diameters, shape ``(objects,)``.

    Example:
        >>> from maskwright.evaluate.measuring import EvaluateConfig, score_case
        >>> truth = np.ones((4, 4), int)
        >>> score = score_case("a", truth, truth, 2, config=EvaluateConfig(measures=("objects",)))
        >>> diameters(score, 1, unit="px").round(2).tolist()
        [4.51]
    """
    sizes = np.array(case.objects[class_index].sizes, np.float64)
    if unit == "mm" and case.spacing_mm is not None:
        sizes *= math.prod(case.spacing_mm)
    if len(case.shape) == 3:
        ball: NDArray[np.float64] = np.cbrt(6 * sizes / math.pi)
        return ball
    disc: NDArray[np.float64] = 2 * np.sqrt(sizes / math.pi)
    return disc


def score_sizes(cases: Sequence[CaseScore], class_index: int, *, unit: str) -> list[SizeBin]:
    """How many objects of each size were found.

    The ranges hold about equally many objects; their ends are round numbers.

    Args:
        cases: Scores with objects.
        class_index: The class.
        unit: Unit of the diameters, ``mm`` or ``px``.

    Returns:
        Up to four ranges, smallest first; empty without objects.

    Example:
        >>> score_sizes([], 1, unit="mm")
        []
    """
    size, found, iou = _objects(cases, class_index, unit)
    if not size.size:
        return []
    inner = np.quantile(size, np.linspace(0, 1, _MOST_BINS + 1)[1:-1])
    edges = [0.0, *sorted({_round(float(e)) for e in inner} - {0.0}), math.inf]
    bins = []
    for low, high in itertools.pairwise(edges):
        inside = (size >= low) & (size < high)
        if inside.any():
            n = int(inside.sum())
            bins.append(SizeBin(low, high, n, int(found[inside].sum()), float(iou[inside].mean())))
    return bins


def _round(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")


def _objects(
    cases: Sequence[CaseScore], class_index: int, unit: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Diameter, whether found, and best IoU of every true object."""
    kept = [case for case in cases if case.objects]
    if not kept:
        return np.zeros(0), np.zeros(0, bool), np.zeros(0)
    tallies = [case.objects[class_index] for case in kept]
    return (
        np.concatenate([diameters(case, class_index, unit=unit) for case in kept]),
        np.concatenate([np.array(tally.found, bool) for tally in tallies]),
        np.concatenate([np.array(tally.ious, np.float64) for tally in tallies]),
    )


@dataclass(frozen=True)
class GroupScore:
    """Mean Dice of the images that belong together.

    Args:
        group: Its name.
        n: Images.
        mean: Mean over them.
        worst: The lowest one.
        best: The highest one.
    """

    group: str
    n: int
    mean: float
    worst: float
    best: float


def score_groups(cases: Sequence[CaseScore]) -> list[GroupScore]:
    """Mean Dice by group, worst first; empty where each image stands alone or all belong together.

    Args:
        cases: Scores of the images.

    Example:
        >>> score_groups([CaseScore("a", "a", ((1, 0), (0, 1)))])
        []
    """
    if all(case.group == case.case for case in cases) or len({c.group for c in cases}) == 1:
        return []
    members: dict[str, list[float]] = {}
    for case in cases:
        if not math.isnan(case.mean_dice):
            members.setdefault(case.group, []).append(case.mean_dice)
    scores = [
        GroupScore(group, len(values), float(np.mean(values)), min(values), max(values))
        for group, values in members.items()
    ]
    return sorted(scores, key=lambda score: (score.mean, score.group))


def describe_failures(
    cases: Sequence[CaseScore], class_names: Sequence[str], *, unit: str
) -> list[str]:
    """What went wrong, in words, the gravest first.

    Args:
        cases: Scores of the images.
        class_names: Names of the classes, the background first.
        unit: Unit of diameters, ``mm`` or ``px``.

    Returns:
        Sentences; one that says so where nothing went wrong.

    Example:
        >>> case = CaseScore("a", "a", ((5, 0), (4, 0)))
        >>> describe_failures([case], ("background", "tumour"), unit="mm")[0]
        'No tumour was predicted in 1 of 1 images that have some: a.'
    """
    sentences: list[str] = []
    missing = [case.case for case in cases if case.missing]
    if missing:
        sentences.append(f"{_of(missing, cases)} have no prediction at all: {_listed(missing)}.")
    for k, name in list(enumerate(class_names))[1:]:
        counts = {case.case: case.counts(k) for case in cases}
        drawn = [case for case, c in counts.items() if c.true]
        lost = [case for case in drawn if not counts[case].predicted and case not in missing]
        if lost:
            sentences.append(
                f"No {name} was predicted in {len(lost)} of {len(drawn)} images that have some: "
                f"{_listed(lost)}."
            )
        empty = [case for case, c in counts.items() if not c.true and c.total]
        invented = [case for case in empty if counts[case].predicted]
        if invented:
            sentences.append(
                f"Some {name} was predicted in {len(invented)} of {len(empty)} images that have "
                f"none: {_listed(invented)}."
            )
        sentences += _object_failures(cases, k, name, unit)
    scored = [case for case in cases if not math.isnan(case.mean_dice)]
    poor = sorted((c for c in scored if c.mean_dice < _POOR_DICE), key=lambda c: c.mean_dice)
    if poor:
        names = [f"{case.case} ({case.mean_dice:.2f})" for case in poor]
        sentences.append(f"{_of(poor, cases)} have a Dice below {_POOR_DICE}: {_listed(names)}.")
    if not sentences:
        worst = min(scored, key=lambda c: c.mean_dice, default=None)
        sentences.append(
            "No image failed."
            if worst is None
            else f"No image failed; the worst, {worst.case}, has a Dice of {worst.mean_dice:.2f}."
        )
    return sentences


def _object_failures(cases: Sequence[CaseScore], k: int, name: str, unit: str) -> list[str]:
    size, found, _ = _objects(cases, k, unit)
    sentences = []
    missed = size[~found]
    if missed.size:
        largest = float(missed.max())
        if missed.size <= 10 or largest <= np.median(size):
            extent = f"all below {_above(largest):g} {unit}"
        else:
            extent = (
                f"half of them below {_above(float(np.median(missed))):g} {unit}, "
                f"the largest {largest:.3g} {unit}"
            )
        sentences.append(f"{missed.size} of {size.size} {name} objects missed, {extent}.")
    claimed = sum(case.objects[k].counts.fp for case in cases if case.objects)
    if claimed:
        total = claimed + sum(case.objects[k].counts.tp for case in cases if case.objects)
        sentences.append(
            f"{claimed} of {total} predicted {name} objects are none, or overlap a true one by "
            "less than half."
        )
    return sentences


def _above(value: float) -> float:
    """A round number just above a value."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{(math.floor(value / step) + 1) * step:.6g}")


def _of(part: Sequence[Any], whole: Sequence[Any]) -> str:
    return f"{len(part)} of {len(whole)} images"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown
