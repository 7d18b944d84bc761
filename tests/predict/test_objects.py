"""Pieces and cut pieces, against drawings whose objects are known and other programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import regionprops_table

from maskwright.evaluate.contingency import components
from maskwright.evaluate.objects import OBJECT_MEASURES, match_objects
from maskwright.io.image import Image
from maskwright.io.space import Geometry
from maskwright.predict.object_measures import measure_objects
from maskwright.predict.objects import certainty, connected_pieces, find_objects, numbered


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    grid = np.indices(shape)
    offset = np.array(centre).reshape(-1, *[1] * len(shape))
    return ((grid - offset) ** 2).sum(0) <= radius**2


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2))
)
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_each_class_on_its_own(classes: np.ndarray) -> None:
    found = find_objects(classes)
    assert np.array_equal(found > 0, classes > 0)
    total = 0
    for k in (1, 2):
        expected, count = ndimage.label(classes == k, np.ones((3, 3)))
        total += count
        pairs = np.unique(np.stack([expected[classes == k], found[classes == k]]), axis=1)
        assert len(pairs.T) == count
    assert set(np.unique(found)) - {0} == set(range(1, total + 1))


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 2))
)
@settings(max_examples=60, deadline=None)
def test_the_watershed_keeps_every_pixel_and_never_mixes_classes(classes: np.ndarray) -> None:
    found = find_objects(classes, method="watershed")
    assert np.array_equal(found > 0, classes > 0)
    for number in range(1, int(found.max()) + 1):
        assert len(np.unique(classes[found == number])) == 1


@pytest.mark.parametrize(("axes", "longest"), [(2, 40), (3, 12)])
def test_pieces_of_truth_values_are_those_of_another_program(axes: int, longest: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(500):
        shape = generator.integers(1, longest, axes)
        mask = generator.random(shape) < generator.uniform(0.2, 0.95)
        expected, count = ndimage.label(mask, np.ones((3,) * axes))
        for found in (connected_pieces(mask), components(mask)):
            assert np.array_equal(found > 0, mask)
            assert int(found.max(initial=0)) == count
            assert len(np.unique(np.stack([expected[mask], found[mask]]), axis=1).T) == count


@given(arrays(np.int64, 20, elements=st.integers(0, 5)), st.integers(0, 4))
def test_numbers_follow_the_first_pixels_and_small_objects_go(
    objects: np.ndarray, min_px: int
) -> None:
    found = numbered(objects, min_px)
    firsts = [int(np.argmax(found == n)) for n in range(1, int(found.max()) + 1)]
    assert firsts == sorted(firsts)
    large = [n for n in np.unique(objects) if n and (objects == n).sum() >= min_px]
    assert int(found.max()) == len(large)
    assert np.array_equal(found > 0, np.isin(objects, large))


@pytest.mark.parametrize("ratio", [1.35, 1.5, 1.8])
def test_two_touching_discs_are_two_objects_of_the_watershed(ratio: float) -> None:
    radius = 12
    first = ball((40, 80), (20, 20), radius)
    second = ball((40, 80), (20, 20 + ratio * radius), radius)
    classes = (first | second).astype(np.uint8)
    assert find_objects(classes).max() == 1
    found = find_objects(classes, method="watershed")
    assert found.max() == 2
    middle = 20 + ratio * radius / 2
    columns = np.arange(80)
    truth = np.where(classes > 0, np.where(columns < middle, 1, 2), 0)
    assert OBJECT_MEASURES["aji"](match_objects(found, truth)) > 0.95


def test_one_uneven_object_stays_whole() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        rough = ndimage.gaussian_filter(generator.normal(size=(48, 48)), 2)
        classes = ball((48, 48), (24, 24), 16) | ((rough > 0.1) & ball((48, 48), (24, 24), 18))
        pieces, _ = ndimage.label(classes, np.ones((3, 3)))
        whole = (pieces == pieces[24, 24]).astype(np.uint8)
        assert find_objects(whole, method="watershed").max() == 1


def test_a_dip_of_the_probability_cuts_what_has_no_narrow_place() -> None:
    classes = np.zeros((20, 60), np.uint8)
    classes[4:16, 4:56] = 1
    sure = np.full((2, 20, 60), 0.95, np.float32)
    sure[1, :, 29:31] = 0.55
    assert (
        find_objects(classes, method="watershed", certainty_YX=certainty(sure, classes)).max() == 2
    )
    sure[1, :, 29:31] = 0.95
    assert (
        find_objects(classes, method="watershed", certainty_YX=certainty(sure, classes)).max() == 1
    )


def test_a_volume_is_cut_where_it_is_narrow_in_millimetres() -> None:
    shape, spacing = (16, 40, 60), (2.0, 1.0, 1.0)
    grid = np.indices(shape) * np.array(spacing).reshape(3, 1, 1, 1)
    balls = [
        ((grid - np.array([16, 20, x]).reshape(3, 1, 1, 1)) ** 2).sum(0) <= 11**2 for x in (18, 36)
    ]
    classes = (balls[0] | balls[1]).astype(np.uint8)
    found = find_objects(classes, method="watershed", spacing=spacing)
    assert found.max() == 2
    assert abs(int((found == 1).sum()) - int((found == 2).sum())) < 0.1 * balls[0].sum()


def test_a_mask_that_is_full_or_empty_has_one_object_or_none() -> None:
    for method in ("components", "watershed"):
        assert find_objects(np.ones((9, 9), np.uint8), method=method).max() == 1
        empty = find_objects(np.zeros((9, 9), np.uint8), method=method)
        assert empty.max() == 0
        found = measure_objects(empty, empty.astype(np.uint8), Image(empty[None]))
        assert list(found.rows(["a"])) == []


def test_measures_are_those_of_scikit_image() -> None:
    generator = np.random.default_rng(1)
    rough = ndimage.gaussian_filter(generator.normal(size=(60, 80)), 2)
    classes = np.where(rough > 0.1, 1, np.where(rough < -0.12, 2, 0)).astype(np.uint8)
    image = Image(generator.integers(0, 255, (3, 60, 80)).astype(np.uint8))
    p = generator.dirichlet((1, 1, 1), (60, 80)).astype(np.float32).transpose(2, 0, 1)
    objects = find_objects(classes)
    found = measure_objects(objects, classes, image, certainty(p, classes)).columns
    own = np.take_along_axis(p, classes[None].astype(np.int64), 0)[0]
    peer = regionprops_table(
        objects.astype(np.int32),
        np.dstack([own, *image.array]),
        properties=("area", "centroid", "bbox", "intensity_mean", "intensity_max", "perimeter",
                    "eccentricity", "equivalent_diameter_area"),
    )  # fmt: skip
    names = {
        "area_px": "area", "centroid_y_px": "centroid-0", "centroid_x_px": "centroid-1",
        "box_y_from_px": "bbox-0", "box_x_from_px": "bbox-1", "box_y_to_px": "bbox-2",
        "box_x_to_px": "bbox-3", "mean_probability": "intensity_mean-0",
        "max_probability": "intensity_max-0", "mean_intensity_0": "intensity_mean-1",
        "mean_intensity_2": "intensity_mean-3", "perimeter_px": "perimeter",
        "eccentricity": "eccentricity", "equivalent_diameter_px": "equivalent_diameter_area",
    }  # fmt: skip
    for ours, theirs in names.items():
        np.testing.assert_allclose(found[ours], peer[theirs], rtol=1e-5, atol=1e-5, err_msg=ours)
    assert (found["solidity"] > 0).all()
    assert (found["solidity"] <= 1).all()


@pytest.mark.parametrize(
    ("spacing", "column", "expected"),
    [((0.0005, 0.0004), "area_um2", 4 * 0.2), ((0.5, 0.4), "area_mm2", 4 * 0.2)],
)
def test_areas_are_in_micrometres_under_a_microscope_and_in_millimetres_elsewhere(
    spacing: tuple[float, float], column: str, expected: float
) -> None:
    objects = np.ones((2, 2), np.uint32)
    image = Image(np.zeros((1, 2, 2)), spacing_mm=spacing)
    found = measure_objects(objects, np.ones((2, 2), np.uint8), image).columns
    assert found[column].tolist() == pytest.approx([expected])
    assert ("area_mm2" in found) + ("area_um2" in found) == 1


def test_centroids_of_volumes_are_where_simpleitk_says() -> None:
    import SimpleITK as sitk  # noqa: N813

    turn = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    place = Geometry((0.7, 0.8, 2.5), (-100.0, 30.0, 5.0), turn)
    objects = np.zeros((6, 7, 8), np.uint32)
    objects[1:3, 2:5, 4:7] = 1
    objects[5, 6, 0] = 2
    image = Image(np.zeros((1, 6, 7, 8)), spacing_mm=(2.5, 0.8, 0.7), geometry=place)
    found = measure_objects(objects, objects.clip(max=1).astype(np.uint8), image)
    reference = sitk.GetImageFromArray(objects)
    reference.SetSpacing(place.spacing_xyz)
    reference.SetOrigin(place.origin_xyz)
    reference.SetDirection(np.array(turn).ravel().tolist())
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(reference)
    expected = [shapes.GetCentroid(n) for n in (1, 2)]
    np.testing.assert_allclose(found.world_xyz, expected, rtol=1e-9)
    assert found.columns["volume_mm3"].tolist() == pytest.approx([18 * 1.4, 1.4])
    diameters = [shapes.GetEquivalentSphericalRadius(n) * 2 for n in (1, 2)]
    np.testing.assert_allclose(found.columns["equivalent_diameter_mm"], diameters, rtol=1e-6)
