"""Shape rather than area: whether tubes are connected, and parts, loops and cavities agree.

Overlap hardly notices a vessel that is cut by one pixel; these measures do. Every measure takes
the mask of one class in two or three dimensions, and a region of interest cuts both masks before
anything else: what lies outside is background.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.masks import binary_mask, check_shape

# For each convention and number of axes: neighbours of the foreground, then of the background.
# Only these pairs are consistent: a ring must part its inside from its outside.
_Neighbours = Literal[4, 6, 8, 26]
CONNECTIVITIES: Mapping[tuple[str, int], tuple[_Neighbours, _Neighbours]] = MappingProxyType(
    {
        ("full", 2): (8, 4),
        ("face", 2): (4, 8),
        ("full", 3): (26, 6),
        ("face", 3): (6, 26),
    }
)


@dataclass(frozen=True)
class Betti:
    """How many parts, loops and cavities a mask has, or how far two masks differ in them.

    Args:
        b0: Connected components.
        b1: Loops: holes in two dimensions, tunnels in three.
        b2: Enclosed cavities; always 0 in two dimensions.

    Example:
        >>> Betti(2, 1, 0).total
        3
    """

    b0: int
    b1: int
    b2: int = 0

    @property
    def total(self) -> int:
        """All three together."""
        return self.b0 + self.b1 + self.b2


def cldice(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> float:
    """Centreline Dice: harmonic mean of |S(P) ∩ G| / |S(P)| and |S(G) ∩ P| / |S(G)|, 0 to 1.

    S is the skeleton. Thickness hardly matters, a gap does. Both masks empty: 1. One empty: 0.

    Args:
        prediction: Predicted mask of one tubular class, bool or 0/1, shape ``(Y, X)`` or
            ``(Z, Y, X)``.
        truth: True mask, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.

    Returns:
        The score.

    Raises:
        DataError: If the shapes differ, there are not 2 or 3 axes, or a mask holds class ids.

    Source: Shit et al. 2021, CVPR, arXiv 2003.07311. The skeleton is :func:`skeleton`, which in
    three dimensions is more careful than the reference code.

    Example:
        >>> truth = np.zeros((5, 20), bool)
        >>> truth[2] = True
        >>> cut = truth.copy()
        >>> cut[2, 5:10] = False
        >>> round(cldice(cut, truth), 3), cldice(truth, truth)
        (0.857, 1.0)
    """
    predicted, true = _cut(prediction, truth, valid)
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    box = _bounding_box(predicted | true)
    predicted, true = predicted[box], true[box]
    shares = []
    for mask, other in ((predicted, true), (true, predicted)):
        centre = skeleton(mask)
        shares.append(int(np.count_nonzero(centre & other)) / int(np.count_nonzero(centre)))
    both = shares[0] + shares[1]
    return 2 * shares[0] * shares[1] / both if both else 0.0


def skeleton(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Thin a mask to its centreline, which is empty only where the mask is.

    Two dimensions: the thinning of Zhang and Suen. Three: the thinning of Lee, on a grid twice
    as fine in which each width is odd. On the voxels themselves that thinning erases tubes of
    even width, from their tips to all of them (scikit-image issue 3757).

    Args:
        mask: Mask of one class, bool or 0/1, shape ``(Y, X)`` or ``(Z, Y, X)``.

    Returns:
        The centreline, part of the mask, same shape. In three dimensions it takes about 13 times
        the time of a thinning of the voxels, and 24 bytes for each voxel of the bounding box.

    Raises:
        DataError: If there are not 2 or 3 axes, or the mask holds class ids.

    Source: Zhang and Suen 1984, Communications of the ACM 27:236; Lee, Kashyap and Chu 1994,
    CVGIP 56:462; both as in scikit-image.

    Example:
        >>> tube = np.zeros((6, 6, 12), bool)
        >>> tube[2:4, 2:4, 1:11] = True
        >>> int(skeleton(tube).sum())
        9
    """
    from skimage.morphology import skeletonize

    checked = _mask(mask, "mask")
    centre = np.zeros(checked.shape, np.bool_)
    if not checked.any():
        return centre
    box = _bounding_box(checked)
    cropped = checked[box]
    if cropped.ndim == 2:
        centre[box] = skeletonize(cropped)  # type: ignore[no-untyped-call]
    else:
        thinned = skeletonize(_cells(cropped))  # type: ignore[no-untyped-call]
        centre[box] = _nearest_voxels(np.argwhere(thinned), cropped)
    return centre


def betti_numbers(mask: NDArray[Any], connectivity: str = "full") -> Betti:
    """Count components, loops and cavities of a mask, each from 0 upwards.

    b0 and b2 are counted by labelling; b1 = b0 + b2 − χ with the Euler characteristic χ.
    What lies beyond the image is background. An empty mask has none of them.

    Args:
        mask: Mask of one class, bool or 0/1, shape ``(Y, X)`` or ``(Z, Y, X)``.
        connectivity: ``full``: pixels that touch at a corner are connected (8 or 26 neighbours),
            and the background only across faces (4 or 6). ``face``: the other way round.

    Returns:
        The three numbers.

    Raises:
        ConfigError: For another connectivity.
        DataError: If there are not 2 or 3 axes, or the mask holds class ids.

    Source: Kong and Rosenfeld 1989, Computer Vision, Graphics, and Image Processing 48:357.

    Example:
        >>> ring_and_dot = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
        >>> betti_numbers(ring_and_dot), betti_numbers(ring_and_dot, "face")
        (Betti(b0=1, b1=1, b2=0), Betti(b0=2, b1=1, b2=0))
    """
    checked = _mask(mask, "mask")
    neighbours = CONNECTIVITIES.get((connectivity, checked.ndim))
    if neighbours is None:
        raise ConfigError(
            "connectivity-unknown",
            "connectivity",
            expected="full or face",
            found=repr(connectivity),
            remedy="use full, where pixels that touch at a corner are connected",
        )
    if not checked.any():
        return Betti(0, 0)
    from skimage.measure import euler_number

    # With the margin all background outside is one component.
    padded = np.pad(checked[_bounding_box(checked)], 1)
    b0 = _components(padded, neighbours[0])
    b2 = _components(~padded, neighbours[1]) - 1 if padded.ndim == 3 else 0
    touching = padded.ndim if connectivity == "full" else 1
    euler = euler_number(padded, touching)  # type: ignore[no-untyped-call]
    return Betti(b0, b0 + b2 - round(euler), b2)


def betti_errors(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
    connectivity: str = "full",
) -> Betti:
    """Absolute differences of the Betti numbers of prediction and truth, from 0 (best) upwards.

    They compare numbers, not places: a missed part and an invented one elsewhere cancel. Both
    masks empty: 0. One empty: the numbers of the other. The border of the region of interest cuts
    loops open.

    Args:
        prediction: Predicted mask, bool or 0/1, shape ``(Y, X)`` or ``(Z, Y, X)``.
        truth: True mask, same shape.
        valid: Where True the pixel counts (region of interest); ``None`` counts all.
        connectivity: As in :func:`betti_numbers`; state it beside the numbers.

    Returns:
        The three differences; ``total`` is their sum.

    Raises:
        ConfigError: For an unknown connectivity.
        DataError: If the shapes differ, there are not 2 or 3 axes, or a mask holds class ids.

    Source: Hu et al. 2019, NeurIPS, arXiv 1906.05404, here over the whole image.

    Example:
        >>> truth = np.ones((3, 5), bool)
        >>> prediction = truth.copy()
        >>> prediction[1, 1] = prediction[:, 3] = False
        >>> betti_errors(prediction, truth)
        Betti(b0=1, b1=1, b2=0)
    """
    predicted, true = _cut(prediction, truth, valid)
    first, second = betti_numbers(predicted, connectivity), betti_numbers(true, connectivity)
    return Betti(abs(first.b0 - second.b0), abs(first.b1 - second.b1), abs(first.b2 - second.b2))


def _components(mask: NDArray[np.bool_], neighbours: _Neighbours) -> int:
    import cc3d

    # cc3d 4.1.1 labels some masks of bool wrongly; as numbers they are labelled rightly.
    _, count = cc3d.connected_components(
        mask.view(np.uint8), connectivity=neighbours, return_N=True
    )
    return int(count)


def _cells(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every voxel with its faces, edges and corners, on a grid of 2n + 1 cells an axis."""
    cells = np.zeros([2 * size + 1 for size in mask.shape], np.bool_)
    for corner in itertools.product((0, 1, 2), repeat=mask.ndim):
        cells[tuple(slice(a, a + 2 * n, 2) for a, n in zip(corner, mask.shape, strict=True))] |= (
            mask
        )
    return cells


def _nearest_voxels(cells_ND: NDArray[np.intp], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of the mask that the cells belong to; of several the one with lower indices."""
    voxels = np.zeros(mask.shape, np.bool_)
    padded = np.pad(mask, 1)
    # Odd cells are the inside of a voxel, even ones lie between two.
    below_ND, between_ND = (cells_ND - 1) // 2, cells_ND % 2 == 0
    for step in itertools.product((0, 1), repeat=mask.ndim):
        voxel_ND = below_ND + between_ND * np.array(step)
        inside_N = padded[tuple(voxel_ND.T + 1)]
        voxels[tuple(voxel_ND[inside_N].T)] = True
        below_ND, between_ND = below_ND[~inside_N], between_ND[~inside_N]
    return voxels


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _cut(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    check_shape(prediction, "prediction", truth.shape)
    if valid is None:
        return _mask(prediction, "prediction"), _mask(truth, "truth")
    check_shape(valid, "region of interest", truth.shape)
    outside = ~binary_mask(valid, "region of interest")
    # Pixels to be left out often carry an id of their own, which must not be refused.
    prediction, truth = prediction.copy(), truth.copy()
    prediction[outside] = truth[outside] = 0
    return _mask(prediction, "prediction"), _mask(truth, "truth")


def _mask(array: NDArray[Any], name: str) -> NDArray[np.bool_]:
    if array.ndim not in (2, 3):
        raise DataError(
            "mask-axes",
            name,
            expected="a mask of 2 or 3 axes",
            found=f"shape {array.shape}",
            remedy="pass one image or one volume at a time",
        )
    return binary_mask(array, name)
