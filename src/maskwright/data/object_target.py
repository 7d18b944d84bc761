"""What a network learns of numbered objects, so that those that touch can be told apart.

::

    objects   0 1 1 1 1 2 2 2 2 0        a number for each object
    target    0 b 1 1 b b 1 1 b 0        0 background, 1 interior, b border (2)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import RunConfig
from maskwright.data.labelmap import LabelMap
from maskwright.errors import ConfigError

INTERIOR, BORDER = 1, 2
BORDER_NAME = "border"

_BORDER_PX = {2: 2, 3: 1}


def border_classes(objects_YX: NDArray[Any]) -> NDArray[np.uint8]:
    """Background, interior and border of numbered objects.

    A pixel of an object is border where the background or another object is at most 2 pixels away
    along each axis (1 voxel in volumes). An object too small for an interior gets a border of one
    pixel, and one of hardly any pixels none.

    Args:
        objects_YX: A number for each object, 0 where there is none, shape ``(Y, X)`` or
            ``(Z, Y, X)``.

    Returns:
        0, 1 and 2 for background, interior and border, same shape.

    Source: Caicedo et al. 2019, Cytometry Part A 95:952, with a border inside the objects.

    Example:
        >>> border_classes(np.array([[0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]])).tolist()
        [[0, 2, 2, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]]
    """
    where = objects_YX > 0
    classes = np.where(where, INTERIOR, 0).astype(np.uint8)
    _, numbers = np.unique(objects_YX, return_inverse=True)
    numbers_YX: NDArray[np.int32] = numbers.reshape(objects_YX.shape).astype(np.int32)
    lacking = np.ones(int(numbers_YX.max(initial=0)) + 1, bool)
    for width_px in range(_BORDER_PX[objects_YX.ndim], 0, -1):
        near = _is_near_others(numbers_YX, width_px) & where
        classes[near & lacking[numbers_YX]] = BORDER
        lacking[np.unique(numbers_YX[where & ~near])] = False
        classes[where & lacking[numbers_YX]] = INTERIOR
    return classes


def _is_near_others(numbers: NDArray[np.int32], width_px: int) -> NDArray[np.bool_]:
    """Whether another number is within a square window; nothing is known beyond the image."""
    from scipy import ndimage

    side = 2 * width_px + 1
    lowest = ndimage.minimum_filter(numbers, size=side, mode="nearest")
    highest = ndimage.maximum_filter(numbers, size=side, mode="nearest")
    near: NDArray[np.bool_] = lowest != highest
    return near


def check_target(config: RunConfig, label_map: LabelMap) -> None:
    """Refuse borders where they cannot be learned.

    Args:
        config: The configuration of the run.
        label_map: What mask values mean.

    Raises:
        ConfigError: ``target-border`` for masks that do not number objects, and for classes that
            may overlap.
    """
    if config.data.target != "border":
        return
    overlapping = config.model.output == "sigmoid"
    if label_map.kind != "objects" or overlapping:
        raise ConfigError(
            "target-border",
            "--set data.target=border",
            expected="masks that number the objects, and a network with output=softmax",
            found="output=sigmoid" if overlapping else f"mask values read as {label_map.kind}",
            remedy="leave output as it is"
            if overlapping
            else "give each object a number of its own and say --objects, or leave target out",
        )
