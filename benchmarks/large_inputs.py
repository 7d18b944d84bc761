"""Large images made of real ones without an artificial seam, and runs to predict them with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import DataConfig, ModelConfig, PredictConfig, RunConfig
from maskwright.io.image import Image
from maskwright.io.large_mask import write_large_mask
from maskwright.io.registry import read_image
from maskwright.io.run_folder import RunFolder
from maskwright.io.stored import Block
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import UNet, build_unet


def mirrored(stop: int, length: int, start: int = 0) -> NDArray[np.intp]:
    """Positions in a line that is followed by its mirror image, and so on.

    Example:
        >>> mirrored(8, 3).tolist()
        [0, 1, 2, 2, 1, 0, 0, 1]
    """
    positions = np.arange(start, stop) % (2 * length)
    return np.where(positions < length, positions, 2 * length - 1 - positions)


def mosaic(array: NDArray[np.uint8], block: Block) -> NDArray[np.uint8]:
    """A block of the endless image that the mirror images of an array make."""
    lines = [
        mirrored(part.stop, length, part.start)
        for part, length in zip(block, array.shape, strict=True)
    ]
    return array[np.ix_(*lines)]


def sections(data: Path) -> NDArray[np.uint8]:
    """The membrane images of a folder as a stack, shape ``(Z, Y, X)``."""
    files = sorted((data / "membranes" / "images").iterdir())
    return np.stack([read_image(file).array[0] for file in files])


def write_mosaic(path: Path, array: NDArray[np.uint8], size: Sequence[int]) -> None:
    """Write the mosaic as a file of tiles; one that is there already is kept."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_large_mask(path, tuple(size), lambda block: Image(mosaic(array, block)[None]))


def network_like_trained(model: ModelConfig, array: NDArray[np.uint8]) -> UNet:
    """A network with random weights, statistics of these pixels and classes about as frequent."""
    torch.manual_seed(0)
    network = build_unet(model, seed=0)
    sides = geometry.next_legal_shape((128,) * 2 if model.dims == 2 else (32,) * 3, model)
    whole = mosaic(array[0] if model.dims == 2 else array, tuple(slice(0, n) for n in sides))
    normal = (whole - np.float32(whole.mean())) / np.float32(whole.std())
    batch = torch.from_numpy(normal)[None, None]
    with torch.no_grad():
        for _ in range(30):
            network(batch)
        network.eval()
        logits = network(batch)["logits"]
        network.head.bias -= logits.mean(dim=(0, *range(2, logits.ndim)))
    return network


def write_run(path: Path, network: UNet) -> Path:
    """A run folder of a network, without what training would leave beside it."""
    model = network.config
    step = 255 if model.classes == 2 else 1
    labels = tuple((f"class {k}", step * k) for k in range(model.classes))
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    config = RunConfig(model=model, data=DataConfig(labels=labels), predict=PredictConfig())
    folder.write_config(config)
    write_model(folder.model, network, {})
    return path
