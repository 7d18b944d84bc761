"""Masks larger than memory, written block by block in the formats that allow it.

::

    .tif .tiff     tiles of 512² pixels, deflate, BigTIFF beyond 4 GB
    .zarr          OME-Zarr 0.5 with its pyramid
    others         at once, since their files are no larger than memory
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.durable import output_error, replace_file
from maskwright.io.image import Image
from maskwright.io.registry import write_mask
from maskwright.io.sink import Block
from maskwright.io.space import Geometry

_TILE_PX = 512
_MOST_CLASSIC_BYTES = (1 << 32) - (1 << 25)
_CHUNKS = {2: (1024, 1024), 3: (64, 128, 128)}
# A level whose longest side has so few pixels is the last of a pyramid.
_SMALLEST_LEVEL_PX = 512
_ZARR_SUFFIX = ".zarr"


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
    suffix = path.suffix.lower()
    if suffix == _ZARR_SUFFIX:
        _write_zarr(path, size, read, spacing_mm)
    elif suffix in (".tif", ".tiff"):
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
    bytes_ = math.prod(size) * sample.channels * sample.array.dtype.itemsize

    def tiles() -> Iterator[NDArray[Any]]:
        for block in blocks_of(size, (*(1,) * (len(size) - 2), _TILE_PX, _TILE_PX)):
            tile = read(block).array
            yield np.ascontiguousarray(np.moveaxis(tile, 0, -1) if colours else tile[0]).reshape(
                *tile.shape[-2:], *((3,) if colours else ())
            )

    tifffile.imwrite(
        path,
        tiles(),
        shape=(*size, 3) if colours else size,
        dtype=sample.array.dtype,
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
) -> None:
    """Write beside the target, then rename over it."""
    working, earlier = (path.with_name(f".{path.name}.{name}") for name in ("new", "old"))
    try:
        for folder in (working, earlier):
            shutil.rmtree(folder, ignore_errors=True)
        _fill_zarr(working, path.stem, size, read, spacing_mm)
        for file in working.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if path.exists():
            os.replace(path, earlier)
        os.replace(working, path)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _fill_zarr(
    path: Path,
    name: str,
    size: tuple[int, ...],
    read: Callable[[Block], Image],
    spacing_mm: tuple[float, ...] | None,
) -> None:
    import zarr

    group = zarr.open_group(path, mode="w")
    sample = read(tuple(slice(0, 1) for _ in size)).array
    steps = _CHUNKS[len(size)]
    channels = (sample.shape[0],) if sample.shape[0] > 1 else ()
    scales = [(1,) * len(size)]

    def pixels(block: Block) -> NDArray[Any]:
        found = read(block).array
        return found if channels else found[0]

    def level(number: int, shape: tuple[int, ...]) -> Any:
        chunks = tuple(min(step, length) for step, length in zip(steps, shape, strict=True))
        return group.create_array(
            str(number), shape=channels + shape, chunks=channels + chunks, dtype=sample.dtype
        )

    finer, shape = level(0, size), size
    whole = (slice(None),) * len(channels)
    for block in blocks_of(shape, steps):
        finer[whole + block] = pixels(block)
    while max(shape) > _SMALLEST_LEVEL_PX:
        # Thin axes stay; labels are taken from the first pixel of a group, never averaged.
        factor = tuple(2 if length > _SMALLEST_LEVEL_PX // 8 else 1 for length in shape)
        smaller = tuple(-(-length // each) for length, each in zip(shape, factor, strict=True))
        coarser = level(len(scales), smaller)
        for block in blocks_of(smaller, steps):
            taken = tuple(
                slice(part.start * each, min(part.stop * each, length), each)
                for part, each, length in zip(block, factor, shape, strict=True)
            )
            coarser[whole + block] = finer[whole + taken]
        scales.append(tuple(a * b for a, b in zip(scales[-1], factor, strict=True)))
        finer, shape = coarser, smaller
    group.attrs["ome"] = _multiscales(name, scales, spacing_mm, len(channels))


def _multiscales(
    name: str,
    scales: Sequence[tuple[int, ...]],
    spacing_mm: tuple[float, ...] | None,
    channel_axes: int,
) -> dict[str, Any]:
    """The description of a pyramid.

    Source: OME-NGFF 0.5, multiscales.
    """
    dims = len(scales[0])
    unit = {} if spacing_mm is None else {"unit": "millimeter"}
    spacing = spacing_mm or (1.0,) * dims
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}][:channel_axes]
    axes += [{"name": letter, "type": "space", **unit} for letter in "zyx"[-dims:]]
    datasets = []
    for number, scale in enumerate(scales):
        factors = [1.0] * channel_axes + [
            each * mm for each, mm in zip(scale, spacing, strict=True)
        ]
        transformation = {"type": "scale", "scale": factors}
        datasets.append({"path": str(number), "coordinateTransformations": [transformation]})
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
        "image-label": {},
    }
