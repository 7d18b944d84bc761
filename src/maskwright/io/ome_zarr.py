"""Masks as OME-Zarr 0.5: a pyramid of label images, written block by block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.image import Image
from maskwright.io.mask_values import single_channel
from maskwright.io.space import Geometry
from maskwright.io.stored import Block

if TYPE_CHECKING:
    import zarr

_CHUNKS = {2: (1024, 1024), 3: (64, 128, 128)}
_SMALLEST_PX = 256  # a level whose longest side has so many pixels is the last
_THIN_PX = 32  # shorter axes are not halved


def write_zarr(path: Path, image: Image) -> None:
    """Write a mask as OME-Zarr.

    Args:
        path: The folder, which must not exist.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool or unsigned integers; bool
            is written as 0 and 1.

    Raises:
        OutputError: ``mask-dtype`` for other values.

    Example:
        >>> import tempfile
        >>> from maskwright.io.zarr_store import open_zarr
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.zarr"
        ...     write_zarr(path, Image(np.ones((1, 5, 6), bool), spacing_mm=(0.5, 0.25)))
        ...     open_zarr(path).spacing_mm
        (0.5, 0.25)
    """
    values = single_channel(image, path, "Zarr")
    write_blocks(
        path,
        values.shape,
        values.dtype,
        values.__getitem__,
        spacing_mm=image.spacing_mm,
        geometry=image.geometry,
    )


def write_blocks(
    path: Path,
    size: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Callable[[Block], NDArray[Any]],
    *,
    spacing_mm: tuple[float, ...] | None = None,
    geometry: Geometry | None = None,
) -> None:
    """Write a mask of any size as OME-Zarr, of which only blocks are ever held.

    A coarser level takes every second pixel: values of labels are never mixed.

    Args:
        path: The folder, which must not exist.
        size: ``(Y, X)`` or ``(Z, Y, X)`` in pixels.
        dtype: Data type of the values.
        read: Gives any block.
        spacing_mm: Pixel size along each axis in mm, where it is known.
        geometry: Place in space; its origin is written where its axes are not turned.

    Source: OME-NGFF 0.5, multiscales and image-label.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     array = np.eye(600, dtype=np.uint8)
        ...     write_blocks(Path(folder) / "a.zarr", (600, 600), array.dtype, array.__getitem__)
        ...     sorted(path.name for path in (Path(folder) / "a.zarr").iterdir())
        ['0', '1', '2', 'zarr.json']
    """
    import zarr

    letters = "zyx"[-len(size) :]
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    level = _create(group, 0, size, dtype, letters)
    for block in _blocks(level):
        level[block] = read(block)
    scales = [(1,) * len(size)]
    while max(level.shape) > _SMALLEST_PX:
        steps = tuple(2 if n > _THIN_PX else 1 for n in level.shape)
        smaller = tuple(-(-n // step) for n, step in zip(level.shape, steps, strict=True))
        coarser = _create(group, len(scales), smaller, dtype, letters)
        for block in _blocks(coarser):
            finer = tuple(
                slice(part.start * step, part.stop * step, step)
                for part, step in zip(block, steps, strict=True)
            )
            coarser[block] = level[finer]
        scales.append(tuple(a * b for a, b in zip(scales[-1], steps, strict=True)))
        level = coarser
    group.attrs["ome"] = _description(letters, scales, spacing_mm, geometry)


def _create(
    group: zarr.Group, level: int, size: Sequence[int], dtype: np.dtype[Any], letters: str
) -> zarr.Array[Any]:
    chunks = tuple(min(n, most) for n, most in zip(size, _CHUNKS[len(size)], strict=True))
    return group.create_array(
        str(level), shape=tuple(size), chunks=chunks, dtype=dtype, dimension_names=tuple(letters)
    )


def _blocks(array: zarr.Array[Any]) -> Iterator[Block]:
    axes = [
        [slice(at, min(at + step, n)) for at in range(0, n, step)]
        for n, step in zip(array.shape, array.chunks, strict=True)
    ]
    return itertools.product(*axes)


def _description(
    letters: str,
    scales: Sequence[Sequence[int]],
    spacing_mm: tuple[float, ...] | None,
    geometry: Geometry | None,
) -> dict[str, Any]:
    unit = {} if spacing_mm is None else {"unit": "millimeter"}
    spacing = spacing_mm or (1.0,) * len(letters)
    origin = None
    if geometry is not None and np.array_equal(geometry.direction, np.eye(len(letters))):
        origin = list(geometry.origin_xyz[::-1])
    datasets = []
    for level, scale in enumerate(scales):
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [n * mm for n, mm in zip(scale, spacing, strict=True)]}
        ]
        if origin is not None:
            steps.append({"type": "translation", "translation": origin})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    axes = [{"name": letter, "type": "space", **unit} for letter in letters]
    return {
        "version": "0.5",
        "multiscales": [{"name": "mask", "axes": axes, "datasets": datasets}],
        "image-label": {},
    }
