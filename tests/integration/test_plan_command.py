"""``maskwright plan`` as a person types it, and what it says of every folder of real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskwright.data.sample import write_sample
from maskwright.workflow.planning import plan

TINY = ("depth=1", "width=4", "patch_px=32", "validations=1", "batch=1", "evaluate.measures=")
SHARED = Path(__file__).parents[3] / "shared" / "data"
USUAL = {"depth": 4, "width": 16, "patch": 256, "batch": 4, "target": "classes", "strides": None}
VOLUMES = {**USUAL, "depth": 3, "batch": 2}
PLANS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "membranes": ((), USUAL),
    "vessels": ((), USUAL),
    "nuclei": ((), {**USUAL, "target": "border"}),
    "nuclei_stained": (("data.mask_kind=objects",), {**USUAL, "target": "border"}),
    "lungs": (("data.skip_unpaired=true", "data.nearest_value=true"), USUAL),
    "lung_tumours": ((), {**USUAL, "foreground": 0.8}),
    "hippocampus": (("data.skip_unpaired=true",), {**VOLUMES, "patch": (48, 64, 48)}),
}


def _maskwright(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maskwright.cli", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample("membranes", folder, images=8, size_px=64)
    return folder


def test_the_plan_is_told_choice_by_choice_and_nothing_is_written(
    data: Path, tmp_path: Path
) -> None:
    before = sorted(data.rglob("*"))
    done = _maskwright("plan", data, "--steps", "5", "--set", "width=8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "model.width = 8: It was set with --set. Would change: " in done.stdout
    assert len(lines) >= 15
    assert all(" = " in line and " Would change: " in line for line in lines)
    assert sorted(data.rglob("*")) == before


def test_a_plan_as_json_is_taken_back_by_training(data: Path, tmp_path: Path) -> None:
    settings = [f"--set={name}" for name in TINY]
    done = _maskwright("plan", data, "--steps", "2", "--json", *settings)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["config"]["train"]["steps"] == 2
    file = tmp_path / "plan.json"
    file.write_text(done.stdout, encoding="utf-8")
    trained = _maskwright("train", data, "--out", tmp_path / "run", "--plan", file, "-q")
    assert trained.returncode == 0, trained.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"]["depth"], config["train"]["steps"]) == (1, 2)


def test_what_check_refuses_is_not_planned(tmp_path: Path) -> None:
    done = _maskwright("plan", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_of_a_real_folder_is_known(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no {name} at {SHARED}")
    settings, expected = PLANS[name]
    config = plan(SHARED / name, steps=1500, settings=settings).config
    model, train = config.model, config.train
    assert {
        "depth": model.depth, "width": model.width, "patch": train.patch_px, "batch": train.batch,
        "target": config.data.target, "strides": model.strides,
        **({"foreground": train.foreground_share} if "foreground" in expected else {}),
    } == expected  # fmt: skip
