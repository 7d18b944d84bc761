"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence


def learning_rate(step: float, total: float, peak: float, warmup_share: float) -> float:
    """Linear warm-up, then half a cosine down to zero.

    Args:
        step: Number of the update, from 0; a place between two where the run's length was
            corrected, see :class:`maskwright.train.pace.Course`.
        total: Updates of the whole run.
        peak: Largest rate.
        warmup_share: Share of the updates that rise.

    Returns:
        The rate of this update, above zero.

    Source: Loshchilov and Hutter 2017, arXiv 1608.03983, with a warm-up in front.

    Example:
        >>> [round(learning_rate(s, 10, 1.0, 0.2), 3) for s in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    warmup = round(total * warmup_share)
    if step < warmup:
        return peak * min(1.0, (step + 1) / warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def average_decay(step: int, decay: float) -> float:
    """Decay of the running average of the weights, small at first so that it forgets the start.

    min(decay, (1 + step) / (10 + step))

    Source: Tarvainen and Valpola 2017, arXiv 1703.01780, with TensorFlow's ramp.

    Example:
        >>> average_decay(0, 0.99), average_decay(10_000, 0.99)
        (0.1, 0.99)
    """
    return min(decay, (1 + step) / (10 + step))


def validation_steps(total: int, count: int) -> tuple[int, ...]:
    """Numbers of finished updates after which whole images are predicted; the last always is.

    Example:
        >>> validation_steps(100, 4)
        (25, 50, 75, 100)
    """
    count = min(count, total)
    return tuple(round(total * (i + 1) / count) for i in range(count))


def is_exhausted(dice: Sequence[float], patience: int) -> bool:
    """Whether so many validations in a row brought no new best.

    Args:
        dice: Mean Dice of each validation, oldest first.
        patience: How many are waited for; 0 waits for ever.

    Source: Prechelt 1998, Early stopping, but when?

    Example:
        >>> is_exhausted([0.5, 0.7, 0.6, 0.7], 2), is_exhausted([0.5, 0.7, 0.6, 0.8], 2)
        (True, False)
    """
    if not patience or not dice:
        return False
    # Of equal scores the first counts as the best, as its weights are the ones that are kept.
    return len(dice) - 1 - max(range(len(dice)), key=dice.__getitem__) >= patience


def steps_within(
    seconds: float, *, step_s: float, validation_s: float, validations: int, reserve_s: float
) -> int:
    """How many updates fit a time, validations and a reserve for the end taken off first.

    Args:
        seconds: Time left.
        step_s: Measured time of one update.
        validation_s: Measured time of one validation.
        validations: Number of validations.
        reserve_s: What the final evaluation takes.

    Example:
        >>> steps_within(60, step_s=0.5, validation_s=1, validations=10, reserve_s=10)
        80
    """
    return max(1, int((seconds - validations * validation_s - reserve_s) / step_s))
