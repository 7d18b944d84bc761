"""Optimisers: orthogonal steps, which weights they are for, and going on from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.sampler import Patches
from maskwright.nn.unet import build_unet
from maskwright.train.optimisers import RATE_RATIO, Muon, build_optimisers, orthogonalised, set_rate
from maskwright.train.stepper import Stepper

MODEL = ModelConfig(depth=1, width=8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def some_patches() -> Patches:
    """Bright discs on a dark ground, in noise."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    truth = np.stack([(y - 8 - 4 * n) ** 2 + (x - 16) ** 2 < 36 for n in range(4)])
    image = truth + generator.normal(scale=0.5, size=truth.shape)
    return Patches(image[:, None].astype(np.float32), truth.astype(np.uint8), ("a",) * 4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 8, 40), (2, 40, 8)])
def test_orthogonalised_keeps_the_directions_and_levels_the_lengths(
    shape: tuple[int, int, int],
) -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(shape, generator=generator)
    found = orthogonalised(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    # In the basis of the singular vectors only lengths have changed, to about one.
    turned = u.mT @ found @ vh.mT
    lengths = torch.diagonal(turned, dim1=1, dim2=2)
    torch.testing.assert_close(turned, torch.diag_embed(lengths), atol=1e-4, rtol=0)
    assert lengths.min() > 0.3
    assert lengths.max() < 1.3


def test_a_gradient_of_zeros_moves_nothing() -> None:
    assert not orthogonalised(torch.zeros(1, 8, 8)).any()


def test_first_and_last_layers_are_left_to_adamw() -> None:
    network = build_unet(ModelConfig(depth=2, width=8, channels=3, classes=2))
    plain, muon = build_optimisers(network, "muon", learning_rate=1e-3, weight_decay=0.1)
    own = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in own}
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert names == {n for n, s in shapes.items() if len(s) > 1 and min(s[:2]) >= 8}
    assert any(s[1] == 3 for n, s in shapes.items() if n not in names and len(s) > 1)
    assert any(s[0] == 2 for n, s in shapes.items() if n not in names and len(s) > 1)
    others = [p for group in plain.param_groups for p in group["params"]]
    assert len(own) + len(others) == len(shapes)


def test_a_step_is_as_long_as_the_rate_says() -> None:
    weight = nn.Parameter(torch.zeros(16, 8, 3, 3))
    weight.grad = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    muon = Muon([weight], learning_rate=1.0, weight_decay=0.0)
    set_rate([muon], 1e-3)
    muon.step()
    lengths = torch.linalg.svdvals(weight.detach().reshape(16, 72))
    assert lengths.max() < 1.3 * 1e-3 * RATE_RATIO
    assert lengths.min() > 0.3 * 1e-3 * RATE_RATIO


def test_weights_shrink_by_their_decay() -> None:
    weight = nn.Parameter(torch.ones(8, 8))
    weight.grad = torch.zeros(8, 8)
    muon = Muon([weight], learning_rate=1.0, weight_decay=0.5)
    set_rate([muon], 1e-2)
    muon.step()
    torch.testing.assert_close(weight.detach(), torch.full((8, 8), 1 - 1e-2 * RATE_RATIO * 0.5))


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_run_goes_on_as_if_it_had_not_been_interrupted(name: str, layout: str) -> None:
    patches = some_patches()
    config = TrainConfig(optimiser=name, learning_rate=1e-3)

    def stepper() -> Stepper:
        return Stepper(build_unet(MODEL, seed=0), config, layout, "float32")

    def go(own: Stepper, patches: Patches, first: int, last: int) -> list[float]:
        losses = []
        for step in range(first, last):
            image, target = own.prepare(patches, step)
            losses.append(own.update(image, target, step, 1e-3).loss)
        return losses

    whole = stepper()
    losses = go(whole, patches, 0, 6)
    begun = stepper()
    go(begun, patches, 0, 3)
    gone_on = stepper()
    gone_on.restore({k: v.clone() for k, v in begun.state().items()}, subject="test")
    assert go(gone_on, patches, 3, 6) == losses[3:]


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd"])
def test_every_optimiser_learns(name: str) -> None:
    patches = some_patches()
    rate = 1e-2 if name == "sgd" else 2e-3
    own = Stepper(
        build_unet(MODEL, seed=0),
        TrainConfig(optimiser=name, learning_rate=rate),
        "contiguous",
        "float32",
    )
    losses = []
    for step in range(30):
        image, target = own.prepare(patches, 0)
        losses.append(own.update(image, target, step, rate).loss)
    assert losses[-1] < 0.7 * losses[0]
