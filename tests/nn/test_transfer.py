"""Weights of one network in another: what is taken, adapted, left fresh and refused."""

from __future__ import annotations

import pytest
import torch

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.nn.transfer import Transfer, adapt_channels, apply_transfer, plan_transfer
from maskwright.nn.unet import UNet, build_unet

SMALL = {"depth": 1, "width": 4}


def source(**settings: object) -> UNet:
    network = build_unet(ModelConfig(**{**SMALL, **settings}), seed=1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(2)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return network.eval()


def moved(origin: UNet, **settings: object) -> tuple[Transfer, UNet]:
    model = ModelConfig(**{**origin.config.model_dump(), **settings})
    transfer = plan_transfer(model, origin, name="runs/a")
    network = build_unet(model, seed=3).eval()
    apply_transfer(transfer, network, origin)
    return transfer, network


def logits(network: UNet, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(image)["logits"]


def test_the_same_network_is_taken_whole_with_its_running_statistics() -> None:
    origin = source()
    transfer, network = moved(origin)
    assert transfer.share == 1
    assert not transfer.fresh
    image = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(logits(network, image), logits(origin, image), rtol=0, atol=0)


def test_other_classes_leave_the_last_layers_fresh_and_all_others_taken() -> None:
    origin = source(depth=2, levels="fused", image_classes=2, image_hidden=(3,))
    transfer, network = moved(origin, classes=3, image_classes=5)
    assert set(transfer.fresh) == {
        f"{layer}.{kind}" for kind in ("weight", "bias")
        for layer in ("head", "level_heads.0", "fusion.weigh", "image_head.4")
    }  # fmt: skip
    assert not transfer.adapted
    image = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        for found, expected in zip(network.features(image)[0], origin.features(image)[0],
                                   strict=True):  # fmt: skip
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # Fresh means: as the new network drew it.
    drawn = build_unet(network.config, seed=3).head.weight
    assert torch.equal(network.head.weight, drawn)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 2), (2, 5), (4, 4)])
@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_an_image_with_equal_channels_is_answered_as_before(
    before: int, after: int, block: str, dims: int
) -> None:
    origin = source(channels=before, block=block, dims=dims, width=8)
    transfer, network = moved(origin, channels=after)
    assert transfer.share == 1
    assert bool(transfer.adapted) == (before != after)
    grey = torch.randn(1, 1, *(8,) * dims)
    many = (1,) * dims
    found, expected = (logits(n, grey.repeat(1, c, *many))
                       for n, c in ((network, after), (origin, before)))  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_adapted_weights_are_the_sum_over_channels_shared_equally() -> None:
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert adapt_channels(weight, 4).shape == (2, 4, 2, 2)
    torch.testing.assert_close(adapt_channels(weight, 4)[:, 3], weight.sum(1) / 4)
    torch.testing.assert_close(adapt_channels(weight[:, :1], 3).sum(1), weight[:, 0])


def test_the_second_convolution_of_another_first_width_is_not_taken_for_one_of_the_image() -> None:
    origin = source(depth=2, widths=(8, 8, 8))
    transfer, _ = moved(origin, widen="second")
    assert "encoder.0.3.weight" in transfer.fresh
    assert not transfer.adapted


def test_the_sentence_counts_tensors_and_parameters_and_gives_reasons() -> None:
    origin = source(channels=3)
    transfer, network = moved(origin, classes=4, channels=1, activation="leaky_relu")
    parameters = sum(p.numel() for p in network.parameters())
    assert transfer.parameters == parameters
    assert transfer.parameters_taken == parameters - 4 * 4 - 4
    assert transfer.sentence("runs/a") == (
        f"Took 32 of 34 tensors ({1 - 20 / parameters:.1%} of the parameters) from runs/a; "
        "adapted: encoder.0.0.weight (channels: 1 instead of 3); new: head.weight, head.bias "
        "(4 classes instead of 2). Other settings: activation=leaky_relu instead of relu."
    )


def test_a_network_of_other_widths_is_refused_with_the_settings_to_use() -> None:
    with pytest.raises(ConfigError, match=r"from-other-network") as caught:
        plan_transfer(ModelConfig(depth=2, width=8), source(norm="none"), name="runs/a")
    assert "depth=2 instead of 1, width=8 instead of 4, norm=batch instead of none" in str(
        caught.value
    )
    assert caught.value.remedy == "use --set depth=1 --set width=4 --set norm=none"


def test_a_deeper_network_takes_the_levels_it_shares_when_they_are_most_of_it() -> None:
    origin = source(depth=2, widths=(8, 8, 8))
    transfer, _ = moved(origin, depth=3, widths=(8, 8, 8, 8))
    assert 0.5 < transfer.share < 1
    assert {name.split(".")[1] for name in transfer.fresh} == {"2", "3"}
    assert {name.split(".")[0] for name in transfer.fresh} == {"encoder", "decoder", "upsample"}
