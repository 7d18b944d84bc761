"""What a mask of one channel holds, for formats that keep no colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import OutputError
from maskwright.io.image import Image


def single_channel(image: Image, path: Path, format_name: str) -> NDArray[Any]:
    """The values of a mask, bool as 0 and 1 of 8 bits; a palette is left out.

    Args:
        image: Values of shape ``(1, *S)``.
        path: The file to write, for the message.
        format_name: What the format is called in the message.

    Raises:
        OutputError: ``mask-dtype`` for several channels, or values that are no unsigned integers.

    Example:
        >>> single_channel(Image(np.ones((1, 2, 3), bool)), Path("a.npy"), "NumPy").dtype
        dtype('uint8')
    """
    array = image.array
    if image.channels != 1 or array.dtype.kind not in "bu":
        raise OutputError(
            "mask-dtype",
            str(path),
            expected=f"a mask that {format_name} can hold",
            found=f"{image.channels} channels of {array.dtype}",
            remedy="write one channel of whole numbers",
        )
    values: NDArray[Any] = array[0]
    return values.view(np.uint8) if values.dtype == np.bool_ else values
