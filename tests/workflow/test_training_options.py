"""Options of one training: a rate looked for, snapshots, several networks, averaging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import maskwright as mw
import quick_runs
from maskwright import geometry
from maskwright.config import ModelConfig, TrainConfig
from maskwright.data.case import Case
from maskwright.errors import RunError
from maskwright.io.registry import read_image
from maskwright.nn.checkpoint import read_model
from maskwright.predict.predictor import Found
from maskwright.progress import Event, Events, read_events
from maskwright.tiling import TileRule
from maskwright.workflow.averaging_gain import measure_gain
from maskwright.workflow.loading import Truth
from maskwright.workflow.opening import open_network
from maskwright.workflow.predictor import Predictor

QUICK = (*quick_runs.QUICK, "batch=1")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options") / "data"
    mw.write_sample("membranes", folder, images=6, size_px=48)
    return folder


def _trained(data: Path, name: str, *settings: str) -> mw.Run:
    return mw.train(
        data,
        data.parent / name,
        steps=8,
        labels="cell=0,membrane=255",
        settings=(*settings, *QUICK),
    )


@pytest.fixture(scope="module")
def run(data: Path) -> mw.Run:
    return _trained(data, "run", "learning_rate=auto", "validations=4", "snapshots=2")


def test_a_rate_that_is_left_open_is_found_told_and_drawn(run: mw.Run) -> None:
    ramp = next(e for e in read_events(run.folder.events) if e["kind"] == "rate_test")
    assert run.config.train.learning_rate == ramp["chosen"]
    assert not run.config.train.find_rate
    assert 1e-5 < ramp["chosen"] < 1
    assert (run.folder.figures / "learning-rate-test.svg").is_file()
    assert "found by raising it" in run.folder.report.read_text(encoding="utf-8")


def test_the_ramp_leaves_the_network_that_is_trained_alone(data: Path, tmp_path: Path) -> None:
    found = mw.train(
        data, tmp_path / "auto", steps=2, settings=("learning_rate=auto", "validations=1", *QUICK)
    )
    rate = found.config.train.learning_rate
    named = mw.train(
        data,
        tmp_path / "named",
        steps=2,
        settings=(f"learning_rate={rate!r}", "validations=1", *QUICK),
    )
    one, other = (read_model(r.folder.model)[0].state_dict() for r in (found, named))
    assert all(torch.equal(one[name], other[name]) for name in one)


def _check_mean(run: mw.Run, data: Path) -> None:
    """A prediction is the mean of what the networks say one by one."""
    image = read_image(next((data / "images").iterdir()))
    found = open_network(run.path).predictor.predict(image.array).probabilities_KYX
    apart = [
        Predictor.build(read_model(path)[0], run.config.predict, data=run.config.data)
        .predict(image.array)
        .probabilities_KYX
        for path in run.folder.weights()
    ]
    assert len(apart) > 1
    np.testing.assert_allclose(found, np.mean(apart, 0), atol=1e-5)


def test_prediction_averages_the_snapshots(run: mw.Run, data: Path) -> None:
    files = run.folder.weights()
    assert [path.name for path in files] == [
        "step_00000006.safetensors",
        "step_00000008.safetensors",
    ]
    _check_mean(run, data)
    assert "the mean of 2 snapshots" in run.folder.report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def several(data: Path) -> mw.Run:
    return _trained(data, "several", "ensemble=2", "validations=3")


def test_prediction_averages_networks_that_learnt_one_after_the_other(
    several: mw.Run, data: Path
) -> None:
    files = several.folder.weights()
    assert [path.name for path in files] == ["network_01.safetensors", "network_02.safetensors"]
    events = list(read_events(several.folder.events))
    assert [e["step"] for e in events if e["kind"] == "validation"] == [2, 4, 6, 8]
    _check_mean(several, data)
    assert "the mean of 2 networks" in several.folder.report.read_text(encoding="utf-8")


def test_what_needs_one_network_says_so_of_several(several: mw.Run, tmp_path: Path) -> None:
    told: list[Event] = []
    exported = mw.export(several.path, tmp_path / "cells.pt", events=Events([told.append]))
    assert exported.files[0].is_file()
    assert "averages 2 networks" in next(e for e in told if e["kind"] == "warning")["text"]
    with pytest.raises(RunError, match="ensemble=1") as caught:
        mw.quantise(several.path)
    assert caught.value.code == "run-of-several"


def test_the_report_says_what_averaging_over_mirror_images_gains(run: mw.Run) -> None:
    gain = run.metrics()["averaging"]
    assert gain["ways"] == ["flip"]
    assert 0 <= gain["plain"] <= 1
    page = run.folder.report.read_text(encoding="utf-8")
    assert "Averaging over --tta flip" in page


def test_the_gain_of_a_network_that_ignores_direction_is_nothing(data: Path) -> None:
    """A network of 1×1 views treats mirror images alike, so that averaging changes nothing."""
    image = read_image(next((data / "images").iterdir()))
    truth = (image.array[0] > np.median(image.array)).astype(np.uint8)

    def engine(batch_BCS: NDArray[np.float32]) -> Found:
        p = 1 / (1 + np.exp(-batch_BCS[:, 0]))
        return {"probabilities": np.stack([1 - p, p], 1).astype(np.float32)}

    rule = TileRule(geometry.axes_of(ModelConfig(depth=1)), tile_px=64, mirror_px=0)
    predictor = Predictor(engine, rule, 1, 2, "none")
    case, true = Case("a", Path("a.png"), None, "a"), Truth(image, truth, None)
    gain = measure_gain(predictor, [case], lambda _: (image, true), 2, TrainConfig())
    assert gain is not None
    assert gain.plain == gain.averaged
    assert "changes nothing" in gain.sentence()
    short = TrainConfig(minutes=1e-9)
    assert measure_gain(predictor, [case], lambda _: (image, true), 2, short) is None
