"""The learning rate where a person leaves it open: found by a short ramp on a network to spare."""

from __future__ import annotations

import time

from maskwright.config import RunConfig
from maskwright.data.sampler import PatchSampler, Prefetch
from maskwright.progress import Events
from maskwright.train.rate_test import find_rate
from maskwright.train.stepper import Stepper

_FEWEST, _MOST = 40, 100
_SHARE = 0.05
_TIMED = 2


def settle_rate(
    config: RunConfig, stepper: Stepper, sampler: PatchSampler, events: Events
) -> RunConfig:
    """The configuration with a learning rate that a range test found.

    The ramp has 40 to 100 updates, and within that at most a twentieth of those, or of the time,
    that training has.

    Args:
        config: What was asked for; nothing is done unless it says ``find_rate``.
        stepper: A network made for this purpose; it is spent.
        sampler: The training patches.
        events: Where the choice is told, and the ramp for the chart of the report.

    Raises:
        TrainingError: ``rate-test``.
    """
    if not config.train.find_rate:
        return config
    events.send("busy", text="Looking for a learning rate")
    with Prefetch(sampler) as batches:

        def update(step: int, rate: float) -> float:
            image, target = stepper.prepare(batches.take(step), step)
            return stepper.update(image, target, step, rate).loss

        # Rates this small leave the network as it was; the first step also warms up.
        update(0, 0.0)
        begun = time.perf_counter()
        for step in range(1, 1 + _TIMED):
            update(step, 0.0)
        each_s = (time.perf_counter() - begun) / _TIMED
        found = find_rate(
            lambda step, rate: update(1 + _TIMED + step, rate),
            # Clocks differ between processes, which must make the same updates.
            stepper.ranks.share(_length(config, each_s)),
        )
    events.send("rate_test", rates=found.rates, losses=found.losses, chosen=found.chosen)
    events.send("message", text=found.sentence())
    train = config.train.model_copy(update={"learning_rate": found.chosen, "find_rate": False})
    return config.model_copy(update={"train": train})


def _length(config: RunConfig, each_s: float) -> int:
    train = config.train
    wanted = float(_MOST)
    if train.steps is not None:
        wanted = _SHARE * train.steps
    elif train.minutes is not None:
        wanted = _SHARE * train.minutes * 60 / max(each_s, 1e-6)
    return int(min(max(wanted, _FEWEST), _MOST))
