"""k runs on one data set, each holding out another part; together they score every image."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from maskwright.config import RunConfig
from maskwright.data.folding import split_folds
from maskwright.data.split import Split, write_split
from maskwright.errors import ConfigError, RunError
from maskwright.io.durable import make_folder, write_text
from maskwright.io.run_folder import RunFolder
from maskwright.nn.transfer import FOLLOWS_DATA
from maskwright.progress import Event, EventLog, Events
from maskwright.workflow.fold_scores import gather, is_finished
from maskwright.workflow.planning import may_slice
from maskwright.workflow.preparing import check_slices
from maskwright.workflow.reporting import write_report
from maskwright.workflow.run import Run
from maskwright.workflow.settings import DEFAULT_MINUTES, given_settings, resolve
from maskwright.workflow.splitting import refuse_shared
from maskwright.workflow.training import train

_FORMAT = 1
# Kept back for reading all folds and writing the report over them.
_REPORT_S = 3.0
_LEAST_S = 1.0
# A fold with less than this part of its fair share is told.
_SHORT = 0.5
# What later folds take over from the first, so that their networks can be averaged.
_SHARED_TRAIN = (
    "batch",
    "patch_px",
    "loss",
    "optimiser",
    "learning_rate",
    "find_rate",
    "layout",
    "precision",
    "compile",
)


def cross_validate(
    data: str | Path,
    out: str | Path,
    *,
    folds: int = 5,
    minutes: float | None = None,
    steps: int | None = None,
    preset: str | None = None,
    start_from: str | Path | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    group_by: str | None = None,
    objects: bool | None = None,
    labels: str | None = None,
    image_labels: str | None = None,
    resume: bool = False,
    begun_s: float | None = None,
    events: Events | None = None,
) -> Run:
    """Train one network for each fold, and score every image by the one that never saw it.

    ``out/fold_1`` … are ordinary runs whose test part is what the fold holds out. Groups stay
    together. Pixel size, intensities and network of the first fold hold for all, so that
    prediction with ``out`` can average them; the first fold settles them without its own held-out
    images. Images that a manifest keeps for the test take no part.

    Args:
        data: A data set, as :func:`maskwright.workflow.training.train` takes it.
        out: Run folder to make.
        folds: How many, at least two.
        minutes: Time budget of all folds together.
        steps: Number of updates of each fold instead.
        preset: As :func:`~maskwright.workflow.training.train`, as all that follow.
        start_from: A run whose network and weights each fold begins with.
        settings: ``key=value``.
        seed: Seed of the folds and of everything random in them.
        group_by: Regular expression that names what must not be split.
        objects: Whether mask values number objects.
        labels: ``name=value,name=value``.
        image_labels: Where the classes of whole images are written.
        resume: Go on in ``out``: finished folds are kept, an interrupted one goes on, and what was
            asked for at first holds.
        begun_s: Reading of ``time.monotonic()`` from which the time counts; by default now.
        events: Where progress is told.

    Returns:
        The run over all folds.

    Raises:
        DataError: ``folds-groups`` or ``folds-class`` where the images cannot be divided so, and
            whatever ``maskwright check`` refuses.
        ConfigError: ``folds-count``, and for an illegal setting.
        OutputError: When ``out`` is in the way.
        RunError: ``folds-none`` where there are no folds to go on with.
        Interrupted: After Ctrl-C, with everything saved.

    Example:
        ``run = cross_validate("data", "runs/cells", folds=5, minutes=50)``
    """
    begun_s = time.monotonic() if begun_s is None else begun_s
    # What one fold says, the next need not say again; their logs hold everything.
    events = Events([_Once(events or Events())])
    folder = RunFolder(Path(out))
    request: dict[str, Any] = {
        "minutes": minutes,
        "steps": steps,
        "preset": preset,
        "start_from": None if start_from is None else str(start_from),
        "settings": list(settings),
        "seed": seed,
        "group_by": group_by,
        "objects": objects,
        "labels": labels,
        "image_labels": image_labels,
    }
    if resume and folder.folds.exists():
        plan = folder.read_json(folder.folds)
        request, splits = plan["request"], [_split_of(values) for values in plan["folds"]]
        events.send(
            "message",
            text=f"Going on with the {len(splits)} folds of {out}; other settings are not used.",
        )
        folder.begin(resume=True)
    else:
        splits = _divide(data, request, folds, folder, events)
        folder.begin(resume=False)
        plan = {"format": _FORMAT, "request": request, "folds": [asdict(s) for s in splits]}
        write_text(folder.folds, json.dumps(plan, indent=2, ensure_ascii=False) + "\n")
    with folder.lock():
        log = EventLog(folder.events)

        def note(event: Event) -> None:
            # Steps belong to the logs of their folds.
            if event["kind"] in ("stage", "message", "warning"):
                log(event)

        with events.also(note):
            try:
                _train_all(data, folder, request, splits, begun_s, events)
                return _finish(folder, splits, events)
            finally:
                log.close()


def _divide(
    data: str | Path,
    request: Mapping[str, Any],
    folds: int,
    folder: RunFolder,
    events: Events,
) -> list[Split]:
    """The folds of a data set; whatever can be refused is refused here."""
    if folds < 2:
        raise ConfigError(
            "folds-count",
            f"--folds {folds}",
            expected="at least 2",
            found=str(folds),
            remedy="write for example --folds 5, or leave it out for one run",
        )
    if folder.config.exists() and not folder.folds.exists():
        raise RunError(
            "folds-none",
            str(folder.path),
            expected="a new folder, or one with folds to go on with",
            found="a run of one network",
            remedy="choose another --out",
        )
    settled = partial(resolve, **_resolved(request))
    given = given_settings(preset=request["preset"], settings=request["settings"])
    may = request["start_from"] is None and may_slice(given, None)
    config, report, _ = check_slices(data, settled, may_slice=may, events=events)
    used = [case for case in report.cases if case.part != "test"]
    splits = split_folds(
        used,
        count=folds,
        seed=config.train.seed,
        validation_share=config.data.validation_share,
        sequence=report.sequence,
        present=report.present,
        names=report.label_map.names if report.label_map else (),
    )
    for split in splits:
        refuse_shared(split, report, expected="folds that share nothing")
    sizes = ", ".join(str(len(split.test)) for split in splits)
    aside = len(report.cases) - len(used)
    events.send(
        "message",
        text=f"{folds} folds, which hold out {sizes} images; groups stay together."
        + (f" {aside} images that are kept for the test take no part." if aside else ""),
    )
    return list(splits)


def _resolved(request: Mapping[str, Any]) -> dict[str, Any]:
    """What settings follow from, without the run to begin with."""
    values = {key: value for key, value in request.items() if key != "start_from"}
    return {**values, "preset": request["preset"] or "unet"}


def _split_of(values: Mapping[str, Sequence[str]]) -> Split:
    return Split(tuple(values["train"]), tuple(values["validation"]), tuple(values["test"]))


def _train_all(
    data: str | Path,
    folder: RunFolder,
    request: Mapping[str, Any],
    splits: Sequence[Split],
    begun_s: float,
    events: Events,
) -> None:
    """Train whatever folds are not finished, within what is left of the time."""
    left = [n for n in range(1, len(splits) + 1) if not is_finished(folder.fold(n))]
    config = resolve(**_resolved(request))
    minutes = config.train.minutes
    # An interrupted run gets the time of the folds that it did not finish.
    ends_s = begun_s + (minutes or DEFAULT_MINUTES) * 60 * len(left) / len(splits) - _REPORT_S
    make_folder(folder.path / "splits", subject=str(folder.path))
    for place, number in enumerate(left):
        own = folder.fold(number)
        file = folder.path / "splits" / f"fold_{number}.json"
        write_split(file, splits[number - 1])
        settings = list(request["settings"])
        if number > 1:
            settings += _shared(folder.fold(1).read_config())
        if minutes is not None:
            share_s = max((ends_s - time.monotonic()) / (len(left) - place), _LEAST_S)
            if share_s < _SHORT * minutes * 60 / len(splits):
                events.send(
                    "warning",
                    code="folds-short",
                    text=f"Fold {number} has {share_s:.0f} s, as earlier ones took longer than "
                    "their share; raise --minutes.",
                )
            settings.append(f"train.minutes={share_s / 60:.3f}")
        asked = {**request, "minutes": None, "settings": settings}
        events.send("stage", text=f"Fold {number} of {len(splits)}")
        train(data, own.path, split=file, resume=own.path.exists(), events=events, **asked)


def _shared(first: RunConfig) -> list[str]:
    """Settings that make another fold's network fit the first one's."""
    model, data = first.model.model_dump(mode="json"), first.data.model_dump(mode="json")
    train_values = first.train.model_dump(mode="json")
    shared = {f"model.{key}": value for key, value in model.items() if key not in FOLLOWS_DATA}
    shared |= {f"train.{key}": train_values[key] for key in _SHARED_TRAIN}
    shared |= {f"data.{key}": data[key] for key in ("spacing", "slices", "target")}
    if first.data.channel_intensity:
        shared["data.channel_intensity"] = data["channel_intensity"]
    elif first.data.window is None:
        shared["data.intensity"] = "z-score"
    return [f"{key}={json.dumps(value)}" for key, value in shared.items()]


def _finish(folder: RunFolder, splits: Sequence[Split], events: Events) -> Run:
    """Scores of all images, and the report over them."""
    config = gather(folder, splits, events=events)
    run = Run(folder, config)
    path = write_report(run)
    events.send("report", path=str(path), sentence=run.metrics()["folds"]["sentence"])
    return run


class _Once:
    """Passes events on, but not the words that another fold said already.

    Args:
        events: Where to.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Pass one event on."""
        if event["kind"] == "message":
            if event["text"] in self._said:
                return
            self._said.add(event["text"])
        self._events.send(**event)
