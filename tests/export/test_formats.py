"""Every kind of network comes out of every format as it went in."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from maskwright.errors import MaskwrightError, OutputError, RunError
from maskwright.export.facts import ModelFacts
from maskwright.export.graph import FlatNetwork, flat_outputs, read_graph
from maskwright.export.keras_file import keras_runner, write_keras
from maskwright.export.onnx_file import onnx_bytes, write_onnx
from maskwright.export.openvino_file import write_openvino
from maskwright.export.torchscript_file import torchscript_runner, write_torchscript
from maskwright.export.verification import LIMIT, verify
from maskwright.io.extras import load_extra
from maskwright.io.network_file import open_onnx, open_openvino


def expected_names(network: torch.nn.Module, batch: np.ndarray) -> list[str]:
    with torch.inference_mode():
        return list(flat_outputs(network(torch.from_numpy(batch))))


def test_onnx_takes_any_batch_and_size(subject: Any, tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx", subject.graph, subject.facts)
    file = open_onnx(tmp_path / "a.onnx", subject="a.onnx")
    found = verify(subject.network, file.run, subject.batches, image="noise", file="a.onnx")
    assert found.worst < LIMIT / 4
    assert list(found.largest) == expected_names(subject.network, subject.batches[0])
    assert subject.batches[0].shape != subject.batches[1].shape
    assert file.facts is not None
    assert ModelFacts.from_json(file.facts, subject="a.onnx") == subject.facts


def test_openvino_takes_any_batch_and_size(subject: Any, tmp_path: Path) -> None:
    write_openvino(tmp_path / "a.xml", subject.graph, subject.facts)
    assert {path.name for path in tmp_path.iterdir()} == {"a.xml", "a.bin"}
    file = open_openvino(tmp_path / "a.xml")
    found = verify(subject.network, file.run, subject.batches, image="noise", file="a.xml")
    assert found.worst < LIMIT / 4
    assert list(found.largest) == expected_names(subject.network, subject.batches[0])
    assert file.facts is not None
    assert ModelFacts.from_json(file.facts, subject="a.xml") == subject.facts


def test_torchscript_takes_any_batch_and_size(subject: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_torchscript(path, subject.network, subject.facts, subject.shape)
    found = verify(
        subject.network, torchscript_runner(path), subject.batches, image="noise", file="a.pt"
    )
    assert found.worst < LIMIT / 4
    assert list(found.largest) == expected_names(subject.network, subject.batches[0])
    held = {"maskwright": ""}
    torch.jit.load(str(path), _extra_files=held)
    assert ModelFacts.from_json(held["maskwright"], subject="a.pt") == subject.facts


def test_keras_takes_any_batch_and_size(subject: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    write_keras(path, subject.graph, subject.facts)
    found = verify(
        subject.network, keras_runner(path), subject.batches, image="noise", file="a.keras"
    )
    assert found.worst < LIMIT / 4
    assert set(found.largest) == set(expected_names(subject.network, subject.batches[0]))
    with zipfile.ZipFile(path) as archive:
        text = archive.read("maskwright.json").decode()
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert ModelFacts.from_json(text, subject="a.keras") == subject.facts
    assert {layer["module"] for layer in layers} == {"keras.layers"}


def test_batch_normalisation_is_folded_into_the_convolutions(
    subjects: Callable[[str], Any],
) -> None:
    plain = subjects("plain")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in plain.network.modules())
    assert "batch_norm" not in {step.kind for step in plain.graph.steps}
    assert all("bias" in step.weights for step in plain.graph.steps if step.kind == "conv")


def test_batch_normalisation_that_stands_alone_is_exported_as_such(
    subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    plain = subjects("plain")
    flat = FlatNetwork(plain.network)
    flat.network.pool[0] = torch.nn.Sequential(flat.network.pool[0], torch.nn.BatchNorm2d(4))
    flat.network.pool[0][1].running_mean.fill_(0.3)
    network = flat.network.eval()
    graph = read_graph(network, plain.shape)
    assert "batch_norm" in {step.kind for step in graph.steps}
    write_keras(tmp_path / "a.keras", graph, plain.facts)
    write_onnx(tmp_path / "a.onnx", graph, plain.facts)
    file = open_onnx(tmp_path / "a.onnx", subject="a.onnx")
    for run in (keras_runner(tmp_path / "a.keras"), file.run):
        assert verify(network, run, plain.batches, image="noise", file="a").worst < LIMIT / 4


def test_the_network_itself_is_left_alone(subjects: Callable[[str], Any]) -> None:
    plain = subjects("plain")
    before = {name: tensor.clone() for name, tensor in plain.network.state_dict().items()}
    read_graph(plain.network, plain.shape)
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_an_onnx_file_opens_in_programs_of_2022(subject: Any) -> None:
    model = onnx.load_from_string(onnx_bytes(subject.graph, subject.facts))
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in shape] == [
        "batch", "", *(axis.name for axis in subject.facts.axes)
    ]  # fmt: skip


def test_a_difference_above_the_limit_is_refused(subjects: Callable[[str], Any]) -> None:
    plain = subjects("plain")

    def off_by(amount: float) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        def run(batch: np.ndarray) -> dict[str, np.ndarray]:
            with torch.inference_mode():
                logits = plain.network(torch.from_numpy(batch))["logits"].numpy()
            return {"logits": logits + np.float32(amount)}

        return run

    arguments = {"image": "noise", "file": "a.onnx"}
    assert verify(plain.network, off_by(5e-5), plain.batches, **arguments).worst > 4e-5
    for amount in (2e-4, np.nan):
        with pytest.raises(OutputError, match=r"a\.onnx.*\[export-differs\]"):
            verify(plain.network, off_by(amount), plain.batches, **arguments)
    with pytest.raises(OutputError, match=r"inf.*\[export-differs\]"):
        verify(plain.network, lambda batch: {"logits": batch}, plain.batches, **arguments)


def test_an_operation_that_is_not_ours_is_named(subjects: Callable[[str], Any]) -> None:
    network = FlatNetwork(subjects("plain").network).network
    network.head = torch.nn.Sequential(network.head, torch.nn.Softplus())
    with pytest.raises(OutputError, match=r"softplus.*\[export-operation\]"):
        read_graph(network, subjects("plain").shape)


def test_facts_say_what_other_programs_need(subjects: Callable[[str], Any]) -> None:
    values = json.loads(subjects("heads").facts.to_json(["logits", "image_logits"]))
    assert values["input"]["normalisation"] == "zero_mean_unit_variance"
    assert values["outputs"] == ["logits", "image_logits"]
    assert values["activation"] == "softmax"
    assert values["classes"][1] == {"name": "cell", "mask_values": [90], "color": "#e69f00"}
    assert [axis["axis"] for axis in values["tiling"]] == ["y", "x"]
    assert values["tiling"][0]["divisor_px"] == 4
    assert values["tiling"][0]["border_loss_px"] == 20


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "model-foreign"),
        ("{", "model-facts"),
        ("[]", "model-facts"),
        ('{"format": 99}', "model-newer"),
        ('{"format": 1}', "model-facts"),
        ('{"format": 1, "model": 1, "data": {}, "predict": {}, "temperature": 1, '
         '"written_by": "x"}', "model-facts"),
    ],
)  # fmt: skip
def test_damaged_facts_are_refused(text: str | None, code: str) -> None:
    with pytest.raises(RunError, match=rf"a\.onnx.*\[{code}\]"):
        ModelFacts.from_json(text, subject="a.onnx")


def test_a_missing_package_is_told_with_the_command_that_installs_it() -> None:
    with pytest.raises(MaskwrightError, match=r"pip install 'maskwright\[onnx\]'.*extra-missing"):
        load_extra("no_such_package_here", extra="onnx")


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 40])
def test_a_file_that_is_no_network_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(RunError, match="network-file"):
        open_onnx(tmp_path / "a.onnx", subject="a.onnx")
    with pytest.raises(RunError, match="network-file"):
        open_openvino(tmp_path / "a.xml")


def test_an_illegal_size_is_told_without_a_traceback(
    subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    plain = subjects("plain")
    write_onnx(tmp_path / "a.onnx", plain.graph, plain.facts)
    file = open_onnx(tmp_path / "a.onnx", subject="a.onnx")
    with pytest.raises(RunError, match="network-file-run"):
        file.run(np.zeros((1, 1, 21, 21), np.float32))
