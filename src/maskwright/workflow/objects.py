"""The objects of predicted masks as files: numbered masks, a table, outlines, candidates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError
from maskwright.io.durable import make_folder, write_text
from maskwright.io.formats import BY_SUFFIX
from maskwright.io.geojson import Outline, write_geojson
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, write_mask
from maskwright.io.table import Cell, write_table
from maskwright.predict.object_measures import ObjectMeasures, measure_objects
from maskwright.predict.objects import find_objects
from maskwright.predict.outlines import outlines
from maskwright.predict.predictor import ImagePrediction
from maskwright.progress import Events

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

OBJECTS_NAME = "objects"
CANDIDATES_NAME = "candidates.csv"
_TABLES = ("csv", "parquet")


class ObjectFiles:
    """Writes what is asked for with ``--objects``, image by image, and tables at the end.

    ::

        objects/NAME.tif        number of the object at each pixel (volumes: as their masks)
        objects/NAME.geojson    outlines of the objects of an image, for QuPath
        objects.csv             one row an object, or objects.parquet
        candidates.csv          of volumes placed in space: the form of the LUNA16 challenge

    Until all images are done, the rows of each wait in ``objects/NAME.json``, so that a prediction
    that was interrupted can go on.

    Args:
        target: Folder of the prediction; ``objects`` is made in it.
        network: What knows the classes, the first of which is the background, and what an object
            is.
        table: ``csv`` or ``parquet``.

    Raises:
        ConfigError: ``objects-table`` for another form of table.
    """

    def __init__(self, target: Path, network: OpenedNetwork, table: str = "csv") -> None:
        if table not in _TABLES:
            raise ConfigError(
                "objects-table",
                f"--table {table}",
                expected=" or ".join(_TABLES),
                found=table,
                remedy="choose one of them",
            )
        self._folder = target / OBJECTS_NAME
        self._labels, self._settings = network.labels, network.settings
        self._table = target / f"{OBJECTS_NAME}.{table}"

    def add(
        self,
        path: Path,
        name: str,
        image: Image,
        found: ImagePrediction,
        probabilities_KYX: NDArray[np.float32],
    ) -> int:
        """Find and write the objects of an image.

        Args:
            path: The image's file.
            name: Its name without suffix.
            image: The image.
            found: What was predicted.
            probabilities_KYX: Calibrated probabilities of the classes.

        Returns:
            How many there are.
        """
        make_folder(self._folder, subject=str(self._folder))
        objects_YX = find_objects(
            found.classes_YX,
            method=self._settings.objects,
            min_px=self._settings.min_object_px,
            probabilities_KYX=probabilities_KYX,
            spacing=image.spacing_mm,
            interior_YX=found.interior_YX,
        )
        measures = measure_objects(objects_YX, found.classes_YX, image, probabilities_KYX)
        rows = measures.rows(self._labels.names)
        suffix = mask_suffix(path)
        # Formats of pictures alone do not hold numbers of 32 bits.
        suffix = suffix if BY_SUFFIX[suffix].holds_volumes else ".tif"
        smallest = np.uint16 if len(rows) <= np.iinfo(np.uint16).max else np.uint32
        numbers = Image(objects_YX.astype(smallest)[None]).placed_as(image)
        write_mask(self._folder / (name + suffix), numbers)
        if objects_YX.ndim == 2:
            self._write_outlines(name, objects_YX, measures, rows)
        part = {
            "rows": [{"image": path.name, **row} for row in rows],
            "candidates": _candidates(name, measures) if objects_YX.ndim == 3 else [],
        }
        write_text(self._part(name), json.dumps(part))
        return len(rows)

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _write_outlines(
        self,
        name: str,
        objects_YX: NDArray[np.uint32],
        measures: ObjectMeasures,
        rows: list[dict[str, Cell]],
    ) -> None:
        polygons = outlines(objects_YX)
        write_geojson(
            self._folder / f"{name}.geojson",
            [
                Outline(
                    str(row["id"]),
                    self._labels.names[k],
                    self._labels.colors[k],
                    polygons[index],
                    {key: float(f"{row[key]:.6g}") for key in measures.columns},
                )
                for index, (row, k) in enumerate(
                    zip(rows, measures.classes.tolist(), strict=True), start=1
                )
            ],
        )

    def finish(self, names: Sequence[str], events: Events) -> None:
        """Join the rows of all images into the tables, and say how many objects there are.

        Args:
            names: The images.
            events: Where it is said.
        """
        parts = [json.loads(self._part(name).read_text(encoding="utf-8")) for name in names]
        tables = {self._table: "rows", self._table.with_name(CANDIDATES_NAME): "candidates"}
        total = 0
        for path, key in tables.items():
            rows: list[dict[str, Cell]] = [row for part in parts for row in part[key]]
            total = max(total, len(rows))
            # No object, no table: also not that of an earlier prediction.
            path.unlink(missing_ok=True)
            if rows:
                write_table(path, rows)
        for name in names:
            self._part(name).unlink()
        where = f"; their measures are in {self._table}" if total else ""
        events.send("message", text=f"{total} objects in {len(names)} images{where}.")


def _candidates(name: str, measures: ObjectMeasures) -> list[dict[str, Cell]]:
    """Centroids of objects in space, empty where that is not known."""
    if measures.world_xyz.shape[1] != 3:
        return []
    return [
        {"seriesuid": name, "coordX": x, "coordY": y, "coordZ": z, "probability": probability}
        for (x, y, z), probability in zip(
            measures.world_xyz.tolist(),
            measures.columns["mean_probability"].tolist(),
            strict=True,
        )
    ]
