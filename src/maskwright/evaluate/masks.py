"""Masks, checked and brought into a form that can be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError


def binary_mask(array: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """The mask as bool, each element stored as the byte 0 or 1.

    Args:
        array: A mask, bool or 0/1, any shape.
        name: What it is, for the message.

    Returns:
        The mask, same shape; a copy.

    Raises:
        DataError: If it holds anything but 0 and 1.

    Example:
        >>> binary_mask(np.array([0, 1]), "truth").tolist()
        [False, True]
    """
    if array.dtype == np.bool_:
        # Pillow stores the True of a 1-bit image as 255, which NumPy passes on as it is and which
        # makes scikit-image read beyond its tables.
        stored: NDArray[np.bool_] = array.view(np.uint8) != 0
        return stored
    mask = array.astype(np.bool_)
    if not np.array_equal(mask, array):
        raise DataError(
            "mask-binary",
            name,
            expected="the mask of one class, bool or 0 and 1",
            found=f"{array.dtype} values from {array.min()} to {array.max()}",
            remedy="compare the class ids with one class first, as in mask == 1",
        )
    return mask


def class_ids(array: NDArray[Any], classes: int, name: str) -> NDArray[np.intp]:
    """The class ids as indices.

    Args:
        array: Class ids, at least one, any shape.
        classes: Number of classes K; ids run from 0 to K − 1.
        name: What it is, for the message.

    Returns:
        The ids, same shape.

    Raises:
        DataError: If anything else is among them.

    Example:
        >>> class_ids(np.array([False, True]), 2, "truth").tolist()
        [0, 1]
    """
    ids = array.astype(np.intp)
    if not np.array_equal(ids, array) or ids.min() < 0 or ids.max() >= classes:
        raise DataError(
            "mask-value",
            name,
            expected=f"class ids from 0 to {classes - 1}",
            found=f"{array.dtype} values from {array.min()} to {array.max()}",
            remedy="declare the class, or leave its pixels out with a region of interest",
        )
    return ids


def check_shape(array: NDArray[Any] | None, name: str, shape: tuple[int, ...]) -> None:
    """Refuse an array that is not of the shape of the others.

    Args:
        array: The array; ``None`` passes.
        name: What it is, for the message.
        shape: The shape of the truth.

    Raises:
        DataError: If it has another shape.

    Example:
        >>> check_shape(np.zeros((2, 3)), "truth", (2, 3))
    """
    if array is not None and array.shape != shape:
        raise DataError(
            "mask-shape",
            name,
            expected=f"the shape of the truth, {shape}",
            found=str(array.shape),
            remedy="compare masks of the same image",
        )
