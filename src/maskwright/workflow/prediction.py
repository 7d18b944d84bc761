"""Masks for images of any size."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.config import DataConfig, validate
from maskwright.data.files import find_images, group_channels
from maskwright.evaluate.uncertainty import Trust
from maskwright.io.durable import make_folder, write_text
from maskwright.io.sink import discard
from maskwright.progress import Events
from maskwright.workflow.distributed import (
    check_workers,
    connected,
    dividing,
    threads_each,
)
from maskwright.workflow.distributed_tasks import Job
from maskwright.workflow.lease import Lease, end_leases
from maskwright.workflow.mask_files import AUTO, check_formats, suffix_for
from maskwright.workflow.objects import OBJECTS_NAME, ObjectFiles
from maskwright.workflow.prediction_cases import Case, plan_cases
from maskwright.workflow.prediction_checks import (
    check_averaging,
    check_targets,
    only_prediction,
)
from maskwright.workflow.prediction_journal import Finished, digest
from maskwright.workflow.prediction_plan import memory_bytes
from maskwright.workflow.prediction_stream import predict_large
from maskwright.workflow.prediction_tables import (
    tell_gated,
    tell_levels,
    tell_parts,
    tell_too_large,
    warn_one_class,
    write_image_labels,
    write_trust,
)
from maskwright.workflow.prediction_whole import (
    LEVELS_NAME,
    PROBABILITIES_NAME,
    TRUSTED_PX,
    UNCERTAINTY_NAME,
    predict_whole,
)
from maskwright.workflow.predictions import Predictions
from maskwright.workflow.predictor import Predictor
from maskwright.workflow.workers import Workers

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

SUMMARY_NAME = "predictions.json"


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
    engine: str | None = None,
    objects: bool = False,
    table: str = "csv",
    mask_format: str = AUTO,
    settings: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    events: Events | None = None,
) -> Predictions:
    """Predict images and write a mask of the same name for each.

    Masks hold the training masks' own values (255 where they had 255) in the image's file
    format, lossless where that would lose; those of volumes lie exactly on their image.
    Files ``NAME_0000``, ``NAME_0001`` … are the channels of one image where the network takes
    several. ``trust.csv`` ranks the images by the Dice that the
    network expects of its own masks, least trusted first; images of more than 2^25 pixels that are
    predicted in memory are ranked where objects, probabilities or uncertainty are asked for.

    An image that would take more than ``memory`` is predicted from its file into its mask, tile by
    tile, without probabilities; mask, rank and objects are the same. Where the network works at
    a pixel size of its own, its class ids are brought back then, not its probabilities, which may
    differ at outlines; ``predictions.json`` says which.

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
        tta: ``flip``, ``rotate``, ``scale``, several of them, or ``none``: average the
            probabilities over mirrorings, quarter turns and sizes of the image; by default as the
            run was configured.
        gate: Whether the pixels of a class become background (class 0) where the image's label
            says, with a probability below 0.5 for it, that the class is not there; for
            ``image_labels=contains:NAME`` alone. By default as the run was configured.
        memory: What prediction takes at most, as ``"2GB"`` or in bytes; by default 2 GB, which what
            needs the probabilities of a whole image may exceed. It chooses the size of the tiles.
        engine: What runs the network of a run: ``torch``, ``openvino``, ``onnx`` (ONNX Runtime), or
            ``auto``: PyTorch, and the fastest of all that are installed where predicting takes
            minutes. By default as the run was configured.
        objects: Also number the objects and measure each; see
            :class:`maskwright.workflow.objects.ObjectFiles`.
        table: ``csv`` or ``parquet``, for the table of the objects.
        mask_format: ``auto``, the image's own format where that loses nothing, or one of
            :data:`maskwright.workflow.mask_files.SUFFIX_OF`. ``dicom-seg`` is for DICOM series.
        settings: ``key=value`` for any other setting of prediction, such as ``mirror_px=64`` or
            ``objects=watershed``.
        overwrite: Replace masks that exist, and forget a prediction that was interrupted.
        resume: Go on with a prediction that was interrupted.
        workers: Processes of this machine that predict, each images or bands of rows of its own;
            they share its cores, and ``memory`` where that is given.
        scheduler: Address of a scheduler of Dask whose workers predict, each within ``memory``.
            They need images and ``out`` under the same path; see ``docs/many_machines.md``.
        events: Where progress is told.

    Returns:
        The written files.

    Raises:
        ConfigError: When the network cannot give what is asked for, an image is too large to
            average, or the memory too small.
        DataError: When an input cannot be read; masks of the others are not touched.
        OutputError: When a mask exists already or its format cannot hold it, before anything is
            computed, or another process writes masks into the same folder.
        RunError: When the run cannot be used.
    """
    from maskwright.workflow.opening import Asked, open_network

    events = events or Events()
    spread = check_workers(workers, scheduler)
    target = Path(out)
    with only_prediction(target):
        earlier = Finished.of(target) if resume else None
    asked = Asked(tile, levels, tta, gate, engine, settings=tuple(settings))
    if earlier is not None:
        asked = asked.decided(*earlier.decided)
    network = open_network(run, asked)
    predictor = network.predictor
    extras = [
        name
        for wanted, name in (
            (probabilities, PROBABILITIES_NAME),
            (uncertainty, UNCERTAINTY_NAME),
            (levels, LEVELS_NAME),
            (objects, OBJECTS_NAME),
        )
        if wanted
    ]
    channels = group_channels(find_images(list(inputs)), predictor.channels)
    files = {
        name: target / (name + suffix_for(paths[0], mask_format))
        for name, paths in channels.items()
    }
    images = [paths[0] for paths in channels.values()]
    check_targets(images, list(files.values()), target,
                  overwrite=overwrite, resume=earlier is not None)  # fmt: skip
    check_formats(images, mask_format, network.labels)
    with dividing(memory, workers) as memory:
        cases = plan_cases(
            channels,
            files,
            predictor,
            memory_bytes(memory),
            whole=_needing_all(predictor, extras),
            strict=memory is not None,
            held=objects or predictor.border,
            trusted_px=TRUSTED_PX,
        )
    sizes = [case.work_px for case in cases]
    if predictor.ways:
        check_averaging([case.paths[0] for case in cases], sizes, TRUSTED_PX)
    measured = ObjectFiles(target, network, table) if objects else None
    network = network.quickened(sizes, events)
    predictor = network.predictor
    depends = {
        "network": digest(Path(run), predictor.numerics),
        "numerics": predictor.numerics,
        "tile": tile,
        "memory": memory,
        "gate": predictor.gate,
        "also": extras,
        "mask_format": mask_format,
        "settings": network.settings.model_dump(mode="json", exclude={"engine", "precision"}),
    }
    if earlier is not None:
        earlier.check(depends)
    make_folder(target, subject=f"--out {out}")
    for name in extras:
        make_folder(target / name, subject=f"--out {out}")
    with only_prediction(target):
        # Another one may have ended since the first look.
        check_targets(images, list(files.values()), target,
                      overwrite=overwrite, resume=earlier is not None)  # fmt: skip
        end_leases(target)
        finished = earlier or Finished.begin(target, depends)
        left = [case for case in cases if not finished.has(case.file, case.paths)]
        for case in cases if not resume else ():
            discard(case.file)
        tiles = sum(predictor.tiles(case.work_px, case.rule) for case in left)
        events.send("start", images=len(left), numerics=predictor.numerics, tiles=tiles)
        tell_parts(left, memory is not None, events)
        if levels and network.level_shares:
            tell_levels(network.level_shares, events)
        progress = _Progress(events, tiles)
        with ExitStack() as stack:
            others: Workers | None = None
            if spread and left:
                form, threads = table if objects else None, threads_each(workers)
                lease = Lease.begin(Path(os.path.abspath(target)))
                job = Job.of(lease, network, asked, left[0].size, threads, extras, form)
                others = stack.enter_context(
                    connected(workers, scheduler, network, Path(run), job, progress, events)
                )
                others.greet([path for case in left for path in case.paths])
            for case, values in _predicted(
                left, network, extras, measured, depends, progress, others, resume
            ):
                finished.add(case.file, case.paths, values)
                discard(case.file)
        records = [finished.record(case.file) for case in cases]
        _tell(records, network, target, events)
        if measured is not None:
            measured.finish([case.name for case in cases], events)
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
        if measured is not None:
            measured.discard([case.name for case in cases])
        events.send("end", images=len(cases), out=str(target))
        written = [target / PROBABILITIES_NAME / each["probabilities"]
                   for each in records if "probabilities" in each]  # fmt: skip
        return Predictions(target, tuple(case.file for case in cases), tuple(written))


def _predicted(
    cases: Sequence[Case],
    network: OpenedNetwork,
    extras: Sequence[str],
    measured: ObjectFiles | None,
    settings: Mapping[str, Any],
    progress: _Progress,
    others: Workers | None,
    resume: bool,
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Images with their records, as they are finished."""
    if others is not None:
        whole = [case for case in cases if not case.streams]
        yield from others.predict(
            whole, lambda case: network.predictor.tiles(case.work_px, case.rule)
        )
    for case in cases:
        begun = time.monotonic()
        if case.streams and case.fit is not None:
            spread = others.spread if others is not None else None
            values = predict_large(
                case, case.fit, network, settings, measured, progress, resume=resume, spread=spread
            )
        elif others is None:
            values = predict_whole(case, network, extras, measured, progress)
        else:
            continue
        yield case, values | {"elapsed_s": round(time.monotonic() - begun, 3)}


@dataclass
class _Progress:
    """Counts tiles over all images."""

    events: Events
    tiles: int
    done: int = 0

    def ticks(self, name: str) -> Callable[[], None]:
        """What is called after each tile of an image."""
        return lambda: self.add(name, 1)

    def add(self, name: str, tiles: int) -> None:
        """Count tiles of an image that are done."""
        self.done += tiles
        self.events.send("tile", number=self.done, tiles=self.tiles, name=name)

    def skip(self, tiles: int) -> None:
        """Leave out tiles that an earlier process predicted."""
        self.tiles -= tiles

    def busy(self, text: str) -> None:
        """Say what is done between tiles."""
        self.events.send("busy", text=text)


def _needing_all(predictor: Predictor, extras: Sequence[str]) -> list[str]:
    """What was asked for that needs the probabilities of a whole image."""
    found = [f"--{name}" for name in extras if name != OBJECTS_NAME]
    return found + ["--tta"] * bool(predictor.ways)


def _tell(
    records: Sequence[dict[str, Any]], network: OpenedNetwork, target: Path, events: Events
) -> None:
    """Write the tables of all images, and say what a person should look at."""
    warn_one_class(records, events)
    tell_too_large(records, events)
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
