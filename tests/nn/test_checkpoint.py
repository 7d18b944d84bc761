"""Weights on disk: round trips, damage, pickles, foreign files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maskwright.config import ModelConfig
from maskwright.errors import RunError
from maskwright.nn.checkpoint import (
    State,
    load_tensors,
    read_checkpoint,
    read_model,
    write_checkpoint,
    write_model,
)
from maskwright.nn.unet import build_unet

CONFIG = ModelConfig(depth=1, width=2)


def _state(step: int) -> State:
    return State({"network.w": torch.full((3,), float(step))}, {"step": step})


def test_a_model_comes_back_with_its_weights_and_facts(tmp_path: Path) -> None:
    network = build_unet(CONFIG, seed=4)
    write_model(tmp_path / "model.safetensors", network, {"step": 7})
    found, facts = read_model(tmp_path / "model.safetensors")
    assert facts["step"] == 7
    assert found.config == CONFIG
    assert not found.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)


def test_only_the_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        write_checkpoint(tmp_path, _state(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step_00000009.safetensors",
        "step_00000010.safetensors",
    ]
    state, complaints = read_checkpoint(tmp_path)
    assert state is not None
    assert state.facts["step"] == 10
    assert complaints == []


@pytest.mark.parametrize("damage", ["header", "middle", "truncated", "empty", "nan"])
def test_a_damaged_newest_checkpoint_falls_back_and_says_so(tmp_path: Path, damage: str) -> None:
    write_checkpoint(tmp_path, _state(1))
    newest = write_checkpoint(tmp_path, _state(2))
    data = newest.read_bytes()
    if damage == "header":
        data = b"\xff" * 8 + data[8:]
    elif damage == "middle":
        data = data[:20] + b"\x00\x00" + data[22:]
    elif damage == "truncated":
        data = data[:-5]
    elif damage == "empty":
        data = b""
    else:
        data = data[:-4] + torch.tensor([torch.nan]).numpy().tobytes()
    newest.write_bytes(data)
    state, complaints = read_checkpoint(tmp_path)
    assert state is not None
    assert state.facts["step"] == 1
    assert len(complaints) == 1


def test_all_checkpoints_damaged_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, _state(1)).write_bytes(b"nothing")
    with pytest.raises(RunError) as caught:
        read_checkpoint(tmp_path)
    assert caught.value.code == "checkpoints-damaged"


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "none") == (None, [])


def test_a_pickle_is_refused_by_name_and_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("the pickle ran",))

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(RunError, match="pickle") as caught:
        read_model(path)
    assert caught.value.code == "weights-pickle"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(RunError, match="pickle"):
        read_model(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        read_model(tmp_path / "model.safetensors")
    assert caught.value.code == "weights-missing"
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RunError) as caught:
        read_model(tmp_path / "model.safetensors")
    assert caught.value.code == "weights-foreign"


def test_a_tensor_of_another_shape_names_tensor_file_and_both_shapes() -> None:
    tensors = build_unet(CONFIG).state_dict()
    with pytest.raises(RunError, match=r"here tensor .*expected \(4, .*found \(2, "):
        load_tensors(build_unet(ModelConfig(depth=1, width=4)), tensors, subject="here")


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, _state(1))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(Exception, match="space"):
        write_checkpoint(tmp_path, _state(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001.safetensors"]
