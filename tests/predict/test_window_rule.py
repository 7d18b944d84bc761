"""Tiles for networks of others cover every image, whatever sizes those networks take."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.errors import SizeError
from maskwright.io.package import PackageAxis
from maskwright.predict.predictor import Found, predict_image
from maskwright.predict.window_rule import WindowRule

FIXED = PackageAxis("y", 64, 0, 8, 0)
FREE = PackageAxis("y", 32, 16, 8, 0)
UNPADDED = PackageAxis("y", 60, 16, 0, 20)
AXES = {"fixed": FIXED, "free": FREE, "unpadded": UNPADDED}


def rule(axis: PackageAxis, tile_px: int = 96) -> WindowRule:
    return WindowRule((axis, axis), tile_px)


def test_an_image_of_the_fixed_size_is_one_tile_of_its_own_pixels() -> None:
    tiles = rule(FIXED).cover((64, 64))
    assert len(tiles) == 1
    assert (tiles[0].read[0].start, tiles[0].read[0].stop) == (0, 64)
    assert tiles[0].write == tiles[0].crop


def test_the_first_and_last_tiles_lie_at_the_borders_of_the_image() -> None:
    reads = [tile.read[0] for tile in WindowRule((FIXED,), 96).cover((100,))]
    assert [(read.start, read.stop) for read in reads] == [(0, 64), (36, 100)]
    writes = [tile.write[0] for tile in WindowRule((FIXED,), 96).cover((100,))]
    assert [(write.start, write.stop) for write in writes] == [(0, 44), (44, 100)]


@pytest.mark.parametrize("name", AXES)
def test_every_pixel_is_kept_once_with_its_halo_around_it(name: str) -> None:
    axis = AXES[name]
    for size in (*range(1, 90), 127, 128, 200, 333):
        covered = np.zeros(size, int)
        for tile in WindowRule((axis,), 96).cover((size,)):
            read, crop, write = tile.read[0], tile.crop[0], tile.write[0]
            covered[write.slice] += 1
            assert write.size == crop.size > 0
            assert write.start - crop.start == read.start + axis.border_loss
            assert 0 <= crop.start < crop.stop <= read.size - 2 * axis.border_loss
            assert write.start == 0 or crop.start >= axis.halo
            room = read.size - 2 * axis.border_loss - crop.stop
            assert write.stop == size or room >= axis.halo
            if axis.divisor:
                assert (read.size - axis.smallest) % axis.divisor == 0
                assert (read.start + axis.border_loss) % axis.divisor == 0
                assert read.size <= 96
            else:
                assert read.size == axis.smallest
        assert covered.tolist() == [1] * size


@pytest.mark.parametrize("name", AXES)
def test_the_identity_network_reproduces_its_input(name: str) -> None:
    axis = AXES[name]
    loss = axis.border_loss
    image = np.random.default_rng(0).random((1, 130, 97)).astype(np.float32)

    def identity(batch: np.ndarray) -> Found:
        inner = slice(loss, -loss or None)
        return {"probabilities": np.concatenate([1 - batch, batch], 1)[..., inner, inner]}

    def unchanged(image_CS: np.ndarray, channels: int) -> object:
        return lambda block: block.astype(np.float32)

    found = predict_image(image, identity, rule(axis), 1, normalise=unchanged)
    np.testing.assert_array_equal(found.probabilities_KYX[1], image[0])


def test_a_tile_that_leaves_nothing_to_keep_is_refused() -> None:
    wide = PackageAxis("y", 16, 16, 24, 0)
    with pytest.raises(SizeError, match=r"--tile: expected at least 64 px.*tile-too-small"):
        WindowRule((wide,), 48).cover((500,))
    assert WindowRule((wide,), 64).cover((500,))
