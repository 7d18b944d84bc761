"""Which library runs the network of a run: PyTorch, OpenVINO or ONNX Runtime.

::

    run ──▶ network ──▶ operations ──▶ ONNX in memory ──▶ OpenVINO        float32, bfloat16
     │         │                               └────────▶ ONNX Runtime    float32
     │         └──────────────────────────────────────────▶ PyTorch       float32, bfloat16
     └──▶ int8.onnx, where it was quantised ─────────────▶ OpenVINO       int8

To record and compile a network takes seconds, so that libraries are compared only where PyTorch
would be busy for much longer than that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maskwright.config import PredictConfig
from maskwright.errors import ConfigError, MaskwrightError
from maskwright.export.facts import ModelFacts
from maskwright.export.graph import Graph, read_graph
from maskwright.export.onnx_file import onnx_bytes
from maskwright.io.network_file import NetworkFile, open_onnx, open_openvino
from maskwright.nn.unet import UNet
from maskwright.plan.machine import fastest
from maskwright.predict.averaging import passes
from maskwright.predict.ensemble import mean_engine
from maskwright.predict.file_engine import file_engine
from maskwright.predict.predictor import Engine
from maskwright.progress import Events
from maskwright.workflow.int8 import Int8
from maskwright.workflow.predictor import Predictor, blank_tile

# What recording and compiling a network of 31 million parameters took, and how often tiles are run.
_BUILD_S = 5.0
_MEASURED_RUNS = 12
_WORTH = 20
_OUTPUTS = ("logits", "image_logits")
_PRECISIONS = {"openvino": ("bfloat16", "float32", "int8"), "onnx": ("float32",)}


@dataclass(frozen=True)
class OtherEngines:
    """A network, or several as one, as other libraries than PyTorch run it, without its levels.

    Args:
        networks: A trained network, or several alike whose probabilities are averaged.
        facts: What is known of them; ``predict`` names engine and number format.
        int8: The network in int8, where there is one.

    Example:
        >>> from maskwright.config import DataConfig, ModelConfig
        >>> from maskwright.nn.unet import build_unet
        >>> model = ModelConfig(depth=1, width=2)
        >>> facts = ModelFacts(model, DataConfig(labels=(("none", 0), ("cell", 255))))
        >>> engines = OtherEngines(build_unet(model), facts).build("onnx")
        >>> [(name.split()[0], engine(np.zeros((1, 1, 16, 16), np.float32))["probabilities"].shape)
        ...  for name, engine in engines.items()]
        [('ONNX', (1, 2, 16, 16))]
    """

    networks: UNet | Sequence[UNet]
    facts: ModelFacts
    int8: Int8 | None = None

    @cached_property
    def _graphs(self) -> list[Graph]:
        shape = [axis.smallest + 2 * axis.divisor for axis in self.facts.axes]
        members = [self.networks] if isinstance(self.networks, UNet) else self.networks
        graphs = [read_graph(network, shape) for network in members]
        return [g.only(*(name for name in _OUTPUTS if name in g.outputs)) for g in graphs]

    def build(self, engine: str) -> dict[str, Engine]:
        """The engines of a library, one for each number format that the settings leave open.

        Args:
            engine: ``openvino`` or ``onnx``.

        Returns:
            Each by what runs it, such as ``ONNX Runtime 1.20.0, float32``.

        Raises:
            ConfigError: ``engine-precision`` where the library lacks the number format asked for,
                int8 being lacking where the run was not quantised.
            MaskwrightError: ``extra-missing`` without the library; otherwise where it cannot hold
                the network.
        """
        asked = self.facts.predict.precision
        precisions = [p for p in _PRECISIONS[engine] if asked in ("auto", p)]
        if self.int8 is None or (asked == "auto" and not self.int8.unasked):
            precisions = [p for p in precisions if p != "int8"]
        if not precisions:
            raise ConfigError(
                "engine-precision",
                f"--engine {engine}",
                expected=f"the number format {' or '.join(_PRECISIONS[engine])}",
                found=f"predict.precision={asked}",
                remedy="add --set precision=float32, or choose another engine",
            )
        plain = self.onnx(engine) if precisions != ["int8"] else []
        found = {}
        for each in precisions:
            contents = [self.int8.content] if self.int8 and each == "int8" else plain
            files = [_OPEN[engine](content, each) for content in contents]
            engines = [file_engine(file, self.facts.activation) for file in files]
            found[files[0].runtime] = mean_engine(engines)
        return found

    def onnx(self, engine: str) -> list[bytes]:
        """Each network as ONNX, in float32, as a library computes it best.

        Args:
            engine: ``openvino`` or ``onnx``.
        """
        # OpenVINO's own normalisation loses digits; see write_openvino.
        exact = engine == "openvino"
        return [onnx_bytes(graph, self.facts, sums_by_axis=exact) for graph in self._graphs]

    def available(self) -> dict[str, Engine]:
        """The engines of all libraries that are installed and can run the network."""
        found: dict[str, Engine] = {}
        for engine in _OPEN:
            try:
                found |= self.build(engine)
            except MaskwrightError:
                # PyTorch remains, whatever another library lacks.
                continue
        return found

    def chosen(self, tile_BCS: NDArray[np.float32]) -> tuple[str, Engine]:
        """The fastest engine of the one library that the settings name.

        Args:
            tile_BCS: A batch to measure with.
        """
        return _fastest(self.build(self.facts.predict.engine), tile_BCS)[:2]


def quickened(
    predictor: Predictor, others: OtherEngines, sizes: Sequence[tuple[int, ...]], events: Events
) -> Predictor:
    """The predictor with the engine that is fastest here, where that is worth finding out.

    It is where PyTorch would work 20 times as long as it takes to build and measure the others.

    Args:
        predictor: The network in PyTorch.
        others: The network in other libraries.
        sizes: Sizes of all images, one number an axis.
        events: Where the choice is told.
    """
    tile_BCS = blank_tile(predictor.rule, others.facts.model)
    begun = time.perf_counter()
    predictor.engine(tile_BCS)
    tile_s = time.perf_counter() - begun
    work_s = tile_s * _work_px(predictor, sizes) / math.prod(tile_BCS.shape[2:])
    if work_s < _WORTH * (_BUILD_S + _MEASURED_RUNS * tile_s):
        return predictor
    events.send("busy", text="Measuring engines")
    torch_name = f"PyTorch, {predictor.numerics}"
    engines = {torch_name: predictor.engine, **others.available()}
    name, engine, seconds = _fastest(engines, tile_BCS)
    if seconds:
        events.send(
            "message",
            text=f"{name} is the fastest engine here; seconds for a tile of "
            f"{' × '.join(map(str, tile_BCS.shape[2:]))}: "
            + ", ".join(f"{each} {value:.3f}" for each, value in seconds.items())
            + ".",
        )
    if name.endswith("int8") and others.int8 is not None:
        events.send("message", text=others.int8.sentences()[0])
    numerics = predictor.numerics if name == torch_name else name
    return replace(predictor, engine=engine, numerics=numerics)


def refuse_levels(config: PredictConfig) -> None:
    """Refuse levels of a library that cannot give them.

    Raises:
        ConfigError: ``predict-levels``.
    """
    if config.engine in _OPEN:
        raise ConfigError(
            "predict-levels",
            "--levels",
            expected="--engine torch, which gives the levels",
            found=f"--engine {config.engine}",
            remedy="leave one of the two out",
        )


def refuse_int8(config: PredictConfig) -> None:
    """Refuse int8 for a network that is not trained yet.

    Raises:
        ConfigError: ``engine-precision``.
    """
    if config.precision == "int8":
        raise ConfigError(
            "engine-precision",
            "--set predict.precision=int8",
            expected="auto, float32 or bfloat16",
            found="int8, whose loss of Dice can be measured only after training",
            remedy="train without it, then run `maskwright quantise RUN`",
        )


def _fastest(
    engines: Mapping[str, Engine], tile_BCS: NDArray[np.float32]
) -> tuple[str, Engine, Mapping[str, float]]:
    def prepared(name: str) -> Callable[[], None]:
        return lambda: _discard(engines[name](tile_BCS))

    name, seconds = fastest(list(engines), prepared)
    return name, engines[name], seconds


def _discard(_: object) -> None:
    """A run that is only timed returns nothing."""


def _work_px(predictor: Predictor, sizes: Sequence[tuple[int, ...]]) -> int:
    """Pixels that the network reads for all images."""

    def planes(size: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        return (size[0], size[1:]) if predictor.slices and len(size) == 3 else (1, size)

    return sum(
        count * math.prod(read.size for read in tile.read)
        for count, size in map(planes, sizes)
        for each in passes(size, predictor.ways, predictor.scales)
        for tile in predictor.rule.cover(each.read_size)
    )


_OPEN: Mapping[str, Callable[[bytes, str], NetworkFile]] = {
    "openvino": lambda content, precision: open_openvino(
        content, subject="the network", precision=precision
    ),
    "onnx": lambda content, _: open_onnx(content, subject="the network"),
}
