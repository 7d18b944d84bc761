"""Pictures of single images: the image, its masks, and where they differ.

The colours stay apart for colour-blind people, and errors differ in pattern too: false positives
are solid, false negatives hatched.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.durable import write_bytes
from maskwright.report.curves import curves_svg, validations

__all__ = ["curves_svg", "overlay", "overlay_uri", "validations", "write_overlay"]

RGB = tuple[int, int, int]

TRUTH_RGB: RGB = (0xE6, 0x9F, 0x00)
PREDICTION_RGB: RGB = (0x56, 0xB4, 0xE9)
FALSE_POSITIVE_RGB: RGB = (0xD5, 0x5E, 0x00)
FALSE_NEGATIVE_RGB: RGB = (0x56, 0xB4, 0xE9)

PANEL_PX = 512
GAP_PX = 8
OUTLINE_PX = 2
FILL = 0.35
# Stripes of three pixels survive the compression of the report and the printing of a page.
STRIPE_PX = 3
# All overlays of one report together, before the third that base64 adds; one of them at most.
REPORT_BYTES = 3_300_000
OVERLAY_BYTES = 400_000


def overlay(
    image_CYX: NDArray[Any],
    truth_YX: NDArray[Any] | None,
    prediction_YX: NDArray[Any],
    classes: int,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Four panels side by side: image, truth, prediction, errors.

    Masks of the classes 1 and above are filled at 35 % and outlined; further classes are lighter.
    In the last panel a pixel wrongly given to a class is solid, a pixel missing from its class is
    hatched, and one of the wrong class is both. Intensities run from the 1st to the 99th
    percentile. Images above 512 pixels are reduced, masks by nearest neighbour.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)``; three channels or more show as RGB.
        truth_YX: True class ids, shape ``(Y, X)``; without it only image and prediction show.
        prediction_YX: Predicted class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        valid: Region of interest, shape ``(Y, X)``; no errors are drawn outside.

    Returns:
        RGB panels with gaps of 8 white pixels, shape ``(Y', 4 X' + 24, 3)``, or
        ``(Y', 2 X' + 8, 3)`` without a truth.

    Example:
        >>> mask = np.eye(16, dtype=np.uint8)
        >>> overlay(mask[None] * 9.0, mask, mask, 2).shape
        (16, 88, 3)
    """
    height, width = image_CYX.shape[1:]
    scale = min(1.0, PANEL_PX / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    picture_YX3 = _display(image_CYX, size)
    prediction = _nearest(prediction_YX, size)
    panels = [picture_YX3]
    if truth_YX is not None:
        truth = _nearest(truth_YX, size)
        panels.append(_outlined(picture_YX3, truth, classes, TRUTH_RGB))
    panels.append(_outlined(picture_YX3, prediction, classes, PREDICTION_RGB))
    if truth_YX is not None:
        wrong = prediction != truth
        if valid is not None:
            wrong &= _nearest(valid, size).astype(bool)
        panels.append(_errors(picture_YX3, wrong & (prediction > 0), wrong & (truth > 0)))
    gap_YX3 = np.full((size[0], GAP_PX, 3), 255, np.uint8)
    row = [panels[0]]
    for panel in panels[1:]:
        row += [gap_YX3, panel]
    return np.concatenate(row, axis=1)


def _display(image_CYX: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB of the given size, intensities stretched between two percentiles."""
    from PIL import Image

    # Every n-th pixel first: averaging all pixels of a huge image would cost its size in floats.
    stride = max(1, max(image_CYX.shape[1:]) // (2 * PANEL_PX))
    small_CYX = image_CYX[:, ::stride, ::stride].astype(np.float32)
    if small_CYX.shape[0] >= 3:
        shown_CYX = small_CYX[:3]
    else:
        shown_CYX = np.repeat(small_CYX.mean(0, keepdims=True), 3, axis=0)
    low, high = np.percentile(shown_CYX, (1, 99))
    if high <= low:
        low, high = float(shown_CYX.min()), float(shown_CYX.max())
    stretched_CYX = (shown_CYX - low) / (high - low) if high > low else np.zeros_like(shown_CYX)
    rgb_YX3 = (stretched_CYX.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(rgb_YX3))
    if picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(picture)


def _nearest(mask_YX: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    picks = [
        ((np.arange(shown) + 0.5) * full / shown).astype(np.intp)
        for shown, full in zip(size, mask_YX.shape, strict=True)
    ]
    picked_YX: NDArray[Any] = mask_YX[np.ix_(picks[0], picks[1])]
    return picked_YX


def _outlined(
    picture_YX3: NDArray[np.uint8], mask_YX: NDArray[Any], classes: int, colour: RGB
) -> NDArray[np.uint8]:
    """The picture with each class filled, outlined inside, and a dark halo outside."""
    from scipy.ndimage import binary_dilation, binary_erosion

    panel_YX3 = picture_YX3.astype(np.float32)
    foreground = mask_YX > 0
    halo = binary_dilation(foreground, iterations=OUTLINE_PX) & ~foreground
    panel_YX3[halo] *= 0.4
    for index in range(1, classes):
        member = mask_YX == index
        if not member.any():
            continue
        shade = _shade(colour, index, classes)
        inside = binary_erosion(member, iterations=OUTLINE_PX, border_value=1)
        panel_YX3[member] = (1 - FILL) * panel_YX3[member] + FILL * shade
        panel_YX3[member & ~inside] = shade
    return panel_YX3.round().astype(np.uint8)


def _shade(colour: RGB, index: int, classes: int) -> NDArray[np.float32]:
    """The colour itself for class 1, whiter for every further class."""
    white = 0.65 * (index - 1) / max(classes - 2, 1)
    return np.asarray(colour, np.float32) * (1 - white) + np.float32(255 * white)


def _errors(
    picture_YX3: NDArray[np.uint8], positive_YX: NDArray[Any], negative_YX: NDArray[Any]
) -> NDArray[np.uint8]:
    """The dimmed picture with false positives solid and false negatives hatched."""
    panel_YX3 = picture_YX3.astype(np.float32) * 0.6
    blue = np.asarray(FALSE_NEGATIVE_RGB, np.float32)
    # Between the stripes dark blue, or errors thinner than a stripe would vanish.
    panel_YX3[negative_YX] = 0.25 * panel_YX3[negative_YX] + 0.5 * blue
    panel_YX3[positive_YX] = FALSE_POSITIVE_RGB
    rows, columns = np.indices(negative_YX.shape)
    stripes = (rows + columns) // STRIPE_PX % 2 == 0
    panel_YX3[negative_YX & stripes] = blue
    return panel_YX3.round().astype(np.uint8)


def write_overlay(
    path: Path,
    image_CYX: NDArray[Any],
    truth_YX: NDArray[Any] | None,
    prediction_YX: NDArray[Any],
    classes: int,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> None:
    """Write the panels of :func:`overlay` as a PNG file.

    Args:
        path: The file.
        image_CYX: Intensities, shape ``(C, Y, X)``.
        truth_YX: True class ids, shape ``(Y, X)``, or ``None``.
        prediction_YX: Predicted class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        valid: Region of interest, shape ``(Y, X)``.

    Raises:
        OutputError: If the file cannot be written.
    """
    panels = overlay(image_CYX, truth_YX, prediction_YX, classes, valid=valid)
    write_bytes(path, _encode(panels, "PNG"))


def overlay_uri(panels_YX3: NDArray[np.uint8], images: int) -> str:
    """Panels as the address of an embedded picture, small enough for a report of many.

    The quality is lowered, then the size, until 100 overlays fit into a page below 5 MB.

    Args:
        panels_YX3: Panels of :func:`overlay`.
        images: Number of overlays in the report.

    Returns:
        An address that starts with ``data:image/webp;base64,``.

    Example:
        >>> overlay_uri(np.zeros((16, 88, 3), np.uint8), images=1)[:23]
        'data:image/webp;base64,'
    """
    from PIL import Image

    limit = min(OVERLAY_BYTES, REPORT_BYTES // max(images, 1))
    panels = panels_YX3
    data = _encode(panels, "WEBP", quality=85)
    while len(data) > limit and min(panels.shape[:2]) > 32:
        # Bytes grow a little slower than pixels do.
        factor = max(0.3, min(0.9, (limit / len(data)) ** 0.6))
        data = _encode(panels, "WEBP", quality=55)
        if len(data) <= limit:
            break
        height, width = panels.shape[:2]
        smaller = (max(1, int(width * factor)), max(1, int(height * factor)))
        picture = Image.fromarray(panels).resize(smaller, Image.Resampling.LANCZOS)
        panels = np.asarray(picture)
        data = _encode(panels, "WEBP", quality=55)
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _encode(panels_YX3: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(panels_YX3).save(buffer, kind, **options)
    return buffer.getvalue()
