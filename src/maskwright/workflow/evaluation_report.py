"""The report of an evaluation without a run: masks of any origin against their truth."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.companions import region_of
from maskwright.data.naming import pair_names
from maskwright.errors import DataError
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.quality import image_quality
from maskwright.io.arrays import LabelSource, find_labels, open_image, open_labels
from maskwright.io.durable import write_text
from maskwright.plan.machine import describe_machine
from maskwright.report.content import ReportCase, ReportData
from maskwright.report.figure_files import write_figures
from maskwright.report.figures import overlay, overlay_uri, panel_names, slice_uris, volume_slices
from maskwright.report.html import render
from maskwright.workflow.masks import MaskSet, is_large, read_values, regions, with_slices_of
from maskwright.workflow.reporting import citation, report_case
from maskwright.workflow.sections import partition_tables, quality_trends, sections_of

if TYPE_CHECKING:
    from maskwright.workflow.evaluation import Evaluation

_PACKAGES = ("maskwright", "numpy", "scipy", "scikit-image")


def write_evaluation_report(
    path: Path,
    title: str,
    evaluation: Evaluation,
    truth: MaskSet,
    predicted: MaskSet,
    matched: Mapping[str, str],
    rois: Mapping[str, Path],
    images: Path | None,
) -> None:
    """Write the report as one HTML file, and its charts into a folder beside it.

    Args:
        path: The HTML file.
        title: Title of the page.
        evaluation: The scores.
        truth: The true masks.
        predicted: The predicted masks.
        matched: Truth → prediction.
        rois: Region of interest by truth.
        images: Folder of the images, for the pictures; without it the masks are shown alone.
    """
    cases, summary = evaluation.worst_first, evaluation.summary
    pictures = _Pictures(truth, predicted, matched, rois, images, len(cases))
    drawn = [pictures.case(case, summary.class_names) for case in cases]
    data = ReportData(
        title=title,
        summary=summary,
        cases=drawn,
        quality=quality_trends(cases, pictures.quality),
        subject="these masks",
        images="image",
        facts=[
            f"Predictions: {_folder_of(predicted)}",
            f"Truth: {_folder_of(truth)}",
            *truth.label_map.describe(),
        ],
        versions={name: version(name) for name in _PACKAGES},
        hardware=describe_machine(),
        commands=[f"maskwright evaluate {_folder_of(predicted)} {_folder_of(truth)}"],
        has_region=bool(rois),
        partitions=partition_tables(evaluation.partitions),
        **citation(),
        **sections_of(cases, summary),
    )
    write_figures(data, path.with_name(f"{path.stem}_figures"))
    write_text(path, render(data))


def _folder_of(masks: MaskSet) -> str:
    files = list(masks.files.values())
    return str(files[0] if len(files) == 1 else files[0].parent)


class _Pictures:
    """Draws each case from its files, one after the other."""

    def __init__(
        self,
        truth: MaskSet,
        predicted: MaskSet,
        matched: Mapping[str, str],
        rois: Mapping[str, Path],
        images: Path | None,
        number: int,
    ) -> None:
        self._truth = truth
        self._predicted = predicted
        self._matched = matched
        self._rois = rois
        self._number = number
        self.quality: dict[str, dict[str, float | None]] = {}
        self._images = _images_of(images, list(truth.files)) if images is not None else {}

    def case(self, case: CaseScore, names: tuple[str, ...]) -> ReportCase:
        """One case with its picture, or with those of its slices."""
        source = open_labels(self._truth.files[case.case])
        if is_large(source.shape):
            return report_case(case, names)
        found: LabelSource | None = None
        if case.case in self._matched:
            found = open_labels(self._predicted.files[self._matched[case.case]])
        source = with_slices_of(source, found)
        whole = next(regions(source))
        truth = self._truth.classes(source, whole)
        predicted: NDArray[Any] = np.zeros_like(truth)
        if found is not None:
            predicted = self._predicted.classes(with_slices_of(found, source), whole)
        valid = None
        if case.case in self._rois:
            valid = region_of(read_values(open_labels(self._rois[case.case])))
        image = self._image(case.case, truth.shape)
        if image is not None:
            self.quality[case.case] = image_quality(image, truth).to_json()
        classes = len(names)
        panels = panel_names(image=image is not None)
        if truth.ndim == 2:
            drawn = overlay(image, truth, predicted, classes, valid=valid)
            return report_case(case, names, overlay=overlay_uri(drawn, self._number), panels=panels)
        slices = volume_slices(image, truth, predicted, classes, valid=valid)
        return report_case(case, names, slices=slice_uris(slices, self._number), panels=panels)

    def _image(self, name: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        path = self._images.get(name)
        if path is None:
            return None
        image = open_image(path)
        if image.shape[1:] != shape:
            raise DataError(
                "image-shape",
                str(path),
                expected=f"the size of its mask, {shape}",
                found=str(image.shape[1:]),
                remedy="name the folder of the images these masks were drawn on",
            )
        return image


def _images_of(folder: Path, names: list[str]) -> dict[str, Path]:
    files = find_labels(folder)
    pairs = pair_names(list(files), names)
    return {masks[0]: files[image] for image, masks in pairs.items() if len(masks) == 1}
