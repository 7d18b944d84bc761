"""The images of one prediction, each with its mask's file and how it is tiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.errors import ConfigError
from maskwright.io.channels import open_channels
from maskwright.io.registry import read_header
from maskwright.predict.predictor import Rule, z_score
from maskwright.resampling import Grid, interpolated_type
from maskwright.workflow.prediction_checks import naming_image
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
        at_once: How many turned copies of a tile can be predicted together in this memory.
        grid: Its grid and that of the network, where they differ; of the slices of a stack.
    """

    name: str
    paths: tuple[Path, ...]
    file: Path
    size: tuple[int, ...]
    rule: Rule
    fit: Fit | None = None
    streams: bool = False
    needed_bytes: int = 0
    at_once: int = 1
    grid: Grid | None = None

    @property
    def work_px(self) -> tuple[int, ...]:
        """Its size on the grid of the network."""
        if self.grid is None:
            return self.size
        return (*self.size[: -len(self.grid.network_px)], *self.grid.network_px)

    def resampling(self, back: str) -> dict[str, Any]:
        """How it was brought to the network's grid and back, for its record.

        Args:
            back: What was brought back, ``probabilities`` or ``class ids``.
        """
        if self.grid is None:
            return {}
        return {"resampled": {"spacing_mm": list(self.grid.network_mm), "back": back}}


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
        DataError: ``spacing-missing`` for an image without the pixel size that the network needs.
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
    grid = _grid(paths, header.size, predictor, by_slices)
    if by_slices or predictor.tiling is None or predictor.normalise is not z_score:
        return Case(name, paths, file, header.size, predictor.rule, grid=grid)
    shape, dtype = (max(len(paths), header.channels), *header.size), np.dtype(header.dtype)
    pixels = math.prod(header.size)
    image_bytes = 2 * math.prod(shape) * dtype.itemsize + _MASK_BYTES * pixels
    if grid is not None:
        shape, dtype = (shape[0], *grid.network_px), interpolated_type(dtype)
        image_bytes += math.prod(shape) * dtype.itemsize
    fitted = fit(predictor.tiling, shape, dtype, memory, subject=str(paths[0]))
    least = fitted.needed_bytes
    if grid is not None:
        # The rows of tiles that are brought back together; the part of the file under a band.
        rows = max(tile.write[0].size for tile in fitted.rule.cover(grid.network_px))
        image_bytes += 4 * predictor.tiling.classes * rows * math.prod(grid.network_px[1:])
        least += fitted.band_bytes
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
    needed = least if streams else needed
    at_once = fitted.at_once(memory - needed)
    return Case(name, paths, file, header.size, fitted.rule, fitted, streams, needed, at_once, grid)


def _grid(
    paths: tuple[Path, ...], size: tuple[int, ...], predictor: Predictor, by_slices: bool
) -> Grid | None:
    if predictor.spacing_mm is None:
        return None
    spacing_mm = open_channels(paths).spacing_mm
    if by_slices:
        size, spacing_mm = size[1:], None if spacing_mm is None else spacing_mm[1:]
    with naming_image(paths[0]):
        return predictor.grid(size, spacing_mm)
