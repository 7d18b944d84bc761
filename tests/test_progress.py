"""Events: one stream, a log that survives a torn line, a bar that shows what matters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maskwright.progress import EventLog, Events, TerminalBar, read_events


def test_every_listener_gets_every_event_in_order() -> None:
    first: list[dict[str, object]] = []
    second: list[dict[str, object]] = []
    events = Events([first.append])
    events.send("message", text="a")
    with events.also(second.append):
        events.send("step", step=1)
    events.send("message", text="b")
    assert [e["kind"] for e in first] == ["message", "step", "message"]
    assert second == [{"kind": "step", "step": 1}]


def test_the_log_holds_one_json_object_a_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log({"kind": "step", "step": 1, "loss": 0.5})
    log.close()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["loss"] == 0.5
    assert "time" in json.loads(lines[0])


def test_a_torn_last_line_and_repeated_steps_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    steps = [(1, 0.9), (2, 0.8), (3, 0.7), (2, 0.81), (3, 0.71), (4, 0.6)]
    lines = [json.dumps({"kind": "step", "step": s, "loss": loss}) for s, loss in steps]
    path.write_text("\n".join(lines) + '\n{"kind": "st')
    found = [(e["step"], e["loss"]) for e in read_events(path)]
    assert found == [(1, 0.9), (2, 0.81), (3, 0.71), (4, 0.6)]


def test_validations_of_a_resumed_run_are_not_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    kinds = [("step", 1), ("step", 2), ("validation", 2), ("step", 3), ("checkpoint", 3),
             ("step", 2), ("validation", 2), ("step", 3)]  # fmt: skip
    path.write_text("\n".join(json.dumps({"kind": k, "step": s}) for k, s in kinds))
    found = [(e["kind"], e["step"]) for e in read_events(path) if e["kind"] != "checkpoint"]
    assert found == [("step", 1), ("step", 2), ("validation", 2), ("step", 3)]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == []


def _stream() -> list[dict[str, object]]:
    return [
        {"kind": "stage", "text": "Train"},
        {"kind": "message", "text": "10 images [not markup]"},
        {"kind": "reading", "number": 1, "images": 2, "name": "a"},
        {"kind": "busy", "text": "Measuring"},
        {"kind": "step", "step": 1, "total_steps": 2, "loss": 0.5, "dice": 0.4},
        {"kind": "validation", "step": 1, "loss": 0.5, "dice": {"cell": 0.25}},
        {"kind": "tile", "number": 1, "tiles": 3, "name": "a"},
        {"kind": "unknown to the bar"},
        {"kind": "warning", "text": "one class only"},
        {"kind": "report", "sentence": "Mean Dice 0.5", "path": "report.html"},
    ]


def test_the_bar_says_messages_validations_and_warnings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TerminalBar() as bar:
        for event in _stream():
            bar(event)
    shown = capsys.readouterr().err
    assert "10 images [not markup]" in shown
    assert "validation Dice cell 0.250" in shown
    assert "warning: one class only" in shown
    assert "report.html" in shown


def test_the_quiet_bar_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalBar(quiet=True) as bar:
        for event in _stream():
            bar(event)
    assert capsys.readouterr().err == "warning: one class only\n"
