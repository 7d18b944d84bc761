"""Two processes train what one does, and a process that dies takes nothing with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from maskwright.config import TrainConfig
from maskwright.errors import ConfigError
from maskwright.nn.checkpoint import read_checkpoint
from maskwright.nn.ranks import Ranks
from maskwright.train.distributed import check_parts

PROGRAM = Path(__file__).parent / "rank_program.py"
STEPS = 12


def _start(folder: Path, count: int, *arguments: str) -> list[int]:
    """The exit statuses of so many processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
    }
    children = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder), *arguments],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    return [child.wait(timeout=120) for child in children]


def _seen(folder: Path, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"rank_{rank}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    assert _start(folder, 1) == [0]
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    assert _start(folder, 2) == [0, 0]
    return folder


def test_two_processes_give_the_curve_of_one_for_every_kind_of_network_and_loss(
    alone: Path, together: Path
) -> None:
    one, two = _seen(alone), _seen(together)
    assert one.keys() == two.keys()
    for case in one:
        assert len(one[case]["losses"]) == STEPS
        assert one[case]["losses"][0] == pytest.approx(two[case]["losses"][0], rel=3e-6), case
        assert one[case]["losses"] == pytest.approx(two[case]["losses"], rel=3e-4), case
        assert one[case]["dice"] == pytest.approx(two[case]["dice"], rel=3e-4), case
        assert one[case]["average"] == pytest.approx(two[case]["average"], rel=3e-4), case


def test_both_processes_know_the_same_loss_and_hold_the_same_weights(together: Path) -> None:
    assert _seen(together, 0) == _seen(together, 1)


def test_checkpointing_changes_no_curve(alone: Path, together: Path) -> None:
    for folder in (alone, together):
        seen = _seen(folder)
        assert seen["computed again"] == seen["batch norm and dropout"]


def test_a_process_that_dies_ends_the_run_with_a_checkpoint_that_goes_on(
    alone: Path, tmp_path: Path
) -> None:
    statuses = _start(tmp_path, 2, "5")
    assert statuses == [0, 1]
    first = _seen(tmp_path)["batch norm and dropout"]
    assert first["ended"] == "rank-lost"
    state, _ = read_checkpoint(tmp_path / "0" / "checkpoints")
    assert state is not None
    assert state.facts["step"] == 5
    assert _start(tmp_path, 1) == [0]
    rest = _seen(tmp_path)["batch norm and dropout"]
    whole = _seen(alone)["batch norm and dropout"]
    assert first["losses"] + rest["losses"] == pytest.approx(whole["losses"], rel=3e-4)


def test_a_batch_that_has_no_equal_parts_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check_parts(TrainConfig(batch=4, accumulate=2), Ranks(0, 3))
    assert caught.value.code == "batch-parts"
    assert "batch=6" in str(caught.value)


def test_alone_nothing_is_changed_by_sums_over_processes() -> None:
    values = torch.tensor([1.0, 2.0])
    assert Ranks().sum(values) is values
    assert Ranks().mean(values) is values
    assert Ranks().gather({"a": (1, 2)}) == [{"a": (1, 2)}]
