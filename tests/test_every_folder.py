"""The benchmark that goes the whole way with every folder of the shared data."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def every_folder(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("every_folder")


def _data(root: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        noise = random.integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{number}.png")
        Image.fromarray(((noise > 99) * 255).astype(np.uint8)).save(
            root / "masks" / f"{number}.png"
        )
    (root / "masks" / "orphan.png").write_bytes((root / "masks" / "0.png").read_bytes())
    return root


def test_what_check_names_as_remedy_is_all_that_is_set(tmp_path: Path, every_folder: Any) -> None:
    row = every_folder.try_folder(_data(tmp_path / "data"), tmp_path / "work", steps=1, width=4)
    assert row["failed"] == ""
    assert row["refused"] == ["mask-orphan"]
    assert row["settings"] == ["data.skip_unpaired=true"]
    assert (row["cases"], row["steps"], row["masks"], row["unlike"]) == (4, 1, 4, {})
    assert str(tmp_path) not in "".join(row["said"])
    text = every_folder.render({"steps": 1, "width": 4, "folders": [row]})
    assert "| data | **mask-orphan** | `data.skip_unpaired=true` | 4 |" in text


def test_a_folder_that_goes_no_further_says_why(tmp_path: Path, every_folder: Any) -> None:
    (tmp_path / "empty").mkdir()
    row = every_folder.try_folder(tmp_path / "empty", tmp_path / "work", steps=1, width=4)
    assert "no-image" in row["failed"]
    assert row["failed"] in every_folder.render({"steps": 1, "width": 4, "folders": [row]})


def test_a_mask_of_another_size_or_place_is_named(tmp_path: Path, every_folder: Any) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "b.png")
    assert "(4, 6)" in every_folder.compare(tmp_path / "a.png", tmp_path / "b.png")
    assert every_folder.compare(tmp_path / "a.png", tmp_path / "a.png") == ""
