"""From a folder of images and masks to a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from maskwright import geometry
from maskwright.config import RunConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.choices import as_note
from maskwright.data.image_labels import CONTAINS, contained_class
from maskwright.data.labels import LabelMap
from maskwright.data.object_target import BORDER_NAME
from maskwright.data.sampler import PatchSampler, Source
from maskwright.data.split import Split, write_split
from maskwright.errors import ConfigError
from maskwright.io.run_folder import RunFolder
from maskwright.loss_terms import needed_maps
from maskwright.nn.unet import UNet, build_unet
from maskwright.plan.machine import Numerics, candidates, fastest, reuse_memory
from maskwright.progress import EventLog, Events
from maskwright.train.schedule import steps_within
from maskwright.train.stepper import Stepper
from maskwright.train.trainer import fit, rehearse
from maskwright.workflow.engines import refuse_int8
from maskwright.workflow.fitting import (
    fit_to_data,
    labels_of_images,
    settle_intensity,
    settle_spacing,
)
from maskwright.workflow.gating import gate_of
from maskwright.workflow.loading import hash_sources, load_sources, patches_of
from maskwright.workflow.prediction_checks import check_turns
from maskwright.workflow.run import Run
from maskwright.workflow.scoring import score_run
from maskwright.workflow.settings import resolve
from maskwright.workflow.splitting import choose_split
from maskwright.workflow.starting import Start, open_start
from maskwright.workflow.validating import validator

_REHEARSAL_SHARE = 0.02
_REHEARSAL_MOST_S = 10.0
# Kept back from the budget for the final scores, baselines, overlays and the report; measured.
_SCORING_S = 3.0
_SCORING_S_PER_MEGAPIXEL = 2.0
_PARTITION_S_PER_MEGAPIXEL = 5.0


def train(
    data: str | Path,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    start_from: str | Path | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    split: str | Path | None = None,
    group_by: str | None = None,
    objects: bool | None = None,
    labels: str | None = None,
    image_labels: str | None = None,
    resume: bool = False,
    events: Events | None = None,
) -> Run:
    """Train a U-Net on a folder of images and masks, score it on held-out images, write a report.

    Args:
        data: Folder with ``images/`` and ``masks/``, one of the other known layouts, or a
            manifest, see :mod:`maskwright.data.manifest`.
        out: Run folder to make.
        minutes: Time budget; the number of steps follows from the measured time of one.
        steps: Number of updates instead.
        preset: Named starting point, see :data:`maskwright.nn.presets.PRESETS`; by default
            ``unet``, or the network of ``start_from``.
        start_from: A run whose network and weights to begin with. Its last layers are new where
            the classes differ, its first one is adapted where the channels do.
        settings: ``key=value`` for any field of the configuration.
        seed: Seed of everything random.
        split: JSON file that says which image is for training, validation and test; by default
            the column ``split`` of a manifest, else drawn.
        group_by: Regular expression that names what must not be split, such as a patient.
        objects: Whether mask values number objects; recognised by default.
        labels: ``name=value,name=value`` in class order, the background first.
        image_labels: A CSV file with the columns ``image`` and ``label``, or ``contains:NAME``: the
            network then also learns to say the class of the whole image. By default the column
            ``image_label`` of a manifest, where there is one; ``none`` leaves it out.
        resume: Go on with the run in ``out``; its own configuration and split hold.
        events: Where progress is told.

    Returns:
        The finished run.

    Raises:
        DataError: For whatever ``maskwright check`` refuses.
        ConfigError: For an illegal setting.
        OutputError: When ``out`` is in the way.
        TrainingError: When loss or gradient is not finite.
        Interrupted: After Ctrl-C, with everything saved.

    Example:
        ``run = train("data", "runs/cells", minutes=10)``
    """
    begun = time.monotonic()
    reuse_memory()
    events = events or Events()
    folder = RunFolder(Path(out))
    going_on = resume and folder.config.exists()
    # A run that goes on has its weights already.
    start = None if start_from is None or going_on else open_start(start_from, preset=preset)
    settled = partial(
        resolve,
        preset=preset or "unet",
        start=start,
        minutes=minutes,
        steps=steps,
        seed=seed,
        group_by=group_by,
        objects=objects,
        labels=labels,
        image_labels=image_labels,
        settings=settings,
    )
    config = settled()
    if going_on:
        folder.check_begun()
        config = folder.read_config()
        events.send(
            "message", text=f"Resuming {out} with its own settings and split; others are not used."
        )
    elif resume:
        events.send("message", text=f"Nothing to resume in {out}; starting from the beginning.")
    report = check(data, config, events=events)
    # Whatever can be refused is refused before the folder is made.
    chosen = choose_split(folder, config, report, split, going_on)
    if not going_on:
        labels_given = bool(config.data.labels)
        config, told = settle_spacing(settled(dims=report.dims), report, chosen)
        if told and as_note(told) not in report.notes:
            events.send("message", text=told)
        config = fit_to_data(config, report)
        if start is not None:
            start.check(config, labels_given=labels_given)
    gate_of(config.predict, config.data, config.model)
    refuse_int8(config.predict)
    check_turns(config.predict.tta, geometry.axes_of(config.model))
    folder.begin(resume=resume)
    with folder.lock():
        write_split(folder.splits, chosen)
        log = EventLog(folder.events)
        with events.also(log):
            try:
                return _train(folder, config, report, chosen, start, going_on, begun, events)
            finally:
                log.close()


def check(data: str | Path, config: RunConfig, *, events: Events) -> CheckReport:
    """Check a data set, telling progress and findings; refuse what cannot be trained on."""

    def on_case(number: int, of: int, name: str) -> None:
        events.send("reading", number=number, images=of, name=name)

    report = check_dataset(Path(data), config.data, patch_px=config.train.patch_px, on_case=on_case)
    report.raise_if_refused()
    for line in report.lines():
        events.send("message", text=line)
    return report


def _train(
    folder: RunFolder,
    config: RunConfig,
    report: CheckReport,
    split: Split,
    start: Start | None,
    going_on: bool,
    begun: float,
    events: Events,
) -> Run:
    label_map = LabelMap.from_config(config.data)
    of_images = labels_of_images(config.data, report)
    load = partial(
        load_sources,
        report.cases,
        label_map=label_map,
        channels=config.model.channels,
        data=config.data,
        label_of=of_images.label_of if of_images else {},
    )
    names = (*label_map.names, *([BORDER_NAME] if config.data.target == "border" else []))
    numbered = "border_map" in needed_maps(config.train.loss)
    sources = load(
        split.train,
        numbered=numbered,
        target_mm=config.data.spacing_mm,
        pixel_mm=config.predict.pixel_mm,
    )
    held = load(split.validation, pixel_mm=config.predict.pixel_mm)
    if not going_on:
        config, sources, told = settle_intensity(config, report, sources)
        if told:
            events.send("message", text=told)
    sampler = patches_of(sources, config)
    events.send("busy", text="Measuring number formats")
    options = candidates(config.train.layout, config.train.precision)
    pixels = _pixels_per_class(sources, len(names))
    make = partial(_stepper, config, pixels)
    numerics, seconds = fastest(options, lambda option: _rehearsed_step(make(option), sampler))
    for name, value in seconds.items():
        events.send("measured", numerics=name, step_s=round(value, 4))
    events.send("message", text=_numerics_sentence(numerics, seconds))
    validate = validator(held, config, numerics)
    if config.train.steps is None:
        mean = report.mean_pixels / 1e6
        config = _plan_steps(config, make(numerics), sampler, validate, split, mean, begun, events)
    config = _with(config, layout=numerics.layout, precision=numerics.precision)
    stepper = make(numerics)
    facts = {"data_hash": hash_sources([*sources, *held])}
    if start is not None:
        start.give(stepper, config, folder, facts, events)
    folder.write_config(config)
    progress = fit(
        stepper,
        sampler,
        total_steps=config.train.steps or 1,
        names=names,
        folder=folder.path,
        facts=facts,
        validate=validate,
        events=events,
        resume=going_on,
    )
    events.send(
        "message",
        text=f"Trained {progress.step} steps in {progress.elapsed_s / 60:.1f} minutes; best mean "
        f"Dice of the classes on the validation images {progress.best:.3f}.",
    )
    run = Run(folder, config)
    score_run(run, report, split, events=events)
    return run


def _with(config: RunConfig, **train: object) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def _pixels_per_class(sources: Sequence[Source], classes: int) -> tuple[int, ...]:
    counts_NK = [np.bincount(s.classes_YX.ravel(), minlength=classes)[:classes] for s in sources]
    return tuple(int(n) for n in np.sum(counts_NK, axis=0))


def _stepper(config: RunConfig, pixels: Sequence[int], numerics: Numerics) -> Stepper:
    """A network with fresh weights, ready for its first update."""
    source, contained = config.data.image_labels, None
    if source.startswith(CONTAINS):
        contained = contained_class(source, [name for name, _ in config.data.labels])
    return Stepper(
        build_unet(config.model, seed=config.train.seed),
        config.train,
        numerics.layout,
        numerics.precision,
        pixels_per_class=pixels,
        contained=contained,
    )


def _rehearsed_step(stepper: Stepper, sampler: PatchSampler) -> Callable[[], None]:
    image, target = stepper.prepare(sampler.draw(0), 0)
    return lambda: _discard(stepper.update(image, target, 0, 1e-6))


def _discard(_: object) -> None:
    """A step that is only timed returns nothing."""


def _numerics_sentence(numerics: Numerics, seconds: Mapping[str, float]) -> str:
    if not seconds:
        return f"Convolutions run as {numerics}, as asked for."
    plain = seconds.get("contiguous float32")
    gain = f", {plain / seconds[str(numerics)]:.1f} times as fast as plain float32" if plain else ""
    return f"Convolutions run as {numerics}: fastest here in a few measured steps{gain}."


def _plan_steps(
    config: RunConfig,
    stepper: Stepper,
    sampler: PatchSampler,
    validate: Callable[[UNet], dict[str, tuple[float, ...]]],
    split: Split,
    mean_megapixels: float,
    begun: float,
    events: Events,
) -> RunConfig:
    minutes = config.train.minutes
    if minutes is None:
        raise ConfigError(
            "config-no-budget",
            "train",
            expected="--minutes or --steps",
            found="neither",
            remedy="add --minutes 10",
        )
    events.send("busy", text="Measuring a step")
    start = time.monotonic()
    validate(stepper.average)
    validation_s = time.monotonic() - start
    seconds = min(_REHEARSAL_MOST_S, _REHEARSAL_SHARE * minutes * 60)
    step_s = rehearse(stepper, sampler, seconds)
    images = max(1, len(split.test) or len(split.validation))
    each_s = _SCORING_S_PER_MEGAPIXEL
    if "partition" in config.evaluate.measures:
        each_s += _PARTITION_S_PER_MEGAPIXEL
    reserve_s = _SCORING_S + each_s * images * mean_megapixels
    steps = steps_within(
        minutes * 60 - (time.monotonic() - begun),
        step_s=step_s,
        validation_s=validation_s,
        validations=config.train.validations,
        reserve_s=reserve_s,
    )
    events.send(
        "message",
        text=f"One step takes {step_s:.3f} s and one validation {validation_s:.1f} s; "
        f"{minutes:g} minutes are {steps} steps.",
    )
    return _with(config, steps=steps)
