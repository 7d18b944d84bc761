"""What averaging over turned images would gain, measured where it costs no test image."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maskwright.config import TrainConfig
from maskwright.data.case import Case
from maskwright.evaluate.measuring import score_case
from maskwright.io.image import Image
from maskwright.workflow.loading import Truth
from maskwright.workflow.predictor import Predictor
from maskwright.workflow.reporting import AVERAGING

_USUAL = ("flip",)
_SHARE = 0.015
_WITHOUT_BUDGET_S = 5.0
_NO_NEWS = 0.0005


@dataclass(frozen=True)
class AveragingGain:
    """Mean Dice of validation images with and without averaging.

    Args:
        ways: What was averaged over.
        images: How many images were compared.
        plain: Mean Dice of one prediction each.
        averaged: Mean Dice of the averaged ones.
        times: How many times as long averaging takes.
    """

    ways: tuple[str, ...]
    images: int
    plain: float
    averaged: float
    times: float

    def sentence(self) -> str:
        """The gain in words.

        Example:
            >>> AveragingGain(("flip",), 4, 0.81, 0.82, 4.0).sentence()
            'Averaging over --tta flip gains 0.010 of Dice on 4 validation images (0.810 to 0.820) \
for 4.0 times the time.'
        """
        gained = self.averaged - self.plain
        if abs(gained) < _NO_NEWS:
            change = "changes nothing"
        else:
            change = f"{'gains' if gained > 0 else 'loses'} {abs(gained):.3f} of Dice"
        images = f"{self.images} validation image{'' if self.images == 1 else 's'}"
        return (
            f"{AVERAGING} --tta {','.join(self.ways)} {change} on {images} "
            f"({self.plain:.3f} to {self.averaged:.3f}) for {self.times:.1f} times the time."
        )


def combined_gain(parts: Sequence[Mapping[str, Any]]) -> AveragingGain | None:
    """The gain on all images of several comparisons.

    Args:
        parts: The fields of each.

    Returns:
        The means over all images, or ``None`` without any or where they differ in what they did.

    Example:
        >>> one = {"ways": ["flip"], "images": 1, "plain": 0.5, "averaged": 0.8, "times": 4.0}
        >>> combined_gain([one, {**one, "images": 2, "averaged": 0.5}]).averaged
        0.6
    """
    images = sum(part["images"] for part in parts)
    if not images or len({tuple(part["ways"]) for part in parts}) > 1:
        return None

    def mean(name: str) -> float:
        return float(sum(part[name] * part["images"] for part in parts) / images)

    ways = tuple(parts[0]["ways"])
    return AveragingGain(ways, images, mean("plain"), mean("averaged"), mean("times"))


def longest_comparison_s(train: TrainConfig) -> float:
    """Seconds that the comparison may take.

    Example:
        >>> longest_comparison_s(TrainConfig(minutes=10))
        9.0
    """
    return _WITHOUT_BUDGET_S if train.minutes is None else _SHARE * train.minutes * 60


def measure_gain(
    predictor: Predictor,
    cases: Sequence[Case],
    pair: Callable[[Case], tuple[Image, Truth]],
    classes: int,
    train: TrainConfig,
) -> AveragingGain | None:
    """Predict validation images once and averaged, as many as a small share of the time allows.

    Args:
        predictor: The network; what it averages over is compared, else mirror images are.
        cases: The validation images.
        pair: Reads one.
        classes: Number of classes.
        train: Says how long this may take, see :func:`longest_comparison_s`.

    Returns:
        The gain, or ``None`` where not even one image fits the time.
    """
    ways = predictor.ways or _USUAL
    once, turned = replace(predictor, ways=()), replace(predictor, ways=ways)
    most_s = longest_comparison_s(train)
    begun = time.monotonic()
    dice: list[tuple[float, float]] = []
    seconds = [0.0, 0.0]
    for case in cases:
        image, true = pair(case)
        started = time.monotonic()
        plain_YX = once.predict(image.array, image.spacing_mm, hold=False).classes_YX
        once_s = time.monotonic() - started
        size = image.array.shape[1:]
        expected_s = once_s * turned.tiles(size) / max(1, once.tiles(size))
        if time.monotonic() - begun + expected_s > most_s:
            break
        started = time.monotonic()
        averaged_YX = turned.predict(image.array, image.spacing_mm).classes_YX
        seconds = [seconds[0] + once_s, seconds[1] + time.monotonic() - started]
        one, other = (
            score_case(case.name, found, true.classes_YX, classes, valid=true.valid_YX).mean_dice
            for found in (plain_YX, averaged_YX)
        )
        if not math.isnan(one) and not math.isnan(other):
            dice.append((one, other))
    if not dice:
        return None
    plain, averaged = (float(np.mean(column)) for column in zip(*dice, strict=True))
    return AveragingGain(ways, len(dice), plain, averaged, seconds[1] / max(seconds[0], 1e-9))
