"""Scores of whole validation images while a network is being trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maskwright.config import RunConfig
from maskwright.data.labelmap import split_ignored
from maskwright.data.sampler import Source
from maskwright.evaluate.measuring import score_case
from maskwright.nn.unet import UNet
from maskwright.plan.machine import Numerics
from maskwright.workflow.predictor import Predictor

Scores = dict[str, tuple[float, ...]]
"""What a validation found, by name."""


def validator(
    held: Sequence[Source], config: RunConfig, numerics: Numerics
) -> Callable[[UNet], Scores]:
    """What predicts whole validation images as the finished network would.

    Args:
        held: The validation images.
        config: The configuration of the run.
        numerics: The number format that was measured to be fastest.

    Returns:
        A callable from a network to its scores, as :func:`maskwright.train.trainer.fit` needs it.
    """
    classes = config.model.classes
    # The number format was measured already; averages over several predictions are for the end.
    settings = config.predict.model_copy(update={"precision": numerics.precision, "tta": ()})

    def validate(network: UNet) -> Scores:
        predictor = Predictor.build(network, settings, data=config.data)
        scores, right = [], []
        for source in held:
            found = predictor.predict(source.image_CYX, source.spacing_mm, hold=False)
            truth, valid = split_ignored(source.classes_YX)
            scores.append(score_case(source.name, found.classes_YX, truth, classes, valid=valid))
            if source.image_label is not None:
                right.append(int(found.image_probabilities_L.argmax()) == source.image_label)
        counts_KK = np.sum([score.confusion for score in scores], axis=0)
        total = counts_KK.sum()
        dice = [float(np.mean([s.value("dice", k) for s in scores])) for k in range(classes)]
        return {
            "class_dice": tuple(dice),
            "predicted_share": tuple(float(n) for n in counts_KK.sum(0) / total),
            "truth_share": tuple(float(n) for n in counts_KK.sum(1) / total),
            "image_accuracy": (float(np.mean(right)),) if right else (),
        }

    return validate
