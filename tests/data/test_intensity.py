"""Mean 0 and standard deviation 1, with NumPy in float64 as the other side."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskwright.data.intensity import (
    Intensity,
    apply,
    measure,
    measure_blocks,
    rows_at_once,
    select_channels,
)
from maskwright.errors import DataError

_SHAPES = st.tuples(st.just(1), st.integers(1, 30), st.integers(1, 30))


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.bool_, np.int16]), _SHAPES))
@settings(max_examples=60, deadline=None)
def test_measures_equal_those_of_float64(array_CYX: NDArray[np.generic]) -> None:
    found = measure(array_CYX, 1)
    exact = array_CYX.astype(np.float64)
    assert found.mean[0] == pytest.approx(exact.mean(), abs=1e-9)
    if exact.std() > 1e-5 * abs(exact.mean()):
        assert found.std[0] == pytest.approx(exact.std(), rel=1e-9)
        normal = apply(array_CYX, found, 1)
        assert normal.dtype == np.float32
        assert normal.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
        assert normal.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0, 7, 255, 0.1, 1e6, -3e-9])
def test_a_constant_image_becomes_zero(value: float) -> None:
    array = np.full((1, 40, 50), value)
    assert np.abs(apply(array, measure(array, 1), 1)).max() < 1e-6


def test_a_large_offset_costs_no_precision() -> None:
    array = np.random.default_rng(0).normal(1e6, 10, (1, 200, 200))
    normal = apply(array, measure(array, 1), 1)
    assert normal.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(normal - (array - array.mean()) / array.std()).max() < 1e-5


def test_channels_are_measured_one_by_one() -> None:
    array = np.stack([np.arange(12), np.arange(12) * 2, np.zeros(12)]).reshape(3, 3, 4)
    found = measure(array, 3)
    assert found.mean == pytest.approx((5.5, 11, 0))
    assert found.std[1] == pytest.approx(2 * found.std[0])


def test_blocks_give_the_same_as_the_whole() -> None:
    array = np.random.default_rng(0).integers(0, 255, (1, 64, 64)).astype(np.uint8)
    found = measure(array, 1)
    whole = apply(array, found, 1)
    assert np.array_equal(apply(array[:, 10:30, 20:50], found, 1), whole[:, 10:30, 20:50])


def test_measuring_makes_no_float_copy_of_the_image() -> None:
    array = np.zeros((1, 5000, 4000), np.uint8)
    tracemalloc.start()
    measure(array, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_grey_stored_as_colour_is_one_channel() -> None:
    grey = np.arange(12).reshape(1, 3, 4)
    stored = np.repeat(grey, 3, axis=0)
    assert np.array_equal(select_channels(stored, 1), grey)
    assert np.shares_memory(select_channels(stored, 1), stored)
    assert np.array_equal(select_channels(grey, 3), stored)
    assert select_channels(stored, 3) is stored


@pytest.mark.parametrize(("stored", "wanted"), [(3, 1), (2, 1), (4, 3), (1, 2), (2, 3)])
def test_channels_that_do_not_fit_are_refused(stored: int, wanted: int) -> None:
    array = np.arange(stored * 4).reshape(stored, 2, 2)
    for attempt in (
        lambda: measure(array, wanted),
        lambda: apply(array, Intensity((0.0,) * wanted, (1.0,) * wanted), wanted),
    ):
        with pytest.raises(DataError) as caught:
            attempt()
        assert caught.value.code == "image-channels"


@pytest.mark.parametrize("scale", [1.0, 6000.0, 1e-3])
def test_a_volume_of_any_scale_becomes_the_same(scale: float) -> None:
    volume = np.random.default_rng(1).gamma(2.0, 40.0, (2, 30, 20, 25)).astype(np.float32)
    plain = apply(volume, measure(volume, 2), 2)
    scaled = volume * np.float32(scale)
    found = apply(scaled, measure(scaled, 2), 2)
    assert found.shape == volume.shape
    assert found.mean((1, 2, 3)) == pytest.approx((0, 0), abs=1e-5)
    assert found.std((1, 2, 3)) == pytest.approx((1, 1), abs=1e-5)
    assert np.abs(found - plain).max() < 1e-4


def test_measuring_a_volume_makes_no_float_copy_of_it() -> None:
    array = np.zeros((1, 80, 500, 500), np.int16)
    tracemalloc.start()
    measure(array, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float32, np.float64])
def test_an_image_in_blocks_has_the_very_same_mean_and_deviation(dtype: type) -> None:
    array = (np.random.default_rng(0).normal(1e4, 90, (2, 2100, 1100)) % 120).astype(dtype)
    rows = rows_at_once(array.shape[1:])
    assert 1 < rows < 2100
    blocks = (array[:, y : y + 2 * rows] for y in range(0, 2100, 2 * rows))
    assert measure_blocks(blocks, 2) == measure(array, 2)


def test_small_whole_numbers_are_measured_exactly_however_they_are_cut() -> None:
    array = np.random.default_rng(0).integers(0, 65536, (1, 700, 900)).astype(np.uint16)
    blocks = (array[:, y : y + 37] for y in range(0, 700, 37))
    found = measure_blocks(blocks, 1)
    assert found == measure(array, 1)
    assert found.mean[0] == array.sum(dtype=np.uint64) / array.size


def test_a_block_of_colour_is_refused_where_the_network_takes_grey() -> None:
    grey = np.ones((3, 4, 5), np.uint8)
    colour = grey * np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)
    with pytest.raises(DataError, match="a colour image"):
        measure_blocks([grey, colour], 1)
