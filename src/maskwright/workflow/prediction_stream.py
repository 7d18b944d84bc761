"""One large image: from its file into its mask, in the memory of a few tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.data.intensity import Intensity
from maskwright.data.labels import LabelMap
from maskwright.io.channels import open_channels
from maskwright.io.durable import make_folder, put_in_place
from maskwright.io.large_mask import blocks_of
from maskwright.io.resampled import resampled_source
from maskwright.io.sink import LabelStore, unfinished_folder
from maskwright.io.source import ImageSource
from maskwright.predict.predictor import ABSENT_BELOW
from maskwright.predict.stream import measure_source, predict_stream, tiles_left
from maskwright.workflow.deciding import DecidedImage, Decider
from maskwright.workflow.large_objects import write_large_objects
from maskwright.workflow.mask_files import write_large_classes
from maskwright.workflow.objects import ObjectFiles
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_checks import naming_image
from maskwright.workflow.prediction_journal import stamps
from maskwright.workflow.prediction_plan import Fit
from maskwright.workflow.prediction_tables import counted, image_label, record
from maskwright.workflow.predictor import Predictor

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

_COUNTED_PX = 1 << 22

Spread = Callable[[Case, Fit, LabelStore, Intensity], None]
"""Predicts the bands of an image that a store lacks, and returns when they are there."""


class Progress(Protocol):
    """Where progress is told."""

    def ticks(self, name: str) -> Callable[[], None]:
        """What is called after each tile of an image."""

    def skip(self, tiles: int) -> None:
        """Leave out tiles that an earlier process predicted."""

    def busy(self, text: str) -> None:
        """Say what is done between tiles."""


def predict_large(
    case: Case,
    fitted: Fit,
    network: OpenedNetwork,
    settings: Mapping[str, Any],
    objects: ObjectFiles | None,
    progress: Progress,
    *,
    resume: bool,
    spread: Spread | None = None,
) -> dict[str, Any]:
    """Predict an image from its file into its mask.

    Args:
        case: The image.
        fitted: Its tiles and the memory for them.
        network: The network.
        settings: All that masks depend on beside the image and its tiles.
        objects: Where objects are written, if they are wanted.
        progress: Where progress is told.
        resume: Whether to go on with what an earlier process left.
        spread: Has the bands of the image predicted by other processes.

    Returns:
        The image's record.

    Raises:
        OutputError: ``resume-differs`` where that was begun with another image or other tiles, and
            when the mask cannot be written.
        ImageReadError: When the image cannot be read.
    """
    predictor, labels = network.predictor, network.labels
    own = open_channels(case.paths)
    source = on_network_grid(own, case)
    store = _store(case, {**settings, **fitted.settings()}, objects is not None, resume)
    decider = Decider.of(network, store)
    tiles = fitted.rule.cover(case.work_px)
    progress.skip(len(tiles) - len(tiles_left(tiles, store)))
    with naming_image(case.paths[0]):
        measured = _measured(source, store, predictor, fitted.band_bytes, progress)
    if spread is not None:
        spread(case, fitted, store, measured)
        store = LabelStore(store.folder)
    tick = progress.ticks(case.paths[0].name)
    predict_rows(case, fitted, network, source, store, measured, tick)
    progress.busy("Writing the mask")
    sums, image_L = decider.totals(store.notes())
    gate = predictor.gate
    emptied = gate is not None and bool(image_L[1] < ABSENT_BELOW) and bool(sums.pixels_K[gate])
    if gate is not None and emptied:
        sums = sums.without(gate)
    found = DecidedImage(store, decider, gate if emptied else None, case.grid)
    _write_mask(case, found, labels, own)
    pixels_K = sums.pixels_K if case.grid is None else _counts(found, case.size, labels)
    values = record(case.paths[0], case.file, pixels_K, labels)
    values["trust"] = sums.trust().to_json()
    values["tiling"] = {**fitted.settings(), "from_file": True}
    values |= case.resampling("class ids")
    if image_L.size:
        values["image_label"] = image_label(network.image_class_names, image_L)
    if gate is not None:
        values["gated"] = emptied
    if objects is not None:
        progress.busy("Finding the objects")
        values |= write_large_objects(case, fitted, network, objects, own, found)
    return values


def on_network_grid(source: ImageSource, case: Case) -> ImageSource:
    """The image as the network reads it.

    Args:
        source: The image as it is.
        case: What is known of it.
    """
    return source if case.grid is None else resampled_source(source, case.grid)


def predict_rows(
    case: Case,
    fitted: Fit,
    network: OpenedNetwork,
    source: ImageSource,
    store: LabelStore,
    measured: Intensity,
    on_tile: Callable[[], None],
    *,
    rows: slice | None = None,
) -> None:
    """Predict the class ids of an image, or of some of its bands, that are not there yet.

    Args:
        case: The image.
        fitted: Its tiles and the memory for them.
        network: The network.
        source: The image's pixels, see :func:`on_network_grid`.
        store: Where class ids go.
        measured: Mean and deviation of the whole image.
        on_tile: Called after each tile.
        rows: Only the bands that begin in these rows.

    Raises:
        ImageReadError: When the image cannot be read.
        OutputError: When the class ids cannot be written.
    """
    predictor = network.predictor
    with naming_image(case.paths[0]):
        predict_stream(
            source,
            store,
            predictor.engine,
            fitted.rule,
            measured,
            predictor.channels,
            most_bytes=fitted.band_bytes,
            decide=Decider.of(network, store),
            sums=fitted.sums,
            on_tile=on_tile,
            rows=rows,
        )


def _store(case: Case, settings: Mapping[str, Any], certainty: bool, resume: bool) -> LabelStore:
    all_settings = {**settings, "image": stamps(case.paths), "size": list(case.work_px)}
    folder = unfinished_folder(case.file)
    earlier = LabelStore.resume(folder, all_settings) if resume else None
    return earlier or LabelStore.begin(folder, case.work_px, all_settings, certainty=certainty)


def _write_mask(case: Case, found: DecidedImage, labels: LabelMap, source: ImageSource) -> None:
    """Write a mask beside the class ids, then move it, so that a kill leaves nothing there."""
    whole = found.store.folder / "mask" / case.file.name
    make_folder(whole.parent, subject=str(case.file))
    write_large_classes(
        whole,
        case.size,
        found.classes,
        labels,
        case.paths[0],
        spacing_mm=source.spacing_mm,
        geometry=source.geometry,
    )
    put_in_place(whole, case.file)


def _counts(found: DecidedImage, size: tuple[int, ...], labels: LabelMap) -> NDArray[np.int64]:
    """Pixels of each class in the mask, which are not those on the network's grid."""
    height = max(1, _COUNTED_PX // math.prod(size[1:]))
    blocks = blocks_of(size, (height, *size[1:]))
    counts_K: NDArray[np.int64] = np.sum(
        [counted(found.classes(block), labels) for block in blocks], axis=0
    )
    return counts_K


def _measured(
    source: ImageSource,
    store: LabelStore,
    predictor: Predictor,
    most_bytes: int,
    progress: Progress,
) -> Intensity:
    """What is done to the image's intensities, measured once and kept beside the class ids."""
    known = store.recall("intensity")
    if known is not None:
        return Intensity(**{name: tuple(values) for name, values in known.items()})
    progress.busy("Measuring the image")
    measured = measure_source(source, predictor.channels, most_bytes, predictor.intensities)
    store.remember("intensity", asdict(measured))
    return measured
