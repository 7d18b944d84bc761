"""Counting the values of masks, and what the counts say about their nature."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskwright.data.labelmap import GREY_STEP, Color, LabelMap, pack_colors
from maskwright.data.problem import Problem, listed
from maskwright.io.image import Image, is_grey
from maskwright.io.registry import is_jpeg

FEW_VALUES = 16
"""Up to so many different values are classes; above, they are something else."""

_SINGLE_PIECE = 0.8  # share of values in one piece that makes them objects
_SMALLEST_PIECE_PX = 4  # smoothed edges are pieces of one or two pixels
_LARGEST_TABLE = 1 << 16
_BLOCK_PX = 1 << 18
_EVIDENCE_MASKS = 5
_EVIDENCE_PX = 1024

Form = Literal["bool", "palette", "grey", "grey3", "rgb"]


@dataclass(frozen=True)
class ValueCounts:
    """The values of one mask in ascending order and how many pixels have them.

    Args:
        name: The mask's file name.
        form: How the file stores them; ``grey3`` is three equal channels.
        values: The values, colours packed as ``0xRRGGBB``.
        counts: Pixels of each value.
        whole: What the mask is a slice of; else its name.
    """

    name: str
    form: Form
    values: NDArray[Any]
    counts: NDArray[np.int64]
    whole: str


class MaskCensus:
    """Counts the values of masks one by one, so that each file is read once.

    Args:
        ignore: A value that does not count and is left out.
        soft: Whether fractions from 0 to 1 are counted, as the nearer of the two.

    Attributes:
        masks: The counts, in the order the masks came.
        palette: Colours of the palette indices in use.
        palettes_differ: Whether one index has two colours.
        refusals: Masks whose values cannot be counted.
        ignored: Pixels that were left out, of all.

    Example:
        >>> census = MaskCensus()
        >>> census.add("a.png", Image(np.array([[[0, 255, 255]]], np.uint8)))
        >>> census.total(colours=False)[0].tolist()
        [0, 255]
    """

    def __init__(self, *, ignore: int | None = None, soft: bool = False) -> None:
        self._ignore = ignore
        self._soft = soft
        self.ignored = 0
        self.masks: list[ValueCounts] = []
        self.palette: dict[int, Color] = {}
        self.palettes_differ = False
        self.refusals: list[Problem] = []
        self._pieces: list[tuple[int, int, float]] = []

    def add(self, name: str, mask: Image, *, whole: str | None = None) -> None:
        """Count the values of one mask.

        Args:
            name: Its file name, for messages; a JPEG is known by its suffix.
            mask: Values as :func:`~maskwright.io.registry.read_mask` gives them.
            whole: What the mask is a slice of. Slices of one stack are judged together.
        """
        array = mask.array
        form: Form = "grey"
        if len(array) not in (1, 3):
            self._refuse(
                "mask-channels",
                name,
                f"{len(array)} channels",
                "save the mask with one channel, or as RGB",
            )
            return
        if array.dtype == np.bool_:
            form = "bool"
        elif mask.palette is not None:
            form = "palette"
        elif len(array) == 3:
            form = "grey3" if is_grey(array) else "rgb"
        plane = pack_colors(array) if form == "rgb" else array[0]
        values, counts = _count(plane)
        if self._ignore is not None:
            kept = values != self._ignore
            self.ignored += int(counts[~kept].sum())
            values, counts = values[kept], counts[kept]
        if values.dtype.kind == "f":
            found = self._whole_numbers(name, values, counts)
            if found is None:
                return
            values, counts = found
        if len(values) and values[0] < 0:
            self._refuse(
                "mask-negative",
                name,
                f"the value {values[0]}",
                "give every class a number from 0 upwards",
            )
            return
        if mask.palette is not None:
            for index in values.tolist():
                row = mask.palette[index].tolist() if index < len(mask.palette) else (0, 0, 0)
                color = (int(row[0]), int(row[1]), int(row[2]))
                self.palettes_differ |= self.palette.setdefault(index, color) != color
        self.masks.append(ValueCounts(name, form, values.astype(np.int64), counts, whole or name))
        if form != "rgb" and len(values) > 3 and len(self._pieces) < _EVIDENCE_MASKS:
            self._pieces.append(_count_pieces(plane))

    def _whole_numbers(
        self, name: str, values: NDArray[Any], counts: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
        """Values of a mask of floating-point numbers, rounded where they are shares."""
        whole = np.round(values)
        if np.array_equal(values, whole):
            return whole.astype(np.int64), counts
        fractions = values[values != whole]
        shown = listed([f"{value:.3g}" for value in fractions.tolist()], most=4)
        if self._soft and values[0] >= 0 and values[-1] <= 1:
            rounded, where = np.unique(np.floor(values + 0.5), return_inverse=True)
            return rounded.astype(np.int64), np.bincount(where, counts).astype(np.int64)
        self._refuse(
            "mask-fractional",
            name,
            f"values with fractions: {shown}" + (", not from 0 to 1" if self._soft else ""),
            "scale them to shares from 0 to 1"
            if self._soft
            else "learn from them as shares with --set data.soft=true, or round them to class "
            "numbers",
        )
        return None

    @property
    def forms(self) -> set[Form]:
        """How the files store their values."""
        return {mask.form for mask in self.masks}

    def total(self, *, colours: bool) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All values of the set in ascending order, and their pixels.

        Args:
            colours: Whether grey values are taken as colours.
        """
        every = np.concatenate([self._canonical(mask, colours) for mask in self.masks])
        values, where = np.unique(every, return_inverse=True)
        pixels = np.concatenate([mask.counts for mask in self.masks])
        return values, np.bincount(where, pixels).astype(np.int64)

    def shares(self, label_map: LabelMap) -> dict[str, NDArray[np.float64]]:
        """For each mask the share of its pixels that each class has.

        Args:
            label_map: What the values mean.

        Returns:
            File name → shares of shape ``(K,)``.
        """
        shares = {}
        for mask in self.masks:
            values = self._canonical(mask, label_map.kind == "rgb")
            if label_map.kind in ("bool", "objects") or (
                mask.form == "bool" and label_map.kind != "rgb"
            ):
                values = (values != 0) * label_map.true_value
            classes = label_map.encode_values(values)
            known = classes < label_map.classes
            pixels = np.bincount(classes[known], mask.counts[known], label_map.classes)
            shares[mask.name] = pixels / max(1, int(mask.counts.sum()))
        return shares

    def has_jpeg(self) -> bool:
        """Whether a mask is a JPEG file."""
        return any(is_jpeg(Path(mask.name)) for mask in self.masks)

    def same_in_most(self) -> bool:
        """Whether most masks have exactly the same values, as class numbers do."""
        wholes = self._values_of_wholes()
        sets = Counter(tuple(values.tolist()) for values in wholes)
        return max(sets.values()) > len(wholes) / 2

    def _values_of_wholes(self) -> list[NDArray[Any]]:
        by_whole: dict[str, list[NDArray[Any]]] = defaultdict(list)
        for mask in self.masks:
            by_whole[mask.whole].append(mask.values)
        return [np.unique(np.concatenate(several)) for several in by_whole.values()]

    def has_tiny_pieces(self) -> bool:
        """Whether most values make up specks, as those of smoothed edges do."""
        areas = [area for _, _, area in self._pieces]
        return bool(areas) and float(np.median(areas)) < _SMALLEST_PIECE_PX

    def _in_single_pieces(self) -> bool:
        if not self._pieces:
            return False
        values, pieces, _ = np.array(self._pieces).T
        single = bool(values.sum() >= _SINGLE_PIECE * max(1, pieces.sum()))
        return single and not self.has_tiny_pieces()

    def are_objects(self, values: int) -> bool:
        """Whether many values, other ones in each mask, are each a single piece."""
        return (
            values > FEW_VALUES
            and not self.has_jpeg()
            and self._in_single_pieces()
            and (len({mask.whole for mask in self.masks}) == 1 or not self.same_in_most())
        )

    def may_be_objects(self, values: NDArray[Any]) -> bool:
        """Whether few values look like objects numbered from 1 in each mask anew."""
        if not 3 < len(values) <= FEW_VALUES or self.same_in_most():
            return False
        drawn = [values[values != 0] for values in self._values_of_wholes()]
        numbered = [np.array_equal(v, np.arange(1, len(v) + 1)) for v in drawn]
        return all(numbered) and len({len(v) for v in drawn}) >= 3 and self._in_single_pieces()

    def _refuse(self, code: str, subject: str, message: str, remedy: str) -> None:
        self.refusals.append(Problem(code, "refuse", subject, message, remedy))

    def _canonical(self, mask: ValueCounts, colours: bool) -> NDArray[Any]:
        """The values of one mask in the terms of the whole set."""
        if colours and mask.form == "bool":
            return mask.values * 255 * GREY_STEP
        if colours and mask.form != "rgb":
            return mask.values * GREY_STEP
        others = [m for m in self.masks if m.form != "bool"]
        if (
            mask.form == "bool"
            and others
            and all(np.isin(m.values, (0, 255)).all() for m in others)
        ):
            return mask.values * 255
        return mask.values


def _count(plane_YX: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The values of a plane or volume in ascending order, and their pixels."""
    if plane_YX.dtype == np.bool_:
        plane_YX = plane_YX.view(np.uint8)
    bounds = _bounds(plane_YX)
    # Sorting, which is slow, is for numbers that would need too large a table.
    if bounds is None or bounds[1] - bounds[0] > _LARGEST_TABLE:
        values, counts = np.unique(plane_YX, return_counts=True)
        return values, counts.astype(np.int64)
    low, high = bounds
    pixels = np.zeros(high - low + 1, np.int64)
    for block in _blocks(plane_YX):
        offset = block if block.dtype.itemsize <= 2 and low == 0 else block.astype(np.int64) - low
        pixels += np.bincount(offset.ravel(), minlength=len(pixels))
    values = np.flatnonzero(pixels)
    return values + low, pixels[values]


def _bounds(plane_YX: NDArray[Any]) -> tuple[int, int] | None:
    """The smallest and the largest value, or ``None`` where there are fractions."""
    if plane_YX.dtype in (np.uint8, np.uint16):
        return 0, int(np.iinfo(plane_YX.dtype).max)
    if plane_YX.dtype.kind == "f" and not all(
        np.isfinite(block).all() and np.array_equal(block, np.rint(block))
        for block in _blocks(plane_YX)
    ):
        return None
    return int(plane_YX.min()), int(plane_YX.max())


def _blocks(plane_YX: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_PX // max(1, math.prod(plane_YX.shape[1:])))
    return (plane_YX[y : y + rows] for y in range(0, len(plane_YX), rows))


def _count_pieces(plane_YX: NDArray[Any]) -> tuple[int, int, float]:
    """How many values there are above 0, in how many connected pieces, and their usual area."""
    from skimage.measure import label

    side = round(_EVIDENCE_PX ** (2 / plane_YX.ndim))
    starts = [max(0, (n - side) // 2) for n in plane_YX.shape]
    crop = plane_YX[tuple(slice(start, start + side) for start in starts)].astype(np.int64)
    pieces = label(crop, background=0, connectivity=crop.ndim)  # type: ignore[no-untyped-call]
    areas = np.bincount(pieces.ravel())[1:]
    return (
        int(np.count_nonzero(np.unique(crop))),
        len(areas),
        float(np.median(areas)) if len(areas) else 0.0,
    )
