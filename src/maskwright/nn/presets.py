"""Named starting points: settings of a run that belong together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from maskwright.config import ModelConfig, RunConfig, TrainConfig
from maskwright.errors import ConfigError

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # The padded network with batch normalisation that everyone uses, narrow enough for two cores.
    "unet": {"model": {}, "train": {}},
    # Ronneberger, Fischer, Brox 2015, arXiv 1505.04597: 572 → 388, one image a step. Without
    # normalisation the peak learning rate has to be lower.
    "ronneberger2015": {
        "model": {"width": 64, "depth": 4, "padding": "valid", "norm": "none", "dropout": 0.5},
        "train": {"patch_px": 572, "batch": 1, "learning_rate": 5e-4},
    },
}


def preset(name: str) -> RunConfig:
    """The configuration of a preset.

    Args:
        name: One of :data:`PRESETS`.

    Raises:
        ConfigError: For an unknown name, with the nearest known one.

    Example:
        >>> preset("ronneberger2015").model.padding
        'valid'
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise ConfigError(
            "preset-unknown",
            "--preset",
            expected=f"one of {', '.join(PRESETS)}",
            found=repr(name),
            remedy=f"did you mean {near[0]}?" if near else "use one of these",
        )
    chosen = PRESETS[name]
    return RunConfig(model=ModelConfig(**chosen["model"]), train=TrainConfig(**chosen["train"]))
