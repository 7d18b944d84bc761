"""What a plan knows of a data set: plain facts, from the check and a look at some of its images.

The look is bounded: at most a dozen training images, and of large ones their middle, so that it
takes about a second whatever the size of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.data.check_report import CheckReport
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import Source
from maskwright.data.split import Split
from maskwright.data.target_spacing import network_size

_IMAGES = 12
_LOADED_PX = 1 << 26
_LOOKED_AT_PX = 1 << 22
_VALUES = 1 << 16
_LAYOUT_PX = 16
_LARGEST = 90  # percentile of the objects' sizes that stands for the large ones


@dataclass(frozen=True)
class ClassFacts:
    """One class of the masks.

    Args:
        name: Its name.
        share: Share of all mask pixels.
        mean: Mean of its pixels in each channel, as the network sees them.
        std: Their standard deviation.
        objects: Objects an image, on average.
        extent_px: Longest side of the box around an object, the median of all.
        largest_px: The same of the large ones, the 90th percentile.
        thickness_px: How thick objects are along their middle lines, the median.
    """

    name: str
    share: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    objects: float = 0.0
    extent_px: float = 0.0
    largest_px: float = 0.0
    thickness_px: float = 0.0


@dataclass(frozen=True)
class Fingerprint:
    """A data set; sizes are those on the network's grid.

    Args:
        dims: 2 for images, 3 for volumes.
        cases: Images with a mask, by the part they are for: training, validation, test.
        groups: Groups of cases that stay together.
        channels: Channels of the network.
        size_px: Median size of the training images along each axis.
        smallest_px: Smallest size along each axis.
        largest_px: Largest size along each axis.
        spacing_mm: Median pixel size along each axis, where it is known.
        pixels: Pixels of all images of each part.
        mask_kind: How mask values are meant.
        classes: The classes of the masks.
        touching: Share of the numbered objects that touch another; 0 without numbers.
        apart: How far images differ in brightness: share of the variance of all pixels that lies
            between images, 0 for images that are alike.
        layout: How alike the places of what is drawn are: mean Dice of each mask with what most
            masks share; ``None`` for fewer than three images.
        looked_at: Images that were looked at.
    """

    dims: int
    cases: tuple[int, int, int]
    groups: int
    channels: int
    size_px: tuple[int, ...]
    smallest_px: tuple[int, ...]
    largest_px: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    pixels: tuple[int, int, int]
    mask_kind: str
    classes: tuple[ClassFacts, ...]
    touching: float = 0.0
    apart: float = 0.0
    layout: float | None = None
    looked_at: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Fingerprint:
        """From what :meth:`to_json` gave."""
        classes = tuple(ClassFacts(**_tuples(facts)) for facts in values["classes"])
        return Fingerprint(**{**_tuples(values), "classes": classes})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def names_to_look_at(names: Sequence[str], report: CheckReport) -> tuple[str, ...]:
    """A few images of many, evenly over their names.

    Args:
        names: The training images.
        report: The checked data set.
    """
    names = sorted(names)
    most = min(_IMAGES, len(names))
    chosen: list[str] = []
    pixels = 0
    for number in range(most):
        name = names[number * len(names) // most]
        pixels += math.prod(report.images[name].size)
        if chosen and pixels > _LOADED_PX:
            break
        chosen.append(name)
    return tuple(chosen)


def take_fingerprint(
    report: CheckReport,
    split: Split,
    sources: Sequence[Source],
    *,
    target_mm: tuple[float, ...] | None = None,
    pixel_mm: tuple[float, ...] | None = None,
) -> Fingerprint:
    """The facts of a data set.

    Args:
        report: The checked data set, whose label map is known.
        split: Which image is for what.
        sources: Some training images on the network's grid, see :func:`names_to_look_at`; with
            their objects where masks number these.
        target_mm: Pixel size to which images are brought.
        pixel_mm: Pixel size of images that do not state theirs.
    """
    sizes = {
        name: network_size(facts, target_mm, pixel_mm) for name, facts in report.images.items()
    }
    parts = (split.train, split.validation, split.test)
    training_NS = np.array([sizes[name] for name in split.train])
    every_NS = np.array(list(sizes.values()))
    known = [facts.spacing_mm or pixel_mm for facts in report.images.values()]
    spacings = [spacing for spacing in known if spacing is not None] if report.scanned else []
    usual_mm = tuple(np.median(spacings, axis=0).tolist()) if spacings else None
    return Fingerprint(
        dims=report.dims,
        cases=(len(split.train), len(split.validation), len(split.test)),
        groups=len({case.group for case in report.cases}),
        channels=report.channels,
        size_px=tuple(int(n) for n in np.median(training_NS, axis=0).round()),
        smallest_px=tuple(every_NS.min(0).tolist()),
        largest_px=tuple(every_NS.max(0).tolist()),
        spacing_mm=target_mm or usual_mm,
        pixels=_three(sum(math.prod(sizes[name]) for name in part) for part in parts),
        mask_kind=report.label_map.kind if report.label_map else "values",
        classes=_classes(report, sources),
        touching=_touching(sources),
        apart=_apart(sources),
        layout=_layout(sources),
        looked_at=len(sources),
    )


def _three(numbers: Iterator[int]) -> tuple[int, int, int]:
    first, second, third = numbers
    return first, second, third


def _classes(report: CheckReport, sources: Sequence[Source]) -> tuple[ClassFacts, ...]:
    names = report.label_map.names if report.label_map else ()
    middles = [_middle(source, len(sources)) for source in sources]
    moments = [_moments(source, len(names), report.channels) for source in sources]
    found = []
    for label, (name, share) in enumerate(zip(names, report.class_shares, strict=True)):
        counts_N = np.array([n_K[label] for n_K, _, _ in moments])
        shapes = [_shapes(classes, objects, label) for classes, objects in middles]
        extents = [extent for several, _ in shapes for extent in several]
        thickness = [px for _, several in shapes for px in several]
        mean: tuple[float, ...] = ()
        std: tuple[float, ...] = ()
        if counts_N.sum():
            sums_C = np.sum([sums[label] for _, sums, _ in moments], axis=0) / counts_N.sum()
            squares_C = np.sum([s[label] for _, _, s in moments], axis=0) / counts_N.sum()
            mean = _rounded(sums_C)
            std = _rounded(np.sqrt(np.maximum(squares_C - sums_C**2, 0)))
        found.append(
            ClassFacts(
                name,
                round(float(share), 5),
                mean,
                std,
                round(len(extents) / max(1, len(sources)), 2),
                round(float(np.median(extents)), 1) if extents else 0.0,
                round(float(np.percentile(extents, _LARGEST)), 1) if extents else 0.0,
                round(float(np.median(thickness)), 1) if thickness else 0.0,
            )
        )
    return tuple(found)


def _rounded(values_C: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in values_C)


def _middle(source: Source, images: int) -> tuple[NDArray[np.uint8], NDArray[np.int32] | None]:
    """The middle of the masks, small enough that all images together are quickly looked at."""
    shape = source.classes_YX.shape
    most = max(32, round((_LOOKED_AT_PX / images) ** (1 / len(shape))))
    middle = tuple(
        slice(max(0, (size - most) // 2), max(0, (size - most) // 2) + most) for size in shape
    )
    objects = source.objects_YX
    return source.classes_YX[middle], None if objects is None else objects[middle]


def _moments(
    source: Source, classes: int, channels: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of each class, the sums of their values in each channel and of the squares."""
    flat_N = source.classes_YX.reshape(-1)
    step = max(1, flat_N.size // _VALUES)
    labels_N = flat_N[::step]
    values_CN = source.image_CYX.reshape(len(source.image_CYX), -1)[:, ::step]
    seen_CN = intensity.apply(values_CN[:, None, :], source.intensity, channels)[:, 0]
    kept_N = labels_N < classes
    where_KN = labels_N[kept_N] == np.arange(classes)[:, None]
    kept_CN = seen_CN[:, kept_N].astype(np.float64)
    return where_KN.sum(1, dtype=np.int64), where_KN @ kept_CN.T, where_KN @ (kept_CN**2).T


def _shapes(
    classes_YX: NDArray[np.uint8], objects_YX: NDArray[np.int32] | None, label: int
) -> tuple[list[float], list[float]]:
    """Longest sides of the objects of a class, and how thick it is along its middle lines."""
    import cc3d
    from scipy import ndimage

    where_YX = classes_YX == label
    if not where_YX.any():
        return [], []
    # The box around the class, with what borders on it.
    box = tuple(
        slice(max(0, side.start - 1), side.stop + 1)
        for side in ndimage.find_objects(where_YX.astype(np.uint8))[0]
    )
    where_YX = where_YX[box]
    numbers_YX: NDArray[np.int32]
    if objects_YX is None or not label:
        numbers_YX = cc3d.connected_components(where_YX).astype(np.int32)
    else:
        numbers_YX = objects_YX[box]
    extents = [
        float(max(side.stop - side.start for side in box))
        for box in ndimage.find_objects(numbers_YX)
        if box is not None
    ]
    # What lies beyond the image is not known, so that its border is no border of an object.
    away_YX = ndimage.distance_transform_edt(where_YX)
    ridge_YX = where_YX & (away_YX == ndimage.maximum_filter(away_YX, size=3, mode="nearest"))
    thickness = 2 * away_YX[ridge_YX] - 1
    return extents, thickness[:: max(1, len(thickness) // 1000)].tolist()


def _touching(sources: Sequence[Source]) -> float:
    number = touching = 0
    for source in sources:
        if source.objects_YX is None:
            continue
        objects_YX = source.objects_YX
        number += len(np.setdiff1d(objects_YX, 0))
        found: set[int] = set()
        for axis in range(objects_YX.ndim):
            along = np.moveaxis(objects_YX, axis, 0)
            apart = (along[1:] != along[:-1]) & (along[1:] > 0) & (along[:-1] > 0)
            found |= set(along[1:][apart].tolist()) | set(along[:-1][apart].tolist())
        touching += len(found)
    return round(touching / number, 3) if number else 0.0


def _apart(sources: Sequence[Source]) -> float:
    """Share of the variance of the first channel that lies between images."""
    means, variances = [], []
    for source in sources:
        flat_N = source.image_CYX[0].reshape(-1)
        values_N = flat_N[:: max(1, flat_N.size // _VALUES)].astype(np.float64)
        means.append(float(values_N.mean()))
        variances.append(float(values_N.var()))
    between = float(np.var(means)) if means else 0.0
    total = between + (float(np.mean(variances)) if variances else 0.0)
    return round(between / total, 3) if total > 0 and math.isfinite(total) else 0.0


def _layout(sources: Sequence[Source]) -> float | None:
    """How much of what is drawn lies at the same place, relative to the size of the image."""
    if len(sources) < 3:
        return None
    drawn_NS = np.array([_on_grid(source.classes_YX) for source in sources])
    usual_S = drawn_NS.mean(0) > 0.5
    both_N = (drawn_NS & usual_S).reshape(len(drawn_NS), -1).sum(1)
    sizes_N = drawn_NS.reshape(len(drawn_NS), -1).sum(1) + usual_S.sum()
    known = sizes_N > 0
    if not known.any():
        return None
    return round(float((2 * both_N[known] / sizes_N[known]).mean()), 3)


def _on_grid(classes_YX: NDArray[np.uint8]) -> NDArray[np.bool_]:
    places = [(np.arange(_LAYOUT_PX) * size + size // 2) // _LAYOUT_PX for size in classes_YX.shape]
    chosen = classes_YX[np.ix_(*places)]
    drawn: NDArray[np.bool_] = (chosen > 0) & (chosen != IGNORED)
    return drawn
