"""Folders of DICOM slices: one series is one volume, sorted by where its slices lie.

::

    slice files ── headers ──▶ one series? one size, one direction? ──▶ sorted along the normal
                                            └─ evenly apart, none twice, none missing ──▶ volume

Values are those that the slope and intercept of each slice give, such as Hounsfield units.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.space import Geometry
from maskwright.io.stored import Block, StoredArray, check_spacing, decoding, refusal
from maskwright.io.volume import simpleitk, voxel_dtype

_SERIES, _POSITION, _ORIENTATION = "0020|000e", "0020|0032", "0020|0037"
_INDEX = "dicomdir"
_START_BYTES = 400
# Tag 0002,0002 (Media Storage SOP Class UID): Segmentation and Label Map Segmentation Storage.
_SEGMENTATION = re.compile(
    rb"\x02\x00\x02\x00UI..1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.[47](?![\d.])", re.S
)
_MOST_UNEVEN = 0.2  # of the distance of slices; positions are often rounded to 0.1 mm
_MOST_SHIFTED = 0.05  # of a pixel, between the first slice and the last


def is_dicom(folder: Path) -> bool:
    """Whether a folder holds DICOM slices: its first file is one.

    Example:
        >>> is_dicom(Path("no such folder"))
        False
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.is_file() and _is_visible(e.name))
    except OSError:
        return False
    for name in names:
        # A mask of the series may lie among its slices, and some masks alone are no series.
        if not is_segmentation(Path(folder) / name):
            return _begins_as_dicom(Path(folder) / name)
    return False


def is_segmentation(file: Path) -> bool:
    """Whether a file is a DICOM-SEG, by its first bytes.

    Example:
        >>> is_segmentation(Path("no such file"))
        False
    """
    try:
        with open(file, "rb") as stream:
            start = stream.read(_START_BYTES)
    except OSError:
        return False
    return start[128:132] == b"DICM" and _SEGMENTATION.search(start) is not None


@dataclass(frozen=True)
class Series:
    """The slices of a series.

    Args:
        files: Their files, in the order of their places.
        size: ``(Z, Y, X)`` in pixels, or ``(Y, X)`` for a single file without a position.
        spacing_mm: Pixel size along these axes.
        geometry: Place in space; ``None`` for a single file without a position.
        dtype: Data type of the values.
        channels: Number of channels.
    """

    files: tuple[Path, ...]
    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    geometry: Geometry | None
    dtype: np.dtype[Any]
    channels: int


def open_dicom(path: Path, labels: bool = False) -> StoredArray:
    """Open a folder of DICOM slices.

    Args:
        path: The folder, with the files of one series.
        labels: Whether this is a mask, which has one channel.

    Returns:
        The volume ``(Z, Y, X)`` with its place in space, of which a block decodes the slices it
        touches. A single file without a position is a plane.

    Raises:
        ImageReadError: For several series, slices of different sizes or directions, missing or
            double slices, a tilted stack, files of several frames, and damaged files; the slice
            is named.

    Source: DICOM PS3.3 C.7.6.2 (Image Plane), read by GDCM.
    """
    slices, series = _read(path)
    size, channels, dtype = series.size, series.channels, series.dtype
    if labels and channels > 1:
        remedy = "save one number in each voxel"
        raise refusal("labels-channels", path, "one number in each voxel", "colours", remedy)

    def read(block: Block) -> NDArray[Any]:
        planes = block[-3] if len(size) == 3 else slice(0, 1)
        found = [_read_pixels(each)[..., block[-2], block[-1]] for each in slices[planes]]
        values = np.stack(found, axis=1).astype(dtype, copy=False)  # C Z Y X
        values = values if len(size) == 3 else values[:, 0]
        return values[block[0]] if channels > 1 else values[0]

    return StoredArray(
        (channels, *size) if channels > 1 else size,
        dtype,
        read,
        lazy=True,
        spacing_mm=series.spacing_mm,
        geometry=series.geometry,
        chunks=(1, *size[-2:])[-len(size) :],
        has_channels=channels > 1,
    )


def read_series(path: Path) -> Series:
    """What the headers of a folder of DICOM slices say.

    Raises:
        ImageReadError: As :func:`open_dicom`.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[list[_Slice], Series]:
    files = [
        path / name
        for name in sorted(os.listdir(path))
        if _is_visible(name)
        and (path / name).is_file()
        and _begins_as_dicom(path / name)
        and not is_segmentation(path / name)
    ]
    slices = [_read_header(file) for file in files]
    _check_alike(slices, path)
    first = slices[0]
    geometry: Geometry | None = None
    size: tuple[int, ...] = first.size
    spacing_mm = first.spacing_xyz[1::-1]
    if len(slices) > 1 or first.position is not None:
        slices, step_mm = _sorted(slices, path)
        first = slices[0]
        size = (len(slices), *first.size)
        geometry = _geometry(first, step_mm)
        spacing_mm = geometry.spacing_xyz[::-1]
    check_spacing(spacing_mm, path)
    return slices, Series(
        tuple(each.path for each in slices),
        size,
        spacing_mm,
        geometry,
        np.result_type(*(each.dtype for each in slices)),
        first.channels,
    )


@dataclass(frozen=True)
class _Slice:
    """What the header of a file says."""

    path: Path
    series: str
    size: tuple[int, int]
    dtype: np.dtype[Any]
    channels: int
    spacing_xyz: tuple[float, ...]
    position: NDArray[np.float64] | None
    rows: NDArray[np.float64]
    """Directions of X, of Y, and of the normal, one a row."""


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in {_INDEX, "thumbs.db", "desktop.ini"}


def _begins_as_dicom(file: Path) -> bool:
    with open(file, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _reader(file: Path) -> Any:
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    return reader


def _read_header(file: Path) -> _Slice:
    with decoding(file):
        reader = _reader(file)
        reader.ReadImageInformation()
        size = [int(n) for n in reader.GetSize()]
        frames = math.prod(size[2:])
        if frames != 1:
            remedy = "convert it to NIfTI, for example with dcm2niix"
            raise refusal("dicom-frames", file, "one slice a file", f"{frames} frames", remedy)
        position = _numbers(reader, _POSITION, 3)
        direction = _numbers(reader, _ORIENTATION, 6)
        x, y = np.eye(3)[:2] if direction is None else direction.reshape(2, 3)
        if position is not None and not np.allclose([x @ x, y @ y, x @ y], [1, 1, 0], atol=1e-3):
            remedy = "export the series again"
            raise refusal("labels-direction", file, "axes at right angles", "others", remedy)
        return _Slice(
            file,
            reader.GetMetaData(_SERIES).strip() if reader.HasMetaDataKey(_SERIES) else "",
            (size[1], size[0]),
            voxel_dtype(reader, file, channels=True),
            int(reader.GetNumberOfComponents()),
            (*(float(mm) for mm in reader.GetSpacing()), 1.0)[:3],
            position,
            np.array([x, y, np.cross(x, y)]),
        )


def _numbers(reader: Any, tag: str, count: int) -> NDArray[np.float64] | None:
    """The numbers of a tag, or ``None`` where the file does not have it."""
    if not reader.HasMetaDataKey(tag):
        return None
    values = np.array([float(text) for text in reader.GetMetaData(tag).split("\\")])
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} numbers in the tag {tag}")
    return values


def _check_alike(slices: Sequence[_Slice], path: Path) -> None:
    """Refuse slices that are not of one volume; the one that differs is named."""
    series = Counter(each.series for each in slices)
    if len(series) > 1:
        (usual, count), *_ = series.most_common()
        odd = next(each for each in slices if each.series != usual)
        found = f"{len(series)} series: {count} files of one, but {odd.path.name} of another"
        remedy = "put each series into a folder of its own"
        raise refusal("dicom-series", path, "the slices of one series", found, remedy)
    first = slices[0]
    for each in slices[1:]:
        if (each.size, each.channels) != (first.size, first.channels):
            found, usual = (" × ".join(map(str, one.size)) for one in (each, first))
        elif not np.allclose(each.rows, first.rows, atol=1e-3):
            found, usual = "another direction", "one direction"
        elif not np.allclose(each.spacing_xyz[:2], first.spacing_xyz[:2], rtol=1e-3):
            found, usual = (f"pixels of {one.spacing_xyz[0]:g} mm" for one in (each, first))
        else:
            continue
        remedy = "move it out of the folder if it is a localiser, or export the series again"
        expected = f"slices alike: {usual}, as {first.path.name}"
        raise refusal("dicom-slice", each.path, expected, found, remedy)


def _sorted(slices: Sequence[_Slice], path: Path) -> tuple[list[_Slice], float]:
    """The slices in the order of their places, and their distance in mm."""
    placed = []
    for each in slices:
        if each.position is None:
            remedy = "export the series again, with the tag ImagePositionPatient"
            raise refusal("dicom-position", each.path, "a slice with a position", "none", remedy)
        placed.append((float(each.position @ slices[0].rows[2]), each, each.position))
    placed.sort(key=lambda entry: entry[0])
    ordered = [each for _, each, _ in placed]
    if len(placed) == 1:
        return ordered, ordered[0].spacing_xyz[2]
    steps_mm = np.diff([at for at, _, _ in placed])
    usual_mm = float(np.median(steps_mm))
    for step_mm, before, after in zip(steps_mm, ordered[:-1], ordered[1:], strict=True):
        if abs(step_mm - usual_mm) > _MOST_UNEVEN * usual_mm or step_mm <= 0:
            found = f"{step_mm:.3g} mm from {before.path.name} to {after.path.name}"
            remedy = "copy the slice that is missing between them"
            if step_mm < usual_mm or step_mm <= 0:
                remedy = "keep one of the slices at the same place"
            expected = f"slices {usual_mm:.3g} mm apart"
            raise refusal("dicom-gap", path, expected, found, remedy)
    step_mm = float(np.mean(steps_mm))
    shift_mm = placed[-1][2] - placed[0][2] - (placed[-1][0] - placed[0][0]) * slices[0].rows[2]
    if np.linalg.norm(shift_mm) > _MOST_SHIFTED * min(ordered[0].spacing_xyz[:2]):
        found = f"a last slice that is shifted by {np.linalg.norm(shift_mm):.3g} mm"
        remedy = "resample the tilted series onto a straight grid, for example with dcm2niix"
        raise refusal("dicom-tilt", path, "slices exactly behind each other", found, remedy)
    return ordered, step_mm


def _geometry(first: _Slice, step_mm: float) -> Geometry:
    origin = np.zeros(3) if first.position is None else first.position
    rows = tuple(tuple(row) for row in first.rows.T.tolist())
    return Geometry((*first.spacing_xyz[:2], step_mm), tuple(origin.tolist()), rows)


def _read_pixels(each: _Slice) -> NDArray[Any]:
    """Values of shape ``(C, Y, X)``."""
    with decoding(each.path):
        array = np.asarray(simpleitk().GetArrayFromImage(_reader(each.path).Execute()))
        if each.channels > 1:
            return np.moveaxis(array.reshape(*each.size, each.channels), -1, 0)
        return array.reshape(1, *each.size)
