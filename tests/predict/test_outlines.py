"""Outlines cover exactly the pixels of their objects, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Line

from maskwright.predict.outlines import Ring, large_outline, outlines


def area(ring: Ring) -> float:
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


def filled(polygon: list[Ring], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres are inside the first ring and in none of the others."""
    y, x = np.indices(shape)
    centres = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
    inside = [Line(np.array(ring, float)).contains_points(centres) for ring in polygon]
    kept = inside[0] & ~np.any(inside[1:], axis=0) if len(inside) > 1 else inside[0]
    return kept.reshape(shape)


@given(
    arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
)
@settings(max_examples=150, deadline=None)
def test_polygons_cover_the_pixels_of_their_object_and_no_other(objects: np.ndarray) -> None:
    found = outlines(objects)
    assert set(found) == set(np.unique(objects)) - {0}
    for number, polygons in found.items():
        covered = np.sum([filled(polygon, objects.shape) for polygon in polygons], axis=0)
        np.testing.assert_array_equal(covered, objects == number)
        for outer, *holes in polygons:
            assert area(outer) > 0 > max(map(area, holes), default=-1)
            for ring in (outer, *holes):
                assert ring[0] == ring[-1]
                assert len(set(ring)) == len(ring) - 1 >= 4  # no corner twice


@given(st.integers(0, 10**6), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_an_outline_from_strips_is_that_of_the_whole(seed: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random(generator.integers(1, 20, 2)) < generator.uniform(0.3, 1)
    height, width = mask.shape
    found = large_outline(mask.__getitem__, height, width, rows=rows, most=10**6)
    assert found == outlines(mask.astype(np.uint8)).get(1, [])
    edges = sum(len(corners) for polygon in found for corners in polygon)
    assert large_outline(mask.__getitem__, height, width, rows=rows, most=edges // 8) == []


def test_parts_that_meet_at_a_corner_are_polygons_of_their_own() -> None:
    (polygons,) = outlines(np.array([[5, 0], [0, 5]])).values()
    assert [len(polygon) for polygon in polygons] == [1, 1]


@pytest.mark.parametrize("corner_open", [False, True])
def test_a_hole_is_a_ring_of_its_own_also_where_it_touches_the_outside(corner_open: bool) -> None:
    ring = np.ones((5, 5), int)
    ring[2, 2] = 0
    if corner_open:
        ring[1, 1] = 0
        ring[0, 0] = 0
    ((polygon,),) = outlines(ring).values()
    assert len(polygon) == (3 if corner_open else 2)
    assert sum(map(area, polygon)) == ring.sum()
