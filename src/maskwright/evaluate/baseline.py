"""What needs no network: Otsu's threshold, k-means, and the commonest class.

Both methods cut each image into parts without looking at a mask. Parts carry no class names, so
they are numbered from dark to bright, and the training images decide once which number means
which class. The result is the score to beat with a trained network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.confusion import count_confusion

# Enough pixels to place a handful of centres; more only costs time.
SAMPLE_PX = 20_000
SIGMAS_PX = (1.0, 2.0)
# Up to five parts and classes every assignment is tried; beyond, each part goes to its majority.
MAX_ASSIGNMENTS = 5**5


def otsu(image_CYX: NDArray[Any]) -> NDArray[np.uint8]:
    """Cut an image at the threshold that separates dark and bright best.

    The threshold maximises the variance between the two sides; channels are averaged.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)``.

    Returns:
        0 on the dark side, 1 on the bright side, shape ``(Y, X)``; all 0 for a constant image.

    Source: Otsu 1979, IEEE Transactions on Systems, Man and Cybernetics 9:62.

    Example:
        >>> otsu(np.array([[[1, 2, 9], [1, 9, 8]]])).tolist()
        [[0, 0, 1], [0, 1, 1]]
    """
    from skimage.filters import threshold_otsu

    grey_YX = image_CYX[0] if image_CYX.shape[0] == 1 else image_CYX.mean(0, dtype=np.float32)
    threshold = float(threshold_otsu(grey_YX))  # type: ignore[no-untyped-call]
    return np.asarray(grey_YX > threshold, np.uint8)


def kmeans(image_CYX: NDArray[Any], clusters: int, seed: int = 0) -> NDArray[np.uint8]:
    """Cluster the pixels by intensity and by two smoothed copies of it.

    Each feature is scaled to unit variance. Lloyd's iteration runs on a random sample of pixels
    and starts from quantiles of the brightness; then every pixel joins its nearest centre.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)``.
        clusters: Number of clusters.
        seed: Seed of the sample.

    Returns:
        Cluster of each pixel, numbered from dark to bright, shape ``(Y, X)``.

    Source: Lloyd 1982, IEEE Transactions on Information Theory 28:129.

    Example:
        >>> image = np.repeat([[0.0, 5.0, 9.0]], 4, axis=0).repeat(8, axis=1)[None]
        >>> kmeans(image, 3)[0, [0, 12, 20]].tolist()
        [0, 1, 2]
    """
    features_NF = _features(image_CYX)
    size = features_NF.shape[0]
    generator = np.random.default_rng(seed)
    chosen = generator.choice(size, SAMPLE_PX, replace=False) if size > SAMPLE_PX else np.s_[:]
    sample_NF = features_NF[chosen]
    brightness_N = sample_NF.mean(1)
    order = np.argsort(brightness_N, kind="stable")
    starts = (np.arange(clusters) + 0.5) / clusters * order.size
    centres_KF = sample_NF[order[starts.astype(int)]]
    for _ in range(50):
        nearest_N = _nearest(sample_NF, centres_KF)
        members_K = np.bincount(nearest_N, minlength=clusters)
        sums_KF = np.stack(
            [np.bincount(nearest_N, column, clusters) for column in sample_NF.T], axis=1
        )
        # A cluster without members keeps its centre.
        moved_KF = np.where(
            members_K[:, None] > 0, sums_KF / np.maximum(members_K, 1)[:, None], centres_KF
        ).astype(np.float32)
        if np.allclose(moved_KF, centres_KF, atol=1e-4):
            break
        centres_KF = moved_KF
    centres_KF = centres_KF[np.argsort(centres_KF.mean(1), kind="stable")]
    clusters_YX: NDArray[np.uint8] = _nearest(features_NF, centres_KF).reshape(image_CYX.shape[1:])
    return clusters_YX


def _features(image_CYX: NDArray[Any]) -> NDArray[np.float32]:
    """Standardised intensities, as they are and smoothed, shape (pixels, features)."""
    from scipy.ndimage import gaussian_filter

    columns: list[NDArray[np.float32]] = []
    for channel_YX in image_CYX:
        plain_YX = channel_YX.astype(np.float32)
        spread = float(plain_YX.std()) or 1.0
        plain_YX = (plain_YX - plain_YX.mean()) / spread
        columns.append(plain_YX.ravel())
        for sigma_px in SIGMAS_PX:
            smooth_YX: NDArray[np.float32] = gaussian_filter(plain_YX, sigma_px)
            columns.append((smooth_YX / (float(smooth_YX.std()) or 1.0)).ravel())
    return np.stack(columns, axis=1)


def _nearest(features_NF: NDArray[np.float32], centres_KF: NDArray[Any]) -> NDArray[np.uint8]:
    # |x − c|² without |x|², which is the same for every centre.
    centres_KF = centres_KF.astype(np.float32)
    distances_NK = features_NF @ (-2.0 * centres_KF.T) + (centres_KF**2).sum(1)
    nearest_N: NDArray[np.uint8] = distances_NK.argmin(1).astype(np.uint8)
    return nearest_N


def assign_to_classes(partition_YX: NDArray[Any], classes_of: Sequence[int]) -> NDArray[np.uint8]:
    """Replace the number of each part by the class it stands for.

    Args:
        partition_YX: Part of each pixel, shape ``(Y, X)``.
        classes_of: Class id of each part.

    Returns:
        Class ids, shape ``(Y, X)``.

    Example:
        >>> assign_to_classes(np.array([[0, 1]]), (1, 0)).tolist()
        [[1, 0]]
    """
    classes_YX: NDArray[np.uint8] = np.asarray(classes_of, np.uint8)[partition_YX]
    return classes_YX


@dataclass(frozen=True)
class Baselines:
    """Baselines with the meaning of their parts, learnt from the training images.

    Args:
        otsu_classes: Class of the dark and of the bright side of Otsu's threshold.
        kmeans_classes: Class of each cluster, from dark to bright.
        commonest: The class with the most training pixels.
        seed: Seed of the sample that k-means sees.
    """

    otsu_classes: tuple[int, ...]
    kmeans_classes: tuple[int, ...]
    commonest: int
    seed: int = 0

    def predict(self, image_CYX: NDArray[Any]) -> dict[str, NDArray[np.uint8]]:
        """Class ids of every baseline for one image.

        Args:
            image_CYX: Intensities, shape ``(C, Y, X)``.

        Returns:
            Class ids, shape ``(Y, X)``, under ``otsu``, ``kmeans`` and ``commonest class``.
        """
        clusters_YX = kmeans(image_CYX, len(self.kmeans_classes), self.seed)
        return {
            "otsu": assign_to_classes(otsu(image_CYX), self.otsu_classes),
            "kmeans": assign_to_classes(clusters_YX, self.kmeans_classes),
            "commonest class": np.full(image_CYX.shape[1:], self.commonest, np.uint8),
        }


def fit_baselines(
    train: Iterable[tuple[NDArray[Any], NDArray[Any]]], classes: int, seed: int = 0
) -> Baselines:
    """Learn from training images which part means which class.

    The assignment with the best mean Dice of the classes 1 and above is kept; only the training
    images are looked at.

    Args:
        train: Pairs of an image, shape ``(C, Y, X)``, and its class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        seed: Seed of the sample that k-means sees.

    Returns:
        The fitted baselines.

    Raises:
        DataError: Without any training image, or when an image and its mask differ in size.

    Example:
        >>> image = np.array([[[9, 1, 1], [9, 1, 1]]])
        >>> fit_baselines([(image, np.array([[0, 1, 1], [0, 1, 1]]))], 2).otsu_classes
        (1, 0)
    """
    otsu_tables: list[NDArray[np.int64]] = []
    kmeans_tables: list[NDArray[np.int64]] = []
    parts = max(classes, 2)
    for image_CYX, classes_YX in train:
        for tables, partition_YX in (
            (otsu_tables, otsu(image_CYX)),
            (kmeans_tables, kmeans(image_CYX, classes, seed)),
        ):
            # Rows are classes, columns parts.
            tables.append(count_confusion(partition_YX, classes_YX, parts)[:classes])
    if not otsu_tables:
        raise DataError(
            "baseline-no-training",
            "baselines",
            expected="at least one training image",
            found="none",
            remedy="put at least one case into the training part of the split",
        )
    commonest = int(np.sum(otsu_tables, axis=0).sum(1).argmax())
    return Baselines(
        _best_assignment(np.stack(otsu_tables)[:, :, :2]),
        _best_assignment(np.stack(kmeans_tables)[:, :, :classes]),
        commonest,
        seed,
    )


def _best_assignment(tables_NKP: NDArray[np.int64]) -> tuple[int, ...]:
    """Class of each part with the best Dice, mean over images and the classes above 0."""
    _, classes, parts = tables_NKP.shape
    majority = tuple(int(k) for k in tables_NKP.sum(0).argmax(0))
    if classes**parts > MAX_ASSIGNMENTS:
        return majority
    true_NK = tables_NKP.sum(2)
    best, best_score = majority, -1.0
    for assignment in itertools.product(range(classes), repeat=parts):
        chosen_KP = np.equal.outer(np.arange(classes), assignment)
        tp_NK = (tables_NKP * chosen_KP).sum(2)
        predicted_NK = tables_NKP.sum(1) @ chosen_KP.T
        both_NK = predicted_NK + true_NK
        dice_NK = np.where(both_NK == 0, 1.0, 2 * tp_NK / np.maximum(both_NK, 1))
        score = float(dice_NK[:, 1:].mean())
        if score > best_score + 1e-12:
            best, best_score = assignment, score
    return best
