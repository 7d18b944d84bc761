"""Maps of borders and distances beside their definitions, evaluated object by object."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from maskwright.data.weightmap import border_map, loss_maps, separate, signed_distance
from maskwright.errors import ConfigError, DataError
from maskwright.loss_terms import LossSettings

NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "nuclei" / "masks"


def _direct(
    objects: NDArray[np.int32], weight: float = 10, sigma: float = 5, spacing: object = None
) -> NDArray[np.float64]:
    """The formula with a distance map of every object."""
    numbers = np.unique(objects[objects > 0])
    if len(numbers) < 2:
        return np.zeros(objects.shape)
    every = [ndimage.distance_transform_edt(objects != n, sampling=spacing) for n in numbers]
    d1, d2 = np.sort(np.stack(every), axis=0)[:2]
    return np.where(objects == 0, weight * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2)), 0)


def _discs(seed: int, shape: tuple[int, ...], count: int, radius: int) -> NDArray[np.int32]:
    generator = np.random.default_rng(seed)
    objects = np.zeros(shape, np.int32)
    grid = np.indices(shape)
    numbers = generator.permutation(10 * count)[:count] + 1
    for number in numbers:
        centre = [generator.integers(size) for size in shape]
        squares = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        objects[squares <= generator.integers(1, radius + 1) ** 2] = number
    return objects


@given(st.integers(0, 10_000), st.sampled_from([(50,), (37, 41), (9, 14, 16)]), st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_the_border_map_is_the_papers_formula(
    seed: int, shape: tuple[int, ...], count: int
) -> None:
    objects = _discs(seed, shape, count, 5)
    np.testing.assert_allclose(border_map(objects), _direct(objects), atol=2e-6)


@pytest.mark.parametrize(("weight", "sigma"), [(10, 5), (3, 2), (100, 1.5), (10, 40), (0, 5)])
def test_weight_and_sigma_reach_as_far_as_the_formula_says(weight: float, sigma: float) -> None:
    objects = _discs(3, (90, 70), 9, 8)
    found = border_map(objects, weight=weight, sigma_px=sigma)
    np.testing.assert_allclose(found, _direct(objects, weight, sigma), atol=1e-5)


@pytest.mark.parametrize("spacing", [(3, 1, 1), (2.5, 0.7, 1.1)])
def test_pixels_that_are_not_cubes_are_measured_by_their_lengths(
    spacing: tuple[float, ...],
) -> None:
    objects = _discs(4, (8, 30, 25), 12, 5)
    found = border_map(objects, spacing=spacing)
    np.testing.assert_allclose(found, _direct(objects, spacing=spacing), atol=5e-6)


def test_three_hundred_objects_in_a_patch_agree_with_three_hundred_distance_maps() -> None:
    objects = _discs(5, (128, 128), 300, 4)
    assert len(np.unique(objects)) > 200
    np.testing.assert_allclose(border_map(objects), _direct(objects), atol=2e-6)


@pytest.mark.skipif(not NUCLEI.is_dir(), reason=f"the real masks are not at {NUCLEI}")
def test_real_nuclei_agree_with_the_direct_evaluation() -> None:
    checked = 0
    for path in sorted(NUCLEI.iterdir())[:6]:
        objects = np.asarray(Image.open(path)).astype(np.int32)[:160, :160]
        found = border_map(separate(objects))
        np.testing.assert_allclose(found, _direct(separate(objects)), atol=2e-6)
        checked += int(found.any())
    assert checked >= 3


def test_a_gap_of_one_pixel_weighs_most_and_a_wide_one_nothing() -> None:
    narrow = border_map(np.array([[1, 1, 0, 2, 2]]))
    assert narrow.tolist() == [[0, 0, pytest.approx(10 * np.exp(-4 / 50)), 0, 0]]
    wide = np.zeros((1, 60), np.int32)
    wide[0, 0], wide[0, -1] = 1, 2
    assert not border_map(wide).any()


def test_without_two_objects_or_without_background_there_is_no_border() -> None:
    assert not border_map(np.zeros((5, 5), np.int32)).any()
    assert not border_map(np.eye(5, dtype=np.int32)).any()
    assert not border_map(np.array([[1, 2], [3, 4]])).any()
    assert border_map(np.zeros((0, 4), np.int32)).shape == (0, 4)


def test_numbers_of_objects_do_not_matter_and_mirroring_commutes() -> None:
    objects = _discs(6, (40, 50), 15, 6)
    renumbered = np.where(objects > 0, 100_003 - 7 * objects.astype(np.int64), 0)
    expected = border_map(objects)
    np.testing.assert_array_equal(border_map(renumbered), expected)
    np.testing.assert_array_equal(border_map(objects[::-1, ::-1])[::-1, ::-1], expected)
    np.testing.assert_array_equal(border_map(objects.T).T, expected)


@given(st.integers(0, 10_000), st.sampled_from([(30,), (20, 22), (8, 9, 10)]))
@settings(max_examples=30, deadline=None)
def test_separated_objects_never_touch_and_lose_only_where_they_did(
    seed: int, shape: tuple[int, ...]
) -> None:
    objects = _discs(seed, shape, 12, 5)
    parted = separate(objects)
    size = (3,) * len(shape)
    largest = ndimage.maximum_filter(parted, size)
    least = ndimage.minimum_filter(np.where(parted, parted, 2**30), size)
    assert (largest == least)[parted > 0].all()
    lost = (parted == 0) & (objects > 0)
    higher = ndimage.maximum_filter(objects, size)
    np.testing.assert_array_equal(lost, (objects > 0) & (higher > objects))
    np.testing.assert_array_equal(parted[~lost], objects[~lost])


def test_components_of_separated_objects_are_the_objects() -> None:
    objects = np.repeat(np.arange(1, 7), 5).reshape(1, -1).repeat(8, axis=0)
    _, count = ndimage.label(separate(objects), np.ones((3, 3)))
    assert count == 6
    assert border_map(separate(objects)).max() == pytest.approx(10 * np.exp(-4 / 50))


@given(st.integers(0, 10_000), st.sampled_from([(20,), (12, 14), (6, 7, 8)]))
@settings(max_examples=30, deadline=None)
def test_signed_distance_is_that_to_the_nearest_pixel_of_the_other_side_less_half(
    seed: int, shape: tuple[int, ...]
) -> None:
    mask = np.random.default_rng(seed).random(shape) > 0.7
    mask.flat[0], mask.flat[-1] = True, False
    found = signed_distance(mask)
    places = np.argwhere(np.ones(shape, bool))
    for place, value in zip(places, found.ravel(), strict=True):
        inside = mask[tuple(place)]
        others = np.argwhere(mask != inside)
        expected = np.sqrt(((others - place) ** 2).sum(1).min()) - 0.5
        assert value == pytest.approx(-expected if inside else expected, rel=1e-6)
    np.testing.assert_array_equal(signed_distance(~mask), -found)


def test_the_authors_signed_distance_is_half_a_pixel_larger_everywhere() -> None:
    mask = _discs(7, (30, 30), 4, 7) > 0
    outside = ndimage.distance_transform_edt(~mask)
    authors = outside * ~mask - (ndimage.distance_transform_edt(mask) - 1) * mask
    np.testing.assert_allclose(authors - signed_distance(mask), 0.5, atol=1e-6)


def test_signed_distance_has_the_unit_of_the_spacing() -> None:
    mask = np.zeros((4, 6), bool)
    mask[:, 3:] = True
    assert signed_distance(mask, spacing=(5, 2))[0].tolist() == [5, 3, 1, -1, -3, -5]


@pytest.mark.parametrize("full", [False, True])
def test_a_mask_without_an_outline_has_no_distance(full: bool) -> None:
    assert not signed_distance(np.full((3, 4), full)).any()


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (1, -1), (1, np.inf), (1, np.nan)])
def test_a_spacing_that_does_not_fit_is_refused(spacing: tuple[float, ...]) -> None:
    for make in (border_map, signed_distance):
        with pytest.raises(DataError) as caught:
            make(np.eye(3, dtype=np.int32), spacing=spacing)
        assert caught.value.code == "map-spacing"


def test_the_maps_of_a_batch_are_those_of_its_patches() -> None:
    objects = np.stack([_discs(seed, (20, 24), 6, 5) for seed in (8, 9)])
    ids = (objects % 3).astype(np.uint8)
    options = LossSettings(border_weight=4, border_sigma_px=3)
    maps = loss_maps(
        ["border_map", "distance_map"], ids, classes=3, settings=options, objects=objects
    )
    assert maps["border_map"].shape == (2, 20, 24)
    assert maps["distance_map"].shape == (2, 2, 20, 24)
    for patch in (0, 1):
        expected = border_map(objects[patch], weight=4, sigma_px=3)
        np.testing.assert_array_equal(maps["border_map"][patch], expected)
        for label in (1, 2):
            np.testing.assert_array_equal(
                maps["distance_map"][patch, label - 1], signed_distance(ids[patch] == label)
            )


def test_overlapping_classes_have_a_distance_each() -> None:
    masks = np.random.default_rng(0).random((2, 3, 6, 7)) > 0.5
    maps = loss_maps(["distance_map"], masks, classes=3, settings=LossSettings(), overlapping=True)
    assert maps["distance_map"].shape == masks.shape
    for patch, label in itertools.product((0, 1), (0, 1, 2)):
        np.testing.assert_array_equal(
            maps["distance_map"][patch, label], signed_distance(masks[patch, label])
        )


def test_nothing_is_computed_that_is_not_needed() -> None:
    assert loss_maps([], np.zeros((1, 4, 4)), classes=2, settings=LossSettings()) == {}


def test_a_border_map_without_numbers_of_objects_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        loss_maps(["border_map"], np.zeros((1, 4, 4)), classes=2, settings=LossSettings())
    assert caught.value.code == "loss-objects-missing"
