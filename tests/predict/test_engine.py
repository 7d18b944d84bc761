"""The engine computes what the network computes, folded and in either number format."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.nn.unet import UNet, build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import most_probable


@pytest.fixture
def network() -> UNet:
    network = build_unet(ModelConfig(depth=2, width=8, classes=3), seed=0)
    for _ in range(5):
        network(torch.randn(2, 1, 64, 64) + 0.5)
    return network.eval()


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 1, 64, 48)).astype(np.float32)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_float32_is_the_softmax_of_the_network(
    network: UNet, tiles: np.ndarray, layout: str
) -> None:
    with torch.no_grad():
        expected = network(torch.from_numpy(tiles))["logits"].softmax(1).numpy()
    found = torch_engine(network, layout=layout)(tiles)["probabilities"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16_stays_close_and_is_not_rounded_to_eight_bits(
    network: UNet, tiles: np.ndarray
) -> None:
    exact = torch_engine(network)(tiles)["probabilities"]
    found = torch_engine(network, precision="bfloat16")(tiles)["probabilities"]
    assert np.abs(found - exact).max() < 0.05
    assert len(np.unique(found)) > 0.5 * found.size
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_network_itself_is_left_alone(network: UNet, tiles: np.ndarray) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch_engine(network, precision="bfloat16")(tiles)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


def test_a_batch_equals_its_singles(network: UNet, tiles: np.ndarray) -> None:
    engine = torch_engine(network)
    singles = np.concatenate([engine(tile[None])["probabilities"] for tile in tiles])
    np.testing.assert_allclose(engine(tiles)["probabilities"], singles, rtol=1e-5, atol=1e-5)


def test_the_most_probable_class_prefers_the_lower_on_a_tie() -> None:
    two = np.array([[[0.5, 0.4]], [[0.5, 0.6]]], np.float32)
    three = np.array([[[0.4, 0.1]], [[0.4, 0.2]], [[0.2, 0.7]]], np.float32)
    assert most_probable(two).tolist() == [[0, 1]]
    assert most_probable(three).tolist() == [[0, 2]]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_volumes_overlapping_classes_and_labels_of_images_are_predicted_too(
    precision: str, layout: str
) -> None:
    model = ModelConfig(dims=3, depth=2, width=8, levels="fused", output="sigmoid", image_classes=3)
    network = build_unet(model, seed=0).eval()
    tile = np.random.default_rng(0).normal(size=(2, 1, 8, 16, 12)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(tile))
    found = torch_engine(network, layout=layout, precision=precision)(tile)
    atol = 1e-5 if precision == "float32" else 0.05
    assert set(found) == {"probabilities", "image_probabilities"}
    logits, image_logits = expected["logits"], expected["image_logits"]
    np.testing.assert_allclose(found["probabilities"], logits.sigmoid(), atol=atol)
    np.testing.assert_allclose(found["image_probabilities"], image_logits.softmax(1), atol=atol)


@pytest.mark.parametrize("levels", ["supervised", "fused"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_levels_lie_on_the_final_prediction_the_finest_first(levels: str, padding: str) -> None:
    model = ModelConfig(depth=3, width=4, classes=3, levels=levels, padding=padding)
    network = build_unet(model, seed=0).eval()
    shape = geometry.next_legal_shape((70, 90), model)
    tile = np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32)
    found = torch_engine(network, levels=True)(tile)
    assert [level.shape for level in found["levels"]] == [found["probabilities"].shape] * 3
    with torch.no_grad():
        scores = network(torch.from_numpy(tile))["levels"]
    for level, (given, expected) in enumerate(zip(found["levels"], scores, strict=True)):
        large = functional.interpolate(expected, scale_factor=2**level, mode="bilinear")
        cut = [(a - b) // 2 for a, b in zip(large.shape[2:], given.shape[2:], strict=True)]
        rows, columns = (slice(c, c + n) for c, n in zip(cut, given.shape[2:], strict=True))
        np.testing.assert_allclose(given, large.softmax(1)[:, :, rows, columns], atol=1e-5)
    if levels == "supervised":
        np.testing.assert_array_equal(found["levels"][0], found["probabilities"])


def test_levels_are_given_only_where_they_are_asked_for() -> None:
    network = build_unet(ModelConfig(depth=2, width=4, levels="fused"), seed=0)
    assert set(torch_engine(network)(np.zeros((1, 1, 16, 16), np.float32))) == {"probabilities"}
