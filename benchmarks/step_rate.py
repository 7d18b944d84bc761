"""One training step of nnU-Net's trainer and of ours: same network, patch, batch and machine.

nnU-Net plans for 512² images: eight stages of 32 to 512 channels, instance normalisation, deep
supervision, two patches of 512² a step. Ours is the preset ``isensee2021``, the same network.
nnU-Net's step is timed with the batch that its loader makes and augments, and with one batch for
all steps; ours always draws, augments, clips and averages its weights. The programs take turns,
each in a process of its own.

    python benchmarks/step_rate.py [--rounds 5]

Runs in the environment that ``equal_time.py --install`` makes.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import ModelConfig, RunConfig
from maskwright.data.intensity import measure
from maskwright.data.sampler import PatchSampler, Source
from maskwright.io.image import Image
from maskwright.io.registry import write_mask
from maskwright.nn.presets import preset
from maskwright.nn.unet import build_unet
from maskwright.plan.machine import Numerics, candidates, fastest, reuse_memory
from maskwright.train.stepper import Stepper
from measuring import median_ratio, take_turns, write_results
from nnunet_run import open_trainer, plan
from peers import (
    HERE,
    PEERS,
    count_cores,
    has,
    leave_out_timm,
    python_of,
)

# Before nnU-Net, in this process and in those that it starts.
leave_out_timm()

NUMBER = 510
IMAGES = 4
SIDE_PX = 512
WORK = HERE / "work" / "step_rate"


def draw_image(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Bright discs in noise, and where they are."""
    generator = np.random.default_rng(seed)
    y, x = np.indices((SIDE_PX, SIDE_PX))
    mask_YX = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for row, column in generator.integers(0, SIDE_PX, (30, 2)):
        mask_YX |= ((y - row) ** 2 + (x - column) ** 2 < 20**2).astype(np.uint8)
    noise_YX = generator.normal(80, 20, mask_YX.shape) + 90 * mask_YX
    return noise_YX.clip(0, 255).astype(np.uint8), mask_YX


def write_data(raw: Path) -> None:
    """A small data set of 512² images in nnU-Net's folders."""
    folder = raw / f"Dataset{NUMBER}_discs"
    for inner in ("imagesTr", "labelsTr"):
        (folder / inner).mkdir(parents=True)
    for seed in range(IMAGES):
        image_YX, mask_YX = draw_image(seed)
        write_mask(folder / "imagesTr" / f"case_{seed}_0000.png", Image(image_YX[None]))
        write_mask(folder / "labelsTr" / f"case_{seed}.png", Image(mask_YX[None]))
    description = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "disc": 1},
        "numTraining": IMAGES,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def nnunet(cores: int, _: Numerics) -> Callable[[], None]:
    """Its step with the batch that its loader makes."""
    trainer = open_trainer(NUMBER, "2d", cores)
    trainer.network.train()

    def step() -> None:
        trainer.train_step(next(trainer.dataloader_train))

    return step


def nnunet_network(cores: int, _: Numerics) -> Callable[[], None]:
    """Its step without making a batch."""
    trainer = open_trainer(NUMBER, "2d", cores)
    trainer.network.train()
    batch = next(trainer.dataloader_train)

    def step() -> None:
        trainer.train_step(batch)

    return step


def our_config() -> RunConfig:
    """The same network, patch and batch."""
    return preset("isensee2021")


def our_sampler(config: RunConfig) -> PatchSampler:
    sources = []
    for seed in range(IMAGES):
        image_YX, mask_YX = draw_image(seed)
        image_CYX = image_YX[None]
        sources.append(Source(f"case_{seed}", image_CYX, mask_YX, measure(image_CYX, 1)))
    return PatchSampler(
        sources,
        channels=1,
        classes=2,
        batch=config.train.batch,
        patch_px=config.train.patch_px,
        border_px=0,
        foreground_share=config.train.foreground_share,
        seed=0,
    )


def our_stepper(config: RunConfig, numerics: Numerics) -> Stepper:
    train = config.train.model_copy(update={"steps": 1})
    network = build_unet(config.model, seed=0)
    return Stepper(network, train, numerics.layout, numerics.precision)


def choose() -> Numerics:
    """The number format and memory order that training would choose here."""
    config = our_config()
    patches = our_sampler(config).draw(0)

    def prepare(option: Numerics) -> Callable[[], None]:
        stepper = our_stepper(config, option)
        image, target = stepper.prepare(patches, 0)

        def step() -> None:
            stepper.update(image, target, 0, 1e-6)

        return step

    return fastest(candidates("auto", "auto"), prepare)[0]


def ours(cores: int, numerics: Numerics) -> Callable[[], None]:
    """Our step, from the images on."""
    import torch

    torch.set_num_threads(cores)
    reuse_memory()
    config = our_config()
    sampler = our_sampler(config)
    stepper = our_stepper(config, numerics)
    steps = itertools.count()

    def step() -> None:
        number = next(steps)
        stepper.update(*stepper.prepare(sampler.draw(number), number), number, 1e-6)

    return step


def same_network(model: ModelConfig, config: RunConfig, work: Path) -> dict[str, Any]:
    """What nnU-Net planned, refused where it is not what ours is."""
    folder = work / "nnUNet_preprocessed" / f"Dataset{NUMBER}_discs"
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    planned = plans["configurations"]["2d"]
    theirs = {
        "widths": planned["architecture"]["arch_kwargs"]["features_per_stage"],
        "patch_px": planned["patch_size"],
        "batch": planned["batch_size"],
    }
    own = {
        "widths": list(model.level_widths),
        "patch_px": list(config.train.patch_shape(model.dims)),
        "batch": config.train.batch,
    }
    if theirs != own:
        raise SystemExit(f"nnU-Net planned {theirs}, ours is {own}")
    return own


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environment", type=Path, default=PEERS, help="where nnU-Net is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=WORK)
    arguments = parser.parse_args()
    if importlib.util.find_spec("nnunetv2") is None:
        if not has("nnunetv2", python_of(arguments.environment)):
            parser.error("no nnU-Net: run `python benchmarks/equal_time.py --install` first")
        command = [str(python_of(arguments.environment)), __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command, check=False).returncode)
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (work / name).mkdir(parents=True)
        os.environ[name] = str(work / name)
    cores = count_cores()
    write_data(work / "nnUNet_raw")
    plan(NUMBER, "2d", cores)
    config = our_config()
    network = same_network(config.model, config, work)
    runs = {"nnunet": nnunet, "nnunet_network": nnunet_network, "ours": ours}
    numerics = choose()
    seconds = take_turns(runs, (cores, numerics), rounds=arguments.rounds, warmups=1)
    ratios = {
        "ratio": median_ratio(seconds["nnunet"], seconds["ours"]),
        "ratio_network": median_ratio(seconds["nnunet_network"], seconds["ours"]),
    }
    rates = {name: network["batch"] / statistics.median(s) for name, s in seconds.items()}
    table = [
        ["what", "value"],
        ["network", f"U-Net, stages {network['widths']}, batch 2 of 512²"],
        ["ours runs as", str(numerics)],
        ["nnU-Net, images a second", f"{rates['nnunet']:.3f}"],
        ["nnU-Net with one batch for all steps", f"{rates['nnunet_network']:.3f}"],
        ["ours", f"{rates['ours']:.3f}"],
        ["ours / nnU-Net", f"{ratios['ratio']:.2f}"],
        ["ours / nnU-Net with one batch", f"{ratios['ratio_network']:.2f}"],
    ]
    write_results(
        "step_rate", {**network, "numerics": str(numerics), "seconds": seconds, **ratios}, table
    )


if __name__ == "__main__":
    main()
