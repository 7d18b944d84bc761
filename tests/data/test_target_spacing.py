"""To which spacing a data set is brought, why, and how masks follow their images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.config import DataConfig
from maskwright.data.image_facts import ImageFacts
from maskwright.data.intensity import measure
from maskwright.data.labelmap import IGNORED
from maskwright.data.resampled import at_spacing
from maskwright.data.sampler import Source, blend
from maskwright.data.target_spacing import choose_spacing, network_size
from maskwright.errors import ConfigError, DataError


def _images(
    *spacings: tuple[float, ...] | None, size: tuple[int, ...] = (20, 40, 40)
) -> dict[str, ImageFacts]:
    return {
        str(n): ImageFacts(size, spacing, False, (False,)) for n, spacing in enumerate(spacings)
    }


def test_equal_voxels_stay_however_long_they_are() -> None:
    flat = _images((5.0, 0.7, 0.7), (5.0, 0.75, 0.75), (5.5, 0.7, 0.7))
    assert choose_spacing(DataConfig(), flat, scanned=True) == (None, "")


def test_voxels_that_differ_go_to_the_median_of_each_axis() -> None:
    images = _images((5.0, 0.7, 0.7), (2.5, 0.7, 0.7), (3.0, 0.8, 0.8))
    target, told = choose_spacing(DataConfig(), images, scanned=True)
    assert target == (3.0, 0.7, 0.7)
    assert "3 × 0.7 × 0.7 mm (depth × height × width), the median" in told
    assert "by a factor of 2 along the depth" in told
    assert choose_spacing(DataConfig(spacing="none"), images, scanned=True) == (None, "")


def test_a_median_that_would_double_the_voxels_is_made_coarser() -> None:
    images = _images((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (4.0, 4.0, 4.0))
    target, told = choose_spacing(DataConfig(), images, scanned=True)
    assert target is not None
    voxels = sum(np.prod(network_size(facts, target)) for facts in images.values())
    assert voxels / (3 * 20 * 40 * 40) == pytest.approx(2, rel=0.05)
    assert "as many voxels" in told


def test_pictures_whose_pixel_size_may_be_a_screens_stay_as_they_are() -> None:
    images = _images((0.3, 0.3), (0.1, 0.1), size=(40, 40))
    assert choose_spacing(DataConfig(), images, scanned=False) == (None, "")
    target, _ = choose_spacing(DataConfig(spacing=(0.2, 0.2)), images, scanned=False)
    assert target == (0.2, 0.2)


def test_nothing_is_guessed_where_an_image_states_no_spacing() -> None:
    images = _images((5.0, 0.7, 0.7), (2.5, 0.7, 0.7), None)
    target, told = choose_spacing(DataConfig(), images, scanned=True)
    assert target is None
    assert "1 of 3 images do not state theirs" in told
    with pytest.raises(DataError, match="spacing-missing"):
        choose_spacing(DataConfig(spacing=(2, 1, 1)), images, scanned=True)
    # An image that is kept for scores has to state its own too.
    known, other = dict(list(images.items())[:2]), {"2": images["2"]}
    assert choose_spacing(DataConfig(), known, scanned=True, held=other)[0] is None
    given = (2.5, 0.7, 0.7)
    assert choose_spacing(DataConfig(), images, scanned=True, pixel_mm=given)[0] == given


@pytest.mark.parametrize(("asked", "given"), [((1, 1), None), ("auto", (1, 1))])
def test_a_spacing_for_other_axes_is_refused(asked: Any, given: Any) -> None:
    images = _images((1.0, 1.0, 1.0), None)
    with pytest.raises(ConfigError, match="spacing-axes"):
        choose_spacing(DataConfig(spacing=asked), images, scanned=True, pixel_mm=given)


def _source(**more: object) -> Source:
    image = np.zeros((1, 12, 20, 20), np.int16)
    image[:, 3:9, 5:15, 5:15] = 100
    classes = (image[0] > 0).astype(np.uint8) * 2
    classes[10:] = IGNORED
    return Source("a", image, classes, measure(image, 1), (3.0, 1.0, 1.0), **more)  # type: ignore[arg-type]


def test_mask_and_ignored_pixels_follow_the_image() -> None:
    source = at_spacing(_source(), (1.5, 1.0, 1.0))
    assert source.image_CYX.shape == (1, 24, 20, 20)
    assert source.spacing_mm == (1.5, 1.0, 1.0)
    assert source.intensity == measure(source.image_CYX, 1)
    assert set(np.unique(source.classes_YX)) == {0, 2, IGNORED}
    assert (source.classes_YX[20:] == IGNORED).all()
    assert (source.classes_YX[:20] != IGNORED).all()
    np.testing.assert_array_equal(source.classes_YX[:20] == 2, source.image_CYX[0, :20] > 50)


def test_objects_and_shares_are_never_mixed() -> None:
    plain = _source()
    objects = np.arange(plain.classes_YX.size, dtype=np.int32).reshape(plain.classes_YX.shape)
    shares = blend(plain.classes_YX, np.full(plain.classes_YX.shape, 0.25, np.float32))
    source = at_spacing(_source(objects_YX=objects, blend_YX=shares), (1.5, 0.9, 1.0))
    assert source.objects_YX is not None
    assert source.blend_YX is not None
    assert source.objects_YX.dtype == np.int32
    assert set(np.unique(source.objects_YX)) <= set(objects.ravel().tolist())
    assert set(np.unique(source.blend_YX)) == set(np.unique(shares))


def test_an_image_of_the_target_spacing_is_left_alone() -> None:
    source = _source()
    assert at_spacing(source, (3.0, 1.0, 1.0)) is source
