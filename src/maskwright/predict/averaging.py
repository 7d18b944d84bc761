"""Predictions of an image mirrored, turned and at other sizes, averaged.

::

    flip     every mirroring of the axes: 4 of an image, 8 of a volume
    rotate   quarter turns in the plane of Y and X: 4
    scale    the image at each of several sizes, its probabilities brought back to its own

``flip`` and ``rotate`` together are all symmetries: the 8 of a square, 16 of a volume. With
``scale`` every one of them is taken at every size. A network that treats mirror images alike gains
nothing by ``flip``; others lose some of their errors, for as many times the work.

Source: Krizhevsky, Sutskever and Hinton 2012, NeurIPS, section 4.1, for crops and reflections.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import ImagePrediction, Part, most_probable

Variants = Callable[[Sequence[NDArray[Any]]], Iterable[Part]]
"""From turned copies of an image, each ``(C, *S)``, to finished parts of all of them, as
:func:`maskwright.predict.variants.predict_variants` gives them."""


@dataclass(frozen=True)
class Pass:
    """One of the predictions that are averaged.

    Args:
        size: Size of the image before it is turned, one number an axis.
        flipped: Axes along which it is mirrored, 0 being the first axis of space.
        transposed: Whether Y and X change places before that.
    """

    size: tuple[int, ...]
    flipped: tuple[int, ...] = ()
    transposed: bool = False

    @property
    def read_size(self) -> tuple[int, ...]:
        """Size of what is predicted."""
        return (*self.size[:-2], *self.size[:-3:-1]) if self.transposed else self.size

    def turned(self, array_CYX: NDArray[Any]) -> NDArray[Any]:
        """A view of an array, shape ``(C, *size)``, as it is predicted.

        Example:
            >>> quarter = Pass((2, 3), flipped=(0,), transposed=True)
            >>> quarter.turned(np.array([[[1, 2, 3], [4, 5, 6]]])).tolist()
            [[[3, 6], [2, 5], [1, 4]]]
        """
        moved = array_CYX.swapaxes(-1, -2) if self.transposed else array_CYX
        return np.flip(moved, tuple(1 + axis for axis in self.flipped))


def passes(size: Sequence[int], ways: Collection[str], scales: Sequence[float]) -> list[Pass]:
    """All predictions that are averaged for an image of this size.

    Args:
        size: Size of the image, one number an axis.
        ways: Any of ``flip``, ``rotate`` and ``scale``.
        scales: Sizes for ``scale``, 1 being the image's own.

    Returns:
        One for each symmetry at each size, those that read the same size side by side; without
        ``ways`` the image as it is.

    Example:
        >>> [(each.size, each.flipped) for each in passes((8, 4), ["flip"], [2.0])]
        [((8, 4), ()), ((8, 4), (0,)), ((8, 4), (1,)), ((8, 4), (0, 1))]
        >>> [(each.read_size, each.flipped) for each in passes((8, 4), ["rotate"], [2.0])]
        [((8, 4), ()), ((8, 4), (0, 1)), ((4, 8), (0,)), ((4, 8), (1,))]
        >>> [each.size for each in passes((8, 4), ["scale"], [0.5, 1.0])]
        [(4, 2), (8, 4)]
    """
    sizes = [tuple(size)]
    if "scale" in ways:
        sizes = [tuple(max(1, round(scale * length)) for length in size) for scale in scales]
    turns = _turns(len(size), ways)
    return [Pass(each, flipped, transposed) for each in sizes for flipped, transposed in turns]


def _turns(axes: int, ways: Collection[str]) -> list[tuple[tuple[int, ...], bool]]:
    """Mirrored axes, and whether Y and X change places before that."""
    every = [flipped for count in range(axes + 1) for flipped in combinations(range(axes), count)]
    y, x = axes - 2, axes - 1
    if "flip" in ways:
        return [(flipped, turn) for turn in ((False, True) if "rotate" in ways else (False,))
                for flipped in every]  # fmt: skip
    if "rotate" in ways:
        return [((), False), ((y, x), False), ((y,), True), ((x,), True)]
    return [((), False)]


def averaged(
    predict: Variants,
    ways: Collection[str],
    scales: Sequence[float],
    *,
    at_once: int = 1,
) -> Callable[[NDArray[Any]], ImagePrediction]:
    """A prediction that averages over symmetries and sizes.

    Probabilities are averaged, p = 1/n Σ pᵢ, those of pixels and those of whole images. The image
    is resized by linear interpolation, after a Gaussian filter where it gets smaller; its
    probabilities are brought back by linear interpolation.

    Args:
        predict: What predicts turned copies of an image together.
        ways: Any of ``flip``, ``rotate`` and ``scale``.
        scales: Sizes for ``scale``, 1 being the image's own.
        at_once: How many copies are predicted together at most.

    Returns:
        A callable from an image to its averaged prediction, without levels.

    Example:
        >>> def left(images):
        ...     p = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
        ...     return [Part((slice(0, 1), slice(0, 2)), np.concatenate([p] * len(images)))]
        >>> image = np.zeros((1, 1, 2), np.uint8)
        >>> averaged(left, ["flip"], [], at_once=4)(image).probabilities_KYX.tolist()
        [[[0.5, 0.5]], [[0.5, 0.5]]]
    """

    def run(image_CYX: NDArray[Any]) -> ImagePrediction:
        own = image_CYX.shape[1:]
        every = passes(own, ways, scales)
        total_KYX, labels_L = np.empty(0, np.float32), np.empty(0, np.float32)
        for size in dict.fromkeys(each.size for each in every):
            resized_CYX = _resized(image_CYX, size)
            sums_KYX = total_KYX if size == own else np.empty(0, np.float32)
            for batch in _batches([each for each in every if each.size == size], at_once):
                for part in predict([each.turned(resized_CYX) for each in batch]):
                    shares_VKS = part.probabilities_KYX
                    shares_VKS = shares_VKS.reshape(len(batch), -1, *shares_VKS.shape[1:])
                    if not sums_KYX.size:
                        sums_KYX = np.zeros((shares_VKS.shape[1], *size), np.float32)
                    for each, shares_KS in zip(batch, shares_VKS, strict=True):
                        each.turned(sums_KYX)[(slice(None), *part.where)] += shares_KS
                    if part.image_L.size:
                        share_L = part.image_L.reshape(len(batch), -1).sum(0)
                        labels_L = labels_L + share_L if labels_L.size else share_L
            if size == own:
                total_KYX = sums_KYX
            else:
                back_KYX = _resized(sums_KYX, own, smooth=False)
                total_KYX = total_KYX + back_KYX if total_KYX.size else back_KYX
        total_KYX /= len(every)
        labels_L /= len(every)
        return ImagePrediction(most_probable(total_KYX), total_KYX, labels_L)

    return run


def _batches(every: Sequence[Pass], at_once: int) -> Iterator[list[Pass]]:
    """Passes that read the same size, so many together."""
    for size in dict.fromkeys(each.read_size for each in every):
        same = (each for each in every if each.read_size == size)
        while batch := list(islice(same, at_once)):
            yield batch


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
