"""Our prediction, MONAI's sliding window and nnU-Net's predictor: same weights, image and machine.

Each prediction is a process of its own, which warms up on a corner of the image and then times the
whole of it, from normalised pixels to probabilities. The programs take turns, so that a slow moment
of the machine hits all alike; ratios are medians over the rounds. For each the image is also
predicted with larger tiles and with other places of the tiles: the largest difference between the
probabilities says how much the tiles matter.

    python benchmarks/against_peers.py --install
    python benchmarks/against_peers.py --data ../shared/data [--run RUN] [--size 4096] [--rounds 2]
        [--width 16] [--programs ours,monai,nnunet] [--only TEXT]

``--install`` makes an environment for all of them in ``benchmarks/work/peers``. Without it the
present environment is used, and programs that are missing from it are left out. Without ``--run``
the weights are random, with real batch statistics.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from large_inputs import mosaic, network_like_trained, sections, write_run
from maskwright.config import ModelConfig
from maskwright.data import intensity
from maskwright.io.run_folder import RunFolder
from maskwright.workflow.int8 import Int8
from measuring import RESULTS, median_ratio, write_results
from peer_rows import Task

HERE = Path(__file__).parent
PEERS = HERE / "work" / "peers"
# A multiple of every network's grid of poolings, and not of a tile.
SHIFT_PX = 208
# What lies next to an image's border is predicted from other pixels where the border moves.
BORDER_PX = 256
# Without what they need beyond prediction; timm and torchvision are not imported.
WITHOUT_DEPENDENCIES = (
    "nnunetv2==2.8.1",
    "dynamic-network-architectures==0.4.4",
    "acvl-utils==0.2.6",
    "batchgenerators==0.25.5",
    "batchgeneratorsv2==0.3.6",
    "fft-conv-pytorch==1.2.0",
)
WITH_DEPENDENCIES = (
    "monai==1.6.1",
    "blosc2==4.14.1",
    "einops==0.8.2",
    "future==1.0.0",
    "graphviz",
    "matplotlib",
    "nibabel==5.4.2",
    "pandas",
    "requests",
    "scikit-learn",
    "seaborn==0.13.2",
    "tqdm",
    "yacs==0.1.8",
)
RATIOS: Mapping[str, Callable[[Mapping[str, Any]], list[float]]] = {
    "times_as_fast": lambda row: row["seconds"],
    "times_as_fast_larger_tile": lambda row: row["seconds_larger_tile"],
    "times_as_fast_better_tile": lambda row: [
        min(pair) for pair in zip(row["seconds"], row["seconds_larger_tile"], strict=True)
    ],
}
MODULES = {"ours": "maskwright", "monai": "monai", "nnunet": "nnunetv2"}


def install() -> None:
    """Make the environment of the peers."""
    subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    pip = [str(PEERS / "bin" / "python"), "-m", "pip", "install"]
    ours = f"{HERE.parent}[onnx,openvino]"
    pinned = ["-c", str(HERE.parent / "constraints.txt"), "torch==2.13.0"]
    subprocess.run([*pip, *pinned, "--editable", ours, *WITH_DEPENDENCIES], check=True)
    subprocess.run([*pip, "--no-deps", *WITHOUT_DEPENDENCIES], check=True)


def interpreter() -> str:
    """The environment of the peers where there is one, else the present one."""
    python = PEERS / "bin" / "python"
    return str(python) if python.exists() else sys.executable


def has(module: str) -> bool:
    """Whether the interpreter finds a module, without importing it."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([interpreter(), "-c", code], check=False).returncode == 0


def tasks(plain: Task, *, int8: bool) -> Iterator[tuple[str, Task]]:
    """Everything that is compared, with its name; the first is what others are compared with."""
    for precision in ("float32", "bfloat16"):
        for overlap, gaussian in ((0.25, False), (0.5, True)):
            words = "overlap 0.5, gaussian" if gaussian else "overlap 0.25 (its default)"
            yield (
                f"MONAI, {words}, {precision}",
                replace(plain, program="monai", precision=precision, overlap=overlap,
                        gaussian=gaussian),
            )  # fmt: skip
    for mirroring in (False, True):
        words = ", mirroring (its default)" if mirroring else ""
        yield (
            f"nnU-Net, step 0.5, gaussian{words}, float32",
            replace(plain, program="nnunet", overlap=0.5, gaussian=True, mirroring=mirroring),
        )
    engines = [("torch", "float32"), ("torch", "bfloat16"), ("onnx", "float32"),
               ("openvino", "float32"), ("openvino", "bfloat16")]  # fmt: skip
    for engine, precision in [*engines, *([("openvino", "int8")] if int8 else [])]:
        yield f"ours, {engine}, {precision}", replace(plain, engine=engine, precision=precision)


def measure(task: Task) -> dict[str, float]:
    """Run a task in a process of its own."""
    print(f"  {task.program} {task.engine} {task.precision} tile {task.tile_px} "
          f"shift {task.shift_px}", file=sys.stderr, flush=True)  # fmt: skip
    command = [interpreter(), str(HERE / "peer_rows.py"), task.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(wanted: Mapping[str, Task], rounds: int, work: Path) -> dict[str, dict[str, Any]]:
    """Time every task with both tiles, and see how much the tiles matter."""
    figures: dict[str, dict[str, Any]] = {
        name: {"seconds": [], "seconds_larger_tile": [], "peak_bytes": 0.0} for name in wanted
    }
    for number in range(rounds):
        for name, task in wanted.items():
            # Four times the work for what is known after one round.
            if number and task.mirroring:
                continue
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            values = figures[name]
            first = measure(replace(task, out=str(work / "a.npy")))
            larger = measure(replace(task, tile_px=2 * task.tile_px, out=str(work / "b.npy")))
            values["seconds"].append(first["seconds"])
            values["seconds_larger_tile"].append(larger["seconds"])
            values["peak_bytes"] = max(values["peak_bytes"], first["peak_bytes"])
            if number == 0:
                measure(replace(task, shift_px=SHIFT_PX, out=str(work / "c.npy")))
                values |= differences(work)
    slow = next(iter(figures.values()))
    for values in figures.values():
        pairs = len(values["seconds"])
        for ratio, times in RATIOS.items():
            others, own = times(slow)[:pairs], times(values)
            values[ratio] = median_ratio(others, own)
    return figures


def differences(work: Path) -> dict[str, float]:
    """Between tiles of two sizes and between two places of the tiles."""
    one, larger, moved = (np.load(work / f"{name}.npy") for name in "abc")
    border = min(BORDER_PX, *(size // 4 for size in moved.shape[1:]))
    inner = (slice(None), slice(border, -border), slice(border, -border))
    shifted = np.abs(one[:, SHIFT_PX:, SHIFT_PX:] - moved)[inner]
    return {
        "largest_difference_by_size": float(np.abs(one - larger).max()),
        "largest_difference_by_place": float(shifted.max()),
        "mean_difference_by_place": float(shifted.mean()),
    }


def table_of(figures: Mapping[str, Mapping[str, Any]], tile_px: int) -> list[list[str]]:
    """The figures as text."""
    table = [["program", f"median s, tile {tile_px}", "times as fast", f"tile {2 * tile_px}",
              "times as fast", "better tile of each", "peak MB",
              "largest difference by size of tiles", "by place of tiles"]]  # fmt: skip
    for name, values in figures.items():
        table.append(
            [
                name,
                f"{np.median(values['seconds']):.1f}",
                f"{values['times_as_fast']:.2f}",
                f"{np.median(values['seconds_larger_tile']):.1f}",
                f"{values['times_as_fast_larger_tile']:.2f}",
                f"{values['times_as_fast_better_tile']:.2f}",
                f"{values['peak_bytes'] / 1e6:.0f}",
                f"{values['largest_difference_by_size']:.1e}",
                f"{values['largest_difference_by_place']:.1e}",
            ]
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install", action="store_true", help="make the environment of the peers")
    parser.add_argument("--data", type=Path, help="folder that holds membranes/")
    parser.add_argument("--run", type=Path, help="a trained run")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--programs", default=",".join(MODULES))
    parser.add_argument(
        "--only", default="", help="rows whose names hold one of these texts, joined by |"
    )
    parser.add_argument("--work", type=Path, default=HERE / "work" / "against_peers")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.install:
        install()
        return
    if arguments.data is None:
        parser.error("--data is needed")
    arguments.work.mkdir(parents=True, exist_ok=True)
    images = sections(arguments.data)
    run = arguments.run
    if run is None:
        model = ModelConfig(width=arguments.width, depth=arguments.depth)
        run = write_run(arguments.work / "run", network_like_trained(model, images))
    whole = mosaic(images[0], (slice(0, arguments.size),) * 2)[None]
    image = arguments.work / "image.npy"
    np.save(image, intensity.apply(whole, intensity.measure(whole, 1), 1))
    plain = Task("ours", arguments.tile, str(run), str(image))
    programs = [name for name in arguments.programs.split(",") if has(MODULES[name])]
    wanted = {
        name: task
        for name, task in tasks(plain, int8=Int8.find(RunFolder(run)) is not None)
        if task.program in programs and any(text in name for text in arguments.only.split("|"))
    }
    figures = compare(wanted, arguments.rounds, arguments.work)
    values = {
        "image_px": arguments.size,
        "tile_px": arguments.tile,
        "trained": arguments.run is not None,
        "missing": sorted(set(arguments.programs.split(",")) - set(programs)),
        "rows": figures,
    }
    table = table_of(figures, arguments.tile)
    write_results("against_peers", values, table, folder=arguments.results)


if __name__ == "__main__":
    main()
