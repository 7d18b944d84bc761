"""Volumes of NIfTI, MetaImage and NRRD files, read with SimpleITK, and their place in space.

::

    NIfTI      .nii          lazy       .nii.gz                  decoded once
    MetaImage  .mha .mhd     lazy       with CompressedData      decoded once
    NRRD       .nrrd .nhdr   decoded once

Arrays are in the order Z, Y, X, the reverse of what these formats and SimpleITK call x, y, z. A
volume of a single slice stays a volume, with the shape ``(1, Y, X)``.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.nifti import placing_fields
from maskwright.io.space import Geometry
from maskwright.io.stored import (
    UNIT_MM,
    Block,
    StoredArray,
    check_spacing,
    damaged,
    decoding,
    refusal,
)

Deflated = tuple[Path, int] | None

_IO = {
    ".nii": "NiftiImageIO",
    ".gz": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
}
_FLOATS = (("Float", 32), ("Float", 64))
_SPACING_FIELDS = ("spacings", "space directions", "elementspacing", "elementsize")
_UNIT_FIELDS = ("space units", "units", "distanceunits")
_MOST_DEFLATED = 1100  # deflate cannot make data smaller than about 1032 times
_ANY_DEFLATE = 32 + zlib.MAX_WBITS  # a header of zlib or of gzip


def open_volume(path: Path, *, channels: bool = False) -> StoredArray:
    """Open a NIfTI, MetaImage or NRRD file.

    Args:
        path: The file.
        channels: Whether several values a voxel, or a fourth axis, are channels.

    Returns:
        Its voxels in the order Z, Y, X with their place in space; axes of length 1 behind the
        third are dropped. Spacing and place are ``None`` where a MetaImage or NRRD file gives
        none, or gives them in a unit that is no length.

    Raises:
        ImageReadError: For a damaged or truncated file, several values a voxel without
            ``channels``, axes that are not at right angles, a spacing that is not positive, or a
            NIfTI file whose two matrices place a corner more than half a voxel apart.

    Source: NIfTI-1 (Cox 2004); MetaIO; NRRD (teem); read by SimpleITK.

    Example:
        >>> import SimpleITK, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nii.gz"
        ...     volume = SimpleITK.GetImageFromArray(np.ones((2, 3, 4), np.uint8))
        ...     volume.SetSpacing((0.5, 0.5, 3.0))
        ...     SimpleITK.WriteImage(volume, str(path))
        ...     stored = open_volume(path)
        ...     stored.shape, stored.spacing_mm
        ((2, 3, 4), (3.0, 0.5, 0.5))
    """
    suffix = path.suffix.lower()
    is_nifti = _IO[suffix] == "NiftiImageIO"
    lazy = suffix == ".nii"
    deflated: Deflated = (path, 0) if suffix == ".gz" else None
    unit_mm: float | None = 1.0
    with decoding(path):
        placing = b""
        if is_nifti:
            data_bytes, placing = _check_nifti(path)
        reader = _reader(path)
        reader.ReadImageInformation()
        size = [int(n) for n in reader.GetSize()]
        several = reader.GetNumberOfComponents() if channels else 1
        dtype = voxel_dtype(reader, path, channels=channels)
        geometry: Geometry | None = None
        if not is_nifti:
            data_bytes = math.prod(size) * dtype.itemsize * several
            lazy, unit_mm, deflated = _check_text_header(path, data_bytes)
        while len(size) > 3 and size[-1] == 1:
            size.pop()
        if unit_mm is not None:
            geometry = replace(_geometry(reader, min(3, len(size)), unit_mm, path), nifti=placing)
    shape = tuple(size[::-1])
    dropped = [0] * (reader.GetDimension() - len(shape))
    if several > 1:
        lazy, shape = False, (several, *shape)

    @cache
    def whole() -> NDArray[Any]:
        if deflated is not None:
            _check_deflated(*deflated, data_bytes)
        array = _array(_reader(path))
        return np.moveaxis(array, -1, 0) if several > 1 else array.reshape(shape)

    def read(block: Block) -> NDArray[Any]:
        if not lazy:
            return whole()[block]
        bounds = [s.indices(n)[:2] for s, n in zip(block, shape, strict=True)]
        lengths = [max(0, stop - start) for start, stop in bounds]
        if 0 in lengths:
            return np.zeros(lengths, dtype)
        part = _reader(path)
        part.SetExtractIndex([start for start, _ in bounds[::-1]] + dropped)
        part.SetExtractSize(lengths[::-1] + dropped)
        return _array(part)

    return StoredArray(
        shape,
        dtype,
        read,
        lazy,
        spacing_mm=None if geometry is None else geometry.spacing_xyz[::-1],
        geometry=geometry,
        has_channels=channels and (several > 1 or len(shape) == 4),
    )


def simpleitk() -> Any:
    """The library, with its warnings kept from the terminal: what matters is raised."""
    import SimpleITK

    library: Any = SimpleITK
    library.ProcessObject.GlobalWarningDisplayOff()
    return library


def _reader(path: Path) -> Any:
    reader = simpleitk().ImageFileReader()
    reader.SetImageIO(_IO[path.suffix.lower()])
    reader.SetFileName(str(path))
    return reader


def _array(reader: Any) -> NDArray[Any]:
    return np.asarray(simpleitk().GetArrayFromImage(reader.Execute()))


def voxel_dtype(reader: Any, path: Path, *, channels: bool) -> np.dtype[Any]:
    """The data type of the voxels that a SimpleITK reader gives.

    Raises:
        ImageReadError: ``labels-channels`` for several values a voxel without ``channels``, or
            values that are no numbers.
    """
    sitk, kind = simpleitk(), reader.GetPixelIDValue()
    prefixes = ("sitk", "sitkVector") if channels else ("sitk",)
    for sign, bits in (*((s, n) for s in ("UInt", "Int") for n in (8, 16, 32, 64)), *_FLOATS):
        if kind in [getattr(sitk, f"{prefix}{sign}{bits}") for prefix in prefixes]:
            return np.dtype(f"{sign.lower()}{bits}")
    found, remedy = sitk.GetPixelIDValueAsString(kind), "save the labels as whole numbers"
    raise refusal("labels-channels", path, "one whole number in each voxel", found, remedy)


def _geometry(reader: Any, axes: int, unit_mm: float, path: Path) -> Geometry:
    n = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(n, n)[:axes, :axes]
    spacing = np.array(reader.GetSpacing())[:axes] * unit_mm
    origin = np.array(reader.GetOrigin())[:axes] * unit_mm
    check_spacing(spacing, path)
    _check_right_angles(direction, path)
    rows = tuple(tuple(row) for row in direction.tolist())
    return Geometry(tuple(spacing.tolist()), tuple(origin.tolist()), rows)


def _check_right_angles(axes: NDArray[Any], path: Path) -> None:
    if not np.allclose(axes.T @ axes, np.eye(len(axes)), atol=1e-3):
        found, remedy = "a matrix with other angles", "resample the volume onto a straight grid"
        raise refusal("labels-direction", path, "axes at right angles", found, remedy)


def _check_nifti(path: Path) -> tuple[int, bytes]:
    """Check what the reader would mend in silence; return the bytes up to the last voxel.

    With them come the fields that place the voxels.

    SimpleITK reads a spacing of 0 or NaN as 1, fills missing voxels with 0, and takes the origin
    from one of two matrices and the spacing from a third place.
    """
    from scipy.spatial.transform import Rotation

    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as stream:
        header = stream.read(348)
    order = "<" if header[:4] == b"\x5c\x01\0\0" else ">"
    if struct.unpack(order + "i", header[:4]) != (348,) or header[344:347] != b"n+1":
        raise damaged(path, "a header that is not of NIfTI-1 in a single file")
    dim = struct.unpack_from(order + "8h", header, 40)
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise damaged(path, f"the size {dim[1:]}")
    bits, *pixdim = struct.unpack_from(order + "h2x8f", header, 72)
    start = int(*struct.unpack_from(order + "f", header, 108))
    data_bytes: int = start + math.prod(dim[1 : dim[0] + 1]) * int(bits) // 8
    _check_length(path, data_bytes, path.stat().st_size, path.suffix.lower() == ".gz")
    spacing = np.array(pixdim[1 : min(3, dim[0]) + 1])
    check_spacing(spacing, path)
    qform_code, sform_code, b, c, d, *offset = struct.unpack_from(order + "2h6f", header, 252)
    placing = placing_fields(header, order)
    if sform_code <= 0 or dim[0] < 3:
        return data_bytes, placing
    sform = np.array(struct.unpack_from(order + "12f", header, 280)).reshape(3, 4)
    with np.errstate(all="ignore"):
        straight = sform[:, :3] / np.linalg.norm(sform[:, :3], axis=0)
    _check_right_angles(straight, path)
    other = np.column_stack([straight * spacing, sform[:, 3]])
    if qform_code > 0:
        a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        turn = Rotation.from_quat((b, c, d, a)).as_matrix() * (1, 1, -1 if pixdim[0] < 0 else 1)
        other = np.column_stack([turn * spacing, offset])
    corners = np.array([(*c, 1) for c in np.ndindex(2, 2, 2)]) * (*(n - 1 for n in dim[1:4]), 1)
    apart = float(np.linalg.norm(corners @ (sform - other).T, axis=1).max())
    if not apart <= 0.5 * spacing.min():
        raise refusal(
            "labels-two-places",
            path,
            "one place in space",
            f"an sform and a {'qform' if qform_code > 0 else 'spacing'} that put a corner "
            f"{apart:.3g} mm apart",
            "write the same matrix into both, or set one code to 0",
        )
    return data_bytes, placing


def _check_deflated(path: Path, at: int, data_bytes: int) -> None:
    """Compare length and checksum of zlib or gzip data, which their readers pass over."""
    inflate, found = zlib.decompressobj(_ANY_DEFLATE), 0
    with path.open("rb") as file:
        file.seek(at)
        while not (inflate.eof and found >= data_bytes):
            part = inflate.unused_data or file.read(1 << 16)
            if not part:
                raise EOFError(f"{found} bytes in the place of {data_bytes}")
            inflate = zlib.decompressobj(_ANY_DEFLATE) if inflate.eof else inflate
            found += len(inflate.decompress(part))


def _check_text_header(path: Path, data_bytes: int) -> tuple[bool, float | None, Deflated]:
    """Whether blocks can be read alone, the unit in mm, and where deflated data begin."""
    with path.open("rb") as stream:
        start = stream.read(1 << 20)
    is_nrrd = _IO[path.suffix.lower()] == "NrrdImageIO"
    pattern = rb"\r?\n\r?\n" if is_nrrd else rb"ElementDataFile[^\n]*\n"
    end = re.search(pattern, start)
    offset = len(start) if end is None else end.end()
    separator, lines = ":" if is_nrrd else "=", start[:offset].decode("latin-1").splitlines()
    pairs = (line.partition(separator) for line in lines)
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    data_name = fields.get("data file", fields.get("elementdatafile", "LOCAL"))
    encoding = fields.get("encoding", "raw").lower()
    compressed = encoding != "raw" or fields.get("compresseddata", "").lower() == "true"
    is_text = encoding in ("txt", "text", "ascii") or fields.get("binarydata") == "False"
    local = data_name.lower() == "local"
    data_path, at = (path, offset) if local else (path.parent / data_name, 0)
    if data_path.is_file():
        found = data_path.stat().st_size - at
        _check_length(path, data_bytes, found, compressed or is_text)
        if (size := fields.get("compresseddatasize", "")).isdecimal():
            _check_length(path, int(size), found, compressed=False)
    is_deflated = compressed and encoding in ("raw", "gzip", "gz") and "byte skip" not in fields
    deflated = (data_path, at) if is_deflated and data_path.is_file() else None
    spacing = " ".join(fields.get(key, "") for key in _SPACING_FIELDS)
    if "nan" in spacing.lower():
        check_spacing([math.nan], path)
    units = set(re.findall(r'[^\s"]+', " ".join(fields.get(key, "") for key in _UNIT_FIELDS)))
    unit_mm = UNIT_MM.get(units.pop().lower()) if len(units) == 1 else (None if units else 1.0)
    lazy = not (is_nrrd or compressed or is_text)
    return lazy, unit_mm if spacing.strip() else None, deflated


def _check_length(path: Path, needed: int, found: int, compressed: bool) -> None:
    """Refuse a file that is too short for its voxels, before memory is given to them."""
    if needed > found * (_MOST_DEFLATED if compressed else 1):
        expected = f"{needed} bytes of voxels"
        raise refusal("image-truncated", path, expected, f"{found} bytes", "copy it again")
