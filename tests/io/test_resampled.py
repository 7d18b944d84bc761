"""Blocks of a file at another spacing are those of the whole image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.data.intensity import measure
from maskwright.intensity_config import ChannelIntensity
from maskwright.io.image import Image
from maskwright.io.registry import write_mask
from maskwright.io.resampled import resampled_source
from maskwright.io.source import open_source
from maskwright.predict.stream import measure_source
from maskwright.resampling import Grid, resample_image

_WAYS = [
    (), (ChannelIntensity(way="percentile"),), (ChannelIntensity(way="window", low=10, high=90),)
]  # fmt: skip


@pytest.fixture
def volume() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 200, (17, 30, 21)).astype(np.uint8)


@pytest.fixture(params=["a.nii.gz", "a.zarr", "a.tif", "a.npy"])
def path(request: Any, volume: NDArray[np.uint8], tmp_path: Path) -> Path:
    file: Path = tmp_path / request.param
    if file.suffix == ".npy":
        np.save(file, volume)
    else:
        write_mask(file, Image(volume[None], spacing_mm=(2.0, 1.0, 0.5)))
    return file


def test_every_block_is_that_of_the_whole(path: Path, volume: NDArray[np.uint8]) -> None:
    grid = Grid.between(volume.shape, (2.0, 1.0, 0.5), (1.3, 1.3, 0.5))
    source = resampled_source(open_source(path), grid)
    whole = resample_image(volume[None], grid.to_network)
    assert (source.shape, source.dtype) == (whole.shape, whole.dtype)
    assert source.spacing_mm == (1.3, 1.3, 0.5)
    for block in (
        (slice(3, 9), slice(0, 7), slice(5, 21)),
        (slice(25, 26), slice(22, 23), slice(0, 1)),
    ):
        np.testing.assert_array_equal(source.read(block), whole[(slice(None), *block)])


@pytest.mark.parametrize("ways", _WAYS)
def test_measured_block_by_block_it_gives_the_very_numbers(
    ways: tuple[ChannelIntensity, ...], volume: NDArray[np.uint8], tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", volume)
    grid = Grid.between(volume.shape, (2.0, 1.0, 0.5), (0.7, 1.0, 1.0))
    source = resampled_source(open_source(tmp_path / "a.npy"), grid)
    whole = resample_image(volume[None], grid.to_network)
    assert measure_source(source, 1, 1 << 12, ways) == measure(whole, 1, ways)


def test_a_file_of_the_target_spacing_is_the_source_itself(path: Path) -> None:
    source = open_source(path)
    assert resampled_source(source, Grid.between(source.shape[1:], (2, 1, 1), (2, 1, 1))) is source
