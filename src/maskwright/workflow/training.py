"""From a folder of images and masks to a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from maskwright import geometry
from maskwright.config import RunConfig
from maskwright.data.check import CheckReport
from maskwright.data.labelmap import LabelMap
from maskwright.data.object_target import BORDER_NAME
from maskwright.data.sampler import Source
from maskwright.data.split import Split, write_split
from maskwright.errors import ConfigError
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder
from maskwright.loss_terms import needed_maps
from maskwright.nn.unet import UNet
from maskwright.plan.choice import Plan
from maskwright.plan.machine import Numerics, reuse_memory
from maskwright.progress import EventLog, Events
from maskwright.train.pace import Pace
from maskwright.train.schedule import steps_within
from maskwright.train.trainer import fit, rehearse
from maskwright.workflow.engines import refuse_int8
from maskwright.workflow.fitting import fit_to_data, labels_of_images, settle_intensity
from maskwright.workflow.gating import gate_of
from maskwright.workflow.loading import hash_sources, load_sources
from maskwright.workflow.planning import make_plan, may_slice, read_plan, renewed
from maskwright.workflow.prediction_checks import check_turns
from maskwright.workflow.preparing import Prepared, check, prepare
from maskwright.workflow.rehearsing import (
    ScoringRehearsal,
    build_sampler,
    build_stepper,
    fastest_numerics,
    guessed_scoring_s,
    numerics_sentence,
)
from maskwright.workflow.run import Run
from maskwright.workflow.scoring import score_run
from maskwright.workflow.settings import given_settings, resolve
from maskwright.workflow.splitting import choose_split
from maskwright.workflow.starting import Start, open_start
from maskwright.workflow.validating import Scores, validator

_REHEARSAL_SHARE = 0.02


def train(
    data: str | Path,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    start_from: str | Path | None = None,
    plan: str | Path | Plan | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    split: str | Path | None = None,
    group_by: str | None = None,
    objects: bool | None = None,
    labels: str | None = None,
    image_labels: str | None = None,
    resume: bool = False,
    begun_s: float | None = None,
    events: Events | None = None,
) -> Run:
    """Train a U-Net on a folder of images and masks, score it on held-out images, write a report.

    Args:
        data: Folder with ``images/`` and ``masks/``, one of the other known layouts, or a
            manifest, see :mod:`maskwright.data.manifest`.
        out: Run folder to make.
        minutes: Time for everything, the final scores and the report included; the number of
            steps is corrected while they are made.
        steps: Number of updates instead.
        preset: Named starting point, see :data:`maskwright.nn.presets.PRESETS`; by default
            ``unet``, or the network of ``start_from``.
        start_from: A run whose network and weights to begin with. Its last layers are new where
            the classes differ, its first one is adapted where the channels do.
        plan: A plan, or the file it was saved in, instead of making one.
        settings: ``key=value`` for any field of the configuration; none of them is planned.
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
        begun_s: Reading of ``time.monotonic()`` from which the time counts; by default now.
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
    begun = time.monotonic() if begun_s is None else begun_s
    reuse_memory()
    events = events or Events()
    folder = RunFolder(Path(out))
    going_on = resume and folder.config.exists()
    # A run that goes on has its weights already.
    start = None if start_from is None or going_on else open_start(start_from, preset=preset)
    saved = None if plan is None or going_on else _saved(plan, preset, start)
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
        plan=None if saved is None else saved.config,
    )
    given = given_settings(preset=preset, start=start, settings=settings)
    planned: Plan | None = None
    # Whatever can be refused is refused before the folder is made.
    if going_on:
        folder.check_begun()
        config = folder.read_config()
        events.send(
            "message", text=f"Resuming {out} with its own settings and split; others are not used."
        )
        report = check(data, config, events=events)
        chosen = choose_split(config, report, folder.splits if folder.splits.exists() else split)
        prepared = Prepared(config, config, report, chosen)
    else:
        if resume:
            events.send("message", text=f"Nothing to resume in {out}; starting from the beginning.")
        may = saved is None and may_slice(given, start)
        prepared = prepare(data, settled, split_file=split, may_slice=may, events=events)
        if saved is not None:
            planned = renewed(saved, prepared.fitted, given)
        if start is not None:
            start.check(prepared.fitted, labels_given=bool(prepared.config.data.labels))
    config, report, chosen = prepared.fitted, prepared.report, prepared.split
    gate_of(config.predict, config.data, config.model)
    refuse_int8(config.predict)
    check_turns(config.predict.tta, geometry.axes_of(config.model))
    folder.begin(resume=resume)
    with folder.lock():
        write_split(folder.splits, chosen)
        log = EventLog(folder.events)
        with events.also(log):
            try:
                if not going_on:
                    planned = planned or make_plan(prepared, given, events=events)
                    config = fit_to_data(planned.config, report)
                    write_text(folder.plan, replace(planned, config=config).text())
                    events.send("message", text=planned.sentence())
                return _train(folder, config, prepared, planned, start, begun, events)
            finally:
                log.close()


def _train(
    folder: RunFolder,
    config: RunConfig,
    prepared: Prepared,
    planned: Plan | None,
    start: Start | None,
    begun: float,
    events: Events,
) -> Run:
    """Train as configured; ``planned`` is ``None`` for a run that goes on."""
    report, split, going_on = prepared.report, prepared.split, planned is None
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
    sampler = build_sampler(sources, config)
    numerics, seconds = fastest_numerics(config, sources, sampler, events)
    if seconds:
        events.send("message", text=numerics_sentence(numerics, seconds))
    config = _with(config, layout=numerics.layout, precision=numerics.precision)
    facts = {"data_hash": hash_sources([*sources, *held])}
    validate: Callable[[UNet], Scores] = validator(held, config, numerics)
    pace: Pace | None = None
    if config.train.minutes is not None:
        guess_s = guessed_scoring_s(config, report, len(split.test) or len(split.validation))
        left_s = 60 * config.train.minutes - (time.monotonic() - begun) - guess_s
        pace = _pace(config, left_s, report, split, planned, sources, numerics)
        if config.train.steps is None:
            config = _within(config, pace, events)
        run = Run(folder, config)
        validate = ScoringRehearsal(validate, run, report, split, pace, guess_s)
    stepper = build_stepper(config, sources, numerics)
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
        pace=pace,
    )
    if pace is not None:
        config = _with(config, steps=progress.step)
        folder.write_config(config)
    events.send(
        "message",
        text=f"Trained {progress.step} steps in {progress.elapsed_s / 60:.1f} minutes; best mean "
        f"Dice of the classes on the validation images {progress.best:.3f}.",
    )
    run = Run(folder, config)
    score_run(run, report, split, events=events)
    return run


def _saved(plan: str | Path | Plan, preset: str | None, start: Start | None) -> Plan:
    """The plan that was given, which is all that a preset or another run could say."""
    if preset is None and start is None:
        return plan if isinstance(plan, Plan) else read_plan(plan)
    other = "--from" if preset is None else "--preset"
    raise ConfigError(
        "plan-and-other",
        f"--plan and {other}",
        expected="one of them, as a plan names the whole network",
        found="both",
        remedy=f"leave {other} out, or make a plan with it",
    )


def _with(config: RunConfig, **train: object) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def _pace(
    config: RunConfig,
    left_s: float,
    report: CheckReport,
    split: Split,
    planned: Plan | None,
    sources: Sequence[Source],
    numerics: Numerics,
) -> Pace:
    """The time for training, and what updates and validations are thought to take of it."""
    machine = None if planned is None else planned.machine
    measured = None if machine is None else machine.step_of(config.model.width)
    megapixels = len(split.validation) * report.mean_pixels / 1e6
    each_s = 0.0 if machine is None else machine.predict_s_per_megapixel or 0.0
    if measured is not None:
        step_s = measured.step_s
    elif config.train.steps is not None:
        step_s = left_s / config.train.steps
    else:
        # A saved plan that was made without measuring.
        stepper = build_stepper(config, sources, numerics)
        step_s = rehearse(stepper, build_sampler(sources, config), _REHEARSAL_SHARE * left_s)
    return Pace(max(left_s, 1e-3), max(step_s, 1e-6), each_s * megapixels)


def _within(config: RunConfig, pace: Pace, events: Events) -> RunConfig:
    steps = steps_within(
        pace.training_s,
        step_s=pace.step_s,
        validation_s=pace.validation_s,
        validations=config.train.validations,
        reserve_s=0.0,
    )
    events.send(
        "message",
        text=f"One step takes {pace.step_s:.3f} s and one validation {pace.validation_s:.1f} s; "
        f"{config.train.minutes:g} minutes are about {steps} steps.",
    )
    return _with(config, steps=steps)
