"""The objects of predicted masks as files: numbered masks, a table, outlines, candidates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError
from maskwright.io.durable import make_folder, replace_file
from maskwright.io.formats import BY_SUFFIX
from maskwright.io.geojson import Outline, Ring, write_geojson
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, write_mask
from maskwright.io.table import Cell, write_long_table
from maskwright.predict.object_measures import ObjectMeasures, measure_objects
from maskwright.predict.objects import certainty, find_objects
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

    Until the prediction is done, the rows of each image wait in ``objects/NAME.jsonl``, so that one
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
        certainty_YX = certainty(probabilities_KYX, found.classes_YX)
        objects_YX = find_objects(
            found.classes_YX,
            method=self._settings.object_method,
            min_px=self._settings.smallest_object_px,
            certainty_YX=certainty_YX,
            spacing=image.spacing_mm,
            interior_YX=found.interior_YX,
        )
        measures = measure_objects(objects_YX, found.classes_YX, image, certainty_YX)
        numbers = Image(objects_YX.astype(number_type(len(measures.classes)))[None])
        write_mask(self.numbers_path(path, name), numbers.placed_as(image))
        polygons = outlines(objects_YX) if objects_YX.ndim == 2 else {}
        return self.write(path, name, measures, polygons.__getitem__)

    def numbers_path(self, path: Path, name: str) -> Path:
        """The numbered mask of an image, in a format that holds numbers of 32 bits.

        Args:
            path: The image's file.
            name: Its name without suffix.
        """
        suffix = mask_suffix(path)
        make_folder(self._folder, subject=str(self._folder))
        return self._folder / (name + (suffix if BY_SUFFIX[suffix].holds_volumes else ".tif"))

    def write(
        self,
        path: Path,
        name: str,
        measures: ObjectMeasures,
        polygons: Callable[[int], Sequence[Sequence[Ring]]],
    ) -> int:
        """Write the outlines of the objects of an image, and keep their rows for the table.

        Args:
            path: The image's file.
            name: Its name without suffix.
            measures: What was measured of them.
            polygons: Gives the outline of an object of two axes by its number; one that is empty
                is not written.

        Returns:
            How many there are.
        """
        if "area_px" in measures.columns:
            drawn = self._outlines(measures, polygons)
            write_geojson(self._folder / f"{name}.geojson", drawn)
        with (
            replace_file(self._part(name)) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            for row in measures.rows(self._labels.names):
                file.write(json.dumps({"image": path.name, **row}) + "\n")
        return len(measures.classes)

    def _outlines(
        self, measures: ObjectMeasures, polygons: Callable[[int], Sequence[Sequence[Ring]]]
    ) -> Iterator[Outline]:
        rows = measures.rows(self._labels.names)
        for number, (row, k) in enumerate(zip(rows, measures.classes, strict=True), start=1):
            drawn = polygons(number)
            if drawn:
                yield Outline(
                    str(number),
                    self._labels.names[k],
                    self._labels.colors[k],
                    drawn,
                    {
                        key: float(f"{row[key]:.6g}")
                        for key, column in measures.columns.items()
                        if not np.isnan(column[number - 1])
                    },
                )

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def finish(self, names: Sequence[str], events: Events) -> None:
        """Join the rows of all images into the tables, and say how many objects there are.

        Args:
            names: The images.
            events: Where it is said.
        """

        def rows() -> Iterator[tuple[str, dict[str, Cell]]]:
            for name in names:
                with self._part(name).open(encoding="utf-8") as file:
                    yield from ((name, json.loads(line)) for line in file)

        def candidates() -> Iterator[dict[str, Cell]]:
            for name, row in rows():
                if "centroid_z_mm" in row:
                    place = {f"coord{axis.upper()}": row[f"centroid_{axis}_mm"] for axis in "xyz"}
                    yield {"seriesuid": name, **place, "probability": row["mean_probability"]}

        total = sum(1 for _ in rows())
        tables: dict[Path, Callable[[], Iterator[dict[str, Any]]]] = {
            self._table: lambda: (row for _, row in rows()),
            self._table.with_name(CANDIDATES_NAME): candidates,
        }
        for path, wanted in tables.items():
            # No object, no table: also not that of an earlier prediction.
            path.unlink(missing_ok=True)
            if next(wanted(), None) is not None:
                write_long_table(path, wanted)
        where = f"; their measures are in {self._table}" if total else ""
        events.send("message", text=f"{total} objects in {len(names)} images{where}.")

    def discard(self, names: Sequence[str]) -> None:
        """Remove the rows of images, which the tables hold."""
        for name in names:
            self._part(name).unlink(missing_ok=True)


def number_type(count: int) -> type[np.unsignedinteger[Any]]:
    """The smallest data type of masks that holds so many numbers.

    Example:
        >>> number_type(65_535), number_type(65_536)
        (<class 'numpy.uint16'>, <class 'numpy.uint32'>)
    """
    return np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32
