"""ONNX: any batch and every legal size, with the facts in the file's metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskwright.errors import OutputError
from maskwright.export.facts import KEY, ModelFacts
from maskwright.export.graph import Graph, Step
from maskwright.io.durable import write_bytes
from maskwright.io.extras import load_extra

# The oldest pair that knows all operations used here, so that older programs open the file.
OPSET = 17
_IR_VERSION = 8
_LARGEST_BYTES = (1 << 31) - 1
_TO_THE_END = (1 << 63) - 1


def write_onnx(path: Path, graph: Graph, facts: ModelFacts) -> None:
    """Write a network as one ONNX file.

    The input ``image`` has the axes batch, channel and space; the outputs are named as the
    network's.

    Args:
        path: The file.
        graph: The network.
        facts: What the file carries in its metadata.

    Raises:
        MaskwrightError: ``extra-missing`` without the package onnx.
        OutputError: ``export-large`` above 2 GB, which one ONNX file cannot hold.
    """
    data = onnx_bytes(graph, facts)
    write_bytes(path, data)


def onnx_bytes(graph: Graph, facts: ModelFacts) -> bytes:
    """The content of an ONNX file; see :func:`write_onnx`."""
    onnx: Any = load_extra("onnx", extra="onnx")
    size = sum(array.nbytes for step in graph.steps for array in step.weights.values())
    if size > _LARGEST_BYTES:
        raise OutputError(
            "export-large",
            "the network",
            expected="weights of at most 2 GB",
            found=f"{size / 1e9:.1f} GB",
            remedy="use --format torchscript or keras",
        )
    writer = _Writer(onnx)
    for step in graph.steps:
        writer.add(step)
    names = [axis.name for axis in facts.axes]
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    made = helper.make_graph(
        writer.nodes,
        "maskwright",
        [helper.make_tensor_value_info(graph.INPUT, number, ["batch", graph.channels, *names])],
        [
            helper.make_tensor_value_info(name, number, _output_shape(name, names))
            for name in graph.outputs
        ],
        writer.weights,
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="maskwright",
        producer_version=facts.written_by,
    )
    helper.set_model_props(model, {KEY: facts.to_json(graph.outputs)})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _output_shape(name: str, axes: Sequence[str]) -> list[str]:
    if name == "image_logits":
        return ["batch", "image_class"]
    return ["batch", "class", *(f"{name}_{axis}" for axis in axes)]


class _Writer:
    """Collects nodes and weights."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> str:
        """Add one operation; gives back the name of its result."""
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add numbers that the file holds; gives back their name."""
        array = np.ascontiguousarray(np.asarray(values, dtype))
        self.weights.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, step: Step) -> None:
        """Add what a step computes."""
        inputs = list(step.inputs)
        inputs += [self.constant(f"{step.name}.{key}", w) for key, w in step.weights.items()]
        plain = _PLAIN.get(step.kind)
        if plain is not None:
            self.node(plain, inputs, step.name)
        else:
            _SPECIAL[step.kind](self, step, inputs)


_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "mean": "GlobalAveragePool", "add": "Add",
          "multiply": "Mul"}  # fmt: skip


def _conv(writer: _Writer, step: Step, inputs: list[str]) -> None:
    kind = "Conv" if step.kind == "conv" else "ConvTranspose"
    padding = step.settings["padding"]
    writer.node(kind, inputs, step.name, strides=step.settings["stride"], pads=[*padding, *padding])


def _dense(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("Gemm", inputs, step.name, transB=1)


def _flatten(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("Flatten", inputs, step.name, axis=1)


def _leaky_relu(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("LeakyRelu", inputs, step.name, alpha=step.settings["slope"])


def _gelu(writer: _Writer, step: Step, inputs: list[str]) -> None:
    """x·Φ(x), by the error function: the operation Gelu is younger than many programs."""
    name = step.name
    scaled = writer.node("Mul", [*inputs, writer.constant(f"{name}.a", 0.5**0.5)], f"{name}.scaled")
    share = writer.node("Erf", [scaled], f"{name}.erf")
    above = writer.node("Add", [share, writer.constant(f"{name}.b", 1.0)], f"{name}.above")
    twice = writer.node("Mul", [*inputs, above], f"{name}.twice")
    writer.node("Mul", [twice, writer.constant(f"{name}.c", 0.5)], name)


def _batch_norm(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("BatchNormalization", inputs, step.name, epsilon=step.settings["epsilon"])


def _instance_norm(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("InstanceNormalization", inputs, step.name, epsilon=step.settings["epsilon"])


def _group_norm(writer: _Writer, step: Step, inputs: list[str]) -> None:
    """Each group as one long channel: the operation GroupNormalization came later."""
    name, groups = step.name, step.settings["groups"]
    source, scale, shift = inputs
    shape = writer.node("Shape", [source], f"{name}.shape")
    grouped = writer.node(
        "Reshape",
        [source, writer.constant(f"{name}.grouped_shape", [0, groups, -1], np.int64)],
        f"{name}.grouped",
    )
    ones = writer.constant(f"{name}.ones", np.ones(groups))
    zeros = writer.constant(f"{name}.zeros", np.zeros(groups))
    normal = writer.node(
        "InstanceNormalization",
        [grouped, ones, zeros],
        f"{name}.normal",
        epsilon=step.settings["epsilon"],
    )
    whole = writer.node("Reshape", [normal, shape], f"{name}.whole")
    wide = writer.constant(f"{name}.wide", [-1, *[1] * step.settings["dims"]], np.int64)
    scale = writer.node("Reshape", [scale, wide], f"{name}.scale_wide")
    shift = writer.node("Reshape", [shift, wide], f"{name}.shift_wide")
    scaled = writer.node("Mul", [whole, scale], f"{name}.scaled")
    writer.node("Add", [scaled, shift], name)


def _max_pool(writer: _Writer, step: Step, inputs: list[str]) -> None:
    size = step.settings["size"]
    writer.node("MaxPool", inputs, step.name, kernel_shape=size, strides=size)


def _resize(writer: _Writer, step: Step, inputs: list[str]) -> None:
    factors = writer.constant(f"{step.name}.factors", [1, 1, *step.settings["factor"]])
    if step.kind == "nearest":
        mode = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        mode = {"coordinate_transformation_mode": "half_pixel"}
    writer.node("Resize", [*inputs, "", factors], step.name, mode=step.kind, **mode)


def _crop(writer: _Writer, step: Step, inputs: list[str]) -> None:
    settings = step.settings
    bounds = {
        "first": settings["before"],
        "last": -settings["after"] or _TO_THE_END,
        "axis": settings["axis"] + 2,
    }
    numbers = [
        writer.constant(f"{step.name}.{key}", [value], np.int64) for key, value in bounds.items()
    ]
    writer.node("Slice", [*inputs, *numbers], step.name)


def _concatenate(writer: _Writer, step: Step, inputs: list[str]) -> None:
    writer.node("Concat", inputs, step.name, axis=1)


_SPECIAL: dict[str, Callable[[_Writer, Step, list[str]], None]] = {
    "conv": _conv,
    "up_conv": _conv,
    "dense": _dense,
    "flatten": _flatten,
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "max_pool": _max_pool,
    "nearest": _resize,
    "linear": _resize,
    "crop": _crop,
    "concatenate": _concatenate,
}
