"""The data sets of the comparison of improvements: where they lie, and what is kept for the test.

Every test part is fixed and written here; nothing is chosen after a result was seen. Where a set
is so small that one test part says little, each seed has another.
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


Choice = Callable[[Sequence[str], int], list[str]]
"""From all names and the seed of a run to the names that are kept for its test."""


def _nth(every: int, first: int, *, by_seed: bool = False) -> Choice:
    """Each so manieth name; with ``by_seed`` other ones for each seed."""

    def choose(names: Sequence[str], seed: int) -> list[str]:
        wanted = (first + seed * by_seed) % every
        return [name for i, name in enumerate(sorted(names)) if i % every == wanted]

    return choose


def _numbered(above: int) -> Choice:
    """Names whose number is above a limit."""
    return lambda names, _: [n for n in names if int(re.findall(r"\d+", n)[0]) > above]


@dataclass(frozen=True)
class DataSet:
    """One data set and how it is trained on.

    Args:
        name: Name of its folder.
        foreground: Name of the class that is scored, and that image labels ask for.
        test: Which are kept for the test.
        patch_px: Side of a training patch.
        measures: Groups of measures besides overlap; only what the tables show.
        options: Further arguments of ``maskwright train``.
        settings: Further ``key=value`` settings.
        longer: How many times as long as the others it is trained.
        halved: Whether each image is cut into a left and a right half.
    """

    name: str
    foreground: str
    test: Choice
    patch_px: int
    measures: str = ""
    options: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    longer: float = 1.0
    halved: bool = False


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
        ),
        DataSet(
            "lung_tumours",
            "tumour",
            _nth(4, 3, by_seed=True),
            192,
            options={"labels": "background=0,tumour=255", "group_by": "^(.+)_(?:left|right)$"},
            # Tumours are 0.8 % of the pixels: in the time of the others no network drew one.
            settings=("train.foreground_share=0.8",),
            longer=2.5,
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
        splits: JSON files with the names for training and test, one for each seed.
        facts: What the tables say of it, of the first seed where others differ.
    """

    data: DataSet
    root: Path
    splits: tuple[Path, ...]
    facts: dict[str, Any]


def prepare(data: DataSet, source: Path, work: Path, seeds: int) -> Prepared:
    """Write the splits, and the halves where a set is cut, into the work folder.

    Args:
        data: What to prepare.
        source: Folder of all data sets.
        work: Folder of this set's files.
        seeds: Number of seeds.
    """
    root = source / data.name
    names = [image_stem(path) for path in sorted((root / "images").iterdir())]
    held: dict[str, bool] = {}
    if data.halved:
        root = work / "halves"
        held = _cut(source / data.name, root)
    splits, all_facts = [], []
    for seed in range(seeds):
        test = data.test(names, seed)
        parts = {"train": [name for name in names if name not in set(test)], "test": test}
        facts = {"training_images": len(parts["train"]), "test_images": len(test)}
        if data.halved:
            facts |= _facts_of_halves(parts, held)
            parts = {
                part: [f"{name}_{side}" for name in several for side in SIDES]
                for part, several in parts.items()
            }
        splits.append(work / f"split_{seed}.json")
        splits[-1].write_text(json.dumps(parts), encoding="utf-8")
        all_facts.append(facts)
    differs = len({path.read_text(encoding="utf-8") for path in splits}) > 1
    return Prepared(data, root, tuple(splits), {**all_facts[0], "split_by_seed": differs})


def _facts_of_halves(parts: dict[str, list[str]], held: dict[str, bool]) -> dict[str, Any]:
    patients = {name.split("_")[0] for name in parts["train"]}
    counts = {
        part: [held[f"{name}_{side}"] for name in several for side in SIDES]
        for part, several in parts.items()
    }
    return {
        "test_slices_of_patients_in_training": sum(
            name.split("_")[0] in patients for name in parts["test"]
        ),
        "halves": {
            part: {"with": sum(each), "without": len(each) - sum(each)}
            for part, each in (("training", counts["train"]), ("test", counts["test"]))
        },
    }


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
    test = json.loads(prepared.splits[0].read_text(encoding="utf-8"))["test"]
    images = {image_stem(path): path for path in (prepared.root / "images").iterdir()}
    masks = {image_stem(path): path for path in (prepared.root / "masks").iterdir()}
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name in test:
        for factor in FACTORS:
            file = f"{resized_name(name, factor)}.png"
            image_CYX = resize_array(read_image(images[name]).array, factor, smooth=True)
            truth_CYX = resize_array(read_mask(masks[name]).array, factor, smooth=False)
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
