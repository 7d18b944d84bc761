"""What training will choose from a data set, told when it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.config import DataConfig
from maskwright.data.image_facts import ImageFacts
from maskwright.data.intensity_choice import choose_ways
from maskwright.data.problem import Problem
from maskwright.data.target_spacing import choose_spacing
from maskwright.errors import MaskwrightError


@dataclass(frozen=True)
class Choices:
    """What follows for pixel sizes and intensities.

    Args:
        notes: A sentence for each choice that is not the usual one.
        problems: What was asked for and cannot be without further settings.
        resampled: Whether images are brought to one pixel size.
    """

    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    resampled: bool = False


def choices(
    data: DataConfig,
    images: Mapping[str, ImageFacts],
    *,
    channels: int,
    scanned: bool,
    root: str,
) -> Choices:
    """What training on all these images would choose; on a part of them it may differ a little.

    Args:
        data: What was asked for.
        images: What is known of the images.
        channels: Channels of the network.
        scanned: As :func:`maskwright.data.target_spacing.choose_spacing` takes it.
        root: The folder, for messages.

    Example:
        >>> scans = {name: ImageFacts((9, 9), None, False, (True,)) for name in "ab"}
        >>> choices(DataConfig(), scans, channels=1, scanned=False, root="data").notes[0][:23]
        'intensities are clipped'
    """
    if not images or len({len(facts.size) for facts in images.values()}) > 1:
        return Choices()
    try:
        target_mm, told = choose_spacing(data, images, scanned=scanned)
    except MaskwrightError as error:
        # Training refuses it, unless it is told the pixel size of these images.
        problem = replace(Problem.from_error(error, Path(root)), level="warn")
        return Choices(problems=(problem,))
    notes = [told] if target_mm is not None else []
    ways, reason = choose_ways(data, list(images.values()), channels)
    if set(ways) != {"z-score"}:
        notes.append(reason)
    return Choices(
        tuple(map(as_note, notes)),
        resampled=target_mm is not None,
    )


def as_note(sentence: str) -> str:
    """A sentence as a line of a report.

    Example:
        >>> as_note("Images are small.")
        'images are small'
    """
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")
