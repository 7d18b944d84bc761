"""The whole way from folder to report, as a person types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.sample import write_sample

TINY = ("--set", "depth=2", "--set", "width=6", "--set", "patch_px=64", "--set", "batch=2")


def maskwright(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own with one thread."""
    return subprocess.run(
        [sys.executable, "-m", "maskwright.cli", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: str) -> str:
    """A person's mistake: status 2, a message with a code, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"[{code}]" in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample("membranes", folder, images=10, size_px=96)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cells"
    done = maskwright("train", data, "--out", folder, "--steps", "60", *TINY)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    assert "value 255 is read as class 1" in done.stderr
    return folder


def test_training_leaves_the_run_folder_of_the_design(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "config.json", "model.safetensors", "checkpoints", "events.jsonl", "splits.json",
        "metrics.json", "report.html",
    } <= names  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["steps"] == 60
    assert config["train"]["layout"] != "auto"
    assert config["data"]["labels"] == [["background", 0], ["foreground", 255]]
    split = json.loads((run / "splits.json").read_text())
    assert sum(len(split[part]) for part in ("train", "validation", "test")) == 10


def test_metrics_hold_the_network_the_baselines_and_every_case(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["part"] == "test"
    assert metrics["simulated"] is True
    assert set(metrics["baselines"]) == {"otsu", "kmeans", "commonest class", "kmeans on filters"}
    assert [case["case"] for case in metrics["cases"]] != []
    assert metrics["summary"]["classes"]["foreground"]["auc"]["mean"] > 0.5


def test_the_report_is_self_contained_and_says_simulated(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "simulated" in page.lower()
    assert 'src="http' not in page
    assert 'href="http' not in page
    before = page
    (run / "report.html").unlink()
    assert maskwright("report", run).returncode == 0
    assert len((run / "report.html").read_text()) == pytest.approx(len(before), rel=0.01)


def test_masks_are_written_so_that_people_see_them(run: Path, data: Path, tmp_path: Path) -> None:
    done = maskwright("predict", run, data, "--out", tmp_path / "masks", "--json", "-q")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert len(summary["images"]) == 10
    for entry in summary["images"]:
        with Image.open(tmp_path / "masks" / entry["mask"]) as file:
            mask = np.asarray(file)
        assert set(np.unique(mask)) == {0, 255}
        assert mask.shape == (96, 96)
        assert entry["shares"]["foreground"] == pytest.approx((mask == 255).mean(), abs=1e-6)


def test_tile_size_changes_nothing(run: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.png"
    noise = np.random.default_rng(0).integers(0, 255, (300, 420)).astype(np.uint8)
    Image.fromarray(noise).save(big)
    found = []
    for tile in ("96", "160", "512"):
        done = maskwright("predict", run, big, "--out", tmp_path / tile, "--tile", tile)
        assert done.returncode == 0, done.stderr
        found.append((tmp_path / tile / "big.png").read_bytes())
    assert found[0] == found[1] == found[2]


def test_formats_keep_their_family_and_jpeg_becomes_png(run: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.tif", "c.bmp", "d.jpg"):
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    done = maskwright("predict", run, tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"a.png", "b.tif", "c.bmp", "d.png", "predictions.json", "trust.csv"}


def test_predict_then_evaluate_agrees_with_the_runs_own_scores(
    run: Path, data: Path, tmp_path: Path
) -> None:
    split = json.loads((run / "splits.json").read_text())
    images = [data / "images" / f"{name}.png" for name in split["test"]]
    done = maskwright("predict", run, *images, "--out", tmp_path / "m", "--probabilities")
    assert done.returncode == 0, done.stderr
    truth = tmp_path / "truth"
    truth.mkdir()
    for name in split["test"]:
        shutil.copy(data / "masks" / f"{name}.png", truth)
    done = maskwright("evaluate", tmp_path / "m", truth, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "foreground" in done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())["summary"]["classes"]
    expected = json.loads((run / "metrics.json").read_text())["summary"]["classes"]
    for name in ("background", "foreground"):
        for measure in ("dice", "precision", "recall", "auc"):
            assert scores[name][measure]["mean"] == pytest.approx(expected[name][measure]["mean"])


def test_a_missing_prediction_counts_as_empty_and_is_listed(
    run: Path, data: Path, tmp_path: Path
) -> None:
    images = sorted((data / "images").iterdir())
    maskwright("predict", run, *images[1:], "--out", tmp_path / "m")
    done = maskwright("evaluate", tmp_path / "m", data, "--json", tmp_path / "s.json")
    assert f"no prediction (counted as empty): {images[0].stem}" in done.stdout
    assert json.loads((tmp_path / "s.json").read_text())["summary"]["missing"] == [images[0].stem]


def test_existing_masks_stay_without_overwrite(run: Path, data: Path, tmp_path: Path) -> None:
    image = sorted((data / "images").iterdir())[0]
    out = tmp_path / "masks"
    out.mkdir()
    (out / image.name).write_bytes(b"mine")
    message = refused(maskwright("predict", run, image, "--out", out), "output-exists")
    assert "--overwrite" in message
    assert (out / image.name).read_bytes() == b"mine"
    assert maskwright("predict", run, image, "--out", out, "--overwrite").returncode == 0
    assert (out / image.name).read_bytes() != b"mine"


def test_images_are_never_overwritten_by_their_masks(run: Path, data: Path) -> None:
    image = sorted((data / "images").iterdir())[0]
    before = image.read_bytes()
    done = maskwright("predict", run, image, "--out", image.parent, "--overwrite")
    refused(done, "output-over-input")
    assert image.read_bytes() == before


def test_an_existing_run_is_not_overwritten(run: Path, data: Path) -> None:
    before = (run / "config.json").read_text()
    message = refused(maskwright("train", data, "--out", run, "--steps", "1"), "run-exists")
    assert "--resume" in message
    assert (run / "config.json").read_text() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_number_of_steps(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "maskwright.cli", "train", str(data), "--out", str(out),
               "--steps", "80", "--set", "validations=40", *TINY]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not list(out.glob("checkpoints/step_*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate()
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    expected = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert process.returncode == expected, stderr
    assert not list(out.rglob("*.tmp*"))
    done = maskwright("train", data, "--out", out, "--steps", "80", "--resume")
    assert done.returncode == 0, done.stderr
    assert "Going on after step" in done.stderr
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert max(e["step"] for e in events if e["kind"] == "step") == 80
    assert events[-1]["kind"] == "report"
    assert {e["step"] for e in events if e["kind"] == "step"} == set(range(1, 81))


def test_the_unpadded_network_trains_and_predicts_through_overlap_tile(
    data: Path, tmp_path: Path
) -> None:
    settings = ("--set", "depth=2", "--set", "width=4", "--set", "patch_px=92")
    out = tmp_path / "run"
    done = maskwright(
        "train", data, "--out", out, "--steps", "10", "--preset", "ronneberger2015", *settings
    )
    assert done.returncode == 0, done.stderr
    done = maskwright("predict", out, data, "--out", tmp_path / "m", "--tile", "92")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "m").glob("*.png"))) == 10


def test_a_given_split_is_used(data: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["section_00[0-5]"], "validation": ["section_006"],
                                 "test": ["section_00[7-9]"]}))  # fmt: skip
    done = maskwright("train", data, "--out", tmp_path / "run", "--steps", "2", "--split", split,
                      *TINY)  # fmt: skip
    assert done.returncode == 0, done.stderr
    used = json.loads((tmp_path / "run" / "splits.json").read_text())
    assert used["test"] == ["section_007", "section_008", "section_009"]
    assert len(used["train"]) == 6


MISTAKES: Sequence[tuple[str, tuple[str, ...]]] = [
    ("config-unknown-key", ("--set", "widht=3")),
    ("config-value", ("--set", "width=0")),
    ("size-illegal", ("--set", "patch_px=100")),
    ("preset-unknown", ("--preset", "ronneberger")),
    ("config-two-budgets", ("--minutes", "1", "--steps", "1")),
    ("labels-form", ("--labels", "cell")),
]


@pytest.mark.parametrize(("code", "arguments"), MISTAKES)
def test_a_mistake_in_training_is_told_and_nothing_is_written(
    data: Path, tmp_path: Path, code: str, arguments: tuple[str, ...]
) -> None:
    refused(maskwright("train", data, "--out", tmp_path / "run", *arguments), code)
    assert not (tmp_path / "run").exists()


def test_what_check_refuses_training_refuses(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    (broken / "masks" / "section_003.png").unlink()
    for command in (("check", broken), ("train", broken, "--out", tmp_path / "run")):
        done = maskwright(*command)
        assert done.returncode == 2
        assert "mask-missing" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_missing_runs_and_inputs_are_told(run: Path, tmp_path: Path) -> None:
    refused(maskwright("predict", tmp_path, "x.png", "--out", tmp_path / "o"), "run-missing")
    refused(maskwright("predict", run, "no/*.png", "--out", tmp_path / "o"), "input-missing")
    refused(maskwright("report", tmp_path), "run-missing")
    refused(maskwright("evaluate", tmp_path, tmp_path), "evaluate-no-masks")


def test_describe_prints_the_papers_network_and_refuses_illegal_inputs() -> None:
    done = maskwright("describe", "--preset", "ronneberger2015", "--input", "572")
    assert "31,030,658" in done.stdout
    assert "388×388" in done.stdout
    message = refused(maskwright("describe", "--input", "500"), "size-illegal")
    assert "496 or 512" in message
    values = json.loads(maskwright("describe", "--json").stdout)
    assert values["layers"][-1]["shape"] == values["output_px"] == [256, 256]


def test_every_command_has_help_with_an_example() -> None:
    for command in ("check", "train", "predict", "evaluate", "report", "describe", "sample",
                    "demo"):  # fmt: skip
        done = maskwright(command, "--help")
        assert done.returncode == 0
        assert f"Example: maskwright {command}" in done.stdout


def test_the_demonstration_goes_the_whole_way(data: Path, tmp_path: Path) -> None:
    done = maskwright("demo", data, "--out", tmp_path / "demo", "--minutes", "0.1")
    assert done.returncode == 0, done.stderr
    assert "for comparison, otsu" in done.stdout
    assert "report:" in done.stdout
    assert (tmp_path / "demo" / "run" / "report.html").is_file()
    refused(maskwright("demo", data, "--out", tmp_path / "demo"), "demo-exists")
