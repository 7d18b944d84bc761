"""What is done to the intensities of each channel, chosen from the training images, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig
from maskwright.data.image_facts import ImageFacts
from maskwright.data.intensity import CLIPPED_SHARES, measure_blocks
from maskwright.data.labelmap import IGNORED
from maskwright.data.quantiles import quantiles
from maskwright.data.sampler import Source
from maskwright.intensity_config import ChannelIntensity, IntensityWay

_MOST = 0.9  # share of the images that have to look like CT
_BLOCK_PX = 1 << 22


def choose_ways(
    data: DataConfig, images: Sequence[ImageFacts], channels: int
) -> tuple[tuple[IntensityWay, ...], str]:
    """The way of each channel.

    ``auto`` is a window where the values have a physical scale that is the same in every image:
    in nine of ten images whole numbers from that of air, about −1000, up to tissue, as CT has
    them. Elsewhere one value means something else in every image, and it is the z-score.

    Args:
        data: What was asked for.
        images: What is known of the training images.
        channels: Channels of the network.

    Returns:
        The ways, and the reason.

    Example:
        >>> scan = ImageFacts((9, 9), None, False, (True,))
        >>> choose_ways(DataConfig(), [scan, scan], 1)[0]
        ('window',)
    """
    if data.window is not None:
        low, high = data.window
        window: IntensityWay = "window"
        return (window,) * channels, f"Intensities are clipped to {low:g} to {high:g}, as set."
    if data.intensity != "auto":
        asked: IntensityWay = data.intensity
        return (asked,) * channels, f"Intensities: {data.intensity}, as set."
    scans = [
        sum(facts.hounsfield[min(c, len(facts.hounsfield) - 1)] for facts in images)
        for c in range(channels)
    ]
    ways: tuple[IntensityWay, ...] = tuple(
        "window" if count and count >= _MOST * len(images) else "z-score" for count in scans
    )
    if "window" not in ways:
        return ways, (
            "Intensities: every channel of every image gets mean 0 and standard deviation 1, as "
            "its values show no physical scale that all images share."
        )
    which = "" if channels == 1 else f" of channel {', '.join(_numbers(ways))}"
    return ways, (
        f"Intensities{which} are clipped to the range of what is drawn in the training images, and "
        f"scaled alike in all: they look like CT, whole numbers from about -1000 (air) in "
        f"{max(scans)} of {len(images)} images. --set data.intensity=z-score scales each image by "
        "itself."
    )


def _numbers(ways: Sequence[IntensityWay]) -> list[str]:
    return [str(c) for c, way in enumerate(ways) if way == "window"]


def fit_channels(
    ways: Sequence[IntensityWay], data: DataConfig, sources: Sequence[Source]
) -> tuple[ChannelIntensity, ...]:
    """What is done to each channel, with the numbers that the training images give.

    A window reaches from the 0.5 to the 99.5 percentile of the annotated pixels of all classes but
    the first (of all pixels where there are none), with their mean and deviation. One that was
    given is taken as it is, and each image then gets mean 0 and deviation 1.

    Args:
        ways: The way of each channel.
        data: What was asked for.
        sources: The training images.

    Returns:
        Empty where every channel has the z-score.

    Source: Isensee et al. 2021, Nature Methods 18, nnU-Net's scheme for CT.
    """
    if set(ways) == {"z-score"}:
        return ()
    if data.window is not None:
        low, high = data.window
        return tuple(ChannelIntensity(way="window", low=low, high=high) for _ in ways)
    return tuple(
        _window(sources, c) if way == "window" else ChannelIntensity(way=way)
        for c, way in enumerate(ways)
    )


def _window(sources: Sequence[Source], channel: int) -> ChannelIntensity:
    for drawn in (True, False):
        ends = quantiles(partial(_values, sources, channel, drawn), CLIPPED_SHARES)
        if ends and ends[0] < ends[1]:
            found = measure_blocks((v[None] for v in _values(sources, channel, drawn)), 1)
            return ChannelIntensity(
                way="window", low=ends[0], high=ends[1], mean=found.mean[0], std=found.std[0]
            )
    # Constant images: there is nothing to clip.
    return ChannelIntensity()


def _values(sources: Sequence[Source], channel: int, drawn: bool) -> Iterator[NDArray[Any]]:
    """Values of a channel where something is drawn, or of all pixels that count."""
    for source in sources:
        plane_S, classes_S = source.image_CYX[channel], source.classes_YX
        rows = max(1, _BLOCK_PX // max(1, int(np.prod(classes_S.shape[1:]))))
        for first in range(0, len(classes_S), rows):
            part_S = classes_S[first : first + rows]
            wanted_S = part_S != IGNORED
            if drawn:
                wanted_S &= part_S != 0
            values = plane_S[first : first + rows][wanted_S]
            if values.size:
                yield values
