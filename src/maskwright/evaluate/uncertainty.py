"""What the probabilities alone say about an image nobody has annotated.

All of it takes the probabilities at their word, so it is worth as much as their calibration, and
it knows nothing of a kind of image that was never trained on. :func:`agreement` tells from
annotated images how far it can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.calibration import class_blocks, distribution_blocks
from maskwright.evaluate.masks import check_shape, class_ids

# A pixel whose winning class has less than this is doubtful.
DOUBTFUL_BELOW = 0.75
MIN_CASES = 6
AGREES, AGREES_PARTLY = 0.7, 0.3


def entropy(probabilities_KYX: NDArray[Any]) -> NDArray[np.float32]:
    """Entropy of each pixel's class, −Σ p log₂ p / log₂ K, from 0 (sure) to 1 (no idea).

    An image without pixels has an empty map.

    Args:
        probabilities_KYX: Shape ``(K, *S)`` with at least two classes.

    Returns:
        The map, shape ``S``.

    Raises:
        DataError: If there is one class only, a probability is NaN or outside 0 to 1, or a
            pixel's do not sum to 1.

    Source: Shannon 1948, Bell System Technical Journal 27:379, relative to its maximum.

    Example:
        >>> entropy(np.array([[1.0, 0.5], [0.0, 0.5]])).tolist()
        [0.0, 1.0]
    """
    map_YX = np.empty(probabilities_KYX.shape[1:], np.float32)
    map_N = map_YX.reshape(-1)
    for block, _, p_KN in distribution_blocks(probabilities_KYX):
        map_N[block] = _entropy(p_KN)
    return map_YX


def expected_dice(
    probability_YX: NDArray[Any],
    prediction_YX: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
) -> float:
    """Dice to be expected if the truth of each pixel were drawn with its probability, 0 to 1.

    With a prediction P it is 2 Σ_P p / (|P| + Σ p): the ratio of two expectations, which differs
    from the expectation of the ratio by O(1/n), n being the size of P and of the likely truth.

    Without a prediction Dice is 1 if the truth is empty and 0 otherwise, so what is expected is
    the chance of an empty truth, Π (1 − p). That is exact for independent pixels. Real pixels
    come in objects, whose chance of being absent is larger, so for an empty prediction read it
    as a lower bound.

    Without any pixel it is undefined: NaN.

    Args:
        probability_YX: Probability of the class, any shape, from 0 to 1.
        prediction_YX: Which pixels were predicted, same shape, bool or 0/1.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The expected Dice, or NaN.

    Raises:
        DataError: If the shapes differ, a probability is NaN or outside 0 to 1, or the
            prediction holds anything but 0 and 1.

    Source: Dice 1945, Ecology 26:297, with the soft counts of Milletari, Navab and Ahmadi 2016,
    3DV, arXiv 1606.04797, for one of the masks only.

    Example:
        >>> probability = np.array([0.9, 0.8, 0.3, 0.0])
        >>> round(expected_dice(probability, probability > 0.5), 2)
        0.85
        >>> round(expected_dice(np.array([0.1, 0.1]), np.array([False, False])), 2)
        0.81
    """
    pixels = predicted = 0
    inside = total = log_empty = 0.0
    for chosen, positive in class_blocks(probability_YX, prediction_YX, valid):
        probability = chosen.astype(np.float64)
        pixels += probability.size
        predicted += int(np.count_nonzero(positive))
        inside += float(probability[positive].sum())
        total += float(probability.sum())
        log_empty += _log_empty(probability)
    return _expected_dice(predicted, inside, total, log_empty) if pixels else math.nan


@dataclass(frozen=True)
class Trust:
    """How sure a prediction is of itself; NaN without any pixel inside the region of interest.

    Args:
        expected_dice: :func:`expected_dice` of each class, the background first.
        mean_entropy: Mean of :func:`entropy`, from 0 to 1.
        doubtful_share: Share of the pixels whose winning class has a probability below 0.75.

    Example:
        >>> some = Trust((0.99, 0.8, 0.6), 0.05, 0.02)
        >>> round(some.mean, 3), Trust.from_json(some.to_json()) == some
        (0.7, True)
    """

    expected_dice: tuple[float, ...]
    mean_entropy: float
    doubtful_share: float

    @property
    def mean(self) -> float:
        """Mean expected Dice of the classes after the first."""
        return sum(self.expected_dice[1:]) / (len(self.expected_dice) - 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as ``None``; the mean is there for readers."""
        return {
            "expected_dice": [_plain(value) for value in self.expected_dice],
            "mean": _plain(self.mean),
            "mean_entropy": _plain(self.mean_entropy),
            "doubtful_share": _plain(self.doubtful_share),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Trust:
        """The value that :meth:`to_json` wrote."""
        return Trust(
            tuple(_number(value) for value in values["expected_dice"]),
            _number(values["mean_entropy"]),
            _number(values["doubtful_share"]),
        )


def trust(
    probabilities_KYX: NDArray[Any],
    classes_YX: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
) -> Trust:
    """How sure a prediction is of itself, in one pass; each number from 0 to 1.

    Without any pixel inside the region of interest all are NaN.

    Args:
        probabilities_KYX: Shape ``(K, *S)`` with at least two classes.
        classes_YX: Predicted class ids, shape ``S``; the winners, or what was made of them.
        valid: Where True the pixel counts (region of interest), shape ``S``; ``None`` counts all.

    Returns:
        Expected Dice of each class, mean entropy, and share of doubtful pixels.

    Raises:
        DataError: If the shapes differ, a class id is out of range, a probability is NaN or
            outside 0 to 1, or a pixel's do not sum to 1.

    Source: see :func:`expected_dice` and :func:`entropy`.

    Example:
        >>> p = np.array([[0.9, 0.3, 0.0], [0.1, 0.7, 1.0]])
        >>> some = trust(p, p.argmax(0))
        >>> round(some.mean, 3), round(some.doubtful_share, 3)
        (0.895, 0.333)
    """
    sums = TrustSums.none(probabilities_KYX.shape[0])
    sums.add(probabilities_KYX, classes_YX, valid)
    return sums.trust()


@dataclass
class TrustSums:
    """What :func:`trust` sums over pixels, for images that come part by part.

    Args:
        pixels_K: Pixels of each predicted class.
        inside_K: Sum of the probabilities of each class over its predicted pixels.
        background_K: Sum of the probabilities of the first class over the same pixels.
        total_K: Sum of the probabilities of each class over all pixels.
        log_empty_K: Logarithm of the chance that no pixel is of the class.
        entropy: Sum of the pixels' entropies.
        doubtful: Pixels whose winning class has less than 0.75.

    Example:
        >>> p = np.array([[0.9, 0.3, 0.0], [0.1, 0.7, 1.0]])
        >>> sums = TrustSums.none(2)
        >>> for part in (slice(0, 1), slice(1, 3)):
        ...     sums.add(p[:, part], p[:, part].argmax(0))
        >>> sums.trust() == trust(p, p.argmax(0))
        True
        >>> TrustSums.of(sums.numbers()).trust() == sums.trust()
        True
    """

    pixels_K: NDArray[np.float64]
    inside_K: NDArray[np.float64]
    background_K: NDArray[np.float64]
    total_K: NDArray[np.float64]
    log_empty_K: NDArray[np.float64]
    entropy: float = 0.0
    doubtful: float = 0.0

    @staticmethod
    def none(classes: int) -> TrustSums:
        """The sums of no pixel."""
        return TrustSums(*np.zeros((5, classes)))

    def add(
        self,
        probabilities_KYX: NDArray[Any],
        classes_YX: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add pixels; arguments and errors are those of :func:`trust`."""
        check_shape(classes_YX, "predicted classes", probabilities_KYX.shape[1:])
        classes = probabilities_KYX.shape[0]
        for block, kept, p_KN in distribution_blocks(probabilities_KYX, valid):
            ids_N = np.ravel(classes_YX)[block]
            ids_N = class_ids(ids_N if kept is None else ids_N[kept], classes, "predicted classes")
            of_winner_N = np.take_along_axis(p_KN, ids_N[None], 0)[0]
            self.pixels_K += np.bincount(ids_N, minlength=classes)
            self.inside_K += np.bincount(ids_N, of_winner_N, classes)
            self.background_K += np.bincount(ids_N, p_KN[0], classes)
            self.total_K += p_KN.sum(1)
            self.log_empty_K += [_log_empty(p_N) for p_N in p_KN]
            self.entropy += float(_entropy(p_KN).sum())
            self.doubtful += int(np.count_nonzero(p_KN.max(0) < DOUBTFUL_BELOW))

    def without(self, k: int) -> TrustSums:
        """The same where the pixels of a predicted class had been background."""
        pixels_K, inside_K = self.pixels_K.copy(), self.inside_K.copy()
        pixels_K[0] += pixels_K[k]
        inside_K[0] += self.background_K[k]
        pixels_K[k] = inside_K[k] = 0
        return replace(self, pixels_K=pixels_K, inside_K=inside_K)

    def numbers(self) -> list[float]:
        """All sums in a row, 5 K + 2 of them, which may be added to those of other pixels."""
        sums = (self.pixels_K, self.inside_K, self.background_K, self.total_K, self.log_empty_K)
        return [*np.concatenate(sums).tolist(), self.entropy, self.doubtful]

    @staticmethod
    def of(numbers: Sequence[float]) -> TrustSums:
        """The sums in a row as :meth:`numbers` gives it."""
        *sums, entropy, doubtful = numbers
        pixels_K, inside_K, background_K, total_K, log_empty_K = np.reshape(sums, (5, -1))
        return TrustSums(pixels_K, inside_K, background_K, total_K, log_empty_K, entropy, doubtful)

    def trust(self) -> Trust:
        """What :func:`trust` says of these pixels."""
        pixels, classes = float(self.pixels_K.sum()), self.pixels_K.size
        if not pixels:
            return Trust((math.nan,) * classes, math.nan, math.nan)
        sums = zip(self.pixels_K, self.inside_K, self.total_K, self.log_empty_K, strict=True)
        return Trust(
            tuple(_expected_dice(*(float(value) for value in values)) for values in sums),
            self.entropy / pixels,
            self.doubtful / pixels,
        )


@dataclass(frozen=True)
class Agreement:
    """How well an expected value foretells the actual one.

    Args:
        n: Images that have both.
        mean_absolute_error: Mean of |expected − actual|; NaN without images.
        bias: Mean of expected − actual: above 0 is too hopeful; NaN without images.
        spearman: Rank correlation, from −1 to 1; ``None`` below six images, or where either is
            the same for all.
    """

    n: int
    mean_absolute_error: float
    bias: float
    spearman: float | None

    def sentence(self) -> str:
        """All of it in words.

        Example:
            >>> print(Agreement(12, 0.05, 0.03, 0.81).sentence())
            Expected Dice lies on average 0.03 above the actual one; the order of the images
            agrees (Spearman 0.81, n = 12).
        """
        if self.n == 0:
            return "No image has both an expected and an actual Dice."
        size = f"{abs(self.bias):.2f}"
        if size == "0.00":
            first = "Expected Dice is on average the actual one"
        else:
            side = "above" if self.bias > 0 else "below"
            first = f"Expected Dice lies on average {size} {side} the actual one"
        if self.spearman is None:
            why = (
                f"fewer than {MIN_CASES} images" if self.n < MIN_CASES else "values that are equal"
            )
            return f"{first}; {why} say nothing about their order (n = {self.n})."
        if self.spearman >= AGREES:
            order = "agrees"
        else:
            order = "agrees in part" if self.spearman >= AGREES_PARTLY else "does not agree"
        numbers = f"Spearman {self.spearman:.2f}, n = {self.n}"
        return f"{first}; the order of the images {order} ({numbers})."


def agreement(expected: Sequence[float], actual: Sequence[float]) -> Agreement:
    """Compare the expected Dice of annotated images with their actual one.

    The error is from 0 (best) to 1, the bias from −1 to 1 (0 is best), the rank correlation from
    −1 to 1. Images where either is NaN are left out; ``n`` counts the others.

    Args:
        expected: Expected Dice of each image.
        actual: Actual Dice of the same images.

    Returns:
        Mean absolute error, bias and rank correlation.

    Raises:
        DataError: If there are not as many of one as of the other.

    Source: Spearman 1904, American Journal of Psychology 15:72.

    Example:
        >>> agreement([1.0, 0.5], [0.5, 0.5])
        Agreement(n=2, mean_absolute_error=0.25, bias=0.25, spearman=None)
    """
    if len(expected) != len(actual):
        raise DataError(
            "agreement-length",
            "expected",
            expected=f"one value for each of the {len(actual)} actual ones",
            found=str(len(expected)),
            remedy="pass both for the same images in the same order",
        )
    both = np.array([expected, actual], np.float64)
    both = both[:, ~np.isnan(both).any(0)]
    n = both.shape[1]
    if n == 0:
        return Agreement(0, math.nan, math.nan, None)
    difference = both[0] - both[1]
    spearman = None
    if n >= MIN_CASES and np.ptp(both, axis=1).all():
        from scipy.stats import spearmanr

        spearman = float(spearmanr(both[0], both[1]).statistic)
    return Agreement(n, float(np.abs(difference).mean()), float(difference.mean()), spearman)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _entropy(p_KN: NDArray[np.float64]) -> NDArray[np.float64]:
    # The logarithm of 0 never counts, so any number may stand in for it.
    bits_N = np.abs((p_KN * np.log2(np.where(p_KN > 0, p_KN, 1.0))).sum(0))
    share_N: NDArray[np.float64] = np.clip(bits_N / math.log2(p_KN.shape[0]), 0.0, 1.0)
    return share_N


def _log_empty(probability: NDArray[np.float64]) -> float:
    """Σ log(1 − p): the logarithm of the chance that no pixel is of the class."""
    with np.errstate(divide="ignore"):
        return float(np.log1p(-probability).sum())


def _expected_dice(predicted: float, inside: float, total: float, log_empty: float) -> float:
    return 2 * inside / (predicted + total) if predicted else math.exp(log_empty)
