"""One prediction of one image by one program, in a process of its own.

Started by ``against_peers.py`` with what to do as JSON; prints what it measured as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.nn.unet import UNet
from maskwright.workflow.opening import Asked, open_network

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From a normalised image ``(C, Y, X)`` to the probabilities ``(K, Y, X)``."""

WARM_PX = 600


@dataclass(frozen=True)
class Task:
    """What a process does.

    Args:
        program: ``ours``, ``monai`` or ``nnunet``.
        tile_px: Side of a tile.
        run: The run folder with the weights.
        image: The normalised image as ``.npy``.
        engine: Of ours: ``torch``, ``openvino`` or ``onnx``.
        precision: ``float32``, ``bfloat16`` or ``int8``.
        overlap: Of the others: share by which tiles overlap.
        gaussian: Whether tiles are weighted by a Gaussian, else alike.
        mirroring: Of nnU-Net: whether mirror images are averaged.
        shift_px: Rows and columns left out before the first.
        out: Where the probabilities of the classes after the first go, or empty.
    """

    program: str
    tile_px: int
    run: str
    image: str
    engine: str = ""
    precision: str = "float32"
    overlap: float = 0.0
    gaussian: bool = False
    mirroring: bool = False
    shift_px: int = 0
    out: str = ""

    def to_json(self) -> str:
        """As :meth:`from_json` reads it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """The task that :meth:`to_json` wrote."""
        return Task(**json.loads(text))


def ours(task: Task) -> Predict:
    settings = (f"precision={task.precision}",)
    asked = Asked(tile=task.tile_px, engine=task.engine, settings=settings)
    opened = open_network(task.run, asked).predictor
    predictor = replace(opened, normalise=lambda image, channels: lambda block: block)
    return lambda image: predictor.predict(image).probabilities_KYX


def network_of(task: Task) -> UNet:
    network, _ = read_model(RunFolder(Path(task.run)).model)
    return network


def monai(task: Task) -> Predict:
    from monai.inferers import sliding_window_inference

    network = network_of(task)

    def logits(batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(batch)["logits"]
        return found

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        automatic = torch.autocast("cpu", torch.bfloat16, enabled=task.precision == "bfloat16")
        with torch.inference_mode(), automatic:
            found = sliding_window_inference(
                torch.from_numpy(image[None]),
                (task.tile_px, task.tile_px),
                4,
                logits,
                overlap=task.overlap,
                mode="gaussian" if task.gaussian else "constant",
            )
        probabilities: NDArray[np.float32] = found.float().softmax(1)[0].numpy()
        return probabilities

    return run


def nnunet(task: Task) -> Predict:
    # Networks of timm, which needs torchvision, are imported beside the predictor and not used.
    for name in ("timm", "timm.layers", "timm.models", "timm.models.eva"):
        sys.modules.setdefault(name, _Empty(name))
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    class Logits(torch.nn.Module):
        def __init__(self, network: UNet) -> None:
            super().__init__()
            self.network = network

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(batch)["logits"]
            return found

    network = network_of(task)
    predictor = nnUNetPredictor(
        tile_step_size=1 - task.overlap,
        use_gaussian=task.gaussian,
        use_mirroring=task.mirroring,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = Logits(network)
    predictor.configuration_manager = SimpleNamespace(patch_size=[task.tile_px] * 2)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=network.config.classes)
    predictor.allowed_mirroring_axes = (0, 1)

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        # One plane: nnU-Net holds images as volumes.
        plane = torch.from_numpy(image[:, None])
        logits = predictor.predict_sliding_window_return_logits(plane)
        probabilities: NDArray[np.float32] = logits[:, 0].float().softmax(0).numpy()
        return probabilities

    return run


class _Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


PROGRAMS = {"ours": ours, "monai": monai, "nnunet": nnunet}


def main() -> None:
    task = Task.from_json(sys.argv[1])
    predict = PROGRAMS[task.program](task)
    image = np.load(task.image)[:, task.shift_px :, task.shift_px :]
    predict(np.ascontiguousarray(image[:, :WARM_PX, :WARM_PX]))
    begun = time.perf_counter()
    probabilities_KYX = predict(np.ascontiguousarray(image))
    seconds = time.perf_counter() - begun
    unit = 1 if sys.platform == "darwin" else 1024
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if task.out:
        np.save(task.out, probabilities_KYX[1:])
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes}))


if __name__ == "__main__":
    main()
