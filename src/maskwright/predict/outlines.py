"""Outlines of numbered objects as polygons along the edges of their pixels.

::

    1 1 0        (0,0)──────(2,0)
    1 0 0   ▶      │    (1,1)─┘(2,1)
                 (0,2)──(1,2)

The polygon of an object covers exactly its pixels: its area is their number.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    start, end, pixel = _edges(numbers)
    following = _following(start, end, pixel, numbers)
    width = numbers.shape[1] + 1
    found: dict[int, dict[int, Polygon]] = {}
    for ring, first in _rings(start.tolist(), following.tolist()):
        at = int(pixel[first])
        corners, is_hole = _corners(ring, width)
        polygon = found.setdefault(int(numbers.ravel()[at]), {}).setdefault(int(parts[at]), [])
        polygon.insert(len(polygon) if is_hole else 0, corners)
    return {number: list(found[number].values()) for number in sorted(found)}


def _edges(
    numbers: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixel edges between objects: start and end vertex, and the pixel on their right hand."""
    height, width = numbers.shape
    across = width + 1
    starts, ends, pixels = [], [], []
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
        starts.append((y + y0) * across + x + x0)
        ends.append((y + y1) * across + x + x1)
        pixels.append(y * width + x)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(pixels)


def _following(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    pixel: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The edge after each edge around the same object.

    Where two pixels of an object meet at a corner, the line goes on around the same pixel.
    """
    owner = numbers.ravel()[pixel]
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
