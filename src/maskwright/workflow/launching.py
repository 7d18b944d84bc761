"""From what a person asks of training to one run, folds, or a teacher and a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.errors import ConfigError
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Events
from maskwright.workflow.run import Run

UNLABELLED_NAME = "unlabelled"


def launch(
    data: str | Path,
    out: str | Path,
    *,
    folds: int | None = None,
    unlabelled: str | Path | None = None,
    split: str | Path | None = None,
    plan: str | Path | None = None,
    deterministic: bool = False,
    tensorboard: bool = False,
    settings: Sequence[str] = (),
    resume: bool = False,
    events: Events | None = None,
    **asked: Any,
) -> Run:
    """Train in the way that was asked for.

    Args:
        data: A data set.
        out: Run folder to make.
        folds: See :func:`maskwright.workflow.cross_validation.cross_validate`.
        unlabelled: See :func:`maskwright.workflow.self_training.self_train`.
        split: Which image is for training, validation and test.
        plan: A saved plan, for one run.
        deterministic: Whether the same call gives the same bytes of weights again.
        tensorboard: Whether to write for TensorBoard, for one run.
        settings: ``key=value`` for any field of the configuration.
        resume: Go on with the run in ``out``, in the way in which it was begun.
        events: Where progress is told.
        asked: What :func:`maskwright.workflow.training.train` takes besides.

    Raises:
        ConfigError: ``folds-and-…`` and ``unlabelled-and-…`` for what does not go together.
        MaskwrightError: As these functions do.
    """
    from maskwright.workflow.cross_validation import cross_validate
    from maskwright.workflow.self_training import self_train
    from maskwright.workflow.training import train

    if deterministic:
        settings = (*settings, "train.deterministic=true")
    asked |= {"settings": settings, "resume": resume, "events": events}
    for_one_run = {"plan": plan, "tensorboard": tensorboard or None, "torchrun": _torchrun()}
    going_on = resume and RunFolder(Path(out)).folds.exists()
    if folds is not None or going_on:
        _refuse_both("folds", {"split": split, "unlabelled": unlabelled, **for_one_run})
        return cross_validate(data, out, folds=folds or 2, **asked)
    if unlabelled is not None:
        _refuse_both("unlabelled", for_one_run)
        return self_train(data, out, unlabelled, split=split, **asked)
    beside = Path(data) / UNLABELLED_NAME
    if beside.is_dir() and events is not None:
        events.send(
            "message",
            text=f"There are images without masks in {beside}; --unlabelled {beside} learns from "
            "them too.",
        )
    return train(data, out, split=split, plan=plan, tensorboard=tensorboard, **asked)


def _torchrun() -> int | None:
    """How many processes torchrun started, where it did."""
    from maskwright.train.distributed import started_processes

    count = started_processes()
    return count if count > 1 else None


def _refuse_both(option: str, others: Mapping[str, object]) -> None:
    for other, given in others.items():
        if given is not None:
            name = other if other == "torchrun" else f"--{other}"
            raise ConfigError(
                f"{option}-and-{other}",
                f"--{option} and {name}",
                expected="one of them",
                found="both",
                remedy="leave one out",
            )
