"""Eight-bit integers: the ONNX file of a network with its ranges measured on real tiles."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.export.graph import Graph
from maskwright.io.extras import load_extra

# What a convolution reads and writes; normalisation and dense layers stay in float32.
_OPERATIONS = ["Conv", "ConvTranspose", "MaxPool", "Concat", "Relu"]


def int8_bytes(content: bytes, batches: Iterable[NDArray[np.float32]]) -> bytes:
    """A network whose convolutions are computed with integers of 8 bits, as ONNX.

    A value x becomes round(x / s) + z: weights with one scale s for each output channel, what
    flows between layers with one for each tensor, from the smallest to the largest value that
    ``batches`` show. Pairs of QuantizeLinear and DequantizeLinear say so in the file, which a
    runtime turns into integer arithmetic.

    Args:
        content: The ONNX file of a network.
        batches: Normalised tiles, each ``(B, C, *S)``.

    Returns:
        The content of the new file, without metadata.

    Raises:
        MaskwrightError: ``extra-missing`` without the packages onnx and onnxruntime.

    Source: Jacob et al. 2018, CVPR, arXiv 1712.05877, section 2.1.
    """
    onnx: Any = load_extra("onnx", extra="onnx")
    quantization: Any = load_extra("onnxruntime.quantization", extra="onnx")
    remaining = iter(batches)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(remaining, None)
            return None if batch is None else {Graph.INPUT: batch}

    with tempfile.TemporaryDirectory(prefix="maskwright-") as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            onnx.load_from_string(content),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATIONS,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        network = onnx.load(path)
    # The facts promise float32.
    del network.metadata_props[:]
    made: bytes = network.SerializeToString()
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to simplify the network first: it is recorded simple."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
