"""The objects of an image that was predicted from its file, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskwright.io.durable import make_folder, put_in_place
from maskwright.io.geojson import StoredPolygons
from maskwright.io.image import Image
from maskwright.io.large_mask import write_large_mask
from maskwright.io.numbers import StoredNumbers
from maskwright.io.source import ImageSource
from maskwright.predict.large_measures import measure_large_objects
from maskwright.predict.large_objects import find_large_objects
from maskwright.workflow.deciding import DecidedImage
from maskwright.workflow.objects import ObjectFiles, number_type
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_plan import Fit

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork


def write_large_objects(
    case: Case,
    fitted: Fit,
    network: OpenedNetwork,
    files: ObjectFiles,
    source: ImageSource,
    predicted: DecidedImage,
) -> dict[str, Any]:
    """Find and write the objects of an image; what a kill leaves is begun anew.

    Args:
        case: The image.
        fitted: The memory there is.
        network: What knows what an object is.
        files: Where objects are written.
        source: The image's pixels.
        predicted: What was predicted of it; what is held on the disk meanwhile goes beside it.

    Returns:
        How many objects there are, and how many were too large to be cut or measured whole, for the
        image's record.

    Raises:
        ImageReadError: When the image cannot be read.
        OutputError: When something cannot be written.
    """
    work, path = predicted.store.folder / "objects", case.paths[0]
    method = network.settings.object_method
    make_folder(work, subject=str(case.file))
    found = find_large_objects(
        case.size,
        predicted,
        StoredNumbers(work / "numbers.zarr", case.size),
        method=method,
        min_px=network.settings.smallest_object_px,
        spacing=source.spacing_mm,
        border=network.predictor.border,
        most_px=fitted.box_px,
    )
    dtype = number_type(found.count)
    numbers = files.numbers_path(path, case.name)
    write_large_mask(
        work / numbers.name,
        case.size,
        lambda block: Image(found.read(block).astype(dtype)[None]),
        spacing_mm=source.spacing_mm,
        geometry=source.geometry,
    )
    put_in_place(work / numbers.name, numbers)
    with StoredPolygons(work / "polygons", found.count) as polygons:
        measures = measure_large_objects(
            found,
            predicted,
            source,
            most_px=fitted.box_px,
            band_bytes=fitted.band_bytes,
            on_outline=polygons.put,
        )
        files.write(path, case.name, measures, polygons.get)
    # Of objects in volumes neither shape nor outline is known.
    boxes = len(case.size) == 2 or network.predictor.border or method == "watershed"
    too_large = found.beyond(fitted.box_px) if boxes else 0
    return {"objects": found.count} | ({"objects_too_large": too_large} if too_large else {})
