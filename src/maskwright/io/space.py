"""Where an array lies in the space of the patient or the microscope."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where an array lies in the space of the patient or the microscope.

    Args:
        spacing_xyz: Distance of neighbouring voxels along each axis, in mm.
        origin_xyz: Place of the first voxel's centre, in mm.
        direction: Rows of the matrix whose columns are the axes' directions.
        nifti: The fields of a NIfTI header that say this, as they were read, for a mask that
            shall lie exactly on its image; empty for other files. They take no part in equality.

    Example:
        >>> Geometry((1.0, 1.0), (0.0, 5.0), ((1.0, 0.0), (0.0, 1.0))).origin_xyz
        (0.0, 5.0)
    """

    spacing_xyz: tuple[float, ...]
    origin_xyz: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    nifti: bytes = field(default=b"", repr=False, compare=False)


def difference(a: Geometry | None, b: Geometry | None) -> str | None:
    """How two places in space differ, as a part of a sentence, or ``None`` where they agree.

    Tolerated are 0.1 % of the spacing, a hundredth of a voxel of the origin and 0.1° of the axes,
    more than single precision loses. Without a geometry on both sides nothing is compared.

    Args:
        a: One geometry.
        b: The other.

    Example:
        >>> axes = ((1.0, 0.0), (0.0, 1.0))
        >>> difference(Geometry((1.0, 1.0), (0.0, 0.0), axes),
        ...            Geometry((1.0, 1.0), (0.0, 3.2), axes))
        'origins differ by 3.2 mm'
    """
    if a is None or b is None:
        return None
    if len(a.spacing_xyz) != len(b.spacing_xyz):
        return f"one has {len(a.spacing_xyz)} axes, the other {len(b.spacing_xyz)}"
    found: list[str] = []
    finest_mm = min(*a.spacing_xyz, *b.spacing_xyz)
    pairs = list(zip(a.spacing_xyz, b.spacing_xyz, strict=True))
    if any(abs(p - q) > 1e-3 * min(p, q) for p, q in pairs):
        found.append(
            f"spacings differ by {max(abs(p - q) for p, q in pairs):.4g} mm along one axis"
        )
    apart_mm = math.dist(a.origin_xyz, b.origin_xyz)
    if apart_mm > 0.01 * finest_mm:
        found.append(f"origins differ by {apart_mm:.4g} mm")
    cosines = (np.array(a.direction) * np.array(b.direction)).sum(axis=0)
    angle = math.degrees(math.acos(min(1.0, max(-1.0, float(cosines.min())))))
    if angle > 0.1:
        found.append(f"directions differ by {angle:.1f}°")
    return " and ".join(found) or None
