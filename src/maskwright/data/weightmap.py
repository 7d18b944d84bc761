"""Maps that some losses need: where objects nearly touch, and how far the outlines are.

They are computed from the patch as it is after augmentation, so that their distances are those
of the pixels the network sees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.loss_terms import LossMap, LossSettings

# A weight below this is 0; no loss in float32 would notice it beside the pixel's own weight of 1.
_LEAST_WEIGHT = 1e-6
# Lines are worked on in blocks of about this many pixels, which stay in the processor's cache.
_BLOCK_PX = 1 << 15
# Squared distances are kept in whole numbers; spacings that are not whole get this many parts.
_PARTS = 1 << 20


def border_map(
    objects: NDArray[Any],
    *,
    weight: float = 10.0,
    sigma_px: float = 5.0,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """Extra weight between objects that nearly touch, w0 · exp(−(d1 + d2)² / 2σ²), 0 to w0.

    d1 and d2 are the distances from the pixel to the nearest pixel of the nearest and of the
    second nearest object. Only pixels outside all objects get a weight, as in the paper's
    figure: there the network has to learn to leave a gap. Objects that touch without a gap need
    :func:`separate` first. With fewer than two objects the map is 0. Weights below 0.000001 are 0.

    Args:
        objects: A number for each object, 0 where there is none, any number of axes.
        weight: w0.
        sigma_px: σ in pixels, or in the unit of the spacing.
        spacing: Length of a pixel along each axis; 1 by default. Squared distances are rounded to
            a millionth where it is not whole.

    Returns:
        The map, same shape.

    Raises:
        DataError: If there is not one positive spacing for each axis.

    Source: Ronneberger et al. 2015, arXiv 1505.04597, equation 2 (there added to the weight of
    the class).

    Example:
        >>> border_map(np.array([[1, 0, 0, 2]])).tolist()
        [[0.0, 8.352..., 8.352..., 0.0]]
    """
    objects = np.asarray(objects)
    spacing = _check_spacing(spacing, objects.ndim)
    found = np.zeros(objects.shape, np.float32)
    if weight <= _LEAST_WEIGHT:
        return found
    reach = sigma_px * math.sqrt(2 * math.log(weight / _LEAST_WEIGHT))
    box = _box(objects != 0, [math.ceil(reach / s) for s in spacing])
    numbers, compact = np.unique(objects[box], return_inverse=True)
    compact = compact.reshape(objects[box].shape)
    if len(numbers) <= 2 or numbers[0] != 0:
        return found
    d1, d2 = _two_nearest(compact, len(numbers), spacing, reach)
    total = d1 + d2
    values = weight * np.exp(-(total**2) / (2 * sigma_px**2))
    found[box] = np.where((compact == 0) & (total <= reach), values, 0)
    return found


def _two_nearest(
    objects: NDArray[np.intp], count: int, spacing: Sequence[float], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances to the nearest and second nearest object, right as far as they are in reach.

    Axis by axis, each pixel looks at its neighbours along the axis and keeps the two nearest
    different objects: a third one seen by a neighbour is never nearer than these. Squared
    distance and number share one integer, so that the least integer is the nearest object.
    """
    whole = all(float(s).is_integer() for s in spacing)
    parts = 1 if whole else _PARTS
    steps = [min(math.ceil(reach / s), n) for s, n in zip(spacing, objects.shape, strict=True)]
    squares = [
        [round((k * s) ** 2 * parts) for k in range(n + 1)]
        for s, n in zip(spacing, steps, strict=True)
    ]
    bits = int(count - 1).bit_length()
    largest = (sum(square[-1] for square in squares) + 1) << bits
    dtype = np.int32 if 2 * largest < np.iinfo(np.int32).max else np.int64
    nearest: NDArray[Any] = np.where(objects > 0, objects, largest).astype(dtype)
    second: NDArray[Any] = np.full_like(nearest, largest)
    for axis, square in enumerate(squares):
        lines = (np.moveaxis(part, axis, 0) for part in (nearest, second))
        flat = [np.ascontiguousarray(line).reshape(line.shape[0], -1) for line in lines]
        width = max(1, _BLOCK_PX // flat[0].shape[0])
        for start in range(0, flat[0].shape[1], width):
            columns = slice(start, start + width)
            flat[0][:, columns], flat[1][:, columns] = _along_lines(
                flat[0][:, columns], flat[1][:, columns], square, bits
            )
        shape = np.moveaxis(nearest, axis, 0).shape
        nearest, second = (np.moveaxis(part.reshape(shape), 0, axis) for part in flat)
    d1, d2 = (
        np.where(part < largest, np.sqrt((part >> bits) / parts), np.inf)
        for part in (nearest, second)
    )
    return d1, d2


def _along_lines(
    nearest: NDArray[Any], second: NDArray[Any], squares: Sequence[int], bits: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two nearest different objects along the first axis of a block of lines."""
    sources = [np.ascontiguousarray(nearest), np.ascontiguousarray(second)]
    best, other = sources[0].copy(), sources[1].copy()
    number = (1 << bits) - 1
    nothing = other.dtype.type(np.iinfo(other.dtype).max)
    for k in range(1, min(len(squares), best.shape[0])):
        cost = squares[k] << bits
        # Everything further along the lines is further away than what is known already.
        if cost >= int(other.max()):
            break
        for source in sources:
            for here, there in (
                (slice(None, -k), slice(k, None)),
                (slice(k, None), slice(None, -k)),
            ):
                candidate = source[there] + best.dtype.type(cost)
                mine, others = best[here], other[here]
                same = ((candidate ^ mine) & number) == 0
                further = np.maximum(candidate, mine)
                np.minimum(mine, candidate, out=mine)
                further[same] = nothing
                np.minimum(others, further, out=others)
    return best, other


def separate(objects: NDArray[Any]) -> NDArray[Any]:
    """Objects with a gap of one pixel wherever two of them touch, corners included.

    The object of the smaller number gives way. A network that tells object from background can
    only learn to part objects that are parted in its truth. An object that is one pixel thin may
    lose all that touches.

    Args:
        objects: A number for each object, 0 where there is none, any number of axes.

    Returns:
        A copy, 0 in the gaps.

    Source: Ronneberger et al. 2015 part touching cells in the truth by morphology, without
    saying by which.

    Example:
        >>> separate(np.array([[1, 1, 2, 2]])).tolist()
        [[1, 0, 2, 2]]
    """
    objects = np.asarray(objects)
    parted = objects.copy()
    for offset in itertools.product((-1, 0, 1), repeat=objects.ndim):
        here = tuple(
            slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, objects.shape, strict=True)
        )
        there = tuple(
            slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, objects.shape, strict=True)
        )
        gives_way = (objects[here] > 0) & (objects[there] > objects[here])
        parted[here][gives_way] = 0
    return parted


def signed_distance(
    mask: NDArray[Any], *, spacing: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Distance of each pixel's centre to the outline of a mask, negative inside, in pixels.

    The outline lies half a pixel beyond the centres of the mask's outermost pixels, so a mask
    and its complement have opposite maps. A mask that is empty or full has no outline: 0.

    Args:
        mask: True inside, any number of axes.
        spacing: Length of a pixel along each axis; 1 by default. Half of the shortest is taken as
            half a pixel.

    Returns:
        The map, same shape.

    Raises:
        DataError: If there is not one positive spacing for each axis.

    Source: the level set of Kervadec et al. 2019, arXiv 1812.07032; their code is larger by half
    a pixel everywhere, so that the outermost pixels of the mask lie on the outline.

    Example:
        >>> signed_distance(np.array([0, 0, 1, 1])).tolist()
        [1.5, 0.5, -0.5, -1.5]
    """
    from scipy import ndimage

    inside = np.asarray(mask) != 0
    spacing = _check_spacing(spacing, inside.ndim)
    if inside.all() or not inside.any():
        return np.zeros(inside.shape, np.float32)
    half = min(spacing) / 2
    to_mask = ndimage.distance_transform_edt(~inside, sampling=spacing)
    to_rest = ndimage.distance_transform_edt(inside, sampling=spacing)
    return np.where(inside, half - to_rest, to_mask - half).astype(np.float32)


def loss_maps(
    needed: Collection[LossMap],
    truth: NDArray[Any],
    *,
    classes: int,
    settings: LossSettings,
    objects: NDArray[Any] | None = None,
    overlapping: bool = False,
    spacing: Sequence[float] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The maps that a loss needs for a batch, by the names that its target has for them.

    Args:
        needed: What :func:`maskwright.loss_terms.needed_maps` names.
        truth: Class ids, shape ``(B, *S)``, or masks of classes that may overlap, shape
            ``(B, K, *S)``.
        classes: Number of classes K.
        settings: Strength and reach of the border map.
        objects: A number for each object, 0 where there is none, shape ``(B, *S)``.
        overlapping: Whether the truth is a mask for each class.
        spacing: Length of a pixel along each axis; 1 by default.

    Returns:
        ``border_map`` of shape ``(B, *S)``; ``distance_map`` of shape ``(B, K − 1, *S)``, without
        the background, or ``(B, K, *S)`` where classes may overlap.

    Raises:
        ConfigError: If a border map is needed and the objects have no numbers.

    Example:
        >>> maps = loss_maps(["distance_map"], np.array([[0, 0, 1]]), classes=2,
        ...                  settings=LossSettings())
        >>> maps["distance_map"].tolist()
        [[[1.5, 0.5, -0.5]]]
    """
    maps: dict[str, NDArray[np.float32]] = {}
    if "border_map" in needed:
        if objects is None:
            raise ConfigError(
                "loss-objects-missing",
                "loss border_ce",
                expected="masks in which each object has a number of its own",
                found="masks of classes",
                remedy="take masks with numbered objects, or the loss dice+ce",
            )
        maps["border_map"] = np.stack(
            [
                border_map(
                    patch,
                    weight=settings.border_weight,
                    sigma_px=settings.border_sigma_px,
                    spacing=spacing,
                )
                for patch in objects
            ]
        )
    if "distance_map" in needed:
        channels = range(classes) if overlapping else range(1, classes)
        maps["distance_map"] = np.stack(
            [
                [
                    signed_distance(patch[k] if overlapping else patch == k, spacing=spacing)
                    for k in channels
                ]
                for patch in truth
            ]
        )
    return maps


def _check_spacing(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * axes
    if len(spacing) != axes or not all(0 < s < math.inf for s in spacing):
        raise DataError(
            "map-spacing",
            "spacing",
            expected=f"{axes} lengths above 0",
            found=str(tuple(spacing)),
            remedy="give the length of a pixel along each axis",
        )
    return tuple(float(s) for s in spacing)


def _box(inside: NDArray[np.bool_], margin: Sequence[int]) -> tuple[slice, ...]:
    """The part of the image that holds all of a mask and a margin around it."""
    parts = []
    for axis, (size, extra) in enumerate(zip(inside.shape, margin, strict=True)):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        places = np.flatnonzero(inside.any(axis=others))
        if not places.size:
            return (slice(0, 0),) * inside.ndim
        parts.append(slice(max(0, int(places[0]) - extra), min(size, int(places[-1]) + extra + 1)))
    return tuple(parts)
