"""Images that are predicted from their file: the same masks in little memory, after kills too."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.evaluate.uncertainty import Trust
from maskwright.io.image import Image
from maskwright.io.registry import read_image, read_mask, write_mask
from maskwright.io.run_folder import RunFolder
from maskwright.io.volume_image import write_array
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.progress import Events
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit

_KILLED = """
import os, signal, sys
import maskwright as mw
from maskwright.progress import Events
def listen(event):
    if event["kind"] == "tile" and event["number"] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
mw.predict(sys.argv[2], [sys.argv[3]], sys.argv[4], tile=int(sys.argv[5]),
           memory=int(sys.argv[6]), resume=True, events=Events([listen]))
"""


def make_run(path: Path, *, present: float | None = None, **settings: Any) -> Path:
    """A run folder with a fresh network of three classes, and a label of images if asked for."""
    torch.manual_seed(0)
    labels: dict[str, Any] = {}
    if present is not None:
        labels = {"image_labels": "contains:tumour", "image_class_names": ("without", "with")}
    model = mw.ModelConfig(
        **{"depth": 2, "width": 4, "classes": 3, "image_classes": len(labels), **settings}
    )
    network = build_unet(model, seed=1).eval()
    if network.image_head is not None:
        with torch.no_grad():
            network.image_head[-1].weight.zero_()
            network.image_head[-1].bias[-1] = present
    path.mkdir()
    names = (("tissue", 0), ("tumour", 1), ("fold", 2))
    data = mw.DataConfig(labels=names, **labels)
    predict = mw.PredictConfig(precision="float32", mirror_px=8, gate=bool(labels))
    RunFolder(path).write_config(mw.RunConfig(model=model, data=data, predict=predict))
    write_model(RunFolder(path).model, network, {})
    return path


def least_memory(run: Path, image: Path, tile: int) -> int:
    """Bytes with which an image can be predicted from its file, and not in memory."""
    tiling = open_network(run, Asked(tile)).predictor.tiling
    assert tiling is not None
    pixels = read_image(image).array
    return fit(tiling, pixels.shape, pixels.dtype, 2 * 10**9, subject="").needed_bytes


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "large.tif"
    noise = np.random.default_rng(0).integers(0, 255, (300, 400)).astype(np.uint8)
    tifffile.imwrite(path, noise, tile=(64, 64), compression="zlib", resolution=(1e4, 1e4),
                     resolutionunit="CENTIMETER")  # fmt: skip
    return path


def record(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    (found,) = values["images"]
    for name in ("elapsed_s", "tiling"):
        found.pop(name, None)
    return dict(found)


@pytest.mark.parametrize("present", [None, -1.0, 1.0])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_mask_from_the_file_is_that_from_memory(
    norm: str, present: float | None, image: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", present=present, norm=norm)
    memory = least_memory(run, image, 96)
    for name, most in (("file", memory), ("whole", None)):
        mw.predict(run, [image], tmp_path / name, tile=96, memory=most)
    found, expected = (tifffile.imread(tmp_path / name / "large.tif") for name in ("file", "whole"))
    np.testing.assert_array_equal(found, expected)
    one, other = record(tmp_path / "file"), record(tmp_path / "whole")
    if present is not None:
        labels = [each.pop("image_label")["probabilities"]["with"] for each in (one, other)]
        assert labels[0] == pytest.approx(labels[1], abs=2e-6)
    trusts = [Trust.from_json(each.pop("trust")) for each in (one, other)]
    assert trusts[0].expected_dice == pytest.approx(trusts[1].expected_dice, abs=1e-6)
    assert trusts[0].mean_entropy == pytest.approx(trusts[1].mean_entropy, abs=1e-6)
    assert trusts[0].doubtful_share == pytest.approx(trusts[1].doubtful_share, abs=1e-6)
    assert one == other
    values = json.loads((tmp_path / "file" / "predictions.json").read_text(encoding="utf-8"))
    assert values["images"][0]["tiling"] == {
        "tile_px": 96, "averaged": norm == "instance", "sums": "float32", "from_file": True
    }  # fmt: skip
    assert read_image(tmp_path / "file" / "large.tif").spacing_mm == pytest.approx((1e-3, 1e-3))
    names = {path.name for path in (tmp_path / "file").iterdir()}
    assert names <= {"large.tif", "predictions.json", "image_labels.csv", "trust.csv"}
    if present is not None:
        assert (1 in found) == (present > 0)


def test_a_zarr_image_gets_a_zarr_mask_with_its_spacing(image: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_mask(tmp_path / "z.zarr", Image(read_image(image).array, spacing_mm=(2e-3, 1e-3)))
    memory = least_memory(run, tmp_path / "z.zarr", 96)
    mw.predict(run, [tmp_path / "z.zarr"], tmp_path / "out", tile=96, memory=memory)
    mw.predict(run, [image], tmp_path / "plain", tile=96)
    found = read_mask(tmp_path / "out" / "z.zarr")
    np.testing.assert_array_equal(found.array[0], tifffile.imread(tmp_path / "plain" / "large.tif"))
    assert found.spacing_mm == pytest.approx((2e-3, 1e-3))


def test_a_killed_prediction_goes_on_to_the_same_mask(image: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    memory, out = least_memory(run, image, 96), tmp_path / "out"
    command = [sys.executable, "-c", _KILLED, "17", str(run), str(image), str(out), "96"]
    done = subprocess.run([*command, str(memory)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (out / "large.tif").exists()
    with pytest.raises(mw.MaskwrightError, match=r"--resume.*output-unfinished"):
        mw.predict(run, [image], out, tile=96, memory=memory)
    with pytest.raises(mw.MaskwrightError, match=r"tile 96.*112.*resume-differs"):
        mw.predict(run, [image], out, tile=112, memory=memory, resume=True)
    seen: list[dict[str, Any]] = []
    mw.predict(run, [image], out, tile=96, memory=memory, resume=True, events=Events([seen.append]))
    mw.predict(run, [image], tmp_path / "plain", tile=96)
    found, expected = (tifffile.imread(f / "large.tif") for f in (out, tmp_path / "plain"))
    np.testing.assert_array_equal(found, expected)
    tiles = [event for event in seen if event["kind"] == "tile"]
    whole = len(open_network(run, Asked(96)).predictor.rule.cover((300, 400)))
    assert len(tiles) == tiles[-1]["tiles"] == whole - 16
    names = sorted(path.name for path in out.iterdir())
    assert names == ["large.tif", "predictions.json", "trust.csv"]


def test_an_image_that_changed_in_between_is_not_gone_on_with(image: Path, tmp_path: Path) -> None:
    run, copy = make_run(tmp_path / "run"), tmp_path / "large.tif"
    copy.write_bytes(image.read_bytes())
    memory = least_memory(run, copy, 96)

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "tile" and event["number"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.predict(run, [copy], tmp_path / "out", tile=96, memory=memory, events=Events([stop]))
    tifffile.imwrite(copy, np.zeros((300, 400), np.uint8))
    with pytest.raises(mw.MaskwrightError, match="resume-differs"):
        mw.predict(run, [copy], tmp_path / "out", tile=96, memory=memory, resume=True)
    mw.predict(run, [copy], tmp_path / "out", tile=96, memory=memory, overwrite=True)
    assert (tmp_path / "out" / "large.tif").is_file()


def test_images_that_were_finished_are_not_predicted_again(image: Path, tmp_path: Path) -> None:
    run, folder, out = make_run(tmp_path / "run"), tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b", "c"):
        tifffile.imwrite(folder / f"{name}.tif", tifffile.imread(image)[:100, :90])

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "tile" and event["name"] == "c.tif":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.predict(run, [folder], out, events=Events([stop]))
    with pytest.raises(mw.MaskwrightError, match="output-unfinished"):
        mw.predict(run, [folder], out)
    changed = {name: (out / f"{name}.tif").stat().st_mtime_ns for name in "ab"}
    found = mw.predict(run, [folder], out, resume=True)
    assert {name: (out / f"{name}.tif").stat().st_mtime_ns for name in "ab"} == changed
    assert len(found) == 3
    values = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert [each["mask"] for each in values["images"]] == ["a.tif", "b.tif", "c.tif"]
    lines = (out / "trust.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4


def test_a_volume_is_averaged_where_its_exact_context_is_too_wide(tmp_path: Path) -> None:
    run, path = make_run(tmp_path / "run", dims=3, norm="batch"), tmp_path / "v.nii.gz"
    volume = np.random.default_rng(0).normal(size=(1, 30, 70, 60)).astype(np.float32)
    write_array("NIfTI", path, volume, None)
    memory = least_memory(run, path, 48)
    for name, most in (("file", memory), ("whole", None)):
        mw.predict(run, [path], tmp_path / name, tile=48, memory=most)
    found, expected = (read_image(tmp_path / name / "v.nii.gz") for name in ("file", "whole"))
    np.testing.assert_array_equal(found.array, expected.array)
    values = json.loads((tmp_path / "file" / "predictions.json").read_text(encoding="utf-8"))
    assert values["images"][0]["tiling"]["averaged"] is True


def test_what_needs_the_whole_image_is_refused_where_memory_was_named(
    image: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    memory = least_memory(run, image, 96)
    with pytest.raises(mw.MaskwrightError, match=r"large\.tif.*--probabilities.*memory-whole"):
        mw.predict(run, [image], tmp_path / "out", tile=96, memory=memory, probabilities=True)
    with pytest.raises(mw.MaskwrightError, match=r"at least .*MB for .*memory-too-small"):
        mw.predict(run, [image], tmp_path / "out", memory="100MB")
    with pytest.raises(mw.MaskwrightError, match=r"'much'.*memory-unit"):
        mw.predict(run, [image], tmp_path / "out", memory="much")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_memory_and_says_what_it_chose(image: Path, tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    memory = f"{least_memory(run, image, 1024)}B"
    command = ["predict", str(run), str(image), "--out", str(out), "--memory", memory, "--resume"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "tile by tile from its file, in one tile" in done.output.replace("\n", " ")
