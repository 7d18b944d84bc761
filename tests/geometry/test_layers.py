"""The table of layers holds the sizes and parameters of the papers and of the real networks."""

from __future__ import annotations

import pytest
import torch

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
    return geometry.layer_table((572, 572), model)


def test_every_size_of_the_paper_stands_in_the_table() -> None:
    shapes = [layer.shape for layer in _paper_table() if "concatenate" not in layer.name]
    expected = [(size, size) for level in PAPER for size in level][1:]
    assert shapes == [*expected, (388, 388)]


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


def test_the_volumes_of_the_3d_paper_stand_in_the_table() -> None:
    table = geometry.layer_table((116, 132, 132), preset("cicek2016").model)
    shapes = {layer.name: layer.shape for layer in table}
    assert shapes["down 0 conv 2"] == (112, 128, 128)
    assert shapes["down 1 conv 2"] == (52, 60, 60)
    assert shapes["down 2 conv 2"] == (22, 26, 26)
    assert shapes["bottom conv 2"] == (7, 9, 9)
    assert shapes["1×1 conv"] == (28, 44, 44)
    channels = [layer.channels for layer in table if " conv " in layer.name]
    assert channels == [32, 64, 64, 128, 128, 256, 256, 512, 256, 256, 128, 128, 64, 64]
    joined = [layer.channels for layer in table if "concatenate" in layer.name]
    assert joined == [256 + 512, 128 + 256, 64 + 128]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_sizes_of_the_table_are_those_of_the_network(
    padding: str, dims: int, depth: int
) -> None:
    model = ModelConfig(dims=dims, depth=depth, width=3, channels=2, classes=4, padding=padding)
    network = build_unet(model)
    shape = geometry.next_legal_shape((20, 37, 24)[:dims], model)
    seen: list[tuple[int, ...]] = []
    kinds = ("Conv", "ConvTranspose", "MaxPool")
    for module in network.modules():
        if type(module).__name__[:-2] in kinds:
            module.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[2:])))
    with torch.no_grad():
        network(torch.zeros(1, 2, *shape))
    table = geometry.layer_table(shape, model)
    assert seen == [layer.shape for layer in table if "concatenate" not in layer.name]


def test_an_illegal_size_names_the_next_legal_ones() -> None:
    with pytest.raises(SizeError, match=r"found 570 px. Use 556 or 572 px"):
        geometry.layer_table((570, 570), preset("ronneberger2015").model)
    with pytest.raises(SizeError, match=r"Use 96 or 112 px") as caught:
        geometry.layer_table((100, 100), ModelConfig())
    assert caught.value.code == "size-illegal"
