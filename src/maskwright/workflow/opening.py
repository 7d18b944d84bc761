"""A network to predict with: a run, a file exported from one, or a package of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskwright.config import DataConfig, PredictConfig
from maskwright.data.labels import LabelMap
from maskwright.errors import RunError
from maskwright.export.facts import ModelFacts
from maskwright.io.network_file import NetworkFile, open_onnx, open_openvino
from maskwright.io.package import is_package, read_package
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.predict.file_engine import file_engine, package_engine
from maskwright.predict.processing import normaliser
from maskwright.predict.window_rule import WindowRule
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.prediction import Predictor, tile_rule


@dataclass(frozen=True)
class OpenedNetwork:
    """A network with what prediction needs beside it.

    Args:
        predictor: From images to probabilities.
        data: What mask values mean.
        calibration: What is done to its probabilities.
    """

    predictor: Predictor
    data: DataConfig
    calibration: Calibration

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return LabelMap.from_config(self.data)


def open_network(path: str | Path, *, tile: int | None = None) -> OpenedNetwork:
    """Open a network by what a path is.

    Args:
        path: A run folder, an exported ``.onnx`` or ``.xml`` file, or a package of bioimage.io (a
            folder, its ``rdf.yaml``, or a zip file).
        tile: Largest side of the network's input.

    Raises:
        RunError: ``network-missing`` or ``network-kind`` for what is none of these, and whatever
            else stands in the way.
        MaskwrightError: ``extra-missing`` without the library that runs the file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if RunFolder(path).config.is_file() or not (path.is_file() or is_package(path)):
        if suffix in (".onnx", ".xml", ".zip") and not path.exists():
            raise _no_network("network-missing", path, "no such file")
        return _open_run(path, tile)
    if is_package(path):
        return _open_package(path, tile)
    if suffix == ".onnx":
        return _open_file(open_onnx(path, subject=str(path)), str(path), tile)
    if suffix == ".xml":
        facts = ModelFacts.from_json(open_openvino(path).facts, subject=str(path))
        precision = "bfloat16" if facts.predict.precision == "bfloat16" else "float32"
        return _open_file(open_openvino(path, precision=precision), str(path), tile)
    raise _no_network("network-kind", path, f"a file {suffix or 'without a suffix'}")


def _open_run(path: Path, tile: int | None) -> OpenedNetwork:
    folder = RunFolder(path)
    config = folder.read_config()
    network, _ = read_model(folder.model)
    predictor = Predictor.build(network, config.predict, tile=tile)
    return OpenedNetwork(predictor, config.data, Calibration.read(folder))


def _open_file(file: NetworkFile, subject: str, tile: int | None) -> OpenedNetwork:
    facts = ModelFacts.from_json(file.facts, subject=subject)
    predictor = Predictor(
        file_engine(file, facts.activation),
        tile_rule(facts.model, facts.predict, tile=tile),
        facts.model.channels,
        facts.model.classes,
        file.runtime,
    )
    return OpenedNetwork(predictor, facts.data, Calibration(facts.temperature))


def _open_package(path: Path, tile: int | None) -> OpenedNetwork:
    package = read_package(path)
    if package.network.facts is not None:
        # One of ours: its own facts say more than the format can.
        return _open_file(package.network, str(path), tile)
    engine, classes = package_engine(package, subject=str(path))
    predictor = Predictor(
        engine,
        WindowRule(package.axes, tile or PredictConfig().tile_px),
        package.channels,
        len(classes),
        package.network.runtime,
        normaliser(package.before, [axis.name for axis in package.axes], subject=str(path)),
    )
    return OpenedNetwork(predictor, class_labels(classes), Calibration())


def class_labels(classes: tuple[str, ...]) -> DataConfig:
    """Class ids as mask values, and 0 and 255 for two classes."""
    step = 255 if len(classes) == 2 else 1
    return DataConfig(labels=tuple((name, step * index) for index, name in enumerate(classes)))


def _no_network(code: str, path: Path, found: str) -> RunError:
    return RunError(
        code,
        str(path),
        expected="a run folder, model.onnx, model.xml or a package of bioimage.io",
        found=found,
        remedy="name the folder given to `maskwright train --out`, or a file that `maskwright "
        "export` wrote with --format onnx, openvino or bioimageio",
    )
