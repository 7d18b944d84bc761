"""Fresh weights have the variances they should have; folding changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from maskwright.config import ModelConfig
from maskwright.nn.unet import build_unet
from maskwright.nn.weights import fold_batch_norm


@pytest.mark.parametrize("dims", [2, 3])
def test_weights_have_he_variance_and_biases_are_zero(dims: int) -> None:
    network = build_unet(ModelConfig(dims=dims, depth=2, width=32, norm="none"), seed=0)
    seen = 0
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and max(module.kernel_size) == 3:
            expected = math.sqrt(2 / (3**dims * module.in_channels))
            tolerance = 0.2 if module.in_channels == 1 else 0.03
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=tolerance), (
                name
            )
            assert not module.bias.any()
            seen += 1
    assert seen == 10


def test_what_no_activation_follows_has_half_the_variance() -> None:
    model = ModelConfig(depth=1, width=64, norm="none", block="residual", image_classes=200)
    network = build_unet(model, seed=0)
    body = network.encoder[1].body
    for layer, variance in (
        (body[0], 2 / (9 * 64)),
        (body[2], 1 / (9 * 128)),
        (network.encoder[1].shortcut[0], 1 / 64),
        (network.upsample[0], 1 / 128),
        (network.image_head[2], 2 / 128),
        (network.image_head[4], 1 / 64),
    ):
        assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (nn.Conv2d, nn.BatchNorm2d),
        (nn.Conv3d, nn.BatchNorm3d),
        (nn.ConvTranspose2d, nn.BatchNorm2d),
        (nn.ConvTranspose3d, nn.BatchNorm3d),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_convolution_computes_what_it_and_its_normalisation_did(
    layer: Callable[..., nn.Module], norm: Callable[..., nn.Module], bias: bool
) -> None:
    torch.manual_seed(0)
    convolution = layer(3, 5, 2, stride=2, bias=bias)
    normalise = norm(5)
    axes = convolution.weight.ndim - 2
    both = nn.Sequential(convolution, normalise)
    with torch.no_grad():
        nn.init.uniform_(normalise.weight, 0.5, 2)
        nn.init.normal_(normalise.bias)
        for _ in range(5):
            both(torch.randn(4, 3, *(8,) * axes) * 3 + 1)
        both.eval()
        image = torch.randn(2, 3, *(6,) * axes)
        expected = both(image)
        found = fold_batch_norm(convolution, normalise)(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
