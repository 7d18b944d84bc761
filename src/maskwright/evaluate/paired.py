"""Paired tests: whether one method is better than another on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_PAIRS = 6
"""Fewer pairs have no p-value: the smallest one that five can give is 0.0625."""


def signed_rank(difference_G: NDArray[np.float64]) -> tuple[float | None, str | None]:
    """Wilcoxon's signed-rank test of paired differences, two-sided.

    Differences of 0 are ranked with the others and then set aside (Pratt), so that they count
    against an effect. The p-value is exact up to 50 pairs without ties and up to 13 with some;
    beyond, the normal approximation is used.

    Args:
        difference_G: One difference for each pair.

    Returns:
        The p-value and ``None``; ``None`` and the reason below six pairs; 1 and the reason where
        every difference is 0.

    Source: Wilcoxon 1945, Biometrics Bulletin 1:80; Pratt 1959, Journal of the American
    Statistical Association 54:655; computed by ``scipy.stats.wilcoxon``.

    Example:
        >>> signed_rank(np.array([1.0, 2, 3, 4, 5, 6]))
        (0.03125, None)
    """
    pairs = difference_G.size
    if pairs < MIN_PAIRS:
        are = "group is" if pairs == 1 else "groups are"
        return None, (
            f"{pairs} {are} too few: {MIN_PAIRS} are needed, as {MIN_PAIRS - 1} can never reach "
            "p = 0.05"
        )
    if not difference_G.any():
        return 1.0, "every difference is 0"
    from scipy.stats import wilcoxon

    return float(wilcoxon(difference_G, zero_method="pratt").pvalue), None


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction: the k-th smallest of m p-values is multiplied by m − k + 1.

    No corrected value is smaller than that of a smaller p-value, and none is above 1.

    Args:
        p_values: The p-values of one family.

    Returns:
        Corrected p-values in the same order.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005])
        (0.03, 0.06, 0.06, 0.02)
    """
    p_P = np.asarray(p_values, np.float64)
    order = np.argsort(p_P, kind="stable")
    corrected_P = np.empty(p_P.size)
    corrected_P[order] = np.maximum.accumulate(p_P[order] * np.arange(p_P.size, 0, -1))
    return tuple(np.minimum(corrected_P, 1.0).tolist())


def on_grid(
    values: NDArray[np.float64], like: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Round to 12 digits of the largest value, so that what differs only by rounding ties.

    Args:
        values: Values that will be ranked.
        like: Values whose largest counts instead, such as those that were subtracted.

    Returns:
        The rounded values.

    Example:
        >>> on_grid(np.array([0.1 + 0.2, 0.3])).tolist()
        [0.3, 0.3]
    """
    largest = float(np.abs(values if like is None else like).max())
    if largest == 0:
        return values
    return np.round(values, 12 - math.ceil(math.log10(largest)))
