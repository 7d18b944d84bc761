"""Masks of any origin as pairs: files found, paired by name, their values understood."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig
from maskwright.data import naming
from maskwright.data.census import MaskCensus
from maskwright.data.files import subfolders
from maskwright.data.labelmap import LabelMap, default_colors, default_names
from maskwright.data.labels import decide
from maskwright.data.problem import raise_first_refusal
from maskwright.errors import DataError
from maskwright.io.arrays import (
    LabelSource,
    blocks,
    find_labels,
    is_label_path,
    label_stem,
    open_labels,
)
from maskwright.io.dicom import is_segmentation
from maskwright.io.dicom_seg import placed_on
from maskwright.io.image import Image
from maskwright.progress import Events

LARGEST_PX = 1 << 28
"""Pixels up to which every measure is taken; a larger mask is counted block by block."""

_ABSENCES = {"masks-all-empty", "mask-one-value", "class-absent"}
"""What hinders training but not scoring: a class that is drawn nowhere."""


@dataclass(frozen=True)
class MaskSet:
    """Masks of one origin and what their values mean.

    Args:
        files: Stem → file, in natural order.
        label_map: Meaning of the values.
        numbered: Whether values number objects, so that touching ones are told apart.
    """

    files: Mapping[str, Path]
    label_map: LabelMap
    numbered: bool

    def classes(self, source: LabelSource, region: tuple[slice, ...]) -> NDArray[np.uint8]:
        """Class ids of a block of a mask, with :data:`maskwright.data.labelmap.IGNORED`."""
        return self.label_map.encode(read_values(source, region), subject=str(source.path))


def mask_files(folder: Path) -> dict[str, Path]:
    """Stem → mask file of a folder, of the mask folder inside it, or of one file.

    Raises:
        DataError: When there is none.
    """
    if is_label_path(folder) and folder.exists():
        return {label_stem(folder): folder}
    if folder.is_dir():
        inside = subfolders(folder, naming.MASK_FOLDERS)
        found = find_labels(inside[0] if inside else folder)
        if found:
            return {stem: found[stem] for stem in sorted(found, key=naming.natural_key)}
    raise DataError(
        "evaluate-no-masks",
        str(folder),
        expected="a folder of masks",
        found="no mask" if folder.exists() else "nothing there",
        remedy="check the path",
    )


def read_values(source: LabelSource, region: tuple[slice, ...] | None = None) -> Image:
    """The values of a mask, or of a block of it, with its palette or colours."""
    if source.image is not None:
        image = source.image
        if region is None:
            return image
        return Image(image.array[(slice(None), *region)], palette=image.palette)
    whole = tuple(slice(0, n) for n in source.shape)
    array = source.read(region or whole)
    return Image(array[None])


def with_slices_of(source: LabelSource, other: LabelSource | None) -> LabelSource:
    """A mask with all the slices of another one, of which a DICOM-SEG may leave out the empty.

    Args:
        source: The mask.
        other: A mask of the same image.

    Returns:
        The mask, with its missing slices where they could be told.
    """
    if other is None or other.shape == source.shape or not is_segmentation(source.path):
        return source
    mask = Image(read_values(source).array, source.spacing_mm, source.geometry)
    placed = placed_on(mask, other.shape, other.geometry)
    return replace(
        source,
        shape=placed.size,
        spacing_mm=placed.spacing_mm,
        geometry=placed.geometry,
        read=lambda block: placed.array[0][block].copy(),
    )


def regions(source: LabelSource) -> Iterator[tuple[slice, ...]]:
    """The blocks that a mask is read in: itself, or slabs where it is large."""
    if is_large(source.shape):
        yield from blocks(source.shape, chunks=source.chunks)
    else:
        yield tuple(slice(0, n) for n in source.shape)


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether a mask is only counted."""
    return int(np.prod(shape, dtype=np.int64)) > LARGEST_PX


def take_census(files: Iterable[Path], events: Events, what: str, config: DataConfig) -> MaskCensus:
    """Count the values of all masks that count, telling progress."""
    census = MaskCensus(ignore=config.ignore, soft=config.soft)
    paths = list(files)
    for number, path in enumerate(paths, start=1):
        events.send(
            "reading", doing=f"Reading {what}", number=number, images=len(paths), name=path.name
        )
        source = open_labels(path)
        for region in regions(source):
            census.add(str(path), read_values(source, region))
    return census


def understand(
    truths: Mapping[str, Path],
    found: Mapping[str, Path],
    config: DataConfig,
    events: Events,
    *,
    same_values: bool = False,
) -> tuple[MaskSet, MaskSet]:
    """What the values of true and of predicted masks mean.

    Values that the truth has too mean the same in a prediction. Two classes may be written in
    other values there (0 and 1 for 0 and 255), and objects may be numbered in one set only.

    Args:
        truths: Stem → true mask.
        found: Stem → predicted mask.
        config: What is known of the true values.
        events: Where progress is told.
        same_values: The predictions are known to have the declared values.

    Returns:
        The truth and the predictions.

    Raises:
        DataError: When values cannot be told apart.
    """
    census = take_census(truths.values(), events, "the truth", config)
    label_map, problems = decide(census, config)
    refused = [problem for problem in problems if problem.code not in _ABSENCES]
    raise_first_refusal(refused, expected="masks whose values can be told apart")
    others = MaskCensus()
    if not same_values:
        others = take_census(found.values(), events, "the predictions", DataConfig())
    raise_first_refusal(others.refusals, expected="masks whose values can be told apart")
    if label_map is None:
        label_map = _from_both(census, others, config)
    for line in label_map.describe():
        events.send("message", text=line)
    truth = MaskSet(truths, label_map, label_map.kind == "objects")
    return truth, _predictions(found, others, label_map, events)


def _from_both(census: MaskCensus, others: MaskCensus, config: DataConfig) -> LabelMap:
    """The map of truths that have one value only: the predictions may have the other."""
    if config.labels:
        return LabelMap.from_config(config)
    census.masks += others.masks
    label_map, _ = decide(census, config)
    if label_map is not None:
        return label_map
    values, _ = census.total(colours=False)
    return LabelMap(
        "values", default_names(2), ((0,), (max(1, int(values[-1])),)), default_colors(2)
    )


def _predictions(
    files: Mapping[str, Path], census: MaskCensus, truth: LabelMap, events: Events
) -> MaskSet:
    if not census.masks:
        return MaskSet(files, truth, False)
    values, _ = census.total(colours=truth.kind == "rgb")
    if truth.kind == "objects":
        several = (values > 0).sum() > 1
        return MaskSet(files, truth, bool(several))
    known = truth.encode_values(values) < truth.classes
    if known.all():
        return MaskSet(files, truth, False)
    if truth.classes == 2:
        own, _ = decide(census, DataConfig())
        if own is not None and own.classes == 2:
            renamed = replace(own, names=truth.names)
            for line in renamed.describe():
                events.send("message", text=f"In the predictions, {line}")
            return MaskSet(files, renamed, own.kind == "objects")
    row = ", ".join(str(v) for several in truth.values for v in several)
    raise DataError(
        "mask-value",
        "predicted masks",
        expected=f"the values of the truth, {row}",
        found=", ".join(str(v) for v in values[~known][:8].tolist()),
        remedy="save the predictions with the values of the truth, or declare all of them with "
        "--labels (a name given twice merges its values)",
    )


def pair(found: Iterable[str], truths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Which prediction belongs to which truth: by equal names, else by names without marks.

    Marks are such as ``_mask`` and ``_1stHO``. Where two of one side would fit, none is taken.

    Returns:
        Truth → prediction, and the predictions that belong to none.

    Example:
        >>> pair(["a", "b_2ndHO", "c"], ["a", "b_1stHO"])
        ({'a': 'a', 'b_1stHO': 'b_2ndHO'}, ['c'])
    """
    names, wanted = list(found), list(truths)
    matched = {name: name for name in wanted if name in set(names)}
    left = _by_core(name for name in names if name not in matched)
    for core, several in _by_core(name for name in wanted if name not in matched).items():
        if len(several) == len(left.get(core, [])) == 1:
            matched[several[0]] = left[core][0]
    used = set(matched.values())
    in_order = {name: matched[name] for name in wanted if name in matched}
    return in_order, [name for name in names if name not in used]


def _by_core(names: Iterable[str]) -> dict[str, list[str]]:
    cores: dict[str, list[str]] = {}
    for name in names:
        cores.setdefault(naming.image_core(naming.mask_core(name)), []).append(name)
    return cores


def values_of(source: LabelSource) -> NDArray[Any]:
    """The whole array of a mask that numbers objects."""
    numbers: NDArray[Any] = read_values(source).array[0]
    return numbers
