"""A network to predict with: a run, a file exported from one, or a package of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import (
    DataConfig,
    ModelConfig,
    PredictConfig,
    RunConfig,
    apply_settings,
    validate,
)
from maskwright.data.labels import LabelMap
from maskwright.errors import ConfigError, RunError
from maskwright.export.facts import ModelFacts
from maskwright.io.network_file import NetworkFile, open_onnx, open_openvino
from maskwright.io.package import is_package, read_package
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.predict.file_engine import file_engine, package_engine
from maskwright.predict.predictor import Engine, ImagePrediction
from maskwright.predict.processing import normaliser
from maskwright.predict.window_rule import WindowRule
from maskwright.progress import Events
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.engines import OtherEngines, quickened, refuse_levels
from maskwright.workflow.gating import gate_of, image_class_names
from maskwright.workflow.int8 import Int8
from maskwright.workflow.prediction_checks import check_turns
from maskwright.workflow.prediction_plan import tiling_of
from maskwright.workflow.predictor import Predictor, blank_tile

_WAYS = ("flip", "rotate", "scale")


@dataclass(frozen=True)
class Asked:
    """What a person asks of a network, over what its run was configured for.

    Args:
        tile: Largest side of the network's input.
        levels: Whether the levels of the decoder are predicted too.
        tta: Any of ``flip``, ``rotate`` and ``scale``, joined by commas or as a list, or ``none``.
        gate: Whether the image's label may take a class away.
        engine: ``auto``, ``torch``, ``openvino`` or ``onnx``.
        precision: Number format, as a prediction that goes on began with.
        settings: ``key=value`` for any setting of prediction.

    Raises:
        ConfigError: ``predict-tta`` for an unknown way of averaging, ``predict-setting`` for a
            setting that is not one of prediction, and for illegal values.

    Example:
        >>> Asked(tta="flip,scale").over(PredictConfig()).tta
        ('flip', 'scale')
    """

    tile: int | None = None
    levels: bool = False
    tta: str | Sequence[str] | None = None
    gate: bool | None = None
    engine: str | None = None
    precision: str | None = None
    settings: tuple[str, ...] = ()

    def over(self, config: PredictConfig) -> PredictConfig:
        """The settings with what was asked for."""
        changes: dict[str, object] = {}
        if self.tta is not None:
            changes["tta"] = self._ways(self.tta)
        if self.gate is not None:
            changes["gate"] = self.gate
        if self.engine is not None:
            changes["engine"] = self.engine
        if self.precision is not None:
            changes["precision"] = self.precision
        values = {**config.model_dump(), **changes}
        before = RunConfig(predict=validate(PredictConfig, values, subject="predict"))
        own = [
            f"predict.{setting}"
            if setting.partition("=")[0].strip() in PredictConfig.model_fields
            else setting
            for setting in self.settings
        ]
        after = apply_settings(before, tuple(own))
        if after.model_copy(update={"predict": before.predict}) != before:
            raise ConfigError(
                "predict-setting",
                f"--set {' --set '.join(self.settings)}",
                expected="settings of prediction",
                found="one of training, which no longer changes the network",
                remedy="see the names under predict in the run's config.json",
            )
        return after.predict

    def decided(self, engine: str, precision: str | None) -> Asked:
        """The same, with engine and number format that were found to be the fastest."""
        return replace(self, engine=engine, precision=precision)

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

    def refuse_engine(self, engine: str, subject: str) -> None:
        """Refuse another library than the one that runs a file, and int8.

        Raises:
            ConfigError: ``predict-engine`` or ``engine-precision``.
        """
        if self.over(PredictConfig()).precision == "int8":
            raise ConfigError(
                "engine-precision",
                f"--set precision=int8 for {subject}",
                expected="a run folder, which says what int8 costs",
                found="a file",
                remedy="name the folder of the run, or leave the setting out",
            )
        if self.engine not in (None, "auto", engine):
            raise ConfigError(
                "predict-engine",
                f"--engine {self.engine}",
                expected=f"--engine {engine} or none for {subject}",
                found=self.engine or "",
                remedy="leave it out, or name the folder of the run",
            )

    def _ways(self, tta: str | Sequence[str]) -> tuple[str, ...]:
        named = [part.strip() for part in tta.split(",")] if isinstance(tta, str) else list(tta)
        if named == ["none"]:
            return ()
        if not set(named) <= set(_WAYS):
            raise ConfigError(
                "predict-tta",
                "--tta",
                expected="flip, rotate, scale, several of them, or none",
                found=repr(tta),
                remedy="write for example --tta flip,rotate",
            )
        return tuple(way for way in _WAYS if way in named)


def _as_it_is(predictor: Predictor, sizes: Sequence[tuple[int, ...]], events: Events) -> Predictor:
    return predictor


@dataclass(frozen=True)
class OpenedNetwork:
    """A network with what prediction needs beside it.

    Args:
        predictor: From images to probabilities.
        data: What mask values mean.
        calibration: What is done to its probabilities.
        model: The network, where it is one of ours.
        level_shares: How much each level weighs in a fused prediction, the finest first.
        settings: The settings of prediction.
        quicken: From the predictor, the sizes of all images and where it is told, to a predictor
            that may run faster.
    """

    predictor: Predictor
    data: DataConfig
    calibration: Calibration
    model: ModelConfig | None = None
    level_shares: tuple[float, ...] = ()
    settings: PredictConfig = field(default_factory=PredictConfig)
    quicken: Callable[[Predictor, Sequence[tuple[int, ...]], Events], Predictor] = _as_it_is

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return LabelMap.from_config(self.data)

    def quickened(self, sizes: Sequence[tuple[int, ...]], events: Events) -> OpenedNetwork:
        """The network with the engine that is fastest for images of these sizes."""
        return replace(self, predictor=self.quicken(self.predictor, sizes, events))

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
            ``predict-tta``, ``tta-rotate`` and ``gate-…`` for what does not fit the network.
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
    networks = [read_model(file)[0] for file in folder.weights()]
    network = networks[0]
    model, settings = network.config, asked.over(config.predict)
    if settings.precision == "int8" and settings.engine == "auto":
        settings = settings.model_copy(update={"engine": "openvino"})
    if asked.levels and model.levels == "none":
        raise ConfigError(
            "predict-levels",
            "--levels",
            expected="a network whose levels predict",
            found="levels=none",
            remedy="train one with `maskwright train DATA --out RUN --set levels=fused`",
        )
    if asked.levels:
        refuse_levels(settings)
    check_turns(settings.tta, geometry.axes_of(model))
    calibration = Calibration.read(folder)
    facts = ModelFacts(model, config.data, settings, calibration.temperature)
    others = OtherEngines(networks, facts, Int8.find(folder) if len(networks) == 1 else None)
    if settings.precision == "int8" and others.int8 is None:
        raise Int8.missing(path)
    quicken = _as_it_is
    if settings.engine in ("auto", "torch"):
        predictor = Predictor.build(
            networks,
            settings,
            tile=asked.tile,
            levels=asked.levels,
            gate=gate_of(settings, config.data, model),
            slices=config.data.slices,
            border=config.data.target == "border",
            data=config.data,
        )
        if settings.engine == "auto" and not asked.levels:
            quicken = partial(_quickened, others)
    else:
        tiling = tiling_of(model, settings, tile=asked.tile)
        name, engine = others.chosen(blank_tile(tiling.rule_of(tiling.tile_px), model))
        predictor = _predictor(engine, name, facts, asked)
    shares = network.fusion.shares() if network.fusion is not None else ()
    return OpenedNetwork(predictor, config.data, calibration, model, shares, settings, quicken)


def _quickened(
    others: OtherEngines, predictor: Predictor, sizes: Sequence[tuple[int, ...]], events: Events
) -> Predictor:
    return quickened(predictor, others, sizes, events)


def _open_file(file: NetworkFile, subject: str, asked: Asked) -> OpenedNetwork:
    asked.refuse_levels(subject)
    asked.refuse_engine("openvino" if file.runtime.startswith("OpenVINO") else "onnx", subject)
    facts = ModelFacts.from_json(file.facts, subject=subject)
    facts = replace(facts, predict=asked.over(facts.predict))
    check_turns(facts.predict.tta, geometry.axes_of(facts.model))
    predictor = _predictor(file_engine(file, facts.activation), file.runtime, facts, asked)
    calibration = Calibration(facts.temperature)
    return OpenedNetwork(predictor, facts.data, calibration, facts.model, settings=facts.predict)


def _predictor(engine: Engine, name: str, facts: ModelFacts, asked: Asked) -> Predictor:
    settings, border = facts.predict, facts.data.target == "border"
    tiling = tiling_of(facts.model, settings, tile=asked.tile)
    return Predictor(
        engine,
        tiling.rule_of(tiling.tile_px),
        facts.model.channels,
        facts.model.classes - border,
        name,
        ways=settings.tta,
        scales=settings.scales,
        overlapping=facts.activation == "sigmoid",
        gate=gate_of(settings, facts.data, facts.model),
        slices=facts.data.slices,
        border=border,
        tiling=tiling,
        intensities=facts.data.channel_intensity,
        spacing_mm=facts.data.spacing_mm,
        pixel_mm=settings.pixel_mm,
    )


def _open_package(path: Path, asked: Asked) -> OpenedNetwork:
    asked.refuse_levels(str(path))
    package = read_package(path)
    if package.network.facts is not None:
        # One of ours: its own facts say more than the format can.
        return _open_file(package.network, str(path), asked)
    asked.refuse_engine("onnx", str(path))
    engine, classes = package_engine(package, subject=str(path))
    settings = asked.over(PredictConfig())
    steps = [(a.smallest, a.divisor, a.halo, a.border_loss) for a in package.axes]
    check_turns(settings.tta, steps)
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
    return OpenedNetwork(predictor, labels, Calibration(), settings=settings)


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
