"""Segments and thinning: what stays, what a dam is, and real membranes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage
from skimage.segmentation import watershed

from maskwright.errors import DataError
from maskwright.evaluate.partition import v_info, v_rand
from maskwright.evaluate.thinning import segments, thin

MASKS = Path(__file__).parents[3] / "shared" / "data" / "membranes" / "masks"
needs_membranes = pytest.mark.skipif(not MASKS.is_dir(), reason=f"no real masks at {MASKS}")

images = hnp.arrays(
    np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()
)


def mask(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_pieces_that_touch_at_a_corner_are_two_segments():
    assert segments(mask("#.", ".#")).tolist() == [[1, 0], [0, 2]]
    volume = np.zeros((2, 2, 2), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 0] = volume[1, 1, 1] = 255
    assert segments(volume).max() == 2


@pytest.mark.parametrize("membrane", [1, 2, 3, 4, 7])
def test_a_membrane_of_any_width_becomes_a_dam_one_pixel_wide(membrane):
    cells = np.ones((3, 4 + membrane + 4), bool)
    cells[:, 4 : 4 + membrane] = False
    for image in (cells, cells.T):
        thinned = thin(image)
        assert thinned.max() == 2
        assert np.count_nonzero(thinned == 0) == 3


def test_of_two_pixels_equally_near_the_later_in_the_scan_is_the_dam():
    assert thin(mask("#..#")).tolist() == [[1, 1, 0, 2]]
    assert thin(mask("#..#").T).T.tolist() == [[1, 1, 0, 2]]
    assert thin(mask("#....#")).tolist() == [[1, 1, 1, 0, 2, 2]]


def test_a_membrane_inside_one_segment_vanishes():
    assert thin(mask("###", "#..", "###")).tolist() == [[1, 1, 1]] * 3
    assert thin(mask("....", ".#..", "....")).tolist() == [[1] * 4] * 3


def test_dams_that_meet_may_leave_a_pixel_that_no_segment_reached():
    thinned = thin(mask("#.#", "...", "#.#"))
    assert (thinned == 0).tolist() == mask(".#.", "###", ".#.").tolist()


def test_no_membrane_is_one_segment_and_no_cell_is_all_background():
    assert thin(np.ones((3, 4))).tolist() == [[1] * 4] * 3
    assert thin(np.zeros((3, 4))).tolist() == [[0] * 4] * 3
    assert thin(np.zeros((0, 4))).shape == (0, 4)


@settings(deadline=None)
@given(images)
def test_segments_grow_into_the_membrane_and_stay_what_they_were(cells):
    before, thinned = segments(cells), thin(cells)
    assert thinned.shape == cells.shape
    assert np.array_equal(thinned[cells], before[cells])
    assert len(np.unique(thinned[thinned > 0])) == before.max(initial=0)
    for number in range(1, int(before.max(initial=0)) + 1):
        assert segments(thinned == number).max() == 1


@settings(deadline=None)
@given(images)
def test_thinned_segments_never_touch(cells):
    thinned = thin(cells)
    for first, second in (
        (thinned[1:], thinned[:-1]),
        (thinned[:, 1:], thinned[:, :-1]),
    ):
        assert ((first == second) | (first == 0) | (second == 0)).all()


@settings(deadline=None)
@given(images)
def test_thinning_twice_is_thinning_once(cells):
    thinned = thin(cells)
    if thinned.any():
        assert np.array_equal(segments(thinned > 0) > 0, thinned > 0)
        assert segments(thinned > 0).max() == thinned.max()


def test_a_stack_is_refused():
    with pytest.raises(DataError, match="thinning-shape"):
        thin(np.zeros((2, 3, 4)))


@needs_membranes
def test_real_membranes_become_lines_and_all_segments_stay():
    cells = np.array(Image.open(MASKS / "slice_00.png")) > 0
    thinned = thin(cells)
    other = watershed(np.zeros(cells.shape), segments(cells), watershed_line=True)
    assert len(np.unique(thinned)) - 1 == segments(cells).max()
    thick = ndimage.binary_opening(thinned == 0, np.ones((2, 2)))
    assert np.count_nonzero(thick) < 0.05 * np.count_nonzero(thinned == 0)
    assert np.count_nonzero(thinned == 0) < 0.2 * np.count_nonzero(~cells)
    # Scikit-image floods in another order, so a dam may lie a pixel beside ours.
    assert v_rand(thinned, other).merge > 0.999


@needs_membranes
def test_thinning_takes_the_width_of_real_membranes_out_of_the_scores():
    cells = np.array(Image.open(MASKS / "slice_00.png")) > 0
    truth, wide = segments(cells), ndimage.binary_erosion(cells)
    assert v_rand(segments(wide), truth).f < 0.95 < 0.998 < v_rand(thin(wide), truth).f
    assert v_info(segments(wide), truth).f < 0.95 < 0.998 < v_info(thin(wide), truth).f
    assert v_rand(thin(cells), truth).f == pytest.approx(1)
