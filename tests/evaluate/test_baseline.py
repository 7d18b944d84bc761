"""Otsu and k-means: against libraries, and their meaning learnt from training images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d, gaussian_filter
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans

from maskwright.errors import DataError
from maskwright.evaluate.baseline import (
    SAMPLE_PX,
    SLAB_FEATURES,
    _best_assignment,
    _features,
    _slabs,
    assign_to_classes,
    fit_baselines,
    kmeans,
    otsu,
)

VESSELS = Path(__file__).parents[3] / "shared" / "data" / "vessels"
ISOTROPIC = (1.0, 1.0)


def blobs(seed, levels=(60.0, 160.0), noise=12.0, size=64):
    """A striped image with one intensity for each class, and its classes."""
    generator = np.random.default_rng(seed)
    classes_YX = (np.indices((size, size)).sum(0) // 16) % len(levels)
    image_YX = np.array(levels)[classes_YX] + generator.normal(0, noise, (size, size))
    return image_YX[None], classes_YX.astype(np.uint8)


def test_otsu_cuts_at_the_threshold_of_scikit_image():
    image, _ = blobs(0)
    assert np.array_equal(otsu(image), image[0] > threshold_otsu(image[0]))


def test_a_constant_image_is_one_part():
    image = np.full((3, 20, 30), 7, np.uint8)
    assert not otsu(image).any()
    assert np.unique(kmeans(image, 3)).size == 1
    assert np.unique(kmeans(image, 3, filters=True)).size == 1
    rounded = np.full((1, 20, 30), 0.1)
    assert np.unique(kmeans(rounded, 3, filters=True)).size == 1


def test_clusters_are_numbered_from_dark_to_bright():
    image, classes = blobs(1, levels=(20.0, 200.0, 110.0), noise=3.0, size=96)
    clusters = kmeans(image, 3)
    means = [image[0][clusters == k].mean() for k in range(3)]
    assert means == sorted(means)
    assert np.mean(np.array([0, 2, 1])[classes] == clusters) > 0.8


@pytest.mark.parametrize("filters", [False, True])
def test_kmeans_reaches_the_inertia_of_scikit_learn(filters):
    image, _ = blobs(2, noise=25.0)
    features = _features(image, slice(0, 64), ISOTROPIC if filters else None).T
    features = (features - features.mean(0)) / features.std(0)
    labels = kmeans(image, 2, filters=filters).ravel()
    centres = np.stack([features[labels == k].mean(0) for k in range(2)])
    inertia = ((features - centres[labels]) ** 2).sum()
    reference = KMeans(2, n_init=5, random_state=0).fit(features).inertia_
    assert inertia <= 1.01 * reference


def test_the_filters_are_those_of_scipy():
    image = np.random.default_rng(0).normal(size=(2, 40, 50))
    features = _features(image, slice(0, 40), ISOTROPIC).reshape(8, 40, 50)
    for channel in (0, 1):
        plain, own = image[channel], features[2 + 3 * channel :][:3]
        assert np.allclose(features[channel], plain, atol=1e-6)
        assert np.allclose(own[0], gaussian_filter(plain, 1, truncate=3), atol=1e-5)
        assert np.allclose(own[1], gaussian_filter(plain, 3, truncate=3), atol=1e-5)
        across = [correlate1d(own[0], [-0.5, 0, 0.5], axis=axis) for axis in (0, 1)]
        inner = np.s_[1:-1, 1:-1]
        assert np.allclose(own[2][inner], np.hypot(*across)[inner], atol=1e-5)


@pytest.mark.parametrize("proportions", [(1.0, 1.0, 1.0), (0.25, 1.0, 1.0), (1.0, 0.5, 0.1)])
def test_a_volume_cut_into_slabs_has_the_same_features(proportions):
    volume = np.random.default_rng(1).normal(size=(2, 30, 9, 8)).astype(np.float32)
    whole = _features(volume, slice(0, 30), proportions).reshape(8, 30, -1)
    for slab in (slice(0, 1), slice(1, 8), slice(8, 30)):
        assert np.array_equal(
            _features(volume, slab, proportions).reshape(8, -1, 72), whole[:, slab]
        )


def test_slabs_cover_a_volume_once_and_hold_a_bounded_number_of_features():
    shape, features = (301, 700, 600), 4
    slabs = list(_slabs(shape, features))
    assert [k for slab in slabs for k in range(slab.start, slab.stop)] == list(range(301))
    assert len(slabs) > 1
    assert max(s.stop - s.start for s in slabs) * 700 * 600 * features <= SLAB_FEATURES


def test_filters_reach_equally_far_in_millimetres():
    volume = np.zeros((1, 15, 25, 25))
    volume[0, 7, 12, 12] = 1.0
    features = _features(volume, slice(0, 15), (0.5, 1.0, 1.0)).reshape(4, 15, 25, 25)
    smooth = features[2]
    # Two pixels of 1 mm are as far as one of 2 mm.
    assert smooth[7, 14, 12] / smooth[7, 12, 12] == pytest.approx(
        smooth[8, 12, 12] / smooth[7, 12, 12], rel=0.02
    )


def test_filters_see_through_noise_that_hides_the_classes_from_intensity():
    fitted = fit_baselines([blobs(seed, noise=60.0) for seed in range(2)], 2)
    image, classes = blobs(8, noise=60.0)
    predicted = fitted.predict(image)
    assert np.mean(predicted["kmeans"] == classes) < 0.85
    assert np.mean(predicted["kmeans on filters"] == classes) > 0.9


def test_the_same_seed_gives_the_same_clusters_on_an_image_larger_than_the_sample():
    image, _ = blobs(3, size=200)
    assert image.size > SAMPLE_PX
    for filters in (False, True):
        first, again = (kmeans(image, 2, seed=4, filters=filters) for _ in range(2))
        assert np.array_equal(first, again)


def test_every_baseline_takes_volumes_with_their_spacing():
    image, classes = blobs(6, noise=5.0)
    volume, truth = np.stack([image] * 4, axis=1), np.stack([classes] * 4)
    fitted = fit_baselines([(volume, truth, (3.0, 1.0, 1.0)), (volume, truth, None)], 2)
    predicted = fitted.predict(volume, (3.0, 1.0, 1.0))
    assert all(mask.shape == truth.shape for mask in predicted.values())
    assert all(
        np.mean(mask == truth) > 0.85
        for name, mask in predicted.items()
        if name != "commonest class"
    )


@pytest.mark.parametrize("spacing_mm", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, float("nan"))])
def test_a_spacing_that_does_not_fit_the_axes_is_refused(spacing_mm):
    with pytest.raises(DataError, match="spacing-axes"):
        kmeans(np.zeros((1, 4, 4)), 2, filters=True, spacing_mm=spacing_mm)


@pytest.mark.skipif(not VESSELS.is_dir(), reason=f"the real images are not at {VESSELS}")
def test_a_fundus_photograph_is_cut_by_every_baseline():
    from maskwright.io.registry import read_image, read_mask

    image = read_image(VESSELS / "images" / "Image_01L.jpg").array
    truth = read_mask(VESSELS / "masks" / "Image_01L_1stHO.png").array[0].astype(np.uint8)
    predicted = fit_baselines([(image, truth)], 2).predict(image)
    # Parts that are as large as the black surround score no better than chance on vessels.
    shares = {name: float(mask.mean()) for name, mask in predicted.items()}
    assert shares["commonest class"] == 0.0
    assert all(0.2 < shares[name] < 0.8 for name in ("otsu", "kmeans", "kmeans on filters"))


@pytest.mark.parametrize("levels", [(60.0, 160.0), (160.0, 60.0)])
def test_the_side_of_the_threshold_is_learnt_from_training_images(levels):
    fitted = fit_baselines((blobs(seed, levels) for seed in range(3)), 2)
    image, classes = blobs(9, levels)
    predicted = fitted.predict(image)
    assert set(predicted) == {"otsu", "kmeans", "kmeans on filters", "commonest class"}
    assert np.mean(predicted["otsu"] == classes) > 0.98
    assert np.mean(predicted["kmeans"] == classes) > 0.9
    assert np.unique(predicted["commonest class"]).size == 1
    assert all(mask.dtype == np.uint8 for mask in predicted.values())


def test_three_classes_get_three_clusters():
    levels = (200.0, 20.0, 110.0)
    fitted = fit_baselines([blobs(s, levels, 3.0, 96) for s in range(2)], 3, seed=1)
    image, classes = blobs(7, levels, 3.0, 96)
    assert np.mean(fitted.predict(image)["kmeans"] == classes) > 0.8


def test_the_commonest_class_is_counted_over_all_training_images():
    image = np.zeros((1, 4, 4))
    few, many = np.zeros((4, 4), int), np.ones((4, 4), int)
    assert fit_baselines([(image, few), (image, many), (image, many)], 2).commonest == 1


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_no_other_assignment_of_both_classes_has_a_better_mean_dice(seed):
    generator = np.random.default_rng(seed)
    truth, parts = generator.integers(0, 2, (2, 3, 40))
    tables = np.stack(
        [
            np.array([[np.sum((t == k) & (p == j)) for j in (0, 1)] for k in (0, 1)])
            for t, p in zip(truth, parts, strict=True)
        ]
    )

    def mean_dice(assignment):
        predicted = assign_to_classes(parts, assignment)
        both = (predicted == 1).sum(1) + (truth == 1).sum(1)
        common = ((predicted == 1) & (truth == 1)).sum(1)
        return np.where(both == 0, 1.0, 2 * common / np.maximum(both, 1)).mean()

    chosen = mean_dice(_best_assignment(tables))
    assert chosen == pytest.approx(max(mean_dice((0, 1)), mean_dice((1, 0))))


def test_a_clustering_never_puts_every_part_into_the_commonest_class():
    # Almost everything is class 1: that alone would have the best Dice.
    tables = np.array([[[3, 2], [40, 55]]])
    assert len(set(_best_assignment(tables))) == 2


def test_many_classes_fall_back_to_the_majority_of_each_part():
    tables = np.eye(7, dtype=np.int64)[None, [1, 0, 2, 3, 4, 5, 6]]
    assert _best_assignment(tables) == (1, 0, 2, 3, 4, 5, 6)


def test_no_training_image_is_refused():
    with pytest.raises(DataError, match="baseline-no-training"):
        fit_baselines([], 2)
