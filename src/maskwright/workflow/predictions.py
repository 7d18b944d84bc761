"""What prediction leaves: files of masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """Masks that were written, one a image.

    Args:
        folder: Where they are.
        files: Their paths, in the order of the images.
        probabilities: Paths of the probabilities, empty when they were not asked for.

    Example:
        ``for mask_YX in predictions.arrays(): ...``
    """

    folder: Path
    files: tuple[Path, ...]
    probabilities: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The masks, one after the other, shape ``(Y, X)`` (``(Y, X, 3)`` for colours)."""
        from maskwright.io.registry import read_mask

        for path in self.files:
            array_CYX = read_mask(path).array
            yield array_CYX[0] if array_CYX.shape[0] == 1 else np.moveaxis(array_CYX, 0, -1)
