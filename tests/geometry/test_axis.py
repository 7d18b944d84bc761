"""What is said of an axis is what a walk through the layers, and real networks, do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import nn

from maskwright.config import ModelConfig
from maskwright.errors import SizeError
from maskwright.geometry import Axis, axes_of, check_shape, is_exact
from maskwright.nn.unet import UNet, build_unet


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _axes(depth: int) -> Iterator[Axis]:
    """Every axis of a depth."""
    for kernels in product((1, 3), repeat=depth + 1):
        for strides in product((1, 2), repeat=depth):
            for convolutions, padding, down, up, attention, fused in product(
                (1, 2), ("same", "valid"), ("max", "stride"), ("transposed", "resize"),
                (False, True), (False, True),
            ):  # fmt: skip
                if attention and depth == 1:
                    continue
                yield Axis(kernels, strides, convolutions, padding, down, up, attention, fused)


ALL = [axis for depth in (1, 2) for axis in _axes(depth)]


def _walk(size: int, axis: Axis) -> int | None:
    """The output size, layer by layer; None where a layer cannot take its input."""
    valid = axis.padding == "valid"
    skips = []
    for level in range(axis.depth + 1):
        steps = [1] * axis.convolutions
        if level and axis.down == "stride":
            steps[0] = axis.strides[level - 1]
        elif level:
            if size % axis.strides[level - 1]:
                return None
            size //= axis.strides[level - 1]
        for step in steps:
            if size % step or size < (axis.kernels[level] if valid else 1):
                return None
            size = (size - axis.kernels[level]) // step + 1 if valid else size // step
        skips.append(size)
    for level in reversed(range(axis.depth)):
        size *= axis.strides[level]
        reductions = axis.convolutions + (axis.up == "resize")
        if valid:
            size -= reductions * (axis.kernels[level] - 1)
        if size < 1 or (skips[level] - size) % 2:
            return None
    return size


def _one_axis(axis: Axis, *, seed: int = 0) -> UNet:
    """A network whose X axis is this one and whose Y axis is one pixel.

    All weights are positive and pooling is the mean, so that every dependency shows in a gradient.
    """
    model = ModelConfig(
        depth=axis.depth, width=2, norm="none", convolutions=axis.convolutions,
        kernels=[(1, kernel) for kernel in axis.kernels],
        strides=[(1, stride) for stride in axis.strides],
        padding=axis.padding, down=axis.down, up=axis.up, attention=axis.attention,
        levels="fused" if axis.fused else "none",
    )  # fmt: skip
    assert axes_of(model)[1] == axis
    network = build_unet(model, seed=seed).double().eval()
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel() if parameter.ndim > 1 else 0.1)
        if "gates" in name:
            nn.init.constant_(parameter, 0.05)
    for level, stride in enumerate(model.level_strides):
        if axis.down == "max":
            network.pool[level] = nn.AvgPool2d(stride)
    return network


def _reached(network: UNet, size: int, position: int) -> tuple[int, int]:
    image = torch.ones(1, 1, 1, size, dtype=torch.float64, requires_grad=True)
    network(image)["logits"][0, 0, 0, position].backward()
    assert image.grad is not None
    reached = image.grad[0, 0, 0].nonzero().flatten()
    return int(reached[0]), int(reached[-1])


def test_legal_sizes_and_losses_are_those_of_a_walk_through_the_layers() -> None:
    deeper = random.Random(0).sample(list(_axes(3)), 400)  # noqa: S311
    for axis in (*ALL, *deeper):
        outputs = {size: _walk(size, axis) for size in range(1, 70)}
        legal = [size for size, output in outputs.items() if output is not None]
        assert legal == [size for size in outputs if axis.is_legal(size)], axis
        for size in legal:
            assert outputs[size] == size - 2 * axis.border_loss, axis
        for size in (1, 17, 50):
            above = next((s for s in legal if s >= size), None)
            assert above in (None, axis.next_legal(size))
            below = next((s for s in reversed(legal) if s <= size), None)
            assert below == axis.previous_legal(size)


def test_the_lowest_level_and_the_levels_of_the_decoder_have_the_sizes_of_the_network() -> None:
    for axis in random.Random(1).sample(ALL, 60):  # noqa: S311
        network, size = _one_axis(axis), axis.next_legal(axis.next_legal(1) + 5)
        with torch.no_grad():
            lowest = network.encoder[0](torch.ones(1, 1, 1, size, dtype=torch.float64))
            for pool, block in zip(network.pool, network.encoder[1:], strict=True):
                lowest = block(pool(lowest))
        assert lowest.shape[-1] == axis.lowest(size)
        assert axis.level_border(0) == axis.border_loss


@pytest.mark.parametrize("part", range(8))
def test_dependency_is_where_gradients_reach(part: int) -> None:
    deeper = random.Random(2).sample(list(_axes(3)), 80)  # noqa: S311
    for axis in (*ALL, *deeper)[part::8]:
        network = _one_axis(axis)
        size = axis.next_legal(2 * axis.context + 3 * axis.step)
        outputs = size - 2 * axis.border_loss
        first = (outputs // 2) // axis.step * axis.step
        for position in range(first, first + axis.step):
            low, high = axis.dependency(position)
            expected = (low + axis.border_loss, high + axis.border_loss)
            assert _reached(network, size, position) == expected, axis
            assert high - low + 1 <= axis.receptive_field


def test_what_a_tile_keeps_depends_on_nothing_outside_it() -> None:
    for axis in (*ALL, *random.Random(3).sample(list(_axes(3)), 400)):  # noqa: S311
        smallest = axis.next_legal(axis.step + 2 * axis.context)
        for size in range(smallest, smallest + 3 * axis.step, axis.step):
            outputs = size - 2 * axis.border_loss
            spans = [axis.dependency(p) for p in range(axis.halo, outputs - axis.halo)]
            assert min(low for low, _ in spans) >= -axis.border_loss, axis
            assert max(high for _, high in spans) < outputs + axis.border_loss, axis


def test_a_halo_is_as_small_as_the_grid_allows() -> None:
    for axis in ALL:
        if not axis.halo:
            continue
        halo = axis.halo - axis.step
        outputs = axis.next_legal(4 * axis.context + axis.step) - 2 * axis.border_loss
        spans = [axis.dependency(p) for p in (halo, outputs - halo - 1)]
        inside = spans[0][0] >= -axis.border_loss and spans[1][1] < outputs + axis.border_loss
        assert not inside, axis


def test_the_networks_of_the_paper_lose_and_see_what_they_did() -> None:
    padded, unpadded = Axis((3,) * 5, (2,) * 4), Axis((3,) * 5, (2,) * 4, padding="valid")
    assert (padded.border_loss, padded.halo, padded.receptive_field) == (0, 96, 204)
    assert (unpadded.border_loss, unpadded.halo, unpadded.receptive_field) == (92, 0, 204)
    assert [unpadded.level_border(level) for level in range(4)] == [92, 90, 86, 78]


def test_gates_fusion_and_resizing_widen_the_field_by_known_amounts() -> None:
    kernels, strides = (3,) * 5, (2,) * 4
    assert Axis(kernels, strides, attention=True).receptive_field == 236
    assert Axis(kernels, strides, up="resize").receptive_field == 236
    assert Axis(kernels, strides, fused=True).receptive_field == 204
    assert Axis(kernels, strides, down="stride").receptive_field == 159
    assert Axis((1,) * 5, strides, convolutions=1).receptive_field == 16
    assert Axis((1,) * 5, strides, convolutions=1, fused=True).receptive_field == 32


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({}, True),
        ({"norm": "none", "attention": True, "levels": "fused", "up": "resize"}, True),
        ({"norm": "instance"}, False),
        ({"norm": "group"}, False),
        ({"squeeze_excitation": 16}, False),
    ],
)
def test_means_over_the_tile_make_tiles_disagree(changes: dict[str, object], exact: bool) -> None:
    assert is_exact(ModelConfig(**changes)) is exact


def test_each_axis_is_checked_for_itself() -> None:
    model = ModelConfig(dims=3, depth=2, strides="1x2x2,2x2x2")
    check_shape((2, 4, 4), model, subject="image size")
    with pytest.raises(SizeError, match=r"image size along Z.*found 3 px. Use 2 or 4 px"):
        check_shape((3, 4, 4), model, subject="image size")
    with pytest.raises(SizeError, match=r"along X.*multiple of 4, found 6 px. Use 4 or 8 px"):
        check_shape((2, 4, 6), model, subject="image size")
    with pytest.raises(SizeError, match=r"3 axes \(Z, Y, X\), found 2"):
        check_shape((4, 4), model, subject="image size")


def test_one_pixel_has_no_deviation_to_normalise_by() -> None:
    for norm in ("instance", "group"):
        model = ModelConfig(depth=2, norm=norm)
        check_shape((4, 8), model, subject="image size")
        with pytest.raises(SizeError, match=r"found 4×4 px, which leaves one. Use 8×8 px") as found:
            check_shape((4, 4), model, subject="image size")
        assert found.value.code == "size-one-pixel"
