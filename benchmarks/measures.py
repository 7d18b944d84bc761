"""Overlap and surface measures of label volumes: seconds and memory, and against MONAI.

The volumes hold five classes that differ in what makes surfaces hard: a sphere, a shell, scattered
blobs, a tube, and specks of single voxels. The prediction is shifted, swollen and rough.

    python benchmarks/measures.py [--side 512] [--peer-side 192 512] [--rounds 3]

The first of the sides is timed in several rounds, the others once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.evaluate.confusion import count_confusion, counts_of
from maskwright.evaluate.overlap import MEASURES
from maskwright.evaluate.surface import DISTANCES, nsd, surface_distances_by_class
from measuring import median_ratio, take_turns, write_results

CLASSES = 6
SPACING = (2.5, 0.7, 0.7)
TOLERANCE = 2.0


def label_volume(side: int, *, predicted: bool) -> NDArray[np.uint8]:
    """Class ids of five kinds of object, drawn slice by slice."""
    layout, roughness = np.random.default_rng(0), np.random.default_rng(1)
    blobs = np.column_stack((layout.uniform(0, 1, (150, 3)), layout.uniform(0.01, 0.05, 150)))
    shift, swell = (0.008, 1.03) if predicted else (0.0, 1.0)
    axis = np.arange(side) / side + shift
    y, x = axis[:, None], axis[None, :]
    labels = np.zeros((side,) * 3, np.uint8)
    for index, z in enumerate(axis):
        plane = labels[index]
        ripple = np.zeros((side, side))
        if predicted:
            ripple += 0.01 * np.sin(40 * z) * np.sin(50 * y) * np.sin(60 * x)
            ripple += roughness.normal(0, 0.003, (side, side))
        for centre_z, centre_y, centre_x, radius in blobs:
            height = (radius * swell) ** 2 - (z - centre_z) ** 2
            if height > 0:
                plane[(y - centre_y) ** 2 + (x - centre_x) ** 2 < height] = 3
        distance = np.sqrt((z - 0.5) ** 2 + (y - 0.5) ** 2 + (x - 0.5) ** 2) + ripple
        plane[(distance < 0.42 * swell) & (distance > 0.38)] = 2
        plane[distance < 0.3 * swell] = 1
        tube = np.hypot(y - 0.5 - 0.3 * np.sin(6 * z), x - 0.5 - 0.3 * np.cos(6 * z)) + ripple
        plane[tube < 0.03 * swell] = 4
        plane[roughness.random((side, side)) < 0.002] = 5
    return labels


def score(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[dict[str, float]]:
    """Every overlap and surface measure of every class."""
    confusion = count_confusion(prediction, truth, CLASSES)
    return [
        {name: measure(counts_of(confusion, k)) for name, measure in MEASURES.items()}
        | {name: measure(d) for name, measure in DISTANCES.items()}
        | {"nsd": nsd(d, TOLERANCE)}
        for k, d in surface_distances_by_class(prediction, truth, CLASSES, SPACING)
    ]


def one_hot(labels: NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(labels[None, None] == np.arange(CLASSES)[:, None, None, None])


def monai_measures(prediction: Any, truth: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """HD95 and surface Dice of every class but the background."""
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    tolerances = [TOLERANCE] * (CLASSES - 1)
    hd95 = compute_hausdorff_distance(prediction, truth, percentile=95, spacing=list(SPACING))
    dice = compute_surface_dice(prediction, truth, tolerances, spacing=list(SPACING))
    return hd95.numpy()[0], dice.numpy()[0]


def ours(side: int) -> Callable[[], None]:
    pair = label_volume(side, predicted=True), label_volume(side, predicted=False)
    return lambda: _ignore(score(*pair))


def peer(side: int) -> Callable[[], None]:
    pair = [one_hot(label_volume(side, predicted=predicted)) for predicted in (True, False)]
    return lambda: _ignore(monai_measures(*pair))


def _ignore(_: object) -> None:
    """A score that is only timed returns nothing."""


def alone(side: int, link: Connection) -> None:
    prediction, truth = (label_volume(side, predicted=predicted) for predicted in (True, False))
    start = time.perf_counter()
    count_confusion(prediction, truth, CLASSES)
    counted = time.perf_counter()
    elements = sum(
        d.to_truth.size + d.to_prediction.size
        for _, d in surface_distances_by_class(prediction, truth, CLASSES, SPACING)
    )
    measured = time.perf_counter()
    score(prediction, truth)
    link.send(
        {
            "side": side,
            "counts_s": counted - start,
            "distances_s": measured - counted,
            "all_s": time.perf_counter() - measured,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "labels_bytes": prediction.nbytes + truth.nbytes,
            "surface_elements": elements,
        }
    )


def in_own_process(side: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=alone, args=(side, far))
    process.start()
    figures: dict[str, float] = near.recv()
    process.join()
    return figures


def against_monai(side: int, rounds: int) -> dict[str, Any]:
    prediction, truth = (label_volume(side, predicted=predicted) for predicted in (True, False))
    scores = score(prediction, truth)
    hd95, dice = monai_measures(one_hot(prediction), one_hot(truth))
    seconds = take_turns({"monai": peer, "ours": ours}, (side,), rounds=rounds, warmups=0)
    return {
        "side": side,
        "seconds": seconds,
        "ratio_monai_to_ours": median_ratio(seconds["monai"], seconds["ours"]),
        "largest_difference_hd95": float(np.abs([s["hd95"] for s in scores] - hd95).max()),
        "largest_difference_nsd": float(np.abs([s["nsd"] for s in scores] - dice).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--peer-side", type=int, nargs="+", default=[192, 512])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    single = in_own_process(arguments.side)
    table = [
        ["what", "value"],
        ["volume", f"{arguments.side}³, 5 classes, spacing {SPACING}"],
        ["surface elements of both masks", f"{single['surface_elements'] / 1e6:.1f} million"],
        ["confusion counts", f"{single['counts_s']:.1f} s"],
        ["surface distances", f"{single['distances_s']:.1f} s"],
        ["all overlap and surface measures", f"{single['all_s']:.1f} s"],
        ["peak memory, both label volumes included", f"{single['peak_bytes'] / 1e9:.2f} GB"],
    ]
    rounds = [arguments.rounds] + [1] * (len(arguments.peer_side) - 1)
    pairs = [against_monai(*turn) for turn in zip(arguments.peer_side, rounds, strict=True)]
    for pair in pairs:
        medians = {name: float(np.median(times)) for name, times in pair["seconds"].items()}
        at = f"at {pair['side']}³"
        table += [
            [f"MONAI, HD95 and surface Dice, {at}", f"{medians['monai']:.2f} s"],
            [f"ours, all 17 measures, {at}", f"{medians['ours']:.2f} s"],
            [f"MONAI / ours, {at}", f"{pair['ratio_monai_to_ours']:.1f}"],
            [f"largest difference of HD95, {at}", f"{pair['largest_difference_hd95']:.1e}"],
            [f"largest difference of NSD, {at}", f"{pair['largest_difference_nsd']:.1e}"],
        ]
    table.append(["version of MONAI", version("monai")])
    figures = {"alone": single, "against_monai": pairs, "monai": version("monai")}
    write_results("measures", figures, table)


if __name__ == "__main__":
    main()
