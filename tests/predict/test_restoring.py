"""Probabilities on their way back, with the interpolation of the whole as the other side."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskwright.geometry import Axis
from maskwright.predict import restoring
from maskwright.predict.predictor import (
    Found,
    ImagePrediction,
    Part,
    join_tiles,
    most_probable,
    predict_image,
)
from maskwright.predict.restoring import restore, restored
from maskwright.resampling import Grid, resample_image
from maskwright.tiling import BlendRule, TileRule

_AXIS = Axis((3, 3), (2,))
_MM = st.floats(0.4, 3.0)


def _gathered(parts: list[Part], size: tuple[int, ...], classes: int) -> NDArray[np.float32]:
    whole = np.full((classes, *size), np.nan, np.float32)
    for part in parts:
        target = whole[(slice(None), *part.where)]
        assert np.isnan(target).all(), "parts touch and never overlap"
        target[:] = part.probabilities_KYX
    return whole


@given(st.tuples(*[st.integers(3, 24)] * 3), st.tuples(_MM, _MM, _MM), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_parts_are_the_whole_interpolation_bit_for_bit(
    size: tuple[int, ...], target: tuple[float, ...], blended: bool, small: bool
) -> None:
    grid = Grid.between(size, (1.0, 1.0, 1.0), target)
    shares = np.random.default_rng(0).random((3, *grid.network_px), np.float32)
    rule = (BlendRule if blended else TileRule)((_AXIS,) * 3, 20, 0)
    tiles = rule.cover(grid.network_px)

    def predicted() -> list[tuple[object, Found]]:
        found = []
        for tile in tiles:
            cut = shares[(slice(None), *tile.write_slices)][None].copy()
            image = np.array([[0.25, 0.75]], np.float32)
            found.append((tile, Found(probabilities=cut, image_probabilities=image, levels=[cut])))
        return found

    there = list(_copied(join_tiles(predicted(), tiles, grid.network_px)))  # type: ignore[arg-type]
    on_grid = _gathered(there, grid.network_px, 3)
    at_once, restoring._VALUES_AT_ONCE = restoring._VALUES_AT_ONCE, 64 if small else 1 << 20
    try:
        parts = list(_copied(restored(iter(there), grid)))
    finally:
        restoring._VALUES_AT_ONCE = at_once
    expected = resample_image(on_grid, grid.to_own)
    np.testing.assert_array_equal(_gathered(parts, size, 3), expected)
    for part in parts:
        np.testing.assert_array_equal(part.levels_KYX[0], part.probabilities_KYX)
    total = sum(part.image_L for part in parts if part.image_L.size)
    np.testing.assert_allclose(total, [0.25, 0.75], rtol=1e-4)


def _copied(parts: object) -> object:
    for part in parts:  # type: ignore[attr-defined]
        yield Part(
            part.where,
            part.probabilities_KYX.copy(),
            tuple(level.copy() for level in part.levels_KYX),
            part.image_L,
        )


def test_a_held_prediction_comes_back_as_its_parts_do() -> None:
    grid = Grid.between((9, 11), (1.0, 2.0), (0.6, 3.1))
    shares = np.random.default_rng(1).random((4, *grid.network_px), np.float32)
    found = restore(ImagePrediction(most_probable(shares), shares), grid)
    np.testing.assert_array_equal(found.probabilities_KYX, resample_image(shares, grid.to_own))
    np.testing.assert_array_equal(found.classes_YX, found.probabilities_KYX.argmax(0))


@pytest.mark.parametrize("blended", [False, True])
def test_all_classes_of_the_whole_image_are_never_held(blended: bool) -> None:
    classes, size = 14, (96, 96, 96)
    grid = Grid.between(size, (1.0, 1.0, 1.0), (1.5, 1.5, 1.5))
    rule = (BlendRule if blended else TileRule)((Axis((3,), ()),) * 3, 16, 0)

    def engine(batch: NDArray[np.float32]) -> Found:
        shares = np.repeat(batch, classes, 1) * np.arange(classes).reshape(1, -1, 1, 1, 1)
        return Found(probabilities=shares.astype(np.float32))

    image = np.random.default_rng(2).normal(size=(1, *grid.network_px)).astype(np.float32)
    bring_back = (size, lambda parts: restored(parts, grid))
    tracemalloc.start()
    found = predict_image(image, engine, rule, 1, hold=False, bring_back=bring_back)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.classes_YX.shape == size
    at_full_size = 4 * classes * 96**3
    assert peak < at_full_size / 2
