"""Less memory for the same result: a batch in parts, and features computed again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.sampler import Patches
from maskwright.loss_terms import LossSettings
from maskwright.nn.unet import build_unet
from maskwright.train.stepper import Stepper

TRAIN = TrainConfig(steps=4, batch=4, patch_px=32, seed=1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _patches(shape: tuple[int, ...]) -> Patches:
    generator = np.random.default_rng(0)
    return Patches(
        generator.normal(size=(shape[0], 1, *shape[1:])).astype(np.float32),
        generator.integers(0, 2, shape).astype(np.uint8),
        ("a",) * shape[0],
    )


def _trained(model: ModelConfig, **settings: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    config = TRAIN.model_copy(update=settings)
    stepper = Stepper(build_unet(model, seed=0), config, "channels_last", "float32")
    patches = _patches((4, *(32 if model.dims == 2 else 16,) * model.dims))
    losses = [stepper.update(*stepper.prepare(patches, step), step, 1e-3).loss for step in range(4)]
    return losses, stepper.state()


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(depth=2, width=4, dropout=0.4),
        ModelConfig(depth=1, width=4, block="residual", squeeze_excitation=2),
        ModelConfig(dims=3, depth=1, width=4, norm="instance", levels="supervised"),
    ],
)
def test_features_computed_again_change_no_bit(model: ModelConfig) -> None:
    kept, again = _trained(model), _trained(model, checkpointing=True)
    assert kept[0] == again[0]
    for name, tensor in kept[1].items():
        assert torch.equal(tensor, again[1][name]), name


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("loss", ["ce", "dice+focal"])
def test_a_batch_in_parts_gives_the_large_batch_where_patches_do_not_meet(
    parts: int, loss: str
) -> None:
    model = ModelConfig(depth=2, width=4, norm="instance", dropout=0.4)
    settings = {"loss": loss, "loss_settings": LossSettings(dice_per_sample=True)}
    whole, cut = _trained(model, **settings), _trained(model, accumulate=parts, **settings)
    assert cut[0] == pytest.approx(whole[0], rel=1e-5)
    for name, tensor in whole[1].items():
        if name.startswith("network."):
            assert torch.allclose(tensor, cut[1][name], rtol=1e-3, atol=1e-4), name


def test_a_batch_in_parts_keeps_less_for_the_gradient() -> None:
    kept: dict[int, int] = {}
    for parts in (1, 4):
        config = TRAIN.model_copy(update={"accumulate": parts})
        network = build_unet(ModelConfig(depth=2, width=4, norm="instance"), seed=0)
        stepper = Stepper(network, config, "channels_last", "float32")
        image, target = stepper.prepare(_patches((4, 32, 32)), 0)
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            stepper.update(image, target, 0, 1e-3)
        kept[parts] = max(sizes)
    assert kept[4] * 4 == kept[1]
