"""Our prediction against plain PyTorch (float32, NCHW) of the same network on the same tiles.

Plain runs the trained network as it is; ours folds the normalisation, chooses the number format
and goes through the whole overlap-tile path, normalisation and argmax included.

    python benchmarks/predict.py [--width 16 32] [--rounds 5]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import ModelConfig, PredictConfig
from maskwright.nn.unet import UNet, build_unet
from maskwright.tiling import read_mirrored
from maskwright.workflow.predictor import Predictor
from measuring import median_ratio, take_turns, write_results


def prepare(width: int, side: int) -> tuple[UNet, Predictor, NDArray[np.uint8]]:
    torch.manual_seed(0)
    network = build_unet(ModelConfig(width=width), seed=0)
    network(torch.randn(2, 1, 64, 64))
    network.eval()
    image = np.random.default_rng(0).integers(0, 255, (1, side, side)).astype(np.uint8)
    return network, Predictor.build(network, PredictConfig()), image


def plain(width: int, side: int) -> Callable[[], None]:
    network, predictor, image = prepare(width, side)
    tiles = predictor.rule.cover((side, side))

    def run() -> None:
        normal = (image - np.float32(image.mean())) / np.float32(image.std())
        with torch.no_grad():
            for tile in tiles:
                batch = torch.from_numpy(np.ascontiguousarray(read_mirrored(normal, tile.read)))
                network(batch[None])["logits"].softmax(1).argmax(1)

    return run


def ours(width: int, side: int) -> Callable[[], None]:
    _, predictor, image = prepare(width, side)
    return lambda: _ignore(predictor.predict(image, hold=False))


def _ignore(_: object) -> None:
    """A prediction that is only timed returns nothing."""


def measure(width: int, rounds: int, side: int) -> tuple[dict[str, Any], list[list[str]]]:
    model = ModelConfig(width=width)
    _, predictor, _ = prepare(width, side)
    tiles = predictor.rule.cover((side, side))
    seconds = take_turns({"plain": plain, "ours": ours}, (width, side), rounds=rounds, warmups=1)
    ratio = median_ratio(seconds["plain"], seconds["ours"])
    pixels = sum(tile.read[0].size * tile.read[1].size for tile in tiles)
    read = tiles[0].read[0].size
    layers = geometry.layer_table((read, read), model)
    operations = 2 * sum(layer.macs for layer in layers) * pixels // read**2
    values = sum(math.prod(layer.shape) * layer.channels for layer in layers) * pixels // read**2
    figures = {
        "width": width,
        "image_px": side,
        "tiles": len(tiles),
        "computed_to_image_pixels": pixels / side**2,
        "numerics": predictor.numerics,
        "seconds": seconds,
        "ratio_plain_to_ours": ratio,
        "floor_operations": operations,
        "floor_bytes": 2 * 2 * values,
        "megapixels_per_second": side**2 / 1e6 / float(np.median(seconds["ours"])),
    }
    table = [
        ["what", "value"],
        ["network", f"U-Net, depth 4, width {width}, {side}² in {len(tiles)} tiles"],
        ["ours runs as", predictor.numerics],
        ["plain float32 NCHW, median s", f"{np.median(seconds['plain']):.2f}"],
        ["ours, median s", f"{np.median(seconds['ours']):.2f}"],
        ["plain / ours", f"{ratio:.2f}"],
        ["computed to kept pixels", f"{pixels / side**2:.2f}"],
        ["operations", f"{operations / 1e12:.2f} TFLOP"],
        ["bytes moved at least", f"{2 * 2 * values / 1e9:.1f} GB"],
    ]
    return figures, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1536)
    arguments = parser.parse_args()
    results = [measure(width, arguments.rounds, arguments.size) for width in arguments.width]
    rows = zip(*(table for _, table in results), strict=True)
    table = [[row[0][0], *(cells[1] for cells in row)] for row in rows]
    write_results("predict", {"results": [figures for figures, _ in results]}, table)


if __name__ == "__main__":
    main()
