"""Segments of a binary image, and thinning: membranes shrink to lines one pixel wide.

Scores of partitions should not depend on how wide a proposal draws its membranes. So its
segments are grown into the membranes, all at the same pace, until they meet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError

# Segments are positive, dams 0.
_DAM = 0
_UNSEEN = -1
_QUEUED = -2
_OUTSIDE = -3


def segments(cells: NDArray[Any]) -> NDArray[np.int32]:
    """Number the pieces of the cells that hang together across pixel faces, from 1.

    Pixels that touch at a corner only are apart: 4-connected in 2D, 6-connected in 3D. Without
    any cell everything is 0.

    Args:
        cells: Where there is cell (not 0, or True), any shape.

    Returns:
        Label image of the same shape, 0 where there is membrane.

    Source: the labelling used by ``trainableSegmentation.metrics`` of Fiji.

    Example:
        >>> segments(np.array([[1, 0, 1], [1, 0, 1]])).tolist()
        [[1, 0, 2], [1, 0, 2]]
    """
    from scipy import ndimage

    labels: NDArray[np.int32] = np.empty(np.shape(cells), np.int32)
    ndimage.label(np.asarray(cells) != 0, output=labels)
    return labels


def thin(cells_YX: NDArray[Any]) -> NDArray[np.int32]:
    """Segments of the cells after a watershed has thinned the membranes between them.

    The watershed floods the inverted binary image, 4-connected. Where two segments would meet
    it leaves a dam, which stays background; a membrane with one segment on both sides vanishes.
    No segment is lost and none is made. Dams are one pixel wide, but may be thicker where
    several meet. The order of the flood is that of the reference, column by column, so that
    even the side on which a dam between two equally distant segments falls is the same.

    Without membrane there is one segment; without cells everything is background (there the
    reference returns a single segment, although nothing was proposed).

    Args:
        cells_YX: Where there is cell (not 0, or True), 2D.

    Returns:
        Label image of the same shape, 0 on the dams; the numbers are those of :func:`segments`.

    Raises:
        DataError: If the image is not 2D.

    Source: Soille and Vincent 1990, Proceedings of SPIE 1360:240, as in
    ``WatershedTransform2D`` of Fiji's Trainable Segmentation.

    Example:
        >>> thin(np.array([[1, 0, 0, 0, 1], [1, 0, 0, 0, 1]])).tolist()
        [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]]
    """
    cells_YX = np.asarray(cells_YX)
    if cells_YX.ndim != 2:
        raise DataError(
            "thinning-shape",
            "cells",
            expected="a 2D image",
            found=f"shape {cells_YX.shape}",
            remedy="thin a stack slice by slice",
        )
    labels_YX = segments(cells_YX)
    if not labels_YX.any() or labels_YX.all():
        return labels_YX
    # Transposed, the flat index runs column by column, as the reference scans.
    basins_XY = np.pad(labels_YX.T, 1, constant_values=_OUTSIDE)
    basins_XY[basins_XY == _DAM] = _UNSEEN
    _flood(basins_XY)
    return np.ascontiguousarray(basins_XY[1:-1, 1:-1].T)


def _flood(basins_XY: NDArray[np.int32]) -> None:
    """Label every unseen pixel in place, first come first served."""
    known = basins_XY > 0
    beside = np.zeros_like(known)
    beside[1:-1] = known[:-2] | known[2:]
    beside[:, 1:-1] |= known[:, :-2] | known[:, 2:]
    queue = np.flatnonzero(beside & (basins_XY == _UNSEEN)).tolist()
    basins = basins_XY.ravel().tolist()
    for pixel in queue:
        basins[pixel] = _QUEUED
    column = basins_XY.shape[1]
    steps = (-column, -1, column, 1)
    # The list grows while it is read: it is the queue of the flood.
    for pixel in queue:
        basin = _DAM
        meets = False
        for step in steps:
            other = basins[pixel + step]
            if other > 0:
                if basin == _DAM:
                    basin = other
                elif other != basin:
                    meets = True
            elif other == _UNSEEN:
                basins[pixel + step] = _QUEUED
                queue.append(pixel + step)
        basins[pixel] = _DAM if meets else basin
    basins_XY[...] = np.reshape(basins, basins_XY.shape)
