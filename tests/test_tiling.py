"""Tiles cover every pixel once, and tiled prediction equals whole-image prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.errors import SizeError
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import predict_classes, predict_probabilities
from maskwright.tiling import Interval, TileRule, mirror_index, read_mirrored

RULES = st.builds(
    TileRule,
    depth=st.integers(1, 4),
    padding=st.sampled_from(["same", "valid"]),
    tile_px=st.integers(250, 700),
    mirror_px=st.integers(0, 40),
)


@settings(max_examples=150, deadline=None)
@given(RULES, st.integers(1, 900), st.integers(1, 40))
def test_tiles_write_every_pixel_exactly_once(rule: TileRule, height: int, width: int) -> None:
    written = np.zeros((height, width), int)
    for tile in rule.cover((height, width)):
        rows, columns = tile.write
        written[rows.slice, columns.slice] += 1
    assert (written == 1).all()


@settings(max_examples=150, deadline=None)
@given(RULES, st.integers(1, 900))
def test_every_tile_is_legal_no_larger_than_asked_and_on_the_grid(
    rule: TileRule, size: int
) -> None:
    step = geometry.divisor(rule.depth)
    loss = geometry.border_loss(rule.depth, rule.padding)
    tiles = rule.cover((size,))
    phases = {(tile.read[0].start + loss) % step for tile in tiles}
    assert phases == {0}
    for tile in tiles:
        read, crop, write = tile.read[0], tile.crop[0], tile.write[0]
        assert geometry.is_legal_size(read.size, rule.depth, rule.padding)
        assert read.size <= rule.tile_px
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
    rule = TileRule(depth=4, padding="same", tile_px=128, mirror_px=32)
    with pytest.raises(SizeError, match="at least 240 px"):
        rule.cover((2000,))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_identity_network_reproduces_its_input(padding: str) -> None:
    rule = TileRule(depth=2, padding=padding, tile_px=120, mirror_px=8)
    border = geometry.border_loss(2, padding)
    image = np.random.default_rng(0).integers(0, 255, (1, 300, 211)).astype(np.uint8)

    def identity(batch: np.ndarray) -> np.ndarray:
        inner = batch[..., border:-border, border:-border] if border else batch
        return np.concatenate([-inner, inner], 1)

    found = predict_probabilities(image, identity, rule, 1, classes=2)[1]
    expected = (image[0] - image.mean()) / image.std()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
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
    network = build_unet(ModelConfig(depth=depth, width=4, padding=padding, norm=norm))
    with torch.no_grad():  # batch statistics that are not those of fresh weights
        side = geometry.next_legal_size(92, depth, padding)
        network(torch.randn(2, 1, side, side) * 2 + 1)
    engine = torch_engine(network.eval())
    image = np.random.default_rng(seed).normal(100, 20, (1, height, width)).astype(np.float32)
    context = geometry.halo(depth) if padding == "same" else geometry.border_loss(depth, padding)
    smallest = geometry.next_legal_size(2 * context + geometry.divisor(depth), depth, padding)
    whole = TileRule(depth, padding, 2000, 16)
    small = TileRule(depth, padding, smallest + extra, 16)
    assert len(whole.cover((height, width))) == 1
    expected = predict_probabilities(image, engine, whole, 1, classes=2)
    found = predict_probabilities(image, engine, small, 1, classes=2)
    assert np.abs(found - expected).max() < 1e-5
    differs = predict_classes(image, engine, small, 1) != (expected[1] > expected[0])
    assert (np.abs(expected[1] - expected[0])[differs] < 1e-5).all()


def test_whole_image_prediction_is_the_network_on_the_mirrored_image() -> None:
    network = build_unet(ModelConfig(depth=2, width=4), seed=3).eval()
    image = np.random.default_rng(1).normal(size=(1, 64, 48)).astype(np.float32)
    rule = TileRule(depth=2, padding="same", tile_px=2000, mirror_px=8)
    found = predict_probabilities(image, torch_engine(network), rule, 1, classes=2)
    normal = (image - image.mean()) / image.std()
    padded = torch.from_numpy(np.pad(normal, ((0, 0), (8, 8), (8, 8)), mode="reflect"))[None]
    with torch.no_grad():
        expected = network(padded)["logits"].softmax(1)[0, :, 8:-8, 8:-8].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_depth_four_of_the_paper_reads_572_to_write_388() -> None:
    tile = TileRule(depth=4, padding="valid", tile_px=572, mirror_px=0).cover((388, 388))[0]
    assert [read.size for read in tile.read] == [572, 572]
    assert [write.size for write in tile.write] == [388, 388]
