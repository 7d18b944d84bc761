"""How pixels become objects: what finds those of the validation images best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import PredictConfig
from maskwright.evaluate.objects import Matching, ap, counts_at, match_objects, pool
from maskwright.predict.objects import certainty, find_objects, numbered
from maskwright.predict.predictor import ImagePrediction
from maskwright.workflow.reporting import OBJECTS

METHODS = ("components", "watershed")
# Sizes below which hardly any object of the training images lies.
_SMALL = (0.0, 0.005, 0.02, 0.05)
_IOU = 0.5


@dataclass(frozen=True)
class HeldImage:
    """A validation image.

    Args:
        found: What was predicted, with calibrated probabilities.
        objects_YX: The numbered objects that a person drew.
        spacing: Length of a pixel along each axis.
        valid_YX: Where pixels count, if not everywhere.
    """

    found: ImagePrediction
    objects_YX: NDArray[Any]
    spacing: Sequence[float] | None = None
    valid_YX: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ObjectChoice:
    """The way that found the objects of the validation images best.

    Args:
        method: ``components`` or ``watershed``.
        min_px: Objects of fewer pixels are left out.
        ap: Objects found, of all found, missed and invented, at an IoU of one half.
        plain: The same of connected pieces, none left out.
        images: How many images chose.
    """

    method: str
    min_px: int
    ap: float
    plain: float
    images: int

    def sentence(self) -> str:
        """The choice in words.

        Example:
            >>> ObjectChoice("watershed", 2, 0.81, 0.68, 7).sentence()
            'Objects are cut where they are narrow, and those below 2 pixels are left out: AP 0.81 \
at an IoU of 0.5 on 7 validation images, against 0.68 of every connected piece.'
        """
        way = "cut where they are narrow" if self.method == "watershed" else "connected pieces"
        small = f", and those below {self.min_px} pixels are left out" if self.min_px else ""
        images = f"{self.images} validation image{'' if self.images == 1 else 's'}"
        return (
            f"{OBJECTS} {way}{small}: AP {self.ap:.2f} at an IoU of {_IOU:g} on {images}, "
            f"against {self.plain:.2f} of every connected piece."
        )


def choose_objects(
    held: Iterable[HeldImage], sizes_px: Sequence[int], settings: PredictConfig
) -> ObjectChoice | None:
    """Try every way on the validation images; the first of equals is the plainest.

    Args:
        held: The validation images, of which one at a time is looked at.
        sizes_px: Sizes of the objects of the training images.
        settings: What is not ``auto`` there stays.

    Returns:
        The choice, or ``None`` where the images hold no object or nothing is left to choose.

    Example:
        >>> p = np.array([[[0.1, 0.1, 0.9, 0.1]], [[0.9, 0.9, 0.1, 0.9]]], np.float32)
        >>> image = HeldImage(
        ...     ImagePrediction((p[1] > 0.5).astype(np.uint8), p), np.array([[1, 1, 0, 0]]))
        >>> choose_objects([image], [2, 2, 3], PredictConfig()).min_px
        2
    """
    methods = METHODS if settings.objects == "auto" else (settings.objects,)
    smallest: Sequence[int] = (settings.smallest_object_px,)
    if settings.min_object_px is None and len(sizes_px):
        limits = np.quantile(sizes_px, _SMALL).astype(int).tolist()
        smallest = tuple(sorted({0, *(limit for limit in limits if limit > 1)}))
    ways = [(method, limit) for limit in smallest for method in methods]
    if len(ways) == 1:
        return None
    plain = (METHODS[0], 0)
    tried: dict[tuple[str, int], list[Matching]] = {way: [] for way in (*ways, plain)}
    for image in held:
        # Which objects are too small is seen when they are known.
        whole = {
            method: objects_of(image.found, image.spacing, method, 0)
            for method in {method for method, _ in tried}
        }
        for (method, limit), matchings in tried.items():
            found_YX = numbered(whole[method], limit)
            matchings.append(match_objects(found_YX, image.objects_YX, image.valid_YX))
    pooled = {way: pool(matchings) for way, matchings in tried.items()}
    if not pooled[plain].truth_ids.size:
        return None
    scores = {way: ap(counts_at(matching, _IOU)) for way, matching in pooled.items()}
    method, limit = max(ways, key=scores.__getitem__)
    images = len(tried[plain])
    return ObjectChoice(method, limit, scores[method, limit], scores[plain], images)


def objects_of(
    found: ImagePrediction, spacing: Sequence[float] | None, method: str, min_px: int
) -> NDArray[np.uint32]:
    """The objects of a prediction.

    Args:
        found: What was predicted, with calibrated probabilities.
        spacing: Length of a pixel along each axis.
        method: ``components`` or ``watershed``.
        min_px: Objects of fewer pixels are left out.
    """
    return find_objects(
        found.classes_YX,
        method=method,
        min_px=min_px,
        certainty_YX=certainty(found.probabilities_KYX, found.classes_YX),
        spacing=spacing,
        interior_YX=found.interior_YX,
    )
