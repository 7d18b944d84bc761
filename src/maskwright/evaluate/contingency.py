"""Two label images against each other: how large the objects are and how far they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.masks import check_shape

# Bounds the temporary arrays of one block, whatever the size of the image.
BLOCK_PX = 1 << 20


@dataclass(frozen=True, eq=False)
class Matching:
    """Everything that the object measures of an image follow from.

    Sizes are pixels inside the region of interest; an object outside of it does not exist.

    Args:
        truth_ids: Ids of the true objects, ascending, shape ``(N,)``.
        prediction_ids: Ids of the predicted objects, ascending, shape ``(M,)``.
        truth_sizes: Pixels of each true object, shape ``(N,)``.
        prediction_sizes: Pixels of each predicted object, shape ``(M,)``.
        pairs: The objects that overlap, as three arrays of shape ``(P,)``: index of the true
            object, index of the predicted object, pixels they share. Sorted by both indices.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    truth_sizes: NDArray[np.int64]
    prediction_sizes: NDArray[np.int64]
    pairs: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, shape ``(P,)``."""
        truth, prediction, intersection = self.pairs
        union = self.truth_sizes[truth] + self.prediction_sizes[prediction] - intersection
        iou: NDArray[np.float64] = intersection / union
        return iou


def match_objects(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> Matching:
    """Sizes and overlaps of the objects of two label images.

    Args:
        prediction: Predicted objects, integer ids of any shape; 0 is the background. The ids
            need not be consecutive.
        truth: True objects, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The objects and their overlaps, from which every object measure follows.

    Raises:
        DataError: If the shapes differ, or the ids are negative or no integers.

    Example:
        >>> truth, prediction = np.array([1, 1, 2, 2, 0]), np.array([7, 7, 7, 7, 0])
        >>> matching = match_objects(prediction, truth)
        >>> matching.truth_sizes.tolist(), matching.prediction_sizes.tolist()
        ([2, 2], [4])
        >>> matching.iou.tolist()
        [0.5, 0.5]
    """
    check_shape(prediction, "prediction", truth.shape)
    check_shape(valid, "region of interest", truth.shape)
    for name, array in (("prediction", prediction), ("truth", truth)):
        if not np.issubdtype(array.dtype, np.integer):
            raise DataError(
                "label-dtype",
                name,
                expected="integer ids of objects",
                found=f"an array of {array.dtype}",
                remedy="number the objects of a binary mask with components()",
            )
    true, predicted, lengths = _runs(np.ravel(truth), np.ravel(prediction), valid)
    for name, ids in (("truth", true), ("prediction", predicted)):
        outside = ids[(ids < 0) | (ids > np.iinfo(np.int64).max)]
        if outside.size:
            raise DataError(
                "label-value",
                name,
                expected="ids of objects from 0 to 2^63 − 1",
                found=str(outside[0]),
                remedy="number the objects from 1, with 0 for the background",
            )
    truth_ids, truth_index, truth_sizes = _objects(true.astype(np.int64), lengths)
    prediction_ids, prediction_index, prediction_sizes = _objects(
        predicted.astype(np.int64), lengths
    )
    both = (truth_index >= 0) & (prediction_index >= 0)
    count = max(prediction_ids.size, 1)
    keys, key_index = np.unique(
        truth_index[both] * count + prediction_index[both], return_inverse=True
    )
    shared = _sums(key_index, lengths[both], keys.size)
    return Matching(
        truth_ids, prediction_ids, truth_sizes, prediction_sizes,
        (keys // count, keys % count, shared),
    )  # fmt: skip


def _runs(
    truth: NDArray[Any], prediction: NDArray[Any], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Stretches of equal ids: few even in a large image, so that sorting them costs little."""
    inside = None if valid is None else np.ravel(valid).astype(bool, copy=False)
    trues, predictions, lengths = [truth[:0]], [prediction[:0]], [np.zeros(0, np.int64)]
    for start in range(0, truth.size, BLOCK_PX):
        block = slice(start, start + BLOCK_PX)
        true, predicted = truth[block], prediction[block]
        if inside is not None:
            true, predicted = true[inside[block]], predicted[inside[block]]
        if not true.size:
            continue
        changes = (true[1:] != true[:-1]) | (predicted[1:] != predicted[:-1])
        begins = np.concatenate(([0], np.flatnonzero(changes) + 1))
        length = np.diff(begins, append=true.size)
        run_true, run_predicted = true[begins], predicted[begins]
        kept = (run_true != 0) | (run_predicted != 0)
        trues.append(run_true[kept])
        predictions.append(run_predicted[kept])
        lengths.append(length[kept])
    return np.concatenate(trues), np.concatenate(predictions), np.concatenate(lengths)


def _objects(
    ids: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids without the background, the index of each run among them (−1: background), sizes."""
    found, index = np.unique(ids, return_inverse=True)
    sizes = _sums(index, lengths, found.size)
    background = int(found.size > 0 and found[0] == 0)
    return found[background:], index.astype(np.int64) - background, sizes[background:]


def _sums(index: NDArray[Any], lengths: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, index, lengths)
    return sums


def pool(matchings: Sequence[Matching]) -> Matching:
    """Several images as one, for measures over all objects of a data set (micro average).

    Args:
        matchings: What :func:`match_objects` returned for each image.

    Returns:
        All objects and pairs; ids may now occur more than once.

    Example:
        >>> one = match_objects(np.array([1, 0]), np.array([1, 1]))
        >>> pool([one, one]).iou.tolist()
        [0.5, 0.5]
    """
    truth_starts = np.cumsum([0, *(m.truth_ids.size for m in matchings)])
    prediction_starts = np.cumsum([0, *(m.prediction_ids.size for m in matchings)])
    none = np.zeros(0, np.int64)
    return Matching(
        np.concatenate([none, *(m.truth_ids for m in matchings)]),
        np.concatenate([none, *(m.prediction_ids for m in matchings)]),
        np.concatenate([none, *(m.truth_sizes for m in matchings)]),
        np.concatenate([none, *(m.prediction_sizes for m in matchings)]),
        (
            np.concatenate(
                [none, *(m.pairs[0] + truth_starts[k] for k, m in enumerate(matchings))]
            ),
            np.concatenate(
                [none, *(m.pairs[1] + prediction_starts[k] for k, m in enumerate(matchings))]
            ),
            np.concatenate([none, *(m.pairs[2] for m in matchings)]),
        ),
    )


def components(mask: NDArray[Any]) -> NDArray[np.uint32]:
    """Number the connected components of a binary mask; pixels that share a corner are connected.

    Args:
        mask: Bool or integer, shape ``(Y, X)`` or ``(Z, Y, X)``; everything but 0 is object.

    Returns:
        Label image of the same shape, 0 the background, objects from 1.

    Raises:
        DataError: If the mask has other than two or three axes, or is neither bool nor integer.

    Source: Rosenfeld and Pfaltz 1966, Journal of the ACM 13:471; the program is
    ``connected-components-3d``.

    Example:
        >>> components(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 0, 0]]
    """
    if mask.ndim not in (2, 3) or not (
        mask.dtype == np.bool_ or np.issubdtype(mask.dtype, np.integer)
    ):
        raise DataError(
            "components-mask",
            "mask",
            expected="a bool or integer mask with two or three axes",
            found=f"{mask.ndim} axes of {mask.dtype}",
            remedy="threshold probabilities, and pass one image without its channels",
        )
    import cc3d

    # cc3d 4.1.1 labels some masks of bool wrongly; as numbers they are labelled rightly.
    labels = cc3d.connected_components(
        (mask != 0).view(np.uint8), connectivity=8 if mask.ndim == 2 else 26, out_dtype=np.uint32
    )
    return labels.astype(np.uint32, copy=False)
