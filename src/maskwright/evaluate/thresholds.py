"""Which threshold on a probability gives the best masks, from one look at each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.evaluate.calibration import class_blocks

THRESHOLDS = tuple(step / 100 for step in range(1, 100))
# Means that differ by rounding alone are a tie.
TIE = 1e-12


@dataclass(frozen=True)
class ThresholdCurve:
    """Mean Dice over images at each threshold.

    Args:
        thresholds: From 0.01 to 0.99; a pixel is predicted where its probability is strictly
            greater.
        dice: Mean Dice of the images (macro) at each, from 0 to 1.
        n_used: Images in the mean.
        n: All images; those without a pixel inside the region of interest are not in the mean.

    Example:
        >>> curve = ThresholdCurve((0.4, 0.5, 0.6), (0.8, 0.8, 0.7), 1, 1)
        >>> curve.best_threshold, curve.best_dice
        (0.5, 0.8)
    """

    thresholds: tuple[float, ...]
    dice: tuple[float, ...]
    n_used: int
    n: int

    @property
    def best_threshold(self) -> float:
        """The threshold of the largest mean; of several the nearest to 0.5, then the lower."""
        largest = max(self.dice)
        ties = (
            threshold
            for threshold, value in zip(self.thresholds, self.dice, strict=True)
            if value >= largest - TIE
        )
        return min(ties, key=lambda threshold: (round(abs(threshold - 0.5), 9), threshold))

    @property
    def best_dice(self) -> float:
        """The mean Dice at that threshold."""
        return self.dice[self.thresholds.index(self.best_threshold)]


class ThresholdSweep:
    """Collects the Dice of each image at 99 thresholds, 0.01 to 0.99.

    Choose the threshold on validation images. Where the test images chose it, label the result
    ``oracle``.

    Example:
        >>> sweep = ThresholdSweep()
        >>> sweep.add(np.array([0.1, 0.3, 0.35]), np.array([False, False, True]))
        >>> sweep.result().best_threshold, sweep.result().best_dice
        (0.34, 1.0)
    """

    def __init__(self) -> None:
        self._dice_sum = np.zeros(len(THRESHOLDS))
        self._n_used = 0
        self._n = 0

    def add(
        self,
        probabilities: NDArray[Any],
        truth: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one image, exactly as ``probabilities > threshold`` would in the same dtype.

        Nothing true and nothing predicted is a Dice of 1.

        Args:
            probabilities: Probability of the class, any shape, from 0 to 1.
            truth: Which pixels are of the class, same shape, bool or 0/1.
            valid: Where True the pixel counts (region of interest); ``None`` counts all.

        Raises:
            DataError: If the shapes differ, a probability is NaN or outside 0 to 1, or the truth
                holds anything but 0 and 1.
        """
        dtype = probabilities.dtype
        # A float32 0.3 is not above 0.3, which it is as float64.
        edges = np.array(THRESHOLDS, dtype if np.issubdtype(dtype, np.floating) else np.float64)
        counts = np.zeros((edges.size + 1, 2), np.int64)
        for chosen, true in class_blocks(probabilities, truth, valid):
            index = np.searchsorted(edges, chosen, "left") * 2 + true
            counts += np.bincount(index, minlength=counts.size).reshape(counts.shape)
        self._n += 1
        if not counts.any():
            return
        self._n_used += 1
        # What exceeds a threshold lies in the bins after it.
        negatives, tp = counts[::-1].cumsum(0)[-2::-1].T
        both = negatives + tp + counts[:, 1].sum()
        dice = np.ones(edges.size)
        np.divide(2 * tp, both, out=dice, where=both > 0)
        self._dice_sum += dice

    def result(self) -> ThresholdCurve:
        """The mean over the images so far.

        Returns:
            The curve.

        Raises:
            DataError: Without any image that has a pixel inside its region of interest.
        """
        if not self._n_used:
            raise DataError(
                "threshold-empty",
                "images",
                expected="at least one with a pixel inside the region of interest",
                found=f"none of {self._n}",
                remedy="add the validation images with their masks",
            )
        dice = tuple(float(value) for value in self._dice_sum / self._n_used)
        return ThresholdCurve(THRESHOLDS, dice, self._n_used, self._n)
