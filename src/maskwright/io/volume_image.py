"""Volumes as images: read with their channels and their place in space, and masks written back.

::

    scan.nii.gz ──read──▶ Image(array_CZYX, spacing_mm, geometry) ──▶ mask ──write──▶ scan.nii.gz
                                         └────────── placed_as ────────▲
"""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import OutputError
from maskwright.io.image import Header, Image, not_finite
from maskwright.io.mask_values import single_channel
from maskwright.io.nifti import count_not_finite, set_placing_fields
from maskwright.io.space import Geometry
from maskwright.io.stored import StoredArray, refusal
from maskwright.io.stored_image import check_count, read_stored, stored_header
from maskwright.io.volume import open_volume, simpleitk

_GZIP_LEVEL = 6
_HEADER_BYTES = 348


def read_volume(path: Path, expand: bool) -> Image:
    """Read a NIfTI, MetaImage or NRRD file.

    Several values a voxel and a fourth axis are channels. A file of a plane gives an image, a
    file of one slice a volume of one slice.

    Args:
        path: The file.
        expand: Whether this is an image, whose numbers have to be finite, or a mask.

    Returns:
        Voxels of shape ``(C, Z, Y, X)``, or ``(C, Y, X)``, with their place in space.

    Raises:
        ImageReadError: See :func:`maskwright.io.volume.open_volume`; also for too many voxels, or
            NaN.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nrrd"
        ...     write_volume("NRRD", path, Image(np.ones((1, 2, 3, 4), np.uint8)))
        ...     read_volume(path, False).size
        (2, 3, 4)
    """
    image = read_stored(open_volume_image(path), path, expand)
    if (
        expand
        and path.name.lower().endswith((".nii", ".nii.gz"))
        and image.array.dtype.kind == "f"
        and (bad := count_not_finite(path))
    ):
        raise not_finite(path, bad)
    return image


def read_volume_header(format_name: str, path: Path) -> Header:
    """Read what a NIfTI, MetaImage or NRRD file says of itself.

    Args:
        format_name: ``"NIfTI"``, ``"MetaImage"`` or ``"NRRD"``.
        path: The file.

    Returns:
        The header, of the image as :func:`read_volume` gives it.

    Raises:
        ImageReadError: See :func:`read_volume`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.mha"
        ...     write_volume("MetaImage", path, Image(np.ones((1, 2, 3, 4), np.uint8)))
        ...     read_volume_header("MetaImage", path)
        Header(size=(2, 3, 4), channels=1, dtype='uint8', format='MetaImage')
    """
    return stored_header(open_volume_image(path), format_name)


def write_volume(format_name: str, path: Path, image: Image) -> None:
    """Write a mask as NIfTI, MetaImage or NRRD, in the place of its image.

    A mask with the place of a NIfTI file gets the codes and both matrices of that file, bit by
    bit. bool is written as 0 and 1 of 8 bits; a palette is left out.

    Args:
        format_name: ``"NIfTI"``, ``"MetaImage"`` or ``"NRRD"``.
        path: The file to write; a NIfTI file is compressed where the path ends in ``.gz``.
        image: Values of shape ``(1, Z, Y, X)`` or ``(1, Y, X)``, bool or unsigned integers.

    Raises:
        OutputError: ``mask-dtype`` for other values, ``output-failed`` when writing fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nii.gz"
        ...     write_volume("NIfTI", path, Image(np.ones((1, 2, 3, 4), bool)))
        ...     read_volume(path, False).array.dtype
        dtype('uint8')
    """
    values = single_channel(image, path, format_name)
    write_array(format_name, path, values, image.geometry)


def write_array(
    format_name: str, path: Path, array: NDArray[Any], geometry: Geometry | None
) -> None:
    """Write an array of numbers, compressed, at its place in space.

    Args:
        format_name: ``"NIfTI"``, ``"MetaImage"`` or ``"NRRD"``.
        path: The file to write.
        array: Shape ``(Y, X)``, ``(Z, Y, X)`` or, with channels first, ``(C, Z, Y, X)``.
        geometry: The place; ``None`` is unknown.

    Raises:
        OutputError: ``output-failed``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nii"
        ...     write_array("NIfTI", path, np.zeros((3, 2, 4, 5), np.float32), None)
        ...     read_volume(path, True).channels
        3
    """
    with _writing(path):
        volume = simpleitk().GetImageFromArray(np.ascontiguousarray(array), isVector=False)
        if geometry is not None:
            _place(volume, geometry)
        if format_name != "NIfTI":
            _write(volume, path, {"MetaImage": "MetaImageIO", "NRRD": "NrrdImageIO"}[format_name])
            return
        if path.suffix.lower() != ".gz":
            _write(volume, path, "NiftiImageIO")
            _patch(path, geometry)
            return
        plain = path.with_name(f"{path.name}.plain.nii")
        try:
            _write(volume, plain, "NiftiImageIO")
            _patch(plain, geometry)
            with (
                plain.open("rb") as source,
                path.open("wb") as file,
                gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
        finally:
            plain.unlink(missing_ok=True)


def open_volume_image(path: Path) -> StoredArray:
    """Open a NIfTI, MetaImage or NRRD file as an image, with its channels.

    Raises:
        ImageReadError: See :func:`maskwright.io.volume.open_volume`; also for further axes and
            too many voxels.
    """
    stored = open_volume(path, channels=True)
    size = stored.shape[1:] if stored.has_channels else stored.shape
    if len(size) not in (2, 3):
        raise refusal(
            "image-axes",
            path,
            "a plane or a volume, with channels or without",
            f"{len(stored.shape)} axes of {' × '.join(map(str, stored.shape))}",
            "save one time point or one channel in each file",
        )
    check_count(stored, path)
    return stored


def _place(volume: Any, geometry: Geometry) -> None:
    """Give a SimpleITK image its place; an axis of channels gets 0, 1 and no turn."""
    axes, placed = volume.GetDimension(), len(geometry.spacing_xyz)
    direction = np.eye(axes)
    direction[:placed, :placed] = geometry.direction
    rest = axes - placed
    volume.SetSpacing((*geometry.spacing_xyz, *(1.0,) * rest))
    volume.SetOrigin((*geometry.origin_xyz, *(0.0,) * rest))
    volume.SetDirection(direction.ravel().tolist())


def _write(volume: Any, path: Path, io_name: str) -> None:
    writer = simpleitk().ImageFileWriter()
    writer.SetImageIO(io_name)
    writer.SetFileName(str(path))
    writer.SetUseCompression(io_name != "NiftiImageIO")
    writer.Execute(volume)


def _patch(path: Path, geometry: Geometry | None) -> None:
    """Put the placing fields of the image's own header into a NIfTI file."""
    if geometry is None or not geometry.nifti:
        return
    with path.open("rb+") as file:
        header = bytearray(file.read(_HEADER_BYTES))
        order = "<" if struct.unpack_from("<i", header)[0] == _HEADER_BYTES else ">"
        set_placing_fields(header, order, geometry.nifti)
        file.seek(0)
        file.write(header)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines() or ["an unknown error"]
        raise OutputError(
            "output-failed",
            str(path),
            expected="a file that can be written",
            found=lines[-1].strip()[:200],
            remedy="check that the folder exists and has room",
        ) from error
