"""Trains small networks in one of several processes, or alone; writes what it saw as JSON.

python rank_program.py FOLDER [STEP_AT_WHICH_THE_SECOND_PROCESS_DIES]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.intensity import measure
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import PatchSampler, Source
from maskwright.errors import RunError
from maskwright.nn.ranks import Ranks
from maskwright.nn.unet import UNet, build_unet
from maskwright.progress import Event, Events
from maskwright.train.distributed import joined
from maskwright.train.stepper import Stepper
from maskwright.train.trainer import fit

STEPS = 12
# Noise and turns are on: each process must draw its own rows of the whole batch's changes.
TRAIN = TrainConfig(steps=STEPS, batch=4, patch_px=32, validations=3, seed=3, learning_rate=5e-3)
CASES: dict[str, tuple[ModelConfig, TrainConfig]] = {
    "batch norm and dropout": (ModelConfig(depth=2, width=4, dropout=0.3), TRAIN),
    "computed again": (
        ModelConfig(depth=2, width=4, dropout=0.3),
        TRAIN.model_copy(update={"checkpointing": True}),
    ),
    "levels, a head for images and ignored pixels": (
        ModelConfig(depth=2, width=4, norm="instance", levels="fused", image_classes=2),
        TRAIN.model_copy(
            update={
                "loss": "dice+ce+tversky+focal+0.01*boundary+cldice",
                "loss_settings": TRAIN.loss_settings.model_copy(
                    update={"class_weights": (1.0, 3.0)}
                ),
            }
        ),
    ),
    "each patch for itself": (
        ModelConfig(depth=1, width=4, norm="none"),
        TRAIN.model_copy(
            update={
                "learning_rate": 1e-3,
                "loss_settings": TRAIN.loss_settings.model_copy(update={"dice_per_sample": True}),
            }
        ),
    ),
}


def sampler_of(config: TrainConfig, ranks: Ranks) -> PatchSampler:
    generator = np.random.default_rng(0)
    sources = []
    for number, name in enumerate(("a", "b")):
        classes = np.zeros((48, 48), np.uint8)
        classes[10:30, 12:34] = 1
        image = (classes * 100 + generator.integers(0, 40, (48, 48)))[None].astype(np.uint8)
        if number:
            classes[:20, :20] = IGNORED
        sources.append(Source(name, image, classes, measure(image, 1), image_label=number))
    return PatchSampler(
        sources, channels=1, classes=2, batch=config.batch, patch_px=config.patch_px,
        border_px=0, foreground_share=0.5, seed=config.seed, part=(ranks.rank, ranks.count),
    )  # fmt: skip


def validate(network: UNet) -> dict[str, tuple[float, ...]]:
    weight = float(sum(p.detach().double().abs().sum() for p in network.parameters()))
    share = (0.6, 0.4)
    return {"class_dice": (weight, 0.5), "predicted_share": share, "truth_share": share}


def train(case: str, folder: Path, ranks: Ranks, dies_at: int | None) -> dict[str, Any]:
    model, config = CASES[case]
    folder.mkdir(exist_ok=True)
    losses: list[float] = []
    dice: list[float] = []

    def listen(event: Event) -> None:
        if event["kind"] == "step":
            losses.append(event["loss"])
            dice.append(event["dice"])
            if ranks.rank == 1 and event["step"] == dies_at:
                os._exit(1)

    stepper = Stepper(build_unet(model, seed=0), config, "channels_last", "float32", ranks=ranks)
    ended = ""
    try:
        fit(
            stepper, sampler_of(config, ranks), total_steps=STEPS, names=("a", "b"),
            folder=folder, facts={"data_hash": "same"}, validate=validate,
            events=Events([listen]), resume=True,
        )  # fmt: skip
    except RunError as error:
        ended = error.code
    average = [float(t.double().abs().sum()) for t in stepper.average.state_dict().values()]
    return {"losses": losses, "dice": dice, "average": average, "ended": ended}


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    dies_at = int(sys.argv[2]) if len(sys.argv) > 2 else None
    folder.mkdir(parents=True, exist_ok=True)
    with joined() as ranks:
        found = {}
        for number, case in enumerate(list(CASES)[:1] if dies_at else CASES):
            found[case] = train(case, folder / f"{number}", ranks, dies_at)
        (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
