"""Tiled prediction of images and volumes, with plain functions as the network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.geometry import Axis
from maskwright.predict.predictor import (
    Found,
    ImagePrediction,
    distribution,
    gated,
    most_probable,
    predict_image,
    predict_tiles,
)
from maskwright.tiling import TileRule

SHAPES = [(40, 33), (1, 17), (20, 33, 17), (3, 40, 50), (1, 9, 9)]


def _rule(dims: int, padding: str, tile_px: int, mirror_px: int = 0) -> TileRule:
    axis = Axis((3, 3), (2,), padding=padding)
    return TileRule((axis,) * dims, tile_px, mirror_px)


def _normal(image_CS: NDArray[np.float32]) -> NDArray[np.float32]:
    return (image_CS - image_CS.mean()) / image_CS.std()


def _image(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(len(shape)).integers(0, 255, (1, *shape)).astype(np.uint8)


def _same(batch: NDArray[np.float32]) -> Found:
    return {"probabilities": np.concatenate([batch, -batch, batch * 0.5], axis=1)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tile_px", [32, 48, 512])
def test_the_identity_gives_the_image_back(shape: tuple[int, ...], tile_px: int) -> None:
    rule = _rule(len(shape), "same", tile_px, mirror_px=4)
    image = _image(shape)
    seen: list[None] = []
    prediction = predict_image(image, _same, rule, 1, on_tile=lambda: seen.append(None))
    found = prediction.probabilities_KYX
    assert np.allclose(found[0], _normal(image)[0], atol=1e-5)
    assert np.array_equal(found[1], -found[0])
    assert len(seen) == len(rule.cover(shape))
    assert np.array_equal(prediction.classes_YX, most_probable(found))
    assert prediction.classes_YX.shape == shape
    unheld = predict_image(image, _same, rule, 1, hold=False)
    assert np.array_equal(unheld.classes_YX, prediction.classes_YX)


@pytest.mark.parametrize("shape", [(40, 33), (20, 33, 17)])
def test_an_unpadded_network_gets_its_border_mirrored(shape: tuple[int, ...]) -> None:
    rule = _rule(len(shape), "valid", 40)
    lost = 8

    def crop(batch: NDArray[np.float32]) -> Found:
        inner = (slice(None), slice(None), *(slice(lost, -lost),) * (batch.ndim - 2))
        return _same(batch[inner])

    image = _image(shape)
    found = predict_image(image, crop, rule, 1).probabilities_KYX
    assert np.allclose(found[0], _normal(image)[0], atol=1e-5)


def test_tiles_of_a_volume_cover_it_once() -> None:
    shape = (20, 70, 33)
    rule = _rule(3, "same", 40)
    covered = np.zeros(shape, int)
    for tile, found in predict_tiles(_image(shape), _same, rule, 1):
        where = tuple(part.slice for part in tile.write)
        covered[where] += 1
        assert found["probabilities"].shape == (1, 3, *covered[where].shape)
    assert (covered == 1).all()
    assert len(rule.cover(shape)) > 1


def test_two_classes_and_many_are_decided_alike() -> None:
    two = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    two[:, 0] = 0.5
    assert np.array_equal(most_probable(two), two.argmax(0))


def test_the_label_of_an_image_is_the_mean_of_its_tiles_by_the_area_they_write() -> None:
    rule = _rule(2, "same", 40)
    image = _image((90, 37))
    shares: list[float] = []

    def mean(batch: NDArray[np.float32]) -> Found:
        share = float(np.tanh(batch).mean()) / 2 + 0.5
        shares.append(share)
        return {**_same(batch), "image_probabilities": np.array([[1 - share, share]], np.float32)}

    found = predict_image(image, mean, rule, 1, hold=False)
    areas = [np.prod([part.size for part in tile.write]) for tile in rule.cover((90, 37))]
    assert len(set(areas)) > 1
    expected = np.average(shares, weights=areas)
    np.testing.assert_allclose(found.image_probabilities_L, [1 - expected, expected], atol=1e-6)
    assert found.probabilities_KYX.size == 0


def test_levels_are_gathered_as_class_maps_of_the_size_of_the_image() -> None:
    image = _image((50, 70))

    def pyramid(batch: NDArray[np.float32]) -> Found:
        fine = _same(batch)["probabilities"]
        return {"probabilities": fine, "levels": [fine, -fine]}

    rule = _rule(2, "same", 40)
    assert len(rule.cover((50, 70))) > 1
    found = predict_image(image, pyramid, rule, 1)
    assert np.array_equal(found.levels_YX[0], found.classes_YX)
    assert np.array_equal(found.levels_YX[1], most_probable(-found.probabilities_KYX))


def test_a_plain_network_finds_neither_levels_nor_labels() -> None:
    found = predict_image(_image((9, 9)), _same, _rule(2, "same", 40), 1)
    assert (found.levels_YX, found.image_probabilities_L.size) == ((), 0)


def test_overlapping_probabilities_become_shares_and_the_winner_stays() -> None:
    raw = np.random.default_rng(0).random((3, 5, 6)).astype(np.float32)
    raw[:, 0, 0] = 0
    shares = distribution(raw)
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)
    assert np.array_equal(most_probable(shares), most_probable(raw))
    assert np.allclose(distribution(shares), shares)


@pytest.mark.parametrize(("present", "kept"), [(0.5, True), (0.4999, False)])
def test_a_class_is_taken_away_where_it_is_less_probable_than_not(
    present: float, kept: bool
) -> None:
    classes = np.array([[0, 1], [2, 2]], np.uint8)
    label = np.array([1 - present, present], np.float32)
    found = gated(ImagePrediction(classes, image_probabilities_L=label), 2)
    assert found.classes_YX.tolist() == ([[0, 1], [2, 2]] if kept else [[0, 1], [0, 0]])
    assert found.emptied is not kept
    assert classes[1, 1] == 2
