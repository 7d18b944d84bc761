"""Outlines of objects as GeoJSON, the form that QuPath imports and exports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.io.durable import write_text

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


def write_geojson(path: Path, outlines: Sequence[Outline]) -> None:
    """Write objects as one collection, each on a line of its own.

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
    lines = [
        json.dumps(outline.to_json(), ensure_ascii=False, separators=(",", ":"))
        for outline in outlines
    ]
    body = ",\n".join(lines)
    write_text(path, f'{{"type": "FeatureCollection", "features": [\n{body}\n]}}\n')
