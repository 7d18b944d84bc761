"""One network learns from prepared images, within a time where there is one, and is scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from maskwright.config import RunConfig
from maskwright.data.check import CheckReport
from maskwright.data.labelmap import LabelMap
from maskwright.data.object_target import BORDER_NAME
from maskwright.data.sampler import Source
from maskwright.data.source_cache import SourceCache
from maskwright.data.split import Split
from maskwright.io.run_folder import RunFolder
from maskwright.loss_terms import needed_maps
from maskwright.nn.ranks import Ranks
from maskwright.nn.unet import UNet
from maskwright.plan.choice import Plan
from maskwright.plan.machine import Numerics
from maskwright.progress import Events
from maskwright.train.board import Board
from maskwright.train.distributed import members
from maskwright.train.pace import Pace
from maskwright.train.schedule import steps_within
from maskwright.train.trainer import fit, rehearse
from maskwright.workflow.fitting import labels_of_images, settle_intensity
from maskwright.workflow.loading import hash_sources, load_sources, patches_of
from maskwright.workflow.preparing import Prepared
from maskwright.workflow.processes import cache_sentence
from maskwright.workflow.rate import settle_rate
from maskwright.workflow.rehearsing import (
    ScoringRehearsal,
    build_stepper,
    fastest_numerics,
    guessed_scoring_s,
    numerics_sentence,
)
from maskwright.workflow.run import Run
from maskwright.workflow.scoring import score_run
from maskwright.workflow.starting import Start
from maskwright.workflow.validating import Scores, validator

_REHEARSAL_SHARE = 0.02


def learn(
    folder: RunFolder,
    config: RunConfig,
    prepared: Prepared,
    *,
    planned: Plan | None,
    start: Start | None,
    begun_s: float,
    cache: SourceCache,
    board: Board | None,
    events: Events,
) -> Run:
    """Train as configured, and score the network.

    Args:
        folder: The run folder, made and locked.
        config: The configuration.
        prepared: The checked data set and its split.
        planned: The plan behind the configuration; ``None`` for a run that goes on.
        start: The run whose weights to begin with.
        begun_s: Reading of ``time.monotonic()`` from which the time counts.
        cache: What holds the training images.
        board: TensorBoard's files, where asked for.
        events: Where progress is told.

    Returns:
        The finished run, which the first process scored.
    """
    ranks = members()
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
        cache=cache,
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
    if cache.written:
        events.send("message", text=cache_sentence(cache))
    sampler = patches_of(sources, config, part=(ranks.rank, ranks.count))
    numerics, seconds = fastest_numerics(config, sources, sampler, events)
    numerics = Numerics(**ranks.share(asdict(numerics)))
    if seconds:
        events.send("message", text=numerics_sentence(numerics, seconds))
    config = _with(
        config, layout=numerics.layout, precision=numerics.precision, compile=numerics.compiled
    )
    facts = {"data_hash": hash_sources([*sources, *held])}
    if config.train.find_rate and not going_on:
        spare = build_stepper(config, sources, numerics, ranks=ranks)
        config = settle_rate(config, spare, sampler, events)
    validate: Callable[[UNet], Scores] = validator(
        held, config, numerics, ranks=ranks, show=None if board is None else board.picture
    )
    pace: Pace | None = None
    if config.train.minutes is not None:
        guess_s = guessed_scoring_s(config, report, len(split.test) or len(split.validation))
        left_s = 60 * config.train.minutes - (time.monotonic() - begun_s) - guess_s
        pace = _pace(config, left_s, report, split, planned, sources, numerics, ranks)
        if config.train.steps is None:
            config = _within(config, pace, ranks, events)
        if ranks.first:
            run = Run(folder, config)
            validate = ScoringRehearsal(validate, run, report, split, pace, guess_s)
    stepper = build_stepper(config, sources, numerics, ranks=ranks)
    if start is not None:
        start.give(stepper, config, folder, facts, events)
    if ranks.first:
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
        if ranks.first:
            folder.write_config(config)
    events.send(
        "message",
        text=f"Trained {progress.step} steps in {progress.elapsed_s / 60:.1f} minutes; best mean "
        f"Dice of the classes on the validation images {progress.best:.3f}.",
    )
    run = Run(folder, config)
    if ranks.first:
        run = score_run(run, report, split, events=events)
    return run


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
    ranks: Ranks,
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
        stepper = build_stepper(config, sources, numerics, ranks=ranks)
        sampler = patches_of(sources, config, part=(ranks.rank, ranks.count))
        step_s = rehearse(stepper, sampler, _REHEARSAL_SHARE * left_s)
    return Pace(max(left_s, 1e-3), max(step_s, 1e-6), each_s * megapixels)


def _within(config: RunConfig, pace: Pace, ranks: Ranks, events: Events) -> RunConfig:
    fitting = steps_within(
        pace.training_s,
        step_s=pace.step_s,
        validation_s=pace.validation_s,
        validations=config.train.validation_count,
        reserve_s=0.0,
    )
    steps: int = ranks.share(fitting)
    events.send(
        "message",
        text=f"One step takes {pace.step_s:.3f} s and one validation {pace.validation_s:.1f} s; "
        f"{config.train.minutes:g} minutes are about {steps} steps.",
    )
    return _with(config, steps=steps)
