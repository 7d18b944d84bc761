"""Several class maps of one image side by side, such as those of the levels of a decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.report.figures import GAP_PX, overlay

# Narrower panels are enlarged by a whole factor, or their captions would run into each other.
PANEL_LEAST_PX = 192
CAPTION_PX = 14
STRIP_PX = 24


def level_panels(
    image_CYX: NDArray[Any],
    maps: Mapping[str, NDArray[np.uint8]],
    classes: int,
) -> NDArray[np.uint8]:
    """The image, then class maps drawn over it, each below its caption.

    Of a volume the slice with the most pixels of a class above 0 in the last map is drawn, or the
    middle one where there are none.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        maps: Class ids of the image's size by their captions, the final prediction last.
        classes: Number of classes, background included.

    Returns:
        RGB panels, drawn as :func:`maskwright.report.figures.overlay` draws them.

    Example:
        >>> image, mask = np.zeros((1, 200, 200)), np.eye(200, dtype=np.uint8)
        >>> level_panels(image, {"level 1": mask, "prediction": mask}, 2).shape
        (224, 616, 3)
    """
    maps_YX = list(maps.values())
    if image_CYX.ndim == 4:
        counts_Z = np.count_nonzero(maps_YX[-1], axis=(1, 2))
        z = int(counts_Z.argmax()) if counts_Z.any() else counts_Z.size // 2
        image_CYX, maps_YX = image_CYX[:, z], [each[z] for each in maps_YX]
    first, *others = [overlay(image_CYX, None, each, classes) for each in maps_YX]
    width = (first.shape[1] - GAP_PX) // 2
    row_YX3 = np.concatenate([first, *(panels[:, width:] for panels in others)], axis=1)
    factor = -(-PANEL_LEAST_PX // width)
    large_YX3 = row_YX3.repeat(factor, axis=0).repeat(factor, axis=1)
    return _captioned(large_YX3, ["image", *maps], (width + GAP_PX) * factor)


def _captioned(
    row_YX3: NDArray[np.uint8], captions: Sequence[str], step_px: int
) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (row_YX3.shape[1], STRIP_PX), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(CAPTION_PX)
    for index, caption in enumerate(captions):
        draw.text((index * step_px + 2, STRIP_PX // 2), caption, "black", font, anchor="lm")
    return np.concatenate([np.asarray(strip), row_YX3])
