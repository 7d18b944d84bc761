"""Two grids over one image, with SimpleITK and plain arithmetic as the other side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.resampling import (
    Grid,
    interpolate_blocks,
    resample_classes,
    resample_image,
    resample_nearest,
)

_MM = st.floats(0.3, 4.0)
_SIZE = st.integers(1, 12)


def _blocks(array: NDArray[Any]) -> Any:
    return lambda block: array[(slice(None), *block)]


def _whole(size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in size)


@given(st.tuples(_SIZE, _SIZE, _SIZE), st.tuples(_MM, _MM, _MM))
@settings(max_examples=30, deadline=None)
def test_an_image_of_the_target_spacing_is_the_very_same(
    size: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    # A header of single precision rounds the seventh digit.
    grid = Grid.between(size, spacing, tuple(float(np.float32(mm)) for mm in spacing))
    assert grid.same
    assert grid.network_px == size
    image = np.random.default_rng(0).normal(size=(1, *size))
    assert resample_image(image, grid.to_network) is image


@given(st.tuples(_SIZE, _SIZE, _SIZE), st.tuples(_MM, _MM, _MM), st.data())
@settings(max_examples=60, deadline=None)
def test_any_block_is_that_of_the_whole_bit_for_bit(
    size: tuple[int, ...], target: tuple[float, ...], data: st.DataObject
) -> None:
    grid = Grid.between(size, (1.0, 0.7, 1.3), target)
    generator = np.random.default_rng(1)
    image = generator.normal(size=(2, *size)).astype(np.float32)
    ids = generator.integers(0, 4, size).astype(np.uint8)
    block = []
    for length in grid.network_px:
        start = data.draw(st.integers(0, length - 1))
        block.append(slice(start, data.draw(st.integers(start + 1, length))))
    lines, where = grid.to_network, tuple(block)
    whole = interpolate_blocks(_blocks(image), lines, _whole(grid.network_px))
    part = interpolate_blocks(_blocks(image), lines, where)
    np.testing.assert_array_equal(part, whole[(slice(None), *where)])
    classes = resample_classes(lambda at: ids[at], lines, _whole(grid.network_px))
    found = resample_classes(lambda at: ids[at], lines, where)
    np.testing.assert_array_equal(found, classes[where])


@pytest.mark.parametrize("target_mm", [0.4, 1.0, 1.7, 2.5])
def test_a_ramp_stays_a_ramp_in_millimetres(target_mm: float) -> None:
    own_mm, count = 1.5, 20
    grid = Grid.between((count,), (own_mm,), (target_mm,))
    ramp = ((np.arange(count) + 0.5) * own_mm)[None]
    found = resample_image(ramp, grid.to_network)[0]
    expected = (np.arange(len(found)) + 0.5) * target_mm
    inside = (expected >= ramp.min()) & (expected <= ramp.max())
    assert inside.sum() >= len(found) - 4
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-12)


@pytest.mark.parametrize("target", [(1.0, 1.0, 1.0), (3.0, 0.5, 2.0), (0.9, 1.1, 0.6)])
@pytest.mark.parametrize("nearest", [False, True])
def test_values_are_those_of_simpleitk(target: tuple[float, ...], nearest: bool) -> None:
    spacing = (2.0, 0.8, 1.0)
    volume = np.random.default_rng(2).normal(0, 100, (9, 14, 11)).astype(np.float32)
    grid = Grid.between(volume.shape, spacing, target)
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(spacing[::-1])
    # Both grids begin at the same edge of the first voxel.
    origin = [(new - own) / 2 for own, new in zip(spacing, target, strict=True)]
    way = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
    expected = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            image, grid.network_px[::-1], SimpleITK.Transform(), way, origin[::-1],
            target[::-1], image.GetDirection(), -1e9,
        )
    )  # fmt: skip
    lines = grid.to_network
    found = resample_nearest(volume, lines) if nearest else resample_image(volume[None], lines)[0]
    known = expected > -1e8  # SimpleITK knows nothing beyond the outer edges
    assert known.mean() > 0.7
    close = np.isclose(found, expected, atol=1e-3)
    # Where a centre lies between two voxels either of them is the nearest.
    assert close[known].mean() > (0.85 if nearest else 0.9999)


@pytest.mark.parametrize("target", [(1.0, 1.0, 1.0), (2.0, 1.6, 0.9), (0.5, 0.5, 0.5)])
def test_a_box_comes_back_within_a_voxel(target: tuple[float, ...]) -> None:
    size, spacing = (16, 30, 26), (1.5, 1.0, 0.8)
    box = np.zeros(size, np.uint8)
    box[4:11, 8:20, 6:19] = 3
    grid = Grid.between(size, spacing, target)
    there = resample_classes(lambda at: box[at], grid.to_network, _whole(grid.network_px))
    back = resample_classes(lambda at: there[at], grid.to_own, _whole(size))
    assert set(np.unique(back)) == {0, 3}
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        was, now = (np.flatnonzero((mask > 0).any(rest)) for mask in (box, back))
        allowed = max(1.0, target[axis] / spacing[axis])
        assert abs(int(was[0]) - int(now[0])) <= allowed
        assert abs(int(was[-1]) - int(now[-1])) <= allowed


def test_classes_are_those_of_the_largest_share() -> None:
    ids = np.random.default_rng(3).integers(0, 5, (7, 9)).astype(np.uint8)
    grid = Grid.between(ids.shape, (1.0, 1.0), (0.7, 1.4))
    shares = resample_image(np.stack([ids == k for k in range(5)]), grid.to_network)
    found = resample_classes(lambda at: ids[at], grid.to_network, _whole(grid.network_px))
    np.testing.assert_array_equal(found, shares.argmax(0))


def test_small_integers_become_single_and_wide_ones_double_precision() -> None:
    lines = Grid.between((4,), (1.0,), (0.5,)).to_network
    assert resample_image(np.ones((1, 4), np.uint16), lines).dtype == np.float32
    wide = resample_image(np.full((1, 4), (1 << 40) + 1), lines)
    assert wide.dtype == np.float64
    assert (wide == (1 << 40) + 1).all()


def test_spacings_of_another_number_of_axes_are_refused() -> None:
    with pytest.raises(DataError, match="spacing-axes"):
        Grid.between((4, 4), (1.0, 1.0), (1.0, 1.0, 1.0))
    with pytest.raises(DataError, match="spacing-axes"):
        Grid.between((4, 4), (1.0, 0.0), (1.0, 1.0))
