"""What has to be done to an image before a network, told to other programs."""

from __future__ import annotations

from typing import Any

from maskwright.config import ChannelIntensity, DataConfig
from maskwright.errors import ConfigError

EPSILON = 1e-6


def described(data: DataConfig) -> dict[str, Any]:
    """Normalisation and pixel size as plain values.

    Args:
        data: What training found.

    Example:
        >>> described(DataConfig(spacing=(2.0, 1.0, 1.0)))["pixel_size_mm"]
        [2.0, 1.0, 1.0]
    """
    ways = {channel.way for channel in data.channel_intensity} or {"z-score"}
    values: dict[str, Any] = {
        "normalisation": "zero_mean_unit_variance" if ways == {"z-score"} else "by_channel",
        "normalised_over": "each channel of the whole image, before it is tiled",
    }
    if data.channel_intensity:
        values["channels"] = [channel.model_dump() for channel in data.channel_intensity]
    if data.spacing_mm is not None:
        values["pixel_size_mm"] = list(data.spacing_mm)
    return values


def bioimageio_steps(data: DataConfig, axes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The steps of bioimage.io's model format 0.5.4 that do the same.

    Args:
        data: What training found.
        axes: Names of the axes of space.

    Raises:
        ConfigError: ``export-intensity`` where the format has no such step.

    Example:
        >>> [step["id"] for step in bioimageio_steps(DataConfig(), ("y", "x"))]
        ['zero_mean_unit_variance']
    """
    own = {"id": "zero_mean_unit_variance", "kwargs": {"axes": list(axes), "eps": EPSILON}}
    ways = data.channel_intensity
    if all(way.way == "z-score" for way in ways):
        return [own]
    ends = {(way.low, way.high) for way in ways if way.mean is not None}
    # Readers measure an image before its first step, so that what is measured of a clipped one
    # cannot be described.
    if len(ends) != 1 or any(way.mean is None for way in ways):
        raise ConfigError(
            "export-intensity",
            "--format bioimageio",
            expected="channels all clipped to one window with the mean of the training images, or "
            "each image normalised by itself",
            found=", ".join(f"channel {c}: {_shown(way)}" for c, way in enumerate(ways)),
            remedy="use --format onnx, or train with --set data.intensity=z-score",
        )
    low, high = ends.pop()
    numbers = {"mean": [way.mean for way in ways], "std": [way.std for way in ways]}
    return [
        {"id": "clip", "kwargs": {"min": low, "max": high}},
        {"id": "fixed_zero_mean_unit_variance", "kwargs": {**numbers, "axis": "channel"}},
    ]


def _shown(way: ChannelIntensity) -> str:
    return way.way if way.low is None else f"{way.way} {way.low:g} to {way.high:g}"
