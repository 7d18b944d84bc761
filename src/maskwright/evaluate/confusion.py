"""Counting: which true class was predicted as which, in one pass over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.masks import check_shape

# Keeps the 64-bit index array of one block at 8 MiB, whatever the size of the image.
BLOCK_PX = 1 << 20


@dataclass(frozen=True)
class Counts:
    """Pixels of one class against the rest; counts of several images add up.

    Args:
        tp: True positives, predicted and true.
        fp: False positives, predicted but not true.
        fn: False negatives, true but not predicted.
        tn: True negatives, neither.

    Example:
        >>> Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40)
        Counts(tp=11, fp=22, fn=33, tn=44)
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Counts) -> Counts:
        """The counts of both together."""
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def predicted(self) -> int:
        """Predicted pixels, |P|."""
        return self.tp + self.fp

    @property
    def true(self) -> int:
        """True pixels, |G|."""
        return self.tp + self.fn

    @property
    def total(self) -> int:
        """All pixels inside the region of interest."""
        return self.tp + self.fp + self.fn + self.tn


def count_confusion(
    prediction_YX: NDArray[Any],
    truth_YX: NDArray[Any],
    classes: int,
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """How often each true class was predicted as each class.

    Args:
        prediction_YX: Predicted class ids, bool or integer, any shape.
        truth_YX: True class ids, same shape.
        classes: Number of classes K; ids run from 0 to K − 1.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        Matrix of pixel counts, shape ``(K, K)``: rows are the truth, columns the prediction.

    Raises:
        DataError: If the shapes differ, or an id inside the region is not below ``classes``.

    Example:
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> count_confusion(np.array([[0, 0], [1, 1]]), truth, 2).tolist()
        [[1, 0], [1, 2]]
    """
    check_shape(prediction_YX, "prediction", truth_YX.shape)
    check_shape(valid, "region of interest", truth_YX.shape)
    prediction = _ids(prediction_YX, "prediction")
    truth = _ids(truth_YX, "truth")
    inside = None if valid is None else np.ravel(valid).astype(bool, copy=False)
    confusion = np.zeros(classes * classes, np.int64)
    for start in range(0, truth.size, BLOCK_PX):
        block = slice(start, start + BLOCK_PX)
        predicted, true = prediction[block], truth[block]
        if inside is not None:
            predicted, true = predicted[inside[block]], true[inside[block]]
        if not true.size:
            continue
        _check_range(predicted, classes, "prediction")
        _check_range(true, classes, "truth")
        index = true.astype(np.intp) * classes + predicted
        confusion += np.bincount(index, minlength=classes * classes)
    return confusion.reshape(classes, classes)


def _ids(mask: NDArray[Any], name: str) -> NDArray[Any]:
    flat = np.ravel(mask)
    if flat.dtype == np.bool_:
        # A decoder may leave other bytes than 0 and 1 in a bool array.
        return np.asarray(flat.view(np.uint8) != 0).view(np.uint8)
    if not np.issubdtype(flat.dtype, np.integer):
        raise DataError(
            "mask-dtype",
            name,
            expected="class ids, integer or bool",
            found=f"an array of {flat.dtype}",
            remedy="threshold probabilities, or take the class with the largest one",
        )
    # Unsigned 64-bit would turn the index below into floating point.
    return flat.astype(np.int64) if flat.dtype == np.uint64 else flat


def _check_range(ids: NDArray[Any], classes: int, name: str) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= classes:
        raise DataError(
            "mask-value",
            name,
            expected=f"class ids from 0 to {classes - 1}",
            found=str(low if low < 0 else high),
            remedy="declare the class, or leave its pixels out with a region of interest",
        )


def counts_of(confusion: NDArray[Any], class_index: int) -> Counts:
    """The counts of one class against all others.

    Args:
        confusion: Matrix of :func:`count_confusion`, shape ``(K, K)``.
        class_index: The class that is positive.

    Returns:
        Its counts.

    Example:
        >>> counts_of(np.array([[1, 0], [1, 2]]), 1)
        Counts(tp=2, fp=0, fn=1, tn=1)
    """
    matrix = np.asarray(confusion)
    tp = int(matrix[class_index, class_index])
    fp = int(matrix[:, class_index].sum()) - tp
    fn = int(matrix[class_index, :].sum()) - tp
    return Counts(tp, fp, fn, int(matrix.sum()) - tp - fp - fn)
