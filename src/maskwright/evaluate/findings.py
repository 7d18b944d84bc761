"""Marks and findings in scanner coordinates: what they are, how to parse and to place them.

Positions are world coordinates in mm, in the order x, y, z. Whether the axes point to the
patient's left or right is the file's convention; marks and findings must share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from maskwright.errors import DataError

Parsed = TypeVar("Parsed")

# What the official evaluation takes where the readers gave a finding a point and no outline.
LUNA16_UNKNOWN_DIAMETER_MM = 10.0

_POSITION = ("seriesuid", "coordX", "coordY", "coordZ")


@dataclass(frozen=True)
class Candidate:
    """A mark that a program set.

    Args:
        scan: Name of the scan, its series uid.
        position_xyz_mm: World coordinates in mm.
        probability: How sure the program is; only the order matters.
    """

    scan: str
    position_xyz_mm: tuple[float, float, float]
    probability: float


@dataclass(frozen=True)
class Finding:
    """What readers marked in a scan, such as a nodule.

    Args:
        scan: Name of the scan, its series uid.
        position_xyz_mm: World coordinates of its centre in mm.
        diameter_mm: Its diameter in mm.
    """

    scan: str
    position_xyz_mm: tuple[float, float, float]
    diameter_mm: float


def parse_candidates(rows: Iterable[Mapping[str, str]], subject: str) -> tuple[Candidate, ...]:
    """Candidates from the rows of a table with the columns of LUNA16.

    Args:
        rows: One mapping for each row, as ``csv.DictReader`` gives them, with ``seriesuid``,
            ``coordX``, ``coordY``, ``coordZ`` and ``probability`` in any case; more are ignored.
        subject: What messages are to name, such as the file. They count the header as row 1.

    Returns:
        The candidates in the order of the rows.

    Raises:
        DataError: If a column is missing, or a value is empty or not a finite number.

    Source: the submission format of LUNA16, Setio et al. 2017, Medical Image Analysis 42:1.

    Example:
        >>> row = {"seriesuid": "a", "coordX": "1", "coordY": "-2", "coordZ": "3.5",
        ...        "probability": "0.9"}
        >>> parse_candidates([row], "marks.csv")
        (Candidate(scan='a', position_xyz_mm=(1.0, -2.0, 3.5), probability=0.9),)
    """

    def candidate(cells: Mapping[str, str], where: str) -> Candidate:
        scan, position = _scan(cells, where), _position(cells, where)
        return Candidate(scan, position, _number(cells, "probability", where))

    return _parse(rows, subject, "probability", candidate)


def parse_findings(
    rows: Iterable[Mapping[str, str]], subject: str, *, unknown_diameter_mm: float | None = None
) -> tuple[Finding, ...]:
    """Findings from the rows of a table with the columns of LUNA16.

    Args:
        rows: One mapping for each row, as ``csv.DictReader`` gives them, with ``seriesuid``,
            ``coordX``, ``coordY``, ``coordZ`` and ``diameter_mm`` in any case; more are ignored.
        subject: What messages are to name, such as the file. They count the header as row 1.
        unknown_diameter_mm: What to take in place of a negative diameter, the sign for an
            unknown one among the excluded findings of LUNA16; its evaluation takes
            ``LUNA16_UNKNOWN_DIAMETER_MM``. ``None`` refuses it.

    Returns:
        The findings in the order of the rows.

    Raises:
        DataError: If a column is missing, a value is empty or not a finite number, or a diameter
            is not above 0.

    Source: the annotations of LUNA16, Setio et al. 2017, Medical Image Analysis 42:1.

    Example:
        >>> row = {"seriesuid": "a", "coordX": "1", "coordY": "-2", "coordZ": "3.5",
        ...        "diameter_mm": "6"}
        >>> parse_findings([row], "nodules.csv")
        (Finding(scan='a', position_xyz_mm=(1.0, -2.0, 3.5), diameter_mm=6.0),)
    """

    def finding(cells: Mapping[str, str], where: str) -> Finding:
        scan, position = _scan(cells, where), _position(cells, where)
        diameter_mm = _number(cells, "diameter_mm", where)
        if diameter_mm < 0 and unknown_diameter_mm is not None:
            diameter_mm = unknown_diameter_mm
        if diameter_mm <= 0:
            raise DataError(
                "finding-diameter",
                f"{where}, diameter_mm",
                expected="a diameter above 0 mm",
                found=cells["diameter_mm"],
                remedy="correct the row, or say which diameter to take where it is unknown",
            )
        return Finding(scan, position, diameter_mm)

    return _parse(rows, subject, "diameter_mm", finding)


def _parse(
    rows: Iterable[Mapping[str, str]],
    subject: str,
    last: str,
    build: Callable[[Mapping[str, str], str], Parsed],
) -> tuple[Parsed, ...]:
    wanted = {name.lower(): name for name in (*_POSITION, last)}
    parsed: list[Parsed] = []
    for row_number, row in enumerate(rows, start=2):
        cells = {
            wanted[key]: value
            for name, value in row.items()
            if name and (key := name.strip().lower()) in wanted
        }
        missing = [name for name in wanted.values() if name not in cells]
        if missing:
            raise DataError(
                "table-columns",
                subject,
                expected=f"the columns {', '.join(wanted.values())}",
                found=f"no column {' and no column '.join(missing)}",
                remedy="name the columns in the first row, separated by commas",
            )
        parsed.append(build(cells, f"{subject}, row {row_number}"))
    return tuple(parsed)


def _scan(cells: Mapping[str, str], where: str) -> str:
    scan = (cells["seriesuid"] or "").strip()
    if not scan:
        raise DataError(
            "table-scan",
            f"{where}, seriesuid",
            expected="the name of a scan",
            found="nothing",
            remedy="fill it in, or delete the row",
        )
    return scan


def _position(cells: Mapping[str, str], where: str) -> tuple[float, float, float]:
    x, y, z = (_number(cells, name, where) for name in _POSITION[1:])
    return x, y, z


def _number(cells: Mapping[str, str], column: str, where: str) -> float:
    text = (cells[column] or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            "table-number",
            f"{where}, {column}",
            expected="a number with a decimal point",
            found=repr(text) if text else "nothing",
            remedy="correct the value, or delete the row",
        )
    return value


def world_to_voxel(
    position_xyz_mm: ArrayLike,
    origin_xyz_mm: Sequence[float],
    spacing_xyz_mm: Sequence[float],
    direction: ArrayLike,
) -> NDArray[np.float64]:
    """Continuous voxel index of a world position, (D·diag(spacing))⁻¹ (position − origin).

    Args:
        position_xyz_mm: World coordinates in mm, shape ``(3,)`` or ``(N, 3)``.
        origin_xyz_mm: World coordinates of the centre of voxel (0, 0, 0), in mm.
        spacing_xyz_mm: Distance of neighbouring voxels along each index axis, in mm.
        direction: 3×3 matrix whose columns are the directions of the index axes, or its nine
            numbers row by row as ITK gives them. A flipped axis has a negative column.

    Returns:
        Index in the order x, y, z (reversed NumPy order), same shape, signed and not rounded.

    Raises:
        DataError: If the spacing is not positive, or the direction cannot be inverted.

    Source: the image model of ITK, ``TransformPhysicalPointToContinuousIndex``.

    Example:
        >>> flipped = [-1, 0, 0, 0, -1, 0, 0, 0, 1]
        >>> world_to_voxel((90, 80, -20), (100, 100, -50), (0.5, 0.5, 2), flipped).tolist()
        [20.0, 40.0, 15.0]
    """
    matrix = _matrix(spacing_xyz_mm, direction)
    offset = np.asarray(position_xyz_mm, np.float64) - np.asarray(origin_xyz_mm, np.float64)
    return np.asarray(np.linalg.solve(matrix, offset[..., np.newaxis])[..., 0], np.float64)


def voxel_to_world(
    voxel_xyz: ArrayLike,
    origin_xyz_mm: Sequence[float],
    spacing_xyz_mm: Sequence[float],
    direction: ArrayLike,
) -> NDArray[np.float64]:
    """World position of a continuous voxel index, origin + D·diag(spacing)·index, in mm.

    Args:
        voxel_xyz: Index in the order x, y, z, shape ``(3,)`` or ``(N, 3)``.
        origin_xyz_mm: World coordinates of the centre of voxel (0, 0, 0), in mm.
        spacing_xyz_mm: Distance of neighbouring voxels along each index axis, in mm.
        direction: 3×3 matrix or its nine numbers, as in :func:`world_to_voxel`.

    Returns:
        World coordinates in mm in the order x, y, z, same shape.

    Raises:
        DataError: If the spacing is not positive, or the direction cannot be inverted.

    Source: the image model of ITK, ``TransformContinuousIndexToPhysicalPoint``.

    Example:
        >>> flipped = [-1, 0, 0, 0, -1, 0, 0, 0, 1]
        >>> voxel_to_world((20, 40, 15), (100, 100, -50), (0.5, 0.5, 2), flipped).tolist()
        [90.0, 80.0, -20.0]
    """
    matrix = _matrix(spacing_xyz_mm, direction)
    world: NDArray[np.float64] = np.asarray(voxel_xyz, np.float64) @ matrix.T
    return world + np.asarray(origin_xyz_mm, np.float64)


def _matrix(spacing_xyz_mm: Sequence[float], direction: ArrayLike) -> NDArray[np.float64]:
    """Direction times spacing: columns are the steps of one voxel."""
    spacing = np.asarray(spacing_xyz_mm, np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise DataError(
            "geometry-spacing",
            "spacing",
            expected="three distances above 0 mm; a flip belongs into the direction",
            found=str(spacing.tolist()),
            remedy="take the spacing from the header of the image",
        )
    cosines = np.asarray(direction, np.float64)
    if cosines.size != 9 or not abs(np.linalg.det(cosines.reshape(3, 3))) > 1e-6:
        raise DataError(
            "geometry-direction",
            "direction",
            expected="a 3×3 matrix of independent unit vectors",
            found=str(cosines.tolist()),
            remedy="take the direction from the header of the image",
        )
    matrix: NDArray[np.float64] = cosines.reshape(3, 3) * spacing
    return matrix
