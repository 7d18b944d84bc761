"""Image quality in a few numbers, to see whether poor scores come with poor images.

All of them are free of units: multiplying every intensity by one positive number changes none.
Sharpness and noise are measured within slices, because pixels of neighbouring slices are often
further apart. They describe an image, they do not judge it: a sharp texture and noise look alike
to them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError

MIN_POINTS = 6
"""Fewer points have no correlation: any few points lie on some line."""

# Up to here every order of the points is tried; beyond, the t distribution is near enough.
_EXACT_POINTS = 8

QUALITY: Mapping[str, str] = MappingProxyType(
    {
        "contrast": "how far dark and bright are apart; 0 is a flat grey, 1 reaches down to black",
        "noise": "grain, as a share of the way from dark to bright; 0 is perfectly smooth",
        "sharpness": "how much of the variation is between neighbouring pixels; a blurred image "
        "is near 0, pure noise near 20",
        "brightness": "mean intensity as a share of the bright end; 0 is black",
        "separation": "how far apart the classes are in intensity; 0 means intensity says "
        "nothing about the class, 1 means it says everything",
    }
)
"""What each number of :class:`Quality` means, in plain words."""


@dataclass(frozen=True)
class Quality:
    """The quality of one image, mean over its channels.

    Args:
        contrast: (p99 − p1) / (|p99| + |p1|) of the intensities, from 0 to 1; 1 for images with
            values on both sides of 0.
        noise: Estimated standard deviation of the noise / (p99 − p1), from 0.
        sharpness: Variance of the Laplacian / variance of the intensities, from 0 to 64.
        brightness: Mean intensity / max(|p1|, |p99|).
        separation: Variance between the classes / variance of the intensities (η²), from 0 to 1;
            ``None`` without classes.
    """

    contrast: float
    noise: float
    sharpness: float
    brightness: float
    separation: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def image_quality(image_CYX: NDArray[Any], classes_YX: NDArray[Any] | None = None) -> Quality:
    """Contrast, noise, sharpness and brightness of an image, and how far its classes separate.

    Noise and sharpness of a volume are means over its slices. A constant channel counts as 0 in
    all of them; an image narrower than 3 px has noise and sharpness 0.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        classes_YX: Class ids, shape of the image without channels.

    Returns:
        The numbers, see ``QUALITY`` for what they mean.

    Raises:
        DataError: When the image has an intensity that is no number, or the classes another size.

    Source: contrast: Michelson 1927, Studies in Optics; noise: Immerkær 1996, Computer Vision and
    Image Understanding 64:300; sharpness: Pech-Pacheco et al. 2000, ICPR 3:314; separation: Otsu
    1979, IEEE Transactions on Systems, Man and Cybernetics 9:62.

    Example:
        >>> stripes = np.tile([50.0, 50, 50, 150, 150, 150], (1, 8, 5))
        >>> found = image_quality(stripes, stripes[0] > 100)
        >>> found.contrast, found.noise, found.separation
        (0.5, 0.0, 1.0)
    """
    if classes_YX is not None and classes_YX.shape != image_CYX.shape[1:]:
        raise DataError(
            "mask-shape",
            "classes",
            expected=f"shape {image_CYX.shape[1:]}",
            found=str(classes_YX.shape),
            remedy="pass the mask of this image",
        )
    channels = [_channel_quality(channel_YX, classes_YX) for channel_YX in image_CYX]
    contrast, noise, sharpness, brightness, separation = (
        _mean(column) for column in zip(*channels, strict=True)
    )
    return Quality(
        contrast, noise, sharpness, brightness, None if classes_YX is None else separation
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _channel_quality(
    channel_YX: NDArray[Any], classes_YX: NDArray[Any] | None
) -> tuple[float, float, float, float, float]:
    values_YX = channel_YX.astype(np.float64)
    mean = float(values_YX.mean())
    if not math.isfinite(mean):
        raise DataError(
            "quality-not-finite",
            "image",
            expected="finite numbers in every pixel",
            found="NaN or infinity",
            remedy="replace these pixels",
        )
    if values_YX.max() == values_YX.min():
        return 0.0, 0.0, 0.0, 0.0, 0.0
    low, high = (float(end) for end in np.percentile(values_YX, (1, 99)))
    white = max(abs(low), abs(high))
    variance = float(values_YX.var())
    slices_ZYX = values_YX.reshape(-1, *values_YX.shape[-2:])
    per_slice = [_noise_and_laplacian(slice_YX) for slice_YX in slices_ZYX]
    noise, laplacian = (_mean(column) for column in zip(*per_slice, strict=True))
    return (
        (high - low) / (abs(high) + abs(low)) if white else 0.0,
        noise / (high - low) if high > low else 0.0,
        laplacian / variance,
        mean / white if white else 0.0,
        0.0 if classes_YX is None else _separation(values_YX, classes_YX, mean, variance),
    )


def _noise_and_laplacian(slice_YX: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviation of the noise, and variance of the Laplacian."""
    if min(slice_YX.shape) < 3:
        return 0.0, 0.0
    along_y = slice_YX[:-2] - 2 * slice_YX[1:-1] + slice_YX[2:]
    along_x = slice_YX[:, :-2] - 2 * slice_YX[:, 1:-1] + slice_YX[:, 2:]
    laplacian = float((along_y[:, 1:-1] + along_x[1:-1]).var())
    # The product of both second differences is blind to straight edges; on white noise of
    # standard deviation σ it has 6σ, and the mean of its absolute value is 6σ √(2/π).
    mask_YX = along_y[:, :-2] - 2 * along_y[:, 1:-1] + along_y[:, 2:]
    return float(np.abs(mask_YX).mean()) * math.sqrt(math.pi / 2) / 6, laplacian


def _separation(
    values_YX: NDArray[np.float64], classes_YX: NDArray[Any], mean: float, variance: float
) -> float:
    _, class_N = np.unique(classes_YX, return_inverse=True)
    class_N = class_N.ravel()
    pixels_K = np.bincount(class_N)
    means_K = np.bincount(class_N, values_YX.ravel()) / pixels_K
    between = float((pixels_K * (means_K - mean) ** 2).sum()) / values_YX.size
    return min(1.0, between / variance)


@dataclass(frozen=True)
class Trend:
    """Whether one quantity rises or falls with another.

    Args:
        n: Points with both values.
        spearman: Spearman's rank correlation, from −1 to 1; ``None`` where it is undefined.
        p_value: Two-sided p-value; ``None`` where there is no correlation.
        sentence: The same in words, or why there is none.
    """

    n: int
    spearman: float | None
    p_value: float | None
    sentence: str


def trend(x: Sequence[float], y: Sequence[float], *, x_name: str = "x", y_name: str = "y") -> Trend:
    """Spearman's rank correlation of two quantities, such as image quality and Dice.

    Points without a value (NaN) in either are left out. Below six points, or where a quantity is
    the same in all, there is no correlation and the sentence says why. The p-value is exact up
    to eight points; beyond, the t distribution is used. It is not corrected for trying several
    quantities.

    Args:
        x: One quantity.
        y: The other, of the same points.
        x_name: What the first is called in the sentence.
        y_name: What the other is called.

    Returns:
        The correlation, and a sentence about it.

    Raises:
        DataError: When the lists differ in length.

    Source: Spearman 1904, American Journal of Psychology 15:72.

    Example:
        >>> trend([1, 2, 3, 4, 5, 6], [0.3, 0.4, 0.6, 0.7, 0.8, 0.9]).sentence
        'y rises with x (rank correlation 1.00, p = 0.003, 6 points).'
        >>> trend([1, 2], [3, 4]).sentence
        'No correlation below 6 points (2 here).'
    """
    if len(x) != len(y):
        raise DataError(
            "trend-length",
            "trend",
            expected=f"{len(x)} values of each quantity",
            found=f"{len(x)} and {len(y)}",
            remedy="pass one value of each for every image",
        )
    points_2N = np.array([x, y], np.float64)
    points_2N = points_2N[:, np.isfinite(points_2N).all(axis=0)]
    n = points_2N.shape[1]
    if n < MIN_POINTS:
        return Trend(n, None, None, f"No correlation below {MIN_POINTS} points ({n} here).")
    same_2 = (points_2N == points_2N[:, :1]).all(axis=1)
    if same_2.any():
        constant = x_name if same_2[0] else y_name
        return Trend(n, None, None, f"No correlation: {constant} is the same in all {n} points.")
    from scipy.stats import spearmanr

    found = spearmanr(*points_2N)
    rho = float(found.statistic)
    p_value = _exact_p_value(points_2N) if n <= _EXACT_POINTS else float(found.pvalue)
    p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    if p_value >= 0.05:
        words = f"{y_name} shows no clear trend with {x_name}"
    else:
        words = f"{y_name} {'rises' if rho > 0 else 'falls'} with {x_name}"
    return Trend(n, rho, p_value, f"{words} (rank correlation {rho:.2f}, {p_text}, {n} points).")


def _exact_p_value(points_2N: NDArray[np.float64]) -> float:
    """Share of all orders of one quantity that correlate as much, either way."""
    from scipy.stats import rankdata

    ranks_2N = rankdata(points_2N, axis=1)
    ranks_2N -= ranks_2N.mean(axis=1, keepdims=True)
    orders = np.array(list(itertools.permutations(range(points_2N.shape[1]))))
    products = np.abs(ranks_2N[0][orders] @ ranks_2N[1])
    return float((products >= abs(float(ranks_2N[0] @ ranks_2N[1])) - 1e-9).mean())
