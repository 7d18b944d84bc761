"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskwright.data.sampler import PatchSampler, Prefetch
from maskwright.errors import Interrupted, RunError, TrainingError
from maskwright.nn.checkpoint import (
    State,
    read_checkpoint,
    write_checkpoint,
    write_member,
    write_model,
    write_snapshot,
)
from maskwright.nn.ranks import Ranks
from maskwright.nn.unet import UNet
from maskwright.progress import Events
from maskwright.train.advance import Progress
from maskwright.train.diagnosis import Validation, diagnose
from maskwright.train.pace import Pace
from maskwright.train.signals import stop_requests
from maskwright.train.stepper import Stepper, StepResult

_CHECKPOINT_EVERY_S = 30.0
_PATIENCE = 3.0
_WAITING_TOLD = 0.05


def rehearse(stepper: Stepper, sampler: PatchSampler, seconds: float, least: int = 5) -> float:
    """Seconds of one update, sampling and augmentation included; the stepper is spent after it.

    Args:
        stepper: A stepper made for this purpose.
        sampler: The training patches.
        seconds: How long to measure.
        least: Counted updates at least, unless they take several times as long as that.
    """
    times: list[float] = []
    begun = time.perf_counter()
    share = stepper.ranks.share
    with Prefetch(sampler) as batches:
        step = 0
        while share(
            not times
            or time.perf_counter() - begun < seconds
            or (len(times) < least and time.perf_counter() - begun < _PATIENCE * seconds)
        ):
            start = time.perf_counter()
            image, target = stepper.prepare(batches.take(step), step)
            stepper.update(image, target, step, stepper.config.learning_rate * 0.01)
            step += 1
            # The first ones are slower, which matters only where there is time for more.
            if step > 2 or time.perf_counter() - begun > seconds:
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
    pace: Pace | None = None,
    clock: Callable[[], float] = time.monotonic,
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
        pace: The time that training may take; ``total_steps`` is then a first guess, corrected
            as updates turn out slower or faster. A resumed run keeps its own time.
        clock: Seconds that go by.

    Raises:
        TrainingError: When loss or gradient is not finite.
        Interrupted: After Ctrl-C or a termination signal, with everything saved.
        RunError: When the data changed since the checkpoint; ``rank-lost`` when another process
            has ended, with everything saved.
    """
    ranks = stepper.ranks
    progress = Progress(total_steps)
    if resume:
        progress = _restore(stepper, folder, facts, total_steps, events)
    if pace is not None:
        if progress.pace is not None:
            pace.restore(progress.pace)
        pace.begin(progress.step, progress.elapsed_s)
    checkpoints, settings = folder / "checkpoints", stepper.config
    since: list[StepResult] = []
    events.send("start", step=progress.step, total_steps=progress.total_steps)

    def save(*, alone: bool = False) -> None:
        if not (ranks.first or alone):
            return
        progress.pace = None if pace is None else pace.to_facts()
        write_checkpoint(checkpoints, State(stepper.state(), {**facts, **progress.to_facts()}))
        events.send("checkpoint", step=progress.step)

    before = progress.elapsed_s

    @contextmanager
    def keeping() -> Iterator[None]:
        """Save what there is where another process is lost."""
        try:
            yield
        except RunError:
            save(alone=folder.is_dir())
            raise

    begun = saved = clock()
    waiting_s = 0.0
    with Prefetch(sampler) as batches, stop_requests(lasting=not ranks.alone) as stop:
        while progress.step < progress.total_steps and not progress.is_exhausted(settings):
            step, now = progress.step, clock()
            if progress.next_network(settings) > progress.network:
                _begin_network(stepper, progress, since, events)
            patches = batches.take(step)
            waited_s = clock() - now
            # Nothing could be drawn before the first.
            waiting_s += waited_s if progress.elapsed_s > before else 0.0
            image, target = stepper.prepare(patches, step)
            rate = progress.rate(settings)
            try:
                with keeping():
                    result = stepper.update(image, target, step, rate)
            except TrainingError as error:
                events.send("warning", code=error.code, text=f"{error} Files: {patches.names}")
                raise
            since.append(result)
            progress.step += 1
            progress.elapsed_s = before + clock() - begun
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
            due = progress.next_validation(settings)
            ended = progress.course.position(progress.step) >= due
            if ended:
                start = clock()
                _validate(stepper, progress, since, names, folder, facts, validate, events)
                since = []
                if pace is not None:
                    pace.note_validation(clock() - start)
            with keeping():
                asked = max(ranks.gather(stop.signal_number or 0))
            if ended or asked or clock() - saved > _CHECKPOINT_EVERY_S:
                progress.elapsed_s = before + clock() - begun
                save()
                saved = clock()
            if asked and progress.step < progress.total_steps:
                raise Interrupted(
                    asked,
                    f"training at step {progress.step} of {progress.total_steps}",
                    remedy="everything is saved; go on with the same command and --resume",
                )
            if pace is not None and progress.step < progress.total_steps:
                elapsed_s = before + clock() - begun
                with keeping():
                    _correct(progress, pace, elapsed_s, settings.validation_count, ranks)
    if progress.step < progress.total_steps:
        events.send(
            "message",
            text=f"Stopped early, at step {progress.step} of {progress.total_steps}: "
            f"{settings.patience} validations in a row brought no new best.",
        )
    _end(progress, waiting_s, progress.elapsed_s - before, events)
    return progress


def _begin_network(
    stepper: Stepper, progress: Progress, since: list[StepResult], events: Events
) -> None:
    """Go on with the next of several networks."""
    progress.network += 1
    progress.first_step, progress.own_best = progress.step, -1.0
    since.clear()
    stepper.renew(progress.network, progress.first_step)
    events.send(
        "message",
        text=f"Network {progress.network + 1} of {stepper.config.ensemble} begins, from fresh "
        f"weights; the best mean Dice so far is {progress.best:.3f}.",
    )


def _correct(
    progress: Progress, pace: Pace, elapsed_s: float, validations: int, ranks: Ranks
) -> None:
    left = max(1, validations - len(progress.history))
    # Clocks differ, so that the first process decides for all.
    total = ranks.share(pace.total_steps(progress.step, elapsed_s, validations=left))
    if total is not None:
        progress.correct(total)


def _end(progress: Progress, waiting_s: float, trained_s: float, events: Events) -> None:
    share = waiting_s / trained_s if trained_s else 0.0
    events.send(
        "end",
        step=progress.step,
        elapsed_s=round(progress.elapsed_s, 3),
        waiting_share=round(share, 4),
    )
    if share > _WAITING_TOLD:
        events.send(
            "message",
            text=f"The network waited for patches {share:.0%} of the time. If the images lie on "
            "the disk while training runs, allow more memory with --set cache_memory=16GB; else "
            "use smaller patches or fewer changes of them (--set elastic_px=0).",
        )


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
    stepper.first_step = progress.first_step
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
    if stepper.ranks.first:
        own_facts = {**facts, "step": entry.step, "validation_dice": entry.dice}
        _keep(stepper, progress, entry.dice, folder, own_facts)
    progress.best = max(progress.best, entry.dice)
    progress.own_best = max(progress.own_best, entry.dice)
    findings = diagnose(
        progress.own_history(),
        total_steps=progress.total_steps,
        warmup_share=stepper.config.warmup_share,
        names=names,
    )
    for finding in findings:
        if finding.code not in progress.said:
            progress.said.append(finding.code)
            events.send("warning", code=finding.code, text=finding.text)


def _keep(
    stepper: Stepper, progress: Progress, dice: float, folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write the network where it is better than those before, or one of several that stay."""
    train, network = stepper.config, stepper.average
    if dice > progress.best:
        write_model(folder / "model.safetensors", network, facts)
    if train.ensemble > 1 and dice > progress.own_best:
        write_member(folder / "ensemble", progress.network + 1, network, facts)
    if train.snapshots:
        write_snapshot(folder / "snapshots", network, facts, kept=train.snapshots)
