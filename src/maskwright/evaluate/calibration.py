"""Can the probabilities be believed? Of all pixels given 0.8, eight in ten should be true.

Everything about one class follows from :class:`Reliability`, a few sums for each bin of the
probability, which add up over tiles and images. Report it per image too: a large, easy background
makes the pooled numbers look good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.masks import binary_mask, check_shape

# Bounds the float64 copies held at once.
BLOCK_PX = 1 << 20
TOLERANCE = 1e-6
SUM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Reliability:
    """Sums over the pixels of each probability bin; those of several images add up.

    Args:
        edges: The B + 1 edges of the bins, from 0 to 1. A bin holds its right edge, the first
            one its left edge too.
        counts: Pixels in each bin.
        probability_sum: Sum of their probabilities.
        positives: How many of them are true.
        squared_error_sum: Sum of (probability − truth)² over all pixels.

    Example:
        >>> one = reliability(np.array([0.2, 0.9]), np.array([False, True]), bins=2)
        >>> (one + one).n, (one + one).counts.tolist()
        (4, [2, 2])
        >>> Reliability.from_json(one.to_json()) == one
        True
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    probability_sum: NDArray[np.float64]
    positives: NDArray[np.int64]
    squared_error_sum: float

    def __add__(self, other: Reliability) -> Reliability:
        """The sums of both together; their bins must be the same."""
        if not np.array_equal(self.edges, other.edges):
            raise DataError(
                "reliability-bins",
                "bins",
                expected=f"the same {self.counts.size} bins on both sides",
                found=str(other.counts.size),
                remedy="count every image with the same bins",
            )
        return Reliability(
            self.edges,
            self.counts + other.counts,
            self.probability_sum + other.probability_sum,
            self.positives + other.positives,
            self.squared_error_sum + other.squared_error_sum,
        )

    def __eq__(self, other: object) -> bool:
        """Whether all bins and sums are the same."""
        if not isinstance(other, Reliability):
            return NotImplemented
        return self.to_json() == other.to_json()

    def to_json(self) -> dict[str, Any]:
        """Plain values; the edges follow from the number of bins."""
        return {
            "counts": self.counts.tolist(),
            "probability_sum": self.probability_sum.tolist(),
            "positives": self.positives.tolist(),
            "squared_error_sum": self.squared_error_sum,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Reliability:
        """The sums that :meth:`to_json` wrote."""
        return Reliability(
            np.linspace(0.0, 1.0, len(values["counts"]) + 1),
            np.array(values["counts"], np.int64),
            np.array(values["probability_sum"], np.float64),
            np.array(values["positives"], np.int64),
            values["squared_error_sum"],
        )

    @property
    def n(self) -> int:
        """All pixels inside the region of interest."""
        return int(self.counts.sum())

    @property
    def mean_probability(self) -> NDArray[np.float64]:
        """Mean probability of each bin; NaN where the bin is empty."""
        return _ratio(self.probability_sum, self.counts)

    @property
    def share_true(self) -> NDArray[np.float64]:
        """Share of each bin that is true; NaN where the bin is empty."""
        return _ratio(self.positives, self.counts)


def reliability(
    probabilities: NDArray[Any],
    truth: NDArray[Any],
    bins: int = 15,
    valid: NDArray[np.bool_] | None = None,
) -> Reliability:
    """Sort the pixels into equal bins of their probability, and count how many are true.

    Without any pixel all sums are 0.

    Args:
        probabilities: Probability of the class, any shape, from 0 to 1.
        truth: Which pixels are of the class, same shape, bool or 0/1.
        bins: Number of bins of equal width between 0 and 1, closed on the right, so that 1 is in
            the last; 0 is in the first.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The sums.

    Raises:
        ConfigError: For fewer than one bin.
        DataError: If the shapes differ, a probability is NaN or outside 0 to 1, or the truth
            holds anything but 0 and 1.

    Source: DeGroot and Fienberg 1983, The Statistician 32:12.

    Example:
        >>> r = reliability(np.array([0.1, 0.3, 0.8, 1.0]), np.array([0, 1, 1, 1]), bins=2)
        >>> r.mean_probability.tolist(), r.share_true.tolist()
        ([0.2, 0.9], [0.5, 1.0])
    """
    if bins < 1:
        raise ConfigError(
            "calibration-bins",
            "bins",
            expected="at least 1",
            found=str(bins),
            remedy="15 is usual",
        )
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts, positives = np.zeros((2, bins), np.int64)
    probability_sum = np.zeros(bins)
    squared_error_sum = 0.0
    for chosen, true in class_blocks(probabilities, truth, valid):
        probability = chosen.astype(np.float64)
        index = np.searchsorted(edges[1:-1], probability, "left")
        counts += np.bincount(index, minlength=bins)
        positives += np.bincount(index[true], minlength=bins)
        probability_sum += np.bincount(index, probability, minlength=bins)
        squared_error_sum += float(np.sum((probability - true) ** 2))
    return Reliability(edges, counts, probability_sum, positives, squared_error_sum)


def brier(r: Reliability) -> float:
    """Brier score of one class, mean of (p − truth)², from 0 (best) to 1.

    Undefined (NaN) without any pixel. Always answering the share of the class, π, scores
    π(1 − π). Brier's own sum over all classes is twice this for two classes.

    Args:
        r: Sums of the class.

    Returns:
        The score, or NaN.

    Source: Brier 1950, Monthly Weather Review 78:1.

    Example:
        >>> brier(reliability(np.array([0.0, 0.5]), np.array([False, True])))
        0.125
    """
    return r.squared_error_sum / r.n if r.n else math.nan


def ece(r: Reliability) -> float:
    """Expected calibration error, Σ n_b/n · |mean probability − share true|, from 0 (best) to 1.

    Undefined (NaN) without any pixel. It depends on the bins: state their number
    (``r.counts.size``) beside it.

    Args:
        r: Sums of the class.

    Returns:
        The error, or NaN.

    Source: Naeini, Cooper and Hauskrecht 2015, AAAI; Guo et al. 2017, ICML, arXiv 1706.04599.
    Here the probability of one class in place of the confidence of the winning one.

    Example:
        >>> ece(reliability(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0, 1, 1, 1]), bins=2))
        0.25
    """
    if not r.n:
        return math.nan
    return float(np.abs(r.probability_sum - r.positives).sum()) / r.n


def reason_undefined(r: Reliability) -> str | None:
    """Why :func:`brier` and :func:`ece` have no value, or ``None`` where they have one.

    Args:
        r: Sums of the class.

    Returns:
        A sentence without its full stop, or ``None``.

    Example:
        >>> reason_undefined(reliability(np.zeros(0), np.zeros(0, bool)))
        'there is no pixel inside the region of interest'
    """
    return None if r.n else "there is no pixel inside the region of interest"


def class_blocks(
    probabilities: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Probabilities of one class and its truth, checked, block by block.

    Args:
        probabilities: Probability of the class, any shape, from 0 to 1.
        truth: Which pixels are of the class, same shape, bool or 0/1.
        valid: Where True the pixel counts; ``None`` counts all.

    Yields:
        Flat probabilities, clipped to 0 to 1, in the dtype they came in, and flat truth.

    Raises:
        DataError: As :func:`reliability`.

    Example:
        >>> [(p.tolist(), t.tolist()) for p, t in class_blocks(np.ones(1), np.ones(1), None)]
        [([1.0], [True])]
    """
    check_shape(probabilities, "probabilities", truth.shape)
    if valid is not None:
        check_shape(valid, "region of interest", truth.shape)
    flat, true = np.ravel(probabilities), np.ravel(truth)
    inside = None if valid is None else np.ravel(binary_mask(valid, "region of interest"))
    for start in range(0, flat.size, BLOCK_PX):
        block = slice(start, start + BLOCK_PX)
        chosen, positive = flat[block], true[block]
        if inside is not None:
            chosen, positive = chosen[inside[block]], positive[inside[block]]
        if chosen.size:
            yield _checked_range(chosen), binary_mask(positive, "truth")


def distribution_blocks(
    probabilities_KYX: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> Iterator[tuple[slice, NDArray[np.bool_] | None, NDArray[np.float64]]]:
    """Probabilities of all classes, checked to sum to 1, block by block.

    Args:
        probabilities_KYX: Shape ``(K, *S)`` with at least two classes.
        valid: Where True the pixel counts, shape ``S``; ``None`` counts all.

    Yields:
        The block as a slice of the flat image, which of its pixels are inside (``None``: all),
        and their probabilities, shape ``(K, n)``.

    Raises:
        DataError: If there is one class only, the shapes differ, a probability is NaN or outside
            0 to 1, or a pixel's do not sum to 1.

    Example:
        >>> [block.shape for _, _, block in distribution_blocks(np.full((2, 3, 3), 0.5))]
        [(2, 9)]
    """
    classes, *shape = probabilities_KYX.shape or (0,)
    if classes < 2:
        raise DataError(
            "probabilities-classes",
            "probabilities",
            expected="two classes or more along the first axis",
            found=f"shape {probabilities_KYX.shape}",
            remedy="stack the background, 1 − p, before the probability p of a single class",
        )
    if valid is not None:
        check_shape(valid, "region of interest", tuple(shape))
    flat_KN = probabilities_KYX.reshape(classes, -1)
    inside = None if valid is None else np.ravel(binary_mask(valid, "region of interest"))
    step = max(1, BLOCK_PX // classes)
    for start in range(0, flat_KN.shape[1], step):
        block = slice(start, start + step)
        kept = None if inside is None else inside[block]
        chosen_KN = flat_KN[:, block] if kept is None else flat_KN[:, block][:, kept]
        if not chosen_KN.size:
            continue
        checked_KN = _checked_range(chosen_KN).astype(np.float64)
        furthest = float(np.abs(checked_KN.sum(0) - 1).max())
        if furthest > SUM_TOLERANCE:
            raise DataError(
                "probabilities-sum",
                "probabilities",
                expected="a sum of 1 over the classes of each pixel",
                found=f"a sum that is {furthest:.3g} away from 1",
                remedy="pass the output of a softmax, with the classes along the first axis",
            )
        yield block, kept, checked_KN


def _checked_range(probability: NDArray[Any]) -> NDArray[Any]:
    low, high = float(probability.min()), float(probability.max())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise DataError(
            "probabilities-range",
            "probabilities",
            expected="numbers from 0 to 1",
            found="NaN" if math.isnan(low) else f"{low:.6g} to {high:.6g}",
            remedy="apply a softmax to logits, and leave missing pixels out with a region of"
            " interest",
        )
    return np.clip(probability, 0, 1) if low < 0 or high > 1 else probability


def _ratio(numerator: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    share = np.full(counts.shape, np.nan)
    np.divide(numerator, counts, out=share, where=counts > 0)
    return share
