"""A run's network in another format, verified before it is handed out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.data.dataset import find_cases
from maskwright.errors import ConfigError, MaskwrightError, OutputError
from maskwright.export.bioimageio_package import write_bioimageio
from maskwright.export.facts import ModelFacts
from maskwright.export.graph import Graph, read_graph
from maskwright.export.keras_file import keras_runner, write_keras
from maskwright.export.onnx_file import write_onnx
from maskwright.export.openvino_file import write_openvino
from maskwright.export.torchscript_file import torchscript_runner, write_torchscript
from maskwright.export.verification import Runner, Verification, verify, windows
from maskwright.io.durable import make_folder, replace_file
from maskwright.io.network_file import open_onnx, open_openvino
from maskwright.io.package import read_package
from maskwright.io.registry import read_image
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.nn.unet import UNet
from maskwright.predict.predictor import z_score
from maskwright.progress import Events
from maskwright.workflow.calibrating import Calibration

ExportFormat = Literal["onnx", "openvino", "torchscript", "keras", "bioimageio"]

SUFFIXES: Mapping[ExportFormat, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torchscript": ".pt",
    "keras": ".keras",
    "bioimageio": ".zip",
}

_SYNTHETIC_PX = {2: 256, 3: 48}


@dataclass(frozen=True)
class Exported:
    """What an export left.

    Args:
        files: The written files.
        verification: How far the file's output is from the network's.
    """

    files: tuple[Path, ...]
    verification: Verification


@dataclass(frozen=True)
class _Sample:
    """An image that file and network are compared on."""

    name: str
    array_CS: NDArray[Any]


def export(
    run: str | Path,
    out: str | Path,
    *,
    format: ExportFormat | None = None,
    image: str | Path | None = None,
    overwrite: bool = False,
    events: Events | None = None,
) -> Exported:
    """Write a run's network in another format, and compare the file with the network.

    Both are run on an image of the run's own test part where that can be read, else on ``image``,
    else on simulated noise. The file appears only when its outputs agree to 1e-4.

    Args:
        run: A run folder.
        out: The file to write.
        format: ``onnx``, ``openvino``, ``torchscript``, ``keras`` or ``bioimageio``; by default as
            the suffix of ``out`` says.
        image: An image to compare on instead.
        overwrite: Replace a file.
        events: Where progress is told.

    Returns:
        The written files and the comparison.

    Raises:
        ConfigError: ``export-format`` for a suffix that belongs to no format, or to another one;
            ``export-border`` for a network of borders as a package of bioimage.io.
        MaskwrightError: ``extra-missing`` when the format's library is not installed.
        OutputError: When a file is in the way, or differs from the network.
        RunError: When the run cannot be used; ``run-of-folds`` for one of several folds.

    Example:
        ``export("runs/cells", "cells.onnx").verification.worst``
    """
    events = events or Events()
    target = Path(out)
    kind = _format(target, format)
    names = [target.name, *([target.with_suffix(".bin").name] if kind == "openvino" else [])]
    _check_free([target.with_name(name) for name in names], overwrite=overwrite)
    folder = RunFolder(Path(run))
    folder.refuse_folds()
    config = folder.read_config()
    if len(folder.weights()) > 1:
        events.send(
            "warning",
            code="export-one-of-several",
            text=f"Prediction with this run averages {len(folder.weights())} networks; the file "
            "will hold the one of the best validation alone.",
        )
    if kind == "bioimageio" and config.data.target == "border":
        raise ConfigError(
            "export-border",
            "--format bioimageio",
            expected="a network of the classes of its masks",
            found="one of the interior and the border of objects, which the format cannot say",
            remedy="use --format onnx, openvino, torchscript or keras",
        )
    network, _ = read_model(folder.model)
    facts = ModelFacts(
        network.config, config.data, config.predict, Calibration.read(folder).temperature
    )
    sample = _sample(folder, facts, image)
    events.send("busy", text=f"Writing {target.name}")
    graph = read_graph(network, [axis.smallest + 2 * axis.divisor for axis in facts.axes])
    make_folder(target.parent, subject=f"--out {out}")
    with tempfile.TemporaryDirectory(prefix=".maskwright-", dir=target.parent) as name:
        made = Path(name) / target.name
        _write(kind, made, network, graph, facts, sample, title=folder.path.resolve().name)
        verification = verify(
            network,
            _runner(kind, made),
            [_normalised(batch, facts) for batch in windows(sample.array_CS, facts.axes)],
            image=sample.name,
            file=f"--out {out}",
        )
        # The file that names the others comes last.
        for part in reversed(names):
            with replace_file(target.with_name(part)) as temporary:
                os.replace(made.with_name(part), temporary)
    return Exported(tuple(target.with_name(part) for part in names), verification)


def _format(target: Path, named: ExportFormat | None) -> ExportFormat:
    if named is not None and named not in get_args(ExportFormat):
        raise ConfigError(
            "export-format",
            f"--format {named}",
            expected=", ".join(get_args(ExportFormat)),
            found=named,
            remedy="choose one of them",
        )
    fitting = [kind for kind, suffix in SUFFIXES.items() if suffix == target.suffix.lower()]
    if not fitting or named not in (None, *fitting):
        wanted = SUFFIXES[named] if named else ", ".join(SUFFIXES.values())
        raise ConfigError(
            "export-format",
            f"--out {target}",
            expected=f"a name that ends with {wanted}",
            found=target.suffix or "no suffix",
            remedy="choose another name",
        )
    return fitting[0]


def _check_free(files: Sequence[Path], *, overwrite: bool) -> None:
    for file in files:
        if file.is_dir() or (file.exists() and not overwrite):
            raise OutputError(
                "output-exists",
                f"--out {file}",
                expected="no file of this name",
                found="a folder" if file.is_dir() else "one",
                remedy="choose another name, or replace it with --overwrite",
            )


def _write(
    kind: ExportFormat,
    path: Path,
    network: UNet,
    graph: Graph,
    facts: ModelFacts,
    sample: _Sample,
    *,
    title: str,
) -> None:
    if kind == "onnx":
        write_onnx(path, graph, facts)
    elif kind == "openvino":
        write_openvino(path, graph, facts)
    elif kind == "torchscript":
        shape = [axis.smallest + 2 * axis.divisor for axis in facts.axes]
        write_torchscript(path, network, facts, shape)
    elif kind == "keras":
        write_keras(path, graph, facts)
    else:
        write_bioimageio(path, network, graph, facts, sample.array_CS, name=title)


def _runner(kind: ExportFormat, path: Path) -> Runner:
    if kind == "onnx":
        return open_onnx(path, subject=str(path)).run
    if kind == "openvino":
        return open_openvino(path).run
    if kind == "torchscript":
        return torchscript_runner(path)
    if kind == "keras":
        return keras_runner(path)
    return read_package(path).network.run


def _sample(folder: RunFolder, facts: ModelFacts, image: str | Path | None) -> _Sample:
    channels = facts.model.channels
    if image is not None:
        array_CS = intensity.select_channels(read_image(Path(image)).array, channels)
        return _Sample(str(image), array_CS)
    found = _test_image(folder, facts)
    if found is not None:
        return found
    side = _SYNTHETIC_PX[facts.dims]
    noise_CS = np.random.default_rng(0).normal(100, 20, (channels, *(side,) * facts.dims))
    return _Sample("simulated noise (no test image can be read)", noise_CS.astype(np.float32))


def _test_image(folder: RunFolder, facts: ModelFacts) -> _Sample | None:
    """The first image of the test part, where the data are still there and fit."""
    try:
        root = Path(folder.read_json(folder.metrics)["data"]["root"])
        split = folder.read_json(folder.splits)
        names = split["test"] or split["validation"]
        found = find_cases(root, slices=folder.read_config().data.slices)
        case = next(c for c in found.cases if c.name == names[0])
        array_CS = case.read_image().array
        if array_CS.ndim != facts.dims + 1:
            return None
        selected_CS = intensity.select_channels(array_CS, facts.model.channels)
    except (MaskwrightError, OSError, KeyError, IndexError, TypeError, StopIteration):
        return None
    return _Sample(f"the test image {case.name}", selected_CS)


def _normalised(batch_BCS: NDArray[Any], facts: ModelFacts) -> NDArray[np.float32]:
    channels, ways = batch_BCS.shape[1], facts.data.channel_intensity
    return np.stack([z_score(image_CS, channels, ways)(image_CS) for image_CS in batch_BCS])
