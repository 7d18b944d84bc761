"""How far a run is: its finished updates and validations, and the network that learns now.

Several networks may share a run, one after the other, each with its own schedule::

    place in the run        0 ────────── 1/3 ────────── 2/3 ────────── 1
    network                 ╱╲ first ──   ╱╲ second ──   ╱╲ third ───     learning rate
    validations                 ·    ·        ·    ·         ·    ·
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from maskwright.train.diagnosis import Validation
from maskwright.train.pace import Course
from maskwright.train.schedule import is_exhausted, learning_rate, validation_steps
from maskwright.train_config import TrainConfig


@dataclass
class Progress:
    """How far a run is.

    Args:
        step: Finished updates.
        total_steps: Updates of the whole run.
        best: Best mean Dice of a validation so far.
        own_best: Likewise, of the network that learns now.
        history: All validations.
        said: Codes of the findings already told.
        elapsed_s: Training time of this run, interruptions not counted.
        since: The update from which on ``total_steps`` holds.
        share: Share of the schedule that was gone by then.
        pace: What a run within a time knows of it.
        network: Number of the network that learns now, from 0.
        first_step: Finished updates when it began.
    """

    total_steps: int
    step: int = 0
    best: float = -1.0
    own_best: float = -1.0
    history: list[Validation] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    since: int = 0
    share: float = 0.0
    pace: dict[str, float] | None = None
    network: int = 0
    first_step: int = 0

    @property
    def course(self) -> Course:
        """Where on its schedule the run is at each update."""
        return Course(self.total_steps, self.since, self.share)

    def correct(self, total_steps: int) -> None:
        """Go on with another number of updates; the schedule is stretched or shortened."""
        course = self.course.corrected(self.step, total_steps)
        self.total_steps, self.since, self.share = course.total, course.since, course.share

    def next_validation(self, train: TrainConfig) -> float:
        """The place on the schedule of the validation that comes next, in updates."""
        due = validation_steps(self.total_steps, train.validation_count)
        return due[min(len(self.history), len(due) - 1)]

    def next_network(self, train: TrainConfig) -> int:
        """Number of the network that makes the next update.

        Example:
            >>> several = TrainConfig(ensemble=3, validations=6)
            >>> two = [Validation(i, 0.1, 0.9, 0.8, (), (), ()) for i in (50, 100)]
            >>> Progress(300, 100, history=two).next_network(several)
            1
        """
        count = min(train.validation_count, self.total_steps)
        return min(len(self.history) * train.ensemble // count, train.ensemble - 1)

    def rate(self, train: TrainConfig) -> float:
        """The learning rate of the next update."""
        length = self.total_steps / train.ensemble
        # A validation falls on a whole update, the end of a network's part need not.
        place = max(0.0, self.course.position(self.step) - self.network * length)
        return learning_rate(place, length, train.learning_rate, train.warmup_share)

    def own_history(self) -> list[Validation]:
        """The validations of the network that learns now."""
        return [entry for entry in self.history if entry.step > self.first_step]

    def is_exhausted(self, train: TrainConfig) -> bool:
        """Whether the newest validations brought nothing new, see :func:`is_exhausted`."""
        return is_exhausted([entry.dice for entry in self.history], train.patience)

    def to_facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> Progress:
        """From what :meth:`to_facts` gave."""
        known = {k: facts[k] for k in ("total_steps", "step", "best", "said", "elapsed_s")}
        # Older runs kept their number of updates, and are of one network.
        later = ("since", "share", "pace", "own_best", "network", "first_step")
        known |= {"own_best": known["best"]} | {k: facts[k] for k in later if k in facts}
        history = [Validation.from_facts(entry) for entry in facts["history"]]
        return Progress(**known, history=history)
