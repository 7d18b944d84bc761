"""One event stream; the terminal, the log file and later listeners only listen.

An event is a flat JSON object with a ``kind``::

    stage · message · warning · reading · busy · measured · start · step · validation ·
    checkpoint · tile · report · end
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_UNKNOWN = "-:--:--"

Event = dict[str, Any]
Listener = Callable[[Event], None]


class Events:
    """Sends each event to every listener.

    Args:
        listeners: Called in order with every event.

    Example:
        >>> seen = []
        >>> Events([seen.append]).send("step", step=1, loss=0.5)
        >>> seen[0]["kind"]
        'step'
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = list(listeners)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one event."""
        event: Event = {"kind": kind, **fields}
        for listener in self._listeners:
            listener(event)

    @contextmanager
    def also(self, listener: Listener) -> Iterator[None]:
        """Add a listener for the length of a block."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


class EventLog:
    """Appends each event as a line of JSON, flushed at once.

    Args:
        path: The ``events.jsonl`` of a run.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def __call__(self, event: Event) -> None:
        """Write one event with the time of day."""
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({**event, "time": stamp}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_events(path: Path) -> list[Event]:
    """The events of a log, a torn last line and repeated steps of a resumed run left out.

    Returns:
        Events in order; of several ``step`` or ``validation`` events with the same step the last.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    events: list[Event] = []
    earliest = math.inf
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("kind") in {"step", "validation"}:
            # What a later line takes up again was lost when the run was interrupted.
            if event["step"] >= earliest:
                continue
            if event["kind"] == "step":
                earliest = event["step"]
        events.append(event)
    return events[::-1]


class TimeLeft:
    """How long something still takes, from its first step on.

    The mean of all steps, and of the last ones where they have become slower or faster:
    t = (1 − a) t + a Δt with a = max(1/n, 0.1).

    Args:
        begun_s: When it began.

    Example:
        >>> left = TimeLeft(0.0)
        >>> left.after(0, 100, 0.0), left.after(1, 100, 2.0), left.after(3, 100, 6.0)
        ('-:--:--', '0:03:18', '0:03:14')
    """

    def __init__(self, begun_s: float) -> None:
        self._last_s = begun_s
        self._done = 0.0
        self._each_s = 0.0

    def after(self, done: float, total: float | None, now_s: float) -> str:
        """What is left as hours, minutes and seconds.

        Args:
            done: Steps that are done.
            total: All steps, ``None`` where that is unknown.
            now_s: What the clock says.
        """
        if done < self._done:
            self._done, self._last_s = done, now_s
        elif done > self._done:
            steps = done - self._done
            weight = max(steps / done, 1 - 0.9**steps)
            self._each_s += weight * ((now_s - self._last_s) / steps - self._each_s)
            self._done, self._last_s = done, now_s
        if total is None or not self._each_s:
            return _UNKNOWN
        return str(timedelta(seconds=round(self._each_s * max(0.0, total - done))))


class TerminalBar:
    """Shows events to a person: bars with the time left, findings as lines above them.

    Args:
        quiet: Only warnings are shown.

    Example:
        A context manager whose object is a listener::

            with TerminalBar() as bar:
                train(data, out, events=Events([bar]))
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task: Any = None
        self._doing = ""
        self._left = TimeLeft(0.0)
        self._loss: float | None = None
        self._dice: float | None = None

    def __enter__(self) -> TerminalBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        show = getattr(self, f"_on_{event['kind']}", None)
        if show is not None:
            show(event)

    def _say(self, text: str, style: str | None = None) -> None:
        if not self._quiet:
            self._console.print(text, style=style, markup=False)

    def _advance(self, doing: str, done: float, total: float | None, note: str = "") -> None:
        if doing != self._doing:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(doing, total=total, note=note, left=_UNKNOWN)
            self._doing, self._left = doing, TimeLeft(time.monotonic())
        left = self._left.after(done, total, time.monotonic())
        self._progress.update(self._task, completed=done, total=total, note=note, left=left)

    def _on_stage(self, event: Event) -> None:
        self._say(f"\n{event['text']}", style="bold")

    def _on_message(self, event: Event) -> None:
        self._say(event["text"])

    def _on_warning(self, event: Event) -> None:
        self._console.print(f"warning: {event['text']}", style="yellow", markup=False)

    def _on_reading(self, event: Event) -> None:
        doing = event.get("doing", "Reading")
        self._advance(doing, event["number"], event["images"], event["name"])

    def _on_busy(self, event: Event) -> None:
        self._advance(event["text"], 0, None)

    def _on_start(self, event: Event) -> None:
        if event.get("tiles"):
            self._advance("Predicting tiles", 0, event["tiles"])

    def _on_tile(self, event: Event) -> None:
        self._advance("Predicting tiles", event["number"], event["tiles"], event["name"])

    def _on_step(self, event: Event) -> None:
        # A running mean: single steps jump too much to be read.
        self._loss = _follow(self._loss, event["loss"])
        self._dice = _follow(self._dice, event["dice"])
        note = f"loss {self._loss:.3f}  Dice {self._dice:.3f}"
        self._advance("Training", event["step"], event["total_steps"], note)

    def _on_validation(self, event: Event) -> None:
        scores = "  ".join(f"{name} {dice:.3f}" for name, dice in event["dice"].items())
        if event.get("image_accuracy") is not None:
            scores += f", image labels {event['image_accuracy']:.0%} right"
        self._say(f"  step {event['step']}: loss {event['loss']:.3f}, validation Dice {scores}")

    def _on_report(self, event: Event) -> None:
        self._say(f"{event['sentence']}. Report: {event['path']}")


def _follow(mean: float | None, value: float) -> float:
    return value if mean is None else 0.95 * mean + 0.05 * value
