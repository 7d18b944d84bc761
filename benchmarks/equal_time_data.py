"""The data sets of the comparison at equal time, in our form and in nnU-Net's, and back.

Every test part is fixed and written here. What is prepared costs neither program any of its time.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.case import Case
from maskwright.data.companions import field_of_view
from maskwright.data.dataset import find_cases
from maskwright.data.weightmap import separate
from maskwright.io.image import Image, is_grey
from maskwright.io.probabilities import probabilities_path, write_probabilities
from maskwright.io.registry import image_suffix, is_volume, read_mask, write_mask
from maskwright.workflow.prediction_whole import PROBABILITIES_NAME

VOLUMES = "3d_fullres"
COLOURS = ("R", "G", "B")


@dataclass(frozen=True)
class DataSet:
    """One data set and how it is scored.

    Args:
        name: Name of its folder.
        number: Number of its folder for nnU-Net.
        labels: Names of the classes with the mask values that mean them.
        background: The class that nnU-Net takes as the background, which its Dice loss leaves out.
        test: From the names in order to those that are kept for the test.
        measures: Groups of measures besides overlap.
        configuration: Which of nnU-Net's configurations fits.
        numbered: Whether mask values number objects.
        disc: Whether the lit disc of a photograph is also scored alone.
    """

    name: str
    number: int
    labels: tuple[tuple[str, int], ...]
    background: str
    test: Callable[[Sequence[str]], list[str]]
    measures: str
    configuration: str = "2d"
    numbered: bool = False
    disc: bool = False

    @property
    def order(self) -> list[int]:
        """For each of our classes its number in nnU-Net's masks, whose background is 0."""
        names = [name for name, _ in self.labels]
        ranked = sorted(names, key=lambda name: name != self.background)
        return [ranked.index(name) for name in names]

    @property
    def needs_probabilities(self) -> bool:
        """Whether a measure is one of probabilities."""
        return bool({"partition", "ranking"} & set(self.measures.split(",")))


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[0])


DATA_SETS = {
    data.name: data
    for data in (
        # The Dice loss is for what is thin and rare, so the membrane is nnU-Net's foreground.
        DataSet(
            "membranes",
            501,
            (("membrane", 0), ("cell", 255)),
            "cell",
            lambda names: [name for name in names if _number(name) >= 20],
            "partition",
        ),
        DataSet(
            "vessels",
            502,
            (("background", 0), ("vessel", 1)),
            "background",
            lambda names: [name for name in names if _number(name) > 10],
            "ranking",
            disc=True,
        ),
        DataSet(
            "nuclei",
            503,
            (("background", 0), ("nucleus", 1)),
            "background",
            lambda names: list(names[::5]),
            "objects",
            numbered=True,
        ),
        DataSet(
            "hippocampus",
            504,
            (("background", 0), ("anterior", 1), ("posterior", 2)),
            "background",
            lambda names: list(names[4::5][:12]),
            "surface",
            configuration=VOLUMES,
        ),
    )
}


@dataclass(frozen=True)
class Prepared:
    """A data set on disk, ready for both programs.

    Args:
        data: What it is.
        root: The data set as it came.
        folder: Where everything below lies.
        images: The images of the test, by name.
    """

    data: DataSet
    root: Path
    folder: Path
    images: Mapping[str, Path]

    @property
    def split(self) -> Path:
        """JSON with the names for training and test."""
        return self.folder / "split.json"

    @property
    def truth(self) -> Path:
        """The true masks of the test, unchanged."""
        return self.folder / "truth"

    @property
    def regions(self) -> Path:
        """Where the lit disc of the images of the test is, for sets with one."""
        return self.folder / "regions"

    @property
    def raw(self) -> Path:
        """nnU-Net's folder of all data sets."""
        return self.folder / "nnUNet_raw"

    @property
    def dataset(self) -> Path:
        """nnU-Net's folder of this one."""
        return self.raw / f"Dataset{self.data.number:03d}_{self.data.name}"


def prepare(data: DataSet, source: Path, folder: Path) -> Prepared:
    """Write the split, the truth of the test, and the images and masks as nnU-Net takes them.

    Args:
        data: What to prepare.
        source: Folder of all data sets.
        folder: Where to write; what is there already is written anew.
    """
    root = source / data.name
    cases = sorted(find_cases(root).cases, key=lambda case: case.name)
    test = set(data.test([case.name for case in cases]))
    prepared = Prepared(
        data, root, folder, {case.name: case.image for case in cases if case.name in test}
    )
    shutil.rmtree(folder, ignore_errors=True)
    for inner in ("imagesTr", "labelsTr", "imagesTs"):
        (prepared.dataset / inner).mkdir(parents=True)
    prepared.truth.mkdir()
    parts = {
        "train": [case.name for case in cases if case.name not in test],
        "test": [case.name for case in cases if case.name in test],
    }
    prepared.split.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    grey = all(is_grey(case.read_image().array) for case in cases)
    for case in cases:
        if case.mask is not None:
            _write_case(prepared, case, case.mask, grey=grey)
    _describe(prepared, len(parts["train"]), grey=grey)
    return prepared


def _write_case(prepared: Prepared, case: Case, mask: Path, *, grey: bool) -> None:
    data, folder = prepared.data, prepared.dataset
    suffix = image_suffix(case.image) if data.configuration == VOLUMES else ".png"
    is_test = case.name in prepared.images
    target = folder / ("imagesTs" if is_test else "imagesTr") / f"{case.name}_0000{suffix}"
    image = None
    if is_volume(case.image):
        shutil.copyfile(case.image, target)
    else:
        image = case.read_image()
        write_mask(target, Image(image.array[:1] if grey else image.array))
    if is_test:
        shutil.copyfile(mask, prepared.truth / f"{case.name}{image_suffix(mask)}")
        if data.disc and image is not None:
            prepared.regions.mkdir(exist_ok=True)
            inside_YX = field_of_view(image.array, str(case.image))
            write_mask(prepared.regions / f"{case.name}.png", Image(inside_YX[None]))
        return
    label = folder / "labelsTr" / f"{case.name}{suffix}"
    if is_volume(mask):
        shutil.copyfile(mask, label)
    else:
        write_mask(label, Image(to_nnunet(data, case.read_mask().array)))


def _describe(prepared: Prepared, training: int, *, grey: bool) -> None:
    data = prepared.data
    volumes = data.configuration == VOLUMES
    channels = ("image",) if grey else COLOURS
    suffix = image_suffix(next(iter(prepared.images.values()))) if volumes else ".png"
    description = {
        "channel_names": {str(k): name for k, name in enumerate(channels)},
        "labels": {
            # nnU-Net knows its background by this name alone.
            "background" if number == 0 else name: number
            for (name, _), number in sorted(
                zip(data.labels, data.order, strict=True), key=lambda pair: pair[1]
            )
        },
        "numTraining": training,
        "file_ending": suffix,
    }
    text = json.dumps(description, indent=1) + "\n"
    (prepared.dataset / "dataset.json").write_text(text, encoding="utf-8")


def to_nnunet(data: DataSet, mask_CYX: NDArray[Any]) -> NDArray[np.uint8]:
    """A mask in nnU-Net's numbers.

    Objects that touch are parted by a pixel of background, as no network that tells object from
    background can part them otherwise.

    Example:
        >>> to_nnunet(DATA_SETS["nuclei"], np.array([[[0, 7, 7, 9, 9]]])).tolist()
        [[[0, 1, 0, 1, 1]]]
        >>> to_nnunet(DATA_SETS["membranes"], np.array([[[0, 255]]])).tolist()
        [[[1, 0]]]
    """
    if data.numbered:
        return (separate(mask_CYX[:1]) > 0).astype(np.uint8)
    numbers = np.zeros(mask_CYX[:1].shape, np.uint8)
    for (_, value), number in zip(data.labels, data.order, strict=True):
        numbers[mask_CYX[:1] == value] = number
    return numbers


def from_nnunet(data: DataSet, mask_CYX: NDArray[Any]) -> NDArray[np.uint8]:
    """A mask of nnU-Net in the set's own values.

    Example:
        >>> from_nnunet(DATA_SETS["membranes"], np.array([[[1, 0]]])).tolist()
        [[[0, 255]]]
    """
    values = np.zeros(len(data.labels), np.uint8)
    for (_, value), number in zip(data.labels, data.order, strict=True):
        values[number] = value
    own_CYX: NDArray[np.uint8] = values[mask_CYX]
    return own_CYX


def take_back(prepared: Prepared, written: Path, out: Path) -> None:
    """Masks and probabilities that nnU-Net wrote, as ``maskwright evaluate`` reads them.

    Args:
        prepared: The data set.
        written: Folder with a mask and an ``.npz`` for each image of the test.
        out: Folder to make.
    """
    data = prepared.data
    shutil.rmtree(out, ignore_errors=True)
    (out / PROBABILITIES_NAME).mkdir(parents=True)
    for name, image in prepared.images.items():
        if is_volume(image):
            file = f"{name}{image_suffix(image)}"
            shutil.copyfile(written / file, out / file)
            continue
        mask = read_mask(written / f"{name}.png")
        write_mask(out / f"{name}.png", Image(from_nnunet(data, mask.array)))
        if data.needs_probabilities:
            with np.load(written / f"{name}.npz") as file_of_all:
                # nnU-Net holds an image as a volume of one plane.
                found_KYX = file_of_all["probabilities"][:, 0][data.order].astype(np.float32)
            path = probabilities_path(out / PROBABILITIES_NAME, name, found_KYX)
            write_probabilities(path, found_KYX)
