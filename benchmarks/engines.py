"""One network in every engine, and our prediction against MONAI's sliding window.

First the published network at full width, padded, on one 512² tile in each engine, with how far
its probabilities are from PyTorch's in float32. Then a whole image with the same weights: MONAI in
float32 as its users run it, with its default overlap and without any, against ours. Weights are
random with measured batch statistics, since times do not depend on them.

    python benchmarks/engines.py [--rounds 5] [--size 4096] [--width 16]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.config import DataConfig, ModelConfig, PredictConfig
from maskwright.data import intensity
from maskwright.export.facts import ModelFacts
from maskwright.nn.unet import UNet, build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import Engine
from maskwright.workflow.engines import OtherEngines
from maskwright.workflow.prediction import Predictor, tile_rule
from measuring import median_ratio, take_turns, write_results

TILE_PX = 512
LABELS = DataConfig(labels=(("none", 0), ("cell", 255)))
ENGINES = {
    "PyTorch, contiguous float32": ("torch", "contiguous", "float32"),
    "PyTorch, channels_last float32": ("torch", "channels_last", "float32"),
    "PyTorch, channels_last bfloat16": ("torch", "channels_last", "bfloat16"),
    "ONNX Runtime, float32": ("onnx", "", "float32"),
    "OpenVINO, float32": ("openvino", "", "float32"),
    "OpenVINO, bfloat16": ("openvino", "", "bfloat16"),
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
    (engine,) = OtherEngines(network, facts).build(kind).values()
    return engine


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
    rows = [["engine", "median s", "times as fast", "largest difference", "mean difference",
             "pixels of another class"]]  # fmt: skip
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
        rows.append([name, f"{np.median(seconds[name]):.2f}", f"{ratio:.2f}",
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
    rows = [
        [name, f"{np.median(seconds[name]):.1f}", f"{ratio:.2f}", "", "", ""]
        for name, ratio in ratios.items()
    ]
    return {name: {"seconds": seconds[name], "ratio": ratios[name]} for name in runs}, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full-width", type=int, default=64)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=4096)
    arguments = parser.parse_args()
    engines, table = compare_engines(arguments.full_width, arguments.rounds)
    windows, rows = compare_windows(arguments.width, arguments.size, max(2, arguments.rounds // 2))
    cores = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    table[0][0] = f"width {arguments.full_width} on {TILE_PX}², {cores}"
    heading = f"**width {arguments.width} on {arguments.size}², {cores}**"
    table += [[heading, "", "", "", "", ""], *rows]
    figures = {
        "full_width": arguments.full_width,
        "tile_px": TILE_PX,
        "engines": engines,
        "width": arguments.width,
        "image_px": arguments.size,
        "whole_image": windows,
        "threads": torch.get_num_threads(),
    }
    write_results("engines", figures, table)


if __name__ == "__main__":
    main()
