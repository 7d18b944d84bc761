"""Measures and outlines of objects of images of any size.

Sums are taken block by block; shapes and outlines come from the box of each object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.io.large_mask import blocks_of
from maskwright.io.source import ImageSource
from maskwright.predict.large_objects import (
    STEPS_PX,
    LargeObjects,
    Predicted,
    box_px,
    near_each_other,
)
from maskwright.predict.object_measures import SHAPES, ObjectMeasures, ObjectSums, shapes_of
from maskwright.predict.outlines import Polygon, large_outline, outlines
from maskwright.predict.stream import BandReader
from maskwright.tiling import Interval

OutlineTaker = Callable[[int, Sequence[Polygon]], None]
"""What takes the number of an object and its polygons, in any order of the objects."""


def measure_large_objects(
    objects: LargeObjects,
    predicted: Predicted,
    source: ImageSource,
    *,
    most_px: int,
    band_bytes: int,
    steps: Sequence[int] | None = None,
    on_outline: OutlineTaker | None = None,
) -> ObjectMeasures:
    """Measure every object of an image of any size, as ``measure_objects`` does in memory.

    Args:
        objects: The objects.
        predicted: What was predicted of the image.
        source: The image.
        most_px: Pixels of the largest box that is held. Objects whose boxes are larger have no
            shapes; they have an outline where it has at most half as many edges.
        band_bytes: Memory for the part of the image that is held.
        steps: Size of the blocks.
        on_outline: Where outlines go, for images of two axes.

    Returns:
        What :func:`maskwright.predict.object_measures.measure_objects` returns; shapes that are
        not known are NaN.

    Raises:
        ImageReadError: Where a part of the image cannot be read.
    """
    sums = ObjectSums(objects.count, len(objects.size), source.shape[0])
    image = BandReader(source, band_bytes)
    for block in blocks_of(objects.size, steps or STEPS_PX[len(objects.size)]):
        numbers_S = objects.read(block)
        if numbers_S.any():
            sums.add(
                [part.start for part in block],
                numbers_S,
                predicted.classes(block),
                image(tuple(Interval(part.start, part.stop) for part in block)),
                predicted.certainty(block),
            )
    shapes = _shapes(objects, most_px, on_outline) if len(objects.size) == 2 else {}
    return sums.measures(objects.extents, source.spacing_mm, source.geometry, shapes)


def _shapes(
    objects: LargeObjects, most_px: int, on_outline: OutlineTaker | None
) -> dict[str, NDArray[np.float64]]:
    """Shapes of all objects whose boxes can be held, and their outlines on the way."""
    shapes = {name: np.full(objects.count, np.nan) for name in SHAPES}
    held = np.flatnonzero(box_px(objects.extents) <= most_px)
    for region, group in near_each_other(objects.extents, held, objects.size):
        numbers_YX = objects.read(region)
        wanted = np.sort(np.array(group)) + 1
        place_YX = np.searchsorted(wanted, numbers_YX).clip(max=wanted.size - 1)
        local_YX = np.where(wanted[place_YX] == numbers_YX, place_YX + 1, 0)
        for name, values in shapes_of(local_YX).items():
            shapes[name][wanted - 1] = values
        if on_outline is not None:
            y, x = region[0].start, region[1].start
            for index, polygons in outlines(local_YX).items():
                on_outline(int(wanted[index - 1]), _moved(polygons, y, x))
    if on_outline is not None:
        for index in np.flatnonzero(box_px(objects.extents) > most_px).tolist():
            on_outline(index + 1, _large_outline(objects, index, most_px))
    return shapes


def _large_outline(objects: LargeObjects, index: int, most_px: int) -> list[Polygon]:
    """The outline of an object whose box cannot be held; none where it cannot be held either."""
    down, right = objects.extents.box(index)

    def read(rows: slice) -> NDArray[np.bool_]:
        strip = (slice(down.start + rows.start, down.start + rows.stop), right)
        inside: NDArray[np.bool_] = objects.read(strip) == index + 1
        return inside

    height, width = down.stop - down.start, right.stop - right.start
    polygons = large_outline(
        read, height, width, rows=max(1, most_px // (4 * width)), most=most_px // 2
    )
    return _moved(polygons, down.start, right.start)


def _moved(polygons: Sequence[Polygon], down: int, right: int) -> list[Polygon]:
    return [[[(x + right, y + down) for x, y in ring] for ring in polygon] for polygon in polygons]
