"""Predictions of an image mirrored and at other sizes, averaged.

::

    flip     every mirroring of the axes: 4 of an image, 8 of a volume
    scale    the image at each of several sizes, its probabilities brought back to its own

Both together average every mirroring at every size. A network that treats mirror images alike
gains nothing by ``flip``; others lose some of their errors, for as many times the work.

Source: Krizhevsky, Sutskever and Hinton 2012, NeurIPS, section 4.1, for crops and reflections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import ImagePrediction, most_probable

Prediction = Callable[[NDArray[Any]], ImagePrediction]
"""From an image, shape ``(C, *S)``, to its prediction, with the probabilities of all pixels."""


@dataclass(frozen=True)
class Pass:
    """One of the predictions that are averaged.

    Args:
        size: Size of the image, one number an axis.
        flipped: Axes along which it is mirrored, 0 being the first axis of space.
    """

    size: tuple[int, ...]
    flipped: tuple[int, ...] = ()


def passes(size: Sequence[int], ways: Collection[str], scales: Sequence[float]) -> list[Pass]:
    """All predictions that are averaged for an image of this size.

    Args:
        size: Size of the image, one number an axis.
        ways: Any of ``flip`` and ``scale``.
        scales: Sizes for ``scale``, 1 being the image's own.

    Returns:
        One for each mirroring at each size; without ``ways`` the image as it is.

    Example:
        >>> [(each.size, each.flipped) for each in passes((8, 4), ["flip"], [2.0])]
        [((8, 4), ()), ((8, 4), (0,)), ((8, 4), (1,)), ((8, 4), (0, 1))]
        >>> [each.size for each in passes((8, 4), ["scale"], [0.5, 1.0])]
        [(4, 2), (8, 4)]
    """
    sizes = [tuple(size)]
    if "scale" in ways:
        sizes = [tuple(max(1, round(scale * length)) for length in size) for scale in scales]
    flips = _subsets(len(size)) if "flip" in ways else [()]
    return [Pass(each, flipped) for each in sizes for flipped in flips]


def _subsets(axes: int) -> list[tuple[int, ...]]:
    return [flipped for count in range(axes + 1) for flipped in combinations(range(axes), count)]


def averaged(predict: Prediction, ways: Collection[str], scales: Sequence[float]) -> Prediction:
    """A prediction that averages over mirrorings and sizes.

    Probabilities are averaged, p = 1/n Σ pᵢ, those of pixels and those of whole images. The image
    is resized by linear interpolation, after a Gaussian filter where it gets smaller; its
    probabilities are brought back by linear interpolation.

    Args:
        predict: What predicts an image once.
        ways: Any of ``flip`` and ``scale``.
        scales: Sizes for ``scale``, 1 being the image's own.

    Returns:
        A callable from an image to its averaged prediction, without levels.

    Example:
        >>> def left(image_CYX):
        ...     p = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
        ...     return ImagePrediction(most_probable(p), p)
        >>> image = np.zeros((1, 1, 2), np.uint8)
        >>> averaged(left, ["flip"], [])(image).probabilities_KYX.tolist()
        [[[0.5, 0.5]], [[0.5, 0.5]]]
    """

    def once(image_CYX: NDArray[Any], each: Pass) -> ImagePrediction:
        axes = tuple(1 + axis for axis in each.flipped)
        found = predict(np.flip(_resized(image_CYX, each.size), axes))
        turned_KYX = np.flip(found.probabilities_KYX, axes)
        fitting_KYX = _resized(turned_KYX, image_CYX.shape[1:], smooth=False)
        return replace(found, probabilities_KYX=fitting_KYX)

    def run(image_CYX: NDArray[Any]) -> ImagePrediction:
        first, *others = passes(image_CYX.shape[1:], ways, scales)
        found = once(image_CYX, first)
        pixels_KYX, labels_L = found.probabilities_KYX.copy(), found.image_probabilities_L.copy()
        for each in others:
            found = once(image_CYX, each)
            pixels_KYX += found.probabilities_KYX
            labels_L += found.image_probabilities_L
        pixels_KYX /= 1 + len(others)
        labels_L /= 1 + len(others)
        return ImagePrediction(most_probable(pixels_KYX), pixels_KYX, labels_L)

    return run


def _resized(array_CYX: NDArray[Any], size: Sequence[int], *, smooth: bool = True) -> NDArray[Any]:
    """Every channel at another size, by linear interpolation; the array itself where it fits."""
    from skimage.transform import resize

    if array_CYX.shape[1:] == tuple(size):
        return array_CYX
    options = {"order": 1, "mode": "edge", "anti_aliasing": smooth, "preserve_range": True}
    planes_CYX = [
        resize(plane_YX.astype(np.float32), size, **options)  # type: ignore[no-untyped-call]
        for plane_YX in array_CYX
    ]
    return np.stack(planes_CYX)
