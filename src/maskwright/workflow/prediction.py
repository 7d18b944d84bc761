"""Masks for images of any size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.config import DataConfig, validate
from maskwright.data.files import find_images, group_channels
from maskwright.evaluate.uncertainty import Trust, entropy, trust
from maskwright.io.channels import read_channels
from maskwright.io.durable import make_folder, write_text
from maskwright.io.probabilities import probabilities_path, write_probabilities
from maskwright.io.registry import mask_suffix, write_mask
from maskwright.io.sink import discard
from maskwright.progress import Events
from maskwright.report.figures import write_panels
from maskwright.report.level_panels import level_panels
from maskwright.workflow.prediction_cases import Case, plan_cases
from maskwright.workflow.prediction_checks import check_averaging, check_targets, naming_image
from maskwright.workflow.prediction_journal import Finished, digest
from maskwright.workflow.prediction_plan import memory_bytes
from maskwright.workflow.prediction_stream import predict_large
from maskwright.workflow.prediction_tables import (
    counted,
    image_label,
    record,
    tell_gated,
    tell_levels,
    tell_parts,
    warn_one_class,
    write_image_labels,
    write_trust,
)
from maskwright.workflow.predictions import Predictions

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

SUMMARY_NAME = "predictions.json"
PROBABILITIES_NAME = "probabilities"
UNCERTAINTY_NAME = "uncertainty"
LEVELS_NAME = "levels"
# Up to so many pixels the probabilities of an image are held, to say how much to trust its mask.
_TRUSTED_PX = 1 << 25


def predict(
    run: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    tile: int | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    levels: bool = False,
    tta: str | Sequence[str] | None = None,
    gate: bool | None = None,
    memory: str | int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    events: Events | None = None,
) -> Predictions:
    """Predict images and write a mask of the same name for each.

    Masks hold the training masks' own values (255 where they had 255) in the image's file
    format, lossless where that would lose; those of volumes lie exactly on their image.
    Files ``NAME_0000``, ``NAME_0001`` … are the channels of one image where the network takes
    several. ``trust.csv`` ranks the images by the Dice that the
    network expects of its own masks, least trusted first; images of more than 2^25 pixels are
    ranked where probabilities or uncertainty are asked for.

    An image that would take more than ``memory`` is predicted from its file into its mask, tile by
    tile, without probabilities and without a rank; the mask is the same.

    A network with ``image_classes`` labels whole images too: ``image_labels.csv`` holds the label
    of each and the probabilities of all, averaged over the tiles by the area that each writes.

    Args:
        run: A run folder, a file exported from one, or a package of bioimage.io; see
            :func:`maskwright.workflow.opening.open_network`.
        inputs: Folders, files or globs.
        out: Folder for the masks.
        tile: Largest side of the network's input; the result does not depend on it.
        probabilities: Also write ``probabilities/NAME.tif``, one page a class, calibrated on the
            validation images; of volumes ``NAME.nii.gz``, one channel a class. Those of
            overlapping classes are written as the network gives them, without calibration.
        uncertainty: Also write ``uncertainty/NAME.tif`` (``NAME.nii.gz``): per pixel the entropy
            of the classes' probabilities, from 0 (sure) to 1 (all classes alike).
        levels: Also write ``levels/NAME.png``: what each level of the decoder predicts, the
            coarsest first, then the final prediction; of volumes one slice. Levels are not
            averaged.
        tta: ``flip``, ``scale``, both, or ``none``: average the probabilities over mirrorings and
            sizes of the image; by default as the run was configured.
        gate: Whether the pixels of a class become background (class 0) where the image's label
            says, with a probability below 0.5 for it, that the class is not there; for
            ``image_labels=contains:NAME`` alone. By default as the run was configured.
        memory: What prediction takes at most, as ``"2GB"`` or in bytes; by default 2 GB, which what
            needs the probabilities of a whole image may exceed. It chooses the size of the tiles.
        overwrite: Replace masks that exist, and forget a prediction that was interrupted.
        resume: Go on with a prediction that was interrupted.
        events: Where progress is told.

    Returns:
        The written files.

    Raises:
        ConfigError: When the network cannot give what is asked for, an image is too large to
            average, or the memory too small.
        DataError: When an input cannot be read; masks of the others are not touched.
        OutputError: When a mask exists already, before anything is computed.
        RunError: When the run cannot be used.
    """
    from maskwright.workflow.opening import Asked, open_network

    events = events or Events()
    target = Path(out)
    earlier = Finished.of(target) if resume else None
    network = open_network(
        run, Asked(tile, levels, tta, gate, earlier.precision if earlier else None)
    )
    predictor = network.predictor
    extras = [
        (asked, name)
        for asked, name in (
            (probabilities, PROBABILITIES_NAME),
            (uncertainty, UNCERTAINTY_NAME),
            (levels, LEVELS_NAME),
        )
        if asked
    ]
    settings = {
        "network": digest(Path(run)),
        "numerics": predictor.numerics,
        "tile": tile,
        "memory": memory,
        "averaged_over": list(predictor.ways),
        "gate": predictor.gate,
        "also": [name for _, name in extras],
    }
    if earlier is not None:
        earlier.check(settings)
    channels = group_channels(find_images(list(inputs)), predictor.channels)
    files = {name: target / (name + mask_suffix(paths[0])) for name, paths in channels.items()}
    known = earlier.records if earlier is not None else None
    check_targets([paths[0] for paths in channels.values()], list(files.values()), target,
                  overwrite=overwrite, resume=earlier is not None)  # fmt: skip
    cases = plan_cases(
        channels,
        files,
        predictor,
        memory_bytes(memory),
        whole=[f"--{name}" for _, name in extras] + ["--tta"] * bool(predictor.ways),
        strict=memory is not None,
        trusted_px=_TRUSTED_PX,
    )
    if predictor.ways:
        sizes = [case.size for case in cases]
        check_averaging([case.paths[0] for case in cases], sizes, _TRUSTED_PX)
    make_folder(target, subject=f"--out {out}")
    for _, name in extras:
        make_folder(target / name, subject=f"--out {out}")
    finished = earlier or Finished.begin(target, settings)
    left = [case for case in cases if known is None or case.file.name not in known]
    for case in cases:
        if case not in left or not resume:
            discard(case.file)
    tiles = sum(predictor.tiles(case.size, case.rule) for case in left)
    events.send("start", images=len(left), numerics=predictor.numerics, tiles=tiles)
    tell_parts(left, memory is not None, events)
    if levels and network.level_shares:
        tell_levels(network.level_shares, events)
    progress = _Progress(events, tiles)
    for case in left:
        begun = time.monotonic()
        if case.streams:
            values = predict_large(case, network, settings, progress, resume=resume)
        else:
            values = _predict_whole(case, network, [name for _, name in extras], progress)
        values["elapsed_s"] = round(time.monotonic() - begun, 3)
        finished.add(case.file.name, values)
        discard(case.file)
    records = [finished.records[case.file.name] for case in cases]
    _tell(records, network, target, events)
    summary = {
        "run": str(run),
        "numerics": predictor.numerics,
        "averaged_over": list(predictor.ways),
        "overlapping": predictor.overlapping,
        "data": network.data.model_dump(mode="json"),
        "images": records,
    }
    write_text(target / SUMMARY_NAME, json.dumps(summary, indent=2) + "\n")
    finished.discard()
    events.send("end", images=len(cases), out=str(target))
    written = [target / PROBABILITIES_NAME / each["probabilities"]
               for each in records if "probabilities" in each]  # fmt: skip
    return Predictions(target, tuple(case.file for case in cases), tuple(written))


@dataclass
class _Progress:
    """Counts tiles over all images."""

    events: Events
    tiles: int
    done: int = 0

    def ticks(self, name: str) -> Callable[[], None]:
        """What is called after each tile of an image."""

        def tick() -> None:
            self.done += 1
            self.events.send("tile", number=self.done, tiles=self.tiles, name=name)

        return tick

    def skip(self, tiles: int) -> None:
        """Leave out tiles that an earlier process predicted."""
        self.tiles -= tiles

    def busy(self, text: str) -> None:
        """Say what is done between tiles."""
        self.events.send("busy", text=text)


def _predict_whole(
    case: Case, network: OpenedNetwork, extras: Sequence[str], progress: _Progress
) -> dict[str, Any]:
    """Predict an image in memory, with all that was asked for; its record."""
    predictor, labels = network.predictor, network.labels
    target, path = case.file.parent, case.paths[0]
    image = read_channels(case.paths)
    needed = PROBABILITIES_NAME in extras or UNCERTAINTY_NAME in extras
    with naming_image(path):
        found = predictor.predict(
            image.array,
            rule=case.rule,
            hold=needed or image.array[0].size <= _TRUSTED_PX,
            on_tile=progress.ticks(path.name),
        )
    values = record(path, case.file, counted(found.classes_YX, labels), labels)
    if case.fit is not None:
        values["tiling"] = case.fit.settings()
    if found.probabilities_KYX.size:
        calibrated_KYX = network.calibration.apply(predictor.distribution(found.probabilities_KYX))
        values["trust"] = trust(calibrated_KYX, found.classes_YX).to_json()
        if PROBABILITIES_NAME in extras:
            raw_KYX = found.probabilities_KYX
            shown_KYX = raw_KYX if predictor.overlapping else calibrated_KYX
            file = probabilities_path(target / PROBABILITIES_NAME, case.name, shown_KYX)
            write_probabilities(file, shown_KYX, image.geometry)
            values["probabilities"] = file.name
        if UNCERTAINTY_NAME in extras:
            write_probabilities(
                probabilities_path(target / UNCERTAINTY_NAME, case.name, calibrated_KYX),
                entropy(calibrated_KYX)[None],
                image.geometry,
            )
    if LEVELS_NAME in extras:
        maps = {**network.level_maps(found), "prediction": found.classes_YX}
        panels = level_panels(image.array, maps, predictor.classes)
        write_panels(target / LEVELS_NAME / f"{case.name}.png", panels)
    if found.image_probabilities_L.size:
        values["image_label"] = image_label(network.image_class_names, found.image_probabilities_L)
    if predictor.gate is not None:
        values["gated"] = found.emptied
    write_mask(case.file, labels.decode(found.classes_YX).placed_as(image))
    return values


def _tell(
    records: Sequence[dict[str, Any]], network: OpenedNetwork, target: Path, events: Events
) -> None:
    """Write the tables of all images, and say what a person should look at."""
    warn_one_class(records, events)
    trusts = {
        Path(values["image"]).name: Trust.from_json(values["trust"])
        for values in records
        if "trust" in values
    }
    write_trust(trusts, network.labels, target, events)
    write_image_labels(records, target)
    gate = network.predictor.gate
    if gate is not None:
        tell_gated(records, network.labels.names[gate], events)


def labels_of(folder: Path) -> DataConfig | None:
    """What a folder of predictions says of its mask values, or ``None`` where it says nothing."""
    values = _summary_of(folder).get("data")
    return validate(DataConfig, values, subject=str(folder / SUMMARY_NAME)) if values else None


def is_overlapping(folder: Path) -> bool:
    """Whether the probabilities in a folder of predictions are of classes that may overlap."""
    return bool(_summary_of(folder).get("overlapping", False))


def _summary_of(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return values if isinstance(values, dict) else {}
