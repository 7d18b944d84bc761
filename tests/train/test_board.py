"""What TensorBoard is given: the curves of a training, and pictures of its validations."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from maskwright.errors import ConfigError
from maskwright.progress import Events
from maskwright.train.board import Board

INSTALLED = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(INSTALLED, reason="tensorboard is installed")
def test_without_its_package_it_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Board(tmp_path / "board")
    assert caught.value.code == "tensorboard-missing"
    assert not (tmp_path / "board").exists()


@pytest.mark.skipif(not INSTALLED, reason="tensorboard is not installed")
def test_curves_and_pictures_are_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    panels = np.zeros((8, 40, 3), np.uint8)
    panels[2:4] = (200, 10, 30)
    with Board(tmp_path) as board:
        events = Events([board])
        for step in (1, 2):
            events.send("step", step=step, loss=1 / step, dice=0.5, rate=1e-3, waited_s=0.0)
        board.picture("cell_7", panels)
        events.send("validation", step=2, mean_dice=0.75, dice={"membrane": 0.9, "cell": 0.6})
        events.send("message", text="is not a number")
    seen = EventAccumulator(str(tmp_path)).Reload()
    assert [(s.step, s.value) for s in seen.Scalars("training/loss")] == [(1, 1.0), (2, 0.5)]
    assert seen.Scalars("validation/mean Dice")[0].value == 0.75
    assert seen.Scalars("validation/Dice of cell")[0].value == pytest.approx(0.6)
    picture = seen.Images("cell_7")[0]
    assert (picture.step, picture.width, picture.height) == (2, 40, 8)
