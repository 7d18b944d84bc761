"""Training patches, drawn so that rare classes are seen; any step can be drawn again."""

from __future__ import annotations

import math
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
_BLOCK_PX = 1 << 22

SHARE_PARTS = 240
"""Parts in which the share of a second class is kept."""


@dataclass(frozen=True)
class Source:
    """One annotated image in memory.

    Args:
        name: Its case.
        image_CYX: Pixels in the file's own data type; a volume has its Z axis before Y.
        classes_YX: Class ids, uint8, of the image's size;
            :data:`maskwright.data.labelmap.IGNORED` where pixels do not count.
        intensity: Mean and deviation of its channels.
        spacing_mm: Pixel size along each axis, where it is known.
        objects_YX: A number for each object, int32, 0 where there is none, where a loss asks.
        image_label: Class of the image as a whole, where it has one.
        blend_YX: Where the truth is shared between classes, see :func:`blend`.
    """

    name: str
    image_CYX: NDArray[Any]
    classes_YX: NDArray[np.uint8]
    intensity: Intensity
    spacing_mm: tuple[float, ...] | None = None
    objects_YX: NDArray[np.int32] | None = None
    image_label: int | None = None
    blend_YX: NDArray[np.uint16] | None = None


@dataclass(frozen=True)
class Patches:
    """The batch of one step; S stands for the axes of space, Y X or Z Y X.

    Args:
        image_BCS: Normalised images, float32.
        truth_BS: Class ids, uint8, of the images' size; an unpadded network predicts its centre.
            255 where pixels do not count.
        names: Cases the patches come from, for messages.
        spacing_mm: Usual pixel size of the data set along each axis, where it is known.
        objects_BS: Numbers of the objects, where the images bring them.
        image_labels_B: Classes of the images the patches come from, where they bring them.
        blend_BS: Where the truth is shared between classes, see :func:`blend`.
    """

    image_BCS: NDArray[np.float32]
    truth_BS: NDArray[np.uint8]
    names: tuple[str, ...]
    spacing_mm: tuple[float, ...] | None = None
    objects_BS: NDArray[np.int32] | None = None
    image_labels_B: NDArray[np.int64] | None = None
    blend_BS: NDArray[np.uint16] | None = None


def blend(other_YX: NDArray[np.uint8], share_YX: NDArray[np.float32]) -> NDArray[np.uint16]:
    """A second class at each pixel and its share of the truth, as one number that moves as one.

    The share is kept in parts of :data:`SHARE_PARTS`, so that the mean of two to six annotators
    is exact.

    Args:
        other_YX: The second class, next to the class id of the pixel.
        share_YX: Its share, 0 to 1.

    Example:
        >>> int(blend(np.array([1], np.uint8), np.array([0.25], np.float32))[0]) == 60 << 8 | 1
        True
    """
    parts_YX = np.rint(share_YX * SHARE_PARTS).astype(np.uint16)
    return parts_YX << np.uint16(8) | other_YX


class PatchSampler:
    """Draws the batch of any step; step and seed decide everything.

    A share of the patches is centred on a pixel of a class drawn evenly among the classes, the
    others lie anywhere. Images smaller than a patch are mirrored.

    Args:
        sources: Training images.
        channels: Channels the network takes.
        classes: Classes of the masks.
        batch: Patches a step.
        patch_px: Size of the network's input, one side for all axes or one for each.
        border_px: Pixels the network loses at each end, for all axes or for each.
        foreground_share: Share of patches centred on a drawn class.
        seed: Seed.
        part: Which of how many equal parts of each batch to cut out, as ``(0, 2)`` for the first
            half; all of it by default.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        channels: int,
        classes: int,
        batch: int,
        patch_px: int | tuple[int, ...],
        border_px: int | tuple[int, ...],
        foreground_share: float,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._sources = list(sources)
        self._channels = channels
        self._batch = batch
        own = batch // part[1]
        self._rows = slice(part[0] * own, (part[0] + 1) * own)
        dims = self._sources[0].classes_YX.ndim
        self._border_px = _each(border_px, dims)
        self._kept_px = tuple(
            side - 2 * border
            for side, border in zip(_each(patch_px, dims), self._border_px, strict=True)
        )
        self._foreground_share = foreground_share
        self._seed = seed
        self._positions = [_class_positions(s.classes_YX, classes, seed) for s in self._sources]
        self._holders = [
            [i for i, positions in enumerate(self._positions) if len(positions[label])]
            for label in range(classes)
        ]
        areas = np.array([s.classes_YX.size for s in self._sources], np.float64)
        self._shares = areas / areas.sum()
        known = [source.spacing_mm for source in self._sources if source.spacing_mm is not None]
        self._spacing_mm = tuple(np.median(known, axis=0).tolist()) if known else None

    def draw(self, step: int) -> Patches:
        """The batch of a step, always the same for the same step."""
        generator = np.random.default_rng([self._seed, step])
        drawn = [self._draw_corner(generator) for _ in range(self._batch)]
        cuts = [(source, self._window(corner)) for source, corner in drawn[self._rows]]
        sources = [source for source, _ in cuts]
        labels = [source.image_label for source in sources]
        objects = [
            read_mirrored(source.objects_YX[None], read)[0]
            for source, read in cuts
            if source.objects_YX is not None
        ]
        blends = [
            read_mirrored(source.blend_YX[None], read)[0]
            for source, read in cuts
            if source.blend_YX is not None
        ]
        return Patches(
            np.stack([self._pixels(source, read) for source, read in cuts]),
            np.stack([read_mirrored(source.classes_YX[None], read)[0] for source, read in cuts]),
            tuple(source.name for source in sources),
            self._spacing_mm,
            np.stack(objects) if len(objects) == len(cuts) else None,
            None if None in labels else np.array(labels, np.int64),
            np.stack(blends) if len(blends) == len(cuts) else None,
        )

    def _draw_corner(self, generator: np.random.Generator) -> tuple[Source, tuple[int, ...]]:
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
        for axis, (size, kept_px) in enumerate(
            zip(source.classes_YX.shape, self._kept_px, strict=True)
        ):
            room = size - kept_px
            if room <= 0:
                corner.append(room // 2)
            elif centre is None:
                corner.append(int(generator.integers(room + 1)))
            else:
                jitter = int(generator.integers(-kept_px // 4, kept_px // 4 + 1))
                start = int(centre[axis]) - kept_px // 2 + jitter
                corner.append(min(max(start, 0), room))
        return source, tuple(corner)

    def _window(self, corner: tuple[int, ...]) -> tuple[Interval, ...]:
        return tuple(
            Interval(start - border, start + kept + border)
            for start, kept, border in zip(corner, self._kept_px, self._border_px, strict=True)
        )

    def _pixels(self, source: Source, read: tuple[Interval, ...]) -> NDArray[np.float32]:
        pixels = read_mirrored(source.image_CYX, read)
        return intensity.apply(pixels, source.intensity, self._channels)


def _each(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else value


def _class_positions(
    classes_YX: NDArray[np.uint8], classes: int, seed: int
) -> list[NDArray[np.intp]]:
    """Some pixels (y, x) of each class, enough to draw from without keeping all of them."""
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK_PX // max(1, math.prod(classes_YX.shape[1:])))
    blocks = [classes_YX[y : y + rows].ravel() for y in range(0, len(classes_YX), rows)]
    counts_NK = np.array([np.bincount(block, minlength=classes)[:classes] for block in blocks])
    positions = []
    for label, total in enumerate(counts_NK.sum(0).tolist()):
        ranks = np.arange(total)
        if total > _POSITIONS_KEPT:
            ranks = np.sort(generator.choice(total, _POSITIONS_KEPT, replace=False))
        ends = np.cumsum(counts_NK[:, label])
        # Block by block: the places of all pixels of a class are larger than the volume itself.
        flat = [
            np.flatnonzero(block == label)[ranks[first:last] - start] + at
            for block, start, at, first, last in zip(
                blocks,
                ends - counts_NK[:, label],
                np.cumsum([0, *(block.size for block in blocks)]),
                np.searchsorted(ranks, ends - counts_NK[:, label]),
                np.searchsorted(ranks, ends),
                strict=False,
            )
            if last > first
        ]
        places = np.concatenate([np.zeros(0, np.intp), *flat])
        positions.append(np.stack(np.unravel_index(places, classes_YX.shape), -1))
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
