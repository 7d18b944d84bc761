"""Masks for images of any size."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import DataConfig, ModelConfig, PredictConfig, validate
from maskwright.data.files import find_images, group_channels
from maskwright.data.intensity import select_channels
from maskwright.data.labels import LabelMap
from maskwright.errors import DataError, OutputError
from maskwright.evaluate.uncertainty import Trust, entropy, trust
from maskwright.io.channels import read_channels
from maskwright.io.durable import make_folder, write_text
from maskwright.io.image import Image
from maskwright.io.probabilities import probabilities_path, write_probabilities
from maskwright.io.registry import mask_suffix, read_header, write_mask
from maskwright.io.table import write_table
from maskwright.nn.unet import UNet
from maskwright.plan.machine import candidates, fastest
from maskwright.predict.engine import torch_engine
from maskwright.predict.predictor import (
    Engine,
    Normaliser,
    Rule,
    most_probable,
    predict_classes,
    predict_probabilities,
    z_score,
)
from maskwright.progress import Events
from maskwright.tiling import TileRule
from maskwright.train.diagnosis import ONE_CLASS_SHARE
from maskwright.workflow.predictions import Predictions

SUMMARY_NAME = "predictions.json"
PROBABILITIES_NAME = "probabilities"
UNCERTAINTY_NAME = "uncertainty"
TRUST_NAME = "trust.csv"
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
    """

    engine: Engine
    rule: Rule
    channels: int
    classes: int
    numerics: str
    normalise: Normaliser = z_score

    @staticmethod
    def build(network: UNet, config: PredictConfig, *, tile: int | None = None) -> Predictor:
        """A predictor with the number format that is fastest on this machine.

        Args:
            network: A trained network.
            config: The prediction settings.
            tile: Overrides the largest side of a tile.
        """
        model = network.config
        rule = tile_rule(model, config, tile=tile)
        sample = rule.cover((_MEASURED_PX[model.dims],) * model.dims)[0]
        blank = np.zeros((1, model.channels, *(read.size for read in sample.read)), np.float32)
        options = candidates("channels_last", config.precision)
        engines = {
            option: torch_engine(network, layout=option.layout, precision=option.precision)
            for option in options
        }
        chosen, _ = fastest(options, lambda option: lambda: _run(engines[option], blank))
        return Predictor(engines[chosen], rule, model.channels, model.classes, str(chosen))

    def tiles(self, size: tuple[int, ...]) -> int:
        """How many tiles an image of this size takes."""
        return len(self.rule.cover(size))


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

    Args:
        run: A run folder, a file exported from one, or a package of bioimage.io; see
            :func:`maskwright.workflow.opening.open_network`.
        inputs: Folders, files or globs.
        out: Folder for the masks.
        tile: Largest side of the network's input; the result does not depend on it.
        probabilities: Also write ``probabilities/NAME.tif``, one page a class, calibrated on the
            validation images; of volumes ``NAME.nii.gz``, one channel a class.
        uncertainty: Also write ``uncertainty/NAME.tif`` (``NAME.nii.gz``): per pixel the entropy
            of the classes' probabilities, from 0 (sure) to 1 (all classes alike).
        overwrite: Replace masks that exist.
        events: Where progress is told.

    Returns:
        The written files.

    Raises:
        DataError: When an input cannot be read; masks of the others are not touched.
        OutputError: When a mask exists already, before anything is computed.
        RunError: When the run cannot be used.
    """
    from maskwright.workflow.opening import open_network

    events = events or Events()
    network = open_network(run, tile=tile)
    predictor, labels, calibration = network.predictor, network.labels, network.calibration
    channels = group_channels(find_images(list(inputs)), predictor.channels)
    names, images = list(channels), [paths[0] for paths in channels.values()]
    target = Path(out)
    files = [target / (name + mask_suffix(channels[name][0])) for name in names]
    _check_targets(images, files, target, overwrite=overwrite)
    events.send("start", images=len(images), numerics=predictor.numerics)
    make_folder(target, subject=f"--out {out}")
    for asked, name in ((probabilities, PROBABILITIES_NAME), (uncertainty, UNCERTAINTY_NAME)):
        if asked:
            make_folder(target / name, subject=f"--out {out}")
    written: list[Path] = []
    trusts: dict[str, Trust] = {}
    records: list[dict[str, Any]] = []
    tiles = [predictor.tiles(read_header(path).size) for path in images]
    done = 0
    for name, path, file in zip(names, images, files, strict=True):
        begun = time.monotonic()
        image = read_channels(channels[name])
        _check_channels(path, image, predictor.channels)

        def tick(shown: str = path.name) -> None:
            nonlocal done
            done += 1
            events.send("tile", number=done, tiles=sum(tiles), name=shown)

        asked = probabilities or uncertainty
        if asked or image.array[0].size <= _TRUSTED_PX:
            raw_KYX = predict_probabilities(
                image.array,
                predictor.engine,
                predictor.rule,
                predictor.channels,
                normalise=predictor.normalise,
                classes=predictor.classes,
                on_tile=tick,
            )
            classes_YX = most_probable(raw_KYX)
            calibrated_KYX = calibration.apply(raw_KYX)
            trusts[path.name] = trust(calibrated_KYX, classes_YX)
            if probabilities:
                written.append(probabilities_path(target / PROBABILITIES_NAME, name, raw_KYX))
                write_probabilities(written[-1], calibrated_KYX, image.geometry)
            if uncertainty:
                write_probabilities(
                    probabilities_path(target / UNCERTAINTY_NAME, name, raw_KYX),
                    entropy(calibrated_KYX)[None],
                    image.geometry,
                )
        else:
            classes_YX = predict_classes(
                image.array,
                predictor.engine,
                predictor.rule,
                predictor.channels,
                normalise=predictor.normalise,
                on_tile=tick,
            )
        write_mask(file, labels.decode(classes_YX).placed_as(image))
        records.append(_record(path, file, classes_YX, labels, time.monotonic() - begun))
        if path.name in trusts:
            records[-1]["trust"] = trusts[path.name].to_json()
    _warn_one_class(records, events)
    _rank(trusts, labels, target, events)
    summary = {
        "run": str(run),
        "numerics": predictor.numerics,
        "data": network.data.model_dump(mode="json"),
        "images": records,
    }
    write_text(target / SUMMARY_NAME, json.dumps(summary, indent=2) + "\n")
    events.send("end", images=len(images), out=str(target))
    return Predictions(target, tuple(files), tuple(written))


def _check_channels(path: Path, image: Image, channels: int) -> None:
    """Refuse an image of other channels by its name, before a tile is computed."""
    try:
        select_channels(image.array, channels)
    except DataError as error:
        raise DataError(
            error.code,
            str(path),
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


def _check_targets(
    images: Sequence[Path], files: Sequence[Path], target: Path, *, overwrite: bool
) -> None:
    for image, file in zip(images, files, strict=True):
        if files.count(file) > 1:
            raise OutputError(
                "output-same-name",
                str(image),
                expected="a name no other input has",
                found=f"several inputs that would write {file}",
                remedy="predict them into different folders",
            )
        if file.resolve() == image.resolve():
            raise OutputError(
                "output-over-input",
                f"--out {target}",
                expected="a folder without the images",
                found="the folder of the images",
                remedy="choose another folder",
            )
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        raise OutputError(
            "output-exists",
            f"--out {target}",
            expected="no masks of these names",
            found=f"{len(existing)}, such as {existing[0].name}",
            remedy="choose another folder, or replace them with --overwrite",
        )


def _record(
    image: Path, mask: Path, classes_YX: NDArray[np.uint8], labels: LabelMap, elapsed_s: float
) -> dict[str, Any]:
    counts = np.bincount(classes_YX.ravel(), minlength=len(labels.names))
    return {
        "image": str(image),
        "mask": mask.name,
        "shares": {
            name: round(float(count) / classes_YX.size, 6)
            for name, count in zip(labels.names, counts, strict=True)
        },
        "elapsed_s": round(elapsed_s, 3),
    }


def _rank(trusts: Mapping[str, Trust], labels: LabelMap, target: Path, events: Events) -> None:
    """Write which masks to look at first, and name the least trusted ones."""
    if not trusts:
        return
    ranked = sorted(trusts.items(), key=lambda item: (item[1].mean, item[0]))
    rows: list[dict[str, str | int | float | bool | None]] = [
        {
            "image": name,
            "expected_dice": round(found.mean, 4),
            **{
                f"expected_dice_{label}": round(value, 4)
                for label, value in zip(labels.names, found.expected_dice, strict=True)
            },
            "mean_entropy": round(found.mean_entropy, 4),
            "doubtful_share": round(found.doubtful_share, 4),
        }
        for name, found in ranked
    ]
    write_table(target / TRUST_NAME, rows)
    if len(ranked) > 1:
        least = ", ".join(f"{name} ({found.mean:.2f})" for name, found in ranked[:3])
        events.send(
            "message",
            text=f"Look at these masks first; their expected Dice is the lowest: {least}. All in "
            f"{target / TRUST_NAME}.",
        )


def _warn_one_class(records: Sequence[dict[str, Any]], events: Events) -> None:
    single = [r["mask"] for r in records if max(r["shares"].values()) > ONE_CLASS_SHARE]
    if not single:
        return
    shown = ", ".join(single[:5]) + (" …" if len(single) > 5 else "")
    events.send(
        "warning",
        code="prediction-one-class",
        text=f"{len(single)} of {len(records)} masks are of one class only: {shown}. If these "
        "images do hold more, they may differ from the training images (other stain, contrast "
        "or magnification): look at them side by side, annotate a few and train again.",
    )


def labels_of(folder: Path) -> DataConfig | None:
    """What a folder of predictions says of its mask values, or ``None`` where it says nothing."""
    path = folder / SUMMARY_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        return None
    return validate(DataConfig, values, subject=str(path))
