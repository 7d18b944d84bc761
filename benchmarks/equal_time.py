"""nnU-Net and maskwright on the same images, machine and time: what each reaches.

Each cell is a process of its own that plans, trains and predicts within the minutes; nothing else
may run beside it. What is finished is kept in ``--work`` and a benchmark that was interrupted goes
on with ``--resume``.

    python benchmarks/equal_time.py --install
    python benchmarks/equal_time.py --data ../shared/data [--sets membranes vessels]
        [--minutes 10 30] [--only ours|nnunet] [--resume]

``--install`` makes the environment ``benchmarks/work/peers`` for nnU-Net. What was changed of
nnU-Net so that it ends within the time is listed in ``nnunet_run.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equal_time_data import DATA_SETS, prepare
from equal_time_runs import PROGRAMS, Cell, run_cell
from maskwright.plan.machine import describe_machine
from measuring import RESULTS, markdown_table
from peers import HERE, NNUNET_VERSION, PEERS, has, install, python_of

TITLES = {"nnunet": f"nnU-Net {NNUNET_VERSION}", "ours": "maskwright"}
LOWER_IS_BETTER = ("HD95, mm",)
NOTES = """\
Each program has the minutes for everything from the folder of images to the masks of the test:
checking, planning, preprocessing, training, prediction; ours also scores and reports in them.
Both are scored by `maskwright evaluate` with the same settings. Seconds are those of the clock,
memory is the largest resident size of one process.

nnU-Net runs its own planner, trainer and predictor. Only what would keep it from ending within
the time was changed, each time in its favour:

- It is installed without timm and torchvision, whose place empty modules take: no plan of its
  default planner uses them.
- Only the configuration that is trained is preprocessed (2d, for volumes 3d_fullres), and the
  integrity of the data set is not verified.
- The learning rate falls by its law, (1 - t)^0.9, with t the share of the training time that is
  over instead of that of 1000 epochs of 250 steps, so that it ends annealed and no second is left.
- There is no validation between epochs, no checkpoint and no plot: they change no weight of its
  final network, which is the one that predicts.
- It learns from all images that are not for the test (fold "all"), while ours keeps some of them
  to choose the best weights and thresholds.
- Batches are made in the training process; with two cores a worker only takes turns with it, and
  workers hang in some sandboxes.
- Time for the prediction is measured on one image before training and kept back. Its predictor
  averages over mirrored images, as is its default, unless that takes over a quarter of the minutes.
- Converting the images for it, and scoring, are not counted.
- Nuclei that touch are parted by one pixel in the masks that it learns from; its objects are the
  connected pieces. In membranes the membrane is its foreground.
"""


def table_of(cells: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The figures as text, one row a cell, the programs of one set and time together."""
    table = [["set", "minutes", "program", "Dice", "own measures", "seconds", "peak GB", "steps"]]
    for cell in cells:
        own = [f"{name} {value:.4f}" for name, value in cell["scores"].items() if name != "Dice"]
        dice = cell["scores"].get("Dice")
        failed = cell["failed"].splitlines()[0] if cell["failed"] else ""
        table.append(
            [
                cell["set"],
                f"{cell['minutes']:g}",
                TITLES[cell["program"]],
                "-" if dice is None else f"{dice:.4f}",
                ", ".join(own) or failed,
                f"{cell['wall_s']:.0f}",
                f"{cell['peak_bytes'] / 1e9:.1f}",
                str(cell.get("steps", "-")),
            ]
        )
    return table


def comparisons(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each set and time, by how much ours is ahead in each measure."""
    scores = {(cell["set"], cell["minutes"], cell["program"]): cell["scores"] for cell in cells}
    lines = []
    for (name, minutes, program), ours in scores.items():
        theirs = scores.get((name, minutes, "nnunet"), {})
        if program != "ours" or not ours or not theirs:
            continue
        parts = []
        for measure, value in ours.items():
            ahead = value - theirs[measure]
            if measure in LOWER_IS_BETTER:
                ahead = -ahead
            parts.append(f"{measure} {'ahead' if ahead > 0 else 'behind'} by {abs(ahead):.4f}")
        lines.append(f"- {name}, {minutes:g} minutes: ours is {', '.join(parts)}.")
    return lines


def write(cells: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write ``equal_time.json`` and ``equal_time.md``, and print the table."""
    table = markdown_table(table_of(cells))
    print(table, flush=True)
    values = {"machine": describe_machine(), "nnunet": NNUNET_VERSION, "cells": list(cells)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "equal_time.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    parts = ["# equal_time", table, "\n".join(comparisons(cells)), NOTES.strip()]
    text = "\n\n".join(part for part in [*parts, "`python benchmarks/equal_time.py`"] if part)
    (folder / "equal_time.md").write_text(text + "\n", encoding="utf-8")


def finished(work: Path) -> list[dict[str, Any]]:
    """The cells that are kept, in the order of the table."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in (work / "cells").glob("*.json")
    ]
    known = list(DATA_SETS)
    return sorted(
        found,
        key=lambda c: (known.index(c["set"]), c["minutes"], PROGRAMS.index(c["program"])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install", action="store_true", help="make the environment of nnU-Net")
    parser.add_argument("--environment", type=Path, default=PEERS, help="where nnU-Net is")
    parser.add_argument("--data", type=Path, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS))
    parser.add_argument("--minutes", nargs="+", type=float, default=[10.0, 30.0])
    parser.add_argument("--only", choices=PROGRAMS)
    parser.add_argument("--set", action="append", default=[], help="key=value for ours")
    parser.add_argument("--resume", action="store_true", help="keep cells that have ended well")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "equal_time")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.environment)
        return
    if arguments.data is None:
        parser.error("--data is needed")
    programs = [arguments.only] if arguments.only else list(PROGRAMS)
    if "nnunet" in programs and not has("nnunetv2", python_of(arguments.environment)):
        parser.error(f"no nnU-Net in {arguments.environment}: run with --install first")
    work = arguments.work.resolve()
    for name in arguments.sets:
        prepared = prepare(DATA_SETS[name], arguments.data.resolve(), work / name)
        for minutes in arguments.minutes:
            for program in programs:
                cell = Cell(
                    prepared, program, minutes, work, arguments.environment, tuple(arguments.set)
                )
                if arguments.resume and cell.is_done:
                    continue
                print(f"{name}, {minutes:g} minutes, {TITLES[program]}", file=sys.stderr)
                run_cell(cell)
                write(finished(work), arguments.results)
    write(finished(work), arguments.results)
    failed = [cell for cell in finished(work) if cell["failed"]]
    for cell in failed:
        print(f"{cell['set']}, {cell['program']}: {cell['failed']}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
