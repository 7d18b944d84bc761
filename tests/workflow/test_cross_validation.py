"""Cross-validation from end to end: every image is scored by a network that never saw it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.errors import ConfigError, Interrupted, RunError
from maskwright.evaluate.case import CaseScore
from maskwright.io.registry import read_image, read_mask
from maskwright.progress import Event, Events
from maskwright.workflow.distributed_tasks import NetworkFiles
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_journal import digest

QUICK = ("depth=1", "width=4", "patch_px=32", "batch=1", "validations=2", "train.precision=float32",
         "train.layout=contiguous", "predict.precision=float32")  # fmt: skip
PAIRS = r"^(.)"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four groups of two images each, a1, a2, b1, …"""
    plain = tmp_path_factory.mktemp("folds") / "plain"
    mw.write_sample("membranes", plain, images=8, size_px=48)
    folder = plain.parent / "data"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for number, path in enumerate(sorted((plain / kind).iterdir())):
            name = f"{'abcd'[number // 2]}{number % 2}{path.suffix}"
            shutil.copyfile(path, folder / kind / name)
    return folder


@pytest.fixture(scope="module")
def run(data: Path) -> mw.Run:
    return mw.cross_validate(data, data.parent / "run", folds=2, steps=4, settings=QUICK,
                             group_by=PAIRS, labels="cell=0,membrane=255")  # fmt: skip


def test_every_case_is_scored_once_by_the_fold_that_held_it_out(run: mw.Run) -> None:
    cases = run.metrics()["cases"]
    assert Counter(case["case"] for case in cases) == Counter(
        f"{group}{number}" for group in "abcd" for number in (0, 1)
    )
    for case in cases:
        fold = run.folder.fold(case["fold"])
        split = fold.read_json(fold.splits)
        assert case["case"] in split["test"]
        groups = {part: {name[0] for name in names} for part, names in split.items()}
        assert not groups["test"] & (groups["train"] | groups["validation"])
        own = {c["case"]: c for c in fold.read_json(fold.metrics)["cases"]}
        assert CaseScore.from_json(case) == CaseScore.from_json(own[case["case"]])


def test_the_summary_is_that_of_all_cases_and_says_how_folds_differ(run: mw.Run) -> None:
    metrics = run.metrics()
    dice = [case["mean_dice"] for case in metrics["cases"]]
    assert metrics["summary"]["headline"]["mean"] == pytest.approx(np.mean(dice))
    folds = metrics["folds"]
    means = [np.mean([c["mean_dice"] for c in metrics["cases"] if c["fold"] == n]) for n in (1, 2)]
    assert [row["mean_dice"] for row in folds["each"]] == pytest.approx(means)
    assert folds["std"] == pytest.approx(np.std(means, ddof=1))
    assert "± " in folds["sentence"]
    for method, summary in metrics["baselines"].items():
        parts = [run.folder.read_json(run.folder.fold(n).metrics)["baselines"][method]
                 for n in (1, 2)]  # fmt: skip
        means = [part["headline"]["mean"] for part in parts]
        assert summary["headline"]["mean"] == pytest.approx(np.mean(means)), method


def test_the_report_shows_all_cases_with_their_folds(run: mw.Run) -> None:
    page = run.folder.report.read_text(encoding="utf-8")
    assert "Fold by fold" in page
    assert ">Fold</th>" in page
    assert "also chose the weights" not in page
    assert page.count('class="case"') == 8
    assert "--folds 2" in page
    assert sorted(p.stem for p in run.folder.predictions.iterdir()) == sorted(
        case["case"] for case in run.metrics()["cases"]
    )


def test_prediction_is_the_mean_of_the_folds(run: mw.Run, data: Path, tmp_path: Path) -> None:
    image_file = next((data / "images").glob("a0.*"))
    mw.predict(run.path, [image_file], tmp_path / "masks")
    image = read_image(image_file).array
    together = open_network(run.path).predictor.predict(image).probabilities_KYX
    apart = [open_network(run.folder.fold(n).path).predictor.predict(image).probabilities_KYX
             for n in (1, 2)]  # fmt: skip
    np.testing.assert_allclose(together, np.mean(apart, 0), atol=1e-5)
    mask = read_mask(next((tmp_path / "masks").glob("a0.*"))).array[0]
    assert np.array_equal(mask > 0, together.argmax(0) == 1)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_every_library_averages_the_folds(run: mw.Run, engine: str) -> None:
    pytest.importorskip("onnx")
    noise = np.random.default_rng(1).normal(size=(1, 1, 32, 32)).astype(np.float32)
    exact = {"engine": engine, "precision": "float32"}
    said = open_network(run.path, Asked(**exact)).predictor
    assert said.numerics.lower().startswith(engine)
    torch = open_network(run.path, Asked(precision="float32")).predictor.engine(noise)
    there = said.engine(noise)["probabilities"]
    np.testing.assert_allclose(there, torch["probabilities"], atol=1e-4)


def test_a_worker_gets_the_networks_of_all_folds_and_knows_them_apart(run: mw.Run) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    said = open_network(run.path).predictor.engine(noise)["probabilities"]
    files = NetworkFiles.of(run.path, said)
    there = files.open(Asked()).predictor.engine(noise)["probabilities"]
    np.testing.assert_allclose(there, said, atol=1e-6)
    before = digest(run.path, "float32")
    weights = run.folder.fold(2).model
    whole = weights.read_bytes()
    weights.write_bytes(run.folder.fold(1).model.read_bytes())
    try:
        assert digest(run.path, "float32") != before
        assert NetworkFiles.of(run.path, said).digest != files.digest
    finally:
        weights.write_bytes(whole)


def test_what_needs_one_network_names_a_fold(run: mw.Run, data: Path, tmp_path: Path) -> None:
    for refused in (
        lambda: mw.export(run.path, tmp_path / "cells.onnx"),
        lambda: mw.train(data, tmp_path / "next", steps=1, start_from=run.path),
        lambda: mw.train(data, run.path, resume=True),
    ):
        with pytest.raises(RunError, match="fold_1") as caught:
            refused()
        assert caught.value.code == "run-of-folds"
    assert not list(tmp_path.iterdir())


def test_an_interrupted_fold_goes_on_and_ends_as_if_it_never_was(run: mw.Run, data: Path) -> None:
    again = data.parent / "again"
    seen: list[Event] = []

    def stop(event: Event) -> None:
        seen.append(event)
        stages = sum(e["kind"] == "stage" for e in seen)
        if stages == 2 and event["kind"] == "step" and event["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        mw.cross_validate(data, again, folds=2, steps=4, settings=QUICK, group_by=PAIRS,
                          labels="cell=0,membrane=255", events=Events([stop]))  # fmt: skip
    kept = (again / "fold_1" / "model.safetensors").stat().st_mtime_ns
    assert not (again / "metrics.json").exists()
    resumed: list[Event] = []
    found = mw.cross_validate(data, again, resume=True, events=Events([resumed.append]))
    assert (again / "fold_1" / "model.safetensors").stat().st_mtime_ns == kept
    assert [e["step"] for e in resumed if e["kind"] == "step"] == [4]
    for number in (1, 2):
        one, other = (load_file(r.folder.fold(number).model) for r in (run, found))
        assert all(np.array_equal(one[name], other[name]) for name in one)
    scores = [{c["case"]: c["mean_dice"] for c in r.metrics()["cases"]} for r in (run, found)]
    assert scores[0] == scores[1]


def test_the_command_line_trains_folds_and_refuses_a_split_beside_them(
    data: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["a*"], "test": ["b*"]}))
    out = tmp_path / "run"
    command = ["train", str(data), "--out", str(out), "--folds", "3", "--split", str(split)]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, ConfigError)
    assert done.exception.code == "folds-and-split"
    assert not out.exists()
