"""One training step of ours against plain PyTorch (float32, NCHW) on the same network.

Plain means what most tools do on a CPU: the same network, loss and optimiser in float32 with
contiguous tensors. Ours includes augmentation, averaging of the weights and gradient clipping.

    python benchmarks/train_step.py [--width 16 32] [--rounds 9]
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from maskwright import geometry
from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.augment import apply_augmentation, draw_augmentation
from maskwright.data.sampler import Patches
from maskwright.nn.loss_target import Target
from maskwright.nn.losses import SegmentationLoss
from maskwright.nn.unet import build_unet
from maskwright.plan.machine import Numerics, candidates, fastest, reuse_memory
from maskwright.train.stepper import Stepper
from measuring import median_ratio, take_turns, write_results

CONFIG = TrainConfig(steps=1)


def draw_patches() -> Patches:
    generator = np.random.default_rng(0)
    shape = (CONFIG.batch, *CONFIG.patch_shape(2))
    return Patches(
        generator.normal(size=(shape[0], 1, *shape[1:])).astype(np.float32),
        generator.integers(0, 2, shape).astype(np.uint8),
        ("random",) * CONFIG.batch,
    )


def plain(width: int) -> Callable[[], None]:
    patches = draw_patches()
    image, truth = (torch.from_numpy(a) for a in (patches.image_BCS, patches.truth_BS))
    network = build_unet(ModelConfig(width=width), seed=0)
    optimiser = torch.optim.AdamW(network.parameters())
    loss = SegmentationLoss(CONFIG, classes=network.config.classes)

    def step() -> None:
        optimiser.zero_grad()
        loss(network(image)["logits"], Target(truth))[0].backward()
        optimiser.step()

    return step


def choose(width: int) -> Numerics:
    """What training would choose on this machine."""
    patches = draw_patches()

    def prepare(option: Numerics) -> Callable[[], None]:
        network = build_unet(ModelConfig(width=width), seed=0)
        stepper = Stepper(network, CONFIG, option.layout, option.precision)
        image, target = stepper.prepare(patches, 0)
        return lambda: _ignore(stepper.update(image, target, 0, 1e-6))

    return fastest(candidates("auto", "auto"), prepare)[0]


def ours(width: int) -> Callable[[], None]:
    reuse_memory()
    patches = draw_patches()
    chosen = choose(width)
    network = build_unet(ModelConfig(width=width), seed=0)
    stepper = Stepper(network, CONFIG, chosen.layout, chosen.precision)
    steps = itertools.count()

    def step() -> None:
        number = next(steps)
        stepper.update(*stepper.prepare(patches, number), number, 1e-6)

    return step


def augmentation(width: int) -> Callable[[], None]:
    reuse_memory()
    patches = draw_patches()
    image, truth = (torch.from_numpy(a) for a in (patches.image_BCS, patches.truth_BS))
    steps = itertools.count()

    def step() -> None:
        generator = torch.Generator().manual_seed(next(steps))
        drawn = draw_augmentation(CONFIG.augment, CONFIG.batch, generator)
        apply_augmentation(drawn, image, truth)

    return step


def measure(width: int, rounds: int) -> tuple[dict[str, Any], list[list[str]]]:
    model = ModelConfig(width=width)
    config = CONFIG
    chosen = choose(width)
    runs = {"plain": plain, "ours": ours, "augmentation": augmentation}
    seconds = take_turns(runs, (width,), rounds=rounds)
    ratio = median_ratio(seconds["plain"], seconds["ours"])
    share = 1 / median_ratio(seconds["ours"], seconds["augmentation"])
    layers = geometry.layer_table(config.patch_shape(2), model)
    # Forward, gradient of the input and gradient of the weights: three times the forward pass.
    operations = 3 * 2 * config.batch * sum(layer.macs for layer in layers)
    # Each output is written forward and read back, and its gradient likewise, two bytes each.
    values = config.batch * sum(math.prod(layer.shape) * layer.channels for layer in layers)
    best = min(seconds["ours"])
    figures = {
        "width": width,
        "batch": config.batch,
        "patch_px": config.patch_px,
        "numerics": str(chosen),
        "seconds": seconds,
        "ratio_plain_to_ours": ratio,
        "augmentation_share": share,
        "floor_operations": operations,
        "floor_bytes": 4 * 2 * values,
        "gflops_per_second": operations / best / 1e9,
    }
    table = [
        ["what", "value"],
        ["network", f"U-Net, depth 4, width {width}, batch 4 of 256²"],
        ["ours runs as", str(chosen)],
        ["plain float32 NCHW, median s", f"{np.median(seconds['plain']):.3f}"],
        ["ours, median s", f"{np.median(seconds['ours']):.3f}"],
        ["plain / ours", f"{ratio:.2f}"],
        ["augmentation, share of our step", f"{share:.1%}"],
        ["operations of a step", f"{operations / 1e9:.0f} GFLOP"],
        ["bytes moved at least", f"{4 * 2 * values / 1e9:.2f} GB"],
    ]
    return figures, table


def _ignore(_: object) -> None:
    """A step that is only timed returns nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    results = [measure(width, arguments.rounds) for width in arguments.width]
    rows = zip(*(table for _, table in results), strict=True)
    table = [[row[0][0], *(cells[1] for cells in row)] for row in rows]
    write_results("train_step", {"results": [figures for figures, _ in results]}, table)


if __name__ == "__main__":
    main()
