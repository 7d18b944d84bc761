"""TIFF files of any size, read in parts: stacks, hyperstacks, pyramids and whole slides.

::

    file ── series ──┬── level 0 ──┬── mapped into memory      stored plainly
                     ├── level 1   └── tifffile's Zarr store   compressed, in tiles or strips
                     └── …
"""

from __future__ import annotations

import math
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io import tiff_tags
from maskwright.io.axes import MOST_COLOURS, Layout, named_layout
from maskwright.io.image import apply_orientation, apply_orientation_to_pair
from maskwright.io.stored import Block, StoredArray, decoding, no_level, refusal
from maskwright.io.tiff_check import (
    MOST_CHUNK_BYTES,
    check_metadata,
    check_page,
    check_parts,
    count_pages,
    is_extra,
    missing_rows,
    tifffile_library,
)

if TYPE_CHECKING:
    import tifffile

_PAGE_PX = 1 << 24  # pages in strips are decoded as a whole up to this size
_UNNAMED = "qi"  # tifffile's letters of pages of which no metadata says what they are
_NAMING = (
    "name the axes: in Fiji set channels and slices under Image > Properties and save, or in "
    "Python tifffile.imwrite(path, array, imagej=True, metadata={'axes': 'ZYX'})"
)


def open_tiff(path: Path, level: int = 0, labels: bool = False) -> StoredArray:
    """Open a TIFF, BigTIFF, OME-TIFF or SVS file, of which any block can be read.

    Axes are those of OME or ImageJ metadata. Pages without such names are slices, as soon as
    there are more of them than an image has colours; fewer are refused, unless this is a mask.

    Args:
        path: The file, whose first bytes are those of a TIFF.
        level: Level of a pyramid, 0 the finest.
        labels: Whether this is a mask: one channel, and pages in time count as slices.

    Returns:
        The array of an image with alpha left out, a palette as RGB, min-is-white turned round and
        upright; of a mask with the values as they are stored. Spacing is taken from ImageJ, OME
        or Aperio metadata or the resolution, where there is one for every axis.

    Raises:
        ImageReadError: For a damaged or truncated file, pages of different sizes, several time
            points, axes that cannot be told apart, missing planes, or a level that is not there.

    Source: TIFF 6.0; BigTIFF; OME-TIFF; ImageJ's metadata.

    Example:
        >>> import tempfile, tifffile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     tifffile.imwrite(path, np.ones((7, 5, 6), "u2"), photometric="minisblack",
        ...                      compression="zlib")
        ...     stored = open_tiff(path)
        ...     stored.shape, stored.chunks
        ((7, 5, 6), (1, 5, 6))
    """
    with decoding(path):
        count_pages(path)
        file = tifffile_library().TiffFile(path)
        try:
            finest = _series(file, path)
            series = _level(finest, level, path)
            page = series.keyframe
            check_metadata(file.pages.first, path)
            _check_series(series, path)
            layout = _layout(series, path, labels=labels)
            if not labels:
                check_page(page, path)
            orientation = tiff_tags.orientation(page)
            if orientation != 1 and len(layout.space) == 3:
                raise _refused(path, "pages stored upright", "pages that are to be turned")
            spacing = _spacing_mm(file, finest, series, layout)
            palette = None if labels else tiff_tags.palette(page)
            channels = 1 if layout.channel is None else series.shape[layout.channel]
            channels -= tiff_tags.alpha_samples(page) if "s" in series.axes.lower() else 0
            inverted = page.photometric == 0 and not labels
            array, chunks = _array(file, finest, level)
        except BaseException:
            file.close()
            raise
        if chunks is None:
            file.close()
        else:
            weakref.finalize(array, file.close)

    size = tuple(int(series.shape[axis]) for axis in layout.space)
    dtype = np.dtype(series.dtype)
    if palette is not None:
        channels, dtype = 3, palette.dtype

    def read(block: Block) -> NDArray[Any]:
        wanted = block[-len(size) :]
        stored = _before_turning(wanted, size, orientation)
        some = [slice(0, channels)] if layout.channel is not None else []
        values = layout.take(array, len(series.shape), (*some, *stored))
        values = invert(values) if inverted else values
        if palette is not None:
            values = np.moveaxis(palette[values], -1, 0)
        values = apply_orientation(values, orientation)
        return values[block[0]] if len(block) > len(size) else values

    has_channels = layout.channel is not None or palette is not None
    turned = _turned(size, orientation)
    return StoredArray(
        (channels, *turned) if has_channels else turned,
        dtype,
        read,
        lazy=True,
        spacing_mm=None if spacing is None else _turned(spacing, orientation),
        chunks=None
        if chunks is None
        else _turned(tuple(int(chunks[axis]) for axis in layout.space), orientation),
        has_channels=has_channels,
        axes_implied=layout.implied,
    )


def invert(values: NDArray[Any]) -> NDArray[Any]:
    """A min-is-white image the right way round, whole numbers and bits only.

    Such images are stored upside down. Masks stay as stored: ImageJ and tifffile write what was
    drawn as the higher value there too.

    Example:
        >>> invert(np.array([0, 255], np.uint8)).tolist()
        [255, 0]
    """
    if values.dtype == np.bool_:
        return ~values
    if values.dtype.kind == "u":
        turned: NDArray[Any] = np.iinfo(values.dtype).max - values
        return turned
    return values


def _array(
    file: tifffile.TiffFile, finest: tifffile.TiffPageSeries, level: int
) -> tuple[Any, tuple[int, ...] | None]:
    """What the pixels are taken from, and the shape of the parts it decodes at once."""
    import zarr

    series = finest.levels[level] if level else finest
    page = series.keyframe
    if series.dataoffset is not None and page.is_memmappable:
        dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        path = file.filehandle.path
        return np.memmap(path, dtype, "r", series.dataoffset, series.shape), None
    is_small = not page.is_tiled and math.prod(page.shape) <= _PAGE_PX
    options: dict[str, Any] = {"chunkmode": "page"} if is_small else {}
    array: Any = zarr.open_array(finest.aszarr(level=level, **options), mode="r")
    return array, tuple(int(n) for n in array.chunks)


def _turned(pair: tuple[Any, ...], orientation: int) -> tuple[Any, ...]:
    return pair if len(pair) == 3 else apply_orientation_to_pair((pair[0], pair[1]), orientation)


def _before_turning(block: Block, size: tuple[int, ...], orientation: int) -> Block:
    """The block of the stored pixels that a block of the upright image is made of."""
    if len(size) == 3 or orientation not in range(2, 9):
        return block
    size_y, size_x = apply_orientation_to_pair((size[0], size[1]), orientation)
    y, x = block
    if orientation in (3, 4, 7, 8):
        y = slice(size_y - y.stop, size_y - y.start)
    if orientation in (2, 3, 6, 7):
        x = slice(size_x - x.stop, size_x - x.start)
    return (x, y) if orientation >= 5 else (y, x)


def _series(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The image in a file; pages of one kind that were written one by one are a stack."""
    if file.is_svs:
        return file.series[0]  # the others are a label, an overview and a thumbnail
    found = [series for series in file.series if not is_extra(series.keyframe)]
    found = found or list(file.series)
    alike = {(series.axes, series.shape, series.dtype, len(series.pages)) for series in found}
    if len(found) == 1:
        return found[0]
    if len(alike) != 1 or found[0].axes not in ("YX", "YXS") or len(found[0].pages) != 1:
        raise _refused(path, "pages of one size, all in this file", "different or missing pages")
    pages = [series.keyframe for series in found]
    axes, shape = f"Q{found[0].axes}", (len(pages), *found[0].shape)
    joined: tifffile.TiffPageSeries = tifffile_library().TiffPageSeries(
        pages, shape, found[0].dtype, axes, parent=file
    )
    return joined


def _level(series: tifffile.TiffPageSeries, level: int, path: Path) -> tifffile.TiffPageSeries:
    levels = series.levels or [series]
    if level not in range(len(levels)):
        raise no_level(path, level, len(levels))
    found: tifffile.TiffPageSeries = levels[level]
    return found


def _check_series(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse what the library would read in part, or fill with zeros."""
    pages = [page for page in series.pages if page is not None]
    if series.is_multifile or len(pages) < len(series.pages):
        raise _refused(path, "pages of one size, all in this file", "different or missing pages")
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > series.keyframe.parent.filehandle.size:
            raise missing_rows(path)
    else:
        check_parts(pages, path)
    chunk_bytes = math.prod(series.keyframe.chunks) * np.dtype(series.dtype).itemsize
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise _refused(path, f"parts of at most {MOST_CHUNK_BYTES} bytes", f"{chunk_bytes} bytes")


def _layout(series: tifffile.TiffPageSeries, path: Path, *, labels: bool) -> Layout:
    letters, shape = series.axes.lower(), tuple(int(n) for n in series.shape)
    if labels and ("s" in letters or series.keyframe.photometric in (2, 6)):
        expected, found = "one number in each pixel of a stack", "pages with colours"
        remedy = "save the labels as a stack of whole numbers"
        raise refusal("labels-colour", path, expected, found, remedy)
    pages = [axis for axis, letter in enumerate(letters) if letter in _UNNAMED + "t" * labels]
    if len(pages) == 1 and "z" not in letters:
        (axis,) = pages
        if not labels and "s" not in letters and 1 < shape[axis] <= MOST_COLOURS:
            found = f"{shape[axis]} pages without a name, which may be channels or slices"
            raise refusal("axes-ambiguous", path, "pages with a meaning", found, _NAMING)
        letters = letters.replace(letters[axis], "z")
    layout = named_layout(letters, shape, path, labels=labels)
    return replace(layout, implied=letters != series.axes.lower())


def _spacing_mm(
    file: tifffile.TiffFile,
    finest: tifffile.TiffPageSeries,
    series: tifffile.TiffPageSeries,
    layout: Layout,
) -> tuple[float, ...] | None:
    """Pixel size along the axes of space; that of a smaller level is larger in proportion."""
    first = file.pages.first
    found: list[float | None] = list(tiff_tags.spacing_mm(file, first) or (None, None))
    if len(layout.space) == 3:
        found.insert(0, tiff_tags.slice_mm(file, first))
    scales = [finest.shape[axis] / series.shape[axis] for axis in layout.space]
    spacing = [mm * scale for mm, scale in zip(found, scales, strict=True) if mm is not None]
    return tuple(spacing) if len(spacing) == len(found) else None


def _refused(path: Path, expected: str, found: str) -> ImageReadError:
    remedy = "export the stack again as one plain TIFF file"
    return refusal("tiff-stack", path, expected, found, remedy)
