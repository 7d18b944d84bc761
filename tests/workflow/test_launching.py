"""What goes together when training is started, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import maskwright as mw
import quick_runs
from maskwright.errors import ConfigError
from maskwright.workflow.launching import launch

QUICK = (*quick_runs.QUICK, "batch=2", "validations=1", "evaluate.measures=surface")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launching") / "data"
    mw.write_sample("membranes", folder, images=6, size_px=48)
    return folder


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"folds": 2, "plan": "plan.json"}, "folds-and-plan"),
        ({"folds": 2, "tensorboard": True}, "folds-and-tensorboard"),
        ({"folds": 2, "split": "split.json"}, "folds-and-split"),
        ({"folds": 2, "unlabelled": "more"}, "folds-and-unlabelled"),
        ({"unlabelled": "more", "plan": "plan.json"}, "unlabelled-and-plan"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, asked: dict[str, Any], code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        launch(data, tmp_path / "run", **asked)
    assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_several_processes_train_one_network_and_no_folds(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError) as caught:
        launch(data, tmp_path / "run", folds=2)
    assert caught.value.code == "folds-and-torchrun"


def test_deterministic_folds_say_so_in_the_configuration_of_each(
    data: Path, tmp_path: Path
) -> None:
    launch(data, tmp_path / "run", folds=2, steps=2, deterministic=True, settings=QUICK)
    configs = [mw.open_run(tmp_path / "run" / f"fold_{n}").config for n in (1, 2)]
    assert [config.train.deterministic for config in configs] == [True, True]
