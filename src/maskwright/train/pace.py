"""How many updates fit a time, corrected while they are made.

The schedule is a way from 0 to 1 that every run goes once. Where updates turn out slower or
faster, what is left of the way is spread over the updates that still fit::

    share of the schedule   0 ─────────────── 0.4 ─────────────── 1
    updates                 0 ─────────────── 400 ─────────────── 1000    as planned
                            0 ─────────────── 400 ─────── 800             slower from here on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_CORRECTIONS = 50
_NEWS = 0.5


@dataclass(frozen=True)
class Course:
    """Where on its schedule a run is at each update.

    Args:
        total: Updates of the whole run.
        since: The update from which on that number holds.
        share: Share of the schedule that was gone by then.

    Example:
        >>> course = Course(1000).corrected(400, 800)
        >>> course.position(400) / course.total, course.position(600) / course.total
        (0.4, 0.7)
    """

    total: int
    since: int = 0
    share: float = 0.0

    def position(self, step: int) -> float:
        """The update of an even run of as many updates that is as far on the schedule.

        Args:
            step: Number of finished updates.
        """
        if not self.since or step >= self.total:
            return step
        gone = (step - self.since) / (self.total - self.since)
        return self.total * (self.share + (1 - self.share) * gone)

    def corrected(self, step: int, total: int) -> Course:
        """The course from here on, with another number of updates.

        Args:
            step: Finished updates.
            total: Updates of the whole run; at least one more is made.
        """
        return Course(max(total, step + 1), step, self.position(step) / self.total)


@dataclass
class Pace:
    """The time of a run, and what its updates and validations take of it.

    Args:
        training_s: Seconds for all updates and validations, interruptions not counted.
        step_s: Seconds of an update, as last measured.
        validation_s: Seconds of a validation, as last measured.
    """

    training_s: float
    step_s: float
    validation_s: float

    def __post_init__(self) -> None:
        self._step = 0
        self._at_s = 0.0
        self._other_s = 0.0
        self._aside_s = 0.0

    def to_facts(self) -> dict[str, float]:
        """As JSON values."""
        return {
            "training_s": self.training_s,
            "step_s": self.step_s,
            "validation_s": self.validation_s,
        }

    def restore(self, facts: Mapping[str, float]) -> None:
        """Go on with what :meth:`to_facts` gave."""
        self.training_s = facts["training_s"]
        self.step_s = facts["step_s"]
        self.validation_s = facts["validation_s"]

    def begin(self, step: int, elapsed_s: float) -> None:
        """Measure from here on.

        Args:
            step: Finished updates.
            elapsed_s: Training time so far.
        """
        self._step, self._at_s, self._other_s = step, elapsed_s, 0.0

    def set_aside(self, seconds: float) -> None:
        """Note what a validation did besides validating, which the next ones will not do."""
        self._aside_s += seconds

    def note_validation(self, seconds: float) -> None:
        """Note how long a validation took."""
        self.validation_s = max(0.0, seconds - self._aside_s)
        self._other_s += seconds
        self._aside_s = 0.0

    def total_steps(self, step: int, elapsed_s: float, *, validations: int) -> int | None:
        """Updates of the whole run, as far as can be told now.

        steps + (seconds left − validations left × their time) / time of an update

        The time of an update is the mean of what it was thought to be and of what was measured
        since the last correction, so that a short disturbance does not decide.

        Args:
            step: Finished updates.
            elapsed_s: Training time so far.
            validations: Validations that are left.

        Returns:
            The number, or ``None`` where the last correction was a moment ago.

        Example:
            >>> pace = Pace(training_s=100, step_s=1.0, validation_s=0.0)
            >>> pace.total_steps(10, 20.0, validations=0)
            63
        """
        steps = step - self._step
        if not steps or elapsed_s - self._at_s < self.training_s / _CORRECTIONS:
            return None
        measured_s = max(0.0, elapsed_s - self._at_s - self._other_s) / steps
        self.step_s += _NEWS * (measured_s - self.step_s)
        self.begin(step, elapsed_s)
        left_s = self.training_s - elapsed_s - validations * self.validation_s
        return step + max(1, round(left_s / max(self.step_s, 1e-9)))
