"""Named starting points: settings of a run that belong together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from maskwright.config import RunConfig, validate
from maskwright.errors import ConfigError

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # The padded network with batch normalisation that everyone uses, narrow enough for two cores.
    "unet": {"model": {}, "train": {}},
    # The same with half the channels, for slow machines: less than half a million parameters.
    "small": {"model": {"width": 8}, "train": {}},
    # Ronneberger, Fischer, Brox 2015, arXiv 1505.04597: 572 → 388, one image a step. Without
    # normalisation the peak learning rate has to be lower.
    "ronneberger2015": {
        "model": {"width": 64, "depth": 4, "padding": "valid", "norm": "none", "dropout": 0.5},
        "train": {"patch_px": 572, "batch": 1, "learning_rate": 5e-4},
    },
    # Çiçek et al. 2016, arXiv 1606.06650: three channels, three classes, 132×132×116 → 44×44×28
    # in X, Y, Z. The 19,069,955 parameters of the paper are those of the folded network: one
    # shift for each channel of a convolution, and none in the up-convolutions.
    "cicek2016": {
        "model": {
            "dims": 3,
            "channels": 3,
            "classes": 3,
            "depth": 3,
            "width": 64,
            "widen": "second",
            "padding": "valid",
            "norm": "batch",
            "up_bias": False,
        },
        "train": {"patch_px": 116, "batch": 1},
    },
    # Isensee et al. 2021, doi 10.1038/s41592-020-01008-z: nnU-Net's plain network as it is planned
    # for images of 512², eight stages. In three dimensions: dims=3, depth=5, max_width=320.
    "isensee2021": {
        "model": {
            "depth": 7,
            "width": 32,
            "max_width": 512,
            "norm": "instance",
            "activation": "leaky_relu",
            "down": "stride",
            "levels": "supervised",
        },
        "train": {"patch_px": 512, "batch": 2},
    },
    # A prediction at each level, fused by learned weights: Lin et al. 2017, arXiv 1612.03144, for
    # the pyramid of predictions; Xie and Tu 2015, arXiv 1504.06375, for the fusion.
    "fused": {"model": {"levels": "fused"}, "train": {}},
    # Oktay et al. 2018, arXiv 1804.03999: attention gates on all skips but the first.
    "attention": {"model": {"attention": True}, "train": {}},
    # He et al. 2015, arXiv 1512.03385, in a U-Net as in Zhang et al. 2018, arXiv 1711.10684.
    "residual": {"model": {"block": "residual"}, "train": {}},
}

VOLUMES: Mapping[str, Mapping[str, Any]] = {
    # Three poolings see 88 voxels across, more than most patches. Organs lie the same way in every
    # volume, so mirrored ones and large turns are examples of what never comes.
    "model": {"depth": 3},
    "train": {"batch": 2, "validations": 5, "augment": {"flip": 0.0, "rotate_deg": 20.0}},
    # Mirrored voxels cost with the third power of the side.
    "predict": {"tile_px": 192, "mirror_px": 8},
}
"""What every preset has for volumes, where it does not name another value itself."""

FIGURES: Mapping[str, tuple[int, ...]] = {"cicek2016": (116, 132, 132)}
"""Inputs shown in a preset's paper where they are no square or cube, in the order of the array."""


def preset(name: str, *, dims: int = 2) -> RunConfig:
    """The configuration of a preset.

    Args:
        name: One of :data:`PRESETS`.
        dims: 3 for volumes, which :data:`VOLUMES` are for.

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
    chosen: dict[str, dict[str, Any]] = {"model": {"dims": dims}, "train": {}, "predict": {}}
    for values in (VOLUMES if dims == 3 else {}, PRESETS[name]):
        for section, fields in values.items():
            chosen[section].update(fields)
    return validate(RunConfig, chosen, subject=f"--preset {name}")
