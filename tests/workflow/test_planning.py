"""Plans of a folder: made, told, saved, given back, and kept in the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import maskwright as mw
from maskwright.data.sample import write_sample
from maskwright.errors import ConfigError, RunError
from maskwright.io.run_folder import RunFolder
from maskwright.plan.choice import parse_plan
from maskwright.progress import Event, Events
from maskwright.workflow.planning import plan, read_plan

QUICK = ("train.precision=float32", "train.layout=contiguous", "predict.precision=float32",
         "evaluate.measures=")  # fmt: skip
TINY = (*QUICK, "depth=1", "width=4", "patch_px=32", "batch=1", "validations=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample("membranes", folder, images=8, size_px=64)
    return folder


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbered squares that touch."""
    root = tmp_path_factory.mktemp("cells")
    generator = np.random.default_rng(0)
    numbers: NDArray[np.uint16] = np.zeros((64, 64), np.uint16)
    for number in range(20):
        y, x = divmod(number, 5)
        numbers[2 + 15 * y : 17 + 15 * y, 2 + 12 * x : 14 + 12 * x] = number + 1
    numbers[30:36] = 0
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for name in "abcdefgh":
        image = (numbers > 0) * 100 + generator.integers(0, 40, numbers.shape)
        tifffile.imwrite(root / "images" / f"{name}.tif", image.astype(np.uint8))
        tifffile.imwrite(root / "masks" / f"{name}.tif", numbers)
    return root


def test_a_number_of_updates_is_planned_from_the_data_alone(data: Path) -> None:
    seen: list[Event] = []
    first = plan(data, steps=50, events=Events([seen.append]))
    again = plan(data, steps=50)
    assert (first.config, first.choices, first.facts) == (again.config, again.choices, again.facts)
    assert first.config.train.steps == 50
    assert first.machine is not None
    assert first.machine.steps == ()
    assert not [event for event in seen if event["kind"] == "measured"]
    assert first.config.train.patch_px == 64
    assert first.config.model.depth == 4


def test_a_time_is_planned_from_measured_updates(data: Path) -> None:
    found = plan(data, minutes=0.1, settings=TINY)
    assert found.machine is not None
    assert [step.width for step in found.machine.steps] == [4]
    assert found.machine.steps[0].step_s > 0
    assert found.steps is not None
    assert found.steps >= 1
    told = "\n".join(found.lines())
    assert "model.width = 4: It was set with --set." in told
    assert "train.steps = " in told


def test_a_run_keeps_its_plan_and_another_run_repeats_it(data: Path, tmp_path: Path) -> None:
    first = mw.train(data, tmp_path / "first", steps=2, settings=TINY)
    kept = read_plan(RunFolder(tmp_path / "first").plan)
    assert kept.config.model == first.config.model
    assert kept.facts is not None
    again = mw.train(data, tmp_path / "again", plan=RunFolder(tmp_path / "first").plan)
    assert again.config == first.config
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again")]
    assert weights[0] == weights[1]


def test_settings_beside_a_plan_win_and_are_named(data: Path, tmp_path: Path) -> None:
    saved = plan(data, steps=2, settings=TINY)
    run = mw.train(data, tmp_path / "run", plan=saved, settings=("width=6",), steps=3)
    assert (run.config.model.width, run.config.train.steps) == (6, 3)
    assert run.config.model.depth == 1
    kept = json.loads(RunFolder(tmp_path / "run").plan.read_text())
    width = [choice for choice in kept["choices"] if choice["name"] == "model.width"]
    assert [(choice["value"], choice["reason"]) for choice in width] == [
        (6, "It was set with --set.")
    ]
    assert parse_plan(json.dumps(kept), subject="plan").config.model.width == 6


def test_a_plan_beside_a_preset_and_a_file_that_is_none_are_refused(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        mw.train(data, tmp_path / "run", plan=plan(data, steps=2), preset="small")
    assert caught.value.code == "plan-and-other"
    with pytest.raises(RunError) as missing:
        mw.train(data, tmp_path / "run", plan=tmp_path / "none.json")
    assert missing.value.code == "plan-missing"
    assert not (tmp_path / "run").exists()


def test_touching_objects_are_trained_with_borders(cells: Path, tmp_path: Path) -> None:
    found = plan(cells, steps=2, objects=True)
    assert found.facts is not None
    assert found.facts.touching > 0.9
    assert found.config.data.target == "border"
    run = mw.train(cells, tmp_path / "run", steps=2, objects=True, settings=TINY)
    assert (run.config.data.target, run.config.model.classes) == ("border", 3)
    plain = mw.train(
        cells, tmp_path / "plain", steps=2, objects=True, settings=(*TINY, "target=classes")
    )
    assert (plain.config.data.target, plain.config.model.classes) == ("classes", 2)


def test_a_preset_is_left_as_it_is_and_named(data: Path) -> None:
    found = plan(data, steps=2, preset="small")
    assert found.config.model.width == 8
    width = next(choice for choice in found.choices if choice.name == "model.width")
    assert width.reason == "It was set with --preset small."


def test_stacks_of_few_slices_are_learnt_slice_by_slice(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        mask = np.zeros((5, 40, 40), np.uint8)
        mask[:, 10:30, 10:30] = 255
        image = (mask // 2 + generator.integers(0, 60, mask.shape)).astype(np.uint8)
        for folder, array in (("images", image), ("masks", mask)):
            tifffile.imwrite(
                tmp_path / folder / f"{name}.tif", array, imagej=True, metadata={"axes": "ZYX"}
            )
    found = plan(tmp_path, steps=2)
    assert (found.config.data.slices, found.config.model.dims) == (True, 2)
    volumes = plan(tmp_path, steps=2, settings=("data.slices=false",))
    assert (volumes.config.data.slices, volumes.config.model.dims) == (False, 3)


def test_a_run_of_minutes_goes_on_after_a_stop_and_scores(data: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    run = mw.train(data, tmp_path / "run", minutes=0.1, settings=TINY, events=Events([seen.append]))
    assert run.config.train.minutes == 0.1
    last = [event for event in seen if event["kind"] == "step"][-1]
    assert run.config.train.steps == last["step"] == last["total_steps"]
    assert [event["step"] for event in seen if event["kind"] == "validation"][-1] == last["step"]
    again = mw.train(data, tmp_path / "run", resume=True)
    assert again.config.train.steps == run.config.train.steps
    assert again.metrics()["summary"] == run.metrics()["summary"]
