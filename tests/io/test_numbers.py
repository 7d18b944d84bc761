"""Numbers and polygons of objects on the disk while objects are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from disk_limit import largest_file
from maskwright.errors import OutputError
from maskwright.io.geojson import StoredPolygons
from maskwright.io.numbers import StoredNumbers

RING = [(0, 0), (1, 0), (1, 1), (0, 0)]


def test_numbers_of_an_earlier_process_are_forgotten(tmp_path: Path) -> None:
    stored = StoredNumbers(tmp_path / "a.zarr", (600, 700))
    block = (slice(500, 520), slice(0, 700))
    stored[block] = np.full((20, 700), 2**31, np.uint32)
    assert (stored[block] == 2**31).all()
    assert not StoredNumbers(tmp_path / "a.zarr", (600, 700))[block].any()


def test_a_full_disk_is_named_whatever_is_stored(tmp_path: Path) -> None:
    numbers = StoredNumbers(tmp_path / "a.zarr", (512, 512))
    noise = np.random.default_rng(0).integers(0, 2**32, (512, 512), np.uint32)
    with largest_file(4096), pytest.raises(OutputError, match="disk-full"):
        numbers[0:512, 0:512] = noise

    def put_many() -> None:
        with StoredPolygons(tmp_path / "polygons", 9) as polygons:
            for number in range(1, 10):
                polygons.put(number, [[RING] * 99])

    with largest_file(4096), pytest.raises(OutputError, match="disk-full"):
        put_many()


def test_polygons_come_back_in_any_order(tmp_path: Path) -> None:
    with StoredPolygons(tmp_path / "polygons", 3) as polygons:
        polygons.put(3, [[RING]])
        assert polygons.get(1) == []
        polygons.put(1, [[RING, RING], [RING]])
        for number, parts in ((3, [1]), (1, [2, 1]), (2, [])):
            assert [len(polygon) for polygon in polygons.get(number)] == parts
