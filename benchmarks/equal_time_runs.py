"""The runs of the comparison at equal time, each a process of its own, and their scores."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from equal_time_data import Prepared, take_back
from measuring import Usage
from nnunet_run import Task
from peers import HERE, count_cores, python_of

PROGRAMS = ("nnunet", "ours")
# A program that has not ended by then hangs.
PATIENCE = 2.0
PATIENCE_S = 300.0
_LOG_LINES = 12
DISC = " in the disc"


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a program on a data set within a time.

    Args:
        prepared: The data set.
        program: One of :data:`PROGRAMS`.
        minutes: The time.
        work: Folder of all cells.
        environment: Where nnU-Net is installed.
        settings: Settings of ours beyond the time, ``key=value``.
    """

    prepared: Prepared
    program: str
    minutes: float
    work: Path
    environment: Path
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.prepared.data.name}_{self.minutes:g}min_{self.program}"

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.work / self.name

    @property
    def figures(self) -> Path:
        """What is kept of it when it has ended."""
        return self.work / "cells" / f"{self.name}.json"

    @property
    def is_done(self) -> bool:
        """Whether it has ended well."""
        if not self.figures.exists():
            return False
        return not json.loads(self.figures.read_text(encoding="utf-8"))["failed"]


@dataclass(frozen=True)
class Outcome:
    """What a program left.

    Args:
        usage: What it took.
        masks: Folder of its masks.
        facts: Steps, network and patch.
        failed: Why it has no masks, else empty.
    """

    usage: Usage
    masks: Path
    facts: dict[str, Any]
    failed: str = ""


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train, predict and score; or why there is no score.

    Returns:
        The figures of the cell, which are also written.
    """
    shutil.rmtree(cell.folder, ignore_errors=True)
    cell.folder.mkdir(parents=True)
    outcome = (_run_nnunet if cell.program == "nnunet" else _run_ours)(cell)
    scores, failed = {}, outcome.failed
    if not failed:
        scores, failed = score(cell.prepared, outcome.masks, cell.folder)
    figures = {
        "set": cell.prepared.data.name,
        "program": cell.program,
        "minutes": cell.minutes,
        **asdict(outcome.usage),
        "failed": failed,
        "scores": scores,
        **outcome.facts,
    }
    cell.figures.parent.mkdir(parents=True, exist_ok=True)
    cell.figures.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _run_nnunet(cell: Cell) -> Outcome:
    prepared, folder = cell.prepared, cell.folder
    figures, written, masks = folder / "figures.json", folder / "written", folder / "masks"
    task = Task(
        number=prepared.data.number,
        configuration=prepared.data.configuration,
        begun=time.time(),
        minutes=cell.minutes,
        images=str(prepared.dataset / "imagesTs"),
        masks=str(written),
        figures=str(figures),
        cores=count_cores(),
    )
    folders = {
        "nnUNet_raw": str(prepared.raw),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
        "nnUNet_def_n_proc": str(count_cores()),
    }
    command = [str(python_of(cell.environment)), str(HERE / "nnunet_run.py"), task.to_json()]
    usage, failed = measure(command, folder / "log.txt", _limit(cell), folders)
    if failed:
        return Outcome(usage, masks, {}, failed)
    take_back(prepared, written, masks)
    return Outcome(usage, masks, json.loads(figures.read_text(encoding="utf-8")))


def _run_ours(cell: Cell) -> Outcome:
    prepared, run, masks = cell.prepared, cell.folder / "run", cell.folder / "masks"
    data = prepared.data
    usage, failed = measure(
        _maskwright(
            *("train", prepared.root, "--out", run, "--split", prepared.split),
            *("--minutes", f"{cell.minutes:g}"),
            *(part for setting in cell.settings for part in ("--set", setting)),
        ),
        cell.folder / "log.txt",
        _limit(cell),
    )
    if failed:
        return Outcome(usage, masks, {}, failed)
    # Training has predicted and scored these images within its time; here they are predicted once
    # more, so that both programs are scored by one command from masks and probabilities.
    more = ("--probabilities",) if data.needs_probabilities else ()
    more += ("--objects",) if data.numbered else ()
    _, failed = measure(
        _maskwright("predict", run, *prepared.images.values(), "--out", masks, *more),
        cell.folder / "predict.txt",
        _limit(cell),
    )
    facts = {"settings": list(cell.settings), **facts_of(run)}
    return Outcome(usage, masks / "objects" if data.numbered else masks, facts, failed)


def facts_of(run: Path) -> dict[str, Any]:
    """What a run of ours was: steps, network and patch."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    train, model = config["train"], config["model"]
    return {
        "steps": train["steps"],
        "batch": train["batch"],
        "patch_px": train["patch_px"],
        "model": {key: model[key] for key in ("dims", "depth", "width", "norm", "levels")},
    }


def score(prepared: Prepared, masks: Path, folder: Path) -> tuple[dict[str, float], str]:
    """Scores of masks of any program, by ``maskwright evaluate`` with the same settings for all.

    Args:
        prepared: The data set.
        masks: Folder of the masks, with their probabilities.
        folder: Where ``scores.json`` goes.

    Returns:
        Dice and the set's own measures by the names that the table shows, or why there are none.
    """
    data = prepared.data
    labels = ",".join(f"{name}={value}" for name, value in data.labels)
    meaning = ("--objects",) if data.numbered else ("--labels", labels)
    found: dict[str, float] = {}
    # What counts in the lit disc alone stands beside the whole photograph, as papers give either.
    for where, more in {"": (), DISC: ("--roi", prepared.regions)}.items():
        if where and not data.disc:
            continue
        json_file = folder / f"scores{where.replace(' ', '_')}.json"
        command = _maskwright(
            *("evaluate", masks, prepared.truth, "--measures", data.measures),
            *("--json", json_file, *meaning, *more),
        )
        _, failed = measure(command, folder / "scores.txt", PATIENCE_S)
        if failed:
            return {}, failed
        scores = own_scores(data.name, json.loads(json_file.read_text(encoding="utf-8")))
        found |= {f"{name}{where}": value for name, value in scores.items()}
    return found, ""


def own_scores(name: str, found: Mapping[str, Any]) -> dict[str, float]:
    """Dice and the own measures of a set, from what ``maskwright evaluate`` wrote."""
    classes = found["summary"]["classes"]
    if name == "membranes":
        cells = found["partitions"]["cell"]
        return {
            "Dice": classes["membrane"]["dice"]["mean"],
            "V-Rand": cells["best_v_rand"][1],
            "V-Info": cells["best_v_info"][1],
        }
    if name == "vessels":
        return {
            "Dice": classes["vessel"]["dice"]["mean"],
            "AUC": classes["vessel"]["auc"]["mean"],
        }
    if name == "nuclei":
        # The class that is not the background, whatever it is called.
        nuclei = list(classes.values())[-1]
        return {"Dice": nuclei["dice"]["mean"], "AP at IoU 0.5": nuclei["ap"]["pooled"]}
    parts = [classes[part] for part in ("anterior", "posterior")]
    return {
        "Dice": sum(part["dice"]["mean"] for part in parts) / len(parts),
        "HD95, mm": sum(part["hd95"]["mean"] for part in parts) / len(parts),
    }


def measure(
    command: Sequence[str],
    log: Path,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> tuple[Usage, str]:
    """Run a command to its end, or until it hangs, and measure it.

    Args:
        command: What to run.
        log: Where its output goes.
        limit_s: After how long it is ended with all that it started.
        environment: Variables besides the present ones.

    Returns:
        What it took, and the end of what it wrote where it did not end well.
    """
    begun = time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        child = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    hangs = False
    try:
        while True:
            ended, status, used = os.wait4(child.pid, os.WNOHANG)
            if ended:
                break
            if not hangs and time.perf_counter() - begun > limit_s:
                hangs = True
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(0.05)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        raise
    wall_s = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    failed = ""
    if child.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        why = f"not ended after {limit_s:.0f} s" if hangs else f"exit status {child.returncode}"
        failed = "\n".join([why, *lines])
    # Linux counts in units of 1024 bytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * unit), failed


def _limit(cell: Cell) -> float:
    return PATIENCE * 60 * cell.minutes + PATIENCE_S


def _maskwright(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "maskwright.cli", *map(str, arguments), "--quiet"]
