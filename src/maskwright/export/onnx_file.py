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


def onnx_bytes(graph: Graph, facts: ModelFacts, *, sums_by_axis: bool = False) -> bytes:
    """The content of an ONNX file; see :func:`write_onnx`.

    Args:
        graph: The network.
        facts: What the file carries in its metadata.
        sums_by_axis: Whether instance and group normalisation are written as means over one axis
            after the other, for a runtime that loses digits in long sums.
    """
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
    writer = _Writer(onnx, sums_by_axis=sums_by_axis)
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

    def __init__(self, onnx: Any, *, sums_by_axis: bool) -> None:
        self._onnx = onnx
        self.sums_by_axis = sums_by_axis
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
    if not writer.sums_by_axis:
        writer.node("InstanceNormalization", inputs, step.name, epsilon=step.settings["epsilon"])
        return
    source, scale, shift = inputs
    _scale_channels(writer, step, _normal(writer, step, source), scale, shift)


def _group_norm(writer: _Writer, step: Step, inputs: list[str]) -> None:
    """Each group as one channel with a longer first axis: GroupNormalization came later."""
    name, groups = step.name, step.settings["groups"]
    source, scale, shift = inputs
    shape = writer.node("Shape", [source], f"{name}.shape")
    others = [0] * (step.settings["dims"] - 1)
    wanted = writer.constant(f"{name}.grouped_shape", [0, groups, -1, *others], np.int64)
    grouped = writer.node("Reshape", [source, wanted], f"{name}.grouped")
    if writer.sums_by_axis:
        normal = _normal(writer, step, grouped)
    else:
        ones = writer.constant(f"{name}.ones", np.ones(groups))
        zeros = writer.constant(f"{name}.zeros", np.zeros(groups))
        normal = writer.node(
            "InstanceNormalization",
            [grouped, ones, zeros],
            f"{name}.normal",
            epsilon=step.settings["epsilon"],
        )
    whole = writer.node("Reshape", [normal, shape], f"{name}.whole")
    _scale_channels(writer, step, whole, scale, shift)


def _normal(writer: _Writer, step: Step, source: str) -> str:
    """Mean 0 and deviation 1 over the axes of space."""
    name = step.name

    def mean(values: str, of: str) -> str:
        for axis in range(step.settings["dims"]):
            values = writer.node(
                "ReduceMean", [values], f"{name}.{of}_{axis}", axes=[-1 - axis], keepdims=1
            )
        return values

    centred = writer.node("Sub", [source, mean(source, "mean")], f"{name}.centred")
    squares = writer.node("Mul", [centred, centred], f"{name}.squares")
    epsilon = writer.constant(f"{name}.epsilon", [step.settings["epsilon"]])
    variance = writer.node("Add", [mean(squares, "variance"), epsilon], f"{name}.safe_variance")
    deviation = writer.node("Sqrt", [variance], f"{name}.deviation")
    return writer.node("Div", [centred, deviation], f"{name}.normal")


def _scale_channels(writer: _Writer, step: Step, normal: str, scale: str, shift: str) -> None:
    name = step.name
    wide = writer.constant(f"{name}.wide", [-1, *[1] * step.settings["dims"]], np.int64)
    scale = writer.node("Reshape", [scale, wide], f"{name}.scale_wide")
    shift = writer.node("Reshape", [shift, wide], f"{name}.shift_wide")
    scaled = writer.node("Mul", [normal, scale], f"{name}.scaled")
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
