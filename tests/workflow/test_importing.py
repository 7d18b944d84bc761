"""Weights of other programs as runs: predicted with, trained on, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.errors import ConfigError, OutputError, RunError
from maskwright.io.probabilities import read_probabilities

SETTINGS = ("depth=4", "widths=4,4,8,16,32", "norm=instance", "activation=leaky_relu",
            "predict.precision=float32", "mirror_px=0")  # fmt: skip
TYPED = [part for setting in SETTINGS for part in ("--set", setting)]


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    torch.manual_seed(3)
    act = ("leakyrelu", {"negative_slope": 0.01})
    return BasicUNet(2, 1, 2, features=(4, 4, 8, 16, 32, 4), act=act).eval()


@pytest.fixture(scope="module")
def weights(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "monai.pth"
    torch.save({"state_dict": theirs.state_dict(), "epoch": 7}, path)
    return path


@pytest.fixture(scope="module")
def image(weights: Path) -> Path:
    path = weights.with_name("image.png")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_an_imported_run_predicts_what_the_original_network_predicts(
    theirs: nn.Module, weights: Path, image: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app, ["import-weights", str(weights), "--out", str(tmp_path / "run"), *TYPED]
    )
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    first = next(line for line in lines if "conv_0.conv_0.conv.weight" in line)
    assert first.split() == ["conv_0.conv_0.conv.weight", "encoder.0.0.weight", "4×1×3×3"]
    assert "--concat up-first is the other way" in done.output
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name != ".lock") == [
        "config.json", "model.safetensors"]  # fmt: skip

    predicted = ["predict", str(tmp_path / "run"), str(image), "--out", str(tmp_path / "masks")]
    done = CliRunner().invoke(app, [*predicted, "--probabilities"])
    assert done.exit_code == 0, done.output
    pixels = np.asarray(Image.open(image)).astype(np.float32)
    batch = torch.from_numpy((pixels - pixels.mean()) / pixels.std())[None, None]
    with torch.no_grad():
        expected = theirs(batch).softmax(1)[0].numpy()
    found = read_probabilities(tmp_path / "masks" / "probabilities" / "image.tif")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    mask = np.asarray(Image.open(tmp_path / "masks" / "image.png"))
    np.testing.assert_array_equal(mask == 255, expected[1] > expected[0])


def test_the_mapping_is_printed_as_json_for_programs(weights: Path, tmp_path: Path) -> None:
    arguments = ["import-weights", str(weights), "--out", str(tmp_path / "run"), *TYPED]
    done = CliRunner().invoke(app, [*arguments, "--json", "--concat", "up-first"])
    values = json.loads(done.output)
    assert len(values["tensors"]) == len(torch.load(weights, weights_only=True)["state_dict"])
    changes = {row["change"] for row in values["tensors"]}
    assert "skip and upsampled channels swapped" in changes


def test_training_goes_on_from_imported_weights(weights: Path, tmp_path: Path) -> None:
    imported = mw.import_weights(weights, tmp_path / "run", settings=SETTINGS)
    mw.write_sample("membranes", tmp_path / "data", images=4, size_px=48)
    run = mw.train(
        tmp_path / "data", tmp_path / "more", steps=1, start_from=imported.run.path,
        settings=("patch_px=48", "batch=1", "validations=1", "train.precision=float32"),
    )  # fmt: skip
    assert run.config.model == imported.run.config.model
    said = (tmp_path / "more" / "events.jsonl").read_text()
    with pytest.raises(RunError, match=r"--from.*\[run-not-begun\]"):
        mw.train(tmp_path / "data", imported.run.path, steps=1, resume=True)
    assert "Took 64 of 64 tensors (100.0% of the parameters)" in said


def test_classes_are_named_by_labels_or_numbered(weights: Path, tmp_path: Path) -> None:
    plain = mw.import_weights(weights, tmp_path / "plain", settings=SETTINGS)
    assert plain.run.config.data.labels == (("background", 0), ("foreground", 255))
    named = mw.import_weights(
        weights, tmp_path / "named", settings=SETTINGS, labels="nothing=0,cell=7"
    )
    assert named.run.config.data.labels == (("nothing", 0), ("cell", 7))


def test_what_cannot_be_imported_leaves_nothing_behind(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for settings, labels, code in (
        (("channels=2", *SETTINGS), None, "import-mismatch"),
        (SETTINGS, "a=0,b=1,c=2", "import-labels"),
        (("classes=1", "output=sigmoid", *SETTINGS), None, "import-one-class"),
    ):
        with pytest.raises(ConfigError) as caught:
            mw.import_weights(weights, out, settings=settings, labels=labels)
        assert caught.value.code == code
        assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="run-exists"):
        mw.import_weights(weights, out, settings=SETTINGS)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_the_command_has_help_with_an_example() -> None:
    done = CliRunner().invoke(app, ["import-weights", "--help"])
    assert done.exit_code == 0
    assert "Example: maskwright import-weights" in done.output
