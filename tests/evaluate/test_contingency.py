"""Overlaps of label images and connected components: counting, refusals, SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from maskwright.errors import DataError
from maskwright.evaluate.contingency import BLOCK_PX, components, match_objects


def overlaps(matching):
    """Everything of a matching as plain values, by id."""
    rows, columns, shared = matching.pairs
    truth, prediction = matching.truth_ids[rows], matching.prediction_ids[columns]
    return (
        dict(zip(matching.truth_ids.tolist(), matching.truth_sizes.tolist(), strict=True)),
        dict(
            zip(matching.prediction_ids.tolist(), matching.prediction_sizes.tolist(), strict=True)
        ),
        list(zip(truth.tolist(), prediction.tolist(), shared.tolist(), strict=True)),
    )


def test_pixels_outside_the_region_of_interest_count_nowhere():
    truth, prediction = np.array([1, 1, 1, 2, 2, 0, 3]), np.array([1, 1, 1, 1, 0, 4, 4])
    matching = match_objects(prediction, truth, np.array([1, 1, 0, 1, 1, 0, 0], bool))
    assert overlaps(matching) == ({1: 2, 2: 2}, {1: 3}, [(1, 1, 2), (2, 1, 1)])


def test_an_image_of_several_blocks_counts_like_one_pass():
    generator = np.random.default_rng(0)
    small = generator.integers(0, 400, (2, 60, 61))
    prediction, truth = (np.kron(ids, np.ones((25, 25), np.int64)) for ids in small)
    truth = np.roll(truth, 7, 1)
    assert truth.size > 2 * BLOCK_PX
    matching = match_objects(prediction, truth)
    both = np.histogram2d(truth.ravel(), prediction.ravel(), bins=np.arange(401) - 0.5)[0]
    rows, columns = (
        matching.truth_ids[matching.pairs[0]],
        matching.prediction_ids[matching.pairs[1]],
    )
    assert np.array_equal(np.argwhere(both[1:, 1:]) + 1, np.stack((rows, columns), 1))
    assert np.array_equal(both[rows, columns], matching.pairs[2])
    assert np.array_equal(both[1:].sum(axis=1)[matching.truth_ids - 1], matching.truth_sizes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_every_integer_type_and_memory_layout_matches_alike(dtype):
    prediction, truth = np.random.default_rng(2).integers(0, 5, (2, 30, 41))
    same = match_objects(np.asfortranarray(prediction), truth.astype(dtype))
    assert overlaps(same) == overlaps(match_objects(prediction, truth))


@pytest.mark.parametrize("shape", [(50, 60), (12, 20, 25)])
def test_components_connect_over_corners_as_scipy_does(shape):
    mask = np.random.default_rng(1).random(shape) < 0.2
    expected, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    ours = components(mask)
    assert ours.max() == count
    assert np.all(match_objects(ours, expected).iou == 1.0)
    assert np.array_equal(components(np.asfortranarray(mask * np.uint8(255))) > 0, mask)


@pytest.mark.parametrize(
    ("prediction", "truth", "code"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "mask-shape"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "label-dtype"),
        (np.zeros((2, 2), int), np.zeros((2, 2), bool), "label-dtype"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "label-value"),
        (np.zeros((2, 2), int), np.full((2, 2), 2**63, np.uint64), "label-value"),
    ],
)
def test_label_images_that_cannot_be_compared_are_refused(prediction, truth, code):
    with pytest.raises(DataError, match=code):
        match_objects(prediction, truth)


def test_masks_without_components_are_refused():
    for mask in (np.zeros((2, 2)), np.zeros(3, bool), np.zeros((1, 2, 3, 4), bool)):
        with pytest.raises(DataError, match="components-mask"):
            components(mask)
