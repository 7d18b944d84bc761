"""What is kept of the probabilities of a streamed image: class ids, certainty, sums for trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.object_target import BORDER, INTERIOR
from maskwright.evaluate.uncertainty import TrustSums
from maskwright.io.sink import LabelStore
from maskwright.io.stored import Block
from maskwright.predict.objects import certainty
from maskwright.predict.predictor import (
    ImagePrediction,
    distribution,
    inside,
    joined,
    most_probable,
)
from maskwright.predict.stream import Decided
from maskwright.resampling import Grid, interpolate_blocks, resample_classes
from maskwright.workflow.calibrating import Calibration

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork


@dataclass(frozen=True)
class Decider:
    """Decides on parts of an image as it is decided on a whole one in memory.

    The ids that are kept are those of the classes. Where the network tells interior and border of
    objects, they are 0 for the background, 1 for interior and 2 for the rest of the objects.

    Args:
        classes: Number of classes of the masks.
        calibration: What makes probabilities of what the network says.
        overlapping: Whether the probabilities of a pixel need not sum to one.
        border: Whether the network tells interior and border.
        certain: Whether the certainty of each pixel is kept.

    Example:
        >>> p = np.array([[[0.4, 0.2, 0.8]], [[0.3, 0.6, 0.1]], [[0.3, 0.2, 0.1]]], np.float32)
        >>> kept = Decider(2, Calibration(), border=True, certain=True)(p)
        >>> kept.ids_S.tolist(), kept.certainty_S.tolist()
        ([[2, 1, 0]], [[39321, 52428, 52428]])
    """

    classes: int
    calibration: Calibration
    overlapping: bool = False
    border: bool = False
    certain: bool = False

    @staticmethod
    def of(network: OpenedNetwork, store: LabelStore) -> Decider:
        """What decides for a network, on what a store keeps."""
        predictor = network.predictor
        return Decider(
            predictor.classes,
            network.calibration,
            predictor.overlapping,
            predictor.border,
            store.has_certainty,
        )

    def __call__(self, probabilities_KYX: NDArray[Any]) -> Decided:
        """What is kept of a part."""
        p_KYX = probabilities_KYX.astype(np.float32, copy=False)
        found = ImagePrediction(most_probable(p_KYX), p_KYX)
        ids_YX = found.classes_YX
        if self.border:
            found = joined(found)
            ids_YX = np.where(inside(p_KYX), INTERIOR, BORDER * found.classes_YX)
        # Sums in half precision do not quite add up to one.
        if self.overlapping or probabilities_KYX.dtype == np.float16:
            p_KYX = distribution(found.probabilities_KYX)
        else:
            p_KYX = found.probabilities_KYX
        calibrated_KYX = self.calibration.apply(p_KYX)
        sums = TrustSums.none(self.classes)
        sums.add(calibrated_KYX, found.classes_YX)
        return Decided(
            ids_YX.astype(np.uint8, copy=False),
            certainty(calibrated_KYX, found.classes_YX) if self.certain else None,
            sums.numbers(),
        )

    def totals(self, notes: Iterable[Sequence[float]]) -> tuple[TrustSums, NDArray[np.float32]]:
        """The sums over all parts, and what the network says of the whole image beside them.

        Args:
            notes: What was kept beside each part.
        """
        numbers = np.array(list(notes)).sum(0)
        own = len(TrustSums.none(self.classes).numbers())
        return TrustSums.of(numbers[:own].tolist()), numbers[own:].astype(np.float32)


@dataclass(frozen=True)
class DecidedImage:
    """What was decided on a whole image, read block by block.

    Args:
        store: The ids that were kept.
        decider: What they mean.
        emptied: A class whose pixels are background instead.
        grid: The grid of the image and that of the store, where they differ.
    """

    store: LabelStore
    decider: Decider
    emptied: int | None = None
    grid: Grid | None = None

    def classes(self, block: Block) -> NDArray[np.uint8]:
        """Class ids of a block of the image."""
        return self._brought_back(self._classes, block)

    def certainty(self, block: Block) -> NDArray[np.uint16]:
        """Probability of each pixel's class times 65535."""
        if self.grid is None:
            return self.store.read_certainty(block)
        found_CS = interpolate_blocks(
            lambda part: self.store.read_certainty(part)[None], self.grid.to_own, block
        )
        whole_S: NDArray[np.uint16] = np.rint(found_CS[0]).astype(np.uint16)
        return whole_S

    def interior(self, block: Block) -> NDArray[np.bool_] | None:
        """Where the insides of objects are, if the network tells them."""
        if not self.decider.border:
            return None
        inside_S: NDArray[np.bool_] = self._brought_back(self.store.read, block) == INTERIOR
        return inside_S

    def _classes(self, block: Block) -> NDArray[np.uint8]:
        ids_S = self.store.read(block)
        classes_S = ids_S.clip(max=INTERIOR) if self.decider.border else ids_S
        if self.emptied is not None:
            classes_S[classes_S == self.emptied] = 0
        return classes_S

    def _brought_back(
        self, read: Callable[[Block], NDArray[np.uint8]], block: Block
    ) -> NDArray[np.uint8]:
        return read(block) if self.grid is None else resample_classes(read, self.grid.to_own, block)
