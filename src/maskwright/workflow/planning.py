"""A plan for a data set on this machine: what is looked at, what is measured, what is chosen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from maskwright.config import RunConfig
from maskwright.data.labelmap import LabelMap
from maskwright.data.sampler import Source
from maskwright.data.split import Split
from maskwright.errors import RunError
from maskwright.loss_terms import needed_maps
from maskwright.plan.choice import Choice, Plan, parse_plan
from maskwright.plan.fingerprint import names_to_look_at, take_fingerprint
from maskwright.plan.hardware import MachineFacts, StepFacts
from maskwright.plan.machine import (
    Numerics,
    machine_facts,
    peak_bytes,
    reuse_memory,
)
from maskwright.plan.network_choice import Room, next_width, with_width
from maskwright.plan.planner import plan_run
from maskwright.progress import Events
from maskwright.train.trainer import rehearse
from maskwright.workflow.fitting import fit_to_data
from maskwright.workflow.loading import load_sources, patches_of
from maskwright.workflow.preparing import Prepared, prepare
from maskwright.workflow.rehearsing import (
    build_stepper,
    fastest_numerics,
    gain_of,
)
from maskwright.workflow.settings import given_settings, resolve
from maskwright.workflow.starting import Start, open_start
from maskwright.workflow.validating import validator

_REHEARSAL_SHARE = 0.015
_REHEARSAL_MOST_S = 10.0


def plan(
    data: str | Path,
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
    events: Events | None = None,
) -> Plan:
    """What ``train`` would do with a data set on this machine in this time, and why.

    Looks at the data and measures a few updates; nothing is written.

    Args:
        data: Folder or manifest, as for training.
        minutes: Time of the training; 10 by default.
        steps: Number of updates instead; the plan then follows from the data alone.
        preset: Named starting point, whose settings are not the plan's to choose.
        start_from: A run to begin with, whose network is not the plan's to choose.
        settings: ``key=value`` for any field; none of them is the plan's to choose.
        seed: Seed of everything random.
        split: JSON file that says which image is for what.
        group_by: Regular expression that names what must not be split.
        objects: Whether mask values number objects.
        labels: ``name=value,name=value`` in class order, the background first.
        image_labels: Where the class of each whole image is written.
        events: Where progress is told.

    Returns:
        The plan; ``plan.lines()`` are its choices, ``plan.config`` is the configuration.

    Raises:
        DataError: For whatever ``maskwright check`` refuses.
        ConfigError: For an illegal setting.

    Example:
        ``plan("data", minutes=10).lines()``
    """
    reuse_memory()
    events = events or Events()
    start = None if start_from is None else open_start(start_from, preset=preset)
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
    given = given_settings(preset=preset, start=start, settings=settings)
    prepared = prepare(
        data, settled, split_file=split, may_slice=may_slice(given, start), events=events
    )
    return make_plan(prepared, given, events=events)


def may_slice(given: Mapping[str, str], start: Start | None) -> bool:
    """Whether a plan may learn stacks slice by slice: unless it was said, or a run is gone on."""
    return start is None and not {"data.slices", "model.dims"} & set(given)


def make_plan(prepared: Prepared, given: Mapping[str, str], *, events: Events) -> Plan:
    """Look at the data, measure this machine, and plan.

    Without a time nothing is measured, so that the plan follows from the data alone.

    Args:
        prepared: The checked data set and what was asked for.
        given: What is not the plan's to choose, see
            :func:`maskwright.workflow.settings.given_settings`.
        events: Where progress is told.
    """
    events.send("busy", text="Looking at the images")
    sources = _some_sources(prepared)
    config, fitted = prepared.config, prepared.fitted
    # The plan sees the patch as it was asked for, not as the images cut it.
    train = fitted.train.model_copy(update={"patch_px": config.train.patch_px})
    base = fitted.model_copy(update={"train": train})
    facts = take_fingerprint(
        prepared.report,
        prepared.split,
        sources,
        target_mm=base.data.spacing_mm,
        pixel_mm=base.predict.pixel_mm,
    )
    machine = machine_facts()
    planned = plan_run(facts, machine, base, given)
    if base.train.minutes is None:
        return planned
    machine = _measured(planned, prepared, sources, given, events)
    return plan_run(facts, machine, base, given)


def read_plan(file: str | Path) -> Plan:
    """The plan in a file.

    Raises:
        RunError: ``plan-missing``.
        ConfigError: When it is no plan.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            "plan-missing",
            f"--plan {file}",
            expected="a file that `maskwright plan DATA --json` printed, or a run's plan.json",
            found=str(error),
            remedy="make it with `maskwright plan DATA --json > plan.json`",
        ) from error
    return parse_plan(text, subject=f"--plan {file}")


def renewed(plan: Plan, config: RunConfig, given: Mapping[str, str]) -> Plan:
    """A saved plan with what was set beside it.

    Args:
        plan: The saved plan.
        config: Its configuration with the settings.
        given: What was set, and with what.
    """
    choices = [choice for choice in plan.choices if choice.name not in given]
    values = config.model_dump(mode="json")
    for path, by in given.items():
        section, *inner = path.split(".")
        value = values[section]
        for name in inner:
            value = value[name]
        choices.append(Choice(path, value, f"It was set with {by}.", "Leaving it out."))
    steps = config.train.steps
    if steps is None and config.train.minutes == plan.config.train.minutes:
        steps = plan.steps
    return replace(plan, config=config, choices=tuple(choices), steps=steps)


def _some_sources(prepared: Prepared) -> list[Source]:
    report, fitted = prepared.report, prepared.fitted
    label_map = LabelMap.from_config(fitted.data)
    numbered = label_map.kind == "objects" or "border_map" in needed_maps(fitted.train.loss)
    return load_sources(
        report.cases,
        names_to_look_at(prepared.split.train, report),
        label_map,
        fitted.model.channels,
        data=fitted.data.model_copy(update={"target": "classes"}),
        numbered=numbered,
        target_mm=fitted.data.spacing_mm,
        pixel_mm=fitted.predict.pixel_mm,
    )


def _measured(
    planned: Plan,
    prepared: Prepared,
    sources: Sequence[Source],
    given: Mapping[str, str],
    events: Events,
) -> MachineFacts:
    """The machine with what updates and predictions of the planned network take."""
    facts, machine = planned.facts, planned.machine
    if facts is None or machine is None:
        return MachineFacts()
    config = fit_to_data(planned.config, prepared.report)
    sampler = patches_of(sources, config)
    numerics, seconds = fastest_numerics(config, sources, sampler, events)
    if seconds:
        machine = replace(
            machine,
            layout=numerics.layout,
            precision=numerics.precision,
            gain=round(gain_of(numerics, seconds), 2),
        )
    minutes = config.train.minutes or 0.0
    rehearsal_s = min(_REHEARSAL_MOST_S, _REHEARSAL_SHARE * 60 * minutes)
    while (width := next_width(Room(facts, machine), config, given)) is not None:
        events.send("busy", text=f"Measuring updates of width {width}")
        before = peak_bytes()
        stepper = build_stepper(with_width(config, width), sources, numerics)
        step_s = rehearse(stepper, sampler, rehearsal_s)
        memory = max(0, peak_bytes() - before)
        machine = replace(machine, steps=(*machine.steps, StepFacts(width, step_s, memory)))
    each_s = _prediction_s(config, prepared.split, sources, numerics)
    return replace(machine, predict_s_per_megapixel=each_s)


def _prediction_s(
    config: RunConfig, split: Split, sources: Sequence[Source], numerics: Numerics
) -> float | None:
    """Seconds to predict and score a megapixel of validation images."""
    if not split.validation:
        return None
    source = min(sources, key=lambda s: s.classes_YX.size)
    validate = validator([source], config, numerics)
    network = build_stepper(config, [source], numerics).average
    begun = time.perf_counter()
    validate(network)
    return (time.perf_counter() - begun) / source.classes_YX.size * 1e6
