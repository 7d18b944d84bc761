"""Training within a time, by a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.intensity import measure
from maskwright.data.sampler import PatchSampler, Source
from maskwright.errors import Interrupted
from maskwright.nn.unet import UNet, build_unet
from maskwright.progress import Event, Events
from maskwright.train.advance import Progress
from maskwright.train.pace import Pace
from maskwright.train.stepper import Stepper
from maskwright.train.trainer import fit

CONFIG = TrainConfig(batch=1, patch_px=16, validations=4, seed=3)


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _fit(
    folder: Path, *, step_s: float, later_s: float, stop_at_s: float | None = None,
    resume: bool = False,
) -> tuple[Progress | Interrupted, list[Event], float]:  # fmt: skip
    """A run of 60 seconds with validations of one, thought to take a second an update."""
    import os
    import signal

    torch.set_num_threads(1)
    clock, seen = _Clock(), []
    classes = np.zeros((16, 16), np.uint8)
    classes[4:12, 4:12] = 1
    image = (classes * 100)[None]
    source = Source("a", image, classes, measure(image, 1))
    sampler = PatchSampler(
        [source], channels=1, classes=2, batch=1, patch_px=16, border_px=0,
        foreground_share=0.5, seed=3,
    )  # fmt: skip

    def listen(event: Event) -> None:
        seen.append(event)
        if event["kind"] == "step":
            clock.now += step_s if clock.now < 30 else later_s
            if stop_at_s is not None and clock.now >= stop_at_s:
                os.kill(os.getpid(), signal.SIGTERM)

    def validate(network: UNet) -> dict[str, tuple[float, ...]]:
        clock.now += 1.0
        return {"class_dice": (0.5, 0.5), "predicted_share": (0.6, 0.4), "truth_share": (0.6, 0.4)}

    folder.mkdir(exist_ok=True)
    stepper = Stepper(
        build_unet(ModelConfig(depth=1, width=2), seed=3), CONFIG, "contiguous", "float32"
    )
    try:
        progress = fit(
            stepper, sampler, total_steps=56, names=("a", "b"), folder=folder,
            facts={"data_hash": "same"}, validate=validate, events=Events([listen]),
            resume=resume, pace=Pace(60.0, 1.0, 1.0), clock=clock,
        )  # fmt: skip
    except Interrupted as error:
        return error, seen, clock.now
    return progress, seen, clock.now


@pytest.mark.parametrize(("step_s", "later_s"), [(1.0, 1.0), (0.5, 1.5), (1.5, 0.4), (2.0, 2.0)])
def test_updates_of_any_time_end_in_time_after_all_validations(
    tmp_path: Path, step_s: float, later_s: float
) -> None:
    progress, seen, seconds = _fit(tmp_path / "run", step_s=step_s, later_s=later_s)
    assert isinstance(progress, Progress)
    assert seconds == pytest.approx(60.0, abs=max(2.0, later_s))
    assert len(progress.history) == 4
    assert progress.history[-1].step == progress.step == progress.total_steps
    rates = [event["rate"] for event in seen if event["kind"] == "step"]
    assert rates[-1] < 0.02 * max(rates)


def test_a_resumed_run_keeps_the_time_it_was_given(tmp_path: Path) -> None:
    stopped, before, first_s = _fit(tmp_path / "run", step_s=0.5, later_s=0.5, stop_at_s=20.0)
    assert isinstance(stopped, Interrupted)
    progress, after, second_s = _fit(tmp_path / "run", step_s=0.5, later_s=0.5, resume=True)
    assert isinstance(progress, Progress)
    assert first_s + second_s == pytest.approx(60.0, abs=2.0)
    steps = [event["step"] for event in before + after if event["kind"] == "step"]
    assert steps == list(range(1, progress.step + 1))
    assert len(progress.history) == 4
