"""The bootstrap over groups: what is drawn, and the interval that follows.

A group (patient, animal) is drawn with all of its cases, because cases of one group are alike.
All columns see the same draws, so that columns can be compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_GROUPS = 3
"""Below this number of groups an interval would say more about the draw than about the data."""


def resampled_means(
    values_NM: NDArray[np.float64], groups: Sequence[str], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Mean of each column in each resample of the groups.

    Args:
        values_NM: Values of each case (row), shape ``(N, M)``; NaN leaves a value out of its mean.
        groups: Group of each case.
        resamples: Number of resamples R.
        seed: Seed of the drawing.

    Returns:
        Means, shape ``(R, M)``; NaN where no drawn group has a value.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap; Field and Welsh 2007,
    Journal of the Royal Statistical Society B 69:369 (whole groups are drawn).

    Example:
        >>> values = np.array([[1.0, 3.0], [1.0, 5.0]])
        >>> means = resampled_means(values, ["a", "b"], 100, 0)
        >>> means.shape, sorted(set(means[:, 1].tolist()))
        ((100, 2), [3.0, 4.0, 5.0])
    """
    names, group_N = np.unique(np.array(groups, dtype=object), return_inverse=True)
    known_NM = ~np.isnan(values_NM)
    member_GN = np.equal.outer(np.arange(names.size), group_N).astype(np.float64)
    sums_GM = member_GN @ np.where(known_NM, values_NM, 0.0)
    used_GM = member_GN @ known_NM
    generator = np.random.default_rng(seed)
    drawn_RG = generator.integers(0, names.size, (resamples, names.size))
    times_RG = np.stack([np.bincount(row, minlength=names.size) for row in drawn_RG])
    counts_RM = times_RG @ used_GM
    means_RM: NDArray[np.float64] = np.full(counts_RM.shape, np.nan)
    np.divide(times_RG @ sums_GM, counts_RM, out=means_RM, where=counts_RM > 0)
    return means_RM


def percentile_interval(means_R: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of resampled means; NaN among them is left out.

    Args:
        means_R: One column of :func:`resampled_means`.

    Returns:
        The 2.5th and the 97.5th percentile.

    Example:
        >>> percentile_interval(np.arange(101.0))
        (2.5, 97.5)
    """
    low, high = np.percentile(means_R[~np.isnan(means_R)], (2.5, 97.5))
    return float(low), float(high)
