"""Warping error: shifts cost nothing, splits and mergers do, and an oracle that does it slowly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maskwright.errors import DataError
from maskwright.evaluate.thinning import segments
from maskwright.evaluate.warping import simple_points, warping_error

MASKS = Path(__file__).parents[3] / "shared" / "data" / "membranes" / "masks"
needs_membranes = pytest.mark.skipif(not MASKS.is_dir(), reason=f"no real masks at {MASKS}")

EIGHT = np.ones((3, 3))
COUNTS = ("splits", "mergers", "deletions", "additions", "hole_deletions", "hole_additions")
CIRCLE = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))

TWO_CELLS = np.ones((7, 9), bool)
TWO_CELLS[:, 4] = False


def counts(score):
    return {name: getattr(score, name) for name in COUNTS if getattr(score, name)}


def topology(cells):
    """Number of cells (4-connected) and of membrane pieces with the outside (8-connected)."""
    padded = np.pad(cells, 1)
    return ndimage.label(padded)[1], ndimage.label(~padded, EIGHT)[1]


def flips_freely(patch):
    """Whether pieces of cell and of membrane that touch the middle are exactly one each."""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    cells, membrane = ndimage.label(patch & ring)[0], ndimage.label(~patch & ring, EIGHT)[0]
    beside = {*cells[1, ::2], *cells[::2, 1]} - {0}
    return len(beside) == 1 == membrane.max()


def kind_of(warped, y, x):
    """Class of a pixel that could not be flipped, from labelling the image with and without it."""
    box = slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2)
    labels = segments(warped)
    ids = labels[box].ravel().tolist()
    ids.remove(labels[y, x])
    around = set(ids)
    cell = bool(warped[y, x])
    if around == {0}:
        return "deletions" if cell else "additions"
    if len(around) == 1:
        return "hole_additions" if cell else "hole_deletions"
    if len(around) > 2:
        return "splits" if cell else "mergers"
    if not cell:
        return "hole_additions"
    without = warped.copy()
    without[y, x] = False
    pieces = {*segments(without)[box].ravel()} - {0}
    return "splits" if len(pieces) > 1 else "hole_deletions"


def warp_slowly(proposal, truth, threshold, valid):
    """Full rounds over all differing pixels, column by column among the equally sure."""
    warped = np.pad(truth, 1)
    target = np.pad(proposal > threshold, 1)
    sure = np.abs(proposal.astype(np.float64) - threshold).astype(np.float32)
    flipped = True
    while flipped:
        flipped = False
        differs = (warped != target) & np.pad(valid, 1)
        listed = sorted(np.argwhere(differs.T).tolist(), key=lambda xy: -sure[xy[1] - 1, xy[0] - 1])
        for x, y in listed:
            if flips_freely(warped[y - 1 : y + 2, x - 1 : x + 2]):
                warped[y, x] ^= True
                flipped = True
    warped = warped[1:-1, 1:-1]
    kinds = [kind_of(warped, y, x) for x, y in np.argwhere(differs[1:-1, 1:-1].T)]
    return warped, {name: kinds.count(name) for name in COUNTS if name in kinds}


def test_a_point_is_simple_where_one_piece_of_cell_and_one_of_membrane_touch_it():
    for code in range(256):
        patch = np.zeros((3, 3), bool)
        for bit, (dy, dx) in enumerate(CIRCLE):
            patch[1 + dy, 1 + dx] = code >> bit & 1
        assert simple_points()[code] == flips_freely(patch)


def test_flipping_a_simple_point_keeps_cells_and_holes_and_any_other_does_not():
    for code in range(256):
        patch = np.zeros((5, 5), bool)
        for bit, (dy, dx) in enumerate(CIRCLE):
            patch[2 + dy, 2 + dx] = code >> bit & 1
        flipped = patch.copy()
        flipped[2, 2] = True
        if simple_points()[code]:
            assert topology(patch) == topology(flipped)


@pytest.mark.parametrize("seed", range(40))
def test_the_result_is_that_of_full_rounds_and_labelling(seed):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(2, 15, 2))
    truth = ndimage.uniform_filter(generator.random(shape), 3) > 0.45
    proposal = generator.random(shape)
    if seed % 2:
        proposal = (ndimage.uniform_filter(proposal, 3) > 0.5).astype(float)
    elif seed % 4:
        proposal = proposal.round(1)
    valid = generator.random(shape) < (1 if seed % 3 else 0.9)
    score = warping_error(proposal, truth, 0.4, valid)
    warped, expected = warp_slowly(proposal, truth, 0.4, valid)
    assert counts(score) == expected
    assert np.array_equal(score.warped_YX, warped)
    assert topology(score.warped_YX) == topology(truth)
    wrong = expected.get("splits", 0) + expected.get("mergers", 0)
    assert score.error == pytest.approx(wrong / valid.sum())


def test_the_truth_itself_and_a_membrane_beside_the_true_one_cost_nothing():
    assert counts(warping_error(TWO_CELLS, TWO_CELLS)) == {}
    thick = TWO_CELLS.copy()
    thick[:, 3:6] = False
    for membrane, shifts in ((TWO_CELLS, (-1, 1)), (thick, (-2, -1, 1, 2))):
        for shift in shifts:
            shifted = np.roll(membrane, shift, 1)
            score = warping_error(shifted, membrane)
            assert (score.error, counts(score)) == (0, {})
            assert np.array_equal(score.warped_YX, shifted)


def test_a_membrane_away_from_the_true_one_is_a_split_and_mergers():
    assert counts(warping_error(np.roll(TWO_CELLS, 2, 1), TWO_CELLS)) == {
        "splits": 1,
        "mergers": 7,
    }


def test_a_membrane_of_another_width_or_course_costs_nothing():
    wide = TWO_CELLS.copy()
    wide[:, 2:7] = False
    winding = np.ones((7, 9), bool)
    winding[:4, 3] = winding[3, 3:6] = winding[3:, 5] = False
    for proposal in (wide, winding):
        assert counts(warping_error(proposal, TWO_CELLS)) == {}
        assert counts(warping_error(TWO_CELLS, proposal)) == {}


def test_one_lost_membrane_pixel_is_one_merger():
    broken = TWO_CELLS.copy()
    broken[3, 4] = True
    score = warping_error(broken, TWO_CELLS)
    assert counts(score) == {"mergers": 1}
    assert score.error == 1 / TWO_CELLS.size


def test_a_membrane_that_vanishes_costs_each_of_its_pixels():
    score = warping_error(np.ones_like(TWO_CELLS), TWO_CELLS)
    assert counts(score) == {"mergers": 7}


def test_a_drawn_line_through_a_cell_is_a_split():
    whole = np.ones((5, 9), bool)
    drawn = whole.copy()
    drawn[:, 4] = False
    score = warping_error(drawn, whole)
    assert counts(score) == {"splits": 1}
    half_drawn = whole.copy()
    half_drawn[:4, 4] = False
    assert counts(warping_error(half_drawn, whole)) == {}


def test_a_hole_is_neither_split_nor_merger():
    whole = np.ones((5, 5), bool)
    holed = whole.copy()
    holed[2, 2] = False
    added = warping_error(holed, whole)
    lost = warping_error(whole, holed)
    assert (added.error, counts(added)) == (0, {"hole_additions": 1})
    assert (lost.error, counts(lost)) == (0, {"hole_deletions": 1})


def test_an_added_cell_is_an_addition():
    nothing = np.zeros((5, 5), bool)
    one = nothing.copy()
    one[2, 2] = True
    assert counts(warping_error(one, nothing)) == {"additions": 1}
    assert counts(warping_error(nothing, nothing)) == {}


def test_an_all_membrane_proposal_has_no_error_and_says_what_it_deleted():
    score = warping_error(np.zeros_like(TWO_CELLS), TWO_CELLS)
    assert (score.error, counts(score)) == (0, {"deletions": 2})
    assert score.warped_YX.sum() == 2


def test_the_surest_pixels_are_flipped_first():
    whole, proposal = np.ones((1, 5), bool), np.array([[0.0, 0.1, 0.2, 0.3, 0.4]])
    assert np.flatnonzero(warping_error(proposal, whole).warped_YX).tolist() == [4]
    assert np.flatnonzero(warping_error(proposal[:, ::-1], whole).warped_YX).tolist() == [0]


def test_a_pixel_at_the_threshold_is_membrane():
    assert counts(warping_error(np.full((3, 3), 0.5), np.ones((3, 3)))) == {"deletions": 1}
    assert counts(warping_error(np.full((3, 3), 0.5), np.ones((3, 3)), 0.4)) == {}


def test_outside_the_region_of_interest_nothing_is_flipped_or_counted():
    valid = np.ones(TWO_CELLS.shape, bool)
    valid[:3] = False
    score = warping_error(np.ones_like(TWO_CELLS), TWO_CELLS, valid=valid)
    assert counts(score) == {"mergers": 4}
    assert score.error == 4 / valid.sum()
    assert warping_error(TWO_CELLS, TWO_CELLS, valid=np.zeros_like(valid)).error == 0


def test_inputs_are_left_as_they_were():
    proposal, truth = np.roll(TWO_CELLS, 1, 1).astype(float), TWO_CELLS.astype(np.uint8) * 255
    before = proposal.copy(), truth.copy()
    warping_error(proposal, truth)
    assert np.array_equal(proposal, before[0])
    assert np.array_equal(truth, before[1])


@pytest.mark.parametrize(
    ("proposal", "truth", "valid", "code"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), None, "mask-shape"),
        (np.zeros((2, 2)), np.zeros((2, 2)), np.ones(2, bool), "mask-shape"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), None, "warping-shape"),
        (np.full((2, 2), 255), np.zeros((2, 2)), None, "probability-range"),
    ],
)
def test_images_that_cannot_be_warped_are_refused(proposal, truth, valid, code):
    with pytest.raises(DataError, match=code):
        warping_error(proposal, truth, valid=valid)


@needs_membranes
def test_real_membranes_may_move_but_not_break():
    cells = np.array(Image.open(MASKS / "slice_00.png")) > 0
    smooth = ndimage.gaussian_filter(cells.astype(float), 1)
    assert warping_error(smooth / smooth.max(), cells).error < 1e-4
    everywhere, nowhere = (warping_error(np.full(cells.shape, p), cells) for p in (1.0, 0.0))
    assert (everywhere.splits, nowhere.splits + nowhere.mergers) == (0, 0)
    assert everywhere.error > 0.03
    assert 0 < nowhere.deletions <= segments(cells).max()
    assert topology(nowhere.warped_YX) == topology(cells)
