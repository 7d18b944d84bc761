"""Training patches, drawn so that rare classes are seen; any step can be drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.data.intensity import Intensity
from maskwright.tiling import Interval, read_mirrored

_POSITIONS_KEPT = 4096


@dataclass(frozen=True)
class Source:
    """One annotated image in memory.

    Args:
        name: Its case.
        image_CYX: Pixels in the file's own data type.
        classes_YX: Class ids, uint8.
        intensity: Mean and deviation of its channels.
    """

    name: str
    image_CYX: NDArray[Any]
    classes_YX: NDArray[np.uint8]
    intensity: Intensity


@dataclass(frozen=True)
class Patches:
    """The batch of one step.

    Args:
        image_BCYX: Normalised images, float32.
        truth_BYX: Class ids, uint8, of the images' size; an unpadded network predicts its centre.
        names: Cases the patches come from, for messages.
    """

    image_BCYX: NDArray[np.float32]
    truth_BYX: NDArray[np.uint8]
    names: tuple[str, ...]


class PatchSampler:
    """Draws the batch of any step; step and seed decide everything.

    A share of the patches is centred on a pixel of a class drawn evenly among the classes, the
    others lie anywhere. Images smaller than a patch are mirrored.

    Args:
        sources: Training images.
        channels: Channels the network takes.
        classes: Classes of the masks.
        batch: Patches a step.
        patch_px: Side of the network's input.
        border_px: Pixels the network loses on each side.
        foreground_share: Share of patches centred on a drawn class.
        seed: Seed.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        channels: int,
        classes: int,
        batch: int,
        patch_px: int,
        border_px: int,
        foreground_share: float,
        seed: int,
    ) -> None:
        self._sources = list(sources)
        self._channels = channels
        self._batch = batch
        self._border_px = border_px
        self._kept_px = patch_px - 2 * border_px
        self._foreground_share = foreground_share
        self._seed = seed
        self._positions = [_class_positions(s.classes_YX, classes, seed) for s in self._sources]
        self._holders = [
            [i for i, positions in enumerate(self._positions) if len(positions[label])]
            for label in range(classes)
        ]
        areas = np.array([s.classes_YX.size for s in self._sources], np.float64)
        self._shares = areas / areas.sum()

    def draw(self, step: int) -> Patches:
        """The batch of a step, always the same for the same step."""
        generator = np.random.default_rng([self._seed, step])
        images, truths, names = [], [], []
        for _ in range(self._batch):
            source, corner = self._draw_corner(generator)
            image, truth = self._cut(source, corner)
            images.append(image)
            truths.append(truth)
            names.append(source.name)
        return Patches(np.stack(images), np.stack(truths), tuple(names))

    def _draw_corner(self, generator: np.random.Generator) -> tuple[Source, tuple[int, int]]:
        centre: NDArray[np.intp] | None = None
        if generator.random() < self._foreground_share:
            present = [label for label, holders in enumerate(self._holders) if holders]
            label = int(generator.choice(present))
            index = int(generator.choice(self._holders[label]))
            centre = self._positions[index][label][
                generator.integers(len(self._positions[index][label]))
            ]
        else:
            index = int(generator.choice(len(self._sources), p=self._shares))
        source = self._sources[index]
        corner = []
        for axis, size in enumerate(source.classes_YX.shape):
            room = size - self._kept_px
            if room <= 0:
                corner.append(room // 2)
            elif centre is None:
                corner.append(int(generator.integers(room + 1)))
            else:
                jitter = int(generator.integers(-self._kept_px // 4, self._kept_px // 4 + 1))
                start = int(centre[axis]) - self._kept_px // 2 + jitter
                corner.append(min(max(start, 0), room))
        return source, (corner[0], corner[1])

    def _cut(
        self, source: Source, corner: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        start = (c - self._border_px for c in corner)
        read = tuple(Interval(s, s + self._kept_px + 2 * self._border_px) for s in start)
        pixels = read_mirrored(source.image_CYX, read)
        image = intensity.apply(pixels, source.intensity, self._channels)
        return image, read_mirrored(source.classes_YX[None], read)[0]


def _class_positions(
    classes_YX: NDArray[np.uint8], classes: int, seed: int
) -> list[NDArray[np.intp]]:
    """Some pixels (y, x) of each class, enough to draw from without keeping all of them."""
    generator = np.random.default_rng(seed)
    positions = []
    for label in range(classes):
        flat = np.flatnonzero(classes_YX == label)
        if flat.size > _POSITIONS_KEPT:
            flat = np.sort(generator.choice(flat, _POSITIONS_KEPT, replace=False))
        positions.append(np.stack(np.unravel_index(flat, classes_YX.shape), -1))
    return positions


class Prefetch:
    """Draws the next batch in a thread while the network works on this one.

    Args:
        sampler: Where batches come from.

    Example:
        A context manager::

            with Prefetch(sampler) as batches:
                patches = batches.take(step)
    """

    def __init__(self, sampler: PatchSampler) -> None:
        self._sampler = sampler
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="patches")
        self._pending: dict[int, Future[Patches]] = {}

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, step: int) -> Patches:
        """The batch of ``step``; starts drawing the one of ``step + 1``."""
        future = self._pending.pop(step, None)
        patches = self._sampler.draw(step) if future is None else future.result()
        self._pending = {step + 1: self._pool.submit(self._sampler.draw, step + 1)}
        return patches
