"""What the tags of a TIFF page say: transparency, palette, orientation, pixel size."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskwright.io.stored import UNIT_MM

if TYPE_CHECKING:
    import tifffile

_ORIENTATION, _RESOLUTION_UNIT, _X_RESOLUTION, _Y_RESOLUTION = 274, 296, 282, 283


def alpha_samples(page: tifffile.TiffPage) -> int:
    """How many samples at the end of each pixel are transparency."""
    if page.photometric in (2, 6):
        return max(0, page.samplesperpixel - 3)
    is_alpha = bool(page.extrasamples) and page.extrasamples[-1] in (1, 2)
    return int(is_alpha and page.samplesperpixel > 1)


def palette(page: tifffile.TiffPage) -> NDArray[np.uint8] | None:
    """The colours of an indexed page, shape ``(n, 3)``, or ``None``."""
    colours = page.colormap
    if page.photometric != 3 or colours is None:
        return None
    # Colours are 16-bit by the standard, yet some programs write 8-bit ones.
    shift = 8 if int(colours.max(initial=0)) > 255 else 0
    return (colours >> shift).astype(np.uint8).T


def orientation(page: tifffile.TiffPage) -> int:
    """The EXIF orientation, 1 where there is none."""
    tag = page.tags.get(_ORIENTATION)
    value = 1 if tag is None else tag.value
    return int(value) if value in range(1, 9) else 1


def spacing_mm(file: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Pixel size along Y and X in millimetres, or ``None`` where the file does not say."""
    ome = [_ome_size_mm(page.description, axis) for axis in "YX"]
    if ome[0] is not None and ome[1] is not None:
        return ome[0], ome[1]
    aperio = re.search(r"\|\s*MPP = ([0-9.eE+-]+)", page.description) if file.is_svs else None
    if aperio is not None and (size_um := _positive(aperio.group(1))) is not None:
        return size_um * 1e-3, size_um * 1e-3
    unit = str((file.imagej_metadata or {}).get("unit", "")).strip().lower()
    if not unit:
        tag = page.tags.get(_RESOLUTION_UNIT)
        unit = "cm" if tag is not None and int(tag.value) == 3 else ""
    y_mm, x_mm = (_per_unit_mm(page, code, unit) for code in (_Y_RESOLUTION, _X_RESOLUTION))
    return None if y_mm is None or x_mm is None else (y_mm, x_mm)


def slice_mm(file: tifffile.TiffFile, page: tifffile.TiffPage) -> float | None:
    """Distance of neighbouring planes in millimetres, or ``None`` where the file does not say."""
    ome = _ome_size_mm(page.description, "Z")
    if ome is not None:
        return ome
    metadata = file.imagej_metadata or {}
    factor = UNIT_MM.get(str(metadata.get("unit", "")).strip().lower())
    distance = metadata.get("spacing")
    return None if factor is None or distance is None else abs(float(distance)) * factor


def _per_unit_mm(page: tifffile.TiffPage, code: int, unit: str) -> float | None:
    """Pixel size from a resolution, given in pixels a unit as a fraction."""
    tag = page.tags.get(code)
    if tag is None or unit not in UNIT_MM:
        return None
    numerator, denominator = tag.value
    if numerator <= 0 or denominator <= 0:
        return None
    # The fraction is rounded in the file; seven digits are what it holds for certain.
    return float(f"{UNIT_MM[unit] * denominator / numerator:.7g}")


def _ome_size_mm(description: str, axis: str) -> float | None:
    size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', description)
    if size is None or "<OME" not in description:
        return None
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]*)"', description)
    factor = UNIT_MM.get(unit.group(1).lower() if unit else "µm")
    value = _positive(size.group(1))
    return None if factor is None or value is None else value * factor


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
