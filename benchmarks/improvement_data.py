"""The data sets of the comparison of improvements: where they lie, and what is kept for the test.

Every test part is fixed and written here; nothing is chosen after a result was seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from maskwright.io.image import Image
from maskwright.io.registry import image_stem, read_image, read_mask, write_mask

SIDES = ("left", "right")
FACTORS = (0.5, 0.71, 1.0, 1.41, 2.0)


def _nth(every: int, first: int) -> Callable[[Sequence[str]], list[str]]:
    return lambda names: [name for i, name in enumerate(sorted(names)) if i % every == first]


def _numbered(above: int) -> Callable[[Sequence[str]], list[str]]:
    """Names whose number is above a limit."""
    return lambda names: [n for n in names if int(re.findall(r"\d+", n)[0]) > above]


@dataclass(frozen=True)
class DataSet:
    """One data set and how it is trained on.

    Args:
        name: Name of its folder.
        foreground: Name of the class that is scored, and that image labels ask for.
        test: From all names to those kept for the test.
        patch_px: Side of a training patch.
        measures: Groups of measures besides overlap; only what the tables show.
        options: Further arguments of ``maskwright train``.
        settings: Further ``key=value`` settings.
        halved: Whether each image is cut into a left and a right half.
        resized: From the test names to those that are predicted at several sizes.
    """

    name: str
    foreground: str
    test: Callable[[Sequence[str]], list[str]]
    patch_px: int
    measures: str = ""
    options: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    halved: bool = False
    resized: Callable[[Sequence[str]], list[str]] = list


DATA_SETS = {
    data.name: data
    for data in (
        DataSet(
            "membranes",
            "membrane",
            _numbered(19),
            192,
            measures="partition",
            options={"labels": "cell=255,membrane=0"},
        ),
        DataSet(
            "vessels",
            "foreground",
            _numbered(10),
            192,
            measures="ranking",
            settings=("data.roi=disc",),
            # One eye of each child: at twice the size these images are the slowest of all.
            resized=lambda names: [name for name in names if name.endswith("L")],
        ),
        DataSet(
            "lung_tumours",
            "tumour",
            _nth(4, 3),
            192,
            options={"labels": "background=0,tumour=255", "group_by": "^(.+)_(?:left|right)$"},
            halved=True,
        ),
        DataSet("nuclei", "foreground", _nth(5, 0), 256, measures="objects"),
    )
}


@dataclass(frozen=True)
class Prepared:
    """A data set on disk, ready for the trainer.

    Args:
        data: What it is.
        root: Folder with images and masks.
        split: JSON file with the names for training and test.
        facts: What the tables say of it.
    """

    data: DataSet
    root: Path
    split: Path
    facts: dict[str, Any]


def prepare(data: DataSet, source: Path, work: Path) -> Prepared:
    """Write the split, and the halves where a set is cut, into the work folder.

    Args:
        data: What to prepare.
        source: Folder of all data sets.
        work: Folder of this set's files.
    """
    root = source / data.name
    names = [image_stem(path) for path in sorted((root / "images").iterdir())]
    test = data.test(names)
    train = [name for name in names if name not in set(test)]
    facts: dict[str, Any] = {"training_images": len(train), "test_images": len(test)}
    if data.halved:
        patients = {name.split("_")[0] for name in train}
        facts["test_slices_of_patients_in_training"] = sum(
            name.split("_")[0] in patients for name in test
        )
        root = work / "halves"
        held = _cut(source / data.name, root)
        train, test = (
            [f"{name}_{side}" for name in several for side in SIDES] for several in (train, test)
        )
        facts["halves"] = {
            part: {"with": sum(held[n] for n in names), "without": sum(not held[n] for n in names)}
            for part, names in (("training", train), ("test", test))
        }
    split = work / "split.json"
    split.write_text(json.dumps({"train": train, "test": test}), encoding="utf-8")
    return Prepared(data, root, split, facts)


def _cut(source: Path, out: Path) -> dict[str, bool]:
    """Write both halves of every slice; whether each holds something."""
    held: dict[str, bool] = {}
    for folder, read in (("images", read_image), ("masks", read_mask)):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted((source / folder).iterdir()):
            array_CYX = read(path).array
            middle = array_CYX.shape[-1] // 2
            halves = (array_CYX[..., :middle], array_CYX[..., middle:])
            for side, half_CYX in zip(SIDES, halves, strict=True):
                name = f"{image_stem(path)}_{side}"
                write_mask(out / folder / f"{name}.png", Image(np.ascontiguousarray(half_CYX)))
                if folder == "masks":
                    held[name] = bool(half_CYX.any())
    return held


def resized_name(name: str, factor: float) -> str:
    """Name of a test image at another size; ends in the factor in hundredths.

    Example:
        >>> resized_name("cell", 0.5)
        'cell_size050'
    """
    return f"{name}_size{round(100 * factor):03d}"


def write_resized(prepared: Prepared, out: Path) -> None:
    """Write the test images and their masks at every size, once.

    Args:
        prepared: The data set.
        out: Folder to make, with ``images`` and ``masks``.
    """
    done = out / "complete"
    if done.exists():
        return
    test = json.loads(prepared.split.read_text(encoding="utf-8"))["test"]
    images = {image_stem(path): path for path in (prepared.root / "images").iterdir()}
    masks = {image_stem(path): path for path in (prepared.root / "masks").iterdir()}
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name in prepared.data.resized(test):
        mask = next(path for stem, path in masks.items() if stem.split("_1st")[0] == name)
        for factor in FACTORS:
            file = f"{resized_name(name, factor)}.png"
            image_CYX = resize_array(read_image(images[name]).array, factor, smooth=True)
            truth_CYX = resize_array(read_mask(mask).array, factor, smooth=False)
            write_mask(out / "images" / file, Image(image_CYX))
            write_mask(out / "masks" / file, Image(truth_CYX))
    done.touch()


def resize_array(array_CYX: NDArray[Any], factor: float, *, smooth: bool) -> NDArray[Any]:
    """An array at another size: images smoothed before they shrink, masks by the nearest value.

    Example:
        >>> resize_array(np.full((1, 4, 6), 7, np.uint8), 0.5, smooth=True)
        array([[[7, 7, 7],
                [7, 7, 7]]], dtype=uint8)
    """
    shape = (array_CYX.shape[0], *(round(n * factor) for n in array_CYX.shape[1:]))
    if shape == array_CYX.shape:
        return array_CYX
    changed: NDArray[Any] = resize(
        array_CYX,
        shape,
        order=1 if smooth else 0,
        anti_aliasing=smooth,
        preserve_range=True,
        mode="reflect" if smooth else "edge",
    )
    return np.rint(changed).astype(array_CYX.dtype)
