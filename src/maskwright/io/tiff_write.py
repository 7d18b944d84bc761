"""Masks as TIFF: one page, a stack for ImageJ, or OME-TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskwright.errors import OutputError
from maskwright.io.image import Image
from maskwright.io.mask_values import single_channel
from maskwright.io.tiff_check import tifffile_library

_MOST_IMAGEJ_BYTES = 1 << 31
_IMAGEJ_DTYPES = (np.uint8, np.uint16)
_PAGE_DTYPES = (np.bool_, np.uint8, np.uint16, np.uint32)


def write_tiff(path: Path, image: Image) -> None:
    """Write a mask as a deflate-compressed TIFF, with its pixel size where it is known.

    A volume becomes a stack that ImageJ opens with its spacing; where ImageJ has no such type or
    size, an OME-TIFF.

    Args:
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` bool or unsigned up to 32 bits, ``(3, Y, X)`` uint8, or
            ``(1, Z, Y, X)`` bool or unsigned integers, of which bool is written as 0 and 1.

    Raises:
        OutputError: ``mask-dtype`` for other values.

    Example:
        >>> import tempfile
        >>> from maskwright.io.tiff import read_tiff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.eye(3, dtype=bool)[None]))
        ...     read_tiff(path, False).array.dtype
        dtype('bool')
    """
    if image.array.ndim == 3:
        _write_page(path, image)
        return
    values = single_channel(image, path, "TIFF")
    if values.dtype not in _IMAGEJ_DTYPES or values.nbytes > _MOST_IMAGEJ_BYTES:
        write_ome_tiff(path, image)
        return
    metadata: dict[str, Any] = {"axes": "ZYX"}
    options: dict[str, Any] = {}
    if image.spacing_mm is not None:
        z_mm, y_mm, x_mm = image.spacing_mm
        metadata |= {"unit": "mm", "spacing": z_mm}
        options = {"resolution": (1 / x_mm, 1 / y_mm)}
    tifffile_library().imwrite(
        path, values, imagej=True, compression="zlib", metadata=metadata, **options
    )


def write_ome_tiff(path: Path, image: Image) -> None:
    """Write a mask as a deflate-compressed OME-TIFF, with its pixel size where it is known.

    Args:
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool or unsigned integers, of
            which bool is written as 0 and 1, or ``(3, Y, X)`` uint8.

    Raises:
        OutputError: ``mask-dtype`` for other values, or numbers above 32 bits.

    Source: OME-TIFF.

    Example:
        >>> import tempfile
        >>> from maskwright.io.tiff import read_tiff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.ome.tif"
        ...     write_ome_tiff(path, Image(np.eye(3, dtype=bool)[None], spacing_mm=(0.5, 0.25)))
        ...     read_tiff(path, False).spacing_mm
        (0.5, 0.25)
    """
    colours = image.channels == 3 and image.array.dtype == np.uint8 and image.array.ndim == 3
    values = np.moveaxis(image.array, 0, -1) if colours else single_channel(image, path, "TIFF")
    if values.dtype.itemsize > 4:  # OME knows no longer numbers
        if values.max(initial=0) > np.iinfo(np.uint32).max:
            raise OutputError(
                "mask-dtype",
                str(path),
                expected="numbers of at most 32 bits",
                found=str(values.max()),
                remedy="write .npy or .zarr",
            )
        values = values.astype(np.uint32)
    axes = "YXS" if colours else "ZYX"[-values.ndim :]
    metadata: dict[str, Any] = {"axes": axes}
    for letter, mm in zip(axes, image.spacing_mm or (), strict=False):
        metadata |= {f"PhysicalSize{letter}": mm, f"PhysicalSize{letter}Unit": "mm"}
    tifffile_library().imwrite(
        path,
        np.ascontiguousarray(values),
        ome=True,
        compression="zlib",
        photometric="rgb" if colours else "minisblack",
        metadata=metadata,
    )


def _write_page(path: Path, image: Image) -> None:
    array = image.array
    if array.dtype not in _PAGE_DTYPES or image.channels not in (1, 3):
        raise OutputError(
            "mask-dtype",
            str(path),
            expected="1 or 3 channels of bool, uint8, uint16 or uint32",
            found=f"{image.channels} channels of {array.dtype}",
            remedy="convert the mask first",
        )
    options: dict[str, Any] = {"photometric": "rgb" if image.channels == 3 else "minisblack"}
    if image.palette is not None and array.dtype == np.uint8:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, : len(image.palette)] = image.palette.T.astype(np.uint16) * 257
        options = {"photometric": "palette", "colormap": colours}
    if image.spacing_mm is not None:
        y_mm, x_mm = image.spacing_mm
        options |= {"resolution": (10.0 / x_mm, 10.0 / y_mm), "resolutionunit": "CENTIMETER"}
    pixels = np.moveaxis(array, 0, -1) if image.channels == 3 else array[0]
    tifffile_library().imwrite(
        path,
        np.ascontiguousarray(pixels),
        compression="zlib",
        metadata=None,
        software="maskwright",
        **options,
    )
