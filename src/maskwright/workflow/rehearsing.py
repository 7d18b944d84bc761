"""What is measured before and during training: number formats, updates, predictions, scores."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from maskwright.config import RunConfig
from maskwright.data.check import CheckReport
from maskwright.data.image_labels import CONTAINS, contained_class
from maskwright.data.sampler import PatchSampler, Source
from maskwright.data.split import Split, write_split
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import write_member, write_model
from maskwright.nn.ranks import ALONE, Ranks
from maskwright.nn.unet import UNet, build_unet
from maskwright.plan.machine import Numerics, fastest, training_device
from maskwright.progress import Event, Events
from maskwright.train.distributed import members
from maskwright.train.pace import Pace
from maskwright.train.stepper import Stepper
from maskwright.workflow.averaging_gain import longest_comparison_s
from maskwright.workflow.processes import numerics_of
from maskwright.workflow.run import Run
from maskwright.workflow.scoring import BASELINE_IMAGES, score_run
from maskwright.workflow.validating import Scores

# What scores took on two cores, until they are measured: for the report, and for each megapixel.
_SCORING_S = 3.0
_SCORING_S_PER_MEGAPIXEL = 2.0
_PARTITION_S_PER_MEGAPIXEL = 5.0
# Comparing number formats may take this share of the time.
_NUMERICS_SHARE = 0.05
# A rehearsal of the scores may take this share of the time.
_REHEARSAL_SHARE = 0.08
# How much longer a report takes for each further image it shows.
_REPORT_GROWTH = 0.15
_REPORT_IMAGES = 20


def build_stepper(
    config: RunConfig, sources: Sequence[Source], numerics: Numerics, *, ranks: Ranks = ALONE
) -> Stepper:
    """A network with fresh weights, ready for its first update."""
    classes, source, contained = config.model.classes, config.data.image_labels, None
    counts_NK = [np.bincount(s.classes_YX.ravel(), minlength=classes)[:classes] for s in sources]
    if source.startswith(CONTAINS):
        contained = contained_class(source, [name for name, _ in config.data.labels])
    return Stepper(
        build_unet(config.model, seed=config.train.seed).to(training_device()),
        config.train,
        numerics.layout,
        numerics.precision,
        pixels_per_class=tuple(int(n) for n in np.sum(counts_NK, axis=0)),
        contained=contained,
        compiled=numerics.compiled,
        ranks=ranks,
    )


def fastest_numerics(
    config: RunConfig, sources: Sequence[Source], sampler: PatchSampler, events: Events
) -> tuple[Numerics, Mapping[str, float]]:
    """The memory order and number format in which updates are fastest, of those left open.

    Returns:
        The fastest, and seconds of an update in each that was measured.
    """
    options = numerics_of(config.train, members())
    if len(options) > 1:
        events.send("busy", text="Measuring number formats")

    def step_of(option: Numerics) -> Callable[[], None]:
        stepper = build_stepper(config, sources, option)
        image, target = stepper.prepare(sampler.draw(0), 0)
        return lambda: _discard(stepper.update(image, target, 0, 1e-6))

    minutes = config.train.minutes
    limit_s = math.inf if minutes is None else _NUMERICS_SHARE * 60 * minutes
    numerics, seconds = fastest(options, step_of, limit_s=limit_s)
    for name, value in seconds.items():
        events.send("measured", numerics=name, step_s=round(value, 4))
    return numerics, seconds


def gain_of(numerics: Numerics, seconds: Mapping[str, float]) -> float:
    """How many times as fast an update is as in plain float32; 1 where that was not measured."""
    plain = seconds.get("contiguous float32")
    return plain / seconds[str(numerics)] if plain else 1.0


def numerics_sentence(numerics: Numerics, seconds: Mapping[str, float]) -> str:
    """What was found of number formats, for a person."""
    if not seconds:
        return f"Convolutions run as {numerics}, as asked for."
    gain = gain_of(numerics, seconds)
    told = f", {gain:.1f} times as fast as plain float32" if gain != 1 else ""
    return f"Convolutions run as {numerics}: fastest here in a few measured steps{told}."


def guessed_scoring_s(config: RunConfig, report: CheckReport, images: int) -> float:
    """What the final scores take, before it is measured.

    Args:
        config: Which measures there are.
        report: The checked data set.
        images: How many images are scored.
    """
    each_s = _SCORING_S_PER_MEGAPIXEL
    if "partition" in config.evaluate.measures:
        each_s += _PARTITION_S_PER_MEGAPIXEL
    measured_s = each_s * images * report.mean_pixels / 1e6
    return _SCORING_S + measured_s + min(measured_s, longest_comparison_s(config.train))


class ScoringRehearsal:
    """A validation that also finds out, once, how long the final scores will take.

    Halfway, when the network's masks are like the final ones, a single image is scored and
    reported as all will be; training then ends as much earlier or later as the guess was wrong.

    Args:
        validate: The validation.
        run: The run.
        report: The checked data set.
        split: Which image is for what.
        pace: Whose time for training is corrected.
        guess_s: What was kept back for the scores so far.
    """

    def __init__(
        self,
        validate: Callable[[UNet], Scores],
        run: Run,
        report: CheckReport,
        split: Split,
        pace: Pace,
        guess_s: float,
    ) -> None:
        self._validate = validate
        self._run = run
        self._report = report
        self._split = split
        self._pace = pace
        self._guess_s = guess_s
        self._left = run.config.train.validation_count // 2
        minutes = run.config.train.minutes or 0.0
        cost_s = guessed_scoring_s(run.config, report, 2)
        self._worth = bool(split.validation) and cost_s <= _REHEARSAL_SHARE * 60 * minutes

    def __call__(self, network: UNet) -> Scores:
        """Validate, and rehearse the scores when it is time."""
        found = self._validate(network)
        self._left -= 1
        if self._left == 0 and self._worth:
            begun = time.monotonic()
            scoring_s = self._rehearsed(network)
            self._pace.training_s += self._guess_s - scoring_s
            self._pace.set_aside(time.monotonic() - begun)
        return found

    def _rehearsed(self, network: UNet) -> float:
        split = self._split
        first = split.validation[:1]
        single = replace(split, train=split.train[:1], validation=first, test=first)
        folder, stages = RunFolder(self._run.path / "rehearsal"), _Stages()
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.path.mkdir()
        try:
            folder.write_config(self._run.config)
            write_split(folder.splits, single)
            write_model(folder.model, network, {})
            train = self._run.config.train
            # As many networks as prediction will average, of either kind.
            for number in range(max(train.ensemble, min(train.snapshots, train.validations))):
                write_member(folder.ensemble, number + 1, network, {})
            shutil.copy(self._run.folder.events, folder.events)
            begun = time.monotonic()
            score_run(Run(folder, self._run.config), self._report, single, events=Events([stages]))
            whole_s = time.monotonic() - begun
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
        longest_s = longest_comparison_s(self._run.config.train)
        return scoring_seconds(stages.seconds(), whole_s, self._report, split, longest_s)


def scoring_seconds(
    stages: Mapping[str, float],
    whole_s: float,
    report: CheckReport,
    split: Split,
    longest_s: float = math.inf,
) -> float:
    """What the scores of all images take, from what those of one validation image took.

    Args:
        stages: Seconds of the stages ``calibrating``, ``choosing``, ``comparing``, ``baselines``,
            ``scoring`` and ``reporting``.
        whole_s: Seconds of everything.
        report: The checked data set.
        split: Which image is for what.
        longest_s: Seconds that ``comparing`` takes at most.

    Example:
        >>> from pathlib import Path
        >>> report = CheckReport(Path("data"), (), None, ())
        >>> split = Split(("a", "b"), ("c",), ("d", "e", "f"))
        >>> stages = {"calibrating": 1, "baselines": 1, "scoring": 2, "reporting": 1}
        >>> round(scoring_seconds(stages, 6.0, report, split), 1)
        11.3
    """
    images = len(split.test) or len(split.validation)
    facts = report.images.get(split.validation[0])
    larger = report.mean_pixels / np.prod(facts.size) if facts else 1.0
    further = min(_REPORT_IMAGES, images) - 1
    times = {
        "calibrating": len(split.validation) * larger,
        "choosing": len(split.validation) * larger,
        "baselines": min(BASELINE_IMAGES, len(split.train)) * larger,
        "scoring": images * larger,
        "reporting": 1 + _REPORT_GROWTH * further,
    }
    rest_s = whole_s - sum(stages.get(name, 0.0) for name in times)
    comparing_s = stages.get("comparing", 0.0)
    rest_s += min(longest_s, comparing_s * len(split.validation) * larger) - comparing_s
    return float(rest_s + sum(stages.get(name, 0.0) * number for name, number in times.items()))


class _Stages:
    """Listens when the stages of scoring begin."""

    def __init__(self) -> None:
        self._begun: list[tuple[str, float]] = []

    def __call__(self, event: Event) -> None:
        name = "scoring" if event.get("doing") == "Scoring" else event.get("stage")
        if event["kind"] == "report":
            name = "end"
        if name:
            self._begun.append((name, time.monotonic()))

    def seconds(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for (name, begun), (_, ended) in zip(self._begun, self._begun[1:], strict=False):
            found[name] = found.get(name, 0.0) + ended - begun
        return found


def _discard(_: object) -> None:
    """A step that is only timed returns nothing."""
