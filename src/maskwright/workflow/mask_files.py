"""In which file format masks are written, and what each format can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.data.labelmap import LabelMap
from maskwright.errors import ConfigError, OutputError
from maskwright.io.dicom_seg_write import Segment, check_segmentable, write_segmentation
from maskwright.io.image import Image
from maskwright.io.large_mask import write_large_mask
from maskwright.io.registry import mask_suffix, write_mask
from maskwright.io.source import ImageSource, open_source
from maskwright.io.space import Geometry, difference
from maskwright.io.stored import Block

AUTO = "auto"
SUFFIX_OF: Mapping[str, str] = MappingProxyType(
    {
        "png": ".png",
        "tiff": ".tif",
        "nifti": ".nii.gz",
        "mha": ".mha",
        "nrrd": ".nrrd",
        "zarr": ".zarr",
        "dicom-seg": ".dcm",
    }
)
"""Formats that may be asked for, and the suffix of their files."""

_SEGMENTATION = SUFFIX_OF["dicom-seg"]
# Formats that keep no turned axes, and that keep no place either.
_STRAIGHT = {".png", ".tif", ".zarr"}
_UNPLACED = {".png", ".tif"}
_GREY_ONLY = {".nii.gz", ".mha", ".nrrd", ".zarr", ".dcm"}


def suffix_for(image: Path, mask_format: str) -> str:
    """The suffix of an image's mask.

    Args:
        image: The image.
        mask_format: A key of :data:`SUFFIX_OF`, or ``auto`` for the image's own format.

    Raises:
        ConfigError: ``mask-format`` for another word.

    Example:
        >>> suffix_for(Path("a.nii"), "auto"), suffix_for(Path("a.nii"), "nrrd")
        ('.nii', '.nrrd')
    """
    if mask_format == AUTO:
        return mask_suffix(image)
    if mask_format not in SUFFIX_OF:
        raise ConfigError(
            "mask-format",
            "--mask-format",
            expected=f"{AUTO}, {', '.join(SUFFIX_OF)}",
            found=repr(mask_format),
            remedy="choose one of these",
        )
    return SUFFIX_OF[mask_format]


def check_formats(images: Sequence[Path], mask_format: str, labels: LabelMap) -> None:
    """Refuse a format that cannot hold the masks of these images, before anything is computed.

    Args:
        images: The images.
        mask_format: As asked for; ``auto`` always fits.
        labels: The values of the masks.

    Raises:
        OutputError: ``mask-format`` or ``dicom-seg-source``.
        ImageReadError: For an image that cannot be opened.
        MaskwrightError: ``extra-missing`` where a DICOM-SEG is asked for without highdicom.
    """
    if mask_format == AUTO:
        return
    suffix = SUFFIX_OF[mask_format]
    if labels.kind == "rgb" and suffix in _GREY_ONLY:
        found = "colours, as the training masks had"
        raise _refusal(mask_format, "masks of one number in each pixel", found, "png or tiff")
    for image in images:
        if suffix == _SEGMENTATION:
            check_segmentable(image)
            continue
        source = open_source(image)
        lost = _lost(source, suffix)
        if lost:
            raise _refusal(mask_format, f"a format that keeps {lost}", str(image), "nifti or nrrd")


def write_classes(
    file: Path, classes_S: NDArray[np.uint8], labels: LabelMap, image: Path, placed: Image
) -> None:
    """Write class ids as the mask of an image, in the format of its suffix.

    Args:
        file: The mask.
        classes_S: Class ids of the size of the image.
        labels: The values of the mask.
        image: The image's file, or its folder.
        placed: The image, or one with its spacing and geometry.

    Raises:
        OutputError: When it cannot be written.
    """
    if file.suffix == _SEGMENTATION:
        segments = [
            Segment(name, values[0], color)
            for name, values, color in zip(labels.names, labels.values, labels.colors, strict=True)
        ]
        write_segmentation(file, classes_S, segments, image)
    else:
        write_mask(file, labels.decode(classes_S).placed_as(placed))


def write_large_classes(
    file: Path,
    size: tuple[int, ...],
    read: Callable[[Block], NDArray[np.uint8]],
    labels: LabelMap,
    image: Path,
    *,
    spacing_mm: tuple[float, ...] | None,
    geometry: Geometry | None,
) -> None:
    """Write class ids as :func:`write_classes` does, block by block where the format allows it.

    Args:
        file: The mask.
        size: Its size in pixels.
        read: Gives the class ids of any block.
        labels: The values of the mask.
        image: The image's file, or its folder.
        spacing_mm: Pixel size along (Z,) Y and X in mm, where it is known.
        geometry: Place in space, where it is known.

    Raises:
        OutputError: When it cannot be written.
    """
    if file.suffix == _SEGMENTATION:
        classes_ZYX = read(tuple(slice(0, length) for length in size))
        placed = Image(classes_ZYX[None], spacing_mm, geometry)
        write_classes(file, classes_ZYX, labels, image, placed)
        return
    write_large_mask(
        file,
        size,
        lambda block: labels.decode(read(block)),
        spacing_mm=spacing_mm,
        geometry=geometry,
    )


def _lost(source: ImageSource, suffix: str) -> str:
    """What a format does not keep of an image's place, in words; empty where nothing is lost."""
    geometry = source.geometry
    if len(source.shape) == 4 and suffix == ".png":
        return "volumes"
    if geometry is None or suffix not in _STRAIGHT:
        return ""
    axes = len(geometry.spacing_xyz)
    straight = tuple(tuple(float(i == k) for k in range(axes)) for i in range(axes))
    origin = (0.0,) * axes if suffix in _UNPLACED else geometry.origin_xyz
    plain = Geometry(geometry.spacing_xyz, origin, straight)
    return "where an image lies and how its axes are turned" if difference(geometry, plain) else ""


def _refusal(mask_format: str, expected: str, found: str, fitting: str) -> OutputError:
    return OutputError(
        "mask-format",
        f"--mask-format {mask_format}",
        expected=expected,
        found=found,
        remedy=f"use --mask-format {AUTO}, {fitting}",
    )
