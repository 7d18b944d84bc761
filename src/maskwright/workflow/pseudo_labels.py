"""Masks that a network draws for images without any, as far as it may be believed.

::

    images without masks ──teacher──▶ masks ──expected Dice──▶ those to learn from
                                                                 │
    annotated images, each in its own part ──────────────────────┴──▶ manifest.csv

The manifest names the part of every image, so that no mask of the teacher's can come into
validation or test.

Source: Lee 2013, ICML workshop on challenges in representation learning, for pseudo-labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskwright.data.case import Case
from maskwright.data.check import CheckReport
from maskwright.data.grouping import group_cases
from maskwright.data.image_facts import pixel_digest
from maskwright.data.labelmap import LabelMap
from maskwright.data.split import PARTS, Split
from maskwright.errors import ConfigError
from maskwright.evaluate.uncertainty import trust
from maskwright.io.channels import read_channels
from maskwright.io.durable import make_folder
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, write_mask
from maskwright.io.table import Cell, read_table, write_table
from maskwright.predict.predictor import ImagePrediction
from maskwright.progress import Events
from maskwright.workflow.object_choice import objects_of
from maskwright.workflow.opening import OpenedNetwork

MANIFEST_NAME, LIST_NAME = "manifest.csv", "pseudo_labels.csv"
# Below this probability of the winning class a pixel of a pseudo-label does not count.
_SURE = 0.75
_GROUP = "without mask: "


@dataclass(frozen=True)
class PseudoLabels:
    """Which images without masks are learnt from.

    Args:
        manifest: The table of all images.
        rows: Each image without a mask, the Dice that the teacher expects, and whether it is used.
        ignore: Mask value of pixels that do not count; ``None`` where masks have no room for one.
    """

    manifest: Path
    rows: tuple[dict[str, Cell], ...]
    ignore: int | None

    @property
    def used(self) -> int:
        """How many are learnt from."""
        return sum(bool(row["used"]) for row in self.rows)


def draw_pseudo_labels(
    files: Mapping[str, tuple[Path, ...]],
    teacher: OpenedNetwork,
    report: CheckReport,
    split: Split,
    folder: Path,
    *,
    least_dice: float,
    group_by: str | None,
    events: Events,
) -> PseudoLabels:
    """Draw masks for images without any, and write a manifest that learns from the good ones.

    An image is left out where the teacher expects too little of its own mask, where its pixels are
    those of an annotated image, and where its name puts it into the group of an image of
    validation or test.

    Args:
        files: Name → files of the channels of each image.
        teacher: The network that draws.
        report: The annotated images.
        split: Which of them is used for what.
        folder: Where masks, list and manifest are written.
        least_dice: Least expected Dice.
        group_by: Regular expression that names what must not be split.
        events: Where progress is told.

    Raises:
        ImageReadError: When an image cannot be read.
    """
    label_map = teacher.labels
    ignore = _ignore_value(label_map)
    known, held = set(report.digests.values()), _held_groups(files, report, split, group_by)
    masks = folder / "masks"
    make_folder(masks, subject=str(folder))
    rows: list[dict[str, Cell]] = []
    cases = [_row(case, _part_of(case.name, split)) for case in report.cases]
    for number, (name, paths) in enumerate(files.items(), start=1):
        events.send("reading", doing="Drawing masks", number=number, images=len(files), name=name)
        image = read_channels(paths)
        found = teacher.predictor.predict(image.array, image.spacing_mm)
        p_KYX = teacher.calibration.apply(teacher.predictor.distribution(found.probabilities_KYX))
        expected = trust(p_KYX, found.classes_YX).mean
        reason = ""
        if math.isnan(expected) or expected < least_dice:
            reason = "expects too little of its own mask"
        elif pixel_digest(image.array) in known:
            reason = "the same pixels as another image"
        elif held.get(name):
            reason = f"belongs to {held[name]}, which is kept for validation or test"
        rows.append({"image": str(paths[0]), "expected_dice": expected, "used": not reason,
                     "left_out": reason})  # fmt: skip
        if reason:
            continue
        known.add(pixel_digest(image.array))
        mask = masks / (name + mask_suffix(paths[0]))
        write_mask(mask, _drawn(replace(found, probabilities_KYX=p_KYX), teacher, ignore, image))
        own = Case(name, paths[0], mask, _GROUP + name, tuple(paths[1:]))
        cases.append(_row(own, "train"))
    write_table(folder / LIST_NAME, rows)
    manifest = folder / MANIFEST_NAME
    write_table(manifest, [row for row in cases if row["split"]])
    return PseudoLabels(manifest, tuple(rows), ignore)


def check_layout(report: CheckReport) -> None:
    """Refuse annotated images that a manifest cannot name.

    Raises:
        ConfigError: ``unlabelled-layout``.
    """
    if any(case.z is not None or case.objects for case in report.cases):
        raise ConfigError(
            "unlabelled-layout",
            "--unlabelled",
            expected="one file of a mask for each image",
            found="slices of stacks or a mask for each object",
            remedy="leave --unlabelled out, or write each image and its mask as files of their own",
        )


def _part_of(name: str, split: Split) -> str:
    return next((part for part in PARTS if name in getattr(split, part)), "")


def _row(case: Case, part: str) -> dict[str, Cell]:
    """A row of the manifest, with absolute paths."""
    row: dict[str, Cell] = {"image": str(case.image.resolve())}
    row |= {f"image_{n}": str(path.resolve()) for n, path in enumerate(case.more, start=2)}
    row["mask"] = "" if case.mask is None else str(case.mask.resolve())
    row |= {"group": case.group, "split": part}
    row["image_label"] = case.image_label
    row["roi"] = "" if case.roi is None else str(case.roi.resolve())
    return row


def _held_groups(
    files: Mapping[str, tuple[Path, ...]], report: CheckReport, split: Split, group_by: str | None
) -> dict[str, str]:
    """Images without masks whose group is held out, by name."""
    drawn = [case.name for case in report.cases]
    groups_of, _ = group_cases(report.root, [*drawn, *files], group_by, [])
    held = {groups_of[name] for name in (*split.validation, *split.test)}
    return {name: groups_of[name] for name in files if groups_of[name] in held}


def _ignore_value(label_map: LabelMap) -> int | None:
    """A mask value that means nothing yet, where masks are numbers."""
    if label_map.ignore is not None:
        return label_map.ignore
    if label_map.kind != "values":
        return None
    taken = {value for several in label_map.values for value in several}
    return next((value for value in range(254, 0, -1) if value not in taken), None)


def _drawn(
    found: ImagePrediction, teacher: OpenedNetwork, ignore: int | None, image: Image
) -> Image:
    """The mask in the values of the annotated ones; pixels that are not sure do not count."""
    label_map, settings = teacher.labels, teacher.settings
    if label_map.kind == "objects":
        objects_YX = objects_of(
            found, image.spacing_mm, settings.object_method, settings.smallest_object_px
        )
        return Image(objects_YX.astype(np.uint16)[None]).placed_as(image)
    if label_map.kind != "values" or ignore is None:
        return label_map.decode(found.classes_YX).placed_as(image)
    first = np.array([several[0] for several in label_map.values])
    sure_YX = found.probabilities_KYX.max(0) >= _SURE
    values_YX = np.where(sure_YX, first[found.classes_YX], ignore)
    dtype = np.uint8 if max(int(first.max()), ignore) <= 255 else np.uint16
    return Image(values_YX.astype(dtype)[None]).placed_as(image)


def read_pseudo_labels(folder: Path, label_map: LabelMap) -> PseudoLabels | None:
    """What an interrupted run drew already, or ``None``.

    Args:
        folder: Where it was written.
        label_map: The values of the masks.
    """
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return None
    rows: list[dict[str, Cell]] = [
        {**row, "used": row["used"].lower() == "true"} for row in read_table(folder / LIST_NAME)
    ]
    return PseudoLabels(manifest, tuple(rows), _ignore_value(label_map))
