"""Averages over mirrorings and sizes, with plain functions as the prediction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.geometry import Axis
from maskwright.predict.averaging import Variants, averaged, passes
from maskwright.predict.predictor import Found, ImagePrediction, Part, most_probable, predict_image
from maskwright.predict.variants import predict_variants
from maskwright.tiling import BlendRule, TileRule

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


def _one_by_one(predict: Callable[[NDArray[Any]], ImagePrediction]) -> Variants:
    """Turned copies predicted by a function of one image."""

    def together(images: Sequence[NDArray[Any]]) -> Iterator[Part]:
        found = [predict(image) for image in images]
        yield Part(
            tuple(slice(0, size) for size in images[0].shape[1:]),
            np.concatenate([each.probabilities_KYX for each in found]),
            (),
            np.concatenate([each.image_probabilities_L for each in found]),
        )

    return together


def average(
    predict: Callable[[NDArray[Any]], ImagePrediction],
    ways: Collection[str],
    scales: Sequence[float],
    at_once: int = 3,
) -> Callable[[NDArray[Any]], ImagePrediction]:
    return averaged(_one_by_one(predict), ways, scales, at_once=at_once)


def _ramp(image_CYX: NDArray[np.float32]) -> ImagePrediction:
    """Probability rises along the last axis, whatever is in the image."""
    shape = image_CYX.shape[1:]
    return _found(np.broadcast_to(np.linspace(0, 1, shape[-1], dtype=np.float32), shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_network_that_treats_mirror_images_alike_gains_nothing(shape: tuple[int, ...]) -> None:
    image, once = _image(shape), _pixelwise(_image(shape))
    found = average(_pixelwise, ["flip"], ())(image)
    np.testing.assert_allclose(found.probabilities_KYX, once.probabilities_KYX, atol=1e-6)
    np.testing.assert_allclose(found.image_probabilities_L, once.image_probabilities_L, atol=1e-6)
    np.testing.assert_array_equal(found.classes_YX, most_probable(found.probabilities_KYX))


@pytest.mark.parametrize("ways", [["rotate"], ["flip", "rotate"]])
@pytest.mark.parametrize("shape", SHAPES)
def test_turns_come_back_to_where_they_were(shape: tuple[int, ...], ways: list[str]) -> None:
    image, once = _image(shape), _pixelwise(_image(shape))
    found = average(_pixelwise, ways, ())(image)
    np.testing.assert_allclose(found.probabilities_KYX, once.probabilities_KYX, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_flips_and_turns_are_the_eight_symmetries_of_the_square(at_once: int) -> None:
    seen: list[bytes] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(np.ascontiguousarray(image_CYX).tobytes())
        return _pixelwise(image_CYX)

    image = _image((6, 6))
    average(watch, ["flip", "rotate"], (), at_once)(image)
    quarters = [np.rot90(image, turn, (1, 2)) for turn in range(4)]
    every = [np.ascontiguousarray(each) for q in quarters for each in (q, q[..., ::-1])]
    assert sorted(seen) == sorted(each.tobytes() for each in every)
    seen.clear()
    average(watch, ["rotate"], (), at_once)(image)
    assert sorted(seen) == sorted(np.ascontiguousarray(q).tobytes() for q in quarters)


def test_a_volume_is_turned_in_its_planes_alone() -> None:
    sizes = {each.read_size for each in passes((4, 9, 6), ["flip", "rotate"], ())}
    assert sizes == {(4, 9, 6), (4, 6, 9)}
    assert len(passes((4, 9, 6), ["flip", "rotate"], ())) == 16
    assert len(passes((4, 9, 6), ["rotate"], ())) == 4


def _sums(batch_BCS: NDArray[np.float32]) -> Found:
    """A network whose pixels see their neighbours, to the left more than to the right."""
    left_BCS = np.roll(batch_BCS, 1, -1) * 0.6 + np.roll(batch_BCS, -1, -2) * 0.3
    share_BCS = 1 / (1 + np.exp(-batch_BCS - left_BCS))
    label_B1 = share_BCS.mean(axis=tuple(range(2, share_BCS.ndim)))
    return {
        "probabilities": np.concatenate([1 - share_BCS, share_BCS], axis=1),
        "image_probabilities": np.concatenate([1 - label_B1, label_B1], axis=1),
    }


@pytest.mark.parametrize("kind", [TileRule, BlendRule])
@pytest.mark.parametrize("shape", [(70, 70), (50, 83), (9, 40, 33)])
@pytest.mark.parametrize("at_once", [2, 8])
def test_tiles_predicted_together_say_what_they_say_one_by_one(
    kind: type[TileRule] | type[BlendRule], shape: tuple[int, ...], at_once: int
) -> None:
    axes = (Axis(kernels=(3, 3), strides=(2,)),) * len(shape)
    rule, image = kind(axes, 32, 4), _image(shape)
    ways, batches = ["flip", "rotate"], []

    def engine(batch: NDArray[np.float32]) -> Found:
        batches.append(len(batch))
        return _sums(batch)

    def together(images: Sequence[NDArray[Any]]) -> Iterator[Part]:
        return predict_variants(images, engine, rule, 1)

    found = averaged(together, ways, (), at_once=at_once)(image)
    every = passes(shape, ways, ())
    alike = Counter(each.read_size for each in every)
    assert max(batches) == min(at_once, max(alike.values()))
    assert sum(batches) == sum(len(rule.cover(each.read_size)) for each in every)
    single = [(each, predict_image(each.turned(image), _sums, rule, 1)) for each in every]
    expected = np.zeros((2, *shape), np.float32)
    for each, one in single:
        each.turned(expected)[...] += one.probabilities_KYX / len(single)
    np.testing.assert_allclose(found.probabilities_KYX, expected, atol=1e-5)
    labels = np.mean([one.image_probabilities_L for _, one in single], axis=0)
    np.testing.assert_allclose(found.image_probabilities_L, labels, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_depends_on_the_side_is_averaged_away(shape: tuple[int, ...]) -> None:
    found = average(_ramp, ["flip"], ())(_image(shape))
    np.testing.assert_allclose(found.probabilities_KYX, 0.5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prediction_sees_every_mirroring_once(shape: tuple[int, ...]) -> None:
    seen: list[bytes] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX.tobytes())
        return _pixelwise(image_CYX)

    average(watch, ["flip"], ())(_image(shape))
    assert len(set(seen)) == len(seen) == len(passes(shape, ["flip"], ())) == 2 ** len(shape)


@pytest.mark.parametrize("ways", [[], ["scale"]])
def test_one_scale_of_one_is_the_prediction_itself(ways: list[str]) -> None:
    image = _image((9, 14))
    found = average(_ramp, ways, (1.0,))(image)
    np.testing.assert_array_equal(found.probabilities_KYX, _ramp(image).probabilities_KYX)


@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_are_those_asked_for_and_come_back_as_the_image_s_own(
    shape: tuple[int, ...],
) -> None:
    seen: list[tuple[int, ...]] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX.shape[1:])
        return _pixelwise(image_CYX)

    found = average(watch, ["flip", "scale"], (0.5, 1.0, 2.0))(_image(shape))
    expected = [tuple(max(1, round(s * n)) for n in shape) for s in (0.5, 1.0, 2.0)]
    assert sorted(set(seen)) == sorted(expected)
    assert len(seen) == 3 * 2 ** len(shape)
    assert found.probabilities_KYX.shape == (2, *shape)
    np.testing.assert_allclose(found.probabilities_KYX.sum(0), 1, atol=1e-6)


def test_a_smooth_image_has_the_same_prediction_at_every_size() -> None:
    rows, columns = np.mgrid[:60, :80] / 20
    image = (0.5 + 0.4 * np.sin(rows) * np.cos(columns))[None].astype(np.float32)
    found = average(_pixelwise, ["scale"], (0.71, 1.0, 1.41))(image)
    expected = _pixelwise(image).probabilities_KYX
    assert np.abs(found.probabilities_KYX - expected)[:, 3:-3, 3:-3].max() < 5e-3


def test_an_image_made_smaller_is_smoothed_first() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (1, 32, 16))
    seen: list[NDArray[np.float32]] = []

    def watch(image_CYX: NDArray[np.float32]) -> ImagePrediction:
        seen.append(image_CYX)
        return _found(np.zeros(image_CYX.shape[1:], np.float32))

    average(watch, ["scale"], (1 / 3,))(stripes)
    middle = seen[0][0, 3:-3, 3:-3]
    assert math.isclose(middle.mean(), 127.5, rel_tol=0.1)
    assert middle.std() < 40


def test_a_single_slice_stays_one() -> None:
    found = average(_pixelwise, ["scale"], (0.25, 1.0))(_image((1, 12, 12)))
    assert found.classes_YX.shape == (1, 12, 12)
