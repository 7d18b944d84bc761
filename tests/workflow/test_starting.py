"""Training that begins with the weights of another run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.errors import ConfigError
from maskwright.nn.unet import build_unet
from maskwright.progress import Events
from maskwright.workflow.settings import resolve
from maskwright.workflow.starting import Start

QUICK = ("patch_px=32", "batch=1", "validations=1", "train.precision=float32",
         "train.layout=contiguous", "predict.precision=float32")  # fmt: skip
SMALL = ("depth=1", "width=4", *QUICK)
STILL = ("learning_rate=1e-12", *QUICK)
LABELS = "cell=255,membrane=0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "grey"
    mw.write_sample("membranes", folder, images=5, size_px=48)
    return folder


@pytest.fixture(scope="module")
def coloured(data: Path) -> Path:
    """The same images in colour, with three classes."""
    folder = data.parent / "coloured"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for path in sorted((data / kind).iterdir()):
            pixels = np.asarray(Image.open(path))
            if kind == "images":
                pixels = np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)
            else:
                pixels = pixels // 255
                pixels[:12, :12] = 2
            Image.fromarray(pixels).save(folder / kind / path.name)
    return folder


@pytest.fixture(scope="module")
def origin(data: Path) -> mw.Run:
    return mw.train(data, data.parent / "origin", steps=6, settings=("learning_rate=7e-3", *SMALL),
                    labels=LABELS)  # fmt: skip


def weights(run: mw.Run) -> dict[str, Any]:
    """Trainable tensors; running statistics change with every batch."""
    return {k: v for k, v in load_file(run.folder.model).items()
            if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))}  # fmt: skip


def messages(seen: list[dict[str, Any]]) -> str:
    return " ".join(str(event["text"]) for event in seen if event["kind"] == "message")


def test_other_classes_and_channels_from_the_command_line(
    origin: mw.Run, coloured: Path, tmp_path: Path
) -> None:
    settings = [part for setting in STILL for part in ("--set", setting)]
    done = CliRunner().invoke(
        app,
        ["train", str(coloured), "--out", str(tmp_path / "run"), "--steps", "1", *settings,
         "--from", str(origin.path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert re.search(r"Took 32 of 34 tensors \(99\.\d% of the parameters\) from .*origin; adapted: "
                     r"encoder\.0\.0\.weight \(channels: 3 instead of 1\); new: head\.weight, "
                     r"head\.bias \(3 classes instead of 2\)", said), said  # fmt: skip
    run = mw.open_run(tmp_path / "run")
    assert run.config.train.start_from == str(origin.path)
    assert (run.config.model.depth, run.config.model.width) == (1, 4)
    found, before = weights(run), weights(origin)
    assert found["head.weight"].shape[0] == 3
    for name in before:
        if not name.startswith(("head.", "encoder.0.0.")):
            np.testing.assert_allclose(found[name], before[name], atol=1e-6)
    np.testing.assert_allclose(
        found["encoder.0.0.weight"], before["encoder.0.0.weight"].repeat(3, 1) / 3, atol=1e-6
    )


def test_the_network_and_its_learning_rate_are_those_of_the_run_unless_set(
    origin: mw.Run, data: Path, tmp_path: Path
) -> None:
    seen: list[dict[str, Any]] = []
    run = mw.train(
        data, tmp_path / "run", steps=1, start_from=origin.path, labels=LABELS,
        settings=("activation=leaky_relu", *QUICK), events=Events([seen.append]),
    )  # fmt: skip
    assert run.config.train.learning_rate == 7e-3
    assert run.config.model.width == 4
    assert run.config.model.activation == "leaky_relu"
    assert "Took 34 of 34 tensors (100.0% of the parameters)" in messages(seen)
    assert "Other settings: activation=leaky_relu instead of relu." in messages(seen)


def test_a_run_stopped_before_its_first_step_resumes_without_the_other_run(
    origin: mw.Run, data: Path, tmp_path: Path
) -> None:
    gone, out = tmp_path / "gone", tmp_path / "run"
    shutil.copytree(origin.path, gone)

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "start":
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"steps": 1, "settings": STILL, "labels": LABELS}
    with pytest.raises(KeyboardInterrupt):
        mw.train(data, out, start_from=gone, events=Events([stop]), **arguments)
    assert not (out / "model.safetensors").exists()
    shutil.rmtree(gone)
    run = mw.train(data, out, start_from=gone, resume=True, **arguments)
    before = weights(origin)
    for name, tensor in weights(run).items():
        np.testing.assert_allclose(tensor, before[name], atol=1e-6)


def test_the_repeat_command_of_the_report_begins_with_the_same_run(
    origin: mw.Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = mw.train(data, "run", steps=2, start_from=origin.path, labels=LABELS,
                   settings=("up_bias=true", "dropout=0.1", *QUICK))  # fmt: skip
    from maskwright.workflow.reporting import _commands

    command = shlex.split(_commands(run, run.metrics())[0])
    assert command[command.index("--from") + 1] == str(origin.path)
    assert "model.dropout=0.1" in command
    assert not any(part.startswith(("model.width", "train.learning_rate")) for part in command)
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    repeated = mw.open_run("repeated")
    assert repeated.config == run.config
    for name, tensor in weights(repeated).items():
        np.testing.assert_array_equal(tensor, weights(run)[name])


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("from-other-network", {"settings": ("width=8", "depth=2", *QUICK)}),
        ("from-preset", {"preset": "ronneberger2015"}),
        ("preset-unknown", {"preset": "unot"}),
        ("from-labels", {"labels": None}),
        ("from-setting", {"settings": ("start_from=elsewhere", *QUICK)}),
        ("run-missing", {"start_from": "nowhere"}),
    ],
)
def test_what_contradicts_the_other_run_is_refused_before_anything_is_written(
    origin: mw.Run, data: Path, tmp_path: Path, code: str, arguments: dict[str, Any]
) -> None:
    given = {"start_from": origin.path, "steps": 1, "labels": LABELS, "settings": QUICK}
    with pytest.raises(mw.MaskwrightError) as caught:
        mw.train(data, tmp_path / "run", **{**given, **arguments})
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_volumes_cannot_begin_with_a_run_on_images(origin: mw.Run, tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    cube = np.random.default_rng(0).integers(0, 2, (16, 16, 16)).astype(np.uint8)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(4):
            drawn = np.roll(cube, number, axis=0) * (1 if kind == "masks" else 90)
            image = sitk.GetImageFromArray(drawn)
            sitk.WriteImage(image, tmp_path / "data" / kind / f"scan{number}.nii.gz")
    with pytest.raises(ConfigError, match="from-dims"):
        mw.train(tmp_path / "data", tmp_path / "run", steps=1, start_from=origin.path)
    assert not (tmp_path / "run").exists()


def test_the_patch_is_that_of_the_run_only_where_the_usual_one_is_not_legal() -> None:
    for settings, patch_px in ((("padding=valid", "depth=3"), 92), (("depth=3",), 256)):
        config = resolve(settings=(*settings, "width=4", "patch_px=92"))
        start = Start("runs/a", config, build_unet(config.model), None)
        assert resolve(start=start).train.patch_px == patch_px
        assert resolve(start=start).model == config.model
