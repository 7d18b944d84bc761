"""A stack predicted slice by slice, by a network of planes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import ImagePrediction


def predict_stack(
    predict_plane: Callable[[NDArray[Any]], ImagePrediction], image_CZYX: NDArray[Any]
) -> ImagePrediction:
    """What a network of planes says of every slice, put together again.

    The label of the stack has the mean of its slices' probabilities.

    Args:
        predict_plane: From an image of shape ``(C, Y, X)`` to its prediction.
        image_CZYX: The stack.

    Returns:
        Class map, probabilities and levels as those of a volume.

    Example:
        >>> bright = lambda image: ImagePrediction((image[0] > 4).astype(np.uint8))
        >>> predict_stack(bright, np.array([[[[1, 9]], [[9, 9]]]])).classes_YX.tolist()
        [[[0, 1]], [[1, 1]]]
    """
    planes = [predict_plane(image_CZYX[:, z]) for z in range(image_CZYX.shape[1])]
    first = planes[0]
    interiors = [plane.interior_YX for plane in planes if plane.interior_YX is not None]
    levels = range(len(first.levels_YX))
    return ImagePrediction(
        np.stack([plane.classes_YX for plane in planes]),
        np.stack([plane.probabilities_KYX for plane in planes], axis=1)
        if first.probabilities_KYX.size
        else first.probabilities_KYX,
        np.mean([plane.image_probabilities_L for plane in planes], axis=0),
        tuple(np.stack([plane.levels_YX[level] for plane in planes]) for level in levels),
        any(plane.emptied for plane in planes),
        np.stack(interiors) if interiors else None,
    )
