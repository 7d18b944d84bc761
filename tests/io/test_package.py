"""Packages of others are read with suspicion: nothing of them is run, nothing downloaded."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from maskwright.errors import RunError
from maskwright.io.package import PackageAxis, is_package, read_package

Change = Callable[[dict[str, Any]], None]


def doubling_network() -> bytes:
    """Twice its input, channels last and without a batch, as some networks are."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["y", "x", 1])
        for name in ("raw", "result")
    ]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["raw", "two"], ["result"])], "g", [values[0]], [values[1]], [two]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return content


def description() -> dict[str, Any]:
    space = [
        {"type": "space", "id": "y", "size": {"min": 32, "step": 16}},
        {"type": "space", "id": "x", "size": {"min": 32, "step": 16}},
    ]
    result = [
        {"type": "space", "id": axis, "halo": 4, "size": {"tensor_id": "raw", "axis_id": axis}}
        for axis in "yx"
    ]
    channel = {"type": "channel", "channel_names": ["one"]}
    return {
        "format_version": "0.5.4",
        "type": "model",
        "name": "doubling",
        "inputs": [
            {
                "id": "raw",
                "axes": [*space, channel],
                "preprocessing": [{"id": "scale_linear", "kwargs": {"gain": 0.25}}],
            }
        ],
        "outputs": [{"id": "out", "axes": [*result, channel]}],
        "weights": {"onnx": {"source": "weights.onnx"}},
    }


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    def make(change: Change = lambda values: None, name: str = "rdf.yaml") -> Path:
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        (folder / "weights.onnx").write_bytes(doubling_network())
        values = description()
        change(values)
        (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")
        return folder

    return make


def test_a_package_says_how_its_network_is_used(package: Callable[..., Path]) -> None:
    found = read_package(package())
    assert found.axes == (PackageAxis("y", 32, 16, 4, 0), PackageAxis("x", 32, 16, 4, 0))
    assert (found.name, found.channels, found.class_names) == ("doubling", 1, ("one",))
    assert found.input_order == found.output_order == (2, 3, 1)
    assert found.before == (("scale_linear", {"gain": 0.25}),)
    assert found.after == ()
    image = np.ones((32, 32, 1), np.float32)
    assert next(iter(found.network.run(image).values())).max() == 2


def test_a_folder_its_description_and_a_zip_file_are_the_same_package(
    package: Callable[..., Path], tmp_path: Path
) -> None:
    folder = package(name="bioimageio.yaml")
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), "zip", folder))
    for path in (folder, folder / "bioimageio.yaml", archive):
        assert is_package(path)
        assert read_package(path).name == "doubling"
    assert not is_package(tmp_path)


def test_a_fixed_size_has_no_step(package: Callable[..., Path]) -> None:
    def fix(values: dict[str, Any]) -> None:
        for axis in values["inputs"][0]["axes"][:2]:
            axis["size"] = 64

    assert read_package(package(fix)).axes[0] == PackageAxis("y", 64, 0, 4, 0)


def test_an_unpadded_network_loses_its_offset_at_both_borders(
    package: Callable[..., Path],
) -> None:
    def shrink(values: dict[str, Any]) -> None:
        for axis in values["outputs"][0]["axes"][:2]:
            axis["size"]["offset"] = -8

    assert read_package(package(shrink)).axes[0].border_loss == 4


def _set(*path: Any, value: Any) -> Change:
    def change(values: dict[str, Any]) -> None:
        target: Any = values
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

    return change


WRONG: list[tuple[Change, str]] = [
    (_set("format_version", value="0.4.9"), "package-format"),
    (_set("type", value="dataset"), "package-format"),
    (_set("weights", value={"torchscript": {"source": "weights.pt"}}), "package-weights"),
    (_set("weights", value=[]), "package-weights"),
    (_set("weights", "onnx", "source", value="../weights.onnx"), "package-outside"),
    (_set("weights", "onnx", "source", value="/etc/passwd"), "package-outside"),
    (_set("weights", "onnx", "source", value="https://example.com/a.onnx"), "package-outside"),
    (_set("weights", "onnx", "source", value="gone.onnx"), "package-file"),
    (_set("weights", "onnx", "sha256", value="0" * 64), "package-checksum"),
    (_set("inputs", value=[]), "package-inputs"),
    (_set("inputs", 0, "axes", 0, "type", value="time"), "package-axes"),
    (_set("inputs", 0, "axes", 0, "id", value="t"), "package-axes"),
    (_set("inputs", 0, "axes", 0, "size", value={}), "package-damaged"),
    (_set("inputs", 0, "axes", 0, "size", "min", value=0), "package-sizes"),
    (_set("outputs", 0, "axes", 0, "scale", value=0.5), "package-sizes"),
    (_set("outputs", 0, "axes", 0, "size", "offset", value=-3), "package-sizes"),
    (_set("outputs", value=[]), "package-damaged"),
    (_set("outputs", 0, "axes", value=7), "package-damaged"),
]


@pytest.mark.parametrize(("change", "code"), WRONG)
def test_what_cannot_be_used_is_refused(
    change: Change, code: str, package: Callable[..., Path]
) -> None:
    with pytest.raises(RunError, match=rf"\[{code}\]"):
        read_package(package(change))


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n- 2\n", "!!python/object/apply:os.abort []"])
def test_a_damaged_description_is_refused(text: str, package: Callable[..., Path]) -> None:
    folder = package()
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="package-"):
        read_package(folder)


def test_a_file_that_is_no_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(RunError, match="package-file"):
        read_package(tmp_path / "a.zip")


def test_a_zip_file_without_a_description_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(RunError, match="package-missing"):
        read_package(tmp_path / "a.zip")
