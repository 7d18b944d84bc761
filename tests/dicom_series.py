"""A folder of DICOM slices, written by SimpleITK."""

from __future__ import annotations

import locale
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

OBLIQUE = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
OBLIQUE = OBLIQUE @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
SERIES = "1.2.826.0.1.3680043.2.1125.1"


def write_series(
    folder: Path,
    values_ZYX: NDArray[np.int16],
    *,
    spacing_xyz: tuple[float, float, float] = (0.7, 0.9, 2.5),
    origin: tuple[float, float, float] = (-120.0, 33.5, 7.25),
    turn: NDArray[np.float64] = OBLIQUE,
    series: str = SERIES,
    slope: float = 1.0,
) -> Path:
    """Write a volume slice by slice, under names that are not in the order of the slices.

    With a slope the values are those that are stored, and their intercept is -1024.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count, spoken = len(values_ZYX), locale.setlocale(locale.LC_CTYPE)
    for z, plane_YX in enumerate(values_ZYX):
        image = SimpleITK.GetImageFromArray(plane_YX[None])
        image.SetSpacing(spacing_xyz)
        place = np.array(origin) + turn[:, 2] * spacing_xyz[2] * z
        tags = {
            "0008|0060": "CT",
            "0020|000d": f"{series}.1",
            "0020|000e": series,
            "0020|0013": str(z),
            "0020|0032": "\\".join(f"{n:.9f}" for n in place),
            "0020|0037": "\\".join(f"{n:.9f}" for n in turn[:, :2].T.ravel()),
            "0028|0030": f"{spacing_xyz[1]}\\{spacing_xyz[0]}",
        }
        if slope != 1:
            image = SimpleITK.Cast(image, SimpleITK.sitkFloat64) * slope - 1024
            tags |= {"0028|0100": "16", "0028|0101": "16", "0028|0102": "15", "0028|0103": "1"}
            tags |= {"0028|1053": str(slope), "0028|1052": "-1024"}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"IM{(z * 7 + 3) % count if count % 7 else z:03d}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_CTYPE, spoken)  # GDCM leaves that of C behind, which is ASCII
    return folder


def read_series(folder: Path) -> SimpleITK.Image:
    """The volume as SimpleITK itself reads it."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()
