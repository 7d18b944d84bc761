"""Networks in files that other libraries run: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import RunError
from maskwright.io.extras import load_extra

Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class NetworkFile:
    """A network ready to run.

    Args:
        run: From a batch to the outputs, by name in the file's order.
        facts: What the file's metadata hold under ``maskwright``, if anything.
        runtime: What runs it, for the record.
    """

    run: Callable[[NDArray[np.float32]], Outputs]
    facts: str | None
    runtime: str


def open_onnx(source: Path | bytes, *, subject: str) -> NetworkFile:
    """Open an ONNX file with ONNX Runtime, on the CPU.

    Args:
        source: The file, or its content.
        subject: What it is called in a message.

    Raises:
        MaskwrightError: ``extra-missing`` without ONNX Runtime.
        RunError: ``network-file`` for a file that cannot be run.
    """
    runtime: Any = load_extra("onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = _threads()
    try:
        session = runtime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:
        raise _unusable(subject, "an ONNX file", error) from error
    inputs, outputs = session.get_inputs(), [node.name for node in session.get_outputs()]
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise _unusable(subject, "one input of type float32", ValueError(str(inputs)))

    def run(batch: NDArray[np.float32]) -> Outputs:
        try:
            found = session.run(None, {inputs[0].name: batch})
        except Exception as error:
            raise _refused(subject, batch, error) from error
        return dict(zip(outputs, found, strict=True))

    facts = session.get_modelmeta().custom_metadata_map.get("maskwright")
    return NetworkFile(run, facts, f"ONNX Runtime {runtime.__version__}, float32")


def open_openvino(
    source: Path | bytes, *, subject: str = "", precision: str = "float32"
) -> NetworkFile:
    """Open a network with OpenVINO, on the CPU.

    Args:
        source: The ``.xml`` file, whose weights are in ``NAME.bin`` beside it; or the content of
            an ONNX file.
        subject: What it is called in a message; by default the file.
        precision: ``float32``, ``bfloat16``, or ``int8`` for a network whose layers say so.

    Raises:
        MaskwrightError: ``extra-missing`` without OpenVINO.
        RunError: ``network-file`` for a file that cannot be run.
    """
    runtime: Any = load_extra("openvino", extra="openvino")
    subject = subject or str(source)
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"
    }
    if _threads():
        settings["INFERENCE_NUM_THREADS"] = _threads()
    try:
        core = runtime.Core()
        parts = (source, b"") if isinstance(source, bytes) else (str(source),)
        network = core.read_model(*parts)
        compiled = core.compile_model(network, "CPU", settings)
    except Exception as error:
        raise _unusable(subject, "an OpenVINO network", error) from error

    def run(batch: NDArray[np.float32]) -> Outputs:
        try:
            found = compiled(batch)
        except Exception as error:
            raise _refused(subject, batch, error) from error
        return {port.any_name: np.array(found[port]) for port in compiled.outputs}

    has_facts = network.has_rt_info("maskwright")
    facts = str(network.get_rt_info("maskwright").value) if has_facts else None
    return NetworkFile(run, facts, f"OpenVINO {runtime.__version__}, {precision}")


def _threads() -> int:
    """As many threads as PyTorch would take; 0 for all cores."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0


def _unusable(subject: str, expected: str, error: Exception) -> RunError:
    return RunError(
        "network-file",
        subject,
        expected=expected,
        found=_first_line(error),
        remedy="export the network again, or get the file again from where it came",
    )


def _refused(subject: str, batch: NDArray[np.float32], error: Exception) -> RunError:
    shape = "×".join(map(str, batch.shape))
    return RunError(
        "network-file-run",
        subject,
        expected=f"a network that takes a batch of {shape}",
        found=_first_line(error),
        remedy="choose another --tile, or check the sizes that the file's description names",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
