"""Arrays stored in chunks: Zarr version 2 and 3, and OME-Zarr.

A chunk that is missing from a store reads as the store's fill value, as the format says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.axes import Layout, named_layout, unnamed_layout
from maskwright.io.image import MAX_PIXELS
from maskwright.io.space import Geometry
from maskwright.io.stored import (
    UNIT_MM,
    Block,
    StoredArray,
    check_spacing,
    decoding,
    no_level,
    refusal,
)

if TYPE_CHECKING:
    import zarr

ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Files that make a folder a Zarr store, of which it has at least one."""

_MOST_CHUNK_BYTES = 8 * MAX_PIXELS
_NAMING = "name the axes: zarr.create_array(path, data=array, dimension_names=('z', 'y', 'x'))"

# What a chunk may be decoded with. Codecs for objects are not among them: one of them unpickles,
# and so could run code from the file.
_CODECS = {
    *("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "bytes", "transpose"),
    *("delta", "astype", "fixedscaleoffset", "quantize", "bitround", "packbits", "shuffle"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "sharding_indexed"),
}


def open_zarr(path: Path, level: int = 0, labels: bool = False) -> StoredArray:
    """Open a Zarr array, an OME-Zarr image, or a group of exactly one array.

    Of an OME-Zarr image the full resolution is taken, with its scale as spacing where the unit
    of every axis is a length, and its translation as place. Channel and time axes of length 1 are
    dropped; without names, leading axes of length 1 beyond three (of an image beyond four).

    Args:
        path: The folder of the store, or of an array or group inside one.
        level: Level of a pyramid, 0 the finest.
        labels: Whether this is a mask, which has one channel.

    Returns:
        The array, of which a block decodes no more than the chunks it touches.

    Raises:
        ImageReadError: For a damaged store, a group of several arrays, several channels of a mask
            or time points, axes in another order than Z, Y, X or that cannot be told apart, a
            level that is not there, or a codec that could run code.

    Source: Zarr specifications 2 and 3; OME-NGFF 0.4 and 0.5.

    Example:
        >>> import tempfile, zarr
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.zarr"
        ...     _ = zarr.create_array(path, data=np.eye(4, dtype="u1"), chunks=(2, 4))
        ...     stored = open_zarr(path)
        ...     stored.shape, stored.chunks, stored.read((slice(0, 1), slice(0, 4)))
        ((4, 4), (2, 4), array([[1, 0, 0, 0]], dtype=uint8))
    """
    import zarr

    with decoding(path):
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Group):
            found = _array_of_group(node, level, path)
        else:
            found = _Node(node, getattr(node.metadata, "dimension_names", None), levels=1)
        if level not in range(found.levels):
            raise no_level(path, level, found.levels)
        array = found.array
        _check_chunks(array, path)
        letters = "".join(_letter(name) for name in found.names or ())
        if letters and " " not in letters:
            layout = named_layout(letters, array.shape, path, labels=labels)
        else:
            layout = unnamed_layout(array.shape, path, labels=labels, naming=_NAMING)
        spacing_mm, geometry = found.place(layout)
        if spacing_mm is not None:
            check_spacing(spacing_mm, path)

    def read(block: Block) -> NDArray[Any]:
        return layout.take(array, array.ndim, block)

    return StoredArray(
        layout.shape_of(array.shape),
        array.dtype,
        read,
        lazy=True,
        spacing_mm=spacing_mm,
        geometry=geometry,
        chunks=tuple(int(array.chunks[axis]) for axis in layout.space),
        has_channels=layout.channel is not None,
        axes_implied=layout.implied,
    )


def _letter(name: Any) -> str:
    letter = str(name).lower()
    letter = "c" if letter == "channel" else letter
    return letter if letter in {"t", "c", "z", "y", "x"} else " "


@dataclass(frozen=True)
class _Node:
    """The array that a store stands for, with what is said of its axes."""

    array: zarr.Array[Any]
    names: Sequence[Any] | None
    levels: int
    scale_mm: tuple[float, ...] = ()
    shift_mm: tuple[float, ...] = ()

    def place(self, layout: Layout) -> tuple[tuple[float, ...] | None, Geometry | None]:
        """Spacing and place along the axes of space, where every axis has a length."""
        if not self.scale_mm or any(math.isnan(self.scale_mm[axis]) for axis in layout.space):
            return None, None
        spacing = tuple(self.scale_mm[axis] for axis in layout.space)
        origin = tuple(self.shift_mm[axis] for axis in layout.space)
        rows = tuple(tuple(row) for row in np.eye(len(spacing)).tolist())
        return spacing, Geometry(spacing[::-1], origin[::-1], rows)


def _array_of_group(group: zarr.Group, level: int, path: Path) -> _Node:
    """The one array a group stands for."""
    import zarr

    attributes: Mapping[str, Any] = group.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if images:
        image, levels = images[0], images[0]["datasets"]
        dataset = levels[level if level in range(len(levels)) else 0]
        array = group[dataset["path"]]
        axes = [
            axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", [])
        ]
        if not isinstance(array, zarr.Array) or len(axes) not in (0, array.ndim):
            raise ValueError("axes that do not fit the array of full resolution")
        factors = np.array([UNIT_MM.get(str(a.get("unit")).lower(), math.nan) for a in axes])
        scale, shift, has_scale = np.ones(len(axes)), np.zeros(len(axes)), False
        for source in (dataset, image):
            for step in source.get("coordinateTransformations", ()):
                if step.get("type") == "scale":
                    scale, shift, has_scale = scale * step["scale"], shift * step["scale"], True
                elif step.get("type") == "translation":
                    shift = shift + step["translation"]
        names = [str(axis["name"]) for axis in axes]
        if not has_scale:
            return _Node(array, names or None, len(levels))
        scale_mm, shift_mm = (scale * factors).tolist(), (shift * factors).tolist()
        return _Node(array, names or None, len(levels), tuple(scale_mm), tuple(shift_mm))
    arrays = dict(group.arrays())
    if len(arrays) != 1:
        listed = ", ".join(sorted(arrays)[:8]) or ", ".join(
            f"{n}/" for n in sorted(group.keys())[:8]
        )
        found = f"{len(arrays)} arrays" + (f" ({listed})" if listed else "")
        expected = "an OME-Zarr image or a group of one array"
        remedy = "give the folder of the array inside it"
        raise refusal("zarr-group", path, expected, found, remedy)
    (array,) = arrays.values()
    return _Node(array, getattr(array.metadata, "dimension_names", None), levels=1)


def _check_chunks(array: zarr.Array[Any], path: Path) -> None:
    """Refuse what is dangerous to decode, before any chunk is."""
    unknown = sorted(set(_codecs(array.metadata.to_dict())) - _CODECS)
    if unknown:
        expected, remedy = (
            "numbers compressed by a known codec",
            "save the array again with blosc, zstd or gzip",
        )
        raise refusal("zarr-codec", path, expected, ", ".join(unknown), remedy)
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if chunk_bytes > _MOST_CHUNK_BYTES:
        expected = f"chunks of at most {_MOST_CHUNK_BYTES} bytes"
        remedy = "save the array again in smaller chunks"
        raise refusal("zarr-chunk-size", path, expected, f"chunks of {chunk_bytes} bytes", remedy)


def _codecs(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Names of all codecs in an array's metadata, those inside shards included."""
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        found = metadata.get(key) or ()
        for codec in (found,) if isinstance(found, Mapping) else found:
            yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            yield from _codecs(codec.get("configuration") or {})
