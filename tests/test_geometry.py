"""Layer sizes are the paper's; what is said of the receptive field is what the network does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.errors import SizeError
from maskwright.nn.presets import preset
from maskwright.nn.unet import build_unet

PAPER = [
    (572, 570, 568),
    (284, 282, 280),
    (140, 138, 136),
    (68, 66, 64),
    (32, 30, 28),
    (56, 54, 52),
    (104, 102, 100),
    (200, 198, 196),
    (392, 390, 388),
]


def _paper_table() -> list[geometry.Layer]:
    model = preset("ronneberger2015").model
    return geometry.layer_table(572, **model.model_dump(exclude={"dropout"}))


def test_every_size_of_the_paper_stands_in_the_table() -> None:
    sizes = [layer.size for layer in _paper_table() if "concatenate" not in layer.name]
    expected = [size for level in PAPER for size in level][1:]
    assert sizes == [*expected, 388]


def test_the_paper_network_has_31030658_parameters_layer_by_layer() -> None:
    widths = [64, 128, 256, 512, 1024]
    encoder = 0
    inner = 1
    for width in widths:
        encoder += 9 * inner * width + width + 9 * width * width + width
        inner = width
    decoder = 0
    for width in reversed(widths[:-1]):
        decoder += 4 * (2 * width) * width + width
        decoder += 9 * (2 * width) * width + width + 9 * width * width + width
    head = 64 * 2 + 2
    assert encoder + decoder + head == 31_030_658
    assert sum(layer.parameters for layer in _paper_table()) == 31_030_658
    network = build_unet(preset("ronneberger2015").model)
    assert sum(p.numel() for p in network.parameters()) == 31_030_658


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_table_is_what_the_network_computes(padding: str, norm: str, depth: int) -> None:
    config = ModelConfig(depth=depth, width=3, channels=2, classes=4, padding=padding, norm=norm)
    network = build_unet(config)
    size = geometry.next_legal_size(60, depth, padding)
    seen: list[int] = []
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.MaxPool2d)
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[-1]))
    network(torch.zeros(1, 2, size, size))
    table = geometry.layer_table(size, **config.model_dump(exclude={"dropout"}))
    assert seen == [layer.size for layer in table if "concatenate" not in layer.name]
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == sum(layer.parameters for layer in table)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 5), st.sampled_from(["same", "valid"]))
def test_next_and_previous_legal_sizes_enclose_every_size(
    size: int, depth: int, padding: str
) -> None:
    above = geometry.next_legal_size(size, depth, padding)
    below = geometry.previous_legal_size(size, depth, padding)
    assert above >= size
    assert geometry.is_legal_size(above, depth, padding)
    assert not any(geometry.is_legal_size(s, depth, padding) for s in range(size, above))
    if below is not None:
        assert below <= size
        assert geometry.is_legal_size(below, depth, padding)


def test_an_illegal_size_names_the_next_legal_ones() -> None:
    with pytest.raises(SizeError, match=r"found 570 px. Use 556 or 572 px"):
        geometry.check_size(570, 4, "valid", subject="--input")
    with pytest.raises(SizeError, match=r"Use 96 or 112 px") as caught:
        geometry.check_size(100, 4, "same", subject="--input")
    assert caught.value.code == "size-illegal"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_receptive_field_is_where_gradients_reach(depth: int) -> None:
    config = ModelConfig(depth=depth, width=2, norm="none")
    network = build_unet(config, seed=0).double()
    for parameter in network.parameters():  # positive weights: nothing cancels, nothing dies
        torch.nn.init.constant_(parameter, 0.1)
    step = geometry.divisor(depth)
    size = 2 * geometry.halo(depth) + 2 * step
    middle = size // 2 // step * step
    for position in range(middle, middle + step):
        image = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        network(image)["logits"][0, 0, position, position].backward()
        reached = image.grad[0, 0].abs().sum(0).nonzero().flatten()
        low, high = geometry.dependency(position, depth)
        # Max pooling passes the gradient to one pixel of each pair, so reach is bounded, not equal.
        assert low <= reached.min()
        assert reached.max() <= high
        assert high - low + 1 <= geometry.receptive_field(depth)
        assert max(position - low, high - position) <= geometry.halo(depth)


def test_a_pixel_outside_the_receptive_field_changes_nothing_and_one_inside_does() -> None:
    depth = 2
    network = build_unet(ModelConfig(depth=depth, width=4, norm="none"), seed=1).double().eval()
    size, position = 96, 45
    low, high = geometry.dependency(position, depth)
    image = torch.randn(1, 1, size, size, dtype=torch.float64)
    before = network(image)["logits"][0, :, position, position]
    for column, changes in ((low - 1, False), (high + 1, False)):
        other = image.clone()
        other[..., column] += 100
        after = network(other)["logits"][0, :, position, position]
        assert torch.equal(before, after) is not changes
    other = image.clone()
    other[..., low : high + 1] += 100
    assert not torch.equal(before, network(other)["logits"][0, :, position, position])
