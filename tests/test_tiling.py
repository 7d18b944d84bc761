"""Tiles cover every pixel once, and tiled prediction equals whole-image prediction."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.errors import SizeError
from maskwright.geometry import Axis
from maskwright.nn.presets import preset
from maskwright.nn.unet import UNet, build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import Found, predict_image
from maskwright.tiling import BlendRule, Interval, TileRule, mirror_index, read_mirrored


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


AXES = st.builds(
    lambda depth, kernel, stride, **options: Axis(
        (kernel,) * (depth + 1), (stride,) * depth, **options
    ),
    depth=st.integers(1, 4),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    convolutions=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid"]),
    down=st.sampled_from(["max", "stride"]),
    up=st.sampled_from(["transposed", "resize"]),
    attention=st.booleans(),
    fused=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(
    AXES, AXES, st.integers(270, 700), st.integers(0, 40), st.integers(1, 900), st.integers(1, 40)
)
def test_tiles_write_every_pixel_exactly_once(
    rows: Axis, columns: Axis, tile_px: int, mirror_px: int, height: int, width: int
) -> None:
    written = np.zeros((height, width), int)
    for tile in TileRule((rows, columns), (tile_px, tile_px + 9), mirror_px).cover((height, width)):
        written[tile.write_slices] += 1
    assert (written == 1).all()


@settings(max_examples=150, deadline=None)
@given(AXES, st.integers(300, 700), st.integers(0, 40), st.integers(1, 900), st.booleans())
def test_every_tile_is_legal_no_larger_than_asked_and_on_the_grid(
    axis: Axis, tile_px: int, mirror_px: int, size: int, exact: bool
) -> None:
    loss = axis.border_loss
    rule = TileRule if exact else BlendRule
    tiles = rule((axis,), tile_px, mirror_px).cover((size,))
    phases = {(tile.read[0].start + loss) % axis.step for tile in tiles}
    assert phases == {0}
    for tile in tiles:
        read, crop, write = tile.read[0], tile.crop[0], tile.write[0]
        assert axis.is_legal(read.size)
        assert read.size <= tile_px
        assert crop.size == write.size
        assert read.start + loss + crop.start == write.start
        assert crop.start >= 0
        assert crop.stop <= read.size - 2 * loss


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 20))
def test_mirroring_is_numpys_reflect(start: int, length: int, size: int) -> None:
    pad = 120
    expected = np.pad(np.arange(size), pad, mode="reflect" if size > 1 else "edge")
    found = mirror_index(Interval(start, start + length), size)
    assert found.tolist() == expected[start + pad : start + pad + length].tolist()


def test_a_window_inside_the_image_is_a_view() -> None:
    image = np.arange(100).reshape(1, 10, 10)
    window = read_mirrored(image, (Interval(2, 5), Interval(0, 10)))
    assert np.shares_memory(window, image)
    assert window.shape == (1, 3, 10)


def test_a_tile_that_leaves_nothing_to_keep_is_refused_with_the_smallest_size() -> None:
    axis = Axis((3,) * 5, (2,) * 4)
    with pytest.raises(SizeError, match="at least 208 px"):
        TileRule((axis, axis), tile_px=128, mirror_px=32).cover((2000, 2000))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_identity_network_reproduces_its_input(padding: str) -> None:
    axis = Axis((3,) * 3, (2,) * 2, padding=padding)
    rule, border = TileRule((axis, axis), tile_px=120, mirror_px=8), axis.border_loss
    image = np.random.default_rng(0).integers(0, 255, (1, 300, 211)).astype(np.uint8)

    def identity(batch: np.ndarray) -> Found:
        inner = batch[..., border:-border, border:-border] if border else batch
        return {"probabilities": np.concatenate([-inner, inner], 1)}

    found = predict_image(image, identity, rule, 1).probabilities_KYX[1]
    expected = (image[0] - image.mean()) / image.std()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    depth=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    norm=st.sampled_from(["none", "batch"]),
    height=st.integers(20, 260),
    width=st.integers(20, 260),
    extra=st.integers(0, 40),
    seed=st.integers(0, 1000),
)
def test_tiled_equals_whole_image_prediction(
    depth: int, padding: str, norm: str, height: int, width: int, extra: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = ModelConfig(depth=depth, width=4, padding=padding, norm=norm)
    network = build_unet(model)
    with torch.no_grad():  # batch statistics that are not those of fresh weights
        network(torch.randn(2, 1, *geometry.next_legal_shape((92, 92), model)) * 2 + 1)
    engine = torch_engine(network.eval())
    image = np.random.default_rng(seed).normal(100, 20, (1, height, width)).astype(np.float32)
    axes = geometry.axes_of(model)
    smallest = axes[0].next_legal(2 * axes[0].context + axes[0].step)
    whole = TileRule(axes, 2000, 16)
    small = TileRule(axes, smallest + extra, 16)
    assert len(whole.cover((height, width))) == 1
    expected = predict_image(image, engine, whole, 1).probabilities_KYX
    found = predict_image(image, engine, small, 1)
    assert np.abs(found.probabilities_KYX - expected).max() < 1e-5
    differs = found.classes_YX != (expected[1] > expected[0])
    assert (np.abs(expected[1] - expected[0])[differs] < 1e-5).all()


def _logits(network: UNet, rule: TileRule, image: np.ndarray) -> np.ndarray:
    """The network's scores of an image, tile by tile, in the precision of the image."""
    result = np.zeros((network.config.classes, *image.shape[1:]))
    for tile in rule.cover(image.shape[1:]):
        pixels = torch.from_numpy(np.ascontiguousarray(read_mirrored(image, tile.read)))
        with torch.no_grad():
            found = network(pixels[None])["logits"][0].numpy()
        result[(slice(None), *tile.write_slices)] = found[(slice(None), *tile.crop_slices)]
    return result


@pytest.mark.parametrize("seed", range(50))
def test_networks_of_all_kinds_give_the_same_scores_however_they_are_tiled(seed: int) -> None:
    pick = random.Random(seed)  # noqa: S311
    dims = 3 if seed % 5 == 0 else 2
    depth = 1 if dims == 3 else pick.randint(1, 3)
    model = ModelConfig(
        dims=dims, depth=depth, width=2, padding=pick.choice(["same", "valid"]),
        kernels=[pick.choices([1, 3, 3], k=dims) for _ in range(depth + 1)],
        strides=[pick.choices([1, 2, 2], k=dims) for _ in range(depth)],
        convolutions=1 if dims == 3 else pick.randint(1, 2),
        norm=pick.choice(["none", "batch"]), activation=pick.choice(["relu", "gelu"]),
        block=pick.choice(["plain", "residual"]), attention=depth > 1 and pick.random() < 0.5,
        down=pick.choice(["max", "stride"]), up=pick.choice(["transposed", "resize"]),
        levels=pick.choice(["none", "fused"]),
    )  # fmt: skip
    assert geometry.is_exact(model)
    network, axes = build_unet(model, seed=seed).double().eval(), geometry.axes_of(model)
    tile = tuple(axis.next_legal(2 * axis.context + 2 * axis.step) + 1 for axis in axes)
    shape = tuple(
        pick.randint(n // 2, n + 3 * axis.step) for n, axis in zip(tile, axes, strict=True)
    )
    image = np.random.default_rng(seed).normal(size=(1, *shape))
    small, whole = TileRule(axes, tile, 3), TileRule(axes, 2000, 3)
    assert len(whole.cover(shape)) == 1
    difference = np.abs(_logits(network, small, image) - _logits(network, whole, image)).max()
    assert difference < 1e-9


def test_the_halo_of_96_pixels_at_depth_four_is_enough() -> None:
    network = build_unet(ModelConfig(width=2, norm="none"), seed=0).double().eval()
    image = np.random.default_rng(0).normal(size=(1, 16, 480))
    assert {axis.halo for axis in network.axes} == {96}
    whole, tiles = TileRule(network.axes, 2000, 0), TileRule(network.axes, 224, 0)
    assert len(tiles.cover((16, 480))) > 10
    difference = np.abs(_logits(network, tiles, image) - _logits(network, whole, image)).max()
    assert difference < 1e-9


@pytest.mark.parametrize("change", [{"norm": "instance"}, {"squeeze_excitation": 4}], ids=str)
def test_means_over_the_tile_make_the_result_depend_on_how_tiles_are_cut(
    change: dict[str, object],
) -> None:
    network = build_unet(ModelConfig(depth=1, width=4, **change), seed=0).double().eval()
    image = np.random.default_rng(0).normal(size=(1, 40, 80))
    whole = _logits(network, TileRule(network.axes, 2000, 0), image)
    found = _logits(network, TileRule(network.axes, 32, 0), image)
    assert not geometry.is_exact(network.config)
    assert np.abs(found - whole).max() > 1e-3


@settings(max_examples=100, deadline=None)
@given(
    AXES, AXES, st.integers(70, 300), st.integers(0, 40), st.integers(1, 700), st.integers(1, 90)
)
def test_the_weights_of_averaged_tiles_sum_to_one_at_every_pixel(
    rows: Axis, columns: Axis, tile_px: int, mirror_px: int, height: int, width: int
) -> None:
    tile = tuple(
        axis.next_legal(max(tile_px, axis.step + 2 * axis.border_loss)) + 1
        for axis in (rows, columns)
    )
    total = np.zeros((height, width))
    tiles = BlendRule((rows, columns), tile, mirror_px).cover((height, width))
    for each in tiles:
        weights = each.weights or tuple(np.ones(write.size) for write in each.write)
        total[each.write_slices] += np.outer(*weights)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert sum(each.area for each in tiles) == pytest.approx(height * width, rel=1e-6)


def test_averaged_tiles_overlap_by_at_least_half() -> None:
    axis = Axis((3,) * 4, (2,) * 3)
    tiles = BlendRule((axis,), 128, 32).cover((1000,))
    starts = [tile.read[0].start for tile in tiles]
    assert starts[0] == -32
    assert tiles[-1].read[0].stop == 1000 + 32
    assert max(after - before for before, after in pairwise(starts)) <= 64


def test_an_image_that_fits_into_a_tile_is_one_tile_for_both_rules() -> None:
    axes = (Axis((3,) * 4, (2,) * 3),) * 2
    exact, averaged = (rule(axes, 512, 32).cover((300, 211)) for rule in (TileRule, BlendRule))
    assert exact == averaged
    assert averaged[0].weights is None


def test_a_tile_smaller_than_the_network_takes_is_refused() -> None:
    axis = Axis((3,) * 5, (2,) * 4, padding="valid")
    with pytest.raises(SizeError, match="at least 204 px, since 92 px"):
        BlendRule((axis,), 64, 0).cover((500,))


def test_whole_image_prediction_is_the_network_on_the_mirrored_image() -> None:
    network = build_unet(ModelConfig(depth=2, width=4), seed=3).eval()
    image = np.random.default_rng(1).normal(size=(1, 64, 48)).astype(np.float32)
    rule = TileRule(network.axes, tile_px=2000, mirror_px=8)
    found = predict_image(image, torch_engine(network), rule, 1).probabilities_KYX
    normal = (image - image.mean()) / image.std()
    padded = torch.from_numpy(np.pad(normal, ((0, 0), (8, 8), (8, 8)), mode="reflect"))[None]
    with torch.no_grad():
        expected = network(padded)["logits"].softmax(1)[0, :, 8:-8, 8:-8].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_papers_networks_read_what_the_papers_say() -> None:
    axis = Axis((3,) * 5, (2,) * 4, padding="valid")
    tile = TileRule((axis, axis), tile_px=572, mirror_px=0).cover((388, 388))[0]
    assert [read.size for read in tile.read] == [572, 572]
    assert [write.size for write in tile.write] == [388, 388]
    axes = geometry.axes_of(preset("cicek2016").model)
    tile = TileRule(axes, tile_px=(116, 132, 132), mirror_px=0).cover((28, 44, 44))[0]
    assert [read.size for read in tile.read] == [116, 132, 132]
    assert [write.size for write in tile.write] == [28, 44, 44]
