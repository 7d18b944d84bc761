"""How much memory a network takes, roughly, from its layers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from maskwright.geometry import axes_of, layer_table
from maskwright.network_config import ModelConfig
from maskwright.plan import rules

_LEAST_PX = 8  # side of the smallest patch that a configuration allows


def training_bytes(model: ModelConfig, patch_px: Sequence[int], batch: int) -> int:
    """Memory of one update.

    Args:
        model: The network.
        patch_px: Size of a patch along each axis, legal for the network.
        batch: Patches a step.

    Example:
        >>> training_bytes(ModelConfig(), (256, 256), 4) // 2**20 in range(500, 3000)
        True
    """
    layers = layer_table(patch_px, model)
    numbers = sum(layer.channels * math.prod(layer.shape) for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    return round(batch * numbers * rules.ACTIVATION_BYTES + parameters * rules.PARAMETER_BYTES)


def prediction_bytes(model: ModelConfig, tile_px: int) -> int:
    """Memory of predicting one tile.

    Args:
        model: The network.
        tile_px: Its side.

    Example:
        >>> prediction_bytes(ModelConfig(), 1024) // 2**20
        512
    """
    return round(float(tile_px) ** model.dims * model.level_widths[0] * rules.PREDICTION_BYTES)


def legal_patch(
    model: ModelConfig,
    sides_px: Sequence[int],
    largest_px: Sequence[int],
    *,
    most_px: int | None = None,
) -> tuple[int, ...]:
    """A patch that the network can process, no larger than the images need.

    Args:
        model: The network.
        sides_px: Largest size along each axis.
        largest_px: Largest size of an image along each axis.
        most_px: Pixels it holds at most; the longest side is cut until it does.

    Example:
        >>> legal_patch(ModelConfig(dims=3, depth=3), (64, 64, 64), (43, 59, 47), most_px=64**3)
        (48, 64, 48)
    """
    axes = axes_of(model)
    patch = [
        min(
            axis.previous_legal(side) or axis.next_legal(side),
            axis.next_legal(max(size + 2 * axis.border_loss, _LEAST_PX)),
        )
        for side, size, axis in zip(sides_px, largest_px, axes, strict=True)
    ]
    while most_px is not None and math.prod(patch) > most_px:
        # Where the longest side cannot be cut, the next one is.
        for place in sorted(range(len(patch)), key=lambda axis: -patch[axis]):
            smaller = axes[place].previous_legal(patch[place] - 1)
            if smaller is not None and smaller >= _LEAST_PX:
                patch[place] = smaller
                break
        else:
            break
    return tuple(patch)
