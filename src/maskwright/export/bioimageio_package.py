"""A bioimage.io package: weights, test images and a description that other programs read.

The description follows the model format 0.5 of bioimage.io. It holds what a run knows; names of
authors and a citation are for a person to add before the package is published.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.data.spacing import by
from maskwright.export.facts import KEY, AxisFacts, ModelFacts
from maskwright.export.graph import Graph
from maskwright.export.onnx_file import OPSET, onnx_bytes
from maskwright.export.preparation import bioimageio_steps
from maskwright.nn.unet import UNet
from maskwright.tiling import Interval, read_mirrored

DESCRIPTION_NAME = "rdf.yaml"

_FORMAT = "0.5.4"
_PAPER = {
    "text": "Ronneberger et al. 2015, U-Net: convolutional networks for biomedical image "
    "segmentation, MICCAI",
    "doi": "10.1007/978-3-319-24574-4_28",
}


def write_bioimageio(
    path: Path,
    network: UNet,
    graph: Graph,
    facts: ModelFacts,
    image_CS: NDArray[Any],
    *,
    name: str,
) -> None:
    """Write a package as one zip file.

    Other programs get the probabilities alone; heads for levels and whole images are left out.

    Args:
        path: The file.
        network: The network.
        graph: The same network, recorded.
        facts: What is known of it.
        image_CS: An image in its own data type; its centre becomes the test image.
        name: What the network is called.

    Raises:
        MaskwrightError: ``extra-missing`` without the package onnx.
    """
    shape = [_smallest(facts, axis) for axis in facts.axes]
    test_input = _centre(image_CS, shape)[None].astype(np.float32)
    files = {
        "weights.onnx": onnx_bytes(graph.only("logits"), facts),
        "test_input.npy": _npy(test_input),
        "test_output.npy": _npy(_probabilities(network, facts, test_input)),
        "README.md": _readme(facts, name).encode(),
    }
    description = _description(facts, name, files)
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(DESCRIPTION_NAME, text)
        for file, content in files.items():
            archive.writestr(file, content)


def _halo(facts: ModelFacts, axis: AxisFacts) -> int:
    """The exact halo, or what is affordable where it is too wide or no halo is exact."""
    affordable = facts.exact and facts.dims == 2
    return axis.halo if affordable else min(axis.halo, axis.divisor)


def _smallest(facts: ModelFacts, axis: AxisFacts) -> int:
    """The smallest input of which something is left inside the halo."""
    return axis.next_legal(2 * axis.border_loss + 2 * _halo(facts, axis) + axis.divisor)


def _centre(image_CS: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    reads = []
    for size, wanted in zip(image_CS.shape[1:], shape, strict=True):
        start = (size - wanted) // 2
        reads.append(Interval(start, start + wanted))
    return read_mirrored(image_CS, tuple(reads))


def _probabilities(
    network: UNet, facts: ModelFacts, image_BCS: NDArray[np.float32]
) -> NDArray[np.float32]:
    channels = facts.model.channels
    measured = intensity.measure(image_BCS[0], channels, facts.data.channel_intensity)
    batch = torch.from_numpy(intensity.apply(image_BCS[0], measured, channels)[None])
    with torch.inference_mode():
        logits = network.eval()(batch)["logits"]
    found = logits.softmax(1) if facts.activation == "softmax" else logits.sigmoid()
    probabilities: NDArray[np.float32] = found.numpy()
    return probabilities


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _description(facts: ModelFacts, name: str, files: dict[str, bytes]) -> dict[str, Any]:
    def file(source: str, **more: Any) -> dict[str, Any]:
        return {"source": source, "sha256": hashlib.sha256(files[source]).hexdigest(), **more}

    channels = [f"channel{index}" for index in range(facts.model.channels)]
    activation: dict[str, Any] = {"id": facts.activation}
    if facts.activation == "softmax":
        activation["kwargs"] = {"axis": "channel"}
    return {
        "format_version": _FORMAT,
        "type": "model",
        "name": _title(name),
        "description": f"A U-Net that finds {', '.join(facts.labels.names)}.",
        "authors": [],
        "cite": [_PAPER],
        "documentation": "README.md",
        "tags": ["unet", "segmentation", f"{facts.dims}d", "maskwright"],
        "inputs": [
            {
                "id": "image",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": channels},
                    *(
                        {
                            "type": "space",
                            "id": axis.name,
                            "size": {"min": _smallest(facts, axis), "step": axis.divisor},
                        }
                        for axis in facts.axes
                    ),
                ],
                "data": {"type": "float32"},
                "test_tensor": file("test_input.npy"),
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    *bioimageio_steps(facts.data, tuple(axis.name for axis in facts.axes)),
                ],
            }
        ],
        "outputs": [
            {
                "id": "probabilities",
                "axes": [
                    {"type": "batch"},
                    {"type": "channel", "channel_names": _identifiers(facts.labels.names)},
                    *(_output_axis(facts, axis) for axis in facts.axes),
                ],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": file("test_output.npy"),
                "postprocessing": [
                    activation,
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                ],
            }
        ],
        "weights": {"onnx": file("weights.onnx", opset_version=OPSET)},
        "config": {KEY: json.loads(facts.to_json())},
    }


def _output_axis(facts: ModelFacts, axis: AxisFacts) -> dict[str, Any]:
    reference = {"tensor_id": "image", "axis_id": axis.name, "offset": -2 * axis.border_loss}
    values: dict[str, Any] = {"type": "space", "id": axis.name, "size": reference}
    halo = _halo(facts, axis)
    return values | ({"halo": halo} if halo else {})


def _title(name: str) -> str:
    """A name of the letters that the format allows."""
    plain = re.sub(r"[^\w\-()]+", " ", name).strip()
    return plain[:64] or "maskwright network"


def _identifiers(names: Sequence[str]) -> list[str]:
    """Class names as the format's identifiers, each once."""
    found: list[str] = []
    for index, name in enumerate(names):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        usable = plain.isidentifier() and plain not in found
        found.append(plain if usable else f"class_{index}")
    return found


def _readme(facts: ModelFacts, name: str) -> str:
    model, labels = facts.model, facts.labels
    values = ", ".join(
        f"{label} ({', '.join(map(str, several))})"
        for label, several in zip(labels.names, labels.values, strict=True)
    )
    clipped = intensity.is_clipped(facts.data.channel_intensity)
    normalised = (
        "clipped and normalised as the description says"
        if clipped
        else "each normalised to mean 0 and standard deviation 1 over the whole image"
    )
    # Not as the scale of axes: with one, the format's own arithmetic on sizes is off by rounding.
    spacing_mm = facts.data.spacing_mm
    size = ""
    if spacing_mm is not None:
        size = f"\n- Pixel size: {by(spacing_mm)} mm; bring images to it first."
    return f"""# {_title(name)}

A U-Net trained with maskwright {facts.written_by}.

- Input: {model.channels} channel(s), {normalised}.{size}
- Output: a probability for each class. Classes, with the values of the training masks: {values}.
- Tiles: sizes in steps of {" × ".join(str(axis.divisor) for axis in facts.axes)} pixels.

## Validation

Compare masks of annotated images that were not used in training with
`maskwright evaluate PREDICTIONS TRUTH`.
"""
