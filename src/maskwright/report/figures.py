"""Pictures of single images: the image, its masks, and where they differ.

The colours stay apart for colour-blind people, and errors differ in pattern too: false positives
are solid, false negatives hatched.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.durable import write_bytes
from maskwright.report.sections import ReportSlice

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
# Below this a slice shows nothing any more: fewer slices are shown instead.
SLICE_BYTES = 8_000
# Without an image masks lie on this grey.
NO_IMAGE = 40
# Dashes of a region's border, and how dark the panels are outside it.
DASH_PX = 5
OUTSIDE = 0.55


def overlay(
    image_CYX: NDArray[Any] | None,
    truth_YX: NDArray[Any] | None,
    prediction_YX: NDArray[Any],
    classes: int,
    *,
    valid: NDArray[np.bool_] | None = None,
    window: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Four panels side by side: image, truth, prediction, errors.

    Masks of the classes 1 and above are filled at 35 % and outlined; further classes are lighter.
    In the last panel a pixel wrongly given to a class is solid, a pixel missing from its class is
    hatched, and one of the wrong class is both. Outside a region of interest the panels of masks
    are dimmed, and its border is dashed. Intensities run from the 1st to the 99th percentile.
    Images above 512 pixels are reduced, masks by nearest neighbour.

    Args:
        image_CYX: Intensities, shape ``(C, Y, X)``; three channels or more show as RGB. Without
            an image its panel is left out and the masks lie on grey.
        truth_YX: True class ids, shape ``(Y, X)``; without it the panels of truth and errors are
            left out.
        prediction_YX: Predicted class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        valid: Region of interest, shape ``(Y, X)``; no errors are drawn outside.
        window: Intensities shown black and white, instead of the percentiles.

    Returns:
        RGB panels with gaps of 8 white pixels, shape ``(Y', 4 X' + 24, 3)`` when nothing is left
        out; :func:`panel_names` names them.

    Example:
        >>> mask = np.eye(16, dtype=np.uint8)
        >>> overlay(mask[None] * 9.0, mask, mask, 2).shape
        (16, 88, 3)
    """
    height, width = prediction_YX.shape
    scale = min(1.0, PANEL_PX / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    prediction = _nearest(prediction_YX, size)
    inside = None if valid is None else _nearest(valid, size).astype(bool)
    if image_CYX is None:
        picture_YX3 = np.full((*size, 3), NO_IMAGE, np.uint8)
        panels = []
    else:
        picture_YX3 = _display(image_CYX, size, window)
        panels = [picture_YX3]
    if truth_YX is not None:
        truth = _nearest(truth_YX, size)
        panels.append(_bordered(_outlined(picture_YX3, truth, classes, TRUTH_RGB), inside))
    panels.append(_bordered(_outlined(picture_YX3, prediction, classes, PREDICTION_RGB), inside))
    if truth_YX is not None:
        wrong = prediction != truth
        if inside is not None:
            wrong &= inside
        errors_YX3 = _errors(picture_YX3, wrong & (prediction > 0), wrong & (truth > 0))
        panels.append(_bordered(errors_YX3, inside))
    gap_YX3 = np.full((size[0], GAP_PX, 3), 255, np.uint8)
    row = [panels[0]]
    for panel in panels[1:]:
        row += [gap_YX3, panel]
    return np.concatenate(row, axis=1)


def panel_names(*, image: bool = True, truth: bool = True) -> tuple[str, ...]:
    """What the panels of :func:`overlay` are, from left to right.

    Args:
        image: There is an image.
        truth: There is a truth.

    Example:
        >>> panel_names(image=False)
        ('truth', 'prediction', 'errors')
    """
    first = ("image",) if image else ()
    return (*first, "truth", "prediction", "errors") if truth else (*first, "prediction")


def _display(
    image_CYX: NDArray[Any], size: tuple[int, int], window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """RGB of the given size, intensities stretched between two percentiles or by the window."""
    from PIL import Image

    # Every n-th pixel first: averaging all pixels of a huge image would cost its size in floats.
    stride = max(1, max(image_CYX.shape[1:]) // (2 * PANEL_PX))
    small_CYX = image_CYX[:, ::stride, ::stride].astype(np.float32)
    if small_CYX.shape[0] >= 3:
        shown_CYX = small_CYX[:3]
    else:
        shown_CYX = np.repeat(small_CYX.mean(0, keepdims=True), 3, axis=0)
    low, high = window if window is not None else _window(shown_CYX)
    stretched_CYX = (shown_CYX - low) / (high - low) if high > low else np.zeros_like(shown_CYX)
    rgb_YX3 = (stretched_CYX.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(rgb_YX3))
    if picture.size != size[::-1]:
        picture = picture.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(picture)


def _window(intensities: NDArray[Any]) -> tuple[float, float]:
    """What shows black and white: two percentiles, or the extremes where those are equal."""
    low, high = np.percentile(intensities, (1, 99))
    if high <= low:
        low, high = intensities.min(), intensities.max()
    return float(low), float(high)


def _bordered(
    panel_YX3: NDArray[np.uint8], inside_YX: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """The panel dimmed outside the region, with a dashed line around it."""
    from scipy.ndimage import binary_erosion

    if inside_YX is None or inside_YX.all():
        return panel_YX3
    shown_YX3 = panel_YX3.copy()
    shown_YX3[~inside_YX] = (shown_YX3[~inside_YX] * OUTSIDE).astype(np.uint8)
    border = inside_YX & ~binary_erosion(inside_YX, border_value=1)
    rows, columns = np.indices(border.shape)
    dashes = (rows + columns) // DASH_PX % 2 == 0
    shown_YX3[border & dashes] = 255
    return shown_YX3


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
    image_CYX: NDArray[Any] | None,
    truth_YX: NDArray[Any] | None,
    prediction_YX: NDArray[Any],
    classes: int,
    *,
    valid: NDArray[np.bool_] | None = None,
) -> None:
    """Write the panels of :func:`overlay` as a PNG file.

    Args:
        path: The file.
        image_CYX: Intensities, shape ``(C, Y, X)``, or ``None``.
        truth_YX: True class ids, shape ``(Y, X)``, or ``None``.
        prediction_YX: Predicted class ids, shape ``(Y, X)``.
        classes: Number of classes, background included.
        valid: Region of interest, shape ``(Y, X)``.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_panels(path, overlay(image_CYX, truth_YX, prediction_YX, classes, valid=valid))


def write_panels(path: Path, panels_YX3: NDArray[np.uint8]) -> None:
    """Write panels of :func:`overlay` or :func:`volume_slices` as a PNG file."""
    write_bytes(path, _encode(panels_YX3, "PNG"))


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
    return _uri(panels_YX3, min(OVERLAY_BYTES, REPORT_BYTES // max(images, 1)))


def volume_slices(
    image_CZYX: NDArray[Any] | None,
    truth_ZYX: NDArray[Any] | None,
    prediction_ZYX: NDArray[Any],
    classes: int,
    *,
    valid: NDArray[np.bool_] | None = None,
    most: int = 12,
) -> list[tuple[int, NDArray[np.uint8]]]:
    """Panels of the slices of a volume that tell most about it.

    They are spread evenly over the slices with a mask, with two always among them: the slice
    with most wrong pixels and the one with the largest mask. All share one window of intensities.

    Args:
        image_CZYX: Intensities, shape ``(C, Z, Y, X)``, or ``None``.
        truth_ZYX: True class ids, shape ``(Z, Y, X)``, or ``None``.
        prediction_ZYX: Predicted class ids, shape ``(Z, Y, X)``.
        classes: Number of classes, background included.
        valid: Region of interest, shape ``(Z, Y, X)``; errors outside do not count.
        most: Number of slices at most.

    Returns:
        Place along Z and panels of :func:`overlay`: the worst slice first, then by place.

    Example:
        >>> truth = np.zeros((9, 8, 8), np.uint8)
        >>> truth[3:6, 2:6, 2:6] = 1
        >>> [z for z, _ in volume_slices(None, truth, truth, 2)]
        [3, 4, 5]
    """
    depth = prediction_ZYX.shape[0]
    wrong, large = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    # Slice by slice: one comparison of a whole volume would take as much memory again.
    for z in range(depth):
        mask = prediction_ZYX[z] > 0
        if truth_ZYX is not None:
            mask = mask | (truth_ZYX[z] > 0)
            differs = prediction_ZYX[z] != truth_ZYX[z]
            wrong[z] = np.count_nonzero(differs if valid is None else differs & valid[z])
        large[z] = np.count_nonzero(mask)
    chosen = _chosen_slices(wrong, large, most)
    window = None
    if image_CZYX is not None and image_CZYX.shape[0] < 3:
        stride = max(1, max(image_CZYX.shape[2:]) // PANEL_PX)
        window = _window(image_CZYX[:, chosen, ::stride, ::stride].astype(np.float32).mean(0))
    return [
        (
            z,
            overlay(
                None if image_CZYX is None else image_CZYX[:, z],
                None if truth_ZYX is None else truth_ZYX[z],
                prediction_ZYX[z],
                classes,
                valid=None if valid is None else valid[z],
                window=window,
            ),
        )
        for z in chosen
    ]


def _chosen_slices(wrong: NDArray[np.int64], large: NDArray[np.int64], most: int) -> list[int]:
    """The worst slice, then the largest and an even spread of the others, by place."""
    covered = np.flatnonzero(large)
    first, last = (covered[0], covered[-1]) if covered.size else (0, large.size - 1)
    largest = int(np.argmax(large)) if covered.size else (first + last) // 2
    worst = int(np.argmax(wrong)) if wrong.any() else int(largest)
    fixed = {worst, int(largest)}
    others = {int(z) for z in np.linspace(first, last, max(0, most - len(fixed))).round()}
    rest = (others | fixed) - {worst}
    return [worst, *sorted(rest)][: max(most, 1)]


def slice_uris(
    slices: Sequence[tuple[int, NDArray[np.uint8]]], volumes: int
) -> tuple[ReportSlice, ...]:
    """Slices of one volume as embedded pictures, small enough for a report of many volumes.

    Where there are so many volumes that a slice would become too small to see, fewer slices are
    kept; the first one, which is the worst, always is.

    Args:
        slices: From :func:`volume_slices`.
        volumes: Number of volumes in the report.

    Returns:
        The slices for ``ReportCase.slices``, in the order given.

    Example:
        >>> panels = np.zeros((16, 88, 3), np.uint8)
        >>> [s.index for s in slice_uris([(4, panels), (2, panels), (7, panels)], volumes=1)]
        [4, 2, 7]
    """
    if not slices:
        return ()
    limit = REPORT_BYTES // max(volumes, 1)
    number = min(len(slices), max(1, limit // SLICE_BYTES))
    rest = np.linspace(1, len(slices) - 1, number - 1).round().astype(int)
    kept = [slices[0], *(slices[k] for k in rest)]
    share = min(OVERLAY_BYTES // 2, limit // number)
    return tuple(ReportSlice(index, _uri(panels, share)) for index, panels in kept)


def _uri(panels_YX3: NDArray[np.uint8], limit: int) -> str:
    from PIL import Image

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
