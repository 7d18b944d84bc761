"""Outlines of objects as GeoJSON, the form that QuPath imports and exports."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from maskwright.io.durable import output_error, replace_file

Ring = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Outline:
    """One object.

    Args:
        name: What it is called.
        class_name: Its class.
        color: The colour of the class, red, green and blue from 0 to 255.
        polygons: Each a ring around and rings around holes, of (x, y) in pixels; several where
            the object has parts that do not share an edge.
        measures: What was measured of it, by name.
    """

    name: str
    class_name: str
    color: tuple[int, int, int]
    polygons: Sequence[Sequence[Ring]]
    measures: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object as a feature.

        Example:
            >>> ring = [(0, 0), (1, 0), (1, 1), (0, 0)]
            >>> feature = Outline("1", "cell", (255, 0, 0), [[ring]]).to_json()
            >>> feature["geometry"]["type"], feature["properties"]["objectType"]
            ('Polygon', 'detection')
        """
        several = len(self.polygons) > 1
        return {
            "type": "Feature",
            "geometry": {
                "type": "MultiPolygon" if several else "Polygon",
                "coordinates": self.polygons if several else self.polygons[0],
            },
            "properties": {
                "objectType": "detection",
                "name": self.name,
                "classification": {"name": self.class_name, "color": self.color},
                "measurements": dict(self.measures),
            },
        }


def write_geojson(path: Path, outlines: Iterable[Outline]) -> None:
    """Write objects as one collection, each on a line of its own, one at a time.

    Args:
        path: The file to create or replace.
        outlines: The objects.

    Raises:
        OutputError: When writing fails.

    Source: RFC 7946, with pixels for degrees and QuPath's properties of an object.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_geojson(Path(folder) / "a.geojson", [])
        ...     json.loads((Path(folder) / "a.geojson").read_text(encoding="utf-8"))
        {'type': 'FeatureCollection', 'features': []}
    """
    with (
        replace_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write('{"type": "FeatureCollection", "features": [')
        before = "\n"
        for outline in outlines:
            feature = json.dumps(outline.to_json(), ensure_ascii=False, separators=(",", ":"))
            file.write(before + feature)
            before = ",\n"
        file.write("\n]}\n")


class StoredPolygons:
    """Polygons of objects in a file, put there in any order; 16 bytes an object are held.

    Args:
        path: The file to create or replace. It may go once the polygons are not needed.
        count: Objects there are, numbered from 1.

    Raises:
        OutputError: When it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with StoredPolygons(Path(folder) / "polygons", 2) as stored:
        ...         stored.put(2, [[[(0, 0), (1, 0), (1, 1), (0, 0)]]])
        ...         stored.get(1), stored.get(2)
        ([], [[[[0, 0], [1, 0], [1, 1], [0, 0]]]])
    """

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._starts = array("q", bytes(8 * count))
        self._lengths = array("q", bytes(8 * count))
        self._file: BinaryIO

    def __enter__(self) -> Self:
        with _writing(self._path):
            self._file = self._path.open("w+b")
        return self

    def __exit__(self, *_: object) -> None:
        with _writing(self._path):
            self._file.close()

    def put(self, number: int, polygons: Sequence[Sequence[Ring]]) -> None:
        """Keep the polygons of an object.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        data = json.dumps(polygons, separators=(",", ":")).encode()
        with _writing(self._path):
            self._starts[number - 1] = self._file.seek(0, os.SEEK_END)
            self._file.write(data)
        self._lengths[number - 1] = len(data)

    def get(self, number: int) -> list[list[Ring]]:
        """The polygons of an object, none where none were put.

        Raises:
            OutputError: As :meth:`put`.
        """
        if not self._lengths[number - 1]:
            return []
        with _writing(self._path):
            self._file.seek(self._starts[number - 1])
            data = self._file.read(self._lengths[number - 1])
        polygons: list[list[Ring]] = json.loads(data)
        return polygons


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error
