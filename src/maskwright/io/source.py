"""The one door for images of any size: what is not needed is not decoded.

::

    file ── formats ──┬── decoded at once       PNG, JPEG, BMP, GIF
                      ├── once, when needed     .nii.gz, NRRD, .npz, DICOM-SEG
                      └── block by block        TIFF, Zarr, HDF5, DICOM, .nii, MetaImage, .npy
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.formats import format_of
from maskwright.io.image import check_finite
from maskwright.io.space import Geometry
from maskwright.io.stored import Block, decoding


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image of any size in a file, of which any block can be read.

    Args:
        path: The file, or the folder of a Zarr array or of DICOM slices.
        shape: ``(C, Y, X)`` or ``(C, Z, Y, X)`` in pixels.
        dtype: Data type of what ``read`` returns.
        spacing_mm: Pixel size along (Z,) Y and X in mm, or ``None`` where the file does not say.
        geometry: Place in space, for formats that keep one.
        read: Gives a block over the axes of space, slices of step 1 inside the image, as an array
            of its own of shape ``(C, *block)``. It raises an ImageReadError for damaged data and
            for NaN.
        lazy: Whether only the parts that a block needs are decoded.
        chunks: Shape over the axes of space of the parts the file decodes at once, where it has
            such parts.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing_mm: tuple[float, ...] | None
    geometry: Geometry | None
    read: Callable[[Block], NDArray[Any]]
    lazy: bool
    chunks: tuple[int, ...] | None


def open_source(path: Path, *, level: int = 0) -> ImageSource:
    """Open an image lazily, whatever its format.

    Args:
        path: A file, ``file.h5:/dataset``, or the folder of a Zarr image or of DICOM slices.
        level: Level of a pyramid, 0 the finest.

    Returns:
        The source, with the pixels as :func:`maskwright.io.registry.read_image` gives them. The
        file is read when ``read`` is called, and may be larger than memory.

    Raises:
        ImageReadError: For a file that is missing, of another type, damaged or truncated, whose
            axes cannot be told apart, or without the level.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.arange(2000.0).reshape(40, 50))
        ...     source = open_source(Path(folder) / "a.npy")
        ...     source.shape, source.read((slice(1, 2), slice(0, 2)))
        ((1, 40, 50), array([[[50., 51.]]]))
    """
    path = Path(path)
    stored = format_of(path).open(path, level, False)
    channels = stored.shape[0] if stored.has_channels else 1
    size = stored.shape[stored.has_channels :]
    dtype = stored.dtype.newbyteorder("=")

    def read(block: Block) -> NDArray[Any]:
        wanted = (slice(0, channels), *block) if stored.has_channels else block
        lengths = tuple(part.stop - part.start for part in block)
        with decoding(path):
            values = np.asarray(stored.read(wanted)).reshape(channels, *lengths)
        # A view of memory that later reads share would let the caller change their result.
        values = values.astype(dtype, order="C", copy=values.base is not None)
        check_finite(values, path)
        return values

    return ImageSource(
        path,
        (channels, *size),
        dtype,
        stored.spacing_mm,
        stored.geometry,
        read,
        stored.lazy,
        stored.chunks,
    )
