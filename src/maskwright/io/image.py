"""The one image type that every reader returns and every writer takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Image:
    """Pixels with their axes and what is known of their geometry.

    Args:
        array: Pixels, channels first, shape ``(C, Y, X)``, in the file's own data type.
        axes: One letter an axis, ``"CYX"``.
        spacing_mm: Pixel size in millimetres along Y and X, or ``None`` when the file does not say.
        palette: For indexed images the RGB colours, shape ``(n, 3)`` uint8, else ``None``.

    Example:
        >>> Image(np.zeros((1, 4, 5), np.uint8)).size
        (4, 5)
    """

    array: NDArray[Any]
    axes: str = "CYX"
    spacing_mm: tuple[float, float] | None = None
    palette: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.array.shape[-2]), int(self.array.shape[-1])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])
