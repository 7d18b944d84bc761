"""Keras 3: built-in layers only, channels last, so that Keras alone opens and runs the file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.export.facts import KEY, ModelFacts
from maskwright.export.graph import Graph, Step
from maskwright.export.verification import Runner
from maskwright.io.extras import load_extra


def write_keras(path: Path, graph: Graph, facts: ModelFacts) -> None:
    """Write a network as a ``.keras`` file; the facts are its member ``maskwright.json``.

    The model takes images of shape ``(B, *S, C)`` and gives a dictionary of the network's
    outputs, their channels last as well.

    Args:
        path: The file; its suffix is ``.keras``.
        graph: The network.
        facts: What the file carries.

    Raises:
        MaskwrightError: ``extra-missing`` without Keras.
    """
    build_keras(graph).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KEY}.json", facts.to_json(graph.outputs))


def build_keras(graph: Graph) -> Any:
    """The network as a Keras model."""
    keras = _keras()
    image = keras.Input((*(None,) * graph.dims, graph.channels), name=graph.INPUT)
    results: dict[str, Any] = {graph.INPUT: image}
    layers = _Layers(keras, graph.dims)
    for step in graph.steps:
        inputs = [results[source] for source in step.inputs]
        result = inputs if len(inputs) > 1 else inputs[0]
        for layer, weights in _CONVERTERS[step.kind](layers, step):
            result = layer(result)
            if weights:
                layer.set_weights(weights)
        results[step.name] = result
    return keras.Model(image, {name: results[name] for name in graph.outputs}, name=KEY)


def keras_runner(path: Path) -> Runner:
    """A callable that opens and runs a ``.keras`` file; channels are first, as everywhere here."""
    keras = _keras()
    model = keras.saving.load_model(path, compile=False)

    def run(batch_BCS: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        outputs = model(np.moveaxis(batch_BCS, 1, -1), training=False)
        arrays = {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
        return {name: np.moveaxis(array, -1, 1) for name, array in arrays.items()}

    return run


def _keras() -> Any:
    # PyTorch is here in any case; another backend may be chosen before.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return load_extra("keras", extra="keras")


class _Layers:
    """Keras's layers for a number of axes."""

    def __init__(self, keras: Any, dims: int) -> None:
        self.plain = keras.layers
        self.dims = dims

    def spatial(self, name: str) -> Any:
        """A layer that exists for each number of axes, such as ``Conv``."""
        return getattr(self.plain, f"{name.format(dims=self.dims)}")


Layer = tuple[Any, list[NDArray[np.float32]]]
Converter = Callable[[_Layers, Step], list[Layer]]


def _channels_last(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """From (out, in, *S) to (*S, in, out), and from (in, out, *S) to (*S, out, in)."""
    return np.moveaxis(kernel, (0, 1), (-1, -2))


def _biased(step: Step) -> list[NDArray[np.float32]]:
    bias = step.weights.get("bias")
    return [] if bias is None else [bias]


def _conv(layers: _Layers, step: Step) -> list[Layer]:
    kernel = step.weights["kernel"]
    sizes, padding, strides = kernel.shape[2:], step.settings["padding"], step.settings["stride"]
    centred = max(strides) == 1 and padding == tuple(size // 2 for size in sizes)
    pad: list[Layer] = []
    if any(padding) and not centred:
        pad = [(layers.spatial("ZeroPadding{dims}D")(padding), [])]
    layer = layers.spatial("Conv{dims}D")(
        kernel.shape[0],
        sizes,
        strides=strides,
        padding="same" if centred else "valid",
        use_bias="bias" in step.weights,
        name=step.name,
    )
    return [*pad, (layer, [_channels_last(kernel), *_biased(step)])]


def _up_conv(layers: _Layers, step: Step) -> list[Layer]:
    kernel = step.weights["kernel"]
    layer = layers.spatial("Conv{dims}DTranspose")(
        kernel.shape[1],
        kernel.shape[2:],
        strides=step.settings["stride"],
        use_bias="bias" in step.weights,
        name=step.name,
    )
    return [(layer, [_channels_last(kernel), *_biased(step)])]


def _dense(layers: _Layers, step: Step) -> list[Layer]:
    kernel = step.weights["kernel"]
    return [(layers.plain.Dense(len(kernel), name=step.name), [kernel.T, *_biased(step)])]


def _norm(layers: _Layers, step: Step) -> list[Layer]:
    epsilon = step.settings["epsilon"]
    if step.kind == "batch_norm":
        layer = layers.plain.BatchNormalization(epsilon=epsilon, name=step.name)
    else:
        groups = step.settings.get("groups", -1)
        layer = layers.plain.GroupNormalization(groups, epsilon=epsilon, name=step.name)
    return [(layer, list(step.weights.values()))]


def _max_pool(layers: _Layers, step: Step) -> list[Layer]:
    size = step.settings["size"]
    return [(layers.spatial("MaxPooling{dims}D")(size, strides=size, name=step.name), [])]


def _mean(layers: _Layers, step: Step) -> list[Layer]:
    pooling = layers.spatial("GlobalAveragePooling{dims}D")
    return [(pooling(keepdims=True, name=step.name), [])]


def _nearest(layers: _Layers, step: Step) -> list[Layer]:
    return [(layers.spatial("UpSampling{dims}D")(step.settings["factor"], name=step.name), [])]


def _linear(layers: _Layers, step: Step) -> list[Layer]:
    """Keras interpolates images only: a volume slice by slice, once along Y, X and once along Z."""
    factor, plain = step.settings["factor"], layers.plain
    if layers.dims == 2:
        return [(plain.UpSampling2D(factor, interpolation="bilinear", name=step.name), [])]
    slices, column = factor[1:], (factor[0], 1)
    turn = (2, 1, 3, 4)
    return [
        (plain.TimeDistributed(plain.UpSampling2D(slices, interpolation="bilinear")), []),
        (plain.Permute(turn), []),
        (plain.TimeDistributed(plain.UpSampling2D(column, interpolation="bilinear")), []),
        (plain.Permute(turn, name=step.name), []),
    ]


def _crop(layers: _Layers, step: Step) -> list[Layer]:
    crops = [(0, 0)] * layers.dims
    crops[step.settings["axis"]] = (step.settings["before"], step.settings["after"])
    return [(layers.spatial("Cropping{dims}D")(crops, name=step.name), [])]


_CONVERTERS: dict[str, Converter] = {
    "conv": _conv,
    "up_conv": _up_conv,
    "dense": _dense,
    "batch_norm": _norm,
    "instance_norm": _norm,
    "group_norm": _norm,
    "max_pool": _max_pool,
    "mean": _mean,
    "nearest": _nearest,
    "linear": _linear,
    "crop": _crop,
    "relu": lambda layers, step: [(layers.plain.ReLU(name=step.name), [])],
    "leaky_relu": lambda layers, step: [
        (layers.plain.LeakyReLU(step.settings["slope"], name=step.name), [])
    ],
    "gelu": lambda layers, step: [(layers.plain.Activation("gelu", name=step.name), [])],
    "sigmoid": lambda layers, step: [(layers.plain.Activation("sigmoid", name=step.name), [])],
    "flatten": lambda layers, step: [(layers.plain.Flatten(name=step.name), [])],
    "concatenate": lambda layers, step: [(layers.plain.Concatenate(name=step.name), [])],
    "add": lambda layers, step: [(layers.plain.Add(name=step.name), [])],
    "multiply": lambda layers, step: [(layers.plain.Multiply(name=step.name), [])],
}
