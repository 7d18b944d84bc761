"""Arrays stored in chunks: Zarr version 2 and 3, OME-Zarr, and stacks of pages in TIFF files.

A chunk that is missing from a Zarr store reads as the store's fill value, as the format says.
Compressed TIFF stacks are read through tifffile's Zarr interface, others are mapped into memory.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io import tiff_tags
from maskwright.io.image import MAX_PIXELS
from maskwright.io.volume import UNIT_MM, Block, StoredArray, decoding

if TYPE_CHECKING:
    import tifffile
    import zarr

ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
"""Files that make a folder a Zarr store, of which it has at least one."""

_MOST_CHUNK_BYTES = 8 * MAX_PIXELS
_PAGE_PX = 1 << 24  # pages up to this size are decoded as a whole
_SPATIAL = "zyx"

# What a chunk may be decoded with. Codecs for objects are not among them: one of them unpickles,
# and so could run code from the file.
_CODECS = {
    *("blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "bytes", "transpose"),
    *("delta", "astype", "fixedscaleoffset", "quantize", "bitround", "packbits", "shuffle"),
    *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "sharding_indexed"),
}


def open_zarr(path: Path) -> StoredArray:
    """Open a Zarr array, an OME-Zarr image, or a group of exactly one array.

    Of an OME-Zarr image the full resolution is taken, with its scale as spacing where the unit
    of every axis is a length. Channel and time axes of length 1 are dropped; without names,
    leading axes of length 1 beyond three.

    Args:
        path: The folder of the store, or of an array or group inside one.

    Returns:
        The array, of which a block decodes no more than the chunks it touches.

    Raises:
        ImageReadError: For a damaged store, a group of several arrays, several channels or time
            points, axes in another order than Z, Y, X, or a codec that could run code.

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
        scale: dict[str, float | None] = {}
        if isinstance(node, zarr.Group):
            array, names, scale = _array_of_group(node, path)
        else:
            array, names = node, getattr(node.metadata, "dimension_names", None)
        _check_chunks(array, path)
        kept = _spatial_axes(names, array.shape, path)
        spacing = [scale.get(str(names[axis]), None) if names else None for axis in kept]

    def read(block: Block) -> NDArray[Any]:
        index: list[int | slice] = [0] * len(array.shape)
        for axis, part in zip(kept, block, strict=True):
            index[axis] = part
        return np.asarray(array[tuple(index)])

    return StoredArray(
        tuple(array.shape[axis] for axis in kept),
        array.dtype,
        read,
        lazy=True,
        spacing_mm=None if None in spacing else tuple(value or 0.0 for value in spacing),
        chunks=tuple(array.chunks[axis] for axis in kept),
    )


def _array_of_group(
    group: zarr.Group, path: Path
) -> tuple[zarr.Array[Any], list[str] | None, dict[str, float | None]]:
    """The one array a group stands for, its axes' names and their spacing in mm."""
    import zarr

    attributes: Mapping[str, Any] = group.attrs.asdict()
    images = attributes.get("ome", attributes).get("multiscales")
    if images:
        image, level = images[0], images[0]["datasets"][0]
        array = group[level["path"]]
        axes = [
            axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", [])
        ]
        if isinstance(array, zarr.Array) and len(axes) in (0, array.ndim):
            factors = [UNIT_MM.get(str(axis.get("unit")).lower(), math.nan) for axis in axes]
            scales = [
                step["scale"]
                for step in (
                    *level.get("coordinateTransformations", ()),
                    *image.get("coordinateTransformations", ()),
                )
                if step.get("type") == "scale"
            ]
            spacing = np.prod([factors, *scales], axis=0) if scales else [math.nan] * len(axes)
            names = [str(axis["name"]) for axis in axes]
            known = {
                n: None if math.isnan(v) else float(v) for n, v in zip(names, spacing, strict=True)
            }
            return array, names or None, known
        raise ValueError("axes that do not fit the array of full resolution")
    arrays = dict(group.arrays())
    if len(arrays) != 1:
        listed = ", ".join(sorted(arrays)[:8]) or ", ".join(
            f"{n}/" for n in sorted(group.keys())[:8]
        )
        raise ImageReadError(
            "zarr-group",
            str(path),
            expected="an OME-Zarr image or a group of one array",
            found=f"{len(arrays)} arrays" + (f" ({listed})" if listed else ""),
            remedy="give the folder of the array inside it",
        )
    (array,) = arrays.values()
    return array, getattr(array.metadata, "dimension_names", None), {}


def _check_chunks(array: zarr.Array[Any], path: Path) -> None:
    """Refuse what is dangerous to decode, before any chunk is."""
    unknown = sorted(set(_codecs(array.metadata.to_dict())) - _CODECS)
    if unknown:
        raise ImageReadError(
            "zarr-codec",
            str(path),
            expected="numbers compressed by a known codec",
            found=", ".join(unknown),
            remedy="save the array again with blosc, zstd or gzip",
        )
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if chunk_bytes > _MOST_CHUNK_BYTES:
        raise ImageReadError(
            "zarr-chunk-size",
            str(path),
            expected=f"chunks of at most {_MOST_CHUNK_BYTES} bytes",
            found=f"chunks of {chunk_bytes} bytes",
            remedy="save the array again in smaller chunks",
        )


def _codecs(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Names of all codecs in an array's metadata, those inside shards included."""
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        found = metadata.get(key) or ()
        for codec in (found,) if isinstance(found, Mapping) else found:
            yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
            yield from _codecs(codec.get("configuration") or {})


def _spatial_axes(names: Sequence[Any] | None, shape: Sequence[int], path: Path) -> list[int]:
    """Positions of the axes that remain once those of length 1 are dropped."""
    letters = [str(name).lower() for name in names or ()]
    if not set(letters) <= set("tczyx"):
        letters = []
    if letters:
        kept = [axis for axis, n in enumerate(shape) if n != 1 or letters[axis] in _SPATIAL]
        order = "".join(letters[axis] for axis in kept)
        good = order in ("yx", "zyx")
    else:
        order = " × ".join(map(str, shape))
        kept = list(range(max(0, len(shape) - 3), len(shape)))
        good = len(kept) >= 2 and all(n == 1 for n in shape[: kept[0]])
    if not good:
        raise ImageReadError(
            "labels-axes",
            str(path),
            expected="a plane (Y, X) or a volume (Z, Y, X)",
            found=f"the axes {order}",
            remedy="save one channel and one time point, in the order Z, Y, X",
        )
    return kept


def open_tiff_stack(path: Path) -> StoredArray:
    """Open the pages of a TIFF file as one array; its chain of pages must be checked before.

    Args:
        path: A TIFF, BigTIFF or OME-TIFF file.

    Returns:
        ``(Y, X)`` for one page, else ``(Z, Y, X)``; pages without a name count as Z. Spacing is
        taken from ImageJ or OME metadata where it has a unit for every axis.

    Raises:
        ImageReadError: For a damaged or truncated file, pages of different sizes, colours,
            several channels or time points, or missing planes.

    Source: TIFF 6.0; BigTIFF; OME-TIFF; ImageJ's metadata.

    Example:
        >>> import tempfile, tifffile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     tifffile.imwrite(path, np.ones((4, 5, 6), "u2"), photometric="minisblack",
        ...                      compression="zlib")
        ...     stored = open_tiff_stack(path)
        ...     stored.shape, stored.chunks
        ((4, 5, 6), (1, 5, 6))
    """
    import tifffile
    import zarr

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    with decoding(path), tifffile.TiffFile(path) as file:
        page = file.pages.first
        if "<!DOCTYPE" in page.description or "<!ENTITY" in page.description:
            raise _refused(path, "plain metadata", "metadata with a document type definition")
        series = _series(file)
        _check_series(file, series, path)
        whole_pages = math.prod(page.shape) <= _PAGE_PX
        options = {"chunkmode": "page"} if whole_pages else {}
        plane_mm = tiff_tags.spacing_mm(file, page)
        slice_mm = _slice_mm(file, page.description) if len(series.shape) == 3 else None
        mapped: NDArray[Any] | None = None
        chunks: tuple[int, ...] | None = None
        if series.dataoffset is not None and page.is_memmappable:
            dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
            mapped = np.memmap(path, dtype, "r", series.dataoffset, series.shape)
        else:
            chunks = tuple(zarr.open_array(series.aszarr(level=0, **options), mode="r").chunks)

    def read(block: Block) -> NDArray[Any]:
        if mapped is not None:
            return np.asarray(mapped[block])
        with tifffile.TiffFile(path) as file:
            store = _series(file).aszarr(level=0, **options)
            return np.asarray(zarr.open_array(store, mode="r")[block])

    spacing: tuple[float, ...] | None = plane_mm
    if plane_mm is not None and len(series.shape) == 3:
        spacing = None if slice_mm is None else (slice_mm, *plane_mm)
    return StoredArray(
        tuple(series.shape), np.dtype(series.dtype), read, True, spacing_mm=spacing, chunks=chunks
    )


def _series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """The array in a file; pages of one kind that were written one by one are a stack."""
    import tifffile

    found = list(file.series)
    alike = {(series.axes, series.shape, series.dtype, len(series.pages)) for series in found}
    if len(found) == 1 or len(alike) > 1 or found[0].axes != "YX" or len(found[0].pages) != 1:
        return found[0]
    pages = [series.keyframe for series in found]
    return tifffile.TiffPageSeries(
        pages, (len(pages), *found[0].shape), found[0].dtype, "QYX", parent=file
    )


def _check_series(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse what the library would read in part, or fill with zeros."""
    axes = series.axes
    if "S" in axes or file.pages.first.photometric in (2, 6):
        raise ImageReadError(
            "labels-colour",
            str(path),
            expected="one number in each pixel of a stack",
            found="pages with colours",
            remedy="save the labels as a stack of whole numbers",
        )
    all_pages = sum(len(part.pages) for part in file.series)
    missing = any(page is None for page in series.pages)
    if series.is_multifile or missing or all_pages != len(series.pages):
        raise _refused(path, "pages of one size, all in this file", "different or missing pages")
    if axes not in ("YX", "ZYX", "QYX", "IYX", "TYX"):
        raise ImageReadError(
            "labels-axes",
            str(path),
            expected="a stack with the axes ZYX",
            found=f"the axes {axes} with the shape {' × '.join(map(str, series.shape))}",
            remedy="save one channel and one time point",
        )
    end = file.filehandle.size
    if tiff_tags.orientation(file.pages.first) != 1 and len(axes) == 3:
        raise _refused(path, "pages stored upright", "pages that are to be turned")
    if series.dataoffset is not None:
        whole = series.dataoffset + series.nbytes <= end
    else:
        count = math.prod(series.keyframe.chunked)
        whole = all(
            len(page.dataoffsets) >= count
            and all(
                n > 0 and at + n <= end
                for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)
            )
            for page in series.pages
            if page is not None
        )
    chunk_bytes = math.prod(series.keyframe.chunks) * np.dtype(series.dtype).itemsize
    if not whole or chunk_bytes > _MOST_CHUNK_BYTES:
        raise ImageReadError(
            "image-truncated",
            str(path),
            expected="a whole TIFF file",
            found="missing rows" if not whole else f"parts of {chunk_bytes} bytes",
            remedy="copy the file again from its source",
        )


def _slice_mm(file: tifffile.TiffFile, description: str) -> float | None:
    """Distance of neighbouring pages in millimetres, or ``None`` where the file does not say."""
    ome = re.search(r'PhysicalSizeZ="([0-9.eE+-]+)"', description)
    if ome is not None and "<OME" in description:
        unit = re.search(r'PhysicalSizeZUnit="([^"]*)"', description)
        factor = UNIT_MM.get(unit.group(1).lower() if unit else "µm")
        return None if factor is None else float(ome.group(1)) * factor
    metadata = file.imagej_metadata or {}
    factor = UNIT_MM.get(str(metadata.get("unit", "")).strip().lower())
    distance = metadata.get("spacing")
    return None if factor is None or distance is None else abs(float(distance)) * factor


def _refused(path: Path, expected: str, found: str) -> ImageReadError:
    return ImageReadError(
        "tiff-stack",
        str(path),
        expected=expected,
        found=found,
        remedy="export the stack again as one plain TIFF file",
    )
