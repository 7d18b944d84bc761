"""One network in every engine, and our prediction against MONAI's sliding window.

First the published network at full width, padded, on one 512² tile in each engine, with how far
its probabilities are from PyTorch's in float32; the ranges of int8 are those of noise. Then a whole
image with the same weights: MONAI in float32 as its users run it, with its default overlap and
without any, against ours. Weights are random with measured batch statistics, since times do not
depend on them.

    python benchmarks/engines.py [--rounds 5] [--size 4096] [--width 16] [--threads 2]
        [--only tile,image]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.config import DataConfig, ModelConfig, PredictConfig
from maskwright.data import intensity
from maskwright.export.facts import ModelFacts
from maskwright.export.int8_file import int8_bytes
from maskwright.nn.unet import UNet, build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import Engine
from maskwright.workflow.engines import OtherEngines
from maskwright.workflow.int8 import Int8
from maskwright.workflow.prediction_plan import tile_rule
from maskwright.workflow.predictor import Predictor
from measuring import RESULTS, median_ratio, take_turns, write_results

TILE_PX = 512
CALIBRATED = 8
HEADINGS = ("median s", "fastest s", "times as fast", "largest difference", "mean difference",
            "pixels of another class")  # fmt: skip
LABELS = DataConfig(labels=(("none", 0), ("cell", 255)))
ENGINES = {
    "PyTorch, contiguous float32": ("torch", "contiguous", "float32"),
    "PyTorch, channels_last float32": ("torch", "channels_last", "float32"),
    "PyTorch, channels_last bfloat16": ("torch", "channels_last", "bfloat16"),
    "ONNX Runtime, float32": ("onnx", "", "float32"),
    "OpenVINO, float32": ("openvino", "", "float32"),
    "OpenVINO, bfloat16": ("openvino", "", "bfloat16"),
    "OpenVINO, int8": ("openvino", "", "int8"),
}


def trained_like(width: int) -> UNet:
    """A network whose batch normalisation has seen data, so that there is something to fold."""
    torch.manual_seed(0)
    network = build_unet(ModelConfig(width=width, depth=4), seed=0)
    network(torch.randn(2, 1, 64, 64))
    return network.eval()


def build(network: UNet, kind: str, layout: str, precision: str) -> Engine:
    if kind == "torch":
        return torch_engine(network, layout=layout, precision=precision)
    facts = ModelFacts(network.config, LABELS, PredictConfig(precision=precision))
    others = OtherEngines(network, facts)
    if precision == "int8":
        others = replace(others, int8=quantised(others))
    (engine,) = others.build(kind).values()
    return engine


def quantised(others: OtherEngines) -> Int8:
    """The network in int8, without a loss: random weights have none to measure."""
    generator = np.random.default_rng(1)
    shape = (CALIBRATED, 1, 1, TILE_PX // 2, TILE_PX // 2)
    content = int8_bytes(others.onnx("openvino"), generator.normal(size=shape).astype(np.float32))
    return Int8(content, (), CALIBRATED, "", "")


def tile() -> NDArray[np.float32]:
    normal = np.random.default_rng(0).normal(size=(1, 1, TILE_PX, TILE_PX))
    return normal.astype(np.float32)


def one_tile(name: str, width: int) -> Callable[[], None]:
    engine, batch = build(trained_like(width), *ENGINES[name]), tile()
    return lambda: _ignore(engine(batch))


def whole_image(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (1, side, side)).astype(np.uint8)


def monai(overlap: float, width: int, side: int) -> Callable[[], None]:
    from monai.inferers import sliding_window_inference

    network, image = trained_like(width), whole_image(side)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(batch)["logits"]
        return found

    def run() -> None:
        normal = torch.from_numpy(intensity.apply(image, intensity.measure(image, 1), 1)[None])
        with torch.no_grad():
            sliding_window_inference(
                normal, (TILE_PX, TILE_PX), 4, logits, overlap=overlap
            ).softmax(1).argmax(1)

    return run


def ours(engine: str, width: int, side: int) -> Callable[[], None]:
    network, image = trained_like(width), whole_image(side)
    config = PredictConfig(engine=engine)
    if engine == "torch":
        predictor = Predictor.build(network, config)
    else:
        facts = ModelFacts(network.config, LABELS, config)
        name, chosen = OtherEngines(network, facts).chosen(tile())
        predictor = Predictor(chosen, tile_rule(network.config, config), 1, 2, name)
    return lambda: _ignore(predictor.predict(image, hold=False))


def _ignore(_: object) -> None:
    """A prediction that is only timed returns nothing."""


def compare_engines(width: int, rounds: int) -> tuple[dict[str, Any], list[list[str]]]:
    runs = {name: partial(one_tile, name) for name in ENGINES}
    seconds = take_turns(runs, (width,), rounds=rounds)
    network, batch = trained_like(width), tile()
    exact = torch_engine(network)(batch)["probabilities"]
    plain = next(iter(ENGINES))
    figures: dict[str, Any] = {}
    rows: list[list[str]] = []
    for name, kind in ENGINES.items():
        found = build(network, *kind)(batch)["probabilities"]
        apart = np.abs(found - exact)
        changed = float((found.argmax(1) != exact.argmax(1)).mean())
        ratio = median_ratio(seconds[plain], seconds[name])
        figures[name] = {
            "seconds": seconds[name],
            "ratio_to_plain": ratio,
            "largest_difference": float(apart.max()),
            "mean_difference": float(apart.mean()),
            "pixels_of_another_class": changed,
        }
        rows.append([name, f"{np.median(seconds[name]):.3f}", f"{min(seconds[name]):.3f}",
                     f"{ratio:.2f}",
                     f"{apart.max():.1e}", f"{apart.mean():.1e}", f"{changed:.2%}"])  # fmt: skip
    return figures, rows


def compare_windows(width: int, side: int, rounds: int) -> tuple[dict[str, Any], list[list[str]]]:
    runs = {
        "MONAI, float32, overlap 0.25 (its default)": partial(monai, 0.25),
        "MONAI, float32, no overlap": partial(monai, 0.0),
        "ours, --engine torch": partial(ours, "torch"),
        "ours, --engine openvino": partial(ours, "openvino"),
    }
    seconds = take_turns(runs, (width, side), rounds=rounds, warmups=0)
    slow = next(iter(runs))
    ratios = {name: median_ratio(seconds[slow], seconds[name]) for name in runs}
    rows = []
    for name, ratio in ratios.items():
        times = f"{np.median(seconds[name]):.1f}", f"{min(seconds[name]):.1f}"
        rows.append([name, *times, f"{ratio:.2f}", "", "", ""])
    return {name: {"seconds": seconds[name], "ratio": ratios[name]} for name in runs}, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full-width", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="tile,image", help="of tile, image")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # The processes that are timed begin with this.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    torch.set_num_threads(arguments.threads)
    cores = f"{arguments.threads} of {os.cpu_count()} cores"
    figures: dict[str, Any] = {"threads": arguments.threads}
    table = [[cores, *HEADINGS]]
    if "tile" in arguments.only:
        width = arguments.full_width
        engines, rows = compare_engines(width, arguments.rounds)
        table += [[f"**width {width} on {TILE_PX}²**", *[""] * len(HEADINGS)], *rows]
        figures |= {"full_width": width, "tile_px": TILE_PX, "engines": engines}
    if "image" in arguments.only:
        width, side = arguments.width, arguments.size
        windows, rows = compare_windows(width, side, max(2, arguments.rounds // 2))
        table += [[f"**width {width} on {side}²**", *[""] * len(HEADINGS)], *rows]
        figures |= {"width": width, "image_px": side, "whole_image": windows}
    write_results("engines", figures, table, folder=arguments.results)


if __name__ == "__main__":
    main()
