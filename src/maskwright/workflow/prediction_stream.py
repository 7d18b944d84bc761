"""One large image: from its file into its mask, in the memory of a few tiles."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.data.intensity import Intensity
from maskwright.data.labels import LabelMap
from maskwright.io.channels import open_channels
from maskwright.io.durable import make_folder, replace_file, replace_folder
from maskwright.io.large_mask import blocks_of
from maskwright.io.sink import LabelStore, unfinished_folder
from maskwright.io.source import ImageSource
from maskwright.io.stored import Block
from maskwright.predict.predictor import ABSENT_BELOW
from maskwright.predict.stream import measure_source, predict_stream, tiles_left
from maskwright.workflow.mask_files import write_large_classes
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_checks import naming_image
from maskwright.workflow.prediction_journal import stamps
from maskwright.workflow.prediction_plan import Fit
from maskwright.workflow.prediction_tables import counted, image_label, record

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

_COUNTED_PX = 1 << 22


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
    progress: Progress,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Predict an image from its file into its mask.

    Args:
        case: The image.
        fitted: Its tiles and the memory for them.
        network: The network.
        settings: All that masks depend on beside the image and its tiles.
        progress: Where progress is told.
        resume: Whether to go on with what an earlier process left.

    Returns:
        The image's record.

    Raises:
        OutputError: ``resume-differs`` where that was begun with another image or other tiles, and
            when the mask cannot be written.
        ImageReadError: When the image cannot be read.
    """
    predictor, labels = network.predictor, network.labels
    source = open_channels(case.paths)
    store = _store(case, {**settings, **fitted.settings()}, resume)
    tiles = fitted.rule.cover(case.size)
    progress.skip(len(tiles) - len(tiles_left(tiles, store)))
    with naming_image(case.paths[0]):
        measured = _measured(source, store, predictor.channels, fitted.band_bytes, progress)
        predict_stream(
            source,
            store,
            predictor.engine,
            fitted.rule,
            measured,
            predictor.channels,
            most_bytes=fitted.band_bytes,
            sums=fitted.sums,
            on_tile=progress.ticks(case.paths[0].name),
        )
    progress.busy("Writing the mask")
    image_L = _summed(store.notes())
    counts_K = _counts(store, labels)
    gate = predictor.gate
    emptied = gate is not None and bool(image_L[1] < ABSENT_BELOW) and bool(counts_K[gate])
    if gate is not None and emptied:
        counts_K[0] += counts_K[gate]
        counts_K[gate] = 0

    def read_classes(block: Block) -> NDArray[np.uint8]:
        classes = store.read(block)
        return np.where(classes == gate, np.uint8(0), classes) if emptied else classes

    # Beside the class ids first, so that a kill leaves nothing in the folder of the masks.
    whole = store.folder / "mask" / case.file.name
    make_folder(whole.parent, subject=str(case.file))
    write_large_classes(
        whole,
        case.size,
        read_classes,
        labels,
        case.paths[0],
        spacing_mm=source.spacing_mm,
        geometry=source.geometry,
    )
    with (replace_folder if whole.is_dir() else replace_file)(case.file) as temporary:
        os.replace(whole, temporary)
    values = record(case.paths[0], case.file, counts_K, labels)
    values["tiling"] = {**fitted.settings(), "from_file": True}
    if image_L.size:
        values["image_label"] = image_label(network.image_class_names, image_L)
    if gate is not None:
        values["gated"] = emptied
    return values


def _store(case: Case, settings: Mapping[str, Any], resume: bool) -> LabelStore:
    all_settings = {**settings, "image": stamps(case.paths), "size": list(case.size)}
    folder = unfinished_folder(case.file)
    earlier = LabelStore.resume(folder, all_settings) if resume else None
    return earlier or LabelStore.begin(folder, case.size, all_settings)


def _measured(
    source: ImageSource, store: LabelStore, channels: int, most_bytes: int, progress: Progress
) -> Intensity:
    """Mean and deviation of the image, measured once and kept beside the class ids."""
    known = store.recall("intensity")
    if known is not None:
        return Intensity(tuple(known["mean"]), tuple(known["std"]))
    progress.busy("Measuring the image")
    measured = measure_source(source, channels, most_bytes)
    store.remember("intensity", {"mean": list(measured.mean), "std": list(measured.std)})
    return measured


def _summed(notes: Sequence[tuple[float, ...]]) -> NDArray[np.float32]:
    """Probabilities of the classes of whole images; empty where the network gives none."""
    kept = [note for note in notes if note]
    return np.array(kept).sum(0).astype(np.float32) if kept else np.empty(0, np.float32)


def _counts(store: LabelStore, labels: LabelMap) -> NDArray[np.int64]:
    """Pixels of each class, in blocks of whole chunks."""
    first, *rest = store.shape
    height = store.chunks[0] * max(1, _COUNTED_PX // (store.chunks[0] * math.prod(rest)))
    counts_K = np.zeros(len(labels.names), np.int64)
    for block in blocks_of((first, *rest), (height, *rest)):
        counts_K += counted(store.read(block), labels)
    return counts_K
