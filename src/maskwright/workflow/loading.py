"""Annotated images in memory, as training and scoring need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import DataConfig, RunConfig
from maskwright.data.case import Case
from maskwright.data.intensity import measure, select_channels
from maskwright.data.labelmap import IGNORED, LabelMap, grey_plane, split_ignored
from maskwright.data.object_target import border_classes
from maskwright.data.resampled import at_spacing
from maskwright.data.sampler import PatchSampler, Source, blend
from maskwright.data.source_cache import SourceCache
from maskwright.errors import DataError
from maskwright.io.image import Image

RoiWay = Literal["auto", "disc", "none"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What a case should become.

    Args:
        mask: The mask, values as they are stored.
        classes_YX: Class ids, 0 where pixels do not count.
        valid_YX: Where pixels count; ``None`` everywhere.
    """

    mask: Image
    classes_YX: NDArray[np.uint8]
    valid_YX: NDArray[np.bool_] | None

    def with_ignored(self) -> NDArray[np.uint8]:
        """Class ids, :data:`maskwright.data.labelmap.IGNORED` where pixels do not count."""
        if self.valid_YX is None:
            return self.classes_YX
        return np.where(self.valid_YX, self.classes_YX, np.uint8(IGNORED))


def read_truth(case: Case, label_map: LabelMap, roi: RoiWay = "auto") -> Truth:
    """The truth of a case.

    Args:
        case: An image with its mask.
        label_map: Meaning of mask values.
        roi: ``none`` where regions of interest are not heeded.

    Raises:
        DataError: When the case has no mask, a value has no meaning, or the region of interest
            has another size.
    """
    mask = case.read_mask()
    classes_YX, valid_YX = split_ignored(label_map.encode(mask, subject=str(case.mask)))
    region_YX = case.read_region() if roi == "auto" else None
    return Truth(mask, classes_YX, both_count(valid_YX, region_YX))


def both_count(
    one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Where pixels count for both; ``None`` counts every pixel.

    Example:
        >>> both_count(None, np.array([True, False])).tolist()
        [True, False]
    """
    if one is None or other is None:
        return other if one is None else one
    return one & other


def load_sources(
    cases: Sequence[Case],
    names: Sequence[str],
    label_map: LabelMap,
    channels: int,
    *,
    data: DataConfig,
    label_of: Mapping[str, int] = MappingProxyType({}),
    numbered: bool = False,
    target_mm: tuple[float, ...] | None = None,
    pixel_mm: tuple[float, ...] | None = None,
    cache: SourceCache | None = None,
) -> list[Source]:
    """Decode the named cases, images in their own data type.

    Args:
        cases: All cases.
        names: Which to load, in this order.
        label_map: Meaning of mask values.
        channels: Channels the network takes.
        data: What pixels count, and whether the truth is shared between classes.
        label_of: Case name → class of the whole image, where there are such classes.
        numbered: Whether the objects are needed too.
        target_mm: Pixel size to which they are brought; ``None`` leaves them as they are.
        pixel_mm: Pixel size of images that do not state theirs.
        cache: What holds those that memory is too small for; without it all are in memory.

    Raises:
        DataError: ``roi-empty`` when no pixel of them counts, ``spacing-missing``, and whatever
            reading finds.
    """
    by_name = {case.name: case for case in cases}
    sources = []
    for case in (by_name[name] for name in names):
        image = case.read_image()
        array_CYX = select_channels(image.array, channels)
        truth = read_truth(case, label_map, data.roi)
        objects_YX = _objects(truth, label_map) if numbered else None
        if data.target == "border":
            border_YX = border_classes(grey_plane(truth.mask.array, str(case.mask)))
            truth = replace(truth, classes_YX=border_YX)
        source = Source(
            case.name,
            array_CYX,
            truth.with_ignored(),
            measure(array_CYX, channels, data.channel_intensity),
            image.spacing_mm or pixel_mm,
            objects_YX,
            label_of.get(case.name),
            _blend(case, truth, label_map, data),
        )
        if target_mm is not None:
            source = at_spacing(source, target_mm, data.channel_intensity)
        sources.append(source if cache is None else cache.keep(source))
    if sources and all((source.classes_YX == IGNORED).all() for source in sources):
        raise DataError(
            "roi-empty",
            sources[0].name,
            expected="pixels that count",
            found="none in any of these images",
            remedy="mend the regions of interest, or use --set data.roi=none",
        )
    return sources


def _blend(
    case: Case, truth: Truth, label_map: LabelMap, data: DataConfig
) -> NDArray[np.uint16] | None:
    """The second class at each pixel and its share, where the truth is shared."""
    if data.soft:
        share_YX = label_map.shares(truth.mask, subject=str(case.mask))
        other_YX = np.uint8(1) - truth.classes_YX
        return blend(other_YX, np.where(other_YX == 1, share_YX, 1 - share_YX))
    if data.annotators == "first":
        return None
    second = case.read_second()
    if second is None:
        return np.zeros(truth.classes_YX.shape, np.uint16)
    other_YX, seen_YX = split_ignored(label_map.encode(second, subject=str(case.second)))
    halves_YX = np.full(other_YX.shape, 0.5, np.float32)
    return blend(other_YX, halves_YX if seen_YX is None else halves_YX * seen_YX)


def _objects(truth: Truth, label_map: LabelMap) -> NDArray[np.int32]:
    """The objects as they are numbered, else the connected pieces of each class."""
    if label_map.kind == "objects":
        _, numbers = np.unique(truth.mask.array[0], return_inverse=True)
        numbers = numbers.reshape(truth.classes_YX.shape) + 1
        return np.where(truth.classes_YX > 0, numbers, 0).astype(np.int32)
    import cc3d

    pieces: NDArray[np.int32] = cc3d.connected_components(truth.classes_YX).astype(np.int32)
    return pieces


def patches_of(
    sources: Sequence[Source],
    config: RunConfig,
    *,
    batch: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> PatchSampler:
    """The training patches of a run, or of one among the processes that share it.

    Args:
        sources: The training images.
        config: Of the run, fitted to its data.
        batch: Patches a step, by default those of the run.
        part: Which of how many equal parts of each batch to cut out.
    """
    model, train = config.model, config.train
    return PatchSampler(
        sources,
        channels=model.channels,
        classes=model.classes,
        batch=batch or train.batch,
        patch_px=train.patch_px,
        border_px=tuple(axis.border_loss for axis in geometry.axes_of(model)),
        foreground_share=train.foreground_share,
        seed=train.seed,
        part=part,
    )


def hash_sources(sources: Sequence[Source]) -> str:
    """SHA-256 of names, pixels and classes: changes when the data do."""
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda s: s.name):
        digest.update(source.name.encode())
        digest.update(np.ascontiguousarray(source.image_CYX).data)
        digest.update(np.ascontiguousarray(source.classes_YX).data)
        if source.blend_YX is not None:
            digest.update(source.blend_YX.data)
    return digest.hexdigest()
