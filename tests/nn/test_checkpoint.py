"""Weights on disk: round trips, damage, pickles, foreign files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

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
from maskwright.nn.presets import preset
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


def _first_format(image: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The network as it was before it had options, written out from the names of its tensors."""

    def block(features: torch.Tensor, place: str) -> torch.Tensor:
        for conv, norm in ((0, 1), (3, 4)):
            t = {k.rsplit(".", 1)[1]: v for k, v in tensors.items() if f"{place}.{norm}." in k}
            features = functional.conv2d(features, tensors[f"{place}.{conv}.weight"], padding=1)
            features = functional.batch_norm(
                features, t["running_mean"], t["running_var"], t["weight"], t["bias"]
            ).relu()
        return features

    skip = block(image, "encoder.0")
    features = block(functional.max_pool2d(skip, 2), "encoder.1")
    features = functional.conv_transpose2d(
        features, tensors["upsample.0.weight"], tensors["upsample.0.bias"], stride=2
    )
    features = block(torch.cat([skip, features], 1), "decoder.0")
    return functional.conv2d(features, tensors["head.weight"], tensors["head.bias"])


def test_weights_and_configuration_of_the_first_format_open_unchanged(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "upsample.0.weight": (4, 2, 2, 2),
        "upsample.0.bias": (2,),
        "head.weight": (2, 2, 1, 1),
        "head.bias": (2,),
    }
    for place, inner, outer in (("encoder.0", 1, 2), ("encoder.1", 2, 4), ("decoder.0", 4, 2)):
        shapes[f"{place}.0.weight"] = (outer, inner, 3, 3)
        shapes[f"{place}.3.weight"] = (outer, outer, 3, 3)
        for norm in (1, 4):
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{place}.{norm}.{name}"] = (outer,)
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    stored = dict(tensors)
    for place in ("encoder.0", "encoder.1", "decoder.0"):
        for norm in (1, 4):
            stored[f"{place}.{norm}.num_batches_tracked"] = torch.tensor(5)
    model = {"channels": 1, "classes": 2, "depth": 1, "width": 2, "padding": "same",
             "norm": "batch", "dropout": 0.0}  # fmt: skip
    facts = json.dumps({"step": 5, "model": model})
    save_file(stored, tmp_path / "model.safetensors", metadata={"maskwright": facts})
    network, _ = read_model(tmp_path / "model.safetensors")
    assert network.config == CONFIG
    image = torch.rand(1, 1, 8, 12, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(network(image)["logits"], _first_format(image, tensors))


def test_the_unpadded_network_of_the_first_format_keeps_its_names() -> None:
    names = {name for name, _ in build_unet(preset("ronneberger2015").model).named_parameters()}
    blocks = [f"{part}.{level}.{layer}" for part, levels in (("encoder", 5), ("decoder", 4))
              for level in range(levels) for layer in (0, 2)]  # fmt: skip
    places = [*blocks, *(f"upsample.{level}" for level in range(4)), "head"]
    assert names == {f"{place}.{kind}" for place in places for kind in ("weight", "bias")}
