"""Scores of whole validation images while a network is being trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import RunConfig
from maskwright.data.labelmap import split_ignored
from maskwright.data.sampler import Source
from maskwright.evaluate.measuring import score_case
from maskwright.nn.ranks import ALONE, Ranks
from maskwright.nn.unet import UNet
from maskwright.plan.machine import Numerics
from maskwright.report.figures import overlay
from maskwright.workflow.predictor import Predictor

_SHOWN = 4

Scores = dict[str, tuple[float, ...]]
"""What a validation found, by name."""


def validator(
    held: Sequence[Source],
    config: RunConfig,
    numerics: Numerics,
    *,
    ranks: Ranks = ALONE,
    show: Callable[[str, NDArray[np.uint8]], None] | None = None,
) -> Callable[[UNet], Scores]:
    """What predicts whole validation images as the finished network would.

    Args:
        held: The validation images.
        config: The configuration of the run.
        numerics: The number format that was measured to be fastest.
        ranks: The processes; each predicts its share of the images, and all learn all scores.
        show: Takes the panels of the first images.

    Returns:
        A callable from a network to its scores, as :func:`maskwright.train.trainer.fit` needs it.
    """
    classes = config.model.classes
    # The number format was measured already; averages over several predictions are for the end.
    settings = config.predict.model_copy(update={"precision": numerics.precision, "tta": ()})

    def validate(network: UNet) -> Scores:
        predictor = Predictor.build(network, settings, data=config.data)
        own: list[dict[str, Any]] = []
        for number in range(ranks.rank, len(held), ranks.count):
            source = held[number]
            found = predictor.predict(source.image_CYX, source.spacing_mm, hold=False)
            truth, valid = split_ignored(source.classes_YX)
            score = score_case(source.name, found.classes_YX, truth, classes, valid=valid)
            right = None
            if source.image_label is not None:
                right = int(found.image_probabilities_L.argmax()) == source.image_label
            own.append(
                {
                    "number": number,
                    "confusion": np.asarray(score.confusion).tolist(),
                    "dice": [float(score.value("dice", k)) for k in range(classes)],
                    "right": right,
                }
            )
            if show is not None and number < _SHOWN and truth.ndim == 2:
                panels = overlay(source.image_CYX, truth, found.classes_YX, classes, valid=valid)
                show(source.name, panels)
        every = [case for part in ranks.gather(own) for case in part]
        return _scores(sorted(every, key=lambda case: int(case["number"])))

    return validate


def _scores(cases: Sequence[dict[str, Any]]) -> Scores:
    counts_KK = np.sum([case["confusion"] for case in cases], axis=0)
    total = counts_KK.sum()
    right = [case["right"] for case in cases if case["right"] is not None]
    return {
        "class_dice": tuple(np.mean([case["dice"] for case in cases], axis=0).tolist()),
        "predicted_share": tuple(float(n) for n in counts_KK.sum(0) / total),
        "truth_share": tuple(float(n) for n in counts_KK.sum(1) / total),
        "image_accuracy": (float(np.mean(right)),) if right else (),
    }
