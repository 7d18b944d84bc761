"""Masks larger than memory, written block by block in the formats that allow it.

::

    .tif .tiff     tiles of 512² pixels, deflate, BigTIFF beyond 4 GB
    .zarr          OME-Zarr 0.5 with its pyramid
    others         at once, since their files are no larger than memory
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.durable import replace_file, replace_folder
from maskwright.io.image import Image
from maskwright.io.mask_values import single_channel
from maskwright.io.ome_zarr import write_blocks
from maskwright.io.registry import image_suffix, write_mask
from maskwright.io.space import Geometry
from maskwright.io.stored import Block

_TILE_PX = 512
_MOST_CLASSIC_BYTES = (1 << 32) - (1 << 25)


def write_large_mask(
    path: Path,
    size: tuple[int, ...],
    read: Callable[[Block], Image],
    *,
    spacing_mm: tuple[float, ...] | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Write a mask of which only blocks are ever held, where the format allows it.

    The file appears whole or not at all.

    Args:
        path: The file or Zarr folder to create or replace.
        size: Size of the mask in pixels.
        read: Gives any block of the mask, as :func:`maskwright.io.registry.write_mask` takes it.
        spacing_mm: Pixel size along (Z,) Y and X in mm, where it is known.
        geometry: Place in space, for formats that keep one.

    Raises:
        OutputError: For a suffix that cannot hold the mask, or when writing fails.

    Example:
        >>> import tempfile
        >>> from maskwright.io.registry import read_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_large_mask(path, (600, 7), lambda block: Image(
        ...         np.ones((1, *(part.stop - part.start for part in block)), np.uint8)))
        ...     read_mask(path).size
        (600, 7)
    """
    suffix = image_suffix(path)
    if suffix.endswith(".zarr"):
        _write_zarr(path, size, read, spacing_mm, geometry)
    elif suffix.endswith((".tif", ".tiff")):
        with replace_file(path) as temporary:
            _write_tiff(temporary, size, read, spacing_mm)
    else:
        whole = read(tuple(slice(0, length) for length in size))
        write_mask(path, Image(whole.array, spacing_mm, geometry, whole.palette))


def blocks_of(size: Sequence[int], steps: Sequence[int]) -> Iterator[Block]:
    """Blocks that cover an array once, in row-major order, the last ones smaller.

    Example:
        >>> [block[0].stop for block in blocks_of((5,), (2,))]
        [2, 4, 5]
    """
    axes = [
        [slice(start, min(start + step, length)) for start in range(0, length, step)]
        for length, step in zip(size, steps, strict=True)
    ]
    return itertools.product(*axes)


def _write_tiff(
    path: Path,
    size: tuple[int, ...],
    read: Callable[[Block], Image],
    spacing_mm: tuple[float, ...] | None,
) -> None:
    import tifffile

    sample = read(tuple(slice(0, 1) for _ in size))
    colours = sample.channels == 3
    # OME knows no bits.
    dtype = sample.array.dtype if len(size) == 2 or sample.array.dtype != bool else np.dtype("u1")
    options: dict[str, Any] = {"photometric": "rgb" if colours else "minisblack", "metadata": None}
    if sample.palette is not None and sample.array.dtype == np.uint8:
        table = np.zeros((3, 256), np.uint16)
        table[:, : len(sample.palette)] = sample.palette.T.astype(np.uint16) * 257
        options |= {"photometric": "palette", "colormap": table}
    if spacing_mm is not None:
        y_mm, x_mm = spacing_mm[-2:]
        options |= {"resolution": (10.0 / x_mm, 10.0 / y_mm), "resolutionunit": "CENTIMETER"}
    if len(size) == 3:
        options |= {"ome": True, "metadata": _ome_sizes(spacing_mm)}
    bytes_ = math.prod(size) * sample.channels * dtype.itemsize

    def tiles() -> Iterator[NDArray[Any]]:
        for block in blocks_of(size, (*(1,) * (len(size) - 2), _TILE_PX, _TILE_PX)):
            tile = read(block).array.astype(dtype, copy=False)
            yield np.ascontiguousarray(np.moveaxis(tile, 0, -1) if colours else tile[0]).reshape(
                *tile.shape[-2:], *((3,) if colours else ())
            )

    tifffile.imwrite(
        path,
        tiles(),
        shape=(*size, 3) if colours else size,
        dtype=dtype,
        tile=(_TILE_PX, _TILE_PX),
        compression="zlib",
        bigtiff=bytes_ > _MOST_CLASSIC_BYTES,
        software="maskwright",
        **options,
    )


def _ome_sizes(spacing_mm: tuple[float, ...] | None) -> dict[str, Any]:
    sizes: dict[str, Any] = {"axes": "ZYX"}
    for letter, value in zip("ZYX", spacing_mm or (), strict=False):
        sizes |= {f"PhysicalSize{letter}": value, f"PhysicalSize{letter}Unit": "mm"}
    return sizes


def _write_zarr(
    path: Path,
    size: tuple[int, ...],
    read: Callable[[Block], Image],
    spacing_mm: tuple[float, ...] | None,
    geometry: Geometry | None,
) -> None:
    sample = single_channel(read(tuple(slice(0, 1) for _ in size)), path, "Zarr")

    def values(block: Block) -> NDArray[Any]:
        return single_channel(read(block), path, "Zarr")

    with replace_folder(path) as temporary:
        write_blocks(
            temporary, size, sample.dtype, values, spacing_mm=spacing_mm, geometry=geometry
        )
