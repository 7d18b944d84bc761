"""Masks as DICOM-SEG: one Segmentation object for a series, a segment for each class.

::

    class ids (Z, Y, X) ── highdicom ──▶ NAME.dcm     frames with nothing drawn are left out
    slices of the series ──┘                          patient, study and places are theirs
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import __version__
from maskwright.errors import OutputError
from maskwright.io.dicom import Series, read_series
from maskwright.io.dicom_seg import EXTRA, PRIVATE
from maskwright.io.durable import replace_file
from maskwright.io.extras import load_extra
from maskwright.io.space import Geometry

_SERIES_NUMBER = 100
_MOST_CHARACTERS = 64  # of a label in DICOM
# What a study always has, though it may be empty.
_OF_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Segment:
    """A class of a mask.

    Args:
        name: What it is called.
        value: What masks hold where it is.
        color: The colour it is shown in, RGB.
    """

    name: str
    value: int
    color: tuple[int, int, int]


def check_segmentable(series: Path) -> None:
    """Refuse what no DICOM-SEG can be written for.

    Args:
        series: The image.

    Raises:
        OutputError: ``dicom-seg-source`` for what is no series of slices with positions, or one
            without the numbers that a segmentation refers to.
        ImageReadError: For a series that cannot be read.
        MaskwrightError: ``extra-missing`` without highdicom.
    """
    load_extra("highdicom", extra=EXTRA)
    _sources(*_placed_series(series))


def write_segmentation(
    path: Path, classes_ZYX: NDArray[np.uint8], segments: Sequence[Segment], series: Path
) -> None:
    """Write class ids as a DICOM-SEG file, durably.

    Args:
        path: The file to create or replace.
        classes_ZYX: Class ids, in the order of the slices as they are read.
        segments: The classes in the order of their ids; the first one is the background, which
            gets no segment.
        series: Folder of the DICOM slices.

    Raises:
        OutputError: ``dicom-seg-source``, or when writing fails.
        ImageReadError: For a series that cannot be read.
        MaskwrightError: ``extra-missing`` without highdicom.

    Source: DICOM PS3.3 A.51 (Segmentation IOD), written by highdicom.
    """
    read, geometry = _placed_series(series)
    sources = _sources(read, geometry)
    highdicom = load_extra("highdicom", extra=EXTRA)
    load_extra("highdicom.seg", extra=EXTRA)
    try:
        made = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=classes_ZYX,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(highdicom, segments[1:]),
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="maskwright",
            manufacturer_model_name="maskwright",
            software_versions=__version__,
            device_serial_number="0",
            content_description="Mask predicted by maskwright",
            # Without any frame there would be no file.
            omit_empty_frames=bool(classes_ZYX.any()),
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _no_source(series, str(error)) from error
    made.SpecificCharacterSet = "ISO_IR 192"
    notes = _place(sources, geometry) | {"values": [segment.value for segment in segments]}
    group, creator, element = PRIVATE
    block = made.private_block(group, creator, create=True)
    block.add_new(element, "UT", json.dumps(notes))
    with replace_file(path) as temporary:
        made.save_as(temporary)


def _descriptions(highdicom: Any, segments: Sequence[Segment]) -> list[Any]:
    codes = load_extra("pydicom.sr.codedict", extra=EXTRA).codes
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="maskwright", version=__version__, family=codes.cid7162.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.name.replace("\\", "/")[:_MOST_CHARACTERS],
            # What a class is, nobody said: the least that the standard allows.
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*segment.color),
        )
        for number, segment in enumerate(segments, start=1)
    ]


def _place(sources: Sequence[Any], geometry: Geometry) -> dict[str, Any]:
    """Where the slices are, those too that have no frame."""
    normal = np.array(geometry.direction)[:, 2]
    positions = np.array([[float(n) for n in each.ImagePositionPatient] for each in sources])
    return {
        "origin": list(geometry.origin_xyz),
        "step_mm": geometry.spacing_xyz[2],
        "at_mm": ((positions - geometry.origin_xyz) @ normal).tolist(),
    }


def _placed_series(series: Path) -> tuple[Series, Geometry]:
    if not series.is_dir():
        raise _no_source(series, "an image of another kind")
    read = read_series(series)
    if read.geometry is None:
        raise _no_source(series, "no positions")
    return read, read.geometry


def _sources(series: Series, geometry: Geometry) -> list[Any]:
    """Headers of the slices, with what a segmentation needs and some scanners leave out."""
    pydicom = load_extra("pydicom", extra=EXTRA)
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in series.files]
    for file, source in zip(series.files, sources, strict=True):
        lacking = [name for name in _NEEDED if not source.get(name)]
        if lacking:
            raise _no_source(file, f"no {lacking[0]}")
        for name in _OF_STUDY:
            if name not in source:
                setattr(source, name, None)
        if not source.get("FrameOfReferenceUID"):
            seed = [str(source.SeriesInstanceUID), "frame of reference"]
            source.FrameOfReferenceUID = pydicom.uid.generate_uid(entropy_srcs=seed)
        if not source.get("SliceThickness"):
            source.SliceThickness = round(geometry.spacing_xyz[2], 6)
    return sources


def _no_source(series: Path, found: str) -> OutputError:
    return OutputError(
        "dicom-seg-source",
        str(series),
        expected="a series of DICOM slices that a DICOM-SEG can refer to",
        found=found[:200],
        remedy="use --mask-format nifti, or leave it out",
    )
