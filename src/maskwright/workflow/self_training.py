"""Training that also learns from images without masks: a teacher draws them, a student learns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from maskwright.data.check import CheckReport
from maskwright.data.files import find_images, group_channels
from maskwright.data.split import Split
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Event, EventLog, Events
from maskwright.workflow.fold_scores import is_finished
from maskwright.workflow.opening import open_network
from maskwright.workflow.planning import may_slice
from maskwright.workflow.preparing import check_slices
from maskwright.workflow.pseudo_labels import (
    PseudoLabels,
    check_layout,
    draw_pseudo_labels,
    read_pseudo_labels,
)
from maskwright.workflow.reporting import PSEUDO_LABELS, write_report
from maskwright.workflow.run import Run, open_run
from maskwright.workflow.settings import given_settings, resolve
from maskwright.workflow.training import train

TEACHER_NAME = "teacher"
_TEACHER_SHARE = 0.5
_LEAST_S = 1.0


def self_train(
    data: str | Path,
    out: str | Path,
    unlabelled: str | Path,
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
    begun_s: float | None = None,
    events: Events | None = None,
) -> Run:
    """Train a teacher, let it draw masks for images without any, and train on from its weights.

    ``out/teacher`` is an ordinary run in half of the time. Its masks, where it expects at least
    ``train.pseudo_dice`` of Dice of them, join the training images in ``out/pseudo_labels``;
    pixels that it is not sure of do not count, where masks hold plain numbers. Validation and
    test images are the teacher's and annotated by people alone.

    Args:
        data: The annotated images, as :func:`maskwright.workflow.training.train` takes them.
        out: Run folder to make.
        unlabelled: Folder of images without masks, a file or a pattern.
        minutes: Time budget of everything.
        steps: Number of updates of teacher and student each, instead.
        preset: As :func:`~maskwright.workflow.training.train`, as all that follow.
        start_from: A run whose network and weights the teacher begins with.
        settings: ``key=value``.
        seed: Seed of everything random.
        split: Which image is for training, validation and test.
        group_by: Regular expression that names what must not be split.
        objects: Whether mask values number objects.
        labels: ``name=value,name=value``.
        image_labels: Where the classes of whole images are written.
        resume: Go on in ``out``.
        begun_s: Reading of ``time.monotonic()`` from which the time counts; by default now.
        events: Where progress is told.

    Returns:
        The student's run.

    Raises:
        DataError: ``input-missing`` or ``input-empty`` without such images, and as
            :func:`~maskwright.workflow.training.train`.
        ConfigError: ``unlabelled-layout`` for slices of stacks and masks in a file for each object.
        Interrupted: After Ctrl-C, with everything saved.

    Example:
        ``run = self_train("data", "runs/cells", "data/unlabelled", minutes=20)``
    """
    begun_s = time.monotonic() if begun_s is None else begun_s
    events = events or Events()
    folder = RunFolder(Path(out))
    images = find_images([unlabelled])
    settled = partial(
        resolve,
        preset=preset or "unet",
        minutes=minutes,
        steps=steps,
        seed=seed,
        group_by=group_by,
        objects=objects,
        labels=labels,
        image_labels=image_labels,
        settings=settings,
    )
    may = start_from is None and may_slice(given_settings(preset=preset, settings=settings), None)
    # What is found of the data is told when the teacher learns.
    progress = Events([lambda event: _only_progress(event, events)])
    config, report, _ = check_slices(data, settled, may_slice=may, events=progress)
    check_layout(report)
    first = config.train
    folder.begin(resume=resume)
    teacher = RunFolder(folder.path / TEACHER_NAME)
    if not is_finished(teacher):
        own = list(settings)
        if first.minutes is not None:
            own.append(f"train.minutes={first.minutes * _TEACHER_SHARE}")
        events.send("stage", text="Teacher: learns from the annotated images")
        train(
            data,
            teacher.path,
            steps=steps,
            preset=preset,
            start_from=start_from,
            settings=own,
            seed=seed,
            split=split,
            group_by=group_by,
            objects=objects,
            labels=labels,
            image_labels=image_labels,
            resume=teacher.path.exists(),
            events=events,
        )
    drawn = _drawn(report, folder, teacher, images, group_by, events)
    text = _sentence(drawn, open_run(teacher.path).config.train.pseudo_dice)
    events.send("stage", text="Student: learns from the teacher's masks too")
    events.send("message", text=text)
    config = teacher.read_config()
    own = [*settings, f"data.mask_kind={config.data.mask_kind}"]
    if drawn.ignore is not None:
        own.append(f"data.ignore={drawn.ignore}")
    if first.minutes is not None:
        left_s = first.minutes * 60 - (time.monotonic() - begun_s)
        own.append(f"train.minutes={max(left_s, _LEAST_S) / 60:.3f}")
    run = train(
        drawn.manifest,
        folder.path,
        steps=steps,
        start_from=teacher.path,
        settings=own,
        seed=seed,
        labels=",".join(f"{name}={value}" for name, value in config.data.labels),
        image_labels=image_labels,
        resume=True,
        events=events,
    )
    log = EventLog(folder.events)
    with events.also(log):
        events.send("message", text=text)
    log.close()
    write_report(run)
    return run


def _only_progress(event: Event, events: Events) -> None:
    if event["kind"] == "reading":
        events.send(**event)


def _drawn(
    report: CheckReport,
    folder: RunFolder,
    teacher: RunFolder,
    images: Sequence[Path],
    group_by: str | None,
    events: Events,
) -> PseudoLabels:
    network = open_network(teacher.path)
    drawn = read_pseudo_labels(folder.pseudo, network.labels)
    if drawn is not None:
        return drawn
    config = teacher.read_config()
    parts = teacher.read_json(teacher.splits)
    return draw_pseudo_labels(
        group_channels(images, network.predictor.channels),
        network,
        report,
        Split(tuple(parts["train"]), tuple(parts["validation"]), tuple(parts["test"])),
        folder.pseudo,
        least_dice=config.train.pseudo_dice,
        group_by=group_by,
        events=events,
    )


def _sentence(drawn: PseudoLabels, least_dice: float) -> str:
    return (
        f"{PSEUDO_LABELS} {drawn.used} of {len(drawn.rows)} images without masks are learnt from, "
        f"with masks of which the teacher expects a Dice of at least {least_dice:g}; none of them "
        "is used for validation or test."
    )
