"""From classes of pixels to objects: connected pieces, or pieces cut where they are narrow.

::

    components   every connected piece of a class is an object
    watershed    a piece with several thick parts is cut at the narrow places between them

Where the network tells the insides of objects from their borders, it is their insides that are
connected or cut, and each takes the pixels around it that are nearest to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A place counts as narrow between two parts when it is this much thinner than the thinner of them;
# less is the unevenness of any outline.
_NARROWER = 1.2
_THINNER_PX = 0.75

SMALLEST_CUT_PX = 3
"""Fewer pixels that are connected are one object, whatever cuts them."""

CERTAIN = 65535
"""The certainty of a pixel whose class has a probability of 1."""


def find_objects(
    classes_YX: NDArray[np.uint8],
    *,
    method: str = "components",
    min_px: int = 0,
    certainty_YX: NDArray[np.uint16] | None = None,
    spacing: Sequence[float] | None = None,
    interior_YX: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint32]:
    """Number the objects of all classes but the first.

    Pixels that share a corner are connected. The numbers follow the first pixel of each object in
    the order of the array. How a connected piece is cut depends on nothing outside it.

    Args:
        classes_YX: Class ids, shape ``(Y, X)`` or ``(Z, Y, X)``; 0 is the background.
        method: ``components``, or ``watershed``: the distance to the outline, times the probability
            where it is given, is flooded from its maxima; neighbouring basins whose saddle lies
            less than a sixth or 0.75 pixels below the lower maximum are one object.
        min_px: Objects of fewer pixels are left out.
        certainty_YX: Probability of each pixel's class, see :func:`certainty`, for ``watershed``.
        spacing: Length of a pixel along each axis, in any unit; 1 by default.
        interior_YX: The insides of the objects of two classes, where they are predicted; the
            method is then for them. A piece without an inside is one object.

    Returns:
        A number for each object from 1, 0 where there is none, of the shape of the classes.

    Source: Vincent and Soille 1991, IEEE Transactions on Pattern Analysis 13:583, for the
    watershed; Edelsbrunner, Letscher and Zomorodian 2002, Discrete & Computational Geometry 28:511,
    for joining basins by the depth between them.

    Example:
        >>> find_objects(np.array([[1, 1, 0], [0, 0, 2]], np.uint8)).tolist()
        [[1, 1, 0], [0, 0, 2]]
        >>> find_objects(np.array([[1, 1, 0], [0, 0, 2]], np.uint8), min_px=2).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    from scipy import ndimage

    pieces = connected_pieces(classes_YX if interior_YX is None else classes_YX > 0)
    if interior_YX is not None or method == "watershed":
        count = int(pieces.max(initial=0))
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        boxes = ndimage.find_objects(pieces.astype(np.int64))
        for number in np.flatnonzero(sizes[1:] >= max(min_px, SMALLEST_CUT_PX)) + 1:
            box = framed(boxes[number - 1], pieces.shape)
            parts = cut_piece(
                pieces[box] == number,
                None if certainty_YX is None else certainty_YX[box],
                spacing,
                None if interior_YX is None else interior_YX[box],
                method=method,
            )
            # The first part keeps the number of the piece.
            others = parts > 1
            pieces[box][others] = count - 1 + parts[others]
            count += int(parts.max()) - 1
    return numbered(pieces, min_px)


def certainty(
    probabilities_KYX: NDArray[np.float32], classes_YX: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """Probability of each pixel's class, 0 to 1, in steps of 1/65535.

    Args:
        probabilities_KYX: Probabilities of all classes.
        classes_YX: The class of each pixel.

    Returns:
        Steps from 0 to 65535, of the shape of the classes.

    Example:
        >>> p = np.array([[0.25, 1.0], [0.75, 0.0]], np.float32)
        >>> certainty(p, np.array([1, 0], np.uint8)).tolist()
        [49151, 65535]
    """
    chosen_YX = np.take_along_axis(probabilities_KYX, classes_YX[None], 0)[0]
    steps_YX: NDArray[np.uint16] = np.rint(chosen_YX * np.float32(CERTAIN)).astype(np.uint16)
    return steps_YX


def connected_pieces(array: NDArray[Any]) -> NDArray[np.uint32]:
    """Connected pixels of equal values, numbered; those of 0 are 0."""
    import cc3d

    connectivity: Any = 8 if array.ndim == 2 else 26
    # cc3d 4.1.1 labels some masks of bool wrongly; as numbers they are labelled rightly.
    values = array.view(np.uint8) if array.dtype == bool else array
    pieces: NDArray[Any] = cc3d.connected_components(
        values, connectivity=connectivity, out_dtype=np.uint32
    )
    return pieces.astype(np.uint32, copy=False)


def framed(box: tuple[slice, ...], size: Sequence[int]) -> tuple[slice, ...]:
    """A box with the pixels around it that lie in the image."""
    return tuple(
        slice(max(part.start - 1, 0), min(part.stop + 1, length))
        for part, length in zip(box, size, strict=True)
    )


def cut_piece(
    inside_YX: NDArray[np.bool_],
    certainty_YX: NDArray[np.uint16] | None = None,
    spacing: Sequence[float] | None = None,
    interior_YX: NDArray[np.bool_] | None = None,
    *,
    method: str = "watershed",
) -> NDArray[np.int64]:
    """The objects that a connected piece of a class consists of.

    Args:
        inside_YX: The piece, in its box with a pixel around it, see :func:`framed`.
        certainty_YX: As for :func:`find_objects`, of the same box.
        spacing: Length of a pixel along each axis.
        interior_YX: The insides of objects, of the same box, where they are predicted.
        method: With insides alone: whether they are cut too, or every connected one is an object.

    Returns:
        A number for each object from 1, 0 outside the piece.

    Example:
        >>> cut_piece(np.ones((1, 4), bool), interior_YX=np.array([[1, 0, 0, 1]], bool)).tolist()
        [[1, 1, 2, 2]]
    """
    if interior_YX is not None:
        core_YX = interior_YX & inside_YX
        if method == "watershed" and core_YX.any():
            seeds = _basins(_relief(core_YX, spacing), core_YX)
        else:
            seeds = connected_pieces(core_YX).astype(np.int64)
        return _grown(seeds, inside_YX, spacing)
    relief_YX = _relief(inside_YX, spacing)
    if certainty_YX is not None:
        relief_YX *= certainty_YX.astype(np.float32) / np.float32(CERTAIN)
    return _basins(relief_YX, inside_YX)


def numbered(objects: NDArray[Any], min_px: int = 0) -> NDArray[np.uint32]:
    """Number objects from 1 in the order of their first pixels, small ones left out.

    Args:
        objects: A number for each object, 0 where there is none, any number of axes.
        min_px: Objects of fewer pixels are left out.

    Example:
        >>> numbered(np.array([7, 7, 0, 3])).tolist(), numbered(np.array([7, 7, 0, 3]), 2).tolist()
        ([1, 1, 0, 2], [1, 1, 0, 0])
    """
    flat = objects.ravel()
    places = np.flatnonzero(flat)
    found = flat[places]
    if not found.size:
        return np.zeros(objects.shape, np.uint32)
    sizes = np.bincount(found)
    first = np.full(sizes.size, flat.size, np.int64)
    first[found[::-1]] = places[::-1]  # of several the last, which is the first pixel, remains
    kept = np.flatnonzero((sizes > 0) & (sizes >= min_px))
    table = np.zeros(sizes.size, np.uint32)
    table[kept[np.argsort(first[kept])]] = np.arange(1, kept.size + 1)
    result: NDArray[np.uint32] = table[objects]
    return result


def _grown(
    seeds: NDArray[np.int64], where: NDArray[np.bool_], spacing: Sequence[float] | None
) -> NDArray[np.int64]:
    """Numbered insides with the pixels of the piece that are nearest to them."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    if seeds.max() < 2:
        return where.astype(np.int64)
    every = np.ones((3,) * where.ndim, bool)
    away = ndimage.distance_transform_edt(seeds == 0, sampling=spacing)
    grown: NDArray[np.int64] = watershed(away, seeds, connectivity=every, mask=where)  # type: ignore[no-untyped-call]
    return grown


def _relief(where: NDArray[np.bool_], spacing: Sequence[float] | None) -> NDArray[np.float32]:
    """Distance to the outline in pixels of the finest axis, a little smoothed."""
    from scipy import ndimage

    if where.all():
        return np.ones(where.shape, np.float32)
    steps = np.ones(where.ndim) if spacing is None else np.array(spacing) / min(spacing)
    # What lies beyond the image is unknown: no outline runs along its border.
    distance = ndimage.distance_transform_edt(where, sampling=steps)
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(
        distance.astype(np.float32), 1 / steps, mode="nearest"
    )
    return smooth


def _basins(relief: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Basins of the maxima from 1, joined where hardly anything lies between them."""
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    every = np.ones((3,) * where.ndim, bool)
    # A rim below all values, so that a mask as large as the image has a top too.
    rimmed = np.pad(np.where(where, relief, -1), 1, constant_values=-1)
    inner = (slice(1, -1),) * where.ndim
    tops = local_maxima(rimmed, footprint=every)[inner] & where  # type: ignore[no-untyped-call]
    seeds = connected_pieces(tops)
    count = int(seeds.max())
    if count == 1:
        return where.astype(np.int64)
    basins = watershed(-relief, seeds.astype(np.int32), connectivity=every, mask=where)  # type: ignore[no-untyped-call]
    peaks = np.zeros(count + 1, np.float32)
    peaks[seeds[tops]] = relief[tops]
    joined = _joined(_saddles(basins, relief), peaks)
    _, dense = np.unique(joined, return_inverse=True)
    result: NDArray[np.int64] = dense[basins]
    return result


def _saddles(basins: NDArray[Any], relief: NDArray[np.float32]) -> list[tuple[float, int, int]]:
    """The highest way from each basin to each neighbour, the highest first."""
    ones, others, heights = [], [], []
    for axis in range(basins.ndim):
        near = tuple(slice(None, -1 if a == axis else None) for a in range(basins.ndim))
        far = tuple(slice(1 if a == axis else 0, None) for a in range(basins.ndim))
        a, b = basins[near], basins[far]
        border = (a != b) & (a > 0) & (b > 0)
        ones.append(np.minimum(a[border], b[border]).astype(np.int64))
        others.append(np.maximum(a[border], b[border]).astype(np.int64))
        heights.append(np.minimum(relief[near][border], relief[far][border]))
    one, other, height = (np.concatenate(parts) for parts in (ones, others, heights))
    order = np.argsort(-height, kind="stable")
    pairs = np.stack([one[order], other[order]], axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    first.sort()
    return [(float(height[order][i]), int(pairs[i, 0]), int(pairs[i, 1])) for i in first.tolist()]


def _joined(
    saddles: Sequence[tuple[float, int, int]], peaks: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Basin → object, the shallowest separations given up first."""
    owner = np.arange(peaks.size)

    def root(basin: int) -> int:
        while owner[basin] != basin:
            owner[basin] = owner[owner[basin]]
            basin = int(owner[basin])
        return basin

    for height, one, other in saddles:
        low, high = sorted((root(one), root(other)), key=lambda basin: float(peaks[basin]))
        lower = float(peaks[low])
        if low != high and height > min(lower / _NARROWER, lower - _THINNER_PX):
            owner[low] = high
    return np.array([root(basin) for basin in range(peaks.size)], np.int64)
