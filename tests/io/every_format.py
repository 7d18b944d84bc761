"""Every kind of file that is read, written by another library: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import SimpleITK
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dicom_series import write_series
from maskwright.io.dicom_seg_write import Segment, write_segmentation

INTEGERS = ("uint8", "uint16", "int16")
NUMBERS = (*INTEGERS, "float32")
EVERY = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class Drawn:
    """What is written.

    Args:
        array: Pixels ``(C, Y, X)`` or ``(C, Z, Y, X)``.
        spacing_mm: Pixel size along (Z,) Y and X.
        origin: Place of the first voxel.
        turn: Matrix whose columns are the directions of X, Y and Z.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, ...]
    origin: tuple[float, float, float]
    turn: NDArray[np.float64]


@dataclass(frozen=True)
class Way:
    """One kind of file.

    Args:
        format: Its name in the table of formats.
        name: What tells it from others of the format.
        suffix: Its suffix; empty for a folder of slices.
        dims: Axes of space it holds.
        dtypes: Data types it holds.
        write: Writes it.
        channels: Channels it is written with.
        keeps: ``nothing``, ``spacing``, ``origin`` (and spacing) or ``place``.
    """

    format: str
    name: str
    suffix: str
    dims: int
    dtypes: tuple[str, ...]
    write: Callable[[Path, Drawn], None]
    channels: int = 1
    keeps: str = "nothing"


def _pillow(path: Path, drawn: Drawn) -> None:
    array = drawn.array
    plane = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    PillowImage.fromarray(np.ascontiguousarray(plane)).save(path)


def _tiff(**options: Any) -> Callable[[Path, Drawn], None]:
    def write(path: Path, drawn: Drawn) -> None:
        y_mm, x_mm = drawn.spacing_mm[-2:]
        array = drawn.array
        colours = len(array) == 3
        pixels = np.moveaxis(array, 0, -1) if colours else array[0]
        tifffile.imwrite(
            path,
            pixels,
            photometric="rgb" if colours else "minisblack",
            resolution=(10 / x_mm, 10 / y_mm),
            resolutionunit="CENTIMETER",
            metadata=None,
            **options,
        )

    return write


def _pyramid(path: Path, drawn: Drawn) -> None:
    y_mm, x_mm = drawn.spacing_mm
    options = {"tile": (16, 16), "photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(drawn.array[0], subifds=1, resolution=(10 / x_mm, 10 / y_mm),
                   resolutionunit="CENTIMETER", **options)  # fmt: skip
        file.write(drawn.array[0][::2, ::2], subfiletype=1, **options)


def _ome_tiff(path: Path, drawn: Drawn) -> None:
    sizes = {f"PhysicalSize{n}": mm * 1e3
             for n, mm in zip("ZYX", drawn.spacing_mm, strict=True)}  # fmt: skip
    tifffile.imwrite(path, drawn.array, ome=True, photometric="minisblack",
                     metadata={"axes": "CZYX", **sizes})  # fmt: skip


def _imagej(path: Path, drawn: Drawn) -> None:
    z_mm, y_mm, x_mm = drawn.spacing_mm
    tifffile.imwrite(path, drawn.array.swapaxes(0, 1), imagej=True,
                     resolution=(1e-3 / x_mm, 1e-3 / y_mm),
                     metadata={"axes": "ZCYX", "unit": "um", "spacing": z_mm * 1e3})  # fmt: skip


def _itk(compressed: bool) -> Callable[[Path, Drawn], None]:
    def write(path: Path, drawn: Drawn) -> None:
        volume = SimpleITK.GetImageFromArray(drawn.array[0])
        volume.SetSpacing(drawn.spacing_mm[::-1])
        volume.SetOrigin(drawn.origin)
        volume.SetDirection(drawn.turn.ravel().tolist())
        SimpleITK.WriteImage(volume, str(path), useCompression=compressed)

    return write


def _ome_zarr(version: int) -> Callable[[Path, Drawn], None]:
    def write(path: Path, drawn: Drawn) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=version)
        group.create_array("0", data=drawn.array)
        axes = [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
        steps = [{"type": "scale", "scale": [1, *drawn.spacing_mm]},
                 {"type": "translation", "translation": [0, *drawn.origin[::-1]]}]  # fmt: skip
        datasets = [{"path": "0", "coordinateTransformations": steps}]
        axes.insert(0, {"name": "c", "type": "channel"})
        scales = [{"axes": axes, "datasets": datasets, "version": "0.4"}]
        group.attrs.update({"multiscales": scales} if version == 2 else
                           {"ome": {"version": "0.5", "multiscales": scales}})  # fmt: skip

    return write


def _zarr(version: Any) -> Callable[[Path, Drawn], None]:
    def write(path: Path, drawn: Drawn) -> None:
        zarr.create_array(path, data=drawn.array[0], zarr_format=version)

    return write


def _hdf5(path: Path, drawn: Drawn) -> None:
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("raw", data=drawn.array, chunks=True)
        dataset.attrs["element_size_um"] = [mm * 1e3 for mm in drawn.spacing_mm]
        for dimension, letter in zip(dataset.dims, "czyx", strict=True):
            dimension.label = letter


def _dicom(path: Path, drawn: Drawn) -> None:
    write_series(path, drawn.array[0], spacing_xyz=drawn.spacing_mm[::-1], origin=drawn.origin,
                 turn=drawn.turn)  # fmt: skip


def _dicom_seg(path: Path, drawn: Drawn) -> None:
    series = path.with_name("series")
    _dicom(series, Drawn(drawn.array.astype(np.int16), drawn.spacing_mm, drawn.origin, drawn.turn))
    values, classes = np.unique(drawn.array[0], return_inverse=True)
    segments = [Segment(f"class {value}", int(value), (9, 9, 9)) for value in values]
    segments += [Segment("one more", 65535, (9, 9, 9))] * (len(segments) == 1)
    classes_ZYX = classes.reshape(drawn.array[0].shape).astype(np.uint8)
    write_segmentation(path, classes_ZYX, segments, series)


WAYS = (
    Way("PNG", "8 and 16 bits", ".png", 2, ("uint8", "uint16"), _pillow),
    Way("PNG", "colours", ".png", 2, ("uint8",), _pillow, 3),
    Way("JPEG", "grey", ".jpg", 2, ("uint8",), _pillow),
    Way("JPEG", "colours", ".jpeg", 2, ("uint8",), _pillow, 3),
    Way("BMP", "colours", ".bmp", 2, ("uint8",), _pillow, 3),
    Way("BMP", "grey", ".bmp", 2, ("uint8",), _pillow),
    Way("GIF", "grey", ".gif", 2, ("uint8",), _pillow),
    *(
        Way("TIFF", name, suffix, 2, dtypes, _tiff(**options), keeps="spacing")
        for name, suffix, dtypes, options in (
            ("strips", ".tif", EVERY, {"rowsperstrip": 3}),
            ("tiles", ".tiff", EVERY, {"tile": (16, 16)}),
            ("BigTIFF", ".tif", EVERY, {"bigtiff": True}),
            ("big-endian", ".tif", EVERY, {"byteorder": ">"}),
            ("LZW", ".tif", INTEGERS, {"compression": "lzw"}),
            ("Deflate", ".tif", EVERY, {"compression": "zlib", "predictor": True}),
            ("Zstd", ".tif", EVERY, {"compression": "zstd"}),
            ("PackBits", ".tif", INTEGERS, {"compression": "packbits"}),
            ("LZMA", ".tif", INTEGERS, {"compression": "lzma"}),
            ("JPEG 2000", ".tif", ("uint8", "uint16"),
             {"compression": "jpeg2000", "compressionargs": {"reversible": True}}),
            ("whole slide", ".svs", ("uint8", "uint16"), {"tile": (16, 16)}),
        )
    ),
    Way("TIFF", "colours", ".tif", 2, ("uint8", "uint16"), _tiff(), 3, "spacing"),
    Way("TIFF", "pyramid", ".tif", 2, ("uint8", "uint16"), _pyramid, keeps="spacing"),
    Way("TIFF", "OME", ".ome.tif", 3, NUMBERS, _ome_tiff, 2, "spacing"),
    Way("TIFF", "OME", ".ome.tiff", 3, NUMBERS, _ome_tiff, 2, "spacing"),
    Way("TIFF", "ImageJ hyperstack", ".tif", 3, ("uint8", "uint16", "float32"), _imagej, 2,
        "spacing"),
    Way("NIfTI", "plain", ".nii", 3, EVERY, _itk(False), keeps="place"),
    Way("NIfTI", "gzip", ".nii.gz", 3, EVERY, _itk(True), keeps="place"),
    Way("MetaImage", "one file", ".mha", 3, EVERY, _itk(False), keeps="place"),
    Way("MetaImage", "compressed", ".mha", 3, EVERY, _itk(True), keeps="place"),
    Way("MetaImage", "two files", ".mhd", 3, EVERY, _itk(False), keeps="place"),
    Way("NRRD", "raw", ".nrrd", 3, EVERY, _itk(False), keeps="place"),
    Way("NRRD", "gzip", ".nrrd", 3, EVERY, _itk(True), keeps="place"),
    Way("NRRD", "two files", ".nhdr", 3, EVERY, _itk(False), keeps="place"),
    Way("NumPy", "volume", ".npy", 3, EVERY, lambda path, drawn: np.save(path, drawn.array[0])),
    Way("NumPy", "plane", ".npy", 2, EVERY, lambda path, drawn: np.save(path, drawn.array[0])),
    Way("NumPy archive", "volume", ".npz", 3, EVERY,
        lambda path, drawn: np.savez_compressed(path, image=drawn.array[0])),
    Way("HDF5", "labelled axes", ".h5", 3, EVERY, _hdf5, 2, "spacing"),
    Way("HDF5", "labelled axes", ".hdf5", 3, EVERY, _hdf5, 1, "spacing"),
    Way("Zarr", "version 2", ".zarr", 3, EVERY, _zarr(2)),
    Way("Zarr", "version 3", ".zarr", 3, EVERY, _zarr(3)),
    Way("Zarr", "OME-Zarr 0.4", ".ome.zarr", 3, EVERY, _ome_zarr(2), 2, "origin"),
    Way("Zarr", "OME-Zarr 0.5", ".ome.zarr", 3, EVERY, _ome_zarr(3), 2, "origin"),
    Way("DICOM", "series", "", 3, ("int16", "uint16"), _dicom, keeps="place"),
    Way("DICOM-SEG", "of a series", ".dcm", 3, ("uint8", "uint16"), _dicom_seg, keeps="place"),
)  # fmt: skip
"""All of them."""
