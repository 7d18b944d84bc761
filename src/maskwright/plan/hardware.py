"""What a plan knows of a machine: plain facts, some of them measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class StepFacts:
    """What one update of a network took.

    Args:
        width: Channels of its first level.
        step_s: Seconds of an update, drawing and augmenting its patches included.
        memory_bytes: By how much it raised the most memory this process ever used.
    """

    width: int
    step_s: float
    memory_bytes: int = 0


@dataclass(frozen=True)
class MachineFacts:
    """A machine.

    Args:
        processor: Its name.
        cores: Processor cores that this process may use.
        memory_bytes: Memory that training may use: that of the accelerator where there is one;
            ``None`` where it cannot be told.
        accelerator: Its name, empty without one.
        native: Number formats of two bytes for which the processor has units.
        layout: Memory order that was measured to be fastest, ``auto`` where none was measured.
        precision: Number format that was measured to be fastest, ``auto`` where none was measured.
        gain: How many times as fast these are as float32 in the usual order; 1 if not measured.
        steps: What updates of some networks take.
        predict_s_per_megapixel: What predicting a megapixel takes; ``None`` where not measured.

    Example:
        >>> MachineFacts.from_json(MachineFacts(cores=2, steps=(StepFacts(16, 0.2),)).to_json())
        MachineFacts(processor='', cores=2, ..., steps=(StepFacts(width=16, step_s=0.2, ...
    """

    processor: str = ""
    cores: int = 1
    memory_bytes: int | None = None
    accelerator: str = ""
    native: tuple[str, ...] = ()
    layout: str = "auto"
    precision: str = "auto"
    gain: float = 1.0
    steps: tuple[StepFacts, ...] = field(default=())
    predict_s_per_megapixel: float | None = None

    def step_of(self, width: int) -> StepFacts | None:
        """What was measured of a network of this width."""
        return next((facts for facts in self.steps if facts.width == width), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **asdict(self),
            "native": list(self.native),
            "steps": [asdict(s) for s in self.steps],
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> MachineFacts:
        """From what :meth:`to_json` gave."""
        steps = tuple(StepFacts(**step) for step in values["steps"])
        return MachineFacts(**{**values, "native": tuple(values["native"]), "steps": steps})
