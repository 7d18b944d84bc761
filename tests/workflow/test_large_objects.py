"""``predict --objects`` of images that are predicted from their file: as in memory, in parts."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import maskwright as mw
from maskwright.io.image import Image
from maskwright.io.registry import read_image, read_mask, write_mask
from maskwright.io.run_folder import RunFolder
from maskwright.io.space import Geometry
from maskwright.io.volume_image import write_array
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit
from threshold_run import hand_on

# Ends the process when a file with a certain path is about to be opened.
_KILLED = """
import fnmatch, os, signal, sys
import maskwright as mw
def listen(event, arguments):
    if event == "open" and fnmatch.fnmatch(str(arguments[0]), sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(listen)
mw.predict(sys.argv[2], [sys.argv[3]], sys.argv[4], tile=int(sys.argv[5]),
           memory=int(sys.argv[6]), objects=True, settings=["objects=watershed"])
"""
_CUT = ("objects=watershed", "min_object_px=6")


def make_run(path: Path, *, dims: int = 2, border: bool = False, gated: bool = False) -> Path:
    """A run whose network finds what is bright, its interior brighter than its border."""
    classes = 2 + border
    model = mw.ModelConfig(
        depth=1, width=4, dims=dims, classes=classes, image_classes=2 if gated else 0
    )
    network = build_unet(model, seed=0).eval()
    hand_on(network)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[1, 0] = 6.0
        network.head.bias[1] = -6.0 if border else -3.0
        if border:
            network.head.weight[2, 0] = 3.0
            network.head.bias[2] = -1.0
        if gated:
            network.image_head[-1].weight.zero_()
            network.image_head[-1].bias[-1] = -1.0
    path.mkdir(parents=True)
    labels: dict[str, Any] = {"target": "border"} if border else {}
    if gated:
        labels = {"image_labels": "contains:cell", "image_class_names": ("without", "with")}
    data = mw.DataConfig(labels=(("tissue", 0), ("cell", 255)), **labels)
    predict = mw.PredictConfig(precision="float32", mirror_px=8, gate=gated)
    RunFolder(path).write_config(mw.RunConfig(model=model, data=data, predict=predict))
    write_model(RunFolder(path).model, network, {})
    Calibration(1.7).write(RunFolder(path))
    return path


def least_memory(run: Path, image: Path, tile: int) -> int:
    """Bytes with which an image can be predicted from its file, and not in memory."""
    tiling = open_network(run, Asked(tile)).predictor.tiling
    assert tiling is not None
    pixels = read_image(image).array
    return fit(tiling, pixels.shape, pixels.dtype, 2 * 10**9, subject="").needed_bytes


def draw_cells(size: tuple[int, ...], count: int, radius: float) -> np.ndarray:
    """Discs or balls of uneven brightness on a dark ground, some of which touch."""
    generator = np.random.default_rng(3)
    drawn = generator.normal(40, 10, size)
    grid = np.indices(size)
    for _ in range(count):
        centre = generator.uniform(0, size).reshape(-1, *[1] * len(size))
        away = np.sqrt(((grid - centre) ** 2).sum(0)) / (radius * generator.uniform(0.6, 1))
        drawn = np.maximum(drawn, np.where(away < 1, 210 - 90 * away**2, 0))
    return np.clip(drawn + generator.normal(0, 6, size), 0, 255)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.tif"
    drawn = draw_cells((300, 420), 90, 16).astype(np.uint8)
    write_mask(path, Image(drawn[None], spacing_mm=(5e-4, 5e-4)))
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def record(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    (found,) = values["images"]
    return dict(found)


def check_same(streamed: Path, whole: Path, name: str) -> list[dict[str, str]]:
    """All files of a streamed prediction say what those of one in memory do."""
    assert record(streamed)["tiling"]["from_file"]
    assert "from_file" not in record(whole)["tiling"]
    for file in (Path(name), Path("objects", name)):
        one, other = read_image(streamed / file), read_image(whole / file)
        np.testing.assert_array_equal(one.array, other.array)
        assert one.array.dtype == other.array.dtype
        assert one.spacing_mm == pytest.approx(other.spacing_mm)
    found, expected = table(streamed / "objects.csv"), table(whole / "objects.csv")
    assert found == expected
    one_trust, other_trust = table(streamed / "trust.csv"), table(whole / "trust.csv")
    assert one_trust == other_trust
    assert record(streamed)["objects"] == record(whole)["objects"] == len(found)
    return found


@pytest.mark.parametrize(("border", "cut"), [(False, ()), (False, _CUT), (True, _CUT[1:])])
def test_objects_of_a_streamed_image_are_those_of_one_in_memory(
    border: bool, cut: tuple[str, ...], cells: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", border=border)
    memory = least_memory(run, cells, 96)
    for name, most in (("streamed", memory), ("whole", None)):
        mw.predict(run, [cells], tmp_path / name, tile=96, memory=most, objects=True, settings=cut)
    rows = check_same(tmp_path / "streamed", tmp_path / "whole", "cells.tif")
    pieces = len(rows)
    assert pieces > 30
    drawn = [(tmp_path / name / "objects" / "cells.geojson").read_text(encoding="utf-8")
             for name in ("streamed", "whole")]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert len(json.loads(drawn[0])["features"]) == pieces
    left = {path.name for path in (tmp_path / "streamed").rglob("*") if path.is_file()}
    assert left == {
        "cells.tif", "cells.geojson", "objects.csv", "predictions.json", "trust.csv"
    }  # fmt: skip


def test_objects_of_a_streamed_volume_lie_in_place(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", dims=3)
    place = Geometry((0.8, 0.8, 2.0), (-120.0, -90.0, 40.0), tuple(map(tuple, np.eye(3).tolist())))
    drawn = draw_cells((30, 60, 60), 16, 10).astype(np.float32)
    write_array("MetaImage", tmp_path / "scan.mha", drawn, place)
    memory = least_memory(run, tmp_path / "scan.mha", 48)
    for name, most in (("streamed", memory), ("whole", None)):
        mw.predict(
            run, [tmp_path / "scan.mha"], tmp_path / name, tile=48, memory=most, objects=True,
            settings=_CUT,
        )  # fmt: skip
    rows = check_same(tmp_path / "streamed", tmp_path / "whole", "scan.mha")
    assert len(rows) > 5
    found, expected = (table(tmp_path / name / "candidates.csv") for name in ("streamed", "whole"))
    assert [row["seriesuid"] for row in found] == [row["seriesuid"] for row in expected]
    for axis in "XYZ":
        assert [float(row[f"coord{axis}"]) for row in found] == pytest.approx(
            [float(row[f"coord{axis}"]) for row in expected]
        )
    assert read_image(tmp_path / "streamed" / "objects" / "scan.mha").geometry == place


def test_a_network_of_borders_streams_without_objects_too(cells: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", border=True)
    memory = least_memory(run, cells, 96)
    for name, most in (("streamed", memory), ("whole", None)):
        mw.predict(run, [cells], tmp_path / name, tile=96, memory=most)
    one, other = (read_mask(tmp_path / name / "cells.tif").array for name in ("streamed", "whole"))
    np.testing.assert_array_equal(one, other)
    assert set(np.unique(one)) == {0, 255}
    assert table(tmp_path / "streamed" / "trust.csv") == table(tmp_path / "whole" / "trust.csv")


def test_an_image_whose_label_says_that_nothing_is_there_has_no_objects(
    cells: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", gated=True)
    memory = least_memory(run, cells, 96)
    mw.predict(run, [cells], tmp_path / "out", tile=96, memory=memory, objects=True)
    assert record(tmp_path / "out")["gated"]
    assert record(tmp_path / "out")["objects"] == 0
    assert not read_mask(tmp_path / "out" / "objects" / "cells.tif").array.any()
    assert not (tmp_path / "out" / "objects.csv").exists()


@pytest.mark.parametrize(
    "at",
    ["*/polygons", "*/objects/*.jsonl", "*/.predictions.*.json"],
)
def test_after_a_kill_the_same_objects_are_found(at: str, cells: Path, tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    memory = least_memory(run, cells, 160)
    command = [sys.executable, "-c", _KILLED, at, str(run), str(cells), str(out), "160"]
    done = subprocess.run([*command, str(memory)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (out / "predictions.json").exists()
    options: dict[str, Any] = {"tile": 160, "objects": True, "settings": ["objects=watershed"]}
    mw.predict(run, [cells], out, memory=memory, resume=True, **options)
    mw.predict(run, [cells], tmp_path / "whole", **options)
    check_same(out, tmp_path / "whole", "cells.tif")


def test_an_object_beyond_the_memory_is_named(tmp_path: Path) -> None:
    run, path = make_run(tmp_path / "run"), tmp_path / "large.tif"
    drawn = np.full((1600, 1600), 40, np.uint8)
    drawn[10, 5:1590] = drawn[5:1590, 12] = drawn[1580:1590, 5:1590] = 200
    drawn[100:104, 200:204] = 200
    write_mask(path, Image(drawn[None]))
    said: list[dict[str, Any]] = []
    mw.predict(
        run, [path], tmp_path / "out", tile=512, memory=least_memory(run, path, 512),
        objects=True, events=mw.progress.Events([said.append]),
    )  # fmt: skip
    assert record(tmp_path / "out")["objects_too_large"] == 1
    texts = " ".join(event.get("text", "") for event in said)
    assert "1 object is too large" in texts
    assert "--memory" in texts
    rows = table(tmp_path / "out" / "objects.csv")
    assert [row["solidity"] for row in rows] == ["", "1.0"]
    features = json.loads((tmp_path / "out" / "objects" / "large.geojson").read_text())["features"]
    assert [feature["properties"]["name"] for feature in features] == ["1", "2"]
    assert "solidity" not in features[0]["properties"]["measurements"]
