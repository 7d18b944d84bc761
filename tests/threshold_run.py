"""A run whose network marks what is brighter than the image's mean, voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import maskwright as mw
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet

DEVIATIONS = 2.0
"""How far above the mean, in standard deviations."""


def hand_on(network: nn.Module) -> None:
    """Let every convolution hand on the first channel as it is, and nothing else."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                layer.weight.zero_()
                if layer.bias is not None:
                    layer.bias.zero_()
                layer.weight[(0, 0, *(n // 2 for n in layer.kernel_size))] = 1


def make_threshold_run(path: Path, *, dims: int = 3, data: mw.DataConfig | None = None) -> Path:
    """A run folder with a network of two classes."""
    model = mw.ModelConfig(dims=dims, depth=1, width=4, classes=2, norm="none")
    network = build_unet(model, seed=1).eval()
    centre = (1,) * dims
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for name in ("encoder.0.0", "encoder.0.2", "decoder.0.0", "decoder.0.2"):
            weight = network.get_parameter(f"{name}.weight")
            # The first channel goes through, whichever half of the joined ones it is in.
            weight[(0, 0, *centre)] = 1.0
            weight[(0, weight.shape[1] // 2, *centre)] = 1.0
        network.head.weight[1, 0] = 1.0
        network.head.bias[0] = DEVIATIONS
    path.mkdir(parents=True)
    data = data or mw.DataConfig(labels=(("background", 0), ("bright", 255)))
    predict = mw.PredictConfig(precision="float32", mirror_px=8, tile_px=32)
    RunFolder(path).write_config(mw.RunConfig(model=model, data=data, predict=predict))
    write_model(RunFolder(path).model, network, {})
    return path
