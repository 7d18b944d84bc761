"""Networks of many kinds with statistics of their own, and what goes with them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

# Keras writes its settings into the home folder when it is first imported.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras-"))

from maskwright.config import DataConfig, ModelConfig
from maskwright.export.facts import ModelFacts
from maskwright.export.graph import Graph, read_graph
from maskwright.export.verification import windows
from maskwright.nn.unet import UNet, build_unet

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "published": {"padding": "valid", "norm": "none", "channels": 3},
    "heads": {"levels": "fused", "image_classes": 3, "classes": 3, "padding": "valid"},
    "residual": {
        "block": "residual",
        "norm": "instance",
        "activation": "leaky_relu",
        "down": "stride",
        "levels": "supervised",
    },
    "gated": {
        "attention": True,
        "squeeze_excitation": 2,
        "norm": "group",
        "groups": 2,
        "up": "resize",
        "activation": "gelu",
        "output": "sigmoid",
    },
    "volume": {
        "dims": 3,
        "attention": True,
        "levels": "fused",
        "image_classes": 2,
        "strides": "1x2x2,2x2x2",
        "kernels": "1x3x3,3x3x3,3x3x3",
    },
    "volume published": {
        "dims": 3,
        "padding": "valid",
        "up": "resize",
        "block": "residual",
        "levels": "supervised",
        "squeeze_excitation": 2,
    },
}


@dataclass(frozen=True)
class Subject:
    """A network to export."""

    network: UNet
    facts: ModelFacts
    graph: Graph
    batches: list[np.ndarray]

    @property
    def shape(self) -> list[int]:
        return [axis.smallest + axis.divisor for axis in self.facts.axes]


def make_subject(kind: str) -> Subject:
    config = ModelConfig(**({"depth": 2, "width": 4} | KINDS[kind]))
    network = build_unet(config, seed=1)
    names = ("none", "cell", "cell wall")[: config.classes]
    facts = ModelFacts(config, DataConfig(labels=tuple((n, 90 * i) for i, n in enumerate(names))))
    shape = [axis.smallest + 2 * axis.divisor for axis in facts.axes]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        network(torch.randn(2, config.channels, *shape, generator=generator) + 0.5)
    sizes = (40, 46) if config.dims == 2 else (9, 14, 19)
    image = np.random.default_rng(0).normal(size=(config.channels, *sizes)).astype(np.float32)
    graph = read_graph(network.eval(), shape)
    return Subject(network, facts, graph, windows(image, facts.axes))


@pytest.fixture(scope="session")
def subjects() -> Callable[[str], Subject]:
    made: dict[str, Subject] = {}

    def get(kind: str) -> Subject:
        if kind not in made:
            made[kind] = make_subject(kind)
        return made[kind]

    return get


@pytest.fixture(params=list(KINDS))
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    return subjects(request.param)


@pytest.fixture
def kinds() -> list[str]:
    return list(KINDS)
