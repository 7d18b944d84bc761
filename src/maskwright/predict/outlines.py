"""Outlines of numbered objects as polygons along the edges of their pixels.

::

    1 1 0        (0,0)──────(2,0)
    1 0 0   ▶      │    (1,1)─┘(2,1)
                 (0,2)──(1,2)

The polygon of an object covers exactly its pixels: its area is their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed line; the first is repeated at its end."""

Polygon = list[Ring]
"""A ring around, then one around each hole."""


def outlines(objects_YX: NDArray[Any]) -> dict[int, list[Polygon]]:
    """The polygons of every object; several where its parts touch at corners only.

    Rings do not cross or touch themselves, so that any program takes the polygons as valid.

    Args:
        objects_YX: A number for each object, 0 where there is none, shape ``(Y, X)``.

    Returns:
        Number → polygons, their corners in pixels: the first pixel reaches from 0 to 1.

    Example:
        >>> outlines(np.array([[1, 1, 0], [1, 0, 0]]))
        {1: [[[(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)]]]}
    """
    import cc3d

    numbers = np.pad(objects_YX, 1).astype(np.int64)
    parts = cc3d.connected_components(numbers.astype(np.uint32), connectivity=4).ravel()
    edges = np.concatenate(_edges(numbers), axis=1)
    pixel = edges[2]
    return _polygons(edges, numbers.ravel()[pixel], parts[pixel], numbers.shape[1])


def large_outline(
    read: Callable[[slice], NDArray[np.bool_]], height: int, width: int, *, rows: int, most: int
) -> list[Polygon]:
    """The polygons of one object, as :func:`outlines` gives them, read a strip at a time.

    Args:
        read: Gives some rows of the object's box: which pixels are of the object.
        height: Rows of the box.
        width: Columns of the box.
        rows: Rows that are read at a time.
        most: Edges between pixels that are held, of about 200 bytes each.

    Returns:
        Polygons, their corners in pixels of the box; none where the object has more edges.

    Example:
        >>> large_outline(lambda rows: np.ones((rows.stop - rows.start, 2), bool), 3, 2,
        ...               rows=2, most=99)
        [[[(0, 0), (2, 0), (2, 3), (0, 3), (0, 0)]]]
    """
    sides: list[list[NDArray[np.int64]]] = [[], [], [], []]
    runs, count = [], 0
    for first in range(0, height, rows):
        last = min(first + rows, height)
        around = slice(max(first - 1, 0), min(last + 1, height))
        above, below = int(first == 0), int(last == height)
        strip = np.pad(read(around), ((above, below), (1, 1))).astype(np.int64)
        down = np.array([[width + 3], [width + 3], [width + 2]]) * first
        for side, found in zip(sides, _edges(strip), strict=True):
            side.append(found + down)
            count += found.shape[1]
        if count > most:
            return []
        changes = np.diff(strip[1:-1].ravel(), prepend=0, append=0)
        ends = np.stack([np.flatnonzero(changes > 0), np.flatnonzero(changes < 0)])
        runs.append(ends + (first + 1) * (width + 2))
    edges = np.concatenate([found for side in sides for found in side], axis=1)
    part = _part_of(edges[2], np.concatenate(runs, axis=1), width + 2)
    return _polygons(edges, np.ones(edges.shape[1], np.int64), part, width + 2).get(1, [])


def _part_of(pixel: NDArray[np.int64], runs: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Parts of an object that share edges, of some of its pixels.

    Args:
        pixel: The pixels, counted along the rows of the image.
        runs: First pixel and the one after the last of each run along a row, in order.
        width: Columns of the image.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts, ends = runs
    # The runs of the next row that share an edge with a run lie side by side.
    low = np.searchsorted(ends, starts + width, side="right")
    below = np.searchsorted(starts, ends + width, side="left") - low
    one = np.repeat(np.arange(starts.size), below)
    other = np.arange(one.size) - np.repeat(np.cumsum(below) - below, below) + low[one]
    links = coo_array((np.ones(one.size, bool), (one, other)), (starts.size, starts.size))
    _, parts = connected_components(links, directed=False)
    found: NDArray[np.int64] = parts[np.searchsorted(starts, pixel, side="right") - 1].astype(int)
    return found


def _polygons(
    edges: NDArray[np.int64],
    owner: NDArray[np.int64],
    part: NDArray[Any],
    width: int,
) -> dict[int, list[Polygon]]:
    """Polygons of each owner from the edges around its pixels; parts are polygons of their own."""
    start, end, pixel = edges
    following = _following(start, end, pixel, owner)
    found: dict[int, dict[int, Polygon]] = {}
    for ring, first in _rings(start.tolist(), following.tolist()):
        corners, is_hole = _corners(ring, width + 1)
        polygon = found.setdefault(int(owner[first]), {}).setdefault(int(part[first]), [])
        polygon.insert(len(polygon) if is_hole else 0, corners)
    return {number: list(found[number].values()) for number in sorted(found)}


def _edges(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Pixel edges between objects: start and end vertex, and the pixel on their right hand.

    They come for each of the four sides of pixels, three rows of numbers each.
    """
    height, width = numbers.shape
    across = width + 1
    sides = []
    # From a pixel to its neighbour, and the edge between them from corner to corner.
    for (dy, dx), (y0, x0), (y1, x1) in (
        ((-1, 0), (0, 0), (0, 1)),
        ((0, 1), (0, 1), (1, 1)),
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    ):
        inner = numbers[1:-1, 1:-1]
        beside = numbers[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        y, x = np.nonzero((inner > 0) & (inner != beside))
        y, x = y + 1, x + 1
        starts, ends = (y + y0) * across + x + x0, (y + y1) * across + x + x1
        sides.append(np.stack([starts, ends, y * width + x]))
    return sides


def _following(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    pixel: NDArray[np.int64],
    owner: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The edge after each edge around the same object.

    Where two pixels of an object meet at a corner, the line goes on around the same pixel.
    """
    many = int(owner.max(initial=0)) + 1
    keys = start * many + owner
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    wanted = end * many + owner
    place = np.searchsorted(sorted_keys, wanted)
    following = order[place]
    second = np.minimum(place + 1, order.size - 1)
    other = order[second]
    better = (sorted_keys[second] == wanted) & (pixel[other] == pixel)
    result: NDArray[np.int64] = np.where(better, other, following)
    return result


def _rings(start: list[int], following: list[int]) -> Iterator[tuple[list[int], int]]:
    """Closed lines of vertices that visit none twice, each with one of its edges."""
    used = bytearray(len(start))
    for begin in range(len(start)):
        path: list[int] = []
        edges: list[int] = []
        seen: dict[int, int] = {}
        edge = begin
        while not used[edge]:
            used[edge] = 1
            vertex = start[edge]
            if vertex in seen:
                at = seen[vertex]
                yield path[at:], edges[at]
                for left in path[at:]:
                    del seen[left]
                del path[at:], edges[at:]
            seen[vertex] = len(path)
            path.append(vertex)
            edges.append(edge)
            edge = following[edge]
        if path:
            yield path, edges[0]


def _corners(ring: list[int], width: int) -> tuple[Ring, bool]:
    """The vertices where a ring turns, and whether it runs around a hole."""
    y, x = np.divmod(np.array(ring), width)
    turns = (np.roll(x, 1) != np.roll(x, -1)) & (np.roll(y, 1) != np.roll(y, -1))
    twice_area = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    corners = list(zip((x[turns] - 1).tolist(), (y[turns] - 1).tolist(), strict=True))
    return [*corners, corners[0]], twice_area < 0
