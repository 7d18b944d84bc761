"""Prediction from a file of any size into a sink, in the memory of a few tiles.

::

    source ──► band of rows ──► tile ──► network ──┬── exact: its classes ──────► sink
                                                   └── averaged: slab of sums ──► sink

What the sink has already is not predicted again, so that a prediction goes on where a kill ended
it, with the very same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.intensity_config import ChannelIntensity
from maskwright.io.sink import LabelSink
from maskwright.predict.predictor import (
    Engine,
    Rule,
    Window,
    join_tiles,
    most_probable,
    run_tiles,
    told,
)
from maskwright.tiling import Tile, mirrored_window, unfold

_DECIDED_PX = 1 << 20


class Source(Protocol):
    """An image in a file, as :class:`maskwright.io.source.ImageSource`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, Y, X)`` or ``(C, Z, Y, X)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape over the axes of space of what the file decodes at once."""

    @property
    def read(self) -> Callable[[tuple[slice, ...]], NDArray[Any]]:
        """From a block over the axes of space to its pixels, ``(C, *block)``."""


class Decided(NamedTuple):
    """What is kept of a part of an image.

    Args:
        ids_S: An id of each pixel, such as its class.
        certainty_S: Probability of each pixel's class times 65535, where it is wanted.
        sums: Numbers to be added to those of other parts.
    """

    ids_S: NDArray[np.uint8]
    certainty_S: NDArray[np.uint16] | None = None
    sums: Sequence[float] = ()


Decide = Callable[[NDArray[Any]], Decided]
"""From the probabilities of all classes in a part of an image, ``(K, *S)``, to what is kept."""


def decide_classes(probabilities_KYX: NDArray[Any]) -> Decided:
    """Keep the most probable classes alone."""
    return Decided(most_probable(probabilities_KYX))


class BandReader:
    """Reads windows of an image, a whole band of rows (of a volume: of slices) at a time.

    Tiles of one row need the same rows, and many files decode whole rows however little of them
    is needed. A band that would take too much memory is not read at once.

    Args:
        source: The image.
        most_bytes: Largest band that is held.

    Example:
        >>> from types import SimpleNamespace
        >>> from maskwright.tiling import Interval
        >>> pixels = np.arange(6).reshape(1, 2, 3)
        >>> source = SimpleNamespace(shape=(1, 2, 3), dtype=pixels.dtype, chunks=None,
        ...                          read=lambda block: pixels[(slice(None), *block)])
        >>> BandReader(source, 1000)((Interval(0, 2), Interval(-1, 2))).tolist()
        [[[1, 0, 1], [4, 3, 4]]]
    """

    def __init__(self, source: Source, most_bytes: int) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._rows = slice(0, 0)
        self._band: NDArray[Any] | None = None

    def __call__(self, window: Window) -> NDArray[Any]:
        """The pixels of a window that may leave the image, mirrored where it does.

        Args:
            window: Intervals along the axes of space.

        Returns:
            Shape ``(C, *window)`` in the image's own data type.
        """
        size = self._source.shape[1:]
        block, unfolded = mirrored_window(window, size)
        rows, *rest = block
        if not (self._rows.start <= rows.start and rows.stop <= self._rows.stop):
            # The old band goes before the new one comes.
            self._band, self._rows = None, slice(0, 0)
            if band_bytes(self._source, rows.stop - rows.start) > self._most_bytes:
                return unfold(self._source.read(block), unfolded)
            self._band = self._source.read((rows, *(slice(0, length) for length in size[1:])))
            self._rows = rows
        if self._band is None:
            return unfold(self._source.read(block), unfolded)
        inner = slice(rows.start - self._rows.start, rows.stop - self._rows.start)
        return unfold(self._band[(slice(None), inner, *rest)], unfolded)


def band_bytes(source: Source, rows: int) -> int:
    """Bytes of so many rows (of a volume: slices) of an image, all channels."""
    channels, _, *rest = source.shape
    return channels * rows * math.prod(rest) * source.dtype.itemsize


def measure_source(
    source: Source,
    channels: int,
    most_bytes: int,
    ways: Sequence[ChannelIntensity] = (),
) -> intensity.Intensity:
    """Mean and standard deviation of a whole image, read block by block.

    It is read once, twice more for the percentiles of each channel that needs them, and not at
    all where training found everything.

    Args:
        source: The image.
        channels: Channels the network takes.
        most_bytes: Memory for one block.
        ways: What training found for each channel instead.

    Returns:
        The very values of :func:`maskwright.data.intensity.measure` on the whole array.

    Raises:
        DataError: ``image-channels``.
        ImageReadError: Where a part cannot be read, or holds NaN.
    """
    size = source.shape[1:]
    at_once = intensity.rows_at_once(size)
    wanted = source.chunks[0] if source.chunks else at_once
    fitting = most_bytes // max(1, band_bytes(source, 1))
    rows = max(1, min(-(-wanted // at_once), fitting // at_once)) * at_once

    def blocks() -> Iterator[NDArray[Any]]:
        for first in range(0, size[0], rows):
            band = slice(first, min(first + rows, size[0]))
            yield source.read((band, *(slice(0, length) for length in size[1:])))

    if intensity.is_clipped(ways):
        return intensity.measure_clipped(blocks, channels, ways)
    return intensity.measure_blocks(blocks(), channels)


def predict_stream(
    source: Source,
    sink: LabelSink,
    engine: Engine,
    rule: Rule,
    measured: intensity.Intensity,
    channels: int,
    *,
    most_bytes: int,
    decide: Decide = decide_classes,
    sums: type[np.floating[Any]] = np.float32,
    on_tile: Callable[[], None] | None = None,
    rows: slice | None = None,
) -> None:
    """Predict an image in a file into a sink, tile by tile.

    The class ids are those that :func:`maskwright.predict.predictor.predict_image` gives. Beside
    each block go the sums of what is decided on, then its probabilities of the classes of whole
    images, where the network gives them, weighted so that they are to be summed too.

    Args:
        source: The image.
        sink: Where class ids go; blocks that it has are left out.
        engine: The network.
        rule: How it may be tiled.
        measured: Mean and deviation of the whole image.
        channels: Channels the network takes.
        most_bytes: Memory for the band of the image that is held.
        decide: What is kept of the probabilities of a part that is finished.
        sums: Data type of the running sums of tiles that are averaged.
        on_tile: Called after each tile that is predicted, see :func:`tiles_left`.
        rows: Only the bands that begin in these rows, see :func:`bands_left`.
    """
    size = source.shape[1:]
    cover = rule.cover(size)
    tiles, bands = tiles_left(cover, sink, rows), bands_left(cover, sink, rows)
    read = BandReader(source, most_bytes)

    def normalised(window: Window) -> NDArray[np.float32]:
        return intensity.apply(read(window), measured, channels)

    predicted = told(run_tiles(tiles, normalised, engine), on_tile)
    for part in join_tiles(predicted, tiles, size, sums=sums, end=bands[-1].stop if bands else 0):
        # Of rows that were taken up again the first parts are not whole, and those of others.
        if part.where[0].start >= bands[0].start and not sink.is_written(part.where):
            kept = _decided(part.probabilities_KYX, decide)
            note = (*kept.sums, *part.image_L.tolist())
            sink.write(part.where, kept.ids_S, note, kept.certainty_S)


def tiles_left(tiles: list[Tile], sink: LabelSink, rows: slice | None = None) -> list[Tile]:
    """The tiles that are still to be predicted.

    Of tiles that are averaged these are all that reach into what lies between the first and the
    last band that is not there.

    Args:
        tiles: All tiles of the image.
        sink: What knows which blocks are there.
        rows: Only for the bands that begin in these rows.
    """
    left = bands_left(tiles, sink, rows)
    if not left:
        return []
    first, last = left[0], left[-1]
    if tiles[0].weights is None:
        return [
            tile
            for tile in tiles
            if first.start <= tile.write[0].start < last.stop
            and not sink.is_written(tile.write_slices)
        ]
    return [
        tile
        for tile in tiles
        if tile.write[0].stop > first.start and tile.write[0].start < last.stop
    ]


def bands_left(tiles: list[Tile], sink: LabelSink, rows: slice | None = None) -> list[slice]:
    """Rows of the bands that are still to be predicted, whole or in part, from above.

    A band begins where a row of tiles does and ends where the next one begins. Bands can be
    predicted one by one, by several processes too.

    Args:
        tiles: All tiles of the image.
        sink: What knows which blocks are there.
        rows: Only the bands that begin in these rows.

    Example:
        >>> from maskwright.geometry import Axis
        >>> from maskwright.tiling import BlendRule
        >>> class Nothing:
        ...     def is_written(self, block): return False
        >>> tiles = BlendRule((Axis((3, 3), (2,)),) * 2, 16, 0).cover((40, 16))
        >>> [(band.start, band.stop) for band in bands_left(tiles, Nothing(), slice(8, 40))]
        [(8, 16), (16, 24), (24, 40)]
    """
    if tiles[0].weights is None:
        grouped = groupby(tiles, key=lambda tile: tile.write[0])
        bands = [(rows_of.slice, [tile.write_slices for tile in row]) for rows_of, row in grouped]
    else:
        height, *rest = (
            max(tile.write[axis].stop for tile in tiles) for axis in range(len(tiles[0].write))
        )
        across = tuple(slice(0, length) for length in rest)
        starts = sorted({tile.write[0].start for tile in tiles})
        bands = [
            (slice(start, stop), [(slice(start, stop), *across)])
            for start, stop in pairwise([*starts, height])
        ]
    return [
        band
        for band, blocks in bands
        if (rows is None or rows.start <= band.start < rows.stop)
        and not all(sink.is_written(block) for block in blocks)
    ]


def _decided(probabilities_KYX: NDArray[Any], decide: Decide) -> Decided:
    """What is kept of a part, some rows at a time: deciding takes many bytes a pixel."""
    size = probabilities_KYX.shape[1:]
    rows = max(1, _DECIDED_PX // math.prod(size[1:]))
    parts = [
        decide(probabilities_KYX[:, first : first + rows]) for first in range(0, size[0], rows)
    ]
    certain = [part.certainty_S for part in parts if part.certainty_S is not None]
    return Decided(
        np.concatenate([part.ids_S for part in parts]),
        np.concatenate(certain) if certain else None,
        np.sum([part.sums for part in parts], axis=0).tolist(),
    )
