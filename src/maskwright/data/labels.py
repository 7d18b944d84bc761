"""What the values of a set of masks mean, recognised in one pass over the masks.

::

    1-bit                               two classes
    palette, few grey values, colours   one class a value, in ascending order
    0 and 255 with grey edges           two classes, each value read as the nearer one
    a number an object                  two classes: nothing, and any object
    anything else                       refused, with how to say what is meant
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig, MaskKind
from maskwright.data.census import FEW_VALUES, MaskCensus
from maskwright.data.labelmap import (
    LabelMap,
    colors_of,
    default_colors,
    default_names,
    unpack_color,
)
from maskwright.data.problem import Problem, listed
from maskwright.errors import ConfigError
from maskwright.io.image import Image
from maskwright.io.registry import is_jpeg

__all__ = ["LabelMap", "MaskCensus", "decide", "recognise"]

MOST_DOUBTFUL = 0.02
"""Largest share of mask pixels that may be between the values of two classes."""

_JPEG_NOISE = 16  # grey levels that JPEG may move a value without making it doubtful
_AS_OBJECTS = "--objects (--set mask_kind=objects)"
_NOTHING_DRAWN = (
    "masks-all-empty",
    "nothing is drawn in any mask",
    "draw what the network shall find",
)
_NO_SHARES = (
    "mask-soft",
    "masks in colours, of objects or of more than two classes, which hold no shares",
    "leave data.soft out",
)


class _RefusalError(Exception):
    """Carries a refusal out of the decision."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, "refuse", "masks", message, remedy)


def recognise(
    masks: Iterable[tuple[str, Image]], config: DataConfig
) -> tuple[LabelMap | None, list[Problem]]:
    """Decide in one pass what the values of a set of masks mean.

    Args:
        masks: File names and masks as :func:`~maskwright.io.registry.read_mask` gives them.
        config: ``labels`` and ``mask_kind`` say it; where they do not, it is recognised.

    Returns:
        The map, or ``None`` where the values are refused, and what a person should know.

    Example:
        >>> masks = [("a.png", Image(np.array([[[0, 255]]], np.uint8)))]
        >>> label_map, problems = recognise(masks, DataConfig())
        >>> label_map.describe()[1]
        "value 255 is read as class 1 'foreground'"
    """
    census = MaskCensus(ignore=config.ignore, soft=config.soft)
    for name, mask in masks:
        census.add(name, mask)
    return decide(census, config)


def decide(census: MaskCensus, config: DataConfig) -> tuple[LabelMap | None, list[Problem]]:
    """Decide what counted mask values mean.

    Args:
        census: The values of all masks.
        config: ``labels`` and ``mask_kind`` say it; where they do not, it is recognised.

    Returns:
        The map, or ``None`` where the values are refused, and what a person should know.

    Example:
        >>> decide(MaskCensus(), DataConfig())
        (None, [])
    """
    problems = list(census.refusals)
    if problems or not census.masks:
        return None, problems
    jpegs = [mask.name for mask in census.masks if is_jpeg(Path(mask.name))]
    if jpegs:
        problems.append(
            Problem(
                "mask-jpeg",
                "warn",
                "masks",
                f"JPEG changes the values that were drawn: {listed(jpegs)}",
                "save masks as PNG or TIFF",
            )
        )
    try:
        label_map, doubt = _label_map(census, config)
        label_map = replace(label_map, ignore=config.ignore)
    except _RefusalError as refusal:
        return None, [*problems, refusal.problem]
    except ConfigError as error:
        return None, [*problems, Problem.from_error(error, Path("labels"))]
    if doubt:
        problems.append(
            Problem(
                "mask-doubtful",
                "warn",
                "masks",
                doubt,
                "draw without smoothing and save as PNG or TIFF",
            )
        )
    return label_map, problems + _check_presence(census, label_map)


def _label_map(census: MaskCensus, config: DataConfig) -> tuple[LabelMap, str]:
    """The map, and a sentence about values that were read as their nearest neighbour."""
    forms = census.forms
    kind = config.mask_kind
    colours = kind == "rgb" or (kind == "auto" and "rgb" in forms)
    _check_forms(census, kind, colours)
    values, counts = census.total(colours=colours)
    if not len(values):
        raise _RefusalError(
            "masks-all-ignored",
            f"no pixel in any mask but with the value {config.ignore}, which does not count",
            "choose another value for data.ignore",
        )
    if config.soft and forms != {"bool"}:
        return _shares_of_two(config, colours, values), ""
    if config.labels:
        return _declared(census, config, values, counts)
    if kind in ("objects", "bool"):
        return _two_classes(kind), ""
    if colours:
        return _colour_classes(values), ""
    if kind == "auto" and forms == {"bool"}:
        return _two_classes("bool"), ""
    if kind == "auto" and census.are_objects(len(values)):
        return _two_classes("objects"), ""
    if kind == "auto" and census.may_be_objects(values):
        raise _RefusalError(
            "mask-values-ambiguous",
            f"the values {_row(values)} may number objects or name classes",
            f"say {_AS_OBJECTS} for one number an object, or --set mask_kind=values for one "
            "number a class",
        )
    many_classes = (
        len(values) <= 255
        and census.same_in_most()
        and not census.has_tiny_pieces()
        and not census.has_jpeg()
    )
    few = len(values) <= FEW_VALUES and not census.has_jpeg()
    if kind == "auto" and not few and not many_classes:
        return _two_with_grey(census, values, counts)
    return _classes("palette" if forms == {"palette"} else "values", census, values), ""


def _check_forms(census: MaskCensus, kind: MaskKind, colours: bool) -> None:
    """Refuse masks that are stored in ways that do not go together."""
    forms = census.forms
    if "rgb" in forms and not colours:
        raise _RefusalError(
            "mask-channels", f"masks in colours, read as {kind}", "set mask_kind=rgb"
        )
    if kind == "palette" and forms != {"palette"}:
        raise _RefusalError("mask-kind", "masks without a palette", "leave mask_kind as auto")
    if colours and forms & {"grey", "palette"}:
        raise _RefusalError(
            "mask-mixed",
            "some masks in colours, some in one channel",
            "save all masks in the same way",
        )
    if census.palettes_differ and forms == {"palette"} and kind in ("auto", "palette"):
        raise _RefusalError(
            "mask-palette",
            "palettes that differ from mask to mask",
            "save the masks as RGB or as grey values",
        )


def _classes(kind: MaskKind, census: MaskCensus, values: NDArray[Any]) -> LabelMap:
    """One class a value, in ascending order."""
    _check_several(values)
    if len(values) > 255:
        raise _RefusalError(
            "mask-values-many",
            f"{len(values)} different values, more than 255 classes",
            f"say {_AS_OBJECTS} if each is one object",
        )
    if int(values[-1]) > 65535:
        raise _RefusalError(
            "mask-value-range",
            f"the value {values[-1]}",
            f"number classes up to 65535, or say {_AS_OBJECTS}",
        )
    indices = [int(value) for value in values]
    colors = (
        colors_of(census.palette, indices) if kind == "palette" else default_colors(len(indices))
    )
    return LabelMap(kind, default_names(len(indices)), tuple((v,) for v in indices), colors)


def _colour_classes(values: NDArray[Any]) -> LabelMap:
    _check_several(values)
    if len(values) > FEW_VALUES:
        raise _RefusalError(
            "mask-colours-many",
            f"{len(values)} different colours",
            f"draw with at most {FEW_VALUES} exact colours, without smoothing, "
            "and save as PNG or TIFF",
        )
    packed = [int(value) for value in values]
    return LabelMap(
        "rgb",
        default_names(len(packed)),
        tuple((v,) for v in packed),
        tuple(unpack_color(v) for v in packed),
    )


def _shares_of_two(config: DataConfig, colours: bool, values: NDArray[Any]) -> LabelMap:
    """Two classes, of which values in between are shares."""
    if colours or config.mask_kind not in ("auto", "values"):
        raise _RefusalError(*_NO_SHARES)
    _check_several(values)
    label_map = LabelMap(
        "values",
        default_names(2),
        ((int(values[0]),), (int(values[-1]),)),
        default_colors(2),
    )
    if config.labels:
        label_map = LabelMap.from_config(config.model_copy(update={"mask_kind": "values"}))
    if label_map.classes != 2:
        raise _RefusalError(*_NO_SHARES)
    return replace(label_map, nearest=True)


def _check_several(values: NDArray[Any]) -> None:
    if len(values) == 1 and values[0] == 0:
        raise _RefusalError(*_NOTHING_DRAWN)
    if len(values) == 1:
        raise _RefusalError(
            "mask-one-value", f"the only value is {values[0]}", "masks need at least two classes"
        )


def _two_with_grey(
    census: MaskCensus, values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[LabelMap, str]:
    """Two classes where grey edges come from smoothing, resizing or JPEG."""
    _check_several(values)
    upper = values > (int(values[0]) + int(values[-1])) / 2
    low = int(values[~upper][counts[~upper].argmax()])
    high = int(values[upper][counts[upper].argmax()])
    label_map = LabelMap(
        "values", default_names(2), ((low,), (high,)), default_colors(2), nearest=True
    )
    return label_map, _doubt(census, label_map, values, counts)


def _doubt(
    census: MaskCensus, label_map: LabelMap, values: NDArray[Any], counts: NDArray[np.int64]
) -> str:
    """A sentence about pixels that are none of the declared values; too many are refused."""
    declared = np.array([v for several in label_map.values for v in several])
    distance = np.abs(values[:, None] - declared[None]).min(axis=1)
    doubtful = distance > (_JPEG_NOISE if census.has_jpeg() else 0)
    share = float(counts[doubtful].sum() / counts.sum())
    if share > MOST_DOUBTFUL:
        raise _RefusalError(
            "mask-values-many",
            f"{len(values)} different values; {share:.1%} of the pixels are "
            f"none of {_row(declared)}",
            f"say {_AS_OBJECTS} if each value is one object; otherwise draw without smoothing "
            "and save as PNG or TIFF",
        )
    return (
        (
            f"{share:.1%} of the mask pixels are none of {_row(declared)}; each is read as the "
            "nearest of them"
        )
        if share > 0
        else ""
    )


def _declared(
    census: MaskCensus, config: DataConfig, values: NDArray[Any], counts: NDArray[np.int64]
) -> tuple[LabelMap, str]:
    """The classes that the configuration names, compared with what is there."""
    forms = census.forms
    known = [value for _, value in config.labels]
    kind = config.mask_kind
    if kind == "auto" and "rgb" in forms:
        kind = "rgb"
    elif kind == "auto" and forms == {"bool"} and set(known) == {0, 1}:
        kind = "bool"
    elif kind == "auto":
        kind = "palette" if forms == {"palette"} else "values"
    label_map = LabelMap.from_config(config.model_copy(update={"mask_kind": kind}))
    if kind == "palette":
        colors = colors_of(census.palette, [several[0] for several in label_map.values])
        label_map = replace(label_map, colors=colors)
    if kind in ("bool", "objects"):
        return label_map, ""
    if forms == {"bool"} and kind != "rgb":
        values = values * label_map.true_value
    unknown = ~np.isin(values, known)
    if not unknown.any():
        return label_map, ""
    smooth = config.nearest_value or unknown.sum() > FEW_VALUES or census.has_jpeg()
    if kind == "values" and smooth:
        label_map = replace(label_map, nearest=True)
        return label_map, _doubt(census, label_map, values, counts)
    share = counts[unknown].sum() / counts.sum()
    shown = [f"#{v:06x}" for v in values[unknown]] if kind == "rgb" else values[unknown]
    raise _RefusalError(
        "mask-value",
        f"the values {_row(shown)} ({share:.2%} of the pixels) are not among the declared ones",
        "declare them with --labels, or mend the masks",
    )


def _check_presence(census: MaskCensus, label_map: LabelMap) -> list[Problem]:
    """Masks with nothing drawn, and classes that no mask has."""
    shares = census.shares(label_map)
    empty = [name for name, share in shares.items() if share[0] >= 1.0]
    if len(empty) == len(shares):
        return [_RefusalError(*_NOTHING_DRAWN).problem]
    problems = []
    if empty:
        problems.append(
            Problem(
                "mask-empty",
                "warn",
                "masks",
                f"nothing is drawn in {listed(empty)}",
                "check that this is meant",
            )
        )
    present = sum(shares.values(), np.zeros(label_map.classes))
    absent = [name for name, share in zip(label_map.names, present, strict=True) if share == 0]
    if absent:
        problems.append(
            Problem(
                "class-absent",
                "refuse",
                "masks",
                f"no pixel of {listed(absent)} in any mask",
                "mend --labels, or draw this class",
            )
        )
    return problems


def _two_classes(kind: MaskKind) -> LabelMap:
    high = 1 if kind == "bool" else 255
    return LabelMap(kind, default_names(2), ((0,), (high,)), default_colors(2))


def _row(values: Iterable[Any]) -> str:
    return listed([str(value) for value in values], most=8)
