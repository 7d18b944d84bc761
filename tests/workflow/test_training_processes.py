"""Options of training as a person uses them: several processes, the same bytes, images on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maskwright as mw
import quick_runs
from maskwright.errors import ConfigError
from maskwright.progress import Event, Events

QUICK = (*quick_runs.QUICK, "batch=2", "validations=2", "evaluate.measures=surface")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options") / "data"
    mw.write_sample("membranes", folder, images=6, size_px=48)
    return folder


@pytest.fixture(scope="module")
def plain(data: Path) -> mw.Run:
    return mw.train(data, data.parent / "plain", steps=10, settings=QUICK)


def _events(run: Path, kind: str) -> list[Event]:
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def _digest(run: mw.Run) -> str:
    return hashlib.sha256(run.folder.model.read_bytes()).hexdigest()


def test_torchrun_trains_one_run_with_the_curve_of_one_process(data: Path, plain: mw.Run) -> None:
    out = data.parent / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--standalone", "-m", "maskwright", "train", str(data), "--out", str(out),
               "--steps", "10"]  # fmt: skip
    for setting in QUICK:
        command += ["--set", setting]
    root = Path(mw.__file__).parents[1]
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    losses = [event["loss"] for event in _events(out, "step")]
    assert losses == pytest.approx([e["loss"] for e in _events(plain.path, "step")], rel=1e-3)
    found, expected = (
        [(e["step"], e["mean_dice"]) for e in _events(run, "validation")]
        for run in (out, plain.path)
    )
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, dice), (_, other) in zip(found, expected, strict=True):
        assert dice == pytest.approx(other, abs=0.01)
    assert any("2 processes" in e["text"] for e in _events(out, "message"))
    assert (out / "report.html").exists()


def test_images_larger_than_the_memory_for_them_train_to_the_same_network(
    data: Path, plain: mw.Run
) -> None:
    out = data.parent / "on_disk"
    run = mw.train(data, out, steps=10, settings=(*QUICK, "cache_memory=5kB"))
    curves = [[e["loss"] for e in _events(path, "step")] for path in (run.path, plain.path)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)
    assert any("cache_memory" in e["text"] for e in _events(out, "message"))
    assert not list(out.rglob("*.npy"))


def test_deterministic_training_writes_the_same_bytes_twice(data: Path) -> None:
    quick = tuple(s for s in QUICK if "precision" not in s and "layout" not in s)
    runs = [
        mw.train(data, data.parent / name, steps=6, deterministic=True, settings=quick)
        for name in ("once", "twice")
    ]
    assert _digest(runs[0]) == _digest(runs[1])
    assert runs[0].config.train.deterministic
    assert _events(runs[0].path, "measured") == []


def test_deterministic_training_for_a_time_is_refused(data: Path) -> None:
    out = data.parent / "refused"
    with pytest.raises(ConfigError) as caught:
        mw.train(data, out, minutes=1, deterministic=True, settings=QUICK)
    assert caught.value.code == "deterministic-minutes"
    assert not out.exists()


def test_a_cache_without_a_unit_it_knows_is_refused_before_anything_is_written(data: Path) -> None:
    out = data.parent / "refused"
    with pytest.raises(ConfigError) as caught:
        mw.train(data, out, steps=1, settings=(*QUICK, "cache_memory=plenty"), events=Events())
    assert caught.value.code == "memory-unit"
    assert "--set cache_memory=2GB" in str(caught.value)
    assert not out.exists()
