"""A network as a list of plain operations, which every format says in its own words.

Recorded from :meth:`forward` at one size by ``torch.export``, so that any network of
:func:`maskwright.nn.unet.build_unet` is covered, however its modules are nested. Nothing recorded
depends on that size: crops are pixels from either end and enlargements are whole factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from maskwright.errors import OutputError
from maskwright.nn.unet import UNet, fold

Settings = dict[str, Any]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Step:
    """One operation.

    Args:
        kind: ``conv``, ``up_conv``, ``dense``, ``batch_norm``, ``instance_norm``, ``group_norm``,
            ``relu``, ``leaky_relu``, ``gelu``, ``sigmoid``, ``max_pool``, ``mean``, ``flatten``,
            ``nearest``, ``linear``, ``crop``, ``concatenate``, ``add`` or ``multiply``.
        name: Of its result; no two steps share one.
        inputs: Names of what it reads.
        settings: Such as ``stride``, one number an axis.
        weights: Arrays in PyTorch's order of axes.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    settings: Settings = field(default_factory=dict)
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """All operations of a network, each after those it reads.

    Args:
        dims: 2 for images, 3 for volumes.
        channels: Channels of the input, whose name is :attr:`INPUT`.
        steps: The operations.
        outputs: Steps that are outputs; they have the outputs' names.
    """

    INPUT = "image"

    dims: int
    channels: int
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    def only(self, *outputs: str) -> Graph:
        """The graph with fewer outputs, and without the steps that only the others need."""
        wanted, kept = set(outputs), []
        for step in reversed(self.steps):
            if step.name in wanted:
                kept.append(step)
                wanted.update(step.inputs)
        return replace(self, steps=tuple(reversed(kept)), outputs=outputs)


def flat_outputs(outputs: Mapping[str, Tensor | Sequence[Tensor]]) -> dict[str, Tensor]:
    """A network's outputs under one name each; lists are numbered, the finest level first.

    Where the finest level is itself the final prediction, it is given once, as ``logits``.

    Example:
        >>> final, coarse = torch.zeros(1), torch.zeros(1)
        >>> list(flat_outputs({"logits": final, "levels": [final, coarse]}))
        ['logits', 'level_1']
    """
    flat: dict[str, Tensor] = {}
    for name, value in outputs.items():
        several = (
            {name: value}
            if isinstance(value, Tensor)
            else {f"{name.removesuffix('s')}_{index}": tensor for index, tensor in enumerate(value)}
        )
        for key, tensor in several.items():
            if not any(tensor is other for other in flat.values()):
                flat[key] = tensor
    return flat


class FlatNetwork(nn.Module):
    """A network for prediction whose outputs are a tuple, in the order of ``names``.

    Args:
        network: A trained network; batch normalisation is folded in a copy.
        names: Outputs to give; all by default.
    """

    def __init__(self, network: UNet, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network = fold(network)
        self.names = names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs of a batch of images."""
        flat = flat_outputs(self.network(image))
        return tuple(flat[name] for name in self.names or flat)


def read_graph(network: UNet, shape: Sequence[int]) -> Graph:
    """Record what a network computes, batch normalisation folded.

    Args:
        network: A trained network; it is not changed.
        shape: A legal size, one number an axis.

    Raises:
        OutputError: ``export-operation`` for a network that is not one of ours.

    Example:
        >>> from maskwright.config import ModelConfig
        >>> from maskwright.nn.unet import build_unet
        >>> graph = read_graph(build_unet(ModelConfig(depth=1, width=2)), (16, 16))
        >>> [step.kind for step in graph.steps][:5]
        ['conv', 'relu', 'conv', 'relu', 'max_pool']
    """
    flat = FlatNetwork(network).eval()
    image = torch.zeros(1, network.config.channels, *shape)
    with torch.no_grad():
        names = list(flat_outputs(flat.network(image)))
    program = torch.export.export(flat, (image,), strict=False)
    recorder = _Recorder(
        program.graph_signature.inputs_to_parameters | program.graph_signature.inputs_to_buffers,
        program.state_dict,
    )
    results: list[str] = []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            recorder.enter(node)
        elif node.op == "call_function":
            recorder.record(node)
        elif node.op == "output":
            results = [recorder.name(result) for result in node.args[0]]
    renamed = dict(zip(results, names, strict=True))
    steps = (
        replace(
            step,
            name=renamed.get(step.name, step.name),
            inputs=tuple(renamed.get(source, source) for source in step.inputs),
        )
        for step in recorder.steps
    )
    return Graph(len(shape), network.config.channels, tuple(steps), tuple(names))


class _Recorder:
    """Turns PyTorch's operations into steps."""

    def __init__(self, parameters: Mapping[str, str], state: Mapping[str, Any]) -> None:
        self.steps: list[Step] = []
        self._parameters = parameters
        self._state = state
        self._names: dict[fx.Node, str] = {}

    def enter(self, node: fx.Node) -> None:
        """The network's input; parameters are placeholders too."""
        if node.name not in self._parameters:
            self._names[node] = Graph.INPUT

    def name(self, node: Any) -> str:
        """The step that an argument is the result of."""
        return self._names[node]

    def record(self, node: fx.Node) -> None:
        """Add what a node computes."""
        operation = str(node.target).removeprefix("aten.").split(".")[0]
        in_place = operation.endswith("_")
        kind = _KINDS.get(operation.rstrip("_"))
        if kind is None:
            raise OutputError(
                "export-operation",
                "the network",
                expected="operations of maskwright's networks",
                found=operation,
                remedy="export it with torch.onnx",
            )
        if kind == "same":
            self._names[node] = self.name(node.args[0])
            return
        settings, weights = _READERS.get(kind, _plain)(node, self._array)
        inputs = tuple(self.name(source) for source in _tensors(node, kind))
        self.steps.append(Step(kind, node.name, inputs, settings, weights))
        self._names[node] = node.name
        if in_place and isinstance(node.args[0], fx.Node):
            self._names[node.args[0]] = node.name

    def _array(self, node: Any) -> NDArray[np.float32] | None:
        if not isinstance(node, fx.Node):
            return None
        tensor = self._state[self._parameters[node.name]]
        array: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
        return array


_KINDS = {
    "conv2d": "conv",
    "conv3d": "conv",
    "conv_transpose2d": "up_conv",
    "conv_transpose3d": "up_conv",
    "linear": "dense",
    "batch_norm": "batch_norm",
    "instance_norm": "instance_norm",
    "group_norm": "group_norm",
    "relu": "relu",
    "leaky_relu": "leaky_relu",
    "gelu": "gelu",
    "sigmoid": "sigmoid",
    "max_pool2d": "max_pool",
    "max_pool3d": "max_pool",
    "adaptive_avg_pool2d": "mean",
    "adaptive_avg_pool3d": "mean",
    "flatten": "flatten",
    "upsample_nearest2d": "nearest",
    "upsample_nearest3d": "nearest",
    "upsample_bilinear2d": "linear",
    "upsample_trilinear3d": "linear",
    "slice": "crop",
    "cat": "concatenate",
    "add": "add",
    "mul": "multiply",
    "dropout": "same",
    "alias": "same",
}

_Array = Callable[[Any], NDArray[np.float32] | None]


def _argument(node: fx.Node, index: int, default: Any) -> Any:
    return node.args[index] if len(node.args) > index else default


def _tensors(node: fx.Node, kind: str) -> Sequence[Any]:
    arguments: Sequence[Any] = node.args
    if kind == "concatenate":
        several: Sequence[Any] = arguments[0]
        return several
    return arguments[:2] if kind in ("add", "multiply") else arguments[:1]


def _sizes(node: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in node.meta["val"].shape)


def _plain(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    return {}, {}


def _weights(array: _Array, **nodes: Any) -> Weights:
    found = {name: array(node) for name, node in nodes.items()}
    return {name: value for name, value in found.items() if value is not None}


def _conv(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    weights = _weights(array, kernel=node.args[1], bias=_argument(node, 2, None))
    dims = weights["kernel"].ndim - 2
    stride = tuple(_argument(node, 3, [1] * dims))
    return {"stride": stride, "padding": tuple(_argument(node, 4, [0] * dims))}, weights


def _dense(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    return {}, _weights(array, kernel=node.args[1], bias=_argument(node, 2, None))


def _batch_norm(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    weights = _weights(
        array, scale=node.args[1], shift=node.args[2], mean=node.args[3], variance=node.args[4]
    )
    return {"epsilon": node.args[7]}, weights


def _instance_norm(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    weights = _weights(array, scale=node.args[1], shift=node.args[2])
    return {"epsilon": node.args[7], "dims": len(_sizes(node)) - 2}, weights


def _group_norm(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    weights = _weights(array, scale=node.args[2], shift=node.args[3])
    dims = len(_sizes(node)) - 2
    return {"groups": node.args[1], "epsilon": _argument(node, 4, 1e-5), "dims": dims}, weights


def _leaky_relu(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    return {"slope": _argument(node, 1, 0.01)}, {}


def _max_pool(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    return {"size": tuple(_argument(node, 1, ()))}, {}


def _resize(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    before, after = _sizes(node.args[0])[2:], _sizes(node)[2:]
    return {"factor": tuple(b // a for a, b in zip(before, after, strict=True))}, {}


def _crop(node: fx.Node, array: _Array) -> tuple[Settings, Weights]:
    axis, first, last = (
        int(_argument(node, index, default)) for index, default in ((1, 0), (2, 0), (3, 1 << 62))
    )
    size = _sizes(node.args[0])[axis]
    first, last, _ = slice(first, last).indices(size)
    return {"axis": axis - 2, "before": first, "after": size - last}, {}


_READERS: dict[str, Callable[[fx.Node, _Array], tuple[Settings, Weights]]] = {
    "conv": _conv,
    "up_conv": _conv,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "leaky_relu": _leaky_relu,
    "max_pool": _max_pool,
    "nearest": _resize,
    "linear": _resize,
    "crop": _crop,
}
