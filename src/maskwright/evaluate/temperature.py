"""One number that makes overconfident probabilities honest, and changes no mask."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.calibration import distribution_blocks, ece, reliability
from maskwright.evaluate.masks import check_shape, class_ids

LOWEST, HIGHEST = 0.05, 20.0

Case = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature, and what it gains on the pixels it was fitted to.

    Args:
        value: The temperature T: above 1 the probabilities were too sure, below 1 too timid.
        nll_before: Mean cross-entropy in nats before.
        nll_after: The same after; never larger.
        ece_before: Expected calibration error before, mean of the classes after the first, with
            15 bins.
        ece_after: The same after; it may be larger, because it is not what is minimised.
        n_px: Pixels it was fitted to.

    Example:
        >>> Temperature(20.0, 0.7, 0.6, 0.2, 0.1, 100).is_at_limit
        True
    """

    value: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    n_px: int

    @property
    def is_at_limit(self) -> bool:
        """Whether the search ended at its limit, so that the value says little."""
        return self.value in (LOWEST, HIGHEST)


def fit_temperature(cases: Iterable[Case], max_px: int = 200_000, seed: int = 0) -> Temperature:
    """Find the T for which p^(1/T) / Σ p^(1/T) has the smallest cross-entropy, 0.05 ≤ T ≤ 20.

    That is softmax(logits / T), without the logits. The cross-entropy is convex in 1/T, so a
    bounded search finds its only minimum. Fit on validation images, never on test images.

    Args:
        cases: For each image its probabilities, shape ``(K, *S)``; its true class ids, shape
            ``S``; and its region of interest, bool of shape ``S``, or ``None``. One at a time is
            held, so a generator will do.
        max_px: Pixels to fit to, drawn at random from all images together. They are not balanced
            between classes, which would change what is calibrated.
        seed: Seed of the draw.

    Returns:
        The temperature. A probability of 0 counts as the smallest number its dtype holds.

    Raises:
        ConfigError: For a ``max_px`` below 1.
        DataError: Without any pixel, for shapes or numbers of classes that differ, and for
            probabilities or class ids out of range.

    Source: Guo et al. 2017, ICML, arXiv 1706.04599.

    Example:
        >>> too_sure = np.repeat([[0.99], [0.01]], 100, axis=1)
        >>> fitted = fit_temperature([(too_sure, np.arange(100) % 4 == 0, None)])
        >>> round(fitted.value, 2), round(fitted.ece_before, 2), round(fitted.ece_after, 2)
        (4.18, 0.24, 0.0)
    """
    from scipy.optimize import minimize_scalar

    log_KN, truth_N = _sample(cases, max_px, seed)

    def nll(temperature: float) -> float:
        scaled_KN = log_KN / temperature
        top_N = scaled_KN.max(0)
        log_sum_N = top_N + np.log(np.exp(scaled_KN - top_N).sum(0))
        return float(np.mean(log_sum_N - np.take_along_axis(scaled_KN, truth_N[None], 0)[0]))

    found = minimize_scalar(
        lambda log_temperature: nll(math.exp(log_temperature)),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    # The search stops short of its limits, and beside 1 where nothing is to be gained.
    losses = {t: nll(t) for t in (1.0, LOWEST, HIGHEST, math.exp(found.x))}
    value = min(losses, key=losses.__getitem__)
    return Temperature(
        value, losses[1.0], losses[value], _ece(log_KN, truth_N, 1.0), _ece(log_KN, truth_N, value),
        truth_N.size,
    )  # fmt: skip


def apply_temperature(probabilities_KYX: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """Scale probabilities: p^(1/T) / Σ p^(1/T), each from 0 to 1.

    The winning class of a pixel stays the same, even where rounding makes a tie; 0 and 1 stay 0
    and 1. With T = 1 the values are those that came in.

    Args:
        probabilities_KYX: Shape ``(K, *S)`` with at least two classes; left as they are.
        temperature: T, above 0.

    Returns:
        The scaled probabilities, same shape.

    Raises:
        ConfigError: For a temperature that is not above 0 and finite.
        DataError: If a probability is NaN or outside 0 to 1, or a pixel's do not sum to 1.

    Source: Guo et al. 2017, ICML, arXiv 1706.04599.

    Example:
        >>> apply_temperature(np.array([[0.9, 0.5], [0.1, 0.5]]), 2.0).tolist()
        [[0.75, 0.5], [0.25, 0.5]]
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(
            "temperature-range",
            "temperature",
            expected="a number above 0",
            found=str(temperature),
            remedy="use 1 to leave the probabilities as they are",
        )
    scaled_KYX = np.empty(probabilities_KYX.shape, np.float32)
    scaled_KN = scaled_KYX.reshape(probabilities_KYX.shape[0] if probabilities_KYX.ndim else 1, -1)
    for block, _, p_KN in distribution_blocks(probabilities_KYX):
        winner_N = p_KN.argmax(0)
        if temperature != 1:
            # Relative to the largest no power overflows, and 0 needs no logarithm.
            p_KN = (p_KN / p_KN.max(0)) ** (1 / temperature)
            p_KN /= p_KN.sum(0)
        result_KN = p_KN.astype(np.float32)
        rival_N = result_KN.argmax(0)
        tied_N = np.flatnonzero(rival_N != winner_N)
        result_KN[winner_N[tied_N], tied_N] = np.nextafter(
            result_KN[rival_N[tied_N], tied_N], np.float32(2)
        )
        scaled_KN[:, block] = result_KN
    return scaled_KYX


def _sample(
    cases: Iterable[Case], max_px: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logarithms and true classes of pixels drawn from all cases alike, in one pass.

    Every pixel draws a number, and those with the smallest numbers stay.
    """
    if max_px < 1:
        raise ConfigError(
            "temperature-pixels",
            "max_px",
            expected="at least 1",
            found=str(max_px),
            remedy="200,000 pixels are plenty",
        )
    generator = np.random.default_rng(seed)
    log_KN: NDArray[np.float64] | None = None
    drawn_N, truth_N = np.empty(0), np.empty(0, np.intp)
    for probabilities_KYX, truth_YX, valid in cases:
        check_shape(truth_YX, "truth", probabilities_KYX.shape[1:])
        dtype = probabilities_KYX.dtype
        real = np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float32)
        for block, kept, p_KN in distribution_blocks(probabilities_KYX, valid):
            ids_N = np.ravel(truth_YX)[block]
            ids_N = class_ids(ids_N if kept is None else ids_N[kept], p_KN.shape[0], "truth")
            if log_KN is None:
                log_KN = np.empty((p_KN.shape[0], 0))
            elif log_KN.shape[0] != p_KN.shape[0]:
                raise DataError(
                    "probabilities-classes",
                    "probabilities",
                    expected=f"{log_KN.shape[0]} classes, as in the images before",
                    found=str(p_KN.shape[0]),
                    remedy="pass the predictions of one network",
                )
            number_N = generator.random(ids_N.size)
            below_N = number_N <= (drawn_N.max() if drawn_N.size >= max_px else 1.0)
            new_KN = np.log(np.maximum(p_KN[:, below_N], float(real.smallest_subnormal)))
            drawn_N = np.concatenate((drawn_N, number_N[below_N]))
            log_KN = np.concatenate((log_KN, new_KN), axis=1)
            truth_N = np.concatenate((truth_N, ids_N[below_N]))
            if drawn_N.size > max_px:
                stay = np.argpartition(drawn_N, max_px - 1)[:max_px]
                drawn_N, log_KN, truth_N = drawn_N[stay], log_KN[:, stay], truth_N[stay]
    if log_KN is None:
        raise DataError(
            "temperature-empty",
            "cases",
            expected="at least one pixel inside a region of interest",
            found="none",
            remedy="pass the validation images with their masks",
        )
    return log_KN, truth_N


def _ece(log_KN: NDArray[np.float64], truth_N: NDArray[np.intp], temperature: float) -> float:
    p_KN = np.exp((log_KN - log_KN.max(0)) / temperature)
    p_KN /= p_KN.sum(0)
    errors = [ece(reliability(p_KN[k], truth_N == k)) for k in range(1, p_KN.shape[0])]
    return sum(errors) / len(errors)
