"""The comparison with other programs, on a small image."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import maskwright as mw

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("against_peers")


def test_differences_are_found_where_both_tilings_see_the_same_pixels(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    one = np.zeros((1, 400, 400), np.float32)
    larger, moved = one.copy(), one[:, 208:, 208:].copy()
    larger[0, 3, 3] = 0.25
    moved[0, 100, 100] = 0.5
    moved[0, 1, 1] = 1.0  # next to the border that moved
    for name, array in zip("abc", (one, larger, moved), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    found = benchmark.differences(tmp_path)
    assert found["largest_difference_by_size"] == 0.25
    assert found["largest_difference_by_place"] == 0.5


def test_every_program_and_engine_has_a_row_of_its_own(benchmark: ModuleType) -> None:
    plain = benchmark.Task("ours", 512, "run", "image.npy")
    rows = dict(benchmark.tasks(plain, int8=True))
    assert len(rows) == 4 + 2 + 6
    assert {task.program for task in rows.values()} == {"ours", "monai", "nnunet"}
    assert len({task.to_json() for task in rows.values()}) == len(rows)
    assert all(benchmark.Task.from_json(task.to_json()) == task for task in rows.values())
    assert not any("int8" in name for name in dict(benchmark.tasks(plain, int8=False)))


@pytest.mark.parametrize("program", ["ours", "monai"])
def test_our_tiles_do_not_matter_and_those_of_a_sliding_window_do(
    program: str, benchmark: ModuleType, tmp_path: Path
) -> None:
    if program == "monai":
        pytest.importorskip("monai", reason="MONAI is not installed")
    rows = importlib.import_module("peer_rows")
    inputs = importlib.import_module("large_inputs")
    image = np.random.default_rng(0).normal(128, 40, (1, 300, 280)).astype(np.uint8)
    model = mw.ModelConfig(width=4, depth=1)
    run = inputs.write_run(tmp_path / "run", inputs.network_like_trained(model, image))
    task = benchmark.Task(program, 128, str(run), "", engine="torch", overlap=0.25)
    normal = (image - np.float32(image.mean())) / np.float32(image.std())
    found = [
        rows.PROGRAMS[program](replace(task, tile_px=tile_px))(normal) for tile_px in (128, 256)
    ]
    assert found[0].shape == (2, 300, 280)
    np.testing.assert_allclose(found[0].sum(0), 1, atol=1e-5)
    assert (np.abs(found[0] - found[1]).max() < 1e-5) == (program == "ours")


def test_the_command_leaves_figures_and_a_table(tmp_path: Path) -> None:
    mw.write_sample("membranes", tmp_path / "data" / "membranes", images=1, size_px=128)
    command = [sys.executable, str(BENCHMARKS / "against_peers.py"), "--data", "data"]
    command += ["--size", "460", "--tile", "128", "--width", "4", "--depth", "1", "--rounds", "1"]
    command += ["--programs", "ours", "--work", "work", "--results", "results"]
    name = "ours, torch, float32"
    subprocess.run([*command, "--only", name], cwd=tmp_path, check=True, capture_output=True)
    file = tmp_path / "results" / "against_peers.json"
    row = json.loads(file.read_text(encoding="utf-8"))["rows"][name]
    assert row["seconds"][0] > 0
    assert row["peak_bytes"] > 10**8
    assert row["largest_difference_by_size"] < 1e-5
    assert row["largest_difference_by_place"] < 1e-5
    assert name in file.with_suffix(".md").read_text(encoding="utf-8")
