"""Objects found block by block, against those of the whole array."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from maskwright.io.geojson import StoredPolygons
from maskwright.io.image import Image
from maskwright.io.numbers import StoredNumbers
from maskwright.io.source import ImageSource
from maskwright.io.space import Geometry
from maskwright.predict.large_measures import measure_large_objects
from maskwright.predict.large_objects import LargeObjects, find_large_objects, near_each_other
from maskwright.predict.object_measures import ObjectMeasures, measure_objects
from maskwright.predict.objects import certainty, find_objects, numbered
from maskwright.predict.outlines import outlines

Block = tuple[slice, ...]


@dataclass
class Drawn:
    """An image with what was predicted of it."""

    classes_S: NDArray[np.uint8]
    certainty_S: NDArray[np.uint16] | None = None
    interior_S: NDArray[np.bool_] | None = None
    pixels: NDArray[Any] | None = None
    spacing: tuple[float, ...] | None = None
    geometry: Geometry | None = None

    def classes(self, block: Block) -> NDArray[np.uint8]:
        return self.classes_S[block].copy()

    def certainty(self, block: Block) -> NDArray[np.uint16] | None:
        return None if self.certainty_S is None else self.certainty_S[block]

    def interior(self, block: Block) -> NDArray[np.bool_] | None:
        return None if self.interior_S is None else self.interior_S[block]

    def found(self, steps: Sequence[int], most_px: int = 10**9, **options: Any) -> LargeObjects:
        return find_large_objects(
            self.classes_S.shape,
            self,
            np.zeros(self.classes_S.shape, np.uint32),
            spacing=self.spacing,
            border=self.interior_S is not None,
            most_px=most_px,
            steps=steps,
            **options,
        )

    def expected(self, **options: Any) -> NDArray[np.uint32]:
        return find_objects(
            self.classes_S,
            certainty_YX=self.certainty_S,
            interior_YX=self.interior_S,
            spacing=self.spacing,
            **options,
        )

    @property
    def image(self) -> Image:
        assert self.pixels is not None
        return Image(self.pixels, spacing_mm=self.spacing, geometry=self.geometry)

    @property
    def source(self) -> ImageSource:
        assert self.pixels is not None
        array = self.pixels
        return ImageSource(
            Path("drawn"), array.shape, array.dtype, self.spacing, self.geometry,
            lambda block: array[(slice(None), *block)].copy(), lazy=True, chunks=None,
        )  # fmt: skip


def whole(objects: LargeObjects) -> NDArray[np.uint32]:
    return objects.read(tuple(slice(0, length) for length in objects.size))


def draw(seed: int, axes: int, *, border: bool = False, longest: int = 60) -> Drawn:
    """Rough patches of two classes, or of insides in one, on an image of two channels."""
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, longest if axes == 2 else longest // 4, axes).tolist())
    rough = ndimage.gaussian_filter(generator.normal(size=shape), generator.uniform(0, 2.5))
    high, low = np.quantile(rough, generator.uniform(0.3, 0.9)), np.quantile(rough, 0.2)
    classes = np.where(rough > high, 1, np.where(rough < low, 2, 0)).astype(np.uint8)
    interior = None
    if border:
        classes = classes.clip(max=1)
        interior = (generator.random(shape) < 0.6) & (classes > 0)
    p_KS = generator.dirichlet((1, 1, 1), shape).astype(np.float32)
    return Drawn(
        classes,
        certainty(np.moveaxis(p_KS, -1, 0), classes),
        interior,
        generator.integers(0, 4096, (2, *shape)).astype(np.uint16),
        (0.7, 0.7, 2.0)[:axes][::-1] if seed % 3 else None,
    )


@given(
    st.integers(0, 10**6),
    st.sampled_from((2, 3)),
    st.sampled_from(("components", "watershed")),
    st.booleans(),
    st.integers(1, 25),
    st.integers(0, 6),
)
@settings(max_examples=120, deadline=None)
def test_numbers_are_those_of_the_whole_array(
    seed: int, axes: int, method: str, border: bool, step: int, min_px: int
) -> None:
    drawn = draw(seed, axes, border=border)
    steps = (step, *(step + 3,) * (axes - 1))
    options: dict[str, Any] = {"min_px": min_px, "method": method}
    expected = drawn.expected(**options)
    found = drawn.found(steps, **options)
    np.testing.assert_array_equal(whole(found), expected)
    assert found.count == expected.max(initial=0)
    # Small ones may as well be left out when all are known.
    np.testing.assert_array_equal(numbered(drawn.expected(method=method), min_px), expected)


def test_groups_of_pieces_in_many_places_are_cut_as_alone() -> None:
    generator = np.random.default_rng(0)
    rough = ndimage.gaussian_filter(generator.normal(size=(1200, 1300)), 5)
    classes = (rough > 0.02).astype(np.uint8)
    shown = certainty(np.stack([rough * 0, np.clip(rough * 9, 0.5, 1)]).astype(np.float32), classes)
    drawn = Drawn(classes, shown)
    expected = drawn.expected(method="watershed", min_px=9)
    found = drawn.found((512, 512), method="watershed", min_px=9)
    assert found.count > 300
    np.testing.assert_array_equal(whole(found), expected)
    regions = [region for region, _ in near_each_other(
        found.extents, np.arange(found.count), found.size)]  # fmt: skip
    assert 4 < len(regions) < 60


@pytest.mark.parametrize("steps", [(2, 2), (3, 3), (1, 7), (7, 1)])
def test_an_object_that_spans_four_blocks_by_a_corner_is_one(steps: tuple[int, int]) -> None:
    classes = np.zeros((6, 6), np.uint8)
    classes[1:3, 1:3] = classes[3:5, 3:5] = 1
    classes[2, 3] = 2
    classes[0, 5] = classes[1, 4] = classes[5, 0] = 1
    drawn = Drawn(classes)
    found = drawn.found(steps)
    assert found.count == 4
    np.testing.assert_array_equal(whole(found), drawn.expected())


def test_arms_that_join_in_a_later_block_are_one_object_with_the_number_of_the_first() -> None:
    classes = np.zeros((12, 12), np.uint8)
    classes[0:9, 1] = classes[2:9, 9] = classes[9, 1:10] = 1
    classes[1, 5] = 1
    drawn = Drawn(classes)
    found = drawn.found((4, 4))
    np.testing.assert_array_equal(whole(found), drawn.expected())
    assert found.count == 2
    assert whole(found)[2, 9] == whole(found)[0, 1] == 1
    assert found.extents.box(0) == (slice(0, 10), slice(1, 10))


def measured(drawn: Drawn, found: LargeObjects, **options: Any) -> ObjectMeasures:
    options = {"most_px": 10**9, "band_bytes": 300, **options}
    return measure_large_objects(found, drawn, drawn.source, **options)


@given(st.integers(0, 10**6), st.sampled_from((2, 3)), st.booleans(), st.integers(2, 25))
@settings(max_examples=40, deadline=None)
def test_measures_and_outlines_are_those_of_the_whole_array(
    seed: int, axes: int, border: bool, step: int
) -> None:
    drawn = draw(seed, axes, border=border, longest=40)
    if axes == 3:
        turn = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
        drawn.geometry = Geometry((0.7, 0.7, 2.0), (-100.0, 30.0, 5.0), turn)
    found = drawn.found((step,) * axes, method="watershed")
    numbers = whole(found)
    expected = measure_objects(numbers, drawn.classes_S, drawn.image, drawn.certainty_S)
    drawings: dict[int, Any] = {}
    result = measured(drawn, found, steps=(step + 1,) * axes, on_outline=drawings.__setitem__)
    assert list(result.columns) == list(expected.columns) or not found.count
    for name in result.columns:
        np.testing.assert_allclose(
            result.columns[name], expected.columns[name], rtol=1e-12, atol=1e-12, err_msg=name
        )
    np.testing.assert_array_equal(result.classes, expected.classes)
    np.testing.assert_allclose(result.world_xyz, expected.world_xyz, rtol=1e-12)
    assert dict(sorted(drawings.items())) == (outlines(numbers) if axes == 2 else {})


def test_what_is_too_large_for_the_memory_stays_whole_without_a_shape() -> None:
    classes = np.zeros((60, 80), np.uint8)
    grid = np.indices(classes.shape)
    for y, x in ((20, 20), (20, 40), (20, 60)):
        classes |= ((grid[0] - y) ** 2 + (grid[1] - x) ** 2 <= 144).astype(np.uint8)
    for y, x in ((48, 20), (48, 32)):
        classes |= ((grid[0] - y) ** 2 + (grid[1] - x) ** 2 <= 49).astype(np.uint8)
    drawn = Drawn(classes, pixels=classes[None])
    assert drawn.found((16, 16), method="watershed").count == 5
    found = drawn.found((16, 16), most_px=1000, method="watershed")
    assert (found.count, found.beyond(1000)) == (3, 1)
    drawings: dict[int, Any] = {}
    result = measured(drawn, found, most_px=1000, on_outline=drawings.__setitem__)
    assert np.isnan(result.columns["solidity"]).tolist() == [True, False, False]
    assert dict(sorted(drawings.items())) == outlines(whole(found))
    measured(drawn, found, most_px=100, on_outline=drawings.__setitem__)
    assert drawings[1] == []
    assert result.columns["area_px"][0] == (whole(found) == 1).sum()


class Discs:
    """Rows of discs that touch in pairs, drawn where they are read: the image is nowhere."""

    def __init__(self) -> None:
        self.largest = 0

    def classes(self, block: Block) -> NDArray[np.uint8]:
        y, x = np.ogrid[block]
        self.largest = max(self.largest, y.size * x.size)
        across = np.minimum(np.abs(x % 256 - 80), np.abs(x % 256 - 160))
        return ((y % 192 - 96) ** 2 + across**2 <= 48**2).astype(np.uint8)

    def certainty(self, block: Block) -> NDArray[np.uint16]:
        return np.full([part.stop - part.start for part in block], 60_000, np.uint16)

    def interior(self, block: Block) -> None:
        return None


def test_memory_is_that_of_a_block_whatever_the_size_of_the_image(tmp_path: Path) -> None:
    discs = Discs()
    peaks = []
    for height in (960, 2880):
        size = (height, 1024)
        source = ImageSource(
            Path("drawn"), (1, *size), np.dtype(np.uint8), None, None,
            lambda block: discs.classes(block)[None], lazy=True, chunks=None,
        )  # fmt: skip
        tracemalloc.start()
        stored = StoredNumbers(tmp_path / "numbers.zarr", size)
        found = find_large_objects(size, discs, stored, method="watershed", most_px=1 << 21)
        with StoredPolygons(tmp_path / "polygons", found.count) as polygons:
            result = measure_large_objects(
                found, discs, source, most_px=1 << 21, band_bytes=1 << 22, on_outline=polygons.put
            )
            assert polygons.get(found.count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.count == height // 192 * 8
        whole_YX = Discs().classes((slice(0, height), slice(0, 1024)))
        assert result.columns["area_px"].sum() == whole_YX.sum()
    assert discs.largest <= 1 << 20
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 40 * discs.largest
