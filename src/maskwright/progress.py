"""One event stream; the terminal, the log file and later listeners only listen.

An event is a flat JSON object with a ``kind``::

    start · step · validation · warning · message · checkpoint · case · end
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

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
    events: list[Event] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("kind") in {"step", "validation"}:
            step = event["step"]
            while (
                events
                and events[-1].get("step", -1) >= step
                and (
                    events[-1]["kind"] in {"step", "validation"}
                    and (events[-1]["step"] > step or events[-1]["kind"] == event["kind"])
                )
            ):
                events.pop()
        events.append(event)
    return events
