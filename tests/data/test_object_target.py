"""Interior and border of numbered objects."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwright.data.object_target import BORDER, INTERIOR, border_classes
from maskwright.evaluate.objects import OBJECT_MEASURES, match_objects
from maskwright.predict.objects import find_objects

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(arrays(np.uint16, SHAPES, elements=st.sampled_from([0, 3, 500])))
@settings(max_examples=80, deadline=None)
def test_every_object_keeps_an_interior_and_the_background_none(objects: np.ndarray) -> None:
    classes = border_classes(objects)
    assert np.array_equal(classes > 0, objects > 0)
    for number in set(np.unique(objects)) - {0}:
        assert (classes[objects == number] == INTERIOR).any()


def test_interiors_of_touching_objects_are_four_pixels_apart() -> None:
    objects = np.zeros((20, 40), np.int32)
    objects[4:16, 4:20] = 1
    objects[4:16, 20:36] = 2
    classes = border_classes(objects)
    assert (classes[8] == BORDER).nonzero()[0].tolist() == [4, 5, 18, 19, 20, 21, 34, 35]
    assert (classes[:, 8] == BORDER).nonzero()[0].tolist() == [4, 5, 14, 15]


def test_objects_cut_by_the_border_of_the_image_have_no_border_there() -> None:
    assert (border_classes(np.ones((6, 6), np.uint8)) == INTERIOR).all()


def test_a_volume_has_borders_of_one_voxel() -> None:
    objects = np.zeros((7, 7, 7), np.uint8)
    objects[1:6, 1:6, 1:6] = 9
    assert (border_classes(objects) == INTERIOR).sum() == 27


def test_a_network_that_says_the_target_gives_back_the_objects() -> None:
    generator = np.random.default_rng(0)
    # Cells of the nearest of points on an uneven grid: they all touch; every fifth is background.
    points = np.indices((6, 6)).reshape(2, -1).T * 16 + 8 + generator.uniform(-3, 3, (36, 2))
    apart = ((np.indices((96, 96)).reshape(2, -1).T[:, None] - points) ** 2).sum(-1)
    cells = apart.argmin(1).reshape(96, 96)
    truth = np.where(cells % 5 == 0, 0, cells)
    classes = border_classes(truth)
    found = find_objects((classes > 0).astype(np.uint8), interior_YX=classes == INTERIOR)
    assert OBJECT_MEASURES["ap"](match_objects(found, truth)) == 1
    assert OBJECT_MEASURES["aji"](match_objects(found, truth)) > 0.9
    pieces = find_objects((classes > 0).astype(np.uint8))
    assert pieces.max() < 5


def test_pieces_without_an_interior_are_objects_too() -> None:
    where = np.array([[1, 1, 0, 1]], np.uint8)
    found = find_objects(where, interior_YX=np.array([[True, False, False, False]]))
    assert found.tolist() == [[1, 1, 0, 2]]
    nothing = np.zeros((4, 4), np.uint8)
    assert find_objects(nothing, interior_YX=nothing > 0).max() == 0


def test_insides_that_have_grown_together_are_cut_where_they_are_narrow() -> None:
    y, x = np.mgrid[:30, :50]
    discs = [(y - 15) ** 2 + (x - centre) ** 2 for centre in (15, 34)]
    where = (discs[0] <= 144) | (discs[1] <= 144)
    interior = (discs[0] <= 100) | (discs[1] <= 100) | ((abs(y - 15) < 2) & (abs(x - 24.5) < 9))
    plain = find_objects(where.astype(np.uint8), interior_YX=interior)
    assert plain.max() == 1
    found = find_objects(where.astype(np.uint8), interior_YX=interior, method="watershed")
    assert found.max() == 2
    np.testing.assert_array_equal(found > 0, where)
    np.testing.assert_array_equal(found == 2, (found == 1)[:, ::-1])
