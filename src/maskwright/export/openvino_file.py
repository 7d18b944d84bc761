"""OpenVINO's own format: ``NAME.xml`` with the layers, ``NAME.bin`` with the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskwright.export.facts import KEY, ModelFacts
from maskwright.export.graph import Graph
from maskwright.export.onnx_file import onnx_bytes
from maskwright.io.extras import load_extra


def write_openvino(path: Path, graph: Graph, facts: ModelFacts) -> None:
    """Write a network as OpenVINO's two files, in float32.

    Args:
        path: The ``.xml`` file; the ``.bin`` file of the same name is written beside it.
        graph: The network.
        facts: What the file carries in its metadata.

    Raises:
        MaskwrightError: ``extra-missing`` without OpenVINO.
    """
    openvino: Any = load_extra("openvino", extra="openvino")
    # OpenVINO's own normalisation adds up a whole plane in one float32 sum: in a network of many
    # levels that costs more than the limit of the verification.
    content = onnx_bytes(graph, facts, sums_by_axis=True)
    network = openvino.Core().read_model(content, b"")
    network.set_rt_info(facts.to_json(graph.outputs), KEY)
    openvino.save_model(network, str(path), compress_to_fp16=False)
