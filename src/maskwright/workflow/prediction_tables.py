"""What prediction says of all its images together: tables, and sentences for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.labels import LabelMap
from maskwright.evaluate.uncertainty import Trust
from maskwright.io.table import Cell, write_table
from maskwright.progress import Events
from maskwright.train.diagnosis import ONE_CLASS_SHARE
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_plan import show_bytes

TRUST_NAME = "trust.csv"
IMAGE_LABELS_NAME = "image_labels.csv"
_COUNTED_PX = 1 << 20


def record(image: Path, mask: Path, counts_K: NDArray[Any], labels: LabelMap) -> dict[str, Any]:
    """What ``predictions.json`` says of every image.

    Args:
        image: The image.
        mask: Its mask.
        counts_K: Pixels of each class.
        labels: The classes.
    """
    return {
        "image": str(image),
        "mask": mask.name,
        "shares": {
            name: round(float(count) / float(counts_K.sum()), 6)
            for name, count in zip(labels.names, counts_K, strict=True)
        },
    }


def counted(classes_YX: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.int64]:
    """Pixels of each class, counted in blocks: counting takes eight bytes a pixel.

    Example:
        >>> from maskwright.config import DataConfig
        >>> labels = LabelMap.from_config(DataConfig(labels=(("a", 0), ("b", 1))))
        >>> counted(np.array([[0, 1, 1]], np.uint8), labels).tolist()
        [1, 2]
    """
    counts_K = np.zeros(len(labels.names), np.int64)
    pixels_N = classes_YX.reshape(-1)
    for first in range(0, pixels_N.size, _COUNTED_PX):
        block_N = pixels_N[first : first + _COUNTED_PX]
        counts_K += np.bincount(block_N, minlength=len(counts_K))
    return counts_K


def image_label(names: Sequence[str], probabilities_L: NDArray[np.float32]) -> dict[str, Any]:
    """The label of a whole image with the probability of each, for ``predictions.json``.

    Example:
        >>> image_label(("well", "ill"), np.array([0.75, 0.25], np.float32))
        {'label': 'well', 'probabilities': {'well': 0.75, 'ill': 0.25}}
    """
    return {
        "label": names[int(probabilities_L.argmax())],
        "probabilities": {
            name: round(float(value), 6) for name, value in zip(names, probabilities_L, strict=True)
        },
    }


def write_image_labels(records: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Write the labels of whole images as a table; nothing where there are none."""
    rows: list[dict[str, Cell]] = [
        {
            "image": Path(values["image"]).name,
            "label": values["image_label"]["label"],
            **{
                f"probability_{name}": value
                for name, value in values["image_label"]["probabilities"].items()
            },
        }
        for values in records
        if "image_label" in values
    ]
    if rows:
        write_table(target / IMAGE_LABELS_NAME, rows)


def write_trust(
    trusts: Mapping[str, Trust], labels: LabelMap, target: Path, events: Events
) -> None:
    """Write which masks to look at first, and name the least trusted ones."""
    if not trusts:
        return
    ranked = sorted(trusts.items(), key=lambda item: (item[1].mean, item[0]))
    rows: list[dict[str, Cell]] = [
        {
            "image": name,
            "expected_dice": round(found.mean, 4),
            **{
                f"expected_dice_{label}": round(value, 4)
                for label, value in zip(labels.names, found.expected_dice, strict=True)
            },
            "mean_entropy": round(found.mean_entropy, 4),
            "doubtful_share": round(found.doubtful_share, 4),
        }
        for name, found in ranked
    ]
    write_table(target / TRUST_NAME, rows)
    if len(ranked) > 1:
        least = ", ".join(f"{name} ({found.mean:.2f})" for name, found in ranked[:3])
        events.send(
            "message",
            text=f"Look at these masks first; their expected Dice is the lowest: {least}. All in "
            f"{target / TRUST_NAME}.",
        )


def warn_one_class(records: Sequence[Mapping[str, Any]], events: Events) -> None:
    """Warn of masks that hold one class only, as of images unlike the training images."""
    single = [
        values["mask"]
        for values in records
        if max(values["shares"].values()) > ONE_CLASS_SHARE and not values.get("gated")
    ]
    if not single:
        return
    shown = ", ".join(single[:5]) + (" …" if len(single) > 5 else "")
    events.send(
        "warning",
        code="prediction-one-class",
        text=f"{len(single)} of {len(records)} masks are of one class only: {shown}. If these "
        "images do hold more, they may differ from the training images (other stain, contrast "
        "or magnification): look at them side by side, annotate a few and train again.",
    )


def tell_gated(records: Sequence[Mapping[str, Any]], name: str, events: Events) -> None:
    """Say from how many masks a class was taken away."""
    emptied = [values["mask"] for values in records if values.get("gated")]
    shown = ", ".join(emptied[:5]) + (" …" if len(emptied) > 5 else "")
    events.send(
        "message",
        text=f"In {len(emptied)} of {len(records)} masks the pixels of {name} became background, "
        f"since the label of the image says that there is none{': ' if shown else ''}{shown}.",
    )


def tell_too_large(records: Sequence[Mapping[str, Any]], events: Events) -> None:
    """Say of how many objects the memory was too small for their shapes."""
    count = sum(values.get("objects_too_large", 0) for values in records)
    if count:
        events.send(
            "warning",
            code="objects-memory",
            text=f"{count} object{'s are' if count > 1 else ' is'} too large for the memory: not "
            "cut where touching objects are cut, and without perimeter, eccentricity and "
            "solidity. Give more with --memory, if that matters.",
        )


def tell_parts(cases: Sequence[Case], asked: bool, events: Events) -> None:
    """Say which images are predicted in parts, and what memory chose."""
    for case in cases:
        if case.fit is None or not (case.streams or asked):
            continue
        size = " × ".join(f"{length:,}" for length in case.size)
        how = "tile by tile from its file" if case.streams else "in memory"
        kind = "overlapping tiles" if case.fit.averaged else "tiles"
        tiles = f"{case.fit.tiles:,} {kind}" if case.fit.tiles > 1 else "one tile"
        events.send(
            "message",
            text=f"{case.paths[0].name} ({size} pixels) is predicted {how}, in {tiles} of at most "
            f"{case.fit.tile_px} pixels a side; that takes about {show_bytes(case.needed_bytes)}.",
        )


def tell_levels(shares: Sequence[float], events: Events) -> None:
    """Say how much each level of the decoder weighs in the fused prediction."""
    parts = ", ".join(f"level {level} {share:.0%}" for level, share in enumerate(shares))
    events.send(
        "message",
        text=f"Shares of the levels in the fused prediction, by the sum of their weights' sizes, "
        f"level 0 being the finest: {parts}.",
    )
