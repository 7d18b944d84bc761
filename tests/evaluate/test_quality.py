"""Image quality: known noise, blur and contrast come back, and units change nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter, laplace
from scipy.stats import permutation_test, spearmanr
from skimage.filters import threshold_otsu

from maskwright.errors import DataError
from maskwright.evaluate.quality import QUALITY, Quality, image_quality, trend

MEMBRANES = Path(__file__).parents[3] / "shared" / "data" / "membranes"


def smooth_image(seed=0, shape=(128, 160), sigma=12.0):
    """A smooth random image from 20 to 220."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (20 + 200 * (field - field.min()) / np.ptp(field))[None]


def measured(image, *classes):
    return np.array([v for v in image_quality(image, *classes).to_json().values() if v is not None])


@pytest.mark.parametrize("sigma", [2.0, 10.0, 30.0])
def test_the_noise_that_was_added_is_found(sigma):
    image = smooth_image() + np.random.default_rng(1).normal(0, sigma, (1, 128, 160))
    spread = np.subtract(*np.percentile(image, (99, 1)))
    assert image_quality(image).noise * spread == pytest.approx(sigma, rel=0.05)


def test_the_noise_is_that_of_immerkaers_mask():
    image = np.random.default_rng(2).integers(0, 256, (1, 20, 30)).astype(np.uint8)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    response = np.abs(convolve(image[0].astype(float), mask)[1:-1, 1:-1])
    expected = np.sqrt(np.pi / 2) * response.sum() / (6 * 18 * 28)
    spread = np.subtract(*np.percentile(image, (99, 1)))
    assert image_quality(image).noise == pytest.approx(expected / spread)


def test_the_sharpness_is_the_variance_of_scipys_laplacian():
    image = np.random.default_rng(3).normal(size=(1, 40, 50))
    expected = laplace(image[0])[1:-1, 1:-1].var() / image.var()
    assert image_quality(image).sharpness == pytest.approx(expected)
    assert image_quality(image).sharpness == pytest.approx(20, rel=0.15)


def test_blur_lowers_sharpness_and_fog_lowers_contrast():
    image = smooth_image(sigma=2.0)
    assert image_quality(gaussian_filter(image[0], 2)[None]).sharpness < (
        0.5 * image_quality(image).sharpness
    )
    assert image_quality(0.3 * image + 150).contrast < 0.5 * image_quality(image).contrast


def test_contrast_and_brightness_of_a_two_level_image_are_exact():
    image = np.repeat([[[40.0, 120.0]]], 30, axis=2).repeat(30, axis=1)
    found = image_quality(image, image[0] > 50)
    assert found.contrast == 80 / 160
    assert found.brightness == 80 / 120
    assert found.separation == 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_a_factor_changes_no_number(seed, factor):
    image = smooth_image(seed, (24, 30), 2.0)
    classes = image[0] > 100
    assert measured(image * factor, classes) == pytest.approx(measured(image, classes))


def test_flips_and_the_data_type_change_no_number():
    image = np.random.default_rng(4).integers(0, 256, (2, 30, 31)).astype(np.uint8)
    expected = measured(image)
    for changed in (image[:, ::-1], image[:, :, ::-1], image.transpose(0, 2, 1)):
        assert measured(changed) == pytest.approx(expected)
    assert measured(image.astype(np.float32)) == pytest.approx(expected)
    assert measured(image.astype(np.uint16)) == pytest.approx(expected)


def test_channels_are_averaged_and_equal_slices_give_the_numbers_of_one():
    one, two = smooth_image(5), smooth_image(6, sigma=3.0)
    both = np.concatenate([one, two])
    assert measured(both) == pytest.approx((measured(one) + measured(two)) / 2)
    volume = np.stack([one] * 4, axis=1)
    assert volume.shape == (1, 4, 128, 160)
    # Percentiles fall between other pixels when every pixel is there four times.
    assert measured(volume) == pytest.approx(measured(one), rel=1e-3)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_all_zeros(value):
    image = np.full((3, 8, 9), value, np.uint8)
    assert image_quality(image) == Quality(0.0, 0.0, 0.0, 0.0)
    assert image_quality(image, np.eye(8, 9)).separation == 0.0


def test_small_and_nearly_constant_images_have_finite_numbers():
    nearly = np.zeros((1, 50, 50))
    nearly[0, 3, 3] = 1.0
    for image in (np.arange(4.0).reshape(1, 2, 2), nearly, -smooth_image(7)):
        assert np.isfinite(measured(image)).all()


def test_separation_is_otsus_criterion():
    image = np.random.default_rng(8).normal(size=(1, 40, 40))
    best = image_quality(image, image[0] > threshold_otsu(image[0])).separation
    others = [image_quality(image, image[0] > t).separation for t in (-1, -0.5, 0.5, 1)]
    assert best > max(others)
    shuffled = np.random.default_rng(9).random((40, 40)) > 0.5
    assert image_quality(image, shuffled).separation < 0.01
    assert image_quality(image, np.full((40, 40), 3)).separation == pytest.approx(0)


def test_every_number_has_a_meaning_and_survives_json():
    found = image_quality(smooth_image()).to_json()
    assert list(found) == list(QUALITY)
    assert json.loads(json.dumps(found)) == found
    assert found["separation"] is None


@pytest.mark.skipif(not MEMBRANES.is_dir(), reason=f"the real images are not at {MEMBRANES}")
def test_degrading_a_real_micrograph_moves_the_right_numbers():
    from maskwright.io.registry import read_image

    image = read_image(sorted((MEMBRANES / "images").iterdir())[0]).array.astype(float)
    clean = image_quality(image)
    noisy = image_quality(image + np.random.default_rng(0).normal(0, 30, image.shape))
    blurred = image_quality(gaussian_filter(image, (0, 2, 2)))
    assert noisy.noise > 1.5 * clean.noise > 3 * blurred.noise
    assert blurred.sharpness < 0.2 * clean.sharpness
    assert image_quality(image / 2 + 100).contrast < 0.6 * clean.contrast


@pytest.mark.parametrize("seed", [0, 1])
def test_the_p_value_of_few_points_is_that_of_scipys_permutation_test(seed):
    x, y = np.random.default_rng(seed).integers(0, 6, (2, 6))
    expected = permutation_test(
        (x,), lambda order: spearmanr(order, y).statistic, permutation_type="pairings"
    )
    assert trend(x, y).spearman == pytest.approx(expected.statistic)
    assert trend(x, y).p_value == pytest.approx(expected.pvalue)


def test_six_points_in_perfect_order_have_two_of_720_orders():
    assert trend(range(6), range(6)).p_value == pytest.approx(2 / 720)
    assert trend(range(6), range(6, 0, -1)).spearman == pytest.approx(-1)
    assert spearmanr(range(6), range(6)).pvalue == 0.0


def test_many_points_agree_with_scipy_and_say_so_in_words():
    x = np.random.default_rng(10).normal(size=40)
    falling = trend(x, -x + np.random.default_rng(11).normal(0, 0.1, 40))
    assert falling.sentence.startswith("y falls with x (rank correlation -")
    loose = trend(x, np.random.default_rng(12).normal(size=40))
    assert loose.p_value == pytest.approx(
        spearmanr(x, np.random.default_rng(12).normal(size=40)).pvalue
    )
    assert loose.sentence.startswith("y shows no clear trend with x")


def test_points_without_a_value_leave_and_too_few_have_no_correlation():
    x, y = [1, 2, 3, 4, 5, float("nan"), 7], [2, 1, 3, 5, float("nan"), 4, 6]
    assert trend(x, y).n == 5
    assert (trend(x, y).spearman, trend(x, y).p_value) == (None, None)
    assert "below 6 points (5 here)" in trend(x, y).sentence
    assert "the same in all 6 points" in trend([1] * 6, range(6)).sentence


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(DataError, match="quality-not-finite"):
        image_quality(np.array([[[1.0, np.nan]]]))
    with pytest.raises(DataError, match="mask-shape"):
        image_quality(np.zeros((1, 2, 3)), np.zeros((3, 2)))
    with pytest.raises(DataError, match="trend-length"):
        trend([1, 2], [1])
