"""What needs no network: Otsu's threshold, k-means, and the commonest class.

These methods cut each image into parts without looking at a mask. Parts carry no class names, so
they are numbered from dark to bright, and the training images decide once which number means
which class. The result is the score to beat with a trained network.

Images are ``(C, Y, X)`` or ``(C, Z, Y, X)``; any number of spatial axes will do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.confusion import count_confusion

# Enough pixels to place a handful of centres; more only costs time.
SAMPLE_PX = 20_000
SIGMAS_PX = (1.0, 3.0)
# Where the Gaussian is cut off, in standard deviations.
_TRUNCATE = 3.0
# Keeps the features of a slab at 256 MiB, so that a volume of any size can be clustered.
SLAB_FEATURES = 1 << 26
# Up to five parts and classes every assignment is tried; beyond, each part goes to its majority.
MAX_ASSIGNMENTS = 5**5

Spacing = Sequence[float] | None
TrainingImage = (
    tuple[NDArray[Any], NDArray[Any]]
    | tuple[NDArray[Any], NDArray[Any], Spacing]
    | tuple[NDArray[Any], NDArray[Any], Spacing, NDArray[np.bool_] | None]
)


def otsu(image_CYX: NDArray[Any]) -> NDArray[np.uint8]:
    """Cut an image at the threshold that separates dark and bright best.

    The threshold maximises the variance between the two sides; channels are averaged.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.

    Returns:
        0 on the dark side, 1 on the bright side, shape ``(Y, X)`` or ``(Z, Y, X)``; all 0 for a
        constant image.

    Source: Otsu 1979, IEEE Transactions on Systems, Man and Cybernetics 9:62.

    Example:
        >>> otsu(np.array([[[1, 2, 9], [1, 9, 8]]])).tolist()
        [[0, 0, 1], [0, 1, 1]]
    """
    from skimage.filters import threshold_otsu

    grey_YX = image_CYX[0] if image_CYX.shape[0] == 1 else image_CYX.mean(0, dtype=np.float32)
    threshold = float(threshold_otsu(grey_YX))  # type: ignore[no-untyped-call]
    return np.asarray(grey_YX > threshold, np.uint8)


def kmeans(
    image_CYX: NDArray[Any],
    clusters: int,
    seed: int = 0,
    *,
    filters: bool = False,
    spacing_mm: Spacing = None,
) -> NDArray[np.uint8]:
    """Cluster the pixels by intensity, or by intensity and a few filters of it.

    The filters are, for each channel, two Gaussian-smoothed copies (1 and 3 px) and the size of
    the gradient of the finer one. Each feature is scaled to unit variance. Lloyd's iteration
    runs on a random sample of pixels and starts from quantiles of the brightness; then every
    pixel joins its nearest centre. Large images are taken slab by slab, which changes nothing.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        clusters: Number of clusters, at most 255.
        seed: Seed of the sample.
        filters: Whether the filters are features too.
        spacing_mm: Pixel size along each spatial axis; only its proportions count. Filters reach
            equally far in all directions, in pixels of the finest axis. ``None`` takes pixels
            as equal on all sides.

    Returns:
        Cluster of each pixel, numbered from dark to bright, shape of the image without channels.

    Raises:
        DataError: When the spacing does not fit the axes.

    Source: Lloyd 1982, IEEE Transactions on Information Theory 28:129.

    Example:
        >>> image = np.repeat([[0.0, 5.0, 9.0]], 4, axis=0).repeat(8, axis=1)[None]
        >>> kmeans(image, 3)[0, [0, 12, 20]].tolist()
        [0, 1, 2]
    """
    shape = image_CYX.shape[1:]
    proportions = _proportions(spacing_mm, len(shape)) if filters else None
    slabs = list(_slabs(shape, image_CYX.shape[0] * (len(SIGMAS_PX) + 2 if filters else 1)))
    whole_FN = _features(image_CYX, slabs[0], proportions) if len(slabs) == 1 else None

    def features_of(slab: slice) -> NDArray[np.float32]:
        return _features(image_CYX, slab, proportions) if whole_FN is None else whole_FN

    size, row_px = int(np.prod(shape)), int(np.prod(shape[1:]))
    chosen = np.arange(size)
    if size > SAMPLE_PX:
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(size, SAMPLE_PX, replace=False, shuffle=False))
    parts_FN = []
    for slab in slabs:
        begin, end = np.searchsorted(chosen, (slab.start * row_px, slab.stop * row_px))
        parts_FN.append(features_of(slab)[:, chosen[begin:end] - slab.start * row_px])
    sample_FN = np.concatenate(parts_FN, axis=1)
    shift_F1 = sample_FN.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    spread_F1 = sample_FN.std(1, keepdims=True, dtype=np.float64).astype(np.float32)
    # A feature that varies by rounding only must not be blown up to unit variance.
    spread_F1[spread_F1 <= 1e-6 * np.abs(sample_FN).max()] = 1.0
    centres_KF = _lloyd((sample_FN - shift_F1) / spread_F1, clusters, image_CYX.shape[0])
    clusters_YX = np.empty(shape, np.uint8)
    for slab in slabs:
        features_FN = features_of(slab)
        features_FN -= shift_F1
        features_FN /= spread_F1
        clusters_YX[slab] = _nearest(features_FN, centres_KF).reshape(clusters_YX[slab].shape)
    return clusters_YX


def _lloyd(sample_FN: NDArray[np.float32], clusters: int, channels: int) -> NDArray[np.float32]:
    """Centres from dark to bright; the first ``channels`` features are the intensities."""
    order = np.argsort(sample_FN[:channels].mean(0), kind="stable")
    starts = (np.arange(clusters) + 0.5) / clusters * order.size
    centres_KF = sample_FN.T[order[starts.astype(int)]]
    for _ in range(50):
        nearest_N = _nearest(sample_FN, centres_KF)
        members_K = np.bincount(nearest_N, minlength=clusters)
        sums_KF = np.stack([np.bincount(nearest_N, row_N, clusters) for row_N in sample_FN], axis=1)
        # A cluster without members keeps its centre.
        moved_KF = np.where(
            members_K[:, None] > 0, sums_KF / np.maximum(members_K, 1)[:, None], centres_KF
        ).astype(np.float32)
        if np.allclose(moved_KF, centres_KF, atol=1e-4):
            break
        centres_KF = moved_KF
    bright_K = centres_KF[:, :channels].mean(1)
    ordered_KF: NDArray[np.float32] = centres_KF[np.argsort(bright_K, kind="stable")]
    return ordered_KF


def _nearest(
    features_FN: NDArray[np.float32], centres_KF: NDArray[np.float32]
) -> NDArray[np.uint8]:
    # |x − c|² without |x|², which is the same for every centre.
    constant_K = (centres_KF**2).sum(1)
    nearest_N = np.zeros(features_FN.shape[1], np.uint8)
    least_N = centres_KF[0] @ features_FN * -2 + constant_K[0]
    for k in range(1, len(centres_KF)):
        distance_N = centres_KF[k] @ features_FN * -2 + constant_K[k]
        nearest_N[distance_N < least_N] = k
        np.minimum(least_N, distance_N, out=least_N)
    return nearest_N


def _slabs(shape: tuple[int, ...], features: int) -> Iterator[slice]:
    """Cut the first spatial axis so that the features of a slab stay in bounds."""
    rows = max(1, SLAB_FEATURES // max(1, features * int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def _features(
    image_CYX: NDArray[Any], slab: slice, proportions: tuple[float, ...] | None
) -> NDArray[np.float32]:
    """Features of a slab, shape (features, pixels): the intensities, then the filters if any."""
    if proportions is None:
        return image_CYX[:, slab].astype(np.float32).reshape(image_CYX.shape[0], -1)
    from scipy.ndimage import gaussian_filter

    # The widest filter, and one row more for the differences of the finest.
    reach = int(_TRUNCATE * max(SIGMAS_PX) * proportions[0] + 0.5) + 1
    start = max(slab.start - reach, 0)
    inner = slice(slab.start - start, slab.stop - start)
    plain: list[NDArray[np.float32]] = []
    filtered: list[NDArray[np.float32]] = []
    for channel_YX in image_CYX:
        wide_YX = channel_YX[start : slab.stop + reach].astype(np.float32)
        plain.append(wide_YX[inner].ravel())
        smooth: list[NDArray[np.float32]] = [
            gaussian_filter(wide_YX, [sigma * p for p in proportions], truncate=_TRUNCATE)
            for sigma in SIGMAS_PX
        ]
        squares_YX = np.zeros_like(wide_YX)
        for axis, proportion in enumerate(proportions):
            if wide_YX.shape[axis] > 1:
                squares_YX += (np.gradient(smooth[0], axis=axis) * np.float32(proportion)) ** 2
        filtered += [copy_YX[inner].ravel() for copy_YX in (*smooth, np.sqrt(squares_YX))]
    return np.stack([*plain, *filtered])


def _proportions(spacing_mm: Spacing, axes: int) -> tuple[float, ...]:
    """Pixels of each axis that are as long as one pixel of the finest axis."""
    if spacing_mm is None:
        return (1.0,) * axes
    if len(spacing_mm) != axes or not all(0 < mm < np.inf for mm in spacing_mm):
        raise DataError(
            "spacing-axes",
            "spacing",
            expected=f"{axes} positive numbers, one for each spatial axis",
            found=str(tuple(spacing_mm)),
            remedy="give the pixel size along each axis, or leave it out",
        )
    return tuple(min(spacing_mm) / mm for mm in spacing_mm)


def assign_to_classes(partition_YX: NDArray[Any], classes_of: Sequence[int]) -> NDArray[np.uint8]:
    """Replace the number of each part by the class it stands for.

    Args:
        partition_YX: Part of each pixel, any shape.
        classes_of: Class id of each part.

    Returns:
        Class ids, same shape.

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
        kmeans_classes: Class of each cluster of intensities, from dark to bright.
        filters_classes: Class of each cluster of filters, from dark to bright.
        commonest: The class with the most training pixels.
        seed: Seed of the sample that k-means sees.
    """

    otsu_classes: tuple[int, ...]
    kmeans_classes: tuple[int, ...]
    filters_classes: tuple[int, ...]
    commonest: int
    seed: int = 0

    def predict(
        self, image_CYX: NDArray[Any], spacing_mm: Spacing = None
    ) -> dict[str, NDArray[np.uint8]]:
        """Class ids of every baseline for one image.

        Args:
            image_CYX: Intensities, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
            spacing_mm: Pixel size along each spatial axis, see :func:`kmeans`.

        Returns:
            Class ids, shape of the image without channels, under ``otsu``, ``kmeans``,
            ``kmeans on filters`` and ``commonest class``.
        """
        classes_of = (self.otsu_classes, self.kmeans_classes, self.filters_classes)
        parts = _partitions(image_CYX, len(self.kmeans_classes), self.seed, spacing_mm)
        return {
            **{
                name: assign_to_classes(partition_YX, assigned)
                for (name, partition_YX), assigned in zip(parts, classes_of, strict=True)
            },
            "commonest class": np.full(image_CYX.shape[1:], self.commonest, np.uint8),
        }


def _partitions(
    image_CYX: NDArray[Any], classes: int, seed: int, spacing_mm: Spacing
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Every baseline that cuts an image into parts, in the order of their names' columns."""
    yield "otsu", otsu(image_CYX)
    yield "kmeans", kmeans(image_CYX, classes, seed)
    yield "kmeans on filters", kmeans(image_CYX, classes, seed, filters=True, spacing_mm=spacing_mm)


def fit_baselines(train: Iterable[TrainingImage], classes: int, seed: int = 0) -> Baselines:
    """Learn from training images which part means which class.

    The assignment with the best mean Dice of the classes 1 and above is kept, among those that use
    at least two classes; only the training images are looked at.

    Args:
        train: For each image its array, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``, its class ids
            of the same shape without channels, and where they are known its spacing and where
            pixels count.
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
    tables: dict[str, list[NDArray[np.int64]]] = {}
    for example in train:
        image_CYX, classes_YX = example[0], example[1]
        spacing_mm = example[2] if len(example) > 2 else None
        valid_YX = example[3] if len(example) > 3 else None
        for name, partition_YX in _partitions(image_CYX, classes, seed, spacing_mm):
            # Rows are classes, columns parts; Otsu has two parts even where there is one class.
            table_KP = count_confusion(partition_YX, classes_YX, max(classes, 2), valid_YX)
            table_KP = table_KP[:classes]
            tables.setdefault(name, []).append(table_KP[:, : 2 if name == "otsu" else classes])
    if not tables:
        raise DataError(
            "baseline-no-training",
            "baselines",
            expected="at least one training image",
            found="none",
            remedy="put at least one case into the training part of the split",
        )
    tables_NKP = [np.stack(by_image) for by_image in tables.values()]
    commonest = int(tables_NKP[0].sum((0, 2)).argmax())
    otsu_classes, kmeans_classes, filters_classes = map(_best_assignment, tables_NKP)
    return Baselines(otsu_classes, kmeans_classes, filters_classes, commonest, seed)


def _best_assignment(tables_NKP: NDArray[np.int64]) -> tuple[int, ...]:
    """Class of each part with the best Dice, mean over images and the classes above 0.

    All parts in one class would be no clustering but the commonest class, which stands beside it.
    """
    _, classes, parts = tables_NKP.shape
    majority = tuple(int(k) for k in tables_NKP.sum(0).argmax(0))
    if classes**parts > MAX_ASSIGNMENTS:
        return majority
    true_NK = tables_NKP.sum(2)
    best, best_score = majority, -1.0
    for assignment in itertools.product(range(classes), repeat=parts):
        if len(set(assignment)) == 1:
            continue
        chosen_KP = np.equal.outer(np.arange(classes), assignment)
        tp_NK = (tables_NKP * chosen_KP).sum(2)
        predicted_NK = tables_NKP.sum(1) @ chosen_KP.T
        both_NK = predicted_NK + true_NK
        dice_NK = np.where(both_NK == 0, 1.0, 2 * tp_NK / np.maximum(both_NK, 1))
        score = float(dice_NK[:, 1:].mean())
        if score > best_score + 1e-12:
            best, best_score = assignment, score
    return best
