"""From a run to its network in int8: ranges from training images, the loss from validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.config import RunConfig
from maskwright.data.dataset import find_cases
from maskwright.data.labelmap import LabelMap, split_ignored
from maskwright.data.sampler import Source
from maskwright.errors import MaskwrightError, RunError
from maskwright.evaluate.measuring import score_case
from maskwright.export.facts import ModelFacts
from maskwright.export.int8_file import int8_bytes
from maskwright.io.network_file import open_openvino
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model
from maskwright.plan.machine import describe_machine
from maskwright.predict.file_engine import file_engine
from maskwright.progress import Events
from maskwright.workflow.engines import OtherEngines
from maskwright.workflow.int8 import ImageLoss, Int8, mean_of
from maskwright.workflow.loading import load_sources, patches_of
from maskwright.workflow.predictor import Predictor

TILES = 128


def quantise(
    run: str | Path,
    *,
    data: str | Path | None = None,
    tiles: int = TILES,
    events: Events | None = None,
) -> Int8:
    """Write a run's network in integers of 8 bits into its folder, with the Dice that it loses.

    The ranges of the numbers are measured on tiles of the run's training images. Then its
    validation images are predicted in float32 and in int8, and the Dice of both is compared; test
    images are not looked at. ``int8.onnx`` and ``int8.json`` appear together, or not at all.

    Args:
        run: A run folder.
        data: Where its images are, if they were moved.
        tiles: Tiles of training images to measure on.
        events: Where progress is told.

    Returns:
        The network and its loss.

    Raises:
        RunError: ``int8-no-data`` where the run's images cannot be found, ``int8-no-validation``
            where it kept none for validation, ``run-of-several`` where prediction averages
            several networks, and what else makes a run unusable.
        MaskwrightError: ``extra-missing`` without OpenVINO or ONNX Runtime.

    Example:
        ``quantise("runs/cells").mean_loss``
    """
    folder, events = RunFolder(Path(run)), events or Events()
    folder.refuse_folds()
    folder.refuse_several()
    folder.read_config()
    with folder.lock():
        return _quantise(folder, data, tiles, events)


def _quantise(folder: RunFolder, data: str | Path | None, tiles: int, events: Events) -> Int8:
    config = folder.read_config()
    network, _ = read_model(folder.model)
    training, validation = _images(folder, config, data)
    facts = ModelFacts(network.config, config.data, config.predict)
    events.send("busy", text=f"Measuring ranges on {tiles} tiles of training images")
    (recorded,) = OtherEngines(network, facts).onnx("openvino")
    content = int8_bytes(recorded, _tiles(training, config, tiles))
    file = open_openvino(content, subject="the network in int8", precision="int8")
    exact = config.predict.model_copy(update={"precision": "float32", "tta": ()})
    plain = Predictor.build(network, exact, data=config.data)
    predictors = plain, replace(plain, engine=file_engine(file, facts.activation))
    losses = []
    for number, source in enumerate(validation, start=1):
        events.send("reading", doing="Comparing", number=number, images=len(validation),
                    name=source.name)  # fmt: skip
        float32, int8 = (_dice(source, predictor) for predictor in predictors)
        losses.append(ImageLoss(source.name, float32, int8))
    processor = describe_machine()["processor"]
    made = Int8(content, tuple(losses), tiles, file.runtime, processor)
    made.write(folder)
    return made


def _images(
    folder: RunFolder, config: RunConfig, data: str | Path | None
) -> tuple[list[Source], list[Source]]:
    """Training and validation images of a run, as it was trained on them."""
    try:
        root = Path(data or folder.read_json(folder.metrics)["data"]["root"])
        split = folder.read_json(folder.splits)
        found = find_cases(
            root,
            group_by=config.data.group_by,
            skip_unpaired=config.data.skip_unpaired,
            slices=config.data.slices,
        )
    except MaskwrightError as error:
        raise _no_data(folder, f"{error.found} ({error.subject})") from error
    except (KeyError, TypeError) as error:
        raise _no_data(folder, f"no folder of data in {folder.metrics.name}") from error
    if not split["validation"]:
        raise RunError(
            "int8-no-validation",
            str(folder.path),
            expected="validation images to measure the loss on",
            found="none in splits.json",
            remedy="train with validation images, or predict with bfloat16",
        )
    missing = {*split["train"], *split["validation"]} - {case.name for case in found.cases}
    if missing:
        raise _no_data(folder, f"no {min(missing)} in {root}")
    load = partial(
        load_sources,
        found.cases,
        label_map=LabelMap.from_config(config.data),
        channels=config.model.channels,
        data=config.data,
        pixel_mm=config.predict.pixel_mm,
    )
    training = load(split["train"], target_mm=config.data.spacing_mm)
    validation = load(split["validation"])
    return training, validation


def _no_data(folder: RunFolder, found: str) -> RunError:
    return RunError(
        "int8-no-data",
        str(folder.path),
        expected="the images that the run was trained on",
        found=found,
        remedy="name their folder with --data",
    )


def _tiles(
    sources: Sequence[Source], config: RunConfig, count: int
) -> Iterator[NDArray[np.float32]]:
    sampler = patches_of(sources, config, batch=1)
    return (sampler.draw(step).image_BCS for step in range(count))


def _dice(source: Source, predictor: Predictor) -> float:
    """Mean Dice of the classes after the first."""
    found = predictor.predict(source.image_CYX, source.spacing_mm, hold=False)
    truth, valid = split_ignored(source.classes_YX)
    score = score_case(source.name, found.classes_YX, truth, predictor.classes, valid=valid)
    return mean_of([score.value("dice", k) for k in range(1, predictor.classes)])
