"""Tiled prediction of images and volumes, with plain functions as the network."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.geometry import Axis
from maskwright.predict.predictor import (
    most_probable,
    predict_classes,
    predict_probabilities,
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


def _same(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([batch, -batch, batch * 0.5], axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tile_px", [32, 48, 512])
def test_the_identity_gives_the_image_back(shape: tuple[int, ...], tile_px: int) -> None:
    rule = _rule(len(shape), "same", tile_px, mirror_px=4)
    image = _image(shape)
    seen: list[None] = []
    found = predict_probabilities(
        image, _same, rule, 1, classes=3, on_tile=lambda: seen.append(None)
    )
    assert np.allclose(found[0], _normal(image)[0], atol=1e-5)
    assert np.array_equal(found[1], -found[0])
    assert len(seen) == len(rule.cover(shape))
    classes = predict_classes(image, _same, rule, 1)
    assert np.array_equal(classes, most_probable(found))
    assert classes.shape == shape


@pytest.mark.parametrize("shape", [(40, 33), (20, 33, 17)])
def test_an_unpadded_network_gets_its_border_mirrored(shape: tuple[int, ...]) -> None:
    rule = _rule(len(shape), "valid", 40)
    lost = 8

    def crop(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        inner = (slice(None), slice(None), *(slice(lost, -lost),) * (batch.ndim - 2))
        return _same(batch[inner])

    image = _image(shape)
    found = predict_probabilities(image, crop, rule, 1, classes=3)
    assert np.allclose(found[0], _normal(image)[0], atol=1e-5)


def test_tiles_of_a_volume_cover_it_once() -> None:
    shape = (20, 70, 33)
    rule = _rule(3, "same", 40)
    covered = np.zeros(shape, int)
    for tile, probabilities in predict_tiles(_image(shape), _same, rule, 1):
        where = tuple(part.slice for part in tile.write)
        covered[where] += 1
        assert probabilities.shape == (3, *covered[where].shape)
    assert (covered == 1).all()
    assert len(rule.cover(shape)) > 1


def test_two_classes_and_many_are_decided_alike() -> None:
    two = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    two[:, 0] = 0.5
    assert np.array_equal(most_probable(two), two.argmax(0))
