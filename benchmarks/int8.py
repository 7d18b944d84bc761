"""What integers of 8 bits gain in time and lose in Dice, on trained runs.

Each run is copied and quantised as `maskwright quantise` does it: ranges from training images, the
loss from validation images. Then its test images, which played no part in that, are predicted in
each number format, and one tile is timed in each, the formats taking turns in processes of their
own.

    python benchmarks/int8.py RUN [RUN …] [--rounds 7] [--tile 512]
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import maskwright as mw
from maskwright.data.dataset import find_cases
from maskwright.io.run_folder import RunFolder
from maskwright.workflow.opening import Asked, open_network
from measuring import RESULTS, median_ratio, take_turns, write_results

FORMATS = {
    "PyTorch, float32": ("torch", "float32"),
    "PyTorch, bfloat16": ("torch", "bfloat16"),
    "OpenVINO, float32": ("openvino", "float32"),
    "OpenVINO, bfloat16": ("openvino", "bfloat16"),
    "OpenVINO, int8": ("openvino", "int8"),
}


def one_tile(name: str, run: Path, tile_px: int) -> Callable[[], None]:
    engine, precision = FORMATS[name]
    opened = open_network(run, Asked(engine=engine, settings=(f"precision={precision}",)))
    shape = (1, opened.predictor.channels, tile_px, tile_px)
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return lambda: _ignore(opened.predictor.engine(batch))


def _ignore(_: object) -> None:
    """A prediction that is only timed returns nothing."""


def dice_on_test_images(run: Path, name: str, work: Path) -> list[float]:
    """Mean Dice of the classes after the first, for each test image."""
    folder = RunFolder(run)
    root = Path(folder.read_json(folder.metrics)["data"]["root"])
    test = set(folder.read_json(folder.splits)["test"])
    cases = [case for case in find_cases(root).cases if case.name in test]
    engine, precision = FORMATS[name]
    out = work / f"{run.name}_{precision}"
    found = mw.predict(run, [case.image for case in cases], out, engine=engine,
                       settings=(f"precision={precision}",), overwrite=True)  # fmt: skip
    truth = work / f"{run.name}_truth"
    truth.mkdir(exist_ok=True)
    for case in cases:
        if case.mask is not None:
            shutil.copy(case.mask, truth / f"{case.image.stem}{case.mask.suffix}")
    return [score.mean_dice for score in mw.evaluate(found, truth, measures="overlap").cases]


def measure(
    run: Path, tile_px: int, rounds: int, work: Path
) -> tuple[dict[str, Any], list[list[str]]]:
    copy = work / run.name
    shutil.copytree(run, copy, dirs_exist_ok=True)
    made = mw.quantise(copy)
    timed = {name: partial(one_tile, name) for name in FORMATS}
    seconds = take_turns(timed, (copy, tile_px), rounds=rounds)
    dice = {name: dice_on_test_images(copy, name, work) for name in FORMATS
            if name.startswith("OpenVINO")}  # fmt: skip
    exact, plain = dice["OpenVINO, float32"], next(iter(FORMATS))
    rows = []
    for name in FORMATS:
        fit = f"{median_ratio(seconds[plain], seconds[name]):.2f}"
        row = [run.name, name, f"{np.median(seconds[name]):.3f}", f"{min(seconds[name]):.3f}", fit]
        validation = ["", ""]
        if name.endswith("int8"):
            validation = [f"{made.mean_loss:+.4f}", f"{made.worst.loss:+.4f}"]
        tested = ["", ""]
        if name in dice:
            losses = np.subtract(exact, dice[name])
            tested = [f"{losses.mean():+.4f}", f"{losses.max():+.4f}"]
        rows.append([*row, *validation, *tested])
    figures = {"run": run.name, **made.to_json(), "seconds": seconds, "test_dice": dice}
    return figures, rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work" / "int8")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    table = [["run", "engine", "median s", "fastest s", "times as fast",
              "mean loss, validation", "worst", "mean loss, test", "worst"]]  # fmt: skip
    figures = []
    for run in arguments.runs:
        found, rows = measure(run, arguments.tile, arguments.rounds, arguments.work)
        figures.append(found)
        table += rows
    values = {"tile_px": arguments.tile, "threads": torch.get_num_threads(), "runs": figures}
    write_results("int8", json.loads(json.dumps(values)), table, folder=arguments.results)


if __name__ == "__main__":
    main()
