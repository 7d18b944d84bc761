"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maskwright.data.sampler import PatchSampler, Prefetch
from maskwright.errors import Interrupted, RunError, TrainingError
from maskwright.nn.checkpoint import (
    State,
    read_checkpoint,
    write_checkpoint,
    write_model,
    write_snapshot,
)
from maskwright.nn.unet import UNet
from maskwright.progress import Events
from maskwright.train.diagnosis import Validation, diagnose
from maskwright.train.schedule import is_exhausted, learning_rate, validation_steps
from maskwright.train.signals import stop_requests
from maskwright.train.stepper import Stepper, StepResult

_CHECKPOINT_EVERY_S = 30.0


@dataclass
class Progress:
    """How far a run is.

    Args:
        step: Finished updates.
        total_steps: Updates of the whole run.
        best: Best mean Dice of a validation so far.
        history: All validations.
        said: Codes of the findings already told.
        elapsed_s: Training time of this run, interruptions not counted.
    """

    total_steps: int
    step: int = 0
    best: float = -1.0
    history: list[Validation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    def is_exhausted(self, patience: int) -> bool:
        """Whether the newest validations brought nothing new, see :func:`is_exhausted`."""
        return is_exhausted([entry.dice for entry in self.history], patience)

    def to_facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> Progress:
        """From what :meth:`to_facts` gave."""
        known = {k: facts[k] for k in ("total_steps", "step", "best", "said", "elapsed_s")}
        history = [Validation.from_facts(entry) for entry in facts["history"]]
        return Progress(**known, history=history)


def rehearse(stepper: Stepper, sampler: PatchSampler, seconds: float, least: int = 5) -> float:
    """Seconds of one update, sampling and augmentation included; the stepper is spent after it.

    Args:
        stepper: A stepper made for this purpose.
        sampler: The training patches.
        seconds: How long to measure.
        least: Counted updates at least.
    """
    times: list[float] = []
    begun = time.perf_counter()
    with Prefetch(sampler) as batches:
        step = 0
        while len(times) < least or time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            image, target = stepper.prepare(batches.take(step), step)
            stepper.update(image, target, step, stepper.config.learning_rate * 0.01)
            step += 1
            if step > 2:
                times.append(time.perf_counter() - start)
    return sum(times) / len(times)


def fit(
    stepper: Stepper,
    sampler: PatchSampler,
    *,
    total_steps: int,
    names: Sequence[str],
    folder: Path,
    facts: Mapping[str, Any],
    validate: Callable[[UNet], Mapping[str, tuple[float, ...]]],
    events: Events,
    resume: bool = False,
) -> Progress:
    """Train, validate, keep the best and the last.

    Args:
        stepper: Network and optimiser.
        sampler: Training patches.
        total_steps: Updates of the whole run; a resumed run keeps its own number.
        names: Class names.
        folder: The run folder; ``model.safetensors`` and ``checkpoints/`` are written there.
        facts: Written beside the weights; ``data_hash`` guards a resume.
        validate: Predicts the validation images with a network and returns ``class_dice``,
            ``predicted_share`` and ``truth_share``, and ``image_accuracy`` where they have labels.
        events: Where progress is told.
        resume: Go on from the newest checkpoint if there is one.

    Raises:
        TrainingError: When loss or gradient is not finite.
        Interrupted: After Ctrl-C or a termination signal, with everything saved.
        RunError: When the data changed since the checkpoint.
    """
    progress = Progress(total_steps)
    if resume:
        progress = _restore(stepper, folder, facts, total_steps, events)
    checkpoints = folder / "checkpoints"
    due = validation_steps(progress.total_steps, stepper.config.validations)
    since: list[StepResult] = []
    events.send("start", step=progress.step, total_steps=progress.total_steps)

    def save() -> None:
        write_checkpoint(checkpoints, State(stepper.state(), {**facts, **progress.to_facts()}))
        events.send("checkpoint", step=progress.step)

    before = progress.elapsed_s
    patience = stepper.config.patience
    begun = saved = time.monotonic()
    with Prefetch(sampler) as batches, stop_requests() as stop:
        while progress.step < progress.total_steps and not progress.is_exhausted(patience):
            step, now = progress.step, time.monotonic()
            patches = batches.take(step)
            waited_s = time.monotonic() - now
            image, target = stepper.prepare(patches, step)
            rate = learning_rate(
                step,
                progress.total_steps,
                stepper.config.learning_rate,
                stepper.config.warmup_share,
            )
            try:
                result = stepper.update(image, target, step, rate)
            except TrainingError as error:
                events.send("warning", code=error.code, text=f"{error} Files: {patches.names}")
                raise
            since.append(result)
            progress.step += 1
            progress.elapsed_s = before + time.monotonic() - begun
            events.send(
                "step",
                step=progress.step,
                total_steps=progress.total_steps,
                loss=round(result.loss, 6),
                dice=round(result.dice, 6),
                rate=rate,
                waited_s=round(waited_s, 6),
                elapsed_s=round(progress.elapsed_s, 3),
            )
            if progress.step in due:
                _validate(stepper, progress, since, names, folder, facts, validate, events)
                since = []
            ended = progress.step in due or progress.step == progress.total_steps
            if ended or stop.signal_number or time.monotonic() - saved > _CHECKPOINT_EVERY_S:
                progress.elapsed_s = before + time.monotonic() - begun
                save()
                saved = time.monotonic()
            if stop.signal_number and progress.step < progress.total_steps:
                raise Interrupted(
                    stop.signal_number,
                    f"training at step {progress.step} of {progress.total_steps}",
                    remedy="everything is saved; go on with the same command and --resume",
                )
    if progress.step < progress.total_steps:
        events.send(
            "message",
            text=f"Stopped early, at step {progress.step} of {progress.total_steps}: {patience} "
            "validations in a row brought no new best.",
        )
    events.send("end", step=progress.step, elapsed_s=round(progress.elapsed_s, 3))
    return progress


def _restore(
    stepper: Stepper, folder: Path, facts: Mapping[str, Any], total_steps: int, events: Events
) -> Progress:
    state, complaints = read_checkpoint(folder / "checkpoints")
    for complaint in complaints:
        events.send("warning", code="weights-damaged", text=complaint)
    if state is None:
        return Progress(total_steps)
    if state.facts.get("data_hash") != facts.get("data_hash"):
        raise RunError(
            "data-changed",
            str(folder),
            expected="the images and masks this run was started with",
            found="others",
            remedy="restore them, or train into another folder",
        )
    stepper.restore(state.tensors, subject=str(folder / "checkpoints"))
    progress = Progress.from_facts(state.facts)
    events.send("message", text=f"Going on after step {progress.step} of {progress.total_steps}.")
    return progress


def _validate(
    stepper: Stepper,
    progress: Progress,
    since: Sequence[StepResult],
    names: Sequence[str],
    folder: Path,
    facts: Mapping[str, Any],
    validate: Callable[[UNet], Mapping[str, tuple[float, ...]]],
    events: Events,
) -> None:
    found = validate(stepper.average)
    count = max(1, len(since))
    entry = Validation(
        step=progress.step,
        loss=sum(r.loss for r in since) / count,
        train_dice=sum(r.dice for r in since) / count,
        dice=sum(found["class_dice"]) / len(found["class_dice"]),
        class_dice=found["class_dice"],
        predicted_share=found["predicted_share"],
        truth_share=found["truth_share"],
        image_accuracy=next(iter(found.get("image_accuracy", ())), None),
    )
    progress.history.append(entry)
    told = {**asdict(entry), "dice": dict(zip(names, entry.class_dice, strict=True))}
    events.send("validation", mean_dice=entry.dice, **told)
    if entry.dice > progress.best:
        progress.best = entry.dice
        best_facts = {**facts, "step": entry.step, "validation_dice": entry.dice}
        write_model(folder / "model.safetensors", stepper.average, best_facts)
    if stepper.config.snapshots:
        write_snapshot(
            folder / "snapshots",
            stepper.average,
            {**facts, "step": entry.step, "validation_dice": entry.dice},
            kept=stepper.config.snapshots,
        )
    findings = diagnose(
        progress.history,
        total_steps=progress.total_steps,
        warmup_share=stepper.config.warmup_share,
        names=names,
    )
    for finding in findings:
        if finding.code not in progress.said:
            progress.said.append(finding.code)
            events.send("warning", code=finding.code, text=finding.text)
