"""A network to predict with: a run, a file exported from one, or a package of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import DataConfig, ModelConfig, PredictConfig
from maskwright.data.labels import LabelMap
from maskwright.errors import ConfigError, RunError
from maskwright.export.facts import ModelFacts
from maskwright.io.network_file import NetworkFile, open_onnx, open_openvino
from maskwright.io.package import is_package, read_package
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.predict.file_engine import file_engine, package_engine
from maskwright.predict.predictor import ImagePrediction
from maskwright.predict.processing import normaliser
from maskwright.predict.window_rule import WindowRule
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.gating import gate_of, image_class_names
from maskwright.workflow.prediction_plan import tiling_of
from maskwright.workflow.predictor import Predictor

_WAYS = ("flip", "scale")


@dataclass(frozen=True)
class Asked:
    """What a person asks of a network, over what its run was configured for.

    Args:
        tile: Largest side of the network's input.
        levels: Whether the levels of the decoder are predicted too.
        tta: ``flip``, ``scale``, both joined by a comma or as a list, or ``none``.
        gate: Whether the image's label may take a class away.
        precision: Number format, as a prediction that goes on began with.

    Raises:
        ConfigError: ``predict-tta`` for an unknown way of averaging.

    Example:
        >>> Asked(tta="flip,scale").over(PredictConfig()).tta
        ('flip', 'scale')
    """

    tile: int | None = None
    levels: bool = False
    tta: str | Sequence[str] | None = None
    gate: bool | None = None
    precision: str | None = None

    def over(self, config: PredictConfig) -> PredictConfig:
        """The settings with what was asked for."""
        changes: dict[str, object] = {}
        if self.tta is not None:
            changes["tta"] = self._ways(self.tta)
        if self.gate is not None:
            changes["gate"] = self.gate
        if self.precision is not None:
            changes["precision"] = self.precision
        return config.model_copy(update=changes)

    def refuse_levels(self, subject: str) -> None:
        """Refuse a file where levels are asked for: it has no way to enlarge them.

        Raises:
            ConfigError: ``predict-levels``.
        """
        if self.levels:
            raise ConfigError(
                "predict-levels",
                "--levels",
                expected="a run folder",
                found=f"the file {subject}",
                remedy="name the folder of the run that the file was exported from",
            )

    def _ways(self, tta: str | Sequence[str]) -> tuple[str, ...]:
        named = [part.strip() for part in tta.split(",")] if isinstance(tta, str) else list(tta)
        if named == ["none"]:
            return ()
        if not set(named) <= set(_WAYS):
            raise ConfigError(
                "predict-tta",
                "--tta",
                expected="flip, scale, flip,scale or none",
                found=repr(tta),
                remedy="write for example --tta flip",
            )
        return tuple(way for way in _WAYS if way in named)


@dataclass(frozen=True)
class OpenedNetwork:
    """A network with what prediction needs beside it.

    Args:
        predictor: From images to probabilities.
        data: What mask values mean.
        calibration: What is done to its probabilities.
        model: The network, where it is one of ours.
        level_shares: How much each level weighs in a fused prediction, the finest first.
    """

    predictor: Predictor
    data: DataConfig
    calibration: Calibration
    model: ModelConfig | None = None
    level_shares: tuple[float, ...] = ()

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return LabelMap.from_config(self.data)

    @property
    def image_class_names(self) -> tuple[str, ...]:
        """Names of the classes of whole images."""
        return image_class_names(self.data, self.model.image_classes if self.model else 0)

    def level_maps(self, found: ImagePrediction) -> dict[str, NDArray[np.uint8]]:
        """What each level predicts by its caption, the coarsest first.

        Where levels are not fused, the finest is the final prediction and left out.
        """
        if self.model is None:
            return {}
        first = 0 if self.model.levels == "fused" else 1
        axis = geometry.axes_of(self.model)[-1]
        return {
            f"level {level} (1:{axis.scale(level)})": found.levels_YX[level]
            for level in reversed(range(first, len(found.levels_YX)))
        }


def open_network(path: str | Path, asked: Asked | None = None) -> OpenedNetwork:
    """Open a network by what a path is.

    Args:
        path: A run folder, an exported ``.onnx`` or ``.xml`` file, or a package of bioimage.io (a
            folder, its ``rdf.yaml``, or a zip file).
        asked: What prediction is asked for.

    Raises:
        ConfigError: ``predict-levels`` where levels are asked for and cannot be given,
            ``predict-tta`` and ``gate-…`` for what does not fit the network.
        RunError: ``network-missing`` or ``network-kind`` for what is none of these, and whatever
            else stands in the way.
        MaskwrightError: ``extra-missing`` without the library that runs the file.
    """
    path, asked = Path(path), asked or Asked()
    suffix = path.suffix.lower()
    if RunFolder(path).config.is_file() or not (path.is_file() or is_package(path)):
        if suffix in (".onnx", ".xml", ".zip") and not path.exists():
            raise _no_network("network-missing", path, "no such file")
        return _open_run(path, asked)
    if is_package(path):
        return _open_package(path, asked)
    if suffix == ".onnx":
        return _open_file(open_onnx(path, subject=str(path)), str(path), asked)
    if suffix == ".xml":
        facts = ModelFacts.from_json(open_openvino(path).facts, subject=str(path))
        precision = "bfloat16" if facts.predict.precision == "bfloat16" else "float32"
        return _open_file(open_openvino(path, precision=precision), str(path), asked)
    raise _no_network("network-kind", path, f"a file {suffix or 'without a suffix'}")


def _open_run(path: Path, asked: Asked) -> OpenedNetwork:
    folder = RunFolder(path)
    config = folder.read_config()
    network, _ = read_model(folder.model)
    model, settings = network.config, asked.over(config.predict)
    if asked.levels and model.levels == "none":
        raise ConfigError(
            "predict-levels",
            "--levels",
            expected="a network whose levels predict",
            found="levels=none",
            remedy="train one with `maskwright train DATA --out RUN --set levels=fused`",
        )
    predictor = Predictor.build(
        network,
        settings,
        tile=asked.tile,
        levels=asked.levels,
        gate=gate_of(settings, config.data, model),
        slices=config.data.slices,
    )
    shares = network.fusion.shares() if network.fusion is not None else ()
    return OpenedNetwork(predictor, config.data, Calibration.read(folder), model, shares)


def _open_file(file: NetworkFile, subject: str, asked: Asked) -> OpenedNetwork:
    asked.refuse_levels(subject)
    facts = ModelFacts.from_json(file.facts, subject=subject)
    settings = asked.over(facts.predict)
    tiling = tiling_of(facts.model, settings, tile=asked.tile)
    predictor = Predictor(
        file_engine(file, facts.activation),
        tiling.rule_of(tiling.tile_px),
        facts.model.channels,
        facts.model.classes,
        file.runtime,
        ways=settings.tta,
        scales=settings.scales,
        overlapping=facts.activation == "sigmoid",
        gate=gate_of(settings, facts.data, facts.model),
        tiling=tiling,
        slices=facts.data.slices,
    )
    return OpenedNetwork(predictor, facts.data, Calibration(facts.temperature), facts.model)


def _open_package(path: Path, asked: Asked) -> OpenedNetwork:
    asked.refuse_levels(str(path))
    package = read_package(path)
    if package.network.facts is not None:
        # One of ours: its own facts say more than the format can.
        return _open_file(package.network, str(path), asked)
    engine, classes = package_engine(package, subject=str(path))
    settings = asked.over(PredictConfig())
    labels = class_labels(classes)
    predictor = Predictor(
        engine,
        WindowRule(package.axes, asked.tile or settings.tile_px),
        package.channels,
        len(classes),
        package.network.runtime,
        normaliser(package.before, [axis.name for axis in package.axes], subject=str(path)),
        ways=settings.tta,
        scales=settings.scales,
        gate=gate_of(settings, labels, None),
    )
    return OpenedNetwork(predictor, labels, Calibration())


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
