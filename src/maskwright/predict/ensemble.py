"""Several networks as one: the mean of their probabilities, tile by tile.

Networks of different folds, or of different moments of one training, err in different places; the
mean errs less than they do on average, for as many times the work.

Source: Lakshminarayanan, Pritzel and Blundell 2017, arXiv 1612.01474.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import Engine, Found


def mean_engine(engines: Sequence[Engine]) -> Engine:
    """An engine that gives the mean of what others give: p = Σ pᵢ / n.

    Args:
        engines: One or more, all of the same classes; a single one is returned as it is.

    Returns:
        A callable from ``(B, C, *S)`` float32 to :class:`~maskwright.predict.predictor.Found`.

    Example:
        >>> def says(p):
        ...     return lambda batch: {"probabilities": np.full((1, 2, 1, 1), p, np.float32)}
        >>> float(mean_engine([says(0.25), says(0.75)])(None)["probabilities"][0, 0, 0, 0])
        0.5
    """
    if len(engines) == 1:
        return engines[0]

    def run(batch_BCS: NDArray[np.float32]) -> Found:
        said = [engine(batch_BCS) for engine in engines]
        found: Found = {"probabilities": _mean([each["probabilities"] for each in said])}
        if "image_probabilities" in said[0]:
            found["image_probabilities"] = _mean([each["image_probabilities"] for each in said])
        if "levels" in said[0]:
            by_level = zip(*(each["levels"] for each in said), strict=True)
            found["levels"] = [_mean(level) for level in by_level]
        return found

    return run


def _mean(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    # Summed in place: tiles of many classes are large.
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    total /= np.float32(len(arrays))
    return total
