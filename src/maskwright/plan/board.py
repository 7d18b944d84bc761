"""Where choices are made: each sets a field of the configuration and says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskwright.config import RunConfig
from maskwright.plan.choice import Choice, Plan
from maskwright.plan.fingerprint import Fingerprint
from maskwright.plan.hardware import MachineFacts

SETTING = "--set"
"""Who set what a person set by hand; all of it is named in a plan."""


class Board:
    """A configuration on which one choice is made after the other; later ones see earlier ones.

    Args:
        facts: The data.
        machine: The machine.
        base: The usual configuration with what was asked for.
        given: Settings that were made already, by dotted name, and what made each.
    """

    def __init__(
        self, facts: Fingerprint, machine: MachineFacts, base: RunConfig, given: Mapping[str, str]
    ) -> None:
        self.facts = facts
        self.machine = machine
        self.config = base
        self.given = given
        self.steps = base.train.steps
        self.choices: list[Choice] = []

    @property
    def minutes(self) -> float | None:
        """Time of the run, where there is one."""
        return self.config.train.minutes

    def note(self, name: str, value: Any, reason: str, would_change: str) -> None:
        """Tell a choice that is already in the configuration, or not a part of it."""
        value = list(value) if isinstance(value, tuple) else value
        self.choices.append(Choice(name, value, reason, would_change))

    def choose(self, path: str, value: Any, reason: str, would_change: str) -> None:
        """Make a choice, unless it was made already."""
        if path in self.given:
            other = "" if value == self.value(path) else f", which takes {value}"
            self.note_given(path, f"Leaving it to the plan{other}.")
        else:
            self.put(path, value)
            self.note(path, value, reason, would_change)

    def note_given(self, path: str, would_change: str) -> None:
        """Tell what was set, and by what."""
        reason = f"It was set with {self.given[path]}."
        self.note(path, self.value(path), reason, would_change)

    def value(self, path: str) -> Any:
        """The value of a field, as in JSON."""
        value: Any = self.config.model_dump(mode="json")
        for name in path.split("."):
            value = value[name]
        return value

    def put(self, path: str, value: Any) -> None:
        """Set a field without telling it."""
        section, *inner = path.split(".")
        own = getattr(self.config, section)
        if len(inner) == 2:
            value = getattr(own, inner[0]).model_copy(update={inner[1]: value})
        changed = own.model_copy(update={inner[0]: value})
        self.config = self.config.model_copy(update={section: changed})

    def plan(self) -> Plan:
        """The plan, with whatever else was set by hand named."""
        told = {choice.name for choice in self.choices}
        for path, by in self.given.items():
            if path not in told and by == SETTING:
                self.note_given(path, "Leaving it out.")
        config = RunConfig.model_validate(self.config.model_dump())
        return Plan(config, tuple(self.choices), self.facts, self.machine, self.steps)
