"""The network: its sizes, its parts, its scale, determinism."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.errors import SizeError
from maskwright.nn.blocks import crop
from maskwright.nn.presets import preset
from maskwright.nn.unet import build_unet


def test_the_paper_network_maps_572_to_388_with_two_classes() -> None:
    network = build_unet(preset("ronneberger2015").model.model_copy(update={"width": 2})).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 572, 572))["logits"].shape == (1, 2, 388, 388)


def test_an_illegal_image_size_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(SizeError, match="Use 96 or 112 px"):
        build_unet(ModelConfig(width=2))(torch.zeros(1, 1, 100, 96))


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu"])
def test_activations_keep_their_scale_through_the_depth_of_the_network(
    block: str, activation: str
) -> None:
    model = ModelConfig(width=16, norm="none", block=block, activation=activation)
    with torch.no_grad():
        (features,), lowest = build_unet(model, seed=0).eval().features(torch.randn(2, 1, 128, 128))
    assert 0.1 < float(features.std()) < 10
    assert 0.1 < float(lowest.std()) < 10


def test_the_same_seed_builds_the_same_network_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (build_unet(ModelConfig(width=4), seed=1) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_dropout_acts_in_training_and_only_at_the_two_lowest_levels() -> None:
    network = build_unet(ModelConfig(width=2, depth=3, dropout=0.5), seed=0)
    sizes: list[int] = []
    network.dropout.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[-1]))
    network(torch.randn(1, 1, 64, 64))
    assert sizes == [16, 8]


def test_cropping_takes_the_centre() -> None:
    features = torch.arange(36.0).view(1, 1, 6, 6)
    assert torch.equal(crop(features, (2, 1)), features[:, :, 2:4, 1:5])
    assert torch.equal(crop(features, (0, 2)), features[:, :, :, 2:4])
    assert crop(features, (0, 0)) is features


def test_an_illegal_size_of_a_volume_names_its_axis_and_the_legal_sizes() -> None:
    network = build_unet(preset("cicek2016").model.model_copy(update={"width": 2}))
    with pytest.raises(SizeError, match=r"image size along Z.*found 110 px. Use 108 or 116 px"):
        network(torch.zeros(1, 3, 110, 92, 92))


def test_the_mean_of_all_levels_is_where_a_fused_prediction_starts() -> None:
    model = ModelConfig(depth=3, width=4, classes=3, levels="fused", padding="valid", norm="none")
    network = build_unet(model, seed=0).eval()
    shape = geometry.next_legal_shape((60, 70), model)
    with torch.no_grad():
        out = network(torch.randn(1, 1, *shape))
    rows, columns = out["logits"].shape[2:]
    expected = torch.zeros_like(out["logits"])
    for level, scores in enumerate(out["levels"]):
        enlarged = functional.interpolate(scores, scale_factor=2**level, mode="bilinear")
        top, left = (enlarged.shape[2] - rows) // 2, (enlarged.shape[3] - columns) // 2
        expected += enlarged[:, :, top : top + rows, left : left + columns] / 3
    torch.testing.assert_close(out["logits"], expected)


def test_supervised_levels_leave_the_final_prediction_to_the_finest() -> None:
    network = build_unet(ModelConfig(depth=2, width=4, levels="supervised"), seed=0).eval()
    plain = build_unet(ModelConfig(depth=2, width=4)).eval()
    kept = {k: v for k, v in network.state_dict().items() if not k.startswith("level_heads")}
    plain.load_state_dict(kept)
    image = torch.randn(1, 1, 16, 24)
    with torch.no_grad():
        out = network(image)
        assert torch.equal(out["logits"], out["levels"][0])
        assert torch.equal(out["logits"], plain(image)["logits"])
    assert [tuple(level.shape[2:]) for level in out["levels"]] == [(16, 24), (8, 12)]


def test_a_gate_scales_the_skip_by_what_the_equations_of_the_paper_give() -> None:
    model = ModelConfig(depth=2, width=4, attention=True)
    gate = build_unet(model, seed=0).gates["1"]
    skip, below = torch.randn(1, 8, 8, 12), torch.randn(1, 16, 4, 6)
    inner = functional.conv2d(skip, gate.skip.weight, stride=2)
    inner = inner + functional.conv2d(below, gate.below.weight, gate.below.bias)
    score = functional.conv2d(inner.relu(), gate.score[1].weight, gate.score[1].bias).sigmoid()
    weights = functional.interpolate(score, scale_factor=2, mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(gate(skip, below), skip * weights)
    assert set(build_unet(model).gates) == {"1"}


def test_squeeze_and_excitation_scales_channels_by_their_means() -> None:
    block = build_unet(ModelConfig(depth=1, width=16, squeeze_excitation=2), seed=0).encoder[0]
    layer = block[-1]
    features = torch.randn(2, 16, 6, 8)
    first, second = layer.weights[1], layer.weights[3]
    with torch.no_grad():
        units = (features.mean((2, 3)) @ first.weight[:, :, 0, 0].T + first.bias).relu()
        scale = (units @ second.weight[:, :, 0, 0].T + second.bias).sigmoid()
        torch.testing.assert_close(layer(features), features * scale[:, :, None, None])


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_shortcut_of_a_residual_block_stays_in_place(padding: str, stride: int) -> None:
    # With a body of zeros and a shortcut of ones the output is the input, cropped and thinned out.
    model = ModelConfig(depth=1, width=1, widths=(1, 1), block="residual", norm="none",
                        padding=padding, down="stride", strides=((stride, stride),))  # fmt: skip
    block = build_unet(model).encoder[1]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(0 if parameter.shape[-1:] != (1,) or parameter.ndim < 4 else 1)
        image = torch.arange(1.0, 145.0).view(1, 1, 12, 12)
        found = block(image)
    lost = (12 // stride - found.shape[-1]) * stride // 2
    kept = image[..., lost:, lost:][..., ::stride, ::stride]
    assert torch.equal(found, kept[..., : found.shape[-2], : found.shape[-1]])


def test_resizing_repeats_pixels_before_its_convolution() -> None:
    up = build_unet(ModelConfig(depth=1, width=1, up="resize")).upsample[0]
    assert torch.equal(
        up[0](torch.tensor([[[[1.0, 2.0]]]])), torch.tensor([[[[1.0, 1, 2, 2]] * 2]])
    )
