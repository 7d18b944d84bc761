"""From what a person asks of training to one run, folds, or a teacher and a student."""

from __future__ import annotations

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
        resume: Go on with the run in ``out``, in the way in which it was begun.
        events: Where progress is told.
        asked: What :func:`maskwright.workflow.training.train` takes besides.

    Raises:
        ConfigError: ``folds-and-split`` or ``folds-and-unlabelled``.
        MaskwrightError: As these functions do.
    """
    from maskwright.workflow.cross_validation import cross_validate
    from maskwright.workflow.self_training import self_train
    from maskwright.workflow.training import train

    going_on = resume and RunFolder(Path(out)).folds.exists()
    if folds is not None or going_on:
        for option, given in (("split", split), ("unlabelled", unlabelled)):
            if given is not None:
                raise ConfigError(
                    f"folds-and-{option}",
                    f"--folds and --{option}",
                    expected="one of them",
                    found="both",
                    remedy="leave one out",
                )
        return cross_validate(data, out, folds=folds or 2, resume=resume, events=events, **asked)
    if unlabelled is not None:
        return self_train(data, out, unlabelled, split=split, resume=resume, events=events, **asked)
    beside = Path(data) / UNLABELLED_NAME
    if beside.is_dir() and events is not None:
        events.send(
            "message",
            text=f"There are images without masks in {beside}; --unlabelled {beside} learns from "
            "them too.",
        )
    return train(data, out, split=split, resume=resume, events=events, **asked)
