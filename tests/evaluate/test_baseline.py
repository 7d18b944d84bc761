"""Otsu and k-means: against libraries, and their meaning learnt from training images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans

from maskwright.errors import DataError
from maskwright.evaluate.baseline import (
    _best_assignment,
    _features,
    assign_to_classes,
    fit_baselines,
    kmeans,
    otsu,
)


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


def test_clusters_are_numbered_from_dark_to_bright():
    image, classes = blobs(1, levels=(20.0, 200.0, 110.0), noise=3.0, size=96)
    clusters = kmeans(image, 3)
    means = [image[0][clusters == k].mean() for k in range(3)]
    assert means == sorted(means)
    assert np.mean(np.array([0, 2, 1])[classes] == clusters) > 0.8


def test_kmeans_reaches_the_inertia_of_scikit_learn():
    image, _ = blobs(2, noise=25.0)
    features = _features(image)
    labels = kmeans(image, 2).ravel()
    centres = np.stack([features[labels == k].mean(0) for k in range(2)])
    inertia = ((features - centres[labels]) ** 2).sum()
    reference = KMeans(2, n_init=5, random_state=0).fit(features).inertia_
    assert inertia <= 1.01 * reference


def test_the_same_seed_gives_the_same_clusters_on_an_image_larger_than_the_sample():
    image, _ = blobs(3, size=200)
    assert np.array_equal(kmeans(image, 2, seed=4), kmeans(image, 2, seed=4))


@pytest.mark.parametrize("levels", [(60.0, 160.0), (160.0, 60.0)])
def test_the_side_of_the_threshold_is_learnt_from_training_images(levels):
    fitted = fit_baselines((blobs(seed, levels) for seed in range(3)), 2)
    image, classes = blobs(9, levels)
    predicted = fitted.predict(image)
    assert set(predicted) == {"otsu", "kmeans", "commonest class"}
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
def test_no_other_assignment_has_a_better_mean_dice(seed):
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
    others = [mean_dice((a, b)) for a in (0, 1) for b in (0, 1)]
    assert chosen == pytest.approx(max(others))


def test_many_classes_fall_back_to_the_majority_of_each_part():
    tables = np.eye(7, dtype=np.int64)[None, [1, 0, 2, 3, 4, 5, 6]]
    assert _best_assignment(tables) == (1, 0, 2, 3, 4, 5, 6)


def test_no_training_image_is_refused():
    with pytest.raises(DataError, match="baseline-no-training"):
        fit_baselines([], 2)
