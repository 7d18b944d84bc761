"""Masks for images of any size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import DataConfig, ModelConfig, PredictConfig, validate
from maskwright.data.files import find_images, group_channels
from maskwright.evaluate.uncertainty import Trust, entropy, trust
from maskwright.io.channels import read_channels
from maskwright.io.durable import make_folder, write_text
from maskwright.io.probabilities import probabilities_path, write_probabilities
from maskwright.io.registry import mask_suffix, read_header, write_mask
from maskwright.nn.unet import UNet
from maskwright.plan.machine import candidates, fastest
from maskwright.predict.averaging import averaged, passes
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import (
    Engine,
    ImagePrediction,
    Normaliser,
    Rule,
    distribution,
    gated,
    joined,
    predict_image,
    z_score,
)
from maskwright.progress import Events
from maskwright.report.figures import write_panels
from maskwright.report.level_panels import level_panels
from maskwright.tiling import TileRule
from maskwright.workflow.objects import ObjectFiles
from maskwright.workflow.prediction_checks import check_averaging, check_channels, check_targets
from maskwright.workflow.prediction_tables import (
    image_label,
    record,
    tell_gated,
    tell_levels,
    warn_one_class,
    write_image_labels,
    write_trust,
)
from maskwright.workflow.predictions import Predictions

SUMMARY_NAME = "predictions.json"
PROBABILITIES_NAME = "probabilities"
UNCERTAINTY_NAME = "uncertainty"
LEVELS_NAME = "levels"
# Up to so many pixels the probabilities of an image are held, to say how much to trust its mask.
_TRUSTED_PX = 1 << 25
_MEASURED_PX = {2: 256, 3: 32}


@dataclass(frozen=True)
class Predictor:
    """A network ready to predict arrays.

    Args:
        engine: From tiles to probabilities.
        rule: How tiles may be cut.
        channels: Channels the network takes.
        classes: Number of classes.
        numerics: Memory order and number format in use, for the record.
        normalise: What is done to intensities.
        ways: What is averaged over, see :func:`maskwright.predict.averaging.averaged`.
        scales: Sizes for the way ``scale``.
        overlapping: Whether the probabilities of a pixel need not sum to one.
        gate: Class that the image's label may take away, see
            :func:`maskwright.predict.predictor.gated`.
        levels: Whether the engine gives the levels of the decoder.
        border: Whether the network tells interior and border of objects, which are one class.
    """

    engine: Engine
    rule: Rule
    channels: int
    classes: int
    numerics: str
    normalise: Normaliser = z_score
    ways: tuple[str, ...] = ()
    scales: tuple[float, ...] = (1.0,)
    overlapping: bool = False
    gate: int | None = None
    levels: bool = False
    border: bool = False

    @staticmethod
    def build(
        network: UNet,
        config: PredictConfig,
        *,
        tile: int | None = None,
        levels: bool = False,
        gate: int | None = None,
        border: bool = False,
    ) -> Predictor:
        """A predictor with the number format that is fastest on this machine.

        Args:
            network: A trained network.
            config: The prediction settings.
            tile: Overrides the largest side of a tile.
            levels: Whether the levels of the decoder are predicted too.
            gate: Class that the image's label may take away.
            border: Whether the network tells interior and border.
        """
        model = network.config
        rule = tile_rule(model, config, tile=tile)
        blank = blank_tile(rule, model)
        options = candidates("channels_last", config.precision)
        engines = {
            option: torch_engine(
                network, layout=option.layout, precision=option.precision, levels=levels
            )
            for option in options
        }
        chosen, _ = fastest(options, lambda option: lambda: _run(engines[option], blank))
        return Predictor(
            engines[chosen],
            rule,
            model.channels,
            model.classes - border,
            str(chosen),
            ways=config.tta,
            scales=config.scales,
            overlapping=model.output == "sigmoid",
            gate=gate,
            levels=levels,
            border=border,
        )

    def tiles(self, size: tuple[int, ...]) -> int:
        """How many tiles an image of this size takes, over all predictions of it."""
        wanted = [each.size for each in passes(size, self.ways, self.scales)]
        if self.ways and self.levels:
            wanted.append(size)
        return sum(len(self.rule.cover(each)) for each in wanted)

    def predict(
        self,
        image_CYX: NDArray[Any],
        *,
        hold: bool = True,
        on_tile: Callable[[], None] | None = None,
    ) -> ImagePrediction:
        """All that the network says of an image.

        Levels are those of the image as it is, whatever is averaged.

        Args:
            image_CYX: Image in its own data type; a volume has its Z axis before Y.
            hold: Whether the probabilities of all pixels are kept, as averaging needs them.
            on_tile: Called after each tile.
        """

        def once(array_CYX: NDArray[Any]) -> ImagePrediction:
            return predict_image(
                array_CYX,
                self.engine,
                self.rule,
                self.channels,
                normalise=self.normalise,
                hold=hold or bool(self.ways) or self.border,
                on_tile=on_tile,
            )

        if self.ways:
            found = averaged(once, self.ways, self.scales)(image_CYX)
            if self.levels:
                found = replace(found, levels_YX=once(image_CYX).levels_YX)
        else:
            found = once(image_CYX)
        found = joined(found) if self.border else found
        return found if self.gate is None else gated(found, self.gate)

    def distribution(self, probabilities_KYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities that sum to one, for what reads them as those of one class a pixel."""
        return distribution(probabilities_KYX) if self.overlapping else probabilities_KYX


def tile_rule(model: ModelConfig, config: PredictConfig, *, tile: int | None = None) -> TileRule:
    """How a network may be tiled.

    Args:
        model: The network.
        config: The prediction settings.
        tile: Overrides the largest side of a tile.
    """
    return TileRule(
        geometry.axes_of(model),
        tile or config.tile_px,
        config.mirror_px,
        exact=geometry.is_exact(model),
    )


def blank_tile(rule: Rule, model: ModelConfig) -> NDArray[np.float32]:
    """A batch of one tile to measure with, shape ``(1, C, *S)``."""
    sample = rule.cover((_MEASURED_PX[model.dims],) * model.dims)[0]
    return np.zeros((1, model.channels, *(read.size for read in sample.read)), np.float32)


def _run(engine: Engine, batch: NDArray[np.float32]) -> None:
    engine(batch)


def predict(
    run: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    tile: int | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    levels: bool = False,
    tta: str | Sequence[str] | None = None,
    gate: bool | None = None,
    engine: str | None = None,
    objects: bool = False,
    table: str = "csv",
    settings: Sequence[str] = (),
    overwrite: bool = False,
    events: Events | None = None,
) -> Predictions:
    """Predict images and write a mask of the same name for each.

    Masks hold the training masks' own values (255 where they had 255) in the image's file
    format, lossless where that would lose; those of volumes lie exactly on their image.
    Files ``NAME_0000``, ``NAME_0001`` … are the channels of one image where the network takes
    several. ``trust.csv`` ranks the images by the Dice that the
    network expects of its own masks, least trusted first; images of more than 2^25 pixels are
    ranked where probabilities or uncertainty are asked for.

    A network with ``image_classes`` labels whole images too: ``image_labels.csv`` holds the label
    of each and the probabilities of all, averaged over the tiles by the area that each writes.

    Args:
        run: A run folder, a file exported from one, or a package of bioimage.io; see
            :func:`maskwright.workflow.opening.open_network`.
        inputs: Folders, files or globs.
        out: Folder for the masks.
        tile: Largest side of the network's input; the result does not depend on it.
        probabilities: Also write ``probabilities/NAME.tif``, one page a class, calibrated on the
            validation images; of volumes ``NAME.nii.gz``, one channel a class. Those of
            overlapping classes are written as the network gives them, without calibration.
        uncertainty: Also write ``uncertainty/NAME.tif`` (``NAME.nii.gz``): per pixel the entropy
            of the classes' probabilities, from 0 (sure) to 1 (all classes alike).
        levels: Also write ``levels/NAME.png``: what each level of the decoder predicts, the
            coarsest first, then the final prediction; of volumes one slice. Levels are not
            averaged.
        tta: ``flip``, ``scale``, both, or ``none``: average the probabilities over mirrorings and
            sizes of the image; by default as the run was configured.
        gate: Whether the pixels of a class become background (class 0) where the image's label
            says, with a probability below 0.5 for it, that the class is not there; for
            ``image_labels=contains:NAME`` alone. By default as the run was configured.
        engine: What runs the network of a run: ``torch``, ``openvino``, ``onnx`` (ONNX Runtime), or
            ``auto``: PyTorch, and the fastest of all that are installed where predicting takes
            minutes. By default as the run was configured.
        objects: Also number the objects and measure each; see
            :class:`maskwright.workflow.objects.ObjectFiles`.
        table: ``csv`` or ``parquet``, for the table of the objects.
        settings: ``key=value`` for any other setting of prediction, such as ``mirror_px=64`` or
            ``objects=watershed``.
        overwrite: Replace masks that exist.
        events: Where progress is told.

    Returns:
        The written files.

    Raises:
        ConfigError: When the network cannot give what is asked for, or an image is too large to
            average.
        DataError: When an input cannot be read; masks of the others are not touched.
        OutputError: When a mask exists already, before anything is computed.
        RunError: When the run cannot be used.
    """
    from maskwright.workflow.opening import Asked, open_network

    events = events or Events()
    network = open_network(run, Asked(tile, levels, tta, gate, engine, tuple(settings)))
    predictor, labels, calibration = network.predictor, network.labels, network.calibration
    channels = group_channels(find_images(list(inputs)), predictor.channels)
    names, images = list(channels), [paths[0] for paths in channels.values()]
    target = Path(out)
    files = [target / (name + mask_suffix(channels[name][0])) for name in names]
    check_targets(images, files, target, overwrite=overwrite)
    sizes = [read_header(path).size for path in images]
    if predictor.ways:
        check_averaging(images, sizes, _TRUSTED_PX)
    predictor = network.quicken(predictor, sizes, events)
    events.send("start", images=len(images), numerics=predictor.numerics)
    measured = ObjectFiles(target, labels, network.settings, table=table) if objects else None
    make_folder(target, subject=f"--out {out}")
    for asked, name in (
        (probabilities, PROBABILITIES_NAME),
        (uncertainty, UNCERTAINTY_NAME),
        (levels, LEVELS_NAME),
    ):
        if asked:
            make_folder(target / name, subject=f"--out {out}")
    if levels and network.level_shares:
        tell_levels(network.level_shares, events)
    written: list[Path] = []
    trusts: dict[str, Trust] = {}
    records: list[dict[str, Any]] = []
    tiles = sum(predictor.tiles(size) for size in sizes)
    done = 0
    for name, path, file in zip(names, images, files, strict=True):
        begun = time.monotonic()
        image = read_channels(channels[name])
        check_channels(path, image, predictor.channels)

        def tick(shown: str = path.name) -> None:
            nonlocal done
            done += 1
            events.send("tile", number=done, tiles=tiles, name=shown)

        hold = probabilities or uncertainty or objects or image.array[0].size <= _TRUSTED_PX
        found = predictor.predict(image.array, hold=hold, on_tile=tick)
        if found.probabilities_KYX.size:
            calibrated_KYX = calibration.apply(predictor.distribution(found.probabilities_KYX))
            trusts[path.name] = trust(calibrated_KYX, found.classes_YX)
            if measured is not None:
                measured.add(path, name, image, found, calibrated_KYX)
            if probabilities:
                raw_KYX = found.probabilities_KYX
                shown_KYX = raw_KYX if predictor.overlapping else calibrated_KYX
                written.append(probabilities_path(target / PROBABILITIES_NAME, name, shown_KYX))
                write_probabilities(written[-1], shown_KYX, image.geometry)
            if uncertainty:
                write_probabilities(
                    probabilities_path(target / UNCERTAINTY_NAME, name, calibrated_KYX),
                    entropy(calibrated_KYX)[None],
                    image.geometry,
                )
        if levels:
            maps = {**network.level_maps(found), "prediction": found.classes_YX}
            panels = level_panels(image.array, maps, predictor.classes)
            write_panels(target / LEVELS_NAME / f"{name}.png", panels)
        write_mask(file, labels.decode(found.classes_YX).placed_as(image))
        records.append(record(path, file, found.classes_YX, labels, time.monotonic() - begun))
        if path.name in trusts:
            records[-1]["trust"] = trusts[path.name].to_json()
        if found.image_probabilities_L.size:
            records[-1]["image_label"] = image_label(
                network.image_class_names, found.image_probabilities_L
            )
        if measured is not None:
            records[-1]["objects"] = measured.counts[name]
        if predictor.gate is not None:
            records[-1]["gated"] = found.emptied
    warn_one_class(records, events)
    write_trust(trusts, labels, target, events)
    write_image_labels(records, target)
    if measured is not None:
        measured.finish(events)
    if predictor.gate is not None:
        tell_gated(records, labels.names[predictor.gate], events)
    summary = {
        "run": str(run),
        "numerics": predictor.numerics,
        "averaged_over": list(predictor.ways),
        "overlapping": predictor.overlapping,
        "data": network.data.model_dump(mode="json"),
        "images": records,
    }
    write_text(target / SUMMARY_NAME, json.dumps(summary, indent=2) + "\n")
    events.send("end", images=len(images), out=str(target))
    return Predictions(target, tuple(files), tuple(written))


def labels_of(folder: Path) -> DataConfig | None:
    """What a folder of predictions says of its mask values, or ``None`` where it says nothing."""
    values = _summary_of(folder).get("data")
    return validate(DataConfig, values, subject=str(folder / SUMMARY_NAME)) if values else None


def is_overlapping(folder: Path) -> bool:
    """Whether the probabilities in a folder of predictions are of classes that may overlap."""
    return bool(_summary_of(folder).get("overlapping", False))


def _summary_of(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return values if isinstance(values, dict) else {}
