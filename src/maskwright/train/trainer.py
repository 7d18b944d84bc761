"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from maskwright.nn.ranks import Ranks
from maskwright.nn.unet import UNet
from maskwright.progress import Events
from maskwright.train.diagnosis import Validation, diagnose
from maskwright.train.pace import Course, Pace
from maskwright.train.schedule import is_exhausted, learning_rate, validation_steps
from maskwright.train.signals import stop_requests
from maskwright.train.stepper import Stepper, StepResult

_CHECKPOINT_EVERY_S = 30.0
_PATIENCE = 3.0
_WAITING_TOLD = 0.05


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
        since: The update from which on ``total_steps`` holds.
        share: Share of the schedule that was gone by then.
        pace: What a run within a time knows of it.
    """

    total_steps: int
    step: int = 0
    best: float = -1.0
    history: list[Validation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    since: int = 0
    share: float = 0.0
    pace: dict[str, float] | None = None

    @property
    def course(self) -> Course:
        """Where on its schedule the run is at each update."""
        return Course(self.total_steps, self.since, self.share)

    def correct(self, total_steps: int) -> None:
        """Go on with another number of updates; the schedule is stretched or shortened."""
        course = self.course.corrected(self.step, total_steps)
        self.total_steps, self.since, self.share = course.total, course.since, course.share

    def next_validation(self, count: int) -> float:
        """The place on the schedule of the validation that comes next, in updates."""
        due = validation_steps(self.total_steps, count)
        return due[min(len(self.history), len(due) - 1)]

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
        # Older runs kept their number of updates.
        known |= {k: facts[k] for k in ("since", "share", "pace") if k in facts}
        history = [Validation.from_facts(entry) for entry in facts["history"]]
        return Progress(**known, history=history)


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

    patience = settings.patience
    begun = saved = clock()
    waiting_s = 0.0
    with Prefetch(sampler) as batches, stop_requests(lasting=not ranks.alone) as stop:
        while progress.step < progress.total_steps and not progress.is_exhausted(patience):
            step, now = progress.step, clock()
            patches = batches.take(step)
            waited_s = clock() - now
            # Nothing could be drawn before the first.
            waiting_s += waited_s if progress.elapsed_s > before else 0.0
            image, target = stepper.prepare(patches, step)
            rate = learning_rate(
                progress.course.position(step),
                progress.total_steps,
                settings.learning_rate,
                settings.warmup_share,
            )
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
            due = progress.next_validation(settings.validations)
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
                    _correct(progress, pace, elapsed_s, settings.validations, ranks)
    if progress.step < progress.total_steps:
        events.send(
            "message",
            text=f"Stopped early, at step {progress.step} of {progress.total_steps}: {patience} "
            "validations in a row brought no new best.",
        )
    _end(progress, waiting_s, progress.elapsed_s - before, events)
    return progress


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
        if stepper.ranks.first:
            write_model(folder / "model.safetensors", stepper.average, best_facts)
    if stepper.config.snapshots and stepper.ranks.first:
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
