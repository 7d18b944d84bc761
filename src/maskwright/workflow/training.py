"""From a folder of images and masks to a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from maskwright import geometry
from maskwright.data.split import write_split
from maskwright.errors import ConfigError
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder
from maskwright.nn.ranks import Ranks
from maskwright.plan.choice import Plan, parse_plan
from maskwright.plan.machine import repeatable, reuse_memory
from maskwright.progress import Events
from maskwright.train.board import check_board
from maskwright.train.distributed import check_parts, in_parts, joined, members
from maskwright.workflow.engines import refuse_int8
from maskwright.workflow.fitting import fit_to_data
from maskwright.workflow.gating import gate_of
from maskwright.workflow.learning import learn
from maskwright.workflow.planning import make_plan, may_slice, read_plan, renewed
from maskwright.workflow.prediction_checks import check_turns
from maskwright.workflow.preparing import Prepared, check, prepare
from maskwright.workflow.processes import (
    one_writer,
    repeatable_sentence,
    settle_repeatable,
    training_cache,
)
from maskwright.workflow.run import Run
from maskwright.workflow.settings import given_settings, resolve
from maskwright.workflow.splitting import choose_split
from maskwright.workflow.starting import Start, open_start


@joined()
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
    deterministic: bool = False,
    tensorboard: bool = False,
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
        deterministic: Whether the same call gives the same bytes of weights again; it needs
            ``steps``.
        tensorboard: Whether to write curves and pictures for TensorBoard into the run.
        resume: Go on with the run in ``out``; its own configuration and split hold.
        begun_s: Reading of ``time.monotonic()`` from which the time counts; by default now.
        events: Where progress is told.

    Returns:
        The finished run. Where torchrun started several processes, they train it together, and
        the first one scores it.

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
    ranks = members()
    events = (events or Events()) if ranks.first else Events()
    if tensorboard:
        check_board()
    if deterministic:
        settings = (*settings, "train.deterministic=true")
    folder = RunFolder(Path(out))
    going_on = ranks.share(resume and folder.config.exists())
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
        prepared = replace(prepared, fitted=settle_repeatable(prepared.fitted))
        if saved is not None:
            planned = renewed(saved, prepared.fitted, given)
        if start is not None:
            start.check(prepared.fitted, labels_given=bool(prepared.config.data.labels))
    config = prepared.fitted
    gate_of(config.predict, config.data, config.model)
    refuse_int8(config.predict)
    check_turns(config.predict.tta, geometry.axes_of(config.model))
    check_parts(config.train, ranks)
    with one_writer(folder, ranks, events, resume=resume, tensorboard=tensorboard) as files:
        if ranks.first:
            write_split(folder.splits, prepared.split)
        if config.train.deterministic:
            events.send("message", text=repeatable_sentence())
        if not going_on:
            planned = _planned(planned, prepared, given, ranks, events)
            config = planned.config
            if ranks.first:
                write_text(folder.plan, planned.text())
            events.send("message", text=planned.sentence())
        with repeatable(config.train.deterministic), training_cache(config, folder, ranks) as cache:
            return learn(
                folder,
                config,
                prepared,
                planned=planned,
                start=start,
                begun_s=begun,
                cache=cache,
                board=files.board,
                events=events,
            )


def _planned(
    saved: Plan | None, prepared: Prepared, given: Mapping[str, str], ranks: Ranks, events: Events
) -> Plan:
    """The plan that all processes follow; the first one measures and makes it."""
    text = ""
    if ranks.first:
        found = saved or make_plan(prepared, given, events=events)
        train = in_parts(found.config.train, ranks)
        config = found.config.model_copy(update={"train": train})
        text = replace(found, config=fit_to_data(config, prepared.report)).text()
    return parse_plan(ranks.share(text), subject="plan.json")


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
