"""How an image is tiled in the memory that a person allows: pure arithmetic, before any pixel.

::

    memory ≥ the program + activations of a tile + slab of sums + band of the image
                                     │                  │                │
                              as large a tile as fits   only where tiles are averaged
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright import geometry
from maskwright.config import ModelConfig, PredictConfig
from maskwright.errors import ConfigError, SizeError
from maskwright.predict.predictor import Rule
from maskwright.tiling import BlendRule, TileRule

DEFAULT_MEMORY = 2_000_000_000
"""Bytes that prediction takes at most where nobody says otherwise."""

# Python with its libraries, as measured; memory that the allocator does not give back.
_PROGRAM_BYTES = 450_000_000
_SLACK = 1.25
# Larger batches were no faster on a processor, and took more memory.
_BATCH_PX = 1 << 20
# What finding an object takes for each pixel of its box, as measured, and a box there is always
# memory for.
_BOX_BYTES = 100
_LEAST_BOX_PX = 1 << 21
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip


@dataclass(frozen=True)
class Tiling:
    """What decides how a network's tiles can be cut.

    Args:
        rule_of: From the largest side of a tile to how tiles are cut.
        tile_px: Largest side that is wanted.
        bytes_px: Memory for one pixel of a tile while the network runs.
        classes: Classes of the network.
    """

    rule_of: Callable[[int], Rule]
    tile_px: int
    bytes_px: float
    classes: int


@dataclass(frozen=True)
class Fit:
    """The tiles of one image, and the memory to predict it from its file.

    Args:
        rule: How it is tiled.
        tile_px: Largest side of a tile.
        tiles: How many there are.
        averaged: Whether tiles overlap and are averaged.
        sums: Data type of the running sums where tiles are averaged.
        band_bytes: Memory for the part of the image that is held.
        tile_bytes: Memory for one tile while the network runs, with its slab of sums.
        read_px: Pixels that the network reads for a tile at most.
        needed_bytes: Memory in all.
        box_px: Pixels of the box around the largest object that is cut and outlined.
    """

    rule: Rule
    tile_px: int
    tiles: int
    averaged: bool
    sums: type[np.floating[Any]]
    band_bytes: int
    tile_bytes: int
    read_px: int
    needed_bytes: int
    box_px: int

    def at_once(self, spare_bytes: int) -> int:
        """How many turned copies of a tile are predicted together.

        Args:
            spare_bytes: Memory beside that of one tile.
        """
        fitting = 1 + max(0, spare_bytes) // self.tile_bytes
        return max(1, min(fitting, _BATCH_PX // self.read_px))

    def settings(self) -> dict[str, Any]:
        """What the class ids depend on, as plain values."""
        return {
            "tile_px": self.tile_px,
            "averaged": self.averaged,
            "sums": np.dtype(self.sums).name,
        }


def tiling_of(model: ModelConfig, config: PredictConfig, *, tile: int | None = None) -> Tiling:
    """How a network may be tiled.

    Args:
        model: The network.
        config: The prediction settings.
        tile: Overrides the largest side of a tile.
    """
    return Tiling(
        lambda tile_px: tile_rule(model, config, tile=tile_px),
        tile or config.tile_px,
        activation_bytes(model),
        model.classes,
    )


def tile_rule(
    model: ModelConfig, config: PredictConfig, *, tile: int | None = None
) -> TileRule | BlendRule:
    """How a network is cut into tiles of one size.

    Tiles are exact where the network allows it. They overlap and are averaged where it does not,
    and for volumes whose exact context is wider than a quarter of the tile: more than seven of
    eight voxels would be computed to be thrown away.

    Args:
        model: The network.
        config: The prediction settings.
        tile: Overrides the largest side of a tile.
    """
    axes, tile_px = geometry.axes_of(model), tile or config.tile_px
    wide = model.dims == 3 and max(axis.halo for axis in axes) > tile_px // 4
    if wide or not geometry.is_exact(model):
        return BlendRule(axes, tile_px, config.mirror_px)
    return TileRule(axes, tile_px, config.mirror_px)


def activation_bytes(model: ModelConfig) -> float:
    """Bytes for each pixel of the input while a network predicts, in float32.

    The most is held at the end of the decoder: the joined features twice (as they are and as the
    convolution reads them), the skip, the features of all levels, and the probabilities.

    Args:
        model: The network.

    Example:
        >>> activation_bytes(ModelConfig(width=16))
        476.0
    """
    smallest = geometry.next_legal_shape((1,) * model.dims, model)
    wider = tuple(n + axis.step for n, axis in zip(smallest, geometry.axes_of(model), strict=True))
    rows = geometry.layer_table(wider, model)
    joined = next(row.channels for row in rows if row.name == "up 0 concatenate")
    width = model.level_widths[0]
    extra = 2 * (model.block == "residual") + (model.norm in ("instance", "group"))
    extra += model.attention + (model.squeeze_excitation > 0)
    levels = 2 * model.classes * model.depth if model.levels == "fused" else 0
    return 4.0 * (2 * joined + (3 + extra) * width + 3 * model.classes + levels + model.channels)


def fit(
    tiling: Tiling, shape: tuple[int, ...], dtype: np.dtype[Any], memory: int, *, subject: str
) -> Fit:
    """The largest tiles with which an image can be predicted in this memory.

    Args:
        tiling: The network's.
        shape: The image, ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        dtype: Data type of its pixels.
        memory: Bytes.
        subject: The image, for messages.

    Raises:
        ConfigError: ``memory-too-small``.
        SizeError: When the wanted tile leaves nothing to keep.

    Example:
        >>> tiling = tiling_of(ModelConfig(width=16), PredictConfig())
        >>> [fit(tiling, (1, 30000, 30000), np.dtype("u1"), gigabytes * 10**9, subject="").tile_px
        ...  for gigabytes in (1, 2)]
        [896, 1024]
    """
    channels, *size = shape
    least = 0
    for tile_px in _sides(tiling.tile_px):
        rule = tiling.rule_of(tile_px)
        try:
            tiles = rule.cover(tuple(size))
        except SizeError:
            if tile_px == tiling.tile_px:
                raise
            break
        averaged = tiles[0].weights is not None
        across = math.prod(size[1:])
        band = channels * max(tile.read[0].size for tile in tiles) * across * dtype.itemsize
        held = min(band, memory // 8)
        largest = max(math.prod(interval.size for interval in tile.read) for tile in tiles)
        sums: type[np.floating[Any]] = np.float32
        slab = 4 * averaged * tiling.classes * max(tile.write[0].size for tile in tiles) * across
        if slab > memory // 4:
            sums, slab = np.float16, slab // 2
        each = int(_SLACK * tiling.bytes_px * largest) + slab
        needed = _PROGRAM_BYTES + each + held
        if needed <= memory:
            box = max(_LEAST_BOX_PX, (memory - _PROGRAM_BYTES) // _BOX_BYTES)
            return Fit(rule, tile_px, len(tiles), averaged, sums, held, each, largest, needed, box)
        least = needed
    raise ConfigError(
        "memory-too-small",
        "--memory",
        expected=f"at least {show_bytes(least)} for {subject}",
        found=show_bytes(memory),
        remedy=f"use --memory {math.ceil(least / 1e8) / 10:g}GB or more",
    )


def parse_memory(text: str, *, subject: str = "--memory ") -> int:
    """Bytes from what a person types.

    Args:
        text: A number with a unit.
        subject: The option and what lies between it and the number, for the message.

    Raises:
        ConfigError: ``memory-unit``.

    Example:
        >>> parse_memory("2GB"), parse_memory("1.5 GiB"), parse_memory("800m")
        (2000000000, 1610612736, 800000000)
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([kmgt]i?)?b?", text.strip().lower())
    if found is None:
        raise ConfigError(
            "memory-unit",
            subject.rstrip(" ="),
            expected="a number with a unit, such as 2GB or 800MB",
            found=repr(text),
            remedy=f"write for example {subject}2GB",
        )
    return int(float(found[1]) * _UNITS[found[2] or ""])


def memory_bytes(memory: str | int | None) -> int:
    """Bytes that prediction may take, from what was asked for.

    Raises:
        ConfigError: ``memory-unit``.
    """
    if memory is None:
        return DEFAULT_MEMORY
    return parse_memory(memory) if isinstance(memory, str) else memory


def show_bytes(count: float) -> str:
    """Bytes as people read them.

    Example:
        >>> show_bytes(1_840_000_000), show_bytes(420_000_000)
        ('1.8 GB', '420 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _sides(largest: int) -> Iterator[int]:
    """Sides of tiles to try, the largest first, each about an eighth smaller."""
    side = largest
    while side >= min(64, largest):
        yield side
        step = max(16, 1 << (max(16, side // 8).bit_length() - 1))
        side = (side - 1) // step * step
