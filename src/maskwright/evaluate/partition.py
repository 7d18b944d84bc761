"""Partitions of an image into segments: whether prediction and truth part it in the same way.

Made for electron micrographs of nerve tissue, where cells fill the image and membranes part
them. One lost membrane pixel can join two cells: hardly visible in overlap, plain here. All
inputs are label images, 0 being membrane; :func:`segments` makes them from masks.

V-Rand and V-Info look at the truth's foreground only. Every pixel there that was predicted as
membrane counts as a segment of its own. A truth without foreground leaves nothing to part; the
house rule for empty masks then holds: 1 where the prediction is empty too, otherwise 0 (the
reference divides by 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.masks import check_shape
from maskwright.evaluate.thinning import segments, thin

__all__ = [
    "Overlaps",
    "PartitionScore",
    "count_overlaps",
    "inside_labels",
    "segments",
    "thin",
    "v_info",
    "v_rand",
    "variation_of_information",
]

# Ids below this can be combined in pairs without leaving 64 bits.
_ID_LIMIT = 1 << 31


@dataclass(frozen=True)
class PartitionScore:
    """How well a partition agrees with the truth; each score from 0 to 1, 1 is best.

    Args:
        merge: Falls where the prediction joins what is apart in the truth (like precision).
        split: Falls where it parts what is one in the truth (like recall).
        f: Harmonic mean of both, 0 where both are 0.
    """

    merge: float
    split: float
    f: float


def v_rand(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> PartitionScore:
    """Foreground-restricted Rand score: merge AB / B, split AB / A, and their harmonic mean.

    With n foreground pixels of the truth and p = count / n: AB = Σ p_ij² + p₀/n, A = Σ a_i²,
    B = Σ b_j² + p₀/n, where p₀ is the share that was predicted as membrane. Each from 0 to 1.
    Empty truth: 1 where the prediction is empty too, otherwise 0.

    Args:
        prediction: Predicted segments, integer ids, any shape, 0 is membrane.
        truth: True segments, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The scores; ``f`` is V-Rand.

    Raises:
        DataError: If the shapes differ, or an image holds no ids or negative ones.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142; ``RandError`` of
    Fiji's Trainable Segmentation.

    Example:
        >>> v_rand(np.array([1, 0, 2, 2]), np.array([1, 1, 2, 2]))
        PartitionScore(merge=1.0, split=0.75, f=0.857...)
    """
    table = _foreground_overlaps(prediction, truth, valid)
    if isinstance(table, PartitionScore):
        return table
    both = int(np.dot(table.joint, table.joint)) + table.alone
    true = int(np.dot(table.true, table.true))
    predicted = int(np.dot(table.predicted, table.predicted)) + table.alone
    return _score(both / predicted, both / true)


def v_info(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> PartitionScore:
    """Foreground-restricted information score: merge I / H(T), split I / H(S).

    I is the mutual information of the truth T and the prediction S, H their entropies, with the
    same segments of one pixel as in :func:`v_rand`. Where H(T) is 0 (one true segment) nothing
    can be merged wrongly and merge is 1; where H(S) is 0 nothing is split and split is 1. So a
    perfect slice of a single segment scores 1, where the reference returns 0; every other case
    is as there. Each from 0 to 1. Empty truth: 1 where the prediction is empty too, otherwise 0.

    Args:
        prediction: Predicted segments, integer ids, any shape, 0 is membrane.
        truth: True segments, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The scores; ``f`` is V-Info.

    Raises:
        DataError: If the shapes differ, or an image holds no ids or negative ones.

    Source: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142;
    ``VariationOfInformation`` of Fiji's Trainable Segmentation.

    Example:
        >>> v_info(np.array([1, 0, 2, 2]), np.array([1, 1, 2, 2]))
        PartitionScore(merge=1.0, split=0.666..., f=0.8)
    """
    table = _foreground_overlaps(prediction, truth, valid)
    if isinstance(table, PartitionScore):
        return table
    n = int(table.true.sum())
    true_of_alone = table.true - np.bincount(
        table.joint_true, weights=table.joint, minlength=table.true.size
    )
    entropy_true = _entropy(table.true, n)
    entropy_predicted = _entropy(table.predicted, n) + table.alone / n * math.log2(n)
    merged = _entropy_within(table.joint, table.predicted[table.joint_predicted], n)
    parted = _entropy_within(table.joint, table.true[table.joint_true], n)
    parted += float(np.dot(true_of_alone, np.log2(table.true))) / n
    return _score(
        max(0.0, 1.0 - merged / entropy_true) if entropy_true else 1.0,
        max(0.0, 1.0 - parted / entropy_predicted) if entropy_predicted else 1.0,
    )


def variation_of_information(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Conditional entropies H(S | T) and H(T | S) in bits, from 0 (best) upwards.

    The first measures wrong splits, the second wrong mergers, their sum is the variation of
    information. Nothing is left out and 0 is a segment like any other, as in
    ``skimage.metrics.variation_of_information(truth, prediction)``, which returns the two in
    this order. No pixel at all: both 0.

    Args:
        prediction: Predicted segments S, integer ids, any shape.
        truth: True segments T, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        H(S | T) and H(T | S).

    Raises:
        DataError: If the shapes differ, or an image holds no ids or negative ones.

    Source: Meilă 2007, Journal of Multivariate Analysis 98:873.

    Example:
        >>> variation_of_information(np.array([1, 1, 2, 3]), np.array([1, 1, 2, 2]))
        (0.5, 0.0)
    """
    predicted_ids, true_ids = inside_labels(prediction, truth, valid)
    table = count_overlaps(predicted_ids, true_ids)
    n = true_ids.size
    return (
        _entropy_within(table.joint, table.true[table.joint_true], n),
        _entropy_within(table.joint, table.predicted[table.joint_predicted], n),
    )


@dataclass(frozen=True)
class Overlaps:
    """Pixel counts of every pair of segments that meet; absent pairs take no space.

    Args:
        joint: Pixels of each pair.
        joint_true: Its true segment, as an index into ``true``.
        joint_predicted: Its predicted segment, as an index into ``predicted``.
        true: Pixels of each true segment.
        predicted: Pixels of each predicted segment.
        alone: Pixels that form a predicted segment of their own.
    """

    joint: NDArray[np.int64]
    joint_true: NDArray[np.intp]
    joint_predicted: NDArray[np.intp]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    alone: int = 0


def count_overlaps(prediction: NDArray[Any], truth: NDArray[Any], alone: bool = False) -> Overlaps:
    """Count the pixels of every pair of segments.

    Args:
        prediction: Predicted ids, one-dimensional, 0 or above.
        truth: True ids, same length.
        alone: Whether each pixel predicted as 0 is a segment of its own; otherwise 0 is a
            segment like any other.

    Returns:
        The counts.

    Example:
        >>> count_overlaps(np.array([1, 1, 0]), np.array([1, 2, 2])).joint.tolist()
        [1, 1, 1]
    """
    predicted_ids, true_ids = _compact(prediction), _compact(truth)
    width = int(predicted_ids.max(initial=0)) + 1
    keys = true_ids * width + predicted_ids
    # Neighbours mostly agree: sorting stretches of equal pairs is cheaper than sorting pixels.
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    pairs, of_stretch = np.unique(keys[begins], return_inverse=True)
    joint = _summed(np.diff(begins, append=keys.size), of_stretch)
    pair_true, pair_predicted = np.divmod(pairs, width)
    _, joint_true = np.unique(pair_true, return_inverse=True)
    true = _summed(joint, joint_true)
    shared = pair_predicted != 0 if alone else np.ones(pairs.shape, np.bool_)
    joint_true, joint_shared = joint_true[shared], joint[shared]
    _, joint_predicted = np.unique(pair_predicted[shared], return_inverse=True)
    predicted = _summed(joint_shared, joint_predicted)
    rest = int(joint.sum() - joint_shared.sum())
    return Overlaps(joint_shared, joint_true, joint_predicted, true, predicted, rest)


def inside_labels(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ids of both label images inside the region of interest, in one dimension.

    Args:
        prediction: Predicted segments, integer ids, any shape.
        truth: True segments, same shape.
        valid: Where True the pixel counts; ``None`` counts all.

    Returns:
        Predicted ids and true ids.

    Raises:
        DataError: If the shapes differ, or an image holds no ids or negative ones.

    Example:
        >>> both = np.array([[1, 2]])
        >>> [ids.tolist() for ids in inside_labels(both, both, both > 1)]
        [[2], [2]]
    """
    images = {"prediction": np.asarray(prediction), "truth": np.asarray(truth)}
    shape = images["truth"].shape
    check_shape(images["prediction"], "prediction", shape)
    inside = None
    if valid is not None:
        check_shape(np.asarray(valid), "region of interest", shape)
        inside = np.asarray(valid, np.bool_)
    for name, image in images.items():
        if not np.issubdtype(image.dtype, np.integer):
            raise DataError(
                "partition-dtype",
                name,
                expected="a label image, one integer id for each segment",
                found=f"an array of {image.dtype}",
                remedy="number the pieces of a mask with segments() first",
            )
        if image.size and int(image.min()) < 0:
            raise DataError(
                "partition-negative",
                name,
                expected="ids from 0 upwards",
                found=str(image.min()),
                remedy="give the background the id 0",
            )
    predicted, true = images["prediction"], images["truth"]
    if inside is None:
        return predicted.ravel(), true.ravel()
    return predicted[inside], true[inside]


def _foreground_overlaps(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Overlaps | PartitionScore:
    """Counts inside the truth's foreground, or the score where there is none."""
    predicted, true = inside_labels(prediction, truth, valid)
    foreground = true != 0
    if not foreground.any():
        empty = 0.0 if predicted.any() else 1.0
        return PartitionScore(empty, empty, empty)
    return count_overlaps(predicted[foreground], true[foreground], alone=True)


def _score(merge: float, split: float) -> PartitionScore:
    total = merge + split
    return PartitionScore(merge, split, 2 * merge * split / total if total else 0.0)


def _compact(ids: NDArray[Any]) -> NDArray[np.int64]:
    """The ids as 64-bit integers; large ones are numbered anew, 0 stays 0."""
    if int(ids.max(initial=0)) < _ID_LIMIT:
        return ids.astype(np.int64)
    distinct, renumbered = np.unique(ids, return_inverse=True)
    return renumbered.astype(np.int64) + int(distinct[0] != 0)


def _summed(counts: NDArray[np.int64], groups: NDArray[np.intp]) -> NDArray[np.int64]:
    sums = np.zeros(int(groups.max(initial=-1)) + 1, np.int64)
    np.add.at(sums, groups, counts)
    return sums


def _entropy(counts: NDArray[np.int64], n: int) -> float:
    """Entropy in bits of segments with these pixel counts out of n."""
    return float(np.dot(counts, np.log2(n / counts))) / n


def _entropy_within(joint: NDArray[np.int64], whole: NDArray[np.int64], n: int) -> float:
    """Entropy in bits that remains when the segment each pair belongs to is known."""
    return float(np.dot(joint, np.log2(whole / joint))) / n if n else 0.0
