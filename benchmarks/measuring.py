"""Shared by the benchmarks: paired timings and the two result files."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of slow / fast, pair by pair."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def markdown_table(table: Sequence[Sequence[str]]) -> str:
    """A header and its rows as a table in Markdown."""
    lines = [" | ".join(row) for row in table]
    lines.insert(1, " | ".join("---" for _ in table[0]))
    return "\n".join(f"| {line} |" for line in lines)


def write_results(name: str, figures: dict[str, Any], table: Sequence[Sequence[str]]) -> None:
    """Write ``results/NAME.json`` and ``NAME.md``, and print the table."""
    text = markdown_table(table)
    print(text)
    values = {"machine": describe_machine(), **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(
        f"# {name}\n\n{text}\n\n`python benchmarks/{name}.py`\n", encoding="utf-8"
    )
