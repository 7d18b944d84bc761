"""TorchScript: for programs in C++ and for Python with PyTorch alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.export.facts import KEY, ModelFacts
from maskwright.export.graph import FlatNetwork, flat_outputs
from maskwright.export.verification import Runner
from maskwright.nn.unet import UNet


class _Named(nn.Module):
    """A network whose outputs have one name each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        return flat_outputs(self.network(image))


def write_torchscript(path: Path, network: UNet, facts: ModelFacts, shape: Sequence[int]) -> None:
    """Write a network as TorchScript; the facts are its extra file ``maskwright``.

    Args:
        path: The file.
        network: A trained network; it is not changed.
        facts: What the file carries.
        shape: A legal size to record at, one number an axis; others remain possible.
    """
    trace: Any = torch.jit.trace
    named = _Named(FlatNetwork(network).network).eval()
    image = torch.zeros(1, network.config.channels, *shape)
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer warns of the checks of sizes, which have no place in the file.
        warnings.simplefilter("ignore")
        outputs = list(named(image))
        traced: Any = trace(named, (image,), strict=False, check_trace=False)
        torch.jit.save(traced, str(path), {KEY: facts.to_json(outputs)})


def torchscript_runner(path: Path) -> Runner:
    """A callable that runs a TorchScript file just written."""
    load: Any = torch.jit.load
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = load(str(path), map_location="cpu")

    @torch.inference_mode()
    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {name: tensor.numpy() for name, tensor in network(torch.from_numpy(batch)).items()}

    return run
