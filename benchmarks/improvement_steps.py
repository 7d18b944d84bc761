"""How long one update of each variant takes: in turns, so that a slow moment hits all alike."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import maskwright
from improvement_data import Prepared
from maskwright.errors import MaskwrightError
from maskwright.progress import Event, Events
from measuring import median_ratio

UPDATES_A_TURN = 4
_ENDLESS = 1_000_000


def _serve(link: Connection, arguments: dict[str, Any]) -> None:
    """Train in earnest, but pause after every few updates until it is our turn again."""
    begun = time.perf_counter()

    def pace(event: Event) -> None:
        nonlocal begun
        if event["kind"] == "step" and event["step"] % UPDATES_A_TURN == 0:
            link.send((time.perf_counter() - begun) / UPDATES_A_TURN)
            link.recv()
            begun = time.perf_counter()

    try:
        maskwright.train(**arguments, events=Events([pace]))
    except MaskwrightError as error:
        link.send(str(error))
    except EOFError:
        return  # the other end has measured enough


def _start(prepared: Prepared, settings: tuple[str, ...], out: Path) -> Connection:
    context = multiprocessing.get_context("spawn")
    link, far = context.Pipe()
    arguments = {
        "data": prepared.root,
        "out": out,
        "steps": _ENDLESS,
        "seed": 0,
        "split": prepared.split,
        "settings": settings,
        **prepared.data.options,
    }
    context.Process(target=_serve, args=(far, arguments), daemon=True).start()
    far.close()
    return link


def fastest_numerics(prepared: Prepared, settings: tuple[str, ...]) -> tuple[str, ...]:
    """Memory order and number format that the trainer finds fastest here, as settings.

    Args:
        prepared: A data set.
        settings: Settings of a run on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with _start(prepared, settings, out) as link:
            first = link.recv()
            if isinstance(first, str):
                raise SystemExit(first)
            chosen = json.loads((out / "config.json").read_text(encoding="utf-8"))["train"]
    layout, precision = chosen["layout"], chosen["precision"]
    return (
        f"train.layout={layout}",
        f"train.precision={precision}",
        f"predict.precision={precision}",
    )


def step_times(
    prepared: Prepared, variants: Mapping[str, tuple[str, ...]], *, rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of one update of each variant, sampling and augmentation included.

    Args:
        prepared: The data set.
        variants: Settings of each variant.
        rounds: Turns of each; a turn is a few updates.

    Returns:
        Seconds by variant, one for each turn, and the refusals of those that cannot be trained.
    """
    refused: dict[str, str] = {}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        links = {
            name: _start(prepared, settings, Path(folder) / name)
            for name, settings in variants.items()
        }
        for name, link in links.items():
            first = link.recv()
            if isinstance(first, str):
                refused[name] = first
            else:
                seconds[name] = []
        for _ in range(rounds):
            for name, several in seconds.items():
                links[name].send(True)
                several.append(links[name].recv())
        for link in links.values():
            link.close()
        for process in multiprocessing.active_children():
            process.join(timeout=30)
    return seconds, refused


def ratios(seconds: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """How many times as long an update of each variant takes, the median over the turns.

    Args:
        seconds: What :func:`step_times` returned.
        reference: The variant that counts as 1.
    """
    return {name: median_ratio(several, seconds[reference]) for name, several in seconds.items()}


def undisturbed_s(several: list[float]) -> float:
    """Seconds of an update that nothing else disturbed: the lower quartile of the turns."""
    return statistics.quantiles(several, n=4)[0] if len(several) > 1 else several[0]
