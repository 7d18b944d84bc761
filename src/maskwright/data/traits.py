"""What images and masks are like beyond their sizes: what a person would see on looking at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.case import Case
from maskwright.data.census import Form, MaskCensus
from maskwright.data.labelmap import LabelMap
from maskwright.data.problem import Problem, listed
from maskwright.io.image import Image, is_grey

_SAMPLE_PX = 1 << 20
_WIDE_RANGES = 100.0  # times that the largest values of images differ before it is told
_FEW_DRAWN = 0.002  # share of a mask below which it is nearly empty
_OTHER_COLOUR = 0.1  # difference of a channel's share of the brightness before it is told
_BOTH_WAYS = 0.1  # share of images that must differ from the others before it is told
_FORMS: Mapping[Form, str] = {
    "bool": "1-bit",
    "palette": "indices of a palette",
    "grey": "numbers",
    "grey3": "grey in three equal channels",
    "rgb": "colours",
}


@dataclass(frozen=True)
class _Objects:
    """The objects of one mask: how many, how many that touch another, and whether numbers lack."""

    number: int
    touching: int
    gaps: bool


class Traits:
    """Looks at images and masks one by one.

    Example:
        >>> traits = Traits()
        >>> from pathlib import Path
        >>> for name, top in (("a", 9), ("b", 9000)):
        ...     image = Image(np.array([[[0, top]]], np.uint16))
        ...     traits.add_image(Case(name, Path(name), None, name), image)
        >>> traits.problems("data")[0].message
        'the largest values of the images differ widely: 9 to 9000'
    """

    def __init__(self) -> None:
        self._largest: list[float] = []
        self._expanded = 0
        self._alpha = 0
        self._implied = 0
        self._means_C: list[NDArray[np.float64]] = []
        self._images = 0
        self._brighter: list[bool] = []
        self._objects: list[_Objects] = []
        self._overlaps: dict[str, int] = {}
        self._hidden: list[str] = []

    def add_image(self, case: Case, image: Image) -> None:
        """Look at an image."""
        self._images += 1
        if image.array.min() < image.array.max():
            self._largest.append(float(image.array.max()))
        grey = is_grey(image.array)
        self._expanded += image.channels == 3 and not case.more and grey
        self._alpha += image.alpha
        if len(image.size) == 3 and image.axes_implied:
            self._implied += 1
        if image.channels == 3 and not case.more and not grey:
            self._means_C.append(_sampled(image.array).mean(1, dtype=np.float64))

    def add_mask(self, case: Case, mask: Image) -> None:
        """Look at a mask; objects are counted where there are more than a few numbers."""
        plane = mask.array[0]
        if len(mask.array) == 1 and plane.dtype.kind in "iu":
            found = _objects_of(plane)
            if found is not None:
                # A slice lacks the objects of the others.
                self._objects.append(replace(found, gaps=found.gaps and case.z is None))

    def add_pair(self, image: Image, mask: Image) -> None:
        """Look at an image together with its mask, which has the same size."""
        brightness_N = _sampled(image.array).mean(0)
        drawn_N = (_sampled(mask.array) != 0).any(0)
        if drawn_N.any() and not drawn_N.all():
            brighter = brightness_N[drawn_N].mean() > brightness_N[~drawn_N].mean()
            self._brighter.append(bool(brighter))

    def add_overlap(self, name: str, pixels: int, hidden: tuple[str, ...]) -> None:
        """Note pixels that two objects claim, and objects of which nothing is left."""
        if pixels:
            self._overlaps[name] = pixels
        self._hidden += [f"{name}/{file}" for file in hidden]

    def notes(self, census: MaskCensus, label_map: LabelMap | None) -> list[str]:
        """What is worth knowing, a sentence each.

        Args:
            census: The values of the masks.
            label_map: What they mean.
        """
        found = []
        for number, meaning in (
            (self._expanded, "grey, stored in three equal channels"),
            (self._alpha, "stored with an alpha channel, which is left out"),
            (self._implied, "volumes without names of axes, read as depth × height × width"),
        ):
            if number:
                found.append(f"{number} of {self._images} images are {meaning}")
        found += _colours_differ(self._means_C)
        forms = Counter(_FORMS[mask.form] for mask in census.masks)
        if forms and set(forms) != {_FORMS["grey"]}:
            shown = [f"{form} ({n})" if len(forms) > 1 else form for form, n in forms.items()]
            found.append(f"masks are stored as {listed(shown)}")
        if census.ignored:
            pixels = census.ignored + sum(int(mask.counts.sum()) for mask in census.masks)
            ignore = label_map.ignore if label_map else None
            found.append(
                f"value {ignore} does not count, {census.ignored / pixels:.1%} of the pixels"
            )
        if label_map is None:
            return found
        if label_map.kind == "objects" and self._objects:
            found.append(self._objects_sentence())
        ids = [several[0] for several in label_map.values]
        if (
            label_map.kind == "values"
            and len(ids) > 2
            and ids != list(range(ids[0], ids[0] + len(ids)))
        ):
            found.append(f"{len(ids)} class numbers with gaps, up to {max(ids)}")
        few = min(sum(self._brighter), len(self._brighter) - sum(self._brighter))
        if few >= max(2, _BOTH_WAYS * len(self._brighter)):
            found.append(
                f"what is drawn is brighter than the rest in {sum(self._brighter)} images and "
                f"darker in {len(self._brighter) - sum(self._brighter)}"
            )
        return found + _nearly_empty(census, label_map)

    def problems(self, root: str) -> list[Problem]:
        """What a person should look at.

        Args:
            root: The folder, for messages.
        """
        found = []
        largest = [value for value in self._largest if value > 0]
        if largest and max(largest) > _WIDE_RANGES * min(largest):
            found.append(
                Problem(
                    "image-ranges",
                    "warn",
                    root,
                    f"the largest values of the images differ widely: {min(largest):.4g} to "
                    f"{max(largest):.4g}",
                    "check that all come from the same source; each is normalised by itself",
                )
            )
        if self._overlaps:
            found.append(
                Problem(
                    "objects-overlap",
                    "warn",
                    root,
                    f"{sum(self._overlaps.values())} pixels lie in the masks of two objects or "
                    f"more, in {listed(list(self._overlaps))}; the later file wins",
                    "check these masks",
                )
            )
        if self._hidden:
            found.append(
                Problem(
                    "object-empty",
                    "warn",
                    root,
                    f"masks of objects of which nothing is left: {listed(self._hidden)}",
                    "delete these files, or draw the objects",
                )
            )
        return found

    def _objects_sentence(self) -> str:
        counts = [objects.number for objects in self._objects]
        touching = sum(objects.touching for objects in self._objects)
        gaps = sum(objects.gaps for objects in self._objects)
        told = f"{sum(counts)} objects, {min(counts)} to {max(counts)} a mask"
        if gaps:
            told += f" (with gaps in the numbers of {gaps} of {len(counts)} masks)"
        if touching:
            told += f"; {touching} of them touch another"
        return told


def _objects_of(plane_S: NDArray[Any]) -> _Objects | None:
    numbers = np.unique(plane_S)
    numbers = numbers[numbers != 0]
    if len(numbers) == 0 or (len(numbers) == 1 and numbers[0] == np.iinfo(plane_S.dtype).max):
        return None
    touching: set[int] = set()
    for axis in range(plane_S.ndim):
        low = plane_S[
            tuple(slice(0, -1) if a == axis else slice(None) for a in range(plane_S.ndim))
        ]
        high = plane_S[
            tuple(slice(1, None) if a == axis else slice(None) for a in range(plane_S.ndim))
        ]
        border = (low != high) & (low != 0) & (high != 0)
        touching |= set(np.unique(low[border]).tolist()) | set(np.unique(high[border]).tolist())
    return _Objects(len(numbers), len(touching), int(numbers[-1]) != len(numbers))


def _colours_differ(means_NC: list[NDArray[np.float64]]) -> list[str]:
    if len(means_NC) < 2:
        return []
    means = np.array(means_NC)
    shares = means / np.maximum(means.sum(1, keepdims=True), 1e-12)
    if np.ptp(shares, axis=0).max() < _OTHER_COLOUR:
        return []
    ends = zip(("red", "green", "blue"), means.min(0), means.max(0), strict=True)
    shown = ", ".join(f"{name} {low:.0f} to {high:.0f}" for name, low, high in ends)
    return [f"the colour differs from image to image: mean of {shown}"]


def _sampled(array_CS: NDArray[Any]) -> NDArray[Any]:
    """At most about a million pixels, evenly spread."""
    flat_CN = array_CS.reshape(len(array_CS), -1)
    return flat_CN[:, :: max(1, flat_CN.shape[1] // _SAMPLE_PX)]


def _nearly_empty(census: MaskCensus, label_map: LabelMap) -> list[str]:
    shares = census.shares(label_map)
    few = {name: 1 - share[0] for name, share in shares.items() if 0 < 1 - share[0] < _FEW_DRAWN}
    if not few:
        return []
    return [
        f"little is drawn (below {_FEW_DRAWN:.1%}) in {len(few)} of {len(shares)} masks: "
        f"{listed(list(few), most=5)}"
    ]
