"""Averages over mirrorings and sizes, with plain functions as the prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.predict.averaging import averaged, passes
from maskwright.predict.predictor import ImagePrediction, most_probable

SHAPES = [(9, 14), (4, 9, 6)]


def _image(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).random((1, *shape)).astype(np.float32)


def _found(probability_YX: NDArray[np.float32], label: float = 0.5) -> ImagePrediction:
    both_KYX = np.stack([1 - probability_YX, probability_YX])
    label_L = np.array([1 - label, label], np.float32)
    return ImagePrediction(most_probable(both_KYX), both_KYX, label_L)


def _pixelwise(image_CYX: NDArray[np.float32]) -> ImagePrediction:
    """Mirror images have mirrored predictions."""
    return _found(image_CYX[0] ** 2, float(image_CYX.mean()))


def _ramp(image_CYX: NDArray[np.float32]) -> ImagePrediction:
    """Probability rises along the last axis, whatever is in the image."""
    shape = image_CYX.shape[1:]
    return _found(np.broadcast_to(np.linspace(0, 1, shape[-1], dtype=np.float32), shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_that_treats_mirror_images_alike_gains_nothing(shape: tuple[int, ...]) -> None:
    image, once = _image(shape), _pixelwise(_image(shape))
    found = averaged(_pixelwise, ["flip"], ())(image)
    np.testing.assert_allclose(found.probabilities_KYX, once.probabilities_KYX, atol=1e-6)
    np.testing.assert_allclose(found.image_probabilities_L, once.image_probabilities_L, atol=1e-6)
    np.testing.assert_array_equal(found.classes_YX, most_probable(found.probabilities_KYX))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_depends_on_the_side_is_averaged_away(shape: tuple[int, ...]) -> None:
    found = averaged(_ramp, ["flip"], ())(_image(shape))
    np.testing.assert_allclose(found.probabilities_KYX, 0.5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prediction_sees_every_mirroring_once(shape: tuple[int, ...]) -> None:
    seen: list[bytes] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX.tobytes())
        return _pixelwise(image_CYX)

    averaged(watch, ["flip"], ())(_image(shape))
    assert len(set(seen)) == len(seen) == len(passes(shape, ["flip"], ())) == 2 ** len(shape)


@pytest.mark.parametrize("ways", [[], ["scale"]])
def test_one_scale_of_one_is_the_prediction_itself(ways: list[str]) -> None:
    image = _image((9, 14))
    found = averaged(_ramp, ways, (1.0,))(image)
    np.testing.assert_array_equal(found.probabilities_KYX, _ramp(image).probabilities_KYX)


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_are_those_asked_for_and_come_back_as_the_image_s_own(
    shape: tuple[int, ...],
) -> None:
    seen: list[tuple[int, ...]] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX.shape[1:])
        return _pixelwise(image_CYX)

    found = averaged(watch, ["flip", "scale"], (0.5, 1.0, 2.0))(_image(shape))
    expected = [tuple(max(1, round(s * n)) for n in shape) for s in (0.5, 1.0, 2.0)]
    assert sorted(set(seen)) == sorted(expected)
    assert len(seen) == 3 * 2 ** len(shape)
    assert found.probabilities_KYX.shape == (2, *shape)
    np.testing.assert_allclose(found.probabilities_KYX.sum(0), 1, atol=1e-6)


def test_a_smooth_image_has_the_same_prediction_at_every_size() -> None:
    rows, columns = np.mgrid[:60, :80] / 20
    image = (0.5 + 0.4 * np.sin(rows) * np.cos(columns))[None].astype(np.float32)
    found = averaged(_pixelwise, ["scale"], (0.71, 1.0, 1.41))(image)
    expected = _pixelwise(image).probabilities_KYX
    assert np.abs(found.probabilities_KYX - expected)[:, 3:-3, 3:-3].max() < 5e-3


def test_an_image_made_smaller_is_smoothed_first() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (1, 32, 16))
    seen: list[NDArray[np.float32]] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX)
        return _found(np.zeros(image_CYX.shape[1:], np.float32))

    averaged(watch, ["scale"], (1 / 3,))(stripes)
    middle = seen[0][0, 3:-3, 3:-3]
    assert math.isclose(middle.mean(), 127.5, rel_tol=0.1)
    assert middle.std() < 40


def test_a_single_slice_stays_one() -> None:
    found = averaged(_pixelwise, ["scale"], (0.25, 1.0))(_image((1, 12, 12)))
    assert found.classes_YX.shape == (1, 12, 12)
