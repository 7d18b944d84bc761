"""What the reader of NIfTI-1 files does not tell: the exact place of the voxels, and NaN.

A mask that repeats the fields of its image's header lies exactly where the image does, with the
same codes and the same two matrices, whichever of them a viewer reads.
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np

_FLOAT32, _FLOAT64 = 16, 64
_BLOCK_BYTES = 1 << 22
# Offset and layout: pixel sizes with the handedness before them, the unit of length, the codes
# of both matrices, the quaternion with its offset, the three rows of the second matrix.
_PLACING = ((76, "4f"), (123, "B"), (252, "2h"), (256, "18f"))


def placing_fields(header: bytes, order: str) -> bytes:
    """The fields of a header that say where its voxels lie.

    Args:
        header: The first 348 bytes of a file.
        order: Its byte order, ``<`` or ``>``.

    Returns:
        The fields one after the other, in the byte order ``<``.

    Source: NIfTI-1 (Cox 2004), nifti1.h.

    Example:
        >>> len(placing_fields(bytes(348), "<"))
        93
    """
    return b"".join(
        struct.pack("<" + layout, *struct.unpack_from(order + layout, header, at))
        for at, layout in _PLACING
    )


def set_placing_fields(header: bytearray, order: str, fields: bytes) -> None:
    """Put what :func:`placing_fields` gave into another header.

    Args:
        header: The first 348 bytes of a file; changed in place.
        order: Its byte order, ``<`` or ``>``.
        fields: The fields.

    Example:
        >>> header = bytearray(348)
        >>> set_placing_fields(header, ">", bytes(range(93)))
        >>> placing_fields(bytes(header), ">") == bytes(range(93))
        True
    """
    start = 0
    for at, layout in _PLACING:
        values = struct.unpack_from("<" + layout, fields, start)
        struct.pack_into(order + layout, header, at, *values)
        start += struct.calcsize("<" + layout)


def count_not_finite(path: Path) -> int:
    """How many voxels of a file are NaN or infinite, which its reader would turn into 0.

    Args:
        path: A sound ``.nii`` or ``.nii.gz`` file.

    Returns:
        The number; 0 for types that hold whole numbers only.

    Source: nifti1_io.c, nifti_read_buffer.

    Example:
        >>> import tempfile
        >>> header = bytearray(352)
        >>> struct.pack_into("<i", header, 0, 348)
        >>> struct.pack_into("<3h24x2h", header, 40, 2, 2, 1, _FLOAT32, 32)
        >>> struct.pack_into("<f", header, 108, 352)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nii"
        ...     _ = path.write_bytes(header + struct.pack("<2f", 1, math.nan))
        ...     count_not_finite(path)
        1
    """
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        header = file.read(348)
        order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
        dim = struct.unpack_from(order + "8h", header, 40)
        datatype, bits = struct.unpack_from(order + "2h", header, 70)
        if datatype not in (_FLOAT32, _FLOAT64):
            return 0
        file.seek(int(*struct.unpack_from(order + "f", header, 108)))
        left, bad = math.prod(dim[1 : dim[0] + 1]) * bits // 8, 0
        while left > 0 and (part := file.read(min(left, _BLOCK_BYTES))):
            numbers = np.frombuffer(part, f"{order}f{bits // 8}", len(part) * 8 // bits)
            bad += int(np.count_nonzero(~np.isfinite(numbers)))
            left -= len(part)
    return bad
