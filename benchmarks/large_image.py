"""Images larger than memory: seconds and megabytes of whole predictions, as a person runs them.

The large image is one section of real membranes with its mirror images around it, so that no seam
in it is artificial, as tiled TIFF and as OME-Zarr. It is predicted from its file with several sizes
of tiles, and so is a smaller crop, from its file and in memory; a volume of 14 classes likewise.
Every prediction is a process of its own (`maskwright predict`), whose peak memory is the resident
size that the system reports. Masks are compared block by block.

    python benchmarks/large_image.py --data ../shared/data [--size 30000] [--crop 4096]
        [--volume 512] [--tiles 512 1024] [--only image,crop,volume] [--run RUN] [--width 16]

`--run` predicts with a trained run; without it the weights are random, their batch statistics real.
Images and masks stay in the folder `--work`, which needs about 4 GB; images there are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from large_inputs import network_like_trained, sections, write_mosaic, write_run
from maskwright.config import ModelConfig, RunConfig
from maskwright.io.large_mask import blocks_of
from maskwright.io.run_folder import RunFolder
from maskwright.io.source import open_source
from maskwright.nn.checkpoint import read_model
from maskwright.workflow.prediction_plan import fit, tiling_of
from measuring import RESULTS, Usage, measure_child, write_results

PARTS = ("image", "crop", "volume")
VOLUME_CLASSES = 14
BLOCK_PX = 2048
PLENTY = 10**13


@dataclass(frozen=True)
class Row:
    """One prediction.

    Args:
        what: The image.
        path: ``from its file`` or ``in memory``.
        tile_px: Largest side of a tile.
        megapixels: Size of the image.
        predicting_s: Seconds from the image's file to its mask's, the program having started.
        usage: Seconds and peak memory of the process.
        mask: What it wrote.
        numerics: What ran the network.
    """

    what: str
    path: str
    tile_px: int
    megapixels: float
    predicting_s: float
    usage: Usage
    mask: Path
    numerics: str

    @property
    def seconds_per_megapixel(self) -> float:
        """Without the start of the program."""
        return self.predicting_s / self.megapixels


class Bench:
    """Runs predictions and remembers their rows.

    Args:
        arguments: The command line's.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.rows: list[Row] = []
        self.images = sections(arguments.data)

    def run_of(self, model: ModelConfig) -> Path:
        """The trained run that was named, or one with random weights."""
        if self.arguments.run is not None and model.dims == 2:
            return Path(self.arguments.run)
        path = self.arguments.work / f"run_{model.dims}d_{model.width}_{model.depth}"
        return write_run(path, network_like_trained(model, self.images))

    def image(self, name: str, size: Sequence[int]) -> Path:
        """The mosaic of a size, in the format that the name ends with."""
        path = self.arguments.work / name
        print(f"making {path}", file=sys.stderr, flush=True)
        write_mosaic(path, self.images[0] if len(size) == 2 else self.images, size)
        return path

    def predict(self, run: Path, image: Path, tile: int, *, memory: int, path: str) -> Row:
        """Predict an image in a process of its own."""
        arguments = self.arguments
        out = arguments.work / f"masks_{image.name}_{tile}_{path.split()[-1]}"
        command = [sys.executable, "-m", "maskwright.cli", "predict", str(run), str(image)]
        command += ["--out", str(out), "--tile", str(tile), "--memory", str(memory), "--overwrite"]
        command += ["--engine", arguments.engine, "--set", f"precision={arguments.precision}", "-q"]
        print(f"predicting {image.name}, tile {tile}, {path}", file=sys.stderr, flush=True)
        usage = measure_child(command)
        summary = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
        (record,) = summary["images"]
        # Where memory is short the tiles are smaller than what was asked for.
        tiling = record["tiling"]
        if tiling["tile_px"] > tile or tiling.get("from_file", False) != (memory != PLENTY):
            raise SystemExit(f"{image.name} was predicted otherwise than meant: {tiling}")
        megapixels = math.prod(open_source(image).shape) / 1e6
        seconds, mask = record["elapsed_s"], out / record["mask"]
        row = Row(
            image.name,
            path,
            tiling["tile_px"],
            megapixels,
            seconds,
            usage,
            mask,
            summary["numerics"],
        )
        self.rows.append(row)
        return row

    def needed(self, run: Path, image: Path, tile: int) -> int:
        """Bytes with which an image is predicted from its file with tiles of just this size."""
        folder = RunFolder(run)
        config: RunConfig = folder.read_config()
        source = open_source(image)
        tiling = tiling_of(read_model(folder.model)[0].config, config.predict, tile=tile)
        found = fit(tiling, source.shape, source.dtype, PLENTY, subject=str(image))
        return found.needed_bytes + found.band_bytes


def large(bench: Bench) -> None:
    """The large image, in both formats and with every size of tiles."""
    arguments = bench.arguments
    run = bench.run_of(ModelConfig(width=arguments.width, depth=arguments.depth))
    for suffix in arguments.formats:
        image = bench.image(f"large_{arguments.size}.{suffix}", (arguments.size,) * 2)
        for tile in arguments.tiles:
            memory = min(arguments.memory, bench.needed(run, image, tile))
            bench.predict(run, image, tile, memory=memory, path="from its file")


def crop(bench: Bench) -> None:
    """A crop of it from its file, and in memory."""
    arguments = bench.arguments
    run = bench.run_of(ModelConfig(width=arguments.width, depth=arguments.depth))
    image = bench.image(f"crop_{arguments.crop}.tif", (arguments.crop,) * 2)
    for tile in arguments.tiles:
        memory = bench.needed(run, image, tile)
        bench.predict(run, image, tile, memory=memory, path="from its file")
        bench.predict(run, image, tile, memory=PLENTY, path="in memory")


def volume(bench: Bench) -> None:
    """A volume of many classes from its file."""
    arguments = bench.arguments
    depth = min(3, arguments.depth)
    model = ModelConfig(dims=3, width=arguments.width, depth=depth, classes=VOLUME_CLASSES)
    run = bench.run_of(model)
    image = bench.image(f"volume_{arguments.volume}.zarr", (arguments.volume,) * 3)
    bench.predict(run, image, arguments.volume_tile, memory=arguments.memory, path="from its file")


def differing(one: Path, other: Path) -> float:
    """Share of pixels in which two masks differ, a block at a time."""
    masks = [open_source(path) for path in (one, other)]
    size = masks[0].shape[1:]
    count = sum(
        int(np.count_nonzero(np.not_equal(*(mask.read(block) for mask in masks))))
        for block in _blocks(size)
    )
    return count / math.prod(size)


def classes_in(mask: Path) -> int:
    """How many different values a mask holds."""
    source = open_source(mask)
    values: set[int] = set()
    for block in _blocks(source.shape[1:]):
        values |= set(np.unique(source.read(block)).tolist())
    return len(values)


def _blocks(size: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    steps = (BLOCK_PX, BLOCK_PX) if len(size) == 2 else (64, 512, 512)
    return blocks_of(size, steps)


def table_of(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Figures and table; pixels are compared with the first row of the same image."""
    first: dict[str, Row] = {}
    figures: list[dict[str, Any]] = []
    cells: list[dict[str, str]] = []
    for row in rows:
        reference = first.setdefault(row.what.split(".")[0], row)
        apart, classes = differing(reference.mask, row.mask), classes_in(row.mask)
        values = asdict(row) | {
            "mask": row.mask.name,
            "seconds_per_megapixel": row.seconds_per_megapixel,
            "pixels_of_another_class": apart,
            "classes_in_mask": classes,
        }
        figures.append(values)
        cells.append(
            {
                "image": row.what,
                "predicted": row.path,
                "tile": str(row.tile_px),
                "predicting s": f"{row.predicting_s:.1f}",
                "s per megapixel": f"{row.seconds_per_megapixel:.3f}",
                "wall s": f"{row.usage.wall_s:.1f}",
                "CPU s": f"{row.usage.cpu_s:.1f}",
                "peak MB": f"{row.usage.peak_bytes / 1e6:.0f}",
                "pixels of another class": f"{apart:.4%}",
                "classes in the mask": str(classes),
            }
        )
    return figures, [list(cells[0]), *(list(each.values()) for each in cells)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds membranes/")
    parser.add_argument("--size", type=int, default=30_000)
    parser.add_argument("--crop", type=int, default=4096)
    parser.add_argument("--volume", type=int, default=512)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--volume-tile", type=int, default=128)
    parser.add_argument("--formats", nargs="+", choices=["tif", "zarr"], default=["tif", "zarr"])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--run", type=Path, help="a trained run for the images")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--memory", type=int, default=2_000_000_000, help="bytes")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "work" / "large")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    parts = arguments.only.split(",")
    bench = Bench(arguments)
    for name, part in zip(PARTS, (large, crop, volume), strict=True):
        if name in parts:
            part(bench)
    figures, table = table_of(bench.rows)
    settings = {name: getattr(arguments, name) for name in ("width", "depth", "memory")}
    values = {**settings, "trained": arguments.run is not None, "rows": figures}
    write_results("large_image", values, table, folder=arguments.results)


if __name__ == "__main__":
    main()
