"""What prediction gives besides masks: levels, labels of whole images, gating, averages."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.io.run_folder import RunFolder
from maskwright.io.volume_image import write_array
from maskwright.nn.checkpoint import read_model, write_model
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import predict_image, predict_tiles
from maskwright.progress import Events
from maskwright.workflow.opening import Asked, open_network

LABELS = (("tissue", 0), ("tumour", 255))


def make_run(path: Path, *, present: float = 0.0, **settings: Any) -> Path:
    """A run folder with a fresh network, whose label of images has the logit ``present``."""
    data = {
        name: settings.pop(name) for name in ("image_labels", "image_class_names") & settings.keys()
    }
    predict = {name: settings.pop(name) for name in ("tta", "gate") & settings.keys()}
    count = len(data.get("image_class_names", ()))
    model = mw.ModelConfig(**{"depth": 2, "width": 4, "image_classes": count, **settings})
    network = build_unet(model, seed=1).eval()
    # A fresh network gives one class; these weights follow the intensity.
    with torch.no_grad():
        network.head.bias[1] = network.head.bias[0] + 0.2
        if network.image_head is not None:
            network.image_head[-1].weight.zero_()
            network.image_head[-1].bias[-1] = present
    labels = [*LABELS, *((f"other {k}", k) for k in range(2, model.classes))]
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_config(
        mw.RunConfig(
            model=model,
            data=mw.DataConfig(labels=labels, **data),
            predict=mw.PredictConfig(precision="float32", mirror_px=8, **predict),
        )
    )
    write_model(folder.model, network, {})
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name, size in (("a", (70, 90)), ("b", (40, 52))):
        noise = generator.integers(0, 255, size).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    return folder


def heard(*arguments: Any, **options: Any) -> tuple[Any, list[str]]:
    """The result of a prediction, and its messages and warnings."""
    seen: list[dict[str, Any]] = []
    found = mw.predict(*arguments, **options, events=Events([seen.append]))
    return found, [str(event.get("text", "")) for event in seen]


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("levels", ["supervised", "fused"])
def test_levels_are_drawn_beside_the_final_prediction(
    levels: str, images: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", levels=levels)
    found, texts = heard(run, [images], tmp_path / "out", levels=True)
    plain, _ = heard(run, [images], tmp_path / "plain")
    for mask, expected in zip(found.arrays(), plain.arrays(), strict=True):
        np.testing.assert_array_equal(mask, expected)
    drawn = sorted((tmp_path / "out" / "levels").iterdir())
    assert [path.name for path in drawn] == ["a.png", "b.png"]
    panels = 4 if levels == "fused" else 3
    # Narrow images are enlarged by a whole factor.
    assert Image.open(drawn[0]).size == (3 * (panels * 90 + (panels - 1) * 8), 3 * 70 + 24)
    shares = [text for text in texts if "Shares of the levels" in text]
    assert len(shares) == (levels == "fused")
    if shares:
        assert "level 0 50%, level 1 50%" in shares[0]
    assert not (tmp_path / "plain" / "levels").exists()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("levels", ["supervised", "fused"])
def test_levels_are_the_same_however_the_image_is_tiled(
    padding: str, levels: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", levels=levels, padding=padding, convolutions=1)
    image = np.random.default_rng(1).integers(0, 255, (1, 130, 97)).astype(np.uint8)
    small, whole = (
        open_network(run, Asked(tile=tile, levels=True)).predictor for tile in (96, 1024)
    )
    assert small.tiles((130, 97)) > 1 == whole.tiles((130, 97))
    gathered = []
    for predictor in (small, whole):
        levels_LKYX = np.zeros((2, 2, 130, 97))
        for tile, part in predict_tiles(image, predictor.engine, predictor.rule, 1):
            for level_KYX, level_BKYX in zip(levels_LKYX, part["levels"], strict=True):
                level_KYX[(slice(None), *tile.write_slices)] = level_BKYX[0]
        gathered.append(levels_LKYX)
    np.testing.assert_allclose(*gathered, atol=1e-5)


def test_the_slice_of_a_volume_with_the_largest_mask_is_drawn(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", dims=3, levels="fused")
    volume = np.random.default_rng(0).normal(size=(1, 8, 24, 20)).astype(np.float32)
    write_array("NIfTI", tmp_path / "v.nii.gz", volume, None)
    heard(run, [tmp_path / "v.nii.gz"], tmp_path / "out", levels=True)
    factor = -(-192 // 20)
    size = Image.open(tmp_path / "out" / "levels" / "v.png").size
    assert size == (factor * (4 * 20 + 3 * 8), factor * 24 + 24)


def test_a_network_without_levels_says_how_to_get_them(images: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(mw.MaskwrightError, match=r"--set levels=fused.*predict-levels"):
        heard(run, [images], tmp_path / "out", levels=True)
    assert not (tmp_path / "out").exists()


def test_labels_of_whole_images_are_a_table_and_in_the_record(images: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", present=1.0, image_class_names=("well", "ill"), classes=2)
    heard(run, [images], tmp_path / "out")
    rows = table(tmp_path / "out" / "image_labels.csv")
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    assert {row["label"] for row in rows} == {"ill"}
    assert list(rows[0]) == ["image", "label", "probability_well", "probability_ill"]
    assert float(rows[0]["probability_ill"]) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-5)
    record = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    label = record["images"][0]["image_label"]
    assert label["label"] == "ill"
    assert sum(label["probabilities"].values()) == pytest.approx(1)


def test_a_network_that_labels_no_image_writes_no_table(images: Path, tmp_path: Path) -> None:
    heard(make_run(tmp_path / "run"), [images], tmp_path / "out")
    assert not (tmp_path / "out" / "image_labels.csv").exists()


@pytest.mark.parametrize("named", ["tumour", "1"])
def test_gating_empties_the_masks_of_images_without_the_class(
    named: str, images: Path, tmp_path: Path
) -> None:
    labels = {"image_labels": f"contains:{named}", "image_class_names": ("without", "with")}
    absent = make_run(tmp_path / "absent", present=-1.0, **labels)
    there = make_run(tmp_path / "there", present=1.0, gate=True, **labels)
    free, _ = heard(absent, [images], tmp_path / "free")
    assert all(mask.any() for mask in free.arrays())
    gated, texts = heard(absent, [images], tmp_path / "gated", gate=True)
    assert not any(mask.any() for mask in gated.arrays())
    told = [text for text in texts if "became background" in text]
    assert told[0].startswith("In 2 of 2 masks the pixels of tumour")
    assert not any("of one class only" in text for text in texts)
    kept, texts = heard(there, [images], tmp_path / "kept")
    for mask, expected in zip(kept.arrays(), free.arrays(), strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert any("In 0 of 2 masks" in text for text in texts)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({}, "gate-no-label"),
        ({"image_labels": "labels.csv", "image_class_names": ("well", "ill")}, "gate-label"),
        ({"image_labels": "contains:tissue", "image_class_names": ("a", "b")}, "gate-background"),
    ],
)
def test_gating_without_labels_that_say_where_is_refused(
    settings: dict[str, Any], code: str, images: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", **settings)
    with pytest.raises(mw.MaskwrightError, match=code):
        heard(run, [images], tmp_path / "out", gate=True)
    assert not (tmp_path / "out").exists()


def test_mirrorings_are_averaged_as_asked_or_as_configured(images: Path, tmp_path: Path) -> None:
    import tifffile

    run = make_run(tmp_path / "run", tta=("flip",), depth=1)
    heard(run, [images / "a.png"], tmp_path / "run_s", probabilities=True)
    heard(run, [images / "a.png"], tmp_path / "none", probabilities=True, tta="none")
    network, _ = read_model(run / "model.safetensors")
    rule, image = open_network(run).predictor.rule, np.asarray(Image.open(images / "a.png"))[None]
    flips = [(), (1,), (2,), (1, 2)]
    each = [
        np.flip(
            predict_image(np.flip(image, axes), torch_engine(network), rule, 1).probabilities_KYX,
            axes,
        )
        for axes in flips
    ]
    found = {
        name: tifffile.imread(tmp_path / name / "probabilities" / "a.tif")
        for name in ("run_s", "none")
    }
    np.testing.assert_allclose(found["none"], each[0], atol=1e-5)
    np.testing.assert_allclose(found["run_s"], np.mean(each, axis=0), atol=1e-5)
    assert np.abs(found["none"] - found["run_s"]).max() > 1e-3
    record = json.loads((tmp_path / "run_s" / "predictions.json").read_text(encoding="utf-8"))
    assert record["averaged_over"] == ["flip"]


def test_progress_counts_the_tiles_of_all_that_is_averaged(images: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    run = make_run(tmp_path / "run", image_class_names=("well", "ill"))
    mw.predict(run, [images], tmp_path / "out", tta="flip,scale", events=Events([seen.append]))
    tiles = [event for event in seen if event["kind"] == "tile"]
    assert len(tiles) == tiles[-1]["tiles"] == 2 * 4 * 3
    assert len(table(tmp_path / "out" / "image_labels.csv")) == 2


def test_an_image_too_large_to_average_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run")
    Image.fromarray(np.zeros((5800, 5800), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(mw.MaskwrightError, match=r"large\.png.*--tta none.*tta-size"):
        heard(run, [tmp_path / "large.png"], tmp_path / "out", tta="flip")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_levels_averages_and_gates(images: Path, tmp_path: Path) -> None:
    labels = {"image_labels": "contains:tumour", "image_class_names": ("without", "with")}
    run = make_run(tmp_path / "run", levels="fused", present=-1.0, **labels)
    command = ["predict", str(run), str(images), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--levels", "--tta", "flip", "--gate", "-q"])
    assert done.exit_code == 0, done.output
    assert not any(mask.any() for mask in pixels(tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"levels", "image_labels.csv", "predictions.json"}
    # Two levels and the prediction, although the prediction is an average.
    assert Image.open(tmp_path / "out" / "levels" / "a.png").size[0] == 3 * (4 * 90 + 3 * 8)
    with pytest.raises(mw.MaskwrightError, match=r"flip, rotate, scale.*predict-tta"):
        CliRunner().invoke(app, [*command, "--tta", "flop"], catch_exceptions=False)


def test_an_exported_file_labels_images_too_and_gives_no_levels(
    images: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", levels="fused", present=0.7, image_class_names=("well", "ill"))
    file = mw.export(run, tmp_path / "a.onnx").files[0]
    for name, network in (("run", run), ("file", file)):
        heard(network, [images], tmp_path / f"{name}_out", tta="flip")
    given, expected = (table(tmp_path / f"{n}_out" / "image_labels.csv") for n in ("file", "run"))
    assert [row["label"] for row in given] == [row["label"] for row in expected] == ["ill"] * 2
    for one, other in zip(given, expected, strict=True):
        ill = "probability_ill"
        assert float(one[ill]) == pytest.approx(float(other[ill]), abs=1e-4)
    with pytest.raises(mw.MaskwrightError, match=r"a run folder.*predict-levels"):
        heard(file, [images], tmp_path / "levels", levels=True)


def test_overlapping_classes_and_averages_go_the_whole_way(tmp_path: Path) -> None:
    import tifffile

    data = tmp_path / "data"
    mw.write_sample("membranes", data, images=8, size_px=64)
    settings = ("depth=1", "width=4", "patch_px=32", "batch=1", "output=sigmoid", "tta=flip",
                "predict.precision=float32", "train.precision=float32", "mirror_px=8")  # fmt: skip
    run = mw.train(
        data, tmp_path / "run", steps=2, labels="inside=255,membrane=0", settings=settings
    )
    metrics = run.metrics()
    names = json.loads((run.path / "splits.json").read_text(encoding="utf-8"))["test"]
    held = [data / "images" / f"{name}.png" for name in names]
    found = run.predict(held, tmp_path / "out", probabilities=True, uncertainty=True)
    raw = tifffile.imread(found.probabilities[0])
    assert np.abs(raw.sum(0) - 1).max() > 0.01
    assert raw.min() >= 0
    assert raw.max() <= 1
    # The run was scored on averaged predictions too.
    for mask, own in zip(found.files, sorted((run.path / "predictions").iterdir()), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), np.asarray(Image.open(own)))
    scores = mw.evaluate(found, tmp_path / "data").cases
    by_name = {case["case"]: case["confusion"] for case in metrics["cases"]}
    matched = [case for case in scores if case.case in by_name]
    assert len(matched) == len(names)
    for case in matched:
        assert [list(row) for row in case.confusion] == by_name[case.case]
    assert mw.report(run.path).is_file()


def test_gating_that_cannot_work_is_refused_before_training(tmp_path: Path) -> None:
    mw.write_sample("membranes", tmp_path / "data", images=8, size_px=64)
    with pytest.raises(mw.MaskwrightError, match="gate-no-label"):
        mw.train(tmp_path / "data", tmp_path / "run", steps=1, settings=("gate=true",))
    assert not (tmp_path / "run").exists()
