"""Training: learns, repeats itself, goes on where it was, and stops in time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.config import AugmentConfig, ModelConfig, TrainConfig
from maskwright.data.intensity import measure
from maskwright.data.sampler import Patches, PatchSampler, Source
from maskwright.errors import ConfigError, Interrupted, RunError, TrainingError
from maskwright.loss_terms import TERMS
from maskwright.nn.checkpoint import read_checkpoint, read_model
from maskwright.nn.unet import UNet, build_unet
from maskwright.progress import Event, Events
from maskwright.train.advance import Progress
from maskwright.train.stepper import Stepper
from maskwright.train.trainer import fit

MODEL = ModelConfig(depth=1, width=4, dropout=0.2)
CONFIG = TrainConfig(steps=12, batch=2, patch_px=32, validations=4, seed=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _sampler(config: TrainConfig = CONFIG) -> PatchSampler:
    generator = np.random.default_rng(0)
    sources = []
    for name in ("a", "b"):
        classes = np.zeros((48, 48), np.uint8)
        classes[10:30, 12:34] = 1
        image = (classes * 100 + generator.integers(0, 40, (48, 48)))[None].astype(np.uint8)
        sources.append(Source(name, image, classes, measure(image, 1)))
    return PatchSampler(
        sources, channels=1, classes=2, batch=config.batch, patch_px=config.patch_px,
        border_px=0, foreground_share=0.5, seed=config.seed,
    )  # fmt: skip


def _stepper(config: TrainConfig = CONFIG) -> Stepper:
    return Stepper(build_unet(MODEL, seed=config.seed), config, "channels_last", "float32")


def _validate(network: UNet) -> dict[str, tuple[float, ...]]:
    weight = float(sum(p.detach().abs().sum() for p in network.parameters()))
    return {
        "class_dice": (weight % 1, 0.5),
        "predicted_share": (0.6, 0.4),
        "truth_share": (0.6, 0.4),
    }


def _fit(
    folder: Path, *, stop_after: int | None = None, resume: bool = False, data: str = "same"
) -> tuple[Progress | Interrupted, list[Event]]:
    seen: list[Event] = []
    folder.mkdir(exist_ok=True)

    def listen(event: Event) -> None:
        seen.append(event)
        if event["kind"] == "step" and event["step"] == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        progress = fit(
            _stepper(), _sampler(), total_steps=12, names=("a", "b"), folder=folder,
            facts={"data_hash": data}, validate=_validate, events=Events([listen]), resume=resume,
        )  # fmt: skip
    except Interrupted as error:
        return error, seen
    return progress, seen


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    state, _ = read_checkpoint(folder / "checkpoints")
    assert state is not None
    assert state.facts["step"] == 12
    return dict(state.tensors)


@pytest.mark.parametrize("stop_after", [1, 5, 6, 11])
def test_interrupted_and_resumed_equals_never_interrupted(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    _fit(whole)
    stopped, _ = _fit(parts, stop_after=stop_after)
    assert isinstance(stopped, Interrupted)
    assert stopped.exit_status == 128 + signal.SIGTERM
    progress, events = _fit(parts, resume=True)
    assert isinstance(progress, Progress)
    steps = [e["step"] for e in events if e["kind"] == "step"]
    assert steps == list(range(stop_after + 1, 13))
    expected, found = _tensors(whole), _tensors(parts)
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    _fit(first)
    _fit(second)
    for name, tensor in _tensors(first).items():
        assert torch.equal(tensor, _tensors(second)[name]), name


def test_changed_data_are_refused_on_resume(tmp_path: Path) -> None:
    _fit(tmp_path, stop_after=4)
    with pytest.raises(RunError) as caught:
        _fit(tmp_path, resume=True, data="other")
    assert caught.value.code == "data-changed"


def test_a_finished_run_resumes_to_nothing_left(tmp_path: Path) -> None:
    _fit(tmp_path)
    progress, events = _fit(tmp_path, resume=True)
    assert isinstance(progress, Progress)
    assert progress.step == 12
    assert [e for e in events if e["kind"] == "step"] == []


def test_the_model_is_the_average_of_the_best_validation(tmp_path: Path) -> None:
    progress, events = _fit(tmp_path)
    validations = [e for e in events if e["kind"] == "validation"]
    best = max(validations, key=lambda e: e["mean_dice"])
    _, facts = read_model(tmp_path / "model.safetensors")
    assert facts["step"] == best["step"]
    assert isinstance(progress, Progress)
    assert progress.best == best["mean_dice"]
    assert [e["step"] for e in validations] == [3, 6, 9, 12]


class _SlowSampler(PatchSampler):
    def draw(self, step: int) -> Patches:
        time.sleep(0.04)
        return super().draw(step)


def test_a_network_that_waits_for_patches_says_so_at_the_end(tmp_path: Path) -> None:
    seen: list[Event] = []
    slow = _sampler()
    slow.__class__ = _SlowSampler
    fit(
        _stepper(), slow, total_steps=12, names=("a", "b"), folder=tmp_path,
        facts={"data_hash": "same"}, validate=_validate, events=Events([seen.append]),
    )  # fmt: skip
    end = next(event for event in seen if event["kind"] == "end")
    assert 0.05 < end["waiting_share"] < 1
    told = [event["text"] for event in seen if event["kind"] == "message"]
    assert any("waited for patches" in text for text in told)


def test_training_learns_a_bright_square() -> None:
    config = CONFIG.model_copy(update={"learning_rate": 1e-2})
    stepper, sampler = _stepper(config), _sampler(config)
    dice = []
    for step in range(120):
        image, target = stepper.prepare(sampler.draw(step), step)
        dice.append(stepper.update(image, target, step, 1e-2).dice)
    assert np.mean(dice[-10:]) > 0.85
    assert np.mean(dice[-10:]) > np.mean(dice[:5]) + 0.15


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_numerics_gives_nearly_the_same_loss(layout: str, precision: str) -> None:
    model = MODEL.model_copy(update={"dropout": 0.0})  # its mask follows the memory order
    stepper = Stepper(build_unet(model, seed=0), CONFIG, layout, precision)
    image, target = stepper.prepare(_sampler().draw(0), 0)
    reference = Stepper(build_unet(model, seed=0), CONFIG, "contiguous", "float32")
    expected = reference.update(image, target, 0, 1e-3).loss
    assert stepper.update(image, target, 0, 1e-3).loss == pytest.approx(expected, abs=0.02)


def test_a_value_that_is_not_finite_stops_before_the_weights_change() -> None:
    stepper = _stepper()
    image, target = stepper.prepare(_sampler().draw(0), 0)
    before = {k: v.clone() for k, v in stepper.network.named_parameters()}
    image[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match="loss at step 5") as caught:
        stepper.update(image, target, 4, 1e-3)
    assert caught.value.code == "training-not-finite"
    for name, parameter in stepper.network.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_non_finite_loss_in_a_run_names_the_files_and_keeps_the_checkpoint(
    tmp_path: Path,
) -> None:
    class Poisoned(PatchSampler):
        def draw(self, step: int) -> Patches:
            patches = super().draw(step)
            if step == 7:
                patches.image_BCS[:] = np.nan
            return patches

    good = _sampler()
    poisoned = Poisoned.__new__(Poisoned)
    poisoned.__dict__.update(good.__dict__)
    seen: list[Event] = []
    with pytest.raises(TrainingError, match="step 8"):
        fit(
            _stepper(), poisoned, total_steps=12, names=("a", "b"), folder=tmp_path,
            facts={}, validate=_validate, events=Events([seen.append]),
        )  # fmt: skip
    warning = next(e for e in seen if e["kind"] == "warning" and "finite" in e["code"])
    assert "'a'" in warning["text"] or "'b'" in warning["text"]
    state, _ = read_checkpoint(tmp_path / "checkpoints")
    assert state is not None
    assert state.facts["step"] == 6


@pytest.mark.parametrize("loss", [t for t in TERMS if t != "border_ce"])
def test_every_loss_of_class_masks_trains(loss: str) -> None:
    stepper = _stepper(CONFIG.model_copy(update={"loss": loss}))
    image, target = stepper.prepare(_sampler().draw(0), 0)
    assert np.isfinite(stepper.update(image, target, 0, 1e-3).loss)


def test_the_border_loss_asks_for_numbered_objects() -> None:
    stepper = _stepper(CONFIG.model_copy(update={"loss": "border_ce"}))
    with pytest.raises(ConfigError, match="number of its own"):
        stepper.prepare(_sampler().draw(0), 0)


def test_the_border_loss_parts_objects_that_touch_and_weighs_their_gap() -> None:
    still = AugmentConfig(
        flip=0, rotate_deg=0, scale=0, elastic_px=0, gamma=0, brightness=0, contrast=0, blur_px=0,
        noise=0,
    )  # fmt: skip
    stepper = _stepper(CONFIG.model_copy(update={"loss": "dice+border_ce", "augment": still}))
    patches = _sampler().draw(0)
    objects = np.zeros(patches.truth_BS.shape, np.int32)
    objects[:, 4:28, 4:16], objects[:, 4:28, 16:28] = 700, 70_000
    numbered = replace(patches, truth_BS=(objects > 0).astype(np.uint8), objects_BS=objects)
    image, target = stepper.prepare(numbered, 0)
    gap = target.truth[0, 10].nonzero().ravel().diff().argmax() + 4
    assert target.truth[0, 10].sum() == 23  # one column of 24 became the gap
    assert target.border_map is not None
    assert float(target.border_map[0, 10, gap + 1]) == pytest.approx(10 * np.exp(-4 / 50), rel=1e-4)
    assert np.isfinite(stepper.update(image, target, 0, 1e-3).loss)


def test_objects_and_classes_move_together() -> None:
    stepper = _stepper(CONFIG.model_copy(update={"loss": "ce+border_ce"}))
    patches = _sampler().draw(1)
    plain = _stepper().prepare(patches, 1)[1].truth
    objects = patches.truth_BS.astype(np.int32) * 900
    numbered = stepper.prepare(replace(patches, objects_BS=objects), 1)[1].truth
    assert torch.equal(plain, numbered)


def test_a_patch_has_the_label_of_its_own_pixels_or_of_its_image() -> None:
    model = MODEL.model_copy(update={"image_classes": 2})
    network = build_unet(model, seed=0)
    patches = _sampler().draw(0)
    truth = patches.truth_BS.copy()
    truth[0] = 0
    contained = Stepper(network, CONFIG, "contiguous", "float32", contained=1)
    image, target = contained.prepare(replace(patches, truth_BS=truth), 0)
    assert target.image_labels is not None
    assert target.image_labels.tolist() == [0, int(truth[1].any())]
    assert np.isfinite(contained.update(image, target, 0, 1e-3).loss)
    of_image = Stepper(network, CONFIG, "contiguous", "float32")
    labelled = replace(patches, image_labels_B=np.array([1, 0]))
    assert torch.equal(of_image.prepare(labelled, 0)[1].image_labels, torch.tensor([1, 0]))


def test_unpadded_networks_train_on_the_centre_of_the_augmented_mask() -> None:
    model = ModelConfig(depth=1, width=4, padding="valid", norm="none")
    stepper = Stepper(build_unet(model, seed=0), CONFIG, "channels_last", "float32")
    patches = _sampler().draw(0)
    image, target = stepper.prepare(patches, 0)
    assert image.shape[-2:] == (32, 32)
    assert target.truth.shape[-2:] == (16, 16)
    assert np.isfinite(stepper.update(image, target, 0, 1e-3).loss)
