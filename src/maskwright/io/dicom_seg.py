"""DICOM-SEG files as masks: the frames of every segment, put where they lie.

::

    frame ── segment number ──▶ value of the mask
          └─ position       ──▶ slice of the volume      slices that no frame shows are background

A file made by :mod:`maskwright.io.dicom_seg_write` also says where the slices of its series are
and which value each segment stands for. Others leave out slices where nothing is drawn, which
:func:`placed_on` gives back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.dicom import is_segmentation
from maskwright.io.extras import load_extra
from maskwright.io.image import Image
from maskwright.io.space import Geometry
from maskwright.io.stored import StoredArray, check_spacing, damaged, decoding, refusal
from maskwright.io.stored_image import check_count

EXTRA = "dicom-seg"
"""The extra of maskwright that installs what DICOM-SEG needs."""

PRIVATE = (0x0099, "maskwright", 0x01)
"""Group, creator and element of what only this program writes, as JSON."""

_MOST_VALUE = 65535
_MOST_SLICES = 1 << 20
_MOST_UNEVEN = 0.25  # of the distance of slices


@dataclass(frozen=True)
class _Frame:
    """Where a frame lies.

    Args:
        segment: Number of its segment, 0 where its pixels are such numbers.
        position: Place of its first pixel in mm.
    """

    segment: int
    position: NDArray[np.float64]


@dataclass(frozen=True)
class _Header:
    """What a file says before its pixels are decoded."""

    frames: tuple[_Frame, ...]
    size: tuple[int, int, int]
    geometry: Geometry
    at_mm: NDArray[np.float64]
    values: dict[int, int]
    background: int

    def slice_of(self, frame: _Frame) -> tuple[int, float]:
        """Number of the slice that a frame belongs to, and how far it is from it in slices."""
        apart = frame.position - np.array(self.geometry.origin_xyz)
        away_mm = np.abs(self.at_mm - apart @ np.array(self.geometry.direction)[:, 2])
        nearest = int(away_mm.argmin())
        return nearest, float(away_mm[nearest]) / self.geometry.spacing_xyz[2]


def open_segmentation(path: Path, labels: bool = True) -> StoredArray:
    """Open a DICOM-SEG file as a mask.

    Args:
        path: The file, of the type BINARY or LABELMAP.
        labels: Of no consequence; an image is read in the same way.

    Returns:
        The volume ``(Z, Y, X)`` with its place in space: the number of a segment where it is, or
        the value that the mask had before it was written as DICOM-SEG.

    Raises:
        ImageReadError: For a file that is no segmentation, shares of voxels instead of segments
            (``dicom-seg-type``), segments that overlap (``labels-overlap``), and damaged files.
        MaskwrightError: ``extra-missing`` without highdicom.

    Source: DICOM PS3.3 A.51 and C.8.20 (Segmentation), read by highdicom.
    """
    if not is_segmentation(path):
        expected = "a DICOM segmentation, or the folder of a series"
        remedy = "name the folder that holds the slices of the series"
        raise refusal("dicom-file", path, expected, "a single file of another kind", remedy)
    header = _read_header(path)
    values = [header.background, *header.values.values()]
    dtype = np.dtype(np.uint8 if max(values) <= 255 else np.uint16)

    @cache
    def whole() -> NDArray[Any]:
        with decoding(path):
            return _assemble(path, header, dtype)

    stored = StoredArray(
        header.size,
        dtype,
        lambda block: whole()[block],
        lazy=False,
        spacing_mm=header.geometry.spacing_xyz[::-1],
        geometry=header.geometry,
    )
    check_count(stored, path)
    return stored


def placed_on(mask: Image, size: tuple[int, ...], geometry: Geometry | None) -> Image:
    """A mask that has only some slices of its image, with the others empty.

    Args:
        mask: The mask, of shape ``(1, Z, Y, X)``.
        size: Size of the image in pixels.
        geometry: Its place in space.

    Returns:
        The mask with all slices of the image, or as it is where its slices are none of them.

    Example:
        >>> axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        >>> drawn = Image(np.ones((1, 1, 2, 2), np.uint8),
        ...               geometry=Geometry((1.0, 1.0, 3.0), (0.0, 0.0, 6.0), axes))
        >>> placed_on(drawn, (4, 2, 2), Geometry((1.0, 1.0, 3.0), (0.0, 0.0, 0.0),
        ...           axes)).array[0, :, 0, 0].tolist()
        [0, 0, 1, 0]
    """
    own, count = mask.geometry, mask.array.shape[1]
    if own is None or geometry is None or mask.size == size or mask.size[1:] != size[1:]:
        return mask
    step_mm, normal = geometry.spacing_xyz[2], np.array(geometry.direction)[:, 2]
    apart = np.subtract(own.origin_xyz, geometry.origin_xyz)
    at = float(apart @ normal) / step_mm
    first = round(at)
    even = count == 1 or math.isclose(own.spacing_xyz[2], step_mm, rel_tol=_MOST_UNEVEN / count)
    if not (even and abs(at - first) <= _MOST_UNEVEN and 0 <= first <= size[0] - count):
        return mask
    array = np.zeros((1, *size), mask.array.dtype)
    array[:, first : first + count] = mask.array
    origin = tuple((np.array(own.origin_xyz) - first * step_mm * normal).tolist())
    placed = replace(own, spacing_xyz=(*own.spacing_xyz[:2], step_mm), origin_xyz=origin)
    return replace(mask, array=array, geometry=placed, spacing_mm=placed.spacing_xyz[::-1])


def _read_header(path: Path) -> _Header:
    pydicom = load_extra("pydicom", extra=EXTRA)
    with decoding(path):
        try:
            file = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError as error:
            raise damaged(path, str(error)) from error
        kind = str(file.SegmentationType)
        if kind not in ("BINARY", "LABELMAP"):
            remedy = "export the segmentation as BINARY, without shares of voxels"
            raise refusal("dicom-seg-type", path, "BINARY or LABELMAP", kind, remedy)
        frames = tuple(_frames(file, path, has_numbers=kind == "LABELMAP"))
        own = _own_notes(file)
        numbers = [int(each.SegmentNumber) for each in file.SegmentSequence]
        values = dict(zip(numbers, own.get("values", [0, *numbers])[1:], strict=True))
        background = int(own.get("values", [0])[0])
        if kind == "LABELMAP":
            values = {number: value for number, value in values.items() if number}
        if not all(0 <= value <= _MOST_VALUE for value in (background, *values.values())):
            raise ValueError(f"values of segments up to {max(values.values())}")
        geometry, at_mm = _geometry(file, frames, own)
        check_spacing(geometry.spacing_xyz, path)
        size = (len(at_mm), int(file.Rows), int(file.Columns))
        header = _Header(frames, size, geometry, at_mm, values, background)
        if any(header.slice_of(frame)[1] > _MOST_UNEVEN for frame in frames):
            expected = f"slices {geometry.spacing_xyz[2]:.3g} mm apart"
            remedy = "export the segmentation on the slices of its series"
            raise refusal("dicom-gap", path, expected, "frames between them", remedy)
        return header


def _frames(file: Any, path: Path, *, has_numbers: bool) -> Iterator[_Frame]:
    shared = file.SharedFunctionalGroupsSequence[0]
    for group in file.PerFrameFunctionalGroupsSequence:
        place = _first(group, shared, "PlanePositionSequence")
        if place is None:
            expected, remedy = "frames with a position", "export the segmentation again"
            raise refusal("dicom-position", path, expected, "none", remedy)
        segment = _first(group, shared, "SegmentIdentificationSequence")
        position = np.array([float(value) for value in place.ImagePositionPatient])
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError("a position that is not three numbers")
        yield _Frame(0 if has_numbers else int(segment.ReferencedSegmentNumber), position)


def _first(group: Any, shared: Any, name: str) -> Any:
    """The one entry of a sequence that a frame has itself or shares with the others."""
    found = getattr(group, name, None) or getattr(shared, name, None)
    return found[0] if found else None


def _own_notes(file: Any) -> dict[str, Any]:
    """What this program wrote into the file, or nothing."""
    group, creator, element = PRIVATE
    try:
        return dict(json.loads(file.private_block(group, creator)[element].value))
    except KeyError:
        return {}


def _geometry(
    file: Any, frames: tuple[_Frame, ...], own: dict[str, Any]
) -> tuple[Geometry, NDArray[np.float64]]:
    """Where the volume lies, and where each of its slices is along the normal."""
    shared = file.SharedFunctionalGroupsSequence[0]
    first_group = file.PerFrameFunctionalGroupsSequence[0]
    measures = _first(first_group, shared, "PixelMeasuresSequence")
    turn = _first(first_group, shared, "PlaneOrientationSequence").ImageOrientationPatient
    x, y = np.array([float(value) for value in turn]).reshape(2, 3)
    normal = np.cross(x, y)
    y_mm, x_mm = (float(value) for value in measures.PixelSpacing)
    places = sorted(frames, key=lambda frame: float(frame.position @ normal))
    found_mm = np.unique(np.round([float(frame.position @ normal) for frame in places], 3))
    apart_mm = float(np.diff(found_mm).min()) if len(found_mm) > 1 else 0.0
    step_mm = abs(float(getattr(measures, "SpacingBetweenSlices", 0) or apart_mm))
    step_mm = step_mm or float(getattr(measures, "SliceThickness", 0) or 1)
    origin = places[0].position
    last = round(float((places[-1].position - origin) @ normal) / step_mm)
    if not 0 <= last < _MOST_SLICES:
        raise ValueError(f"{last} slices")
    at_mm: NDArray[np.float64] = np.arange(last + 1) * np.float64(step_mm)
    if own:
        origin, step_mm = np.array(own["origin"], np.float64), float(own["step_mm"])
        at_mm = np.array(own["at_mm"], np.float64)
        if at_mm.ndim != 1 or not np.isfinite(at_mm).all():
            raise ValueError("places of slices that are not numbers")
    rows = tuple(tuple(row) for row in np.column_stack([x, y, normal]).tolist())
    return Geometry((x_mm, y_mm, step_mm), tuple(origin.tolist()), rows), at_mm


def _assemble(path: Path, header: _Header, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The volume of all frames, one frame in memory beside it."""
    file = load_extra("highdicom", extra=EXTRA).imread(path)
    is_packed = file.BitsAllocated == 1 and not file.file_meta.TransferSyntaxUID.is_compressed
    volume = np.full(header.size, header.background, dtype)
    drawn = np.zeros(header.size, bool)
    for place, frame in enumerate(header.frames, start=1):
        if is_packed:
            values = _unpacked(file.PixelData, place - 1, header.size[1:])
        else:
            values = file.get_stored_frame(place)
        z, _ = header.slice_of(frame)
        numbers = {frame.segment} if frame.segment else set(np.unique(values).tolist()) - {0}
        for number in sorted(numbers):
            inside = values == (1 if frame.segment else number)
            value = header.values[int(number)]
            if (drawn[z] & inside & (volume[z] != value)).any():
                remedy = "draw each voxel for one class, or keep the segments in files of their own"
                raise refusal("labels-overlap", path, "one segment a voxel", "several", remedy)
            volume[z][inside] = value
            drawn[z] |= inside
    return volume


def _unpacked(data: bytes, frame: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame of single bits; frames share the bytes where they meet."""
    count = size[0] * size[1]
    first = frame * count
    part = np.frombuffer(data, np.uint8)[first // 8 : -(-(first + count) // 8)]
    return np.unpackbits(part, bitorder="little")[first % 8 :][:count].reshape(size)
