"""Finding the surface of a mask and the nearest surface, exactly and without distance maps.

The surface of a mask is what one erosion removes: its pixels that have a neighbour outside along
an axis. Whatever lies beyond the image counts as outside, so an object that touches the border
has surface there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError

# Surface elements looked at together: bounds the memory of what is not the result.
BLOCK = 1 << 18
# Neighbours up to this many pixels away are looked up before a search tree is built.
REACH_PX = 3
# So many of them are tried before elements that mostly lie farther away go to the tree at once.
TRIAL = 26


def class_boxes(
    prediction: NDArray[Any], truth: NDArray[Any], classes: int
) -> dict[int, tuple[slice, ...] | None]:
    """The smallest box around each class in both label images, in one pass over each.

    Args:
        prediction: Predicted class ids, bool or integer, any shape.
        truth: True class ids, same shape.
        classes: Number of classes K.

    Returns:
        A slice per axis for each class from 1 to K − 1, ``None`` where neither has the class.

    Raises:
        DataError: If an id is no integer.

    Example:
        >>> class_boxes(np.array([0, 1, 0, 0]), np.array([0, 0, 1, 0]), 3)
        {1: (slice(1, 3, None),), 2: None}
    """
    from scipy.ndimage import find_objects

    if classes < 2:
        return {}
    found = []
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype != np.bool_ and not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                "mask-dtype",
                name,
                expected="class ids, integer or bool",
                found=f"an array of {labels.dtype}",
                remedy="threshold probabilities, or take the class with the largest one",
            )
        ids = labels.view(np.uint8) if labels.dtype == np.bool_ else labels
        found.append(find_objects(ids, classes - 1))
    return {
        class_index: _union(first, second)
        for class_index, (first, second) in enumerate(zip(*found, strict=True), start=1)
    }


def _union(
    first: tuple[slice, ...] | None, second: tuple[slice, ...] | None
) -> tuple[slice, ...] | None:
    if first is None or second is None:
        return first or second
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )


def surface_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The surface of a mask, in a frame of background ``REACH_PX`` wide.

    The frame is as wide as the neighbours that :func:`nearest_distances` looks up.

    Args:
        mask: Any shape, any order in memory.

    Returns:
        Where the surface is, each axis longer by ``2 * REACH_PX``, rows in order in memory.

    Example:
        >>> np.flatnonzero(surface_of(np.array([True, True, True, False]))) - REACH_PX
        array([0, 2])
    """
    framed = np.zeros([size + 2 * REACH_PX for size in mask.shape], np.bool_)
    framed[(slice(REACH_PX, -REACH_PX),) * mask.ndim] = mask
    surface = framed.copy()
    flat, inner = framed.reshape(-1), surface.reshape(-1)
    # A step along an axis is a shift of the flat array; the frame takes what runs over an edge.
    for step in framed.strides:
        inner[step:] &= flat[:-step]
        inner[:-step] &= flat[step:]
    np.logical_not(inner, out=inner)
    inner &= flat
    return surface


def nearest_distances(
    source: NDArray[np.bool_], target: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of every source pixel to the nearest target pixel.

    Predictions mostly run close to the truth, so the nearest neighbours are tried in order of
    distance; only what has none of them is searched for in a tree.

    Args:
        source: A result of :func:`surface_of`.
        target: Another, of the same shape, with at least one pixel.
        spacing: Size of a pixel along each axis.

    Returns:
        The distances in the unit of the spacing, in the order of the pixels.

    Example:
        >>> source, target = (surface_of(np.arange(9) == index) for index in (0, 8))
        >>> nearest_distances(source, target, np.array([0.5]))
        array([4.])
    """
    from scipy.spatial import KDTree

    is_target = target.reshape(-1)
    pixels = np.flatnonzero(source)
    distances = np.zeros(pixels.size)
    steps = _neighbours(source.strides, spacing)
    searched = []
    for start in range(0, pixels.size, BLOCK):
        here = pixels[start : start + BLOCK]
        apart = ~is_target[here]
        index, here = start + np.flatnonzero(apart), here[apart]
        many = here.size
        for tried, (step, distance) in enumerate(steps):
            if not here.size or (tried == TRIAL and 2 * here.size > many):
                break
            hit = is_target[here + step]
            distances[index[hit]] = distance
            index, here = index[~hit], here[~hit]
        searched.append(index)
    rest = np.concatenate(searched)
    if not rest.size:
        return distances
    targets = _points(np.flatnonzero(is_target), source.shape, spacing)
    tree = KDTree(targets, leafsize=32, compact_nodes=False, balanced_tree=False)
    for start in range(0, rest.size, BLOCK):
        index = rest[start : start + BLOCK]
        points = _points(pixels[index], source.shape, spacing)
        distances[index] = tree.query(points, workers=-1)[0]
    return distances


def _neighbours(strides: tuple[int, ...], spacing: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Steps in a flat array and their lengths, shortest first, none left out up to the longest."""
    side = 2 * REACH_PX + 1
    steps = np.indices((side,) * len(strides)).reshape(len(strides), -1) - REACH_PX
    lengths = np.sqrt(np.sum((steps * spacing[:, None]) ** 2, axis=0))
    # From here on the cube of steps misses some, such as the next one straight along an axis.
    within = (lengths > 0) & (lengths < (REACH_PX + 1) * spacing.min())
    order = np.flatnonzero(within)[np.argsort(lengths[within], kind="stable")]
    flat = np.array(strides) @ steps
    return list(zip(flat[order].tolist(), lengths[order].tolist(), strict=True))


def _points(
    pixels: NDArray[np.intp], shape: tuple[int, ...], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """World coordinates of flat indices, shape ``(n, axes)``."""
    points = np.empty((pixels.size, len(shape)))
    for axis in reversed(range(len(shape))):
        pixels, along = np.divmod(pixels, shape[axis])
        points[:, axis] = along * spacing[axis]
    return points
