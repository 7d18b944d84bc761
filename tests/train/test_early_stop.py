"""Early stop, snapshots, several networks: what ends a training, and which networks stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.intensity import measure
from maskwright.data.sampler import PatchSampler, Source
from maskwright.errors import ConfigError
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.nn.unet import UNet, build_unet
from maskwright.progress import Event, Events
from maskwright.train.advance import Progress
from maskwright.train.schedule import is_exhausted
from maskwright.train.stepper import Stepper
from maskwright.train.trainer import fit

MODEL = ModelConfig(depth=1, width=2)


def _fit(folder: Path, dice: list[float], *, resume: bool = False, **train: object) -> Progress:
    """Train 12 steps with six validations that find these scores."""
    settings = {"steps": 12, "batch": 1, "patch_px": 16, "validations": 6, **train}
    config = TrainConfig(**settings)  # type: ignore[arg-type]
    classes = np.zeros((24, 24), np.uint8)
    classes[4:14, 6:18] = 1
    image = (classes * 90)[None]
    sampler = PatchSampler(
        [Source("a", image, classes, measure(image, 1))], channels=1, classes=2, batch=1,
        patch_px=16, border_px=0, foreground_share=0.5, seed=0,
    )  # fmt: skip
    left = iter(dice)

    def validate(network: UNet) -> dict[str, tuple[float, ...]]:
        return {"class_dice": (next(left),), "predicted_share": (0.5, 0.5),
                "truth_share": (0.5, 0.5)}  # fmt: skip

    folder.mkdir(exist_ok=True)
    return fit(
        Stepper(build_unet(MODEL, seed=0), config, "channels_last", "float32"), sampler,
        total_steps=12, names=("a",), folder=folder, facts={"data_hash": "x"}, validate=validate,
        events=Events([SEEN.append]), resume=resume,
    )  # fmt: skip


SEEN: list[Event] = []


def test_training_ends_after_so_many_validations_without_a_new_best(tmp_path: Path) -> None:
    SEEN.clear()
    progress = _fit(tmp_path, [0.3, 0.6, 0.5, 0.6, 0.9, 0.9], patience=2)
    assert progress.step == 8
    assert progress.best == 0.6
    assert any("Stopped early, at step 8 of 12" in e.get("text", "") for e in SEEN)
    again = _fit(tmp_path, [], patience=2, resume=True)
    assert again.step == 8, "a resumed run that had ended trains no further"


def test_without_patience_all_steps_are_made(tmp_path: Path) -> None:
    assert _fit(tmp_path, [0.9, 0.1, 0.1, 0.1, 0.1, 0.1]).step == 12


@pytest.mark.parametrize(
    ("dice", "patience", "expected"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.6], 1, False),
        ([0.9, 0.1, 0.2, 0.3], 3, True),
        ([0.9, 0.1, 0.2, 0.3], 4, False),
    ],
)
def test_exhaustion_counts_from_the_first_best(
    dice: list[float], patience: int, expected: bool
) -> None:
    assert is_exhausted(dice, patience) is expected


def test_the_networks_of_the_last_validations_stay(tmp_path: Path) -> None:
    _fit(tmp_path, [0.3, 0.9, 0.5, 0.6, 0.7, 0.8], snapshots=3)
    files = RunFolder(tmp_path).weights()
    steps = [read_model(path)[1]["step"] for path in files]
    assert steps == [8, 10, 12]
    assert read_model(tmp_path / "model.safetensors")[1]["step"] == 4
    first, last = (read_model(path)[0].state_dict() for path in (files[0], files[-1]))
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_a_run_without_snapshots_predicts_with_its_best_network_alone(tmp_path: Path) -> None:
    _fit(tmp_path, [0.3, 0.9, 0.5, 0.6, 0.7, 0.8])
    assert RunFolder(tmp_path).weights() == (tmp_path / "model.safetensors",)


def _kept(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [read_model(path)[0].state_dict() for path in RunFolder(folder).weights()]


def test_several_networks_learn_one_after_the_other(tmp_path: Path) -> None:
    SEEN.clear()
    progress = _fit(tmp_path, [0.7, 0.4, 0.2, 0.5, 0.9, 0.6], ensemble=3)
    files = RunFolder(tmp_path).weights()
    assert [path.name for path in files] == [f"network_0{n}.safetensors" for n in (1, 2, 3)]
    assert [read_model(path)[1]["step"] for path in files] == [2, 8, 10], "the best of each"
    assert read_model(tmp_path / "model.safetensors")[1]["step"] == 10, "the best of all"
    assert (progress.network, progress.first_step, progress.step) == (2, 8, 12)
    rates = _rates()
    assert rates[:4] == rates[4:8] == rates[8:], "each has a schedule of its own"
    assert rates[0] == max(rates)
    assert sum("begins, from fresh weights" in e.get("text", "") for e in SEEN) == 2
    first, second, third = _kept(tmp_path)
    assert all(
        any(not torch.equal(a[name], b[name]) for name in a)
        for a, b in ((first, second), (second, third))
    )


@pytest.mark.parametrize("validations", [1, 2, 3])
def test_several_networks_go_on_where_they_were(tmp_path: Path, validations: int) -> None:
    dice = [0.7, 0.4, 0.2, 0.5, 0.9, 0.6]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _fit(whole, dice, ensemble=3)
    # The validation that is missing ends the first attempt, a part of a network before or after.
    with pytest.raises(StopIteration):
        _fit(stopped, dice[:validations], ensemble=3)
    progress = _fit(stopped, dice[validations:], ensemble=3, resume=True)
    assert progress.step == 12
    for one, other in zip(_kept(whole), _kept(stopped), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_more_validations_than_updates_leave_every_network_its_share(tmp_path: Path) -> None:
    SEEN.clear()
    _fit(tmp_path, [0.5] * 12, ensemble=5, validations=30)
    assert len(RunFolder(tmp_path).weights()) == 5
    assert sum("begins, from fresh weights" in e.get("text", "") for e in SEEN) == 4


def _rates() -> list[float]:
    return [event["rate"] for event in SEEN if event["kind"] == "step"]


@pytest.mark.parametrize(
    "setting", [{"snapshots": 2}, {"patience": 3}, {"start_from": "runs/a"}]
)  # fmt: skip
def test_several_networks_share_all_steps(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="ensemble=2") as caught:
        TrainConfig(ensemble=2, **setting)  # type: ignore[arg-type]
    assert caught.value.code == "config-ensemble"
