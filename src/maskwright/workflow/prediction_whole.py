"""One image predicted in memory, with all that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskwright.evaluate.uncertainty import entropy, trust
from maskwright.io.channels import read_channels
from maskwright.io.probabilities import probabilities_path, write_probabilities
from maskwright.report.figures import write_panels
from maskwright.report.level_panels import level_panels
from maskwright.workflow.mask_files import write_classes
from maskwright.workflow.objects import ObjectFiles
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_checks import naming_image
from maskwright.workflow.prediction_stream import Progress
from maskwright.workflow.prediction_tables import counted, image_label, record

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

PROBABILITIES_NAME = "probabilities"
UNCERTAINTY_NAME = "uncertainty"
LEVELS_NAME = "levels"
TRUSTED_PX = 1 << 25
"""Up to so many pixels the probabilities are held, to tell how far to trust a mask."""


def predict_whole(
    case: Case,
    network: OpenedNetwork,
    extras: Sequence[str],
    measured: ObjectFiles | None,
    progress: Progress,
) -> dict[str, Any]:
    """Predict an image in memory, with all that was asked for.

    Args:
        case: The image.
        network: The network.
        extras: Names of the folders of what is wanted beside masks.
        measured: Where objects are written, if they are wanted.
        progress: Where progress is told.

    Returns:
        The image's record.

    Raises:
        ImageReadError: When the image cannot be read.
        OutputError: When something cannot be written.
    """
    predictor, labels = network.predictor, network.labels
    target, path = case.file.parent, case.paths[0]
    image = read_channels(case.paths)
    needed = measured is not None or PROBABILITIES_NAME in extras or UNCERTAINTY_NAME in extras
    with naming_image(path):
        found = predictor.predict(
            image.array,
            image.spacing_mm,
            rule=case.rule,
            hold=needed or image.array[0].size <= TRUSTED_PX,
            at_once=case.at_once,
            on_tile=progress.ticks(path.name),
        )
    values = record(path, case.file, counted(found.classes_YX, labels), labels)
    if case.fit is not None:
        values["tiling"] = case.fit.settings()
    values |= case.resampling("probabilities")
    if found.probabilities_KYX.size:
        calibrated_KYX = network.calibration.apply(predictor.distribution(found.probabilities_KYX))
        values["trust"] = trust(calibrated_KYX, found.classes_YX).to_json()
        if measured is not None:
            values["objects"] = measured.add(case.paths[0], case.name, image, found, calibrated_KYX)
        if PROBABILITIES_NAME in extras:
            raw_KYX = found.probabilities_KYX
            shown_KYX = raw_KYX if predictor.overlapping else calibrated_KYX
            file = probabilities_path(target / PROBABILITIES_NAME, case.name, shown_KYX)
            write_probabilities(file, shown_KYX, image.geometry)
            values["probabilities"] = file.name
        if UNCERTAINTY_NAME in extras:
            write_probabilities(
                probabilities_path(target / UNCERTAINTY_NAME, case.name, calibrated_KYX),
                entropy(calibrated_KYX)[None],
                image.geometry,
            )
    if LEVELS_NAME in extras:
        maps = {**network.level_maps(found), "prediction": found.classes_YX}
        panels = level_panels(image.array, maps, predictor.classes)
        write_panels(target / LEVELS_NAME / f"{case.name}.png", panels)
    if found.image_probabilities_L.size:
        values["image_label"] = image_label(network.image_class_names, found.image_probabilities_L)
    if predictor.gate is not None:
        values["gated"] = found.emptied
    write_classes(case.file, found.classes_YX, labels, path, image)
    return values
