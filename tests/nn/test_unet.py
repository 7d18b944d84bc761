"""The network: shapes, gradients, initialisation, folding, determinism."""

from __future__ import annotations

import math

import pytest
import torch

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.errors import ConfigError, SizeError
from maskwright.nn.blocks import crop_to
from maskwright.nn.presets import PRESETS, preset
from maskwright.nn.unet import build_unet, fold

ALL = [
    ModelConfig(depth=depth, width=4, channels=channels, classes=classes, padding=padding,
                norm=norm, dropout=dropout)
    for depth, channels, classes in ((1, 1, 2), (3, 3, 5))
    for padding in ("same", "valid")
    for norm in ("none", "batch")
    for dropout in (0.0, 0.5)
]  # fmt: skip


@pytest.mark.parametrize("config", ALL, ids=str)
def test_every_combination_has_the_right_shape_and_a_gradient_everywhere(
    config: ModelConfig,
) -> None:
    network = build_unet(config, seed=0)
    size = geometry.next_legal_size(100, config.depth, config.padding)
    out = network(torch.randn(2, config.channels, size, size))
    border = geometry.border_loss(config.depth, config.padding)
    assert set(out) == {"logits"}
    assert out["logits"].shape == (2, config.classes, size - 2 * border, size - 2 * border)
    (out["logits"] ** 2).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_paper_network_maps_572_to_388_with_two_classes() -> None:
    network = build_unet(preset("ronneberger2015").model.model_copy(update={"width": 2})).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 572, 572))["logits"].shape == (1, 2, 388, 388)


def test_an_illegal_image_size_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(SizeError, match="Use 96 or 112 px"):
        build_unet(ModelConfig(width=2))(torch.zeros(1, 1, 100, 96))


def test_weights_have_he_variance_and_biases_are_zero() -> None:
    network = build_unet(ModelConfig(width=32, norm="none"), seed=0)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            expected = math.sqrt(2 / (9 * module.in_channels))
            tolerance = 0.2 if module.in_channels == 1 else 0.03
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=tolerance), (
                name
            )
            assert not module.bias.any()


def test_activations_keep_their_scale_through_the_depth_of_the_network() -> None:
    network = build_unet(ModelConfig(width=16, norm="none"), seed=0).eval()
    with torch.no_grad():
        features = network.features(torch.randn(2, 1, 128, 128))
    assert 0.1 < float(features.std()) < 10


def test_the_same_seed_builds_the_same_network_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (build_unet(ModelConfig(width=4), seed=1) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_folding_batch_normalisation_changes_nothing(padding: str) -> None:
    config = ModelConfig(width=4, depth=2, padding=padding)
    network = build_unet(config, seed=0)
    size = geometry.next_legal_size(90, 2, padding)
    for _ in range(3):
        network(torch.randn(2, 1, size, size) * 3 + 2)
    network.eval()
    folded = fold(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    image = torch.randn(1, 1, size, size)
    with torch.no_grad():
        torch.testing.assert_close(
            folded(image)["logits"], network(image)["logits"], atol=1e-5, rtol=1e-4
        )


def test_dropout_acts_in_training_and_only_at_the_two_lowest_levels() -> None:
    network = build_unet(ModelConfig(width=2, depth=3, dropout=0.5), seed=0)
    sizes: list[int] = []
    network.dropout.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[-1]))
    network(torch.randn(1, 1, 64, 64))
    assert sizes == [16, 8]


def test_cropping_takes_the_centre() -> None:
    features = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(crop_to(features, torch.zeros(1, 1, 2, 4)), features[:, :, 2:4, 1:5])


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean ronneberger2015"):
        preset("ronneberger")
    assert set(PRESETS) == {"unet", "ronneberger2015"}
