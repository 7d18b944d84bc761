"""The objects of predicted masks as files: numbered masks, a table, outlines, candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.config import PredictConfig
from maskwright.data.labelmap import LabelMap
from maskwright.errors import ConfigError
from maskwright.io.durable import make_folder
from maskwright.io.geojson import Outline, write_geojson
from maskwright.io.image import Image
from maskwright.io.registry import VOLUME_SUFFIXES, mask_suffix, write_mask
from maskwright.io.table import Cell, write_table
from maskwright.predict.object_measures import ObjectMeasures, measure_objects
from maskwright.predict.objects import find_objects
from maskwright.predict.outlines import outlines
from maskwright.predict.predictor import ImagePrediction
from maskwright.progress import Events

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

    Args:
        target: Folder of the prediction; ``objects`` is made in it.
        labels: The classes; the first one is the background.
        settings: What an object is.
        table: ``csv`` or ``parquet``.

    Raises:
        ConfigError: ``objects-table`` for another form of table.
    """

    def __init__(
        self, target: Path, labels: LabelMap, settings: PredictConfig, *, table: str = "csv"
    ) -> None:
        if table not in _TABLES:
            raise ConfigError(
                "objects-table",
                f"--table {table}",
                expected=" or ".join(_TABLES),
                found=table,
                remedy="choose one of them",
            )
        self.counts: dict[str, int] = {}
        self._folder = target / OBJECTS_NAME
        self._labels, self._settings = labels, settings
        self._table = target / f"{OBJECTS_NAME}.{table}"
        self._rows: list[dict[str, Cell]] = []
        self._candidates: list[dict[str, Cell]] = []
        make_folder(self._folder, subject=f"--out {target}")

    def add(
        self,
        path: Path,
        name: str,
        image: Image,
        found: ImagePrediction,
        probabilities_KYX: NDArray[np.float32],
    ) -> None:
        """Find and write the objects of an image.

        Args:
            path: The image's file.
            name: Its name without suffix.
            image: The image.
            found: What was predicted.
            probabilities_KYX: Calibrated probabilities of the classes.
        """
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
        self.counts[name] = len(rows)
        self._rows += [{"image": path.name, **row} for row in rows]
        suffix = mask_suffix(path)
        if suffix not in VOLUME_SUFFIXES:
            suffix = ".tif" if objects_YX.ndim == 2 else ".nii.gz"
        smallest = np.uint16 if len(rows) <= np.iinfo(np.uint16).max else np.uint32
        numbers = Image(objects_YX.astype(smallest)[None]).placed_as(image)
        write_mask(self._folder / (name + suffix), numbers)
        if objects_YX.ndim == 2:
            self._write_outlines(name, objects_YX, measures, rows)
        elif measures.world_xyz.shape[1] == 3:
            self._candidates += [
                {
                    "seriesuid": name,
                    "coordX": x,
                    "coordY": y,
                    "coordZ": z,
                    "probability": probability,
                }
                for (x, y, z), probability in zip(
                    measures.world_xyz.tolist(),
                    measures.columns["mean_probability"].tolist(),
                    strict=True,
                )
            ]

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

    def finish(self, events: Events) -> None:
        """Write the tables and say how many objects there are."""
        for path, rows in (
            (self._table, self._rows),
            (self._table.with_name(CANDIDATES_NAME), self._candidates),
        ):
            # No object, no table: also not that of an earlier prediction.
            path.unlink(missing_ok=True)
            if rows:
                write_table(path, rows)
        total = len(self._rows)
        where = f"; their measures are in {self._table}" if total else ""
        events.send("message", text=f"{total} objects in {len(self.counts)} images{where}.")
