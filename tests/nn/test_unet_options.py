"""Every option alone and many together, in two and three dimensions, on tiny networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.nn.checkpoint import read_model, write_model
from maskwright.nn.unet import Outputs, UNet, build_unet, fold

Draw = Callable[..., ModelConfig]
Shape = Callable[[ModelConfig], tuple[int, ...]]

OPTIONS: list[dict[str, Any]] = [
    {},
    {"widths": (4, 6, 6)},
    {"max_width": 8},
    {"widen": "second"},
    {"convolutions": 1},
    {"convolutions": 3},
    {"dims": 2, "kernels": "1x3,3x3,3x1"},
    {"dims": 2, "strides": "1x2,2x2"},
    {"dims": 3, "kernels": "1x3x3,3x3x3,3x1x3"},
    {"dims": 3, "strides": "1x2x2,2x2x2"},
    {"padding": "valid", "up_bias": False},
    {"norm": "none"},
    {"norm": "instance"},
    {"norm": "group", "groups": 2},
    {"activation": "leaky_relu"},
    {"activation": "gelu"},
    {"block": "residual"},
    {"attention": True},
    {"squeeze_excitation": 4},
    {"down": "stride"},
    {"up": "resize"},
    {"dropout": 0.5},
    {"levels": "supervised"},
    {"levels": "fused"},
    {"image_classes": 3},
    {"image_classes": 2, "image_hidden": ()},
    {"output": "sigmoid", "classes": 1},
]
SEEDS = range(60)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _images(model: ModelConfig, shape: tuple[int, ...], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, model.channels, *shape, generator=torch.Generator().manual_seed(0))


def _tensors(outputs: Outputs) -> list[torch.Tensor]:
    extra = [outputs["image_logits"]] if "image_logits" in outputs else []
    return [outputs["logits"], *outputs.get("levels", []), *extra]


def _moved(network: UNet, shape: tuple[int, ...]) -> UNet:
    """In evaluation mode, with running statistics that are not those of fresh weights."""
    network.train()
    with torch.no_grad():
        network(_images(network.config, shape, 3) * 2 + 0.5)
    return network.eval()


def _check_outputs(model: ModelConfig, shape: tuple[int, ...], outputs: Outputs) -> None:
    expected = {"logits"}
    expected |= {"levels"} if model.levels != "none" else set()
    expected |= {"image_logits"} if model.image_classes else set()
    assert set(outputs) == expected
    final = geometry.output_shape(shape, model)
    assert outputs["logits"].shape == (2, model.classes, *final)
    if "levels" in outputs:
        axes = geometry.axes_of(model)
        assert len(outputs["levels"]) == model.depth
        for level, found in enumerate(outputs["levels"]):
            covered = [n * axis.scale(level) for n, axis in zip(found.shape[2:], axes, strict=True)]
            inside = [n - 2 * a.level_border(level) for n, a in zip(shape, axes, strict=True)]
            assert covered == inside
    if "image_logits" in outputs:
        assert outputs["image_logits"].shape == (2, model.image_classes)


def _check_gradients(network: UNet, outputs: Outputs) -> None:
    sum((tensor**2).mean() for tensor in _tensors(outputs)).backward()  # type: ignore[union-attr]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_alone_has_the_right_shapes_and_a_gradient_everywhere(
    option: dict[str, Any], dims: int, small_shape: Shape
) -> None:
    model = ModelConfig(**{"dims": dims, "depth": 2, "width": 4, **option})
    network, shape = build_unet(model, seed=0), small_shape(model)
    outputs = network(_images(model, shape))
    _check_outputs(model, shape, outputs)
    _check_gradients(network, outputs)


@pytest.mark.parametrize("seed", SEEDS)
def test_options_together_have_the_right_shapes_and_a_gradient_everywhere(
    seed: int, draw_model: Draw, small_shape: Shape
) -> None:
    model = draw_model(seed)
    network, shape = build_unet(model, seed=seed), small_shape(model)
    outputs = network(_images(model, shape))
    _check_outputs(model, shape, outputs)
    _check_gradients(network, outputs)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_table_of_layers_counts_the_parameters_and_multiplications_of_the_network(
    seed: int, draw_model: Draw, small_shape: Shape
) -> None:
    for number in (seed, seed + 1000):
        model = draw_model(number)
        network, shape = build_unet(model).eval(), small_shape(model)
        table = geometry.layer_table(shape, model)
        assert sum(p.numel() for p in network.parameters()) == sum(t.parameters for t in table)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = network(_images(model, shape, 1))["logits"]
        assert counter.get_total_flops() == 2 * sum(layer.macs for layer in table)
        assert (table[-1].channels, *table[-1].shape) == logits.shape[1:]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_comes_back_from_disk_with_the_same_output(
    seed: int, draw_model: Draw, small_shape: Shape, tmp_path: Path
) -> None:
    model = draw_model(seed)
    shape = small_shape(model)
    network = _moved(build_unet(model, seed=seed), shape)
    write_model(tmp_path / "model.safetensors", network, {})
    found, _ = read_model(tmp_path / "model.safetensors")
    assert found.config == model
    with torch.no_grad():
        image = _images(model, shape)
        for one, other in zip(_tensors(network(image)), _tensors(found(image)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_equals_its_singles_and_folding_changes_nothing(
    seed: int, draw_model: Draw, small_shape: Shape
) -> None:
    model = draw_model(seed)
    shape = small_shape(model)
    network = _moved(build_unet(model, seed=seed), shape)
    folded = fold(network)
    assert not any("BatchNorm" in type(module).__name__ for module in folded.modules())
    image = _images(model, shape)
    with torch.no_grad():
        batch = _tensors(network(image))
        singles = [_tensors(network(one[None])) for one in image]
        joined = [torch.cat(parts) for parts in zip(*singles, strict=True)]
        for expected, single, fused in zip(batch, joined, _tensors(folded(image)), strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(single, expected, atol=1e-5 * max(1, scale), rtol=1e-5)
            torch.testing.assert_close(fused, expected, atol=1e-5 * max(1, scale), rtol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_weights(seed: int, draw_model: Draw) -> None:
    model = draw_model(seed)
    one, other = (build_unet(model, seed=seed) for _ in range(2))
    assert one.state_dict().keys() == other.state_dict().keys()
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def _mirror_weights(network: UNet, axis: int) -> UNet:
    """The network that sees through a mirror: every kernel turned around along one axis."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 2:
                parameter.copy_(parameter.flip(axis + 2))
    return network


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mirrored_network_sees_a_mirrored_image_mirrored(
    seed: int, draw_model: Draw, small_shape: Shape
) -> None:
    # A strided convolution starts on one side of its pair of pixels, so it has a handedness.
    model = draw_model(seed, down="max")
    shape, axis = small_shape(model), seed % 2
    network = _moved(build_unet(model, seed=seed), shape).double()
    image = _images(model, shape).double()
    with torch.no_grad():
        expected = network(image)
        found = _mirror_weights(network, axis)(image.flip(axis + 2))
    torch.testing.assert_close(found["logits"].flip(axis + 2), expected["logits"])
    for one, other in zip(found.get("levels", []), expected.get("levels", []), strict=True):
        torch.testing.assert_close(one.flip(axis + 2), other)
    if "image_logits" in expected:
        torch.testing.assert_close(found["image_logits"], expected["image_logits"])


@pytest.mark.parametrize(("dims", "padding"), [(2, "same"), (2, "valid"), (3, "same")])
def test_what_is_exported_computes_the_same_at_other_sizes(dims: int, padding: str) -> None:
    model = ModelConfig(
        dims=dims, depth=2, width=4, norm="instance", block="residual", attention=True,
        squeeze_excitation=4, levels="fused", image_classes=2, padding=padding,
    )  # fmt: skip
    network = build_unet(model, seed=0).eval()
    smallest = geometry.axes_of(model)[0].next_legal(1)
    sizes = {
        2 + axis: 4 * torch.export.Dim(f"n{axis}", min=2, max=64) + smallest % 4
        for axis in range(dims)
    }
    example = torch.randn(1, 1, *(smallest + 16,) * dims)
    exported = torch.export.export(
        network, (example,), dynamic_shapes=(sizes,), strict=False
    ).module()
    image = torch.randn(1, 1, *(smallest + 12, smallest + 20, smallest + 8)[:dims])
    with torch.no_grad():
        for one, other in zip(_tensors(exported(image)), _tensors(network(image)), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("seed", range(0, 60, 7))
def test_what_is_traced_computes_the_same_at_other_sizes(
    seed: int, draw_model: Draw, small_shape: Shape
) -> None:
    model = draw_model(seed)
    network, shape = build_unet(model, seed=0).eval(), small_shape(model)
    larger = tuple(n + a.step for n, a in zip(shape, geometry.axes_of(model), strict=True))

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image)["logits"]
            return logits

    traced = torch.jit.trace(Logits(), _images(model, shape, 1))
    image = _images(model, larger)
    with torch.no_grad():
        assert prod(larger) > prod(shape)
        torch.testing.assert_close(traced(image), network(image)["logits"])
