"""A plan: every choice with its reason, and the configuration they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maskwright.config import RunConfig, parse_config
from maskwright.errors import ConfigError
from maskwright.network_config import setting_text
from maskwright.plan.fingerprint import Fingerprint
from maskwright.plan.hardware import MachineFacts

PLAN_FORMAT = 1


@dataclass(frozen=True)
class Choice:
    """One choice.

    Args:
        name: The setting, such as ``model.depth``, or what else was chosen.
        value: What was chosen.
        reason: Why, in one sentence.
        would_change: What would change it, in one sentence.

    Example:
        >>> Choice("model.depth", 4, "It sees 188 pixels.", "Smaller images.").line()
        'model.depth = 4: It sees 188 pixels. Would change: Smaller images.'
    """

    name: str
    value: Any
    reason: str
    would_change: str

    def setting(self) -> str:
        """What was chosen, as a person reads it."""
        return f"{self.name} = {_shown(self.value)}"

    def line(self) -> str:
        """The choice with its reason and what would change it."""
        return f"{self.setting()}: {self.reason} Would change: {self.would_change}"


@dataclass(frozen=True)
class Plan:
    """What a run will do, and why.

    Args:
        config: The configuration.
        choices: Every choice, in the order in which they were made.
        facts: The data, where they were looked at.
        machine: The machine, where it was looked at.
        steps: Updates that were expected to fit the time.
    """

    config: RunConfig
    choices: tuple[Choice, ...] = ()
    facts: Fingerprint | None = None
    machine: MachineFacts | None = None
    steps: int | None = None

    def lines(self) -> list[str]:
        """The choices as lines for the terminal."""
        return [choice.line() for choice in self.choices]

    def sentence(self) -> str:
        """The plan in short."""
        model, train = self.config.model, self.config.train
        border = ", borders of objects learnt" if self.config.data.target == "border" else ""
        steps = f", about {self.steps} steps" if self.steps is not None else ""
        if train.ensemble > 1:
            steps += f" of {train.ensemble} networks together"
        return (
            f"Plan: depth {model.depth}, width {model.width}, patches of "
            f"{_shown(train.patch_px)}, {train.batch} a step{border}{steps}; plan.json tells every "
            "choice with its reason."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": PLAN_FORMAT,
            "steps": self.steps,
            "choices": [asdict(choice) for choice in self.choices],
            "config": self.config.model_dump(mode="json"),
            "data": None if self.facts is None else self.facts.to_json(),
            "machine": None if self.machine is None else self.machine.to_json(),
        }

    def text(self) -> str:
        """The contents of a ``plan.json``."""
        return json.dumps(self.to_json(), indent=2) + "\n"


def parse_plan(text: str, *, subject: str) -> Plan:
    """A plan from the text of a ``plan.json``.

    Args:
        text: What :meth:`Plan.text` gave, changed by hand or not.
        subject: The file, for messages.

    Raises:
        ConfigError: ``plan-form`` where it is no plan, ``plan-newer`` for one of a newer version,
            and whatever its configuration is refused for.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise _no_plan(f"{subject} line {error.lineno}", error.msg) from error
    if not isinstance(values, Mapping) or not isinstance(values.get("config"), Mapping):
        raise _no_plan(subject, "JSON without a configuration")
    found = values.get("format", PLAN_FORMAT)
    if isinstance(found, int) and found > PLAN_FORMAT:
        raise ConfigError(
            "plan-newer",
            subject,
            expected=f"a plan of format {PLAN_FORMAT} or older",
            found=f"format {found}",
            remedy="update maskwright with `pip install -U maskwright`",
        )
    config = parse_config(json.dumps(values["config"]), subject=f"{subject} config")
    try:
        return Plan(
            config,
            tuple(_choice(entry) for entry in values.get("choices", ())),
            None if values.get("data") is None else Fingerprint.from_json(values["data"]),
            None if values.get("machine") is None else MachineFacts.from_json(values["machine"]),
            values.get("steps"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_plan(subject, f"facts of another form ({error})") from error


def _choice(entry: Mapping[str, Any]) -> Choice:
    return Choice(entry["name"], entry["value"], entry["reason"], entry["would_change"])


def _no_plan(subject: str, found: str) -> ConfigError:
    return ConfigError(
        "plan-form",
        subject,
        expected="a plan, as `maskwright plan DATA --json` prints it",
        found=found,
        remedy="make it again with `maskwright plan DATA --json > plan.json`",
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return "none"
        nested = any(isinstance(entry, list | tuple) for entry in value)
        return setting_text(value) if nested else "x".join(map(str, value))
    return setting_text(value)
