"""Shared by the benchmarks: paired timings and the two result files."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.plan.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def take_turns(
    runs: Mapping[str, Callable[[], None]], *, rounds: int, warmups: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run, taking turns so that a slow moment of the machine hits all alike."""
    for _ in range(warmups):
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of slow / fast, pair by pair."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def write_results(name: str, figures: dict[str, Any], table: Sequence[Sequence[str]]) -> None:
    """Write ``results/NAME.json`` and ``NAME.md``, and print the table."""
    lines = [" | ".join(row) for row in table]
    lines.insert(1, " | ".join("---" for _ in table[0]))
    text = "\n".join(f"| {line} |" for line in lines)
    print(text)
    values = {"machine": describe_machine(), **figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(
        f"# {name}\n\n{text}\n\n`python benchmarks/{name}.py`\n", encoding="utf-8"
    )
