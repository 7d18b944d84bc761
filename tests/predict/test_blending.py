"""Overlapping tiles are averaged: no seam, whatever their order, in the memory of a slab."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.geometry import Axis
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import Found, join_tiles, predict_image, run_tiles
from maskwright.tiling import BlendRule, TileRule, read_mirrored

AXIS = Axis((3, 3, 3), (2, 2))


def _image(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).normal(size=(1, *shape)).astype(np.float32)


def _constant(batch: NDArray[np.float32]) -> Found:
    share = np.full((1, 1, *batch.shape[2:]), 0.25, np.float32)
    return {
        "probabilities": np.concatenate([share, 3 * share], 1),
        "levels": [np.concatenate([3 * share, share], 1)],
        "image_probabilities": np.array([[0.125, 0.875]], np.float32),
    }


@pytest.mark.parametrize("shape", [(90, 131), (33, 40, 70), (5, 200)])
def test_a_network_that_says_the_same_of_every_tile_says_it_of_the_image(
    shape: tuple[int, ...],
) -> None:
    rule = BlendRule((AXIS,) * len(shape), 32, 8)
    assert len(rule.cover(shape)) > 1
    found = predict_image(_image(*shape), _constant, rule, 1)
    np.testing.assert_allclose(found.probabilities_KYX[0], 0.25, atol=1e-6)
    np.testing.assert_allclose(found.probabilities_KYX[1], 0.75, atol=1e-6)
    np.testing.assert_allclose(found.image_probabilities_L, [0.125, 0.875], atol=1e-5)
    assert (found.classes_YX == 1).all()
    assert (found.levels_YX[0] == 0).all()


def test_bands_that_are_finished_equal_sums_over_the_whole_image() -> None:
    shape, generator = (75, 60), np.random.default_rng(0)
    tiles = BlendRule((AXIS,) * 2, 32, 4).cover(shape)
    said = [generator.random((3, *(w.size for w in t.write))).astype(np.float32) for t in tiles]
    expected = np.zeros((3, *shape))
    for each in generator.permutation(len(tiles)):
        weights = tiles[each].weights or ()
        expected[(slice(None), *tiles[each].write_slices)] += said[each] * np.outer(*weights)
    pairs = [
        (tile, Found(probabilities=values[None])) for tile, values in zip(tiles, said, strict=True)
    ]
    heights = []
    for part in join_tiles(pairs, tiles, shape):
        where = (slice(None), *part.where)
        np.testing.assert_allclose(part.probabilities_KYX, expected[where], atol=1e-6)
        heights.append(part.where[0].stop - part.where[0].start)
    assert sum(heights) == 75
    assert len(heights) > 3
    halved = [
        part.probabilities_KYX.copy() for part in join_tiles(pairs, tiles, shape, sums=np.float16)
    ]
    np.testing.assert_allclose(np.concatenate(halved, 1), expected, atol=2e-3)


def test_rows_of_tiles_can_be_taken_up_in_the_middle_with_the_very_same_sums() -> None:
    image = _image(120, 50)
    engine = torch_engine(build_unet(ModelConfig(depth=2, width=4, norm="instance"), seed=0))
    tiles = BlendRule((AXIS,) * 2, 32, 4).cover((120, 50))

    def parts(chosen: list) -> dict[int, NDArray[np.float32]]:
        predicted = run_tiles(chosen, lambda read: read_mirrored(image, read), engine)
        return {
            part.where[0].start: part.probabilities_KYX.copy()
            for part in join_tiles(predicted, chosen, (120, 50))
        }

    whole = parts(tiles)
    begun = sorted(whole)[4]
    late = parts([tile for tile in tiles if tile.write[0].stop > begun])
    for start in sorted(whole)[4:]:
        np.testing.assert_array_equal(late[start], whole[start])


def test_two_sizes_of_tiles_agree_better_averaged_than_cut() -> None:
    model = ModelConfig(depth=2, width=4, norm="instance")
    engine = torch_engine(build_unet(model, seed=1).eval())
    axes, image = geometry.axes_of(model), _image(150, 170)

    def difference(rule: type[BlendRule] | type[TileRule]) -> float:
        small, large = (
            predict_image(image, engine, rule(axes, tile, 8), 1).probabilities_KYX
            for tile in (80, 112)
        )
        return float(np.abs(small - large).mean())

    assert difference(BlendRule) < 0.9 * difference(TileRule)


def test_what_depends_on_the_mean_of_a_tile_changes_without_a_step() -> None:
    def mean(batch: NDArray[np.float32]) -> Found:
        share = np.full((1, 1, *batch.shape[2:]), 0.5 + 0.1 * batch.mean(), np.float32)
        return {"probabilities": np.concatenate([share, 1 - share], 1)}

    ramp = np.arange(300, dtype=np.float32).repeat(40).reshape(1, 300, 40)
    steps = {}
    for rule in (BlendRule, TileRule):
        found = predict_image(ramp, mean, rule((AXIS, AXIS), 80, 8), 1).probabilities_KYX[0]
        assert np.ptp(found) > 0.2
        steps[rule] = np.abs(np.diff(found, axis=0)).max()
    assert steps[BlendRule] < 0.15 * steps[TileRule]
