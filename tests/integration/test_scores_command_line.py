"""Scores as a person asks for them: detections, comparisons, a second observer, trust."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.sample import write_sample

TINY = ("--set", "depth=2", "--set", "width=6", "--set", "patch_px=64", "--set", "batch=2")
FINDINGS = "seriesuid,coordX,coordY,coordZ,diameter_mm\nA,0,0,0,10\nB,0,0,0,6\n"
CANDIDATES = """seriesuid,coordX,coordY,coordZ,probability
A,1,0,0,.9
A,2,0,0,.95
A,50,0,0,.8
B,3,0,0,.7
B,0,0,2,.6
C,0,0,0,.5
"""


def maskwright(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own with one thread."""
    command = [sys.executable, "-m", "maskwright.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with a second observer, who drew every mask a pixel lower, and a region."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample("membranes", folder, images=10, size_px=96)
    for name in ("second_observer", "roi"):
        (folder / name).mkdir()
    inside = np.zeros((96, 96), np.uint8)
    inside[8:-8, 8:-8] = 255
    for path in (folder / "masks").iterdir():
        drawn = np.roll(np.asarray(Image.open(path)), 1, axis=0)
        Image.fromarray(drawn).save(folder / "second_observer" / f"{path.stem}_2ndHO.png")
        Image.fromarray(inside).save(folder / "roi" / path.name)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cells"
    every = ("--set", "measures=all")
    done = maskwright("train", data, "--out", folder, "--steps", "60", *TINY, *every)
    assert done.returncode == 0, done.stderr
    return folder


def test_candidates_against_findings_give_the_scores_of_luna16(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(FINDINGS, encoding="utf-8")
    (tmp_path / "c.csv").write_text(CANDIDATES, encoding="utf-8")
    (tmp_path / "s.csv").write_text("seriesuid\nA\nB\nC\n", encoding="utf-8")
    scans, out = ("--scans", tmp_path / "s.csv"), ("--json", tmp_path / "f.json")
    done = maskwright("evaluate", tmp_path / "c.csv", tmp_path / "t.csv", *scans, *out)
    assert done.returncode == 0, done.stderr
    assert "CPM 0.7857" in done.stdout
    written = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert written["sensitivities"] == [0.5, 0.5, 0.5, 1, 1, 1, 1]


def test_a_table_without_a_column_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(FINDINGS, encoding="utf-8")
    (tmp_path / "c.csv").write_text("seriesuid,coordX,coordY,coordZ\nA,1,2,3\n", encoding="utf-8")
    done = maskwright("evaluate", tmp_path / "c.csv", tmp_path / "t.csv")
    assert done.returncode == 2
    assert "no column probability" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_scores_the_second_observer_inside_and_outside_the_region(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert "second observer" in metrics["baselines"]
    assert "roi/" in metrics["roi"]
    regions = {(r["region"], r["method"]): r["summary"] for r in metrics["regions"]}
    assert set(regions) == {
        (region, method)
        for region in ("inside", "outside", "whole image")
        for method in ("network", "second observer")
    }
    inside = np.sum([case["confusion"] for case in metrics["cases"]])
    assert inside == len(metrics["cases"]) * 80 * 80
    observer = metrics["baselines"]["second observer"]["headline"]["mean"]
    assert observer == regions["inside", "second observer"]["headline"]["mean"]
    assert 0.5 < observer < 1.0


def test_a_run_keeps_what_its_validation_images_chose(run: Path) -> None:
    chosen = json.loads((run / "calibration.json").read_text(encoding="utf-8"))
    assert chosen["temperature"] > 0
    assert chosen["facts"]["nll_after"] <= chosen["facts"]["nll_before"]
    assert len(chosen["curves"]) == 1
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    rows = metrics["partitions"]["foreground"]["rows"]
    assert [row[0] for row in rows] == pytest.approx(np.arange(11) / 10)
    assert metrics["partitions"]["foreground"]["best_v_rand"][1] == max(row[1] for row in rows)


def test_the_report_has_every_section_and_its_charts_as_files(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        "second person",
        "outside",
        "Brier",
        "oracle",
        "V-Rand",
        "expected",
        "hash",
        "bibtex",
    ):
        assert words.lower() in page.lower(), words
    names = {path.suffix for path in (run / "figures").iterdir()}
    assert names == {".svg", ".png"}
    assert len(page.encode()) < 5_000_000


def test_predictions_come_ranked_by_how_much_to_trust_them(
    run: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    done = maskwright("predict", run, data / "images", "--out", out, "--uncertainty")
    assert done.returncode == 0, done.stderr
    with (out / "trust.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [float(row["expected_dice"]) for row in rows]
    assert len(rows) == 10
    assert expected == sorted(expected)
    assert all(0 <= value <= 1 for value in expected)
    assert len(list((out / "uncertainty").glob("*.tif"))) == 10
    with Image.open(next((out / "uncertainty").glob("*.tif"))) as picture:
        unsure = np.asarray(picture)
    assert unsure.shape == (96, 96)
    assert 0 <= unsure.min() <= unsure.max() <= 1


def test_runs_and_folders_are_compared_on_the_same_truth(
    run: Path, data: Path, tmp_path: Path
) -> None:
    held = tmp_path / "truth"
    held.mkdir()
    for path in (run / "predictions").iterdir():
        shutil.copy(data / "masks" / path.name, held / path.name)
    done = maskwright(
        "compare", run, data / "second_observer", "--truth", held, "--json", tmp_path / "c.json"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:2] == ["method", "dice"]
    assert "Best mean dice of foreground: second_observer" in done.stdout
    written = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in written["methods"]] == ["second_observer", "cells"]


def test_scores_of_an_older_version_are_refused_with_what_to_do(run: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    metrics = json.loads((old / "metrics.json").read_text(encoding="utf-8"))
    del metrics["format"]
    (old / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    done = maskwright("report", old)
    assert done.returncode == 2
    assert "[metrics-version]" in done.stderr
    assert "--resume" in done.stderr
    assert maskwright("report", run).returncode == 0
