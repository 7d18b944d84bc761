"""``predict --objects``: numbered masks, a table, outlines and candidates."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.data.object_target import border_classes
from maskwright.evaluate.objects import ap, counts_at, match_objects
from maskwright.io.image import Image as Pixels
from maskwright.io.registry import read_image, read_mask, write_mask
from maskwright.io.run_folder import RunFolder
from maskwright.io.space import Geometry
from maskwright.io.volume_image import write_array
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.workflow.detecting import evaluate_candidates
from threshold_run import hand_on

LABELS = (("tissue", 0), ("cell", 255))


def make_run(path: Path, dims: int = 2) -> Path:
    """A run whose network finds what is brighter than the mean by half a deviation."""
    model = mw.ModelConfig(depth=1, width=4, dims=dims)
    network = build_unet(model, seed=0).eval()
    hand_on(network)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[1, 0] = 8.0
        network.head.bias[1] = -4.0
    folder = RunFolder(path)
    path.mkdir(parents=True)
    predict = mw.PredictConfig(precision="float32", mirror_px=0)
    data = mw.DataConfig(labels=LABELS)
    folder.write_config(mw.RunConfig(model=model, data=data, predict=predict))
    write_model(folder.model, network, {})
    return path


def disc(size: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    offset = np.array(centre).reshape(-1, *[1] * len(size))
    return ((np.indices(size) - offset) ** 2).sum(0) <= radius**2


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two discs that touch and one apart; an image without any; pixels of half a micrometre."""
    folder = tmp_path_factory.mktemp("cells")
    drawn = disc((64, 96), (24, 22), 12) | disc((64, 96), (24, 41), 12)
    drawn |= disc((64, 96), (44, 76), 8)
    for name, array in (("a", 40 + 160 * drawn), ("b", np.full((64, 96), 40))):
        pixels = Pixels(array.astype(np.uint8)[None], spacing_mm=(5e-4, 5e-4))
        write_mask(folder / f"{name}.tif", pixels)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("objects") / "run")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def predict(*arguments: Any) -> None:
    done = CliRunner().invoke(app, ["predict", *map(str, arguments), "-q"], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_objects_are_numbered_measured_and_outlined(run: Path, cells: Path, tmp_path: Path) -> None:
    predict(run, cells, "--out", tmp_path, "--objects")
    numbers = read_mask(tmp_path / "objects" / "a.tif")
    mask = read_mask(tmp_path / "a.tif").array
    np.testing.assert_array_equal(numbers.array > 0, mask == 255)
    assert numbers.array.dtype == np.uint16
    assert numbers.spacing_mm == (5e-4, 5e-4)
    rows = table(tmp_path / "objects.csv")
    assert [(row["image"], row["id"], row["class"]) for row in rows] == [
        ("a.tif", "1", "cell"),
        ("a.tif", "2", "cell"),
    ]
    small = int(disc((64, 96), (44, 76), 8).sum())
    assert int(rows[1]["area_px"]) == small
    assert float(rows[1]["area_um2"]) == pytest.approx(small * 0.25)
    assert [float(rows[1][f"centroid_{axis}_px"]) for axis in "yx"] == [44, 76]
    assert float(rows[1]["mean_intensity"]) == 200
    assert 0.5 < float(rows[1]["mean_probability"]) <= float(rows[1]["max_probability"]) <= 1
    record = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert [image["objects"] for image in record["images"]] == [2, 0]


def test_the_outlines_are_a_collection_of_detections_as_qupath_writes_them(
    run: Path, cells: Path, tmp_path: Path
) -> None:
    predict(run, cells, "--out", tmp_path, "--objects")
    drawn = json.loads((tmp_path / "objects" / "a.geojson").read_text(encoding="utf-8"))
    assert drawn["type"] == "FeatureCollection"
    rows = table(tmp_path / "objects.csv")
    for feature, row in zip(drawn["features"], rows, strict=True):
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["classification"]["name"] == "cell"
        assert len(feature["properties"]["classification"]["color"]) == 3
        assert feature["properties"]["measurements"]["area_px"] == int(row["area_px"])
        x, y = np.array(feature["geometry"]["coordinates"][0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 == int(row["area_px"])
        assert x.min() == int(row["box_x_from_px"])
        assert x.max() == int(row["box_x_to_px"])
    none = json.loads((tmp_path / "objects" / "b.geojson").read_text(encoding="utf-8"))
    assert none["features"] == []


def test_touching_objects_are_cut_and_small_ones_left_out_as_asked(
    run: Path, cells: Path, tmp_path: Path
) -> None:
    cut = ("--set", "objects=watershed", "--set", "min_object_px=250", "--table", "parquet")
    predict(run, cells, "--out", tmp_path, "--objects", *cut)
    found = parquet.read_table(tmp_path / "objects.parquet").to_pydict()
    assert found["id"] == [1, 2]
    assert found["centroid_x_px"] == pytest.approx([22, 41], abs=1)
    assert not (tmp_path / "objects.csv").exists()


def test_where_nothing_is_found_no_earlier_table_remains(
    run: Path, cells: Path, tmp_path: Path
) -> None:
    predict(run, cells, "--out", tmp_path, "--objects")
    predict(run, cells / "b.tif", "--out", tmp_path, "--objects", "--overwrite")
    assert not (tmp_path / "objects.csv").exists()


def test_another_form_of_table_is_refused_before_anything_is_written(
    run: Path, cells: Path, tmp_path: Path
) -> None:
    with pytest.raises(mw.MaskwrightError, match="objects-table"):
        mw.predict(run, [cells], tmp_path / "out", objects=True, table="xlsx")
    assert not (tmp_path / "out").exists()


def test_pictures_get_a_tiff_of_numbers(run: Path, tmp_path: Path) -> None:
    drawn = 200 * disc((40, 40), (20, 20), 9).astype(np.uint8)
    Image.fromarray(drawn).save(tmp_path / "a.png")
    predict(run, tmp_path / "a.png", "--out", tmp_path / "out", "--objects")
    assert read_mask(tmp_path / "out" / "objects" / "a.tif").array.max() == 1
    assert "area_um2" not in table(tmp_path / "out" / "objects.csv")[0]


def test_volumes_give_objects_in_place_and_candidates_as_luna16_scores_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", dims=3)
    place = Geometry((0.8, 0.8, 2.0), (-120.0, -90.0, 40.0), tuple(map(tuple, np.eye(3).tolist())))
    size = (16, 32, 32)
    nodules = disc(size, (4, 8, 8), 3) | disc(size, (11, 20, 24), 4)
    scan = (nodules * 900 - 800).astype(np.float32)
    write_array("MetaImage", tmp_path / "scan.mha", scan, place)
    predict(run, tmp_path / "scan.mha", "--out", tmp_path / "out", "--objects")
    numbers = read_image(tmp_path / "out" / "objects" / "scan.mha")
    assert numbers.geometry == place
    assert set(np.unique(numbers.array)) == {0, 1, 2}
    rows = table(tmp_path / "out" / "objects.csv")
    assert float(rows[0]["volume_mm3"]) == pytest.approx(int(rows[0]["volume_px"]) * 1.28)
    candidates = table(tmp_path / "out" / "candidates.csv")
    assert list(candidates[0]) == ["seriesuid", "coordX", "coordY", "coordZ", "probability"]
    expected = [
        (-120 + 0.8 * x, -90 + 0.8 * y, 40 + 2 * z) for z, y, x in ((4, 8, 8), (11, 20, 24))
    ]
    findings = ["seriesuid,coordX,coordY,coordZ,diameter_mm"]
    for candidate, centre in zip(candidates, expected, strict=True):
        found = [float(candidate[f"coord{axis}"]) for axis in "XYZ"]
        assert found == pytest.approx(centre, abs=1e-6)
        findings.append(",".join(map(str, ("scan", *centre, 5.0))))
    (tmp_path / "findings.csv").write_text("\n".join(findings) + "\n", encoding="utf-8")
    scored = evaluate_candidates(tmp_path / "out" / "candidates.csv", tmp_path / "findings.csv")
    assert scored.cpm == 1
    assert not (tmp_path / "out" / "objects" / "scan.geojson").exists()


def write_cells(folder: Path, count: int) -> Path:
    """Images of cells with a dark rim that touch, in pairs, with masks that number them."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        drawn = np.zeros((64, 64), np.uint8)
        for pair, (y, x) in enumerate(((16, 14), (46, 20), (30, 48))):
            down, right = generator.integers(-3, 4, 2).tolist()
            drawn[disc((64, 64), (y + down, x + right), 7)] = 2 * pair + 1
            drawn[disc((64, 64), (y + down, x + right + 11), 6)] = 2 * pair + 2
        noise = generator.normal(0, 8, drawn.shape)
        level = np.array([40, 200, 120])[border_classes(drawn)]
        pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray(drawn).save(folder / "masks" / f"{number:02d}.png")
    return folder


def test_a_network_of_interiors_and_borders_goes_the_whole_way(tmp_path: Path) -> None:
    data = write_cells(tmp_path / "data", 10)
    small = ("depth=1", "width=8", "patch_px=32", "batch=4", "mirror_px=8", "data.target=border",
             "predict.precision=float32", "train.precision=float32", "tta=flip")  # fmt: skip
    trained = mw.train(data, tmp_path / "run", steps=80, objects=True, settings=small)
    assert trained.config.model.classes == 3
    metrics = trained.metrics()
    assert len(metrics["cases"][0]["confusion"]) == 2
    # Scored as objects that were told apart: three connected pieces would find half at most.
    assert all(case["classes"]["foreground"]["ap"] > 0.7 for case in metrics["cases"])
    held = json.loads((trained.path / "splits.json").read_text(encoding="utf-8"))["test"]
    images = [data / "images" / f"{name}.png" for name in held]
    found = trained.predict(images, tmp_path / "out", objects=True, probabilities=True)
    for mask, probabilities, name in zip(found.arrays(), found.probabilities, held, strict=True):
        assert set(np.unique(mask)) == {0, 255}
        assert len(tifffile.imread(probabilities)) == 2
        numbers = read_mask(tmp_path / "out" / "objects" / f"{name}.tif").array[0]
        np.testing.assert_array_equal(numbers > 0, mask == 255)
        truth = np.asarray(Image.open(data / "masks" / f"{name}.png"))
        assert ap(counts_at(match_objects(numbers, truth), 0.5)) > 0.7
    again = mw.train(data, tmp_path / "run", steps=80, objects=True, resume=True)
    assert again.config.data.target == "border"
    file = mw.export(trained.path, tmp_path / "cells.onnx").files[0]
    with pytest.raises(mw.MaskwrightError, match="export-border"):
        mw.export(trained.path, tmp_path / "cells.zip", format="bioimageio")
    from_file = mw.predict(file, images, tmp_path / "file", objects=True)
    for one, other in zip(from_file.arrays(), found.arrays(), strict=True):
        assert (one != other).mean() < 1e-3


@pytest.mark.parametrize("wrong", [("--no-objects",), ("--objects", "--set", "output=sigmoid")])
def test_borders_are_refused_where_they_cannot_be_learned(
    wrong: tuple[str, ...], tmp_path: Path
) -> None:
    data = write_cells(tmp_path / "data", 8)
    command = ["train", str(data), "--out", str(tmp_path / "run"), "--steps", "1", *wrong]
    with pytest.raises(mw.MaskwrightError, match="target-border"):
        CliRunner().invoke(app, [*command, "--set", "data.target=border"], catch_exceptions=False)
    assert not (tmp_path / "run").exists()
