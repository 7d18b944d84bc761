"""One prediction against its truth: read, checked for the same geometry, and scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import EvaluateConfig
from maskwright.data.companions import region_of
from maskwright.data.labelmap import split_ignored
from maskwright.errors import DataError
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.confusion import count_confusion
from maskwright.evaluate.measuring import score_case
from maskwright.io.arrays import LabelSource, difference, open_labels
from maskwright.io.probabilities import find_probabilities, read_probabilities
from maskwright.predict.predictor import distribution
from maskwright.workflow.loading import both_count
from maskwright.workflow.masks import (
    MaskSet,
    is_large,
    read_values,
    regions,
    values_of,
    with_slices_of,
)
from maskwright.workflow.partitions import PartitionTables

_TOO_LARGE = "too large to measure at once: only overlap was counted"


class PairScorer:
    """Reads and scores one pair after the other.

    Args:
        truth: The true masks.
        predicted: The predicted masks.
        config: What is measured.
        spacings: Pixel size by truth.
        rois: Region of interest by truth.
        probabilities: Folder of the predictions' probabilities.
        overlapping: Whether they are of classes that may overlap, and need not sum to one.
    """

    def __init__(
        self,
        truth: MaskSet,
        predicted: MaskSet,
        config: EvaluateConfig,
        spacings: Mapping[str, tuple[float, ...] | None],
        rois: Mapping[str, Path],
        probabilities: Path,
        *,
        overlapping: bool = False,
    ) -> None:
        self._truth = truth
        self._predicted = predicted
        self._config = config
        self._spacings = spacings
        self._rois = rois
        self._probabilities = probabilities
        self._overlapping = overlapping
        self.partitions = PartitionTables(truth.label_map.names)

    def score(self, name: str, partner: str | None, group: str) -> CaseScore:
        """The score of one pair; without a partner, of an empty prediction."""
        truth = open_labels(self._truth.files[name])
        found = None if partner is None else open_labels(self._predicted.files[partner])
        roi = open_labels(self._rois[name]) if name in self._rois else None
        truth = with_slices_of(truth, found)
        found = None if found is None else with_slices_of(found, truth)
        self._check(truth, found)
        self._check(truth, roi)
        if is_large(truth.shape):
            return self._count(name, truth, found, roi, group)
        whole = next(regions(truth))
        file = None if partner is None else find_probabilities(self._probabilities, partner)
        probabilities = None if file is None else read_probabilities(file)
        if self._overlapping and probabilities is not None:
            probabilities = distribution(probabilities)
        numbered = self._truth.label_map.classes == 2
        classes, counted = split_ignored(self._truth.classes(truth, whole))
        valid = both_count(counted, None if roi is None else region_of(read_values(roi)))
        truth_objects = values_of(truth) if self._truth.numbered and numbered else None
        prediction_objects = None
        if found is not None and self._predicted.numbered and numbered:
            prediction_objects = values_of(found)
        scored = score_case(
            name,
            None if found is None else split_ignored(self._predicted.classes(found, whole))[0],
            classes,
            self._truth.label_map.classes,
            probabilities=probabilities,
            valid=valid,
            group=group,
            spacing_mm=self._spacings[name],
            config=self._config,
            prediction_objects=prediction_objects,
            truth_objects=truth_objects,
        )
        if "partition" in self._config.measures and probabilities is not None:
            self.partitions.add(probabilities, classes, truth_objects, valid)
        return scored

    def _check(self, truth: LabelSource, other: LabelSource | None) -> None:
        if other is None:
            return
        if other.shape != truth.shape:
            raise DataError(
                "mask-shape",
                str(other.path),
                expected=f"the size of {truth.path}, {_size(truth.shape)}",
                found=_size(other.shape),
                remedy="compare masks of the same image, not resized or turned",
            )
        if self._config.spacing_mm is not None:
            return
        differing = difference(truth.geometry, other.geometry)
        if differing:
            raise DataError(
                "mask-geometry",
                str(other.path),
                expected=f"the geometry of {truth.path}",
                found=differing,
                remedy="resample it to the truth, or compare voxel by voxel with --spacing Z,Y,X",
            )

    def _count(
        self,
        name: str,
        truth: LabelSource,
        found: LabelSource | None,
        roi: LabelSource | None,
        group: str,
    ) -> CaseScore:
        """Overlap alone, in blocks, so that memory does not grow with the image."""
        classes = self._truth.label_map.classes
        confusion = np.zeros((classes, classes), np.int64)
        for region in regions(truth):
            true, counted = split_ignored(self._truth.classes(truth, region))
            predicted: NDArray[Any] = np.zeros_like(true)
            if found is not None:
                predicted, _ = split_ignored(self._predicted.classes(found, region))
            inside = None if roi is None else read_values(roi, region).array[0] != 0
            valid = both_count(counted, inside)
            confusion += count_confusion(predicted, true, classes, valid)
        return CaseScore(
            name,
            group,
            tuple(tuple(int(n) for n in row) for row in confusion),
            found is None,
            flags=((0, _TOO_LARGE),),
            shape=truth.shape,
            spacing_mm=self._spacings[name],
        )


def _size(shape: Iterable[int]) -> str:
    return " × ".join(str(n) for n in shape)
