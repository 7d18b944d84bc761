"""Distances between the surfaces of two masks, and the measures that follow from them.

A surface is what one erosion removes; pixels at the border of the image belong to it.

Empty masks follow one rule. Both empty: distances are 0 and the normalised surface Dice is 1. One
empty: distances take the diagonal of the image, the surface Dice is 0, and
:attr:`SurfaceDistances.flag` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.masks import check_shape
from maskwright.evaluate.nearest import class_boxes, nearest_distances, surface_of

__all__ = [
    "DISTANCES",
    "SurfaceDistances",
    "assd",
    "class_boxes",
    "hd",
    "hd95",
    "hd95_pooled",
    "masd",
    "nsd",
    "surface_distances",
    "surface_distances_by_class",
]

# A distance of 3 * 0.1 is meant to lie within 0.3, though its floating-point value is above it.
TOLERANCE_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between the surfaces of a prediction and a truth, in the unit of the spacing.

    Args:
        to_truth: One for each surface element of the prediction, to the surface of the truth.
        to_prediction: One for each surface element of the truth, to that of the prediction.
        diagonal: Diagonal of the image, √Σ(nᵢ·sᵢ)², the distance that a total miss takes.
        prediction_empty: The prediction has no pixel.
        truth_empty: The truth has no pixel.

    Example:
        >>> d = surface_distances(np.array([[0, 0]]), np.array([[0, 1]]), spacing=(3, 2))
        >>> d.diagonal, d.flag
        (5.0, 'the prediction is empty: distances take the image diagonal')
    """

    to_truth: NDArray[np.float64]
    to_prediction: NDArray[np.float64]
    diagonal: float
    prediction_empty: bool
    truth_empty: bool

    @property
    def flag(self) -> str | None:
        """That the worst case was taken and why, or ``None`` where distances were measured."""
        if self.prediction_empty == self.truth_empty:
            return None
        which = "prediction" if self.prediction_empty else "truth"
        return f"the {which} is empty: distances take the image diagonal"

    def _or_rule(self, measure: Callable[[], float]) -> float:
        if self.prediction_empty and self.truth_empty:
            return 0.0
        return self.diagonal if self.flag else float(measure())

    def _both(self) -> NDArray[np.float64]:
        return np.concatenate((self.to_truth, self.to_prediction))


def surface_distances(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    spacing: Sequence[float] | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> SurfaceDistances:
    """Distance of every surface element of each mask to the nearest one of the other.

    Exact Euclidean distances in 64-bit floating point. With one mask empty, each element of the
    other takes the diagonal of the image; with both empty there are no elements.

    Args:
        prediction: Predicted mask, any number of axes from 1; bool, integer (whatever is not 0
            is the object) or floating point of exactly 0 and 1.
        truth: True mask, same shape.
        spacing: Size of a pixel along each axis in array order; ``None`` measures in pixels.
        valid: Region of interest, same shape. Both masks are cut to it first, so the cut is
            surface where it goes through an object.

    Returns:
        The distances, in the order of the pixels, and which mask was empty.

    Raises:
        DataError: If shapes differ, a mask is no mask, or the spacing does not fit.

    Source: Nikolov et al. 2018, arXiv 1809.04430; Maier-Hein et al. 2024, Nature Methods 21:195.

    Example:
        >>> truth = np.array([0, 1, 1, 1, 0, 0])
        >>> d = surface_distances(np.array([0, 1, 1, 1, 1, 1]), truth, spacing=[0.5])
        >>> d.to_truth.tolist(), d.to_prediction.tolist()
        ([0.0, 1.0], [0.0, 1.0])
    """
    sizes = _checked(prediction, truth, spacing, valid)
    masks = [_as_mask(prediction, "prediction"), _as_mask(truth, "truth")]
    if valid is not None:
        masks = [mask & (valid != 0) for mask in masks]
    box = class_boxes(masks[0], masks[1], 2)[1]
    return _between(masks[0], masks[1], box, sizes)


def surface_distances_by_class(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    classes: int,
    spacing: Sequence[float] | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[int, SurfaceDistances]]:
    """The distances of :func:`surface_distances` for every class of a label image.

    One class at a time, so that the distances of one can be dropped before the next.

    Args:
        prediction: Predicted class ids, bool or integer, any shape.
        truth: True class ids, same shape.
        classes: Number of classes K; ids from K upwards belong to no class and are left out.
        spacing: Size of a pixel along each axis in array order; ``None`` measures in pixels.
        valid: Region of interest, same shape; each class is cut to it first.

    Yields:
        The class, from 1 to K − 1, and its distances.

    Raises:
        DataError: If shapes differ, an id is no integer, or the spacing does not fit.

    Example:
        >>> truth = np.array([[1, 1, 0, 2]])
        >>> for k, d in surface_distances_by_class(np.array([[1, 0, 2, 0]]), truth, 3):
        ...     print(k, hd(d))
        1 1.0
        2 1.0
    """
    sizes = _checked(prediction, truth, spacing, valid)
    for class_index, box in class_boxes(prediction, truth, classes).items():
        if box is None:
            yield class_index, _between(prediction, truth, None, sizes)
            continue
        masks = [labels[box] == class_index for labels in (prediction, truth)]
        if valid is not None:
            masks = [mask & (valid[box] != 0) for mask in masks]
        yield class_index, _between(masks[0], masks[1], (), sizes)


def _between(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    box: tuple[slice, ...] | None,
    sizes: tuple[NDArray[np.float64], float],
) -> SurfaceDistances:
    """Distances of two masks that lie inside a box; all around it is background."""
    spacing, diagonal = sizes
    if box is None:
        nothing = np.zeros(0)
        return SurfaceDistances(nothing, nothing, diagonal, True, True)
    surfaces = surface_of(prediction[box]), surface_of(truth[box])
    counts = [int(np.count_nonzero(surface)) for surface in surfaces]
    if 0 in counts:
        missed = [np.full(count, diagonal) for count in counts]
        return SurfaceDistances(missed[0], missed[1], diagonal, counts[0] == 0, counts[1] == 0)
    return SurfaceDistances(
        nearest_distances(surfaces[0], surfaces[1], spacing),
        nearest_distances(surfaces[1], surfaces[0], spacing),
        diagonal,
        False,
        False,
    )


def hd(d: SurfaceDistances) -> float:
    """Hausdorff distance, the largest of all surface distances; 0 is best.

    In the unit of the spacing. Both masks empty: 0. One empty: the image diagonal.

    Args:
        d: Distances of :func:`surface_distances`.

    Returns:
        The distance.

    Source: Huttenlocher, Klanderman and Rucklidge 1993, IEEE TPAMI 15:850.

    Example:
        >>> hd(surface_distances(np.array([1, 0, 0, 0]), np.array([0, 0, 0, 1])))
        3.0
    """
    return d._or_rule(lambda: max(d.to_truth.max(), d.to_prediction.max()))


def hd95(d: SurfaceDistances) -> float:
    """95 % Hausdorff distance, the larger of the two directed 95th percentiles; 0 is best.

    Percentiles are interpolated linearly. This is the one of MONAI and of Metrics Reloaded; see
    :func:`hd95_pooled` for the other. In the unit of the spacing. Both masks empty: 0. One empty:
    the image diagonal.

    Args:
        d: Distances of :func:`surface_distances`.

    Returns:
        The distance.

    Source: Maier-Hein et al. 2024, Nature Methods 21:195.

    Example:
        >>> d = surface_distances(np.array([1, 0, 0, 1]), np.array([1, 0, 0, 0]))
        >>> round(hd95(d), 9), round(hd95_pooled(d), 9)
        (2.85, 2.7)
    """
    return d._or_rule(
        lambda: max(np.percentile(d.to_truth, 95), np.percentile(d.to_prediction, 95))
    )


def hd95_pooled(d: SurfaceDistances) -> float:
    """95th percentile of the distances of both directions together; 0 is best.

    The one of MedPy and seg-metrics, far below :func:`hd95` where one mask has a part that the
    other lacks. In the unit of the spacing. Both masks empty: 0. One empty: the image diagonal.

    Args:
        d: Distances of :func:`surface_distances`.

    Returns:
        The distance.

    Source: MedPy, ``medpy.metric.binary.hd95``.

    Example:
        >>> d = surface_distances(np.array([1, 0, 0, 1]), np.array([1, 0, 0, 0]))
        >>> round(hd95_pooled(d), 9)
        2.7
    """
    return d._or_rule(lambda: float(np.percentile(d._both(), 95)))


def assd(d: SurfaceDistances) -> float:
    """Average symmetric surface distance, the mean over all elements of both; 0 is best.

    In the unit of the spacing. Both masks empty: 0. One empty: the image diagonal.

    Args:
        d: Distances of :func:`surface_distances`.

    Returns:
        The distance.

    Source: Heimann et al. 2009, IEEE Transactions on Medical Imaging 28:1251.

    Example:
        >>> assd(surface_distances(np.array([1, 0, 0, 1]), np.array([1, 0, 0, 0])))
        1.0
    """
    return d._or_rule(lambda: float(d._both().mean()))


def masd(d: SurfaceDistances) -> float:
    """Mean average surface distance, the mean of the two directed means; 0 is best.

    Both directions weigh the same, however many elements each has. In the unit of the spacing.
    Both masks empty: 0. One empty: the image diagonal.

    Args:
        d: Distances of :func:`surface_distances`.

    Returns:
        The distance.

    Source: Beneš and Zitová 2015, Journal of Microscopy 257:65 (as in Metrics Reloaded).

    Example:
        >>> masd(surface_distances(np.array([1, 0, 0, 1]), np.array([1, 0, 0, 0])))
        0.75
    """
    return d._or_rule(lambda: (d.to_truth.mean() + d.to_prediction.mean()) / 2)


def nsd(d: SurfaceDistances, tolerance: float) -> float:
    """Normalised surface Dice, the share of all surface elements within the tolerance, 0 to 1.

    A distance equal to the tolerance is within it. To be safe from rounding, so is one that
    exceeds it by less than a billionth of it. Both masks empty: 1. One empty: 0, whatever the
    tolerance.

    Args:
        d: Distances of :func:`surface_distances`.
        tolerance: Largest distance that counts as agreement, in the unit of the spacing.

    Returns:
        The share.

    Raises:
        ConfigError: If the tolerance is negative or not finite.

    Source: Nikolov et al. 2018, arXiv 1809.04430, with surface pixels for surface areas.

    Example:
        >>> d = surface_distances(np.array([1, 0, 0, 1]), np.array([1, 0, 0, 0]), spacing=[0.1])
        >>> round(nsd(d, 0.2), 9), nsd(d, 0.3)
        (0.666666667, 1.0)
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(
            "tolerance-value",
            "tolerance",
            expected="a distance of 0 or more",
            found=str(tolerance),
            remedy="use the distance by which two observers differ, in the unit of the spacing",
        )
    if d.prediction_empty or d.truth_empty:
        return 1.0 if d.flag is None else 0.0
    limit = tolerance * (1 + TOLERANCE_SLACK)
    parts = (d.to_truth, d.to_prediction)
    within = sum(int(np.count_nonzero(part <= limit)) for part in parts)
    return within / sum(part.size for part in parts)


DISTANCES: Mapping[str, Callable[[SurfaceDistances], float]] = MappingProxyType(
    {measure.__name__: measure for measure in (hd, hd95, hd95_pooled, assd, masd)}
)


def _checked(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    spacing: Sequence[float] | None,
    valid: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float64], float]:
    """The spacing and the diagonal of the image."""
    check_shape(prediction, "prediction", truth.shape)
    check_shape(valid, "region of interest", truth.shape)
    if truth.ndim == 0:
        raise DataError(
            "mask-shape",
            "truth",
            expected="an image of at least one axis",
            found="a single number",
            remedy="pass the mask as an array",
        )
    steps = np.ones(truth.ndim) if spacing is None else np.array(spacing, np.float64)
    if steps.shape != (truth.ndim,):
        raise DataError(
            "spacing-length",
            "spacing",
            expected=f"{truth.ndim} numbers, one for each axis of {truth.shape}",
            found=str(spacing),
            remedy="give the size of a pixel along each axis, in the order of the array's axes",
        )
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise DataError(
            "spacing-value",
            "spacing",
            expected="sizes above 0",
            found=str(spacing),
            remedy="correct the sizes, or leave the spacing out to measure in pixels",
        )
    return steps, float(np.sqrt(np.sum((steps * truth.shape) ** 2)))


def _as_mask(mask: NDArray[Any], name: str) -> NDArray[np.bool_]:
    if mask.dtype == np.bool_:
        return mask
    nonzero: NDArray[np.bool_] = mask != 0
    if not np.issubdtype(mask.dtype, np.integer) and not np.array_equal(mask, nonzero):
        raise DataError(
            "mask-value",
            name,
            expected="a mask: bool, integer, or exactly 0 and 1",
            found=f"other values in an array of {mask.dtype}",
            remedy="threshold probabilities first",
        )
    return nonzero
