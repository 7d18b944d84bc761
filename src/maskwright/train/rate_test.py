"""The learning-rate range test: a short ramp of rates says how large one may be.

Source: Smith 2017, WACV, arXiv 1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskwright.errors import TrainingError

LOWEST, HIGHEST = 1e-5, 0.1
"""The first rate of the ramp, and the last one: AdamW moves every weight by about the rate."""

_SMOOTHING = 0.8
_FEWEST = 8
# Single batches differ by less than this from the mean of the first ones.
_GROWN = 1.25
# A fall is measured over a tenth of the ramp, as single batches differ.
_WINDOWS = 10
# A ramp is short, so that the loss still falls at rates that a whole training would not bear.
_BELOW_BEST = 0.1


@dataclass(frozen=True)
class RateTest:
    """What a ramp of rates found.

    Args:
        rates: The rates in their order.
        losses: The loss before each update, a running mean.
        chosen: A rate at which the loss falls fast, below the one where it is lowest.
        diverged: Whether the ramp ended because the loss grew beyond its start.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float
    diverged: bool

    @property
    def edge(self) -> float:
        """The largest rate that was tried."""
        return self.rates[-1]

    def sentence(self) -> str:
        """What was found, in words."""
        ended = "where the loss grew beyond its start" if self.diverged else "the end of the ramp"
        return (
            f"Learning rate {self.chosen:.2g}, found by raising it from {self.rates[0]:.1g} to "
            f"{self.edge:.2g}, {ended}: there the loss falls fast and steadily."
        )


def find_rate(
    update: Callable[[int, float], float],
    steps: int,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
) -> RateTest:
    """Raise the rate exponentially, update by update, until the loss grows beyond its start.

    The rate of step i of n is lowest · (highest / lowest)^(i / (n − 1)). Of the rates up to the
    one with the lowest loss, the one where the loss falls fastest along the logarithm of the rate
    is chosen, and at most a tenth of the former.

    Args:
        update: Makes one update at a rate, from its number and the rate, and returns the loss
            before it; may raise ``TrainingError`` where that is not finite. It spoils the network.
        steps: Updates of the whole ramp.
        lowest: First rate.
        highest: Last rate.

    Raises:
        TrainingError: ``rate-test`` where the loss is not finite after a few updates already.

    Example:
        >>> weight = [1.0]
        >>> def update(step: int, rate: float) -> float:
        ...     loss = weight[0] ** 2
        ...     weight[0] -= rate * 2 * weight[0]
        ...     return loss
        >>> found = find_rate(update, 60, highest=10.0)
        >>> found.chosen < 1.0  # where its updates no longer approach the minimum
        True
    """
    rates: list[float] = []
    losses: list[float] = []
    mean, diverged = 0.0, False
    for step in range(steps):
        rate = lowest * (highest / lowest) ** (step / max(1, steps - 1))
        try:
            loss = update(step, rate)
        except TrainingError:
            loss = math.inf
        if not math.isfinite(loss):
            diverged = True
            break
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        rates.append(rate)
        # Without the division the mean would begin at zero.
        losses.append(mean / (1 - _SMOOTHING ** (step + 1)))
        if step >= _FEWEST and losses[-1] > _GROWN * max(losses[:_FEWEST]):
            diverged = True
            break
    if len(rates) < _FEWEST:
        raise TrainingError(
            "rate-test",
            "--set learning_rate=auto",
            expected=f"a finite loss at rates from {lowest:g}",
            found=f"one that is not after {len(rates)} updates",
            remedy="name a rate instead, such as --set learning_rate=1e-3, and look at the images "
            "with `maskwright check`",
        )
    return RateTest(tuple(rates), tuple(losses), _choose(rates, losses), diverged)


def _choose(rates: Sequence[float], losses: Sequence[float]) -> float:
    best = max(1, min(range(len(losses)), key=losses.__getitem__))
    window = min(best, max(1, len(losses) // _WINDOWS))
    falls = [losses[i] - losses[i + window] for i in range(best - window + 1)]
    steepest = max(range(len(falls)), key=falls.__getitem__)
    return min(rates[steepest + window // 2], _BELOW_BEST * rates[best])
