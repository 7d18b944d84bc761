"""Shared by the benchmarks: paired timings and the two result files."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from maskwright.plan.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def _serve(link: Connection, prepare: Callable[..., Callable[[], None]], arguments: tuple) -> None:
    run = prepare(*arguments)
    while link.recv():
        start = time.perf_counter()
        run()
        link.send(time.perf_counter() - start)


def take_turns(
    runs: Mapping[str, Callable[..., Callable[[], None]]],
    arguments: tuple[Any, ...],
    *,
    rounds: int,
    warmups: int = 2,
) -> dict[str, list[float]]:
    """Seconds of each run, each in a process of its own so that no setting of one helps another.

    They take turns, so that a slow moment of the machine hits all alike.

    Args:
        runs: Functions at the top of a module that prepare a run and return it.
        arguments: What each is called with.
        rounds: Counted runs of each.
        warmups: Runs before those.
    """
    context = multiprocessing.get_context("spawn")
    links: dict[str, Connection] = {}
    for name, prepare in runs.items():
        links[name], far = context.Pipe()
        context.Process(target=_serve, args=(far, prepare, arguments), daemon=True).start()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warmups + rounds):
        for name, link in links.items():
            link.send(True)
            elapsed = link.recv()
            if number >= warmups:
                seconds[name].append(elapsed)
    for link in links.values():
        link.send(False)
    return seconds


@dataclass(frozen=True)
class Usage:
    """What a process took.

    Args:
        wall_s: Seconds of the clock.
        cpu_s: Seconds of all its threads together.
        peak_bytes: The largest resident size that it had.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure_child(command: Sequence[str]) -> Usage:
    """Run a command and measure it; its failure ends the benchmark.

    The system counts the peak of a process from what the one that started it holds at that moment,
    so that figures below this program's own size are not told apart.
    """
    begun = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"exit status {child.returncode}: {' '.join(command)}")
    # Linux counts in units of 1024 bytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of slow / fast, pair by pair."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """A header and its rows as a table in Markdown."""
    lines = [" | ".join(row) for row in table]
    lines.insert(1, " | ".join("---" for _ in table[0]))
    return "\n".join(f"| {line} |" for line in lines)


def write_results(
    name: str,
    figures: dict[str, Any],
    table: Sequence[Sequence[str]],
    *,
    folder: Path = RESULTS,
) -> None:
    """Write ``results/NAME.json`` and ``NAME.md``, and print the table."""
    text = markdown_table(table)
    print(text)
    values = {"machine": describe_machine(), **figures}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(
        f"# {name}\n\n{text}\n\n`python benchmarks/{name}.py`\n", encoding="utf-8"
    )
