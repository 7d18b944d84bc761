"""The images of one prediction, each with its mask's file and how it is tiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright.errors import ConfigError
from maskwright.io.registry import read_header
from maskwright.predict.predictor import Rule, z_score
from maskwright.workflow.prediction_plan import Fit, fit, show_bytes
from maskwright.workflow.predictor import Predictor

# What the probabilities of an image take while it is said how much to trust its mask: as they
# are, calibrated, and the blocks of the sums.
_HELD_BYTES = 12
# Class ids, the mask in its own values, and a copy of it while it is written.
_MASK_BYTES = 3


@dataclass(frozen=True)
class Case:
    """An image to predict.

    Args:
        name: Its name without a suffix.
        paths: Its files, one or one a channel.
        file: Its mask.
        size: Its size in pixels.
        rule: How it is tiled.
        fit: How that was chosen, where the network's layers are known.
        streams: Whether it is predicted from its file, tile by tile.
        needed_bytes: Memory that is expected to be needed; 0 where that is not known.
    """

    name: str
    paths: tuple[Path, ...]
    file: Path
    size: tuple[int, ...]
    rule: Rule
    fit: Fit | None = None
    streams: bool = False
    needed_bytes: int = 0


def plan_cases(
    channels: Mapping[str, tuple[Path, ...]],
    files: Mapping[str, Path],
    predictor: Predictor,
    memory: int,
    *,
    whole: Sequence[str],
    strict: bool,
    held: bool,
    trusted_px: int,
) -> list[Case]:
    """How each image is predicted in this memory; no pixel is read.

    Args:
        channels: The files of each image.
        files: The mask of each.
        predictor: The network.
        memory: Bytes.
        whole: What was asked for that needs an image and its probabilities in memory.
        strict: Whether that may not exceed the memory.
        held: Whether the probabilities of an image that is predicted in memory are held.
        trusted_px: Up to so many pixels they are held anyway.

    Raises:
        ConfigError: ``memory-too-small``, or ``memory-whole`` where the whole image is needed and
            does not fit.
        ImageReadError: For a file that cannot be read.
    """
    return [
        _case(name, paths, files[name], predictor, memory, whole, strict, held, trusted_px)
        for name, paths in channels.items()
    ]


def _case(
    name: str,
    paths: tuple[Path, ...],
    file: Path,
    predictor: Predictor,
    memory: int,
    whole: Sequence[str],
    strict: bool,
    held: bool,
    trusted_px: int,
) -> Case:
    header = read_header(paths[0])
    by_slices = predictor.slices and len(header.size) == 3
    if by_slices or predictor.tiling is None or predictor.normalise is not z_score:
        return Case(name, paths, file, header.size, predictor.rule)
    shape = (max(len(paths), header.channels), *header.size)
    fitted = fit(predictor.tiling, shape, np.dtype(header.dtype), memory, subject=str(paths[0]))
    pixels = math.prod(header.size)
    image_bytes = 2 * math.prod(shape) * np.dtype(header.dtype).itemsize
    image_bytes += _MASK_BYTES * pixels
    if whole or held or pixels <= trusted_px:
        image_bytes += _HELD_BYTES * predictor.classes * pixels
    needed = fitted.needed_bytes + image_bytes
    streams = needed > memory
    if streams and whole and strict:
        raise ConfigError(
            "memory-whole",
            str(paths[0]),
            expected=f"--memory of about {show_bytes(needed)} for {', '.join(whole)}",
            found=show_bytes(memory),
            remedy="give more memory, or leave out what needs the whole image",
        )
    streams = streams and not whole
    needed = fitted.needed_bytes if streams else needed
    return Case(name, paths, file, header.size, fitted.rule, fitted, streams, needed)
