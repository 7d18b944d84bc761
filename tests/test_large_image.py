"""The benchmark of large images, on small ones."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import maskwright as mw

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("large_inputs")


def test_a_mosaic_has_no_seam_that_its_image_has_not(inputs: ModuleType) -> None:
    rows, columns = np.mgrid[:30, :40]
    smooth = (2 * rows + 3 * columns).astype(np.uint8)
    whole = inputs.mosaic(smooth, (slice(0, 100), slice(0, 130))).astype(int)
    np.testing.assert_array_equal(whole, np.pad(smooth, ((0, 70), (0, 90)), mode="symmetric"))
    assert np.abs(np.diff(whole, axis=0)).max() == 2
    assert np.abs(np.diff(whole, axis=1)).max() == 3
    block = (slice(25, 71), slice(35, 99))
    np.testing.assert_array_equal(inputs.mosaic(smooth, block), whole[block])


def test_predictions_of_every_way_and_tile_are_measured_and_compared(tmp_path: Path) -> None:
    mw.write_sample("membranes", tmp_path / "data" / "membranes", images=2, size_px=96)
    small = ["--crop", "140", "--tiles", "96", "128", "--only", "crop"]
    network = ["--depth", "1", "--width", "4", "--engine", "torch", "--precision", "float32"]
    folders = ["--data", "data", "--work", "work", "--results", "results", "--formats", "tif"]
    command = [sys.executable, str(BENCHMARKS / "large_image.py"), *small, *network, *folders]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = json.loads((tmp_path / "results" / "large_image.json").read_text(encoding="utf-8"))
    rows = found["rows"]
    assert [(row["what"], row["path"], row["tile_px"]) for row in rows] == [
        ("crop_140.tif", "from its file", 96),
        ("crop_140.tif", "in memory", 96),
        ("crop_140.tif", "from its file", 128),
        ("crop_140.tif", "in memory", 128),
    ]
    for row in rows:
        assert row["pixels_of_another_class"] == 0
        assert row["classes_in_mask"] == 2
        assert 0 < row["predicting_s"] < row["usage"]["wall_s"]
        assert row["usage"]["peak_bytes"] > 10**8
    assert "| crop_140.tif |" in (tmp_path / "results" / "large_image.md").read_text("utf-8")
