"""What belongs to a case that is scored: image, truth, region of interest, a second observer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from maskwright.data.case import Case
from maskwright.data.check import CheckReport
from maskwright.data.companions import field_of_view
from maskwright.data.labelmap import LabelMap, split_ignored
from maskwright.io.image import Image
from maskwright.predict.predictor import ImagePrediction
from maskwright.workflow.calibrating import Predicted
from maskwright.workflow.loading import Truth, both_count, read_truth
from maskwright.workflow.predictor import Predictor
from maskwright.workflow.run import Run


class CaseReader:
    """Reads what belongs to a case, and predicts it.

    Args:
        run: The run.
        report: The checked data set.
        label_map: What mask values mean.
        predictor: The network.
    """

    def __init__(
        self,
        run: Run,
        report: CheckReport,
        label_map: LabelMap,
        predictor: Predictor,
    ) -> None:
        self.label_map = label_map
        self._predictor = predictor
        self._way = run.config.data.roi
        folders = {case.roi.parent.name for case in report.cases if case.roi is not None}
        self.roi_sentence = ""
        if self._way == "disc":
            self.roi_sentence = "Only pixels inside the lit disc of each photograph count."
        elif self._way == "auto" and folders:
            shown = ", ".join(f"{name}/" for name in sorted(folders))
            self.roi_sentence = f"Only pixels inside the masks of {shown} count."

    def truth(self, case: Case, image: Image) -> Truth:
        """What the case should be, and where pixels count."""
        truth = read_truth(case, self.label_map, self._way)
        if self._way != "disc":
            return truth
        return replace(truth, valid_YX=both_count(truth.valid_YX, field_of_view(image.array)))

    def pair(self, case: Case) -> tuple[Image, Truth]:
        """Image and truth of a case."""
        image = case.read_image()
        return image, self.truth(case, image)

    def second(self, case: Case) -> NDArray[np.uint8] | None:
        """What a second person drew, or ``None``."""
        drawn = case.read_second()
        if drawn is None:
            return None
        return split_ignored(self.label_map.encode(drawn, subject=str(case.second)))[0]

    def prediction(self, image: Image) -> ImagePrediction:
        """What the network says of an image; its probabilities sum to one at every pixel."""
        found = self._predictor.predict(image.array, image.spacing_mm)
        shares_KYX = self._predictor.distribution(found.probabilities_KYX)
        return replace(found, probabilities_KYX=shares_KYX)

    def predicted(self, case: Case) -> Predicted:
        """Probabilities, truth and region of one case."""
        image, truth = self.pair(case)
        return self.prediction(image).probabilities_KYX, truth.classes_YX, truth.valid_YX
