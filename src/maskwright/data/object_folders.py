"""Kaggle's layout: a folder for each image, with one mask for each of its objects.

::

    data/4c465a54…/images/4c465a54….png
    data/4c465a54…/masks/15f6272d….png      one nucleus, 255 inside
    data/4c465a54…/masks/677620735….png     another one

The masks of an image become one in which objects are numbered in the natural order of their
files. Where two overlap, the later one wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.data import naming
from maskwright.data.files import image_files, subfolders, visible_files
from maskwright.data.listing import usable_files
from maskwright.data.problem import Problem, listed
from maskwright.errors import ImageReadError
from maskwright.io.image import Image, is_grey
from maskwright.io.registry import image_stem, read_mask


@dataclass(frozen=True)
class ObjectFolder:
    """The files of one image.

    Args:
        name: Name of the folder.
        image: The image.
        masks: The folder of its masks, or ``None``.
        objects: A mask for each object, in natural order of their names.
    """

    name: str
    image: Path
    masks: Path | None
    objects: tuple[Path, ...]


@dataclass(frozen=True)
class NumberedObjects:
    """One mask from those of many objects.

    Args:
        mask: The number of the object at each pixel from 1, 0 where there is none, shape
            ``(1, Y, X)``, uint16 or uint32.
        overlap_px: Pixels that more than one object claims.
        hidden: Files of objects of which nothing is left, or in which nothing is drawn.
    """

    mask: Image
    overlap_px: int
    hidden: tuple[str, ...]


def is_object_layout(root: Path) -> bool:
    """Whether every image has a folder of its own with ``images/`` and ``masks/`` in it.

    Args:
        root: The folder of the data set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "a" / "images").mkdir(parents=True)
        ...     (Path(folder) / "a" / "masks").mkdir()
        ...     is_object_layout(Path(folder)), is_object_layout(Path(folder) / "a")
        (True, False)
    """
    if subfolders(root, naming.IMAGE_FOLDERS) or image_files(visible_files(root)):
        return False
    return any(
        subfolders(path, naming.IMAGE_FOLDERS) and subfolders(path, naming.MASK_FOLDERS)
        for path in _folders(root)
    )


def find_object_folders(root: Path, problems: list[Problem]) -> list[ObjectFolder]:
    """The images of such a data set with the masks of their objects.

    Args:
        root: The folder of the data set.
        problems: Takes what is in the way.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("images/a.png", "masks/m2.png", "masks/m10.png"):
        ...         (Path(folder) / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        ...         (Path(folder) / "a" / name).touch()
        ...     [path.name for path in find_object_folders(Path(folder), [])[0].objects]
        ['m2.png', 'm10.png']
    """
    found: list[ObjectFolder] = []
    odd: list[str] = []
    for folder in sorted(_folders(root), key=lambda path: naming.natural_key(path.name)):
        places = subfolders(folder, naming.IMAGE_FOLDERS)
        images = usable_files(root, places[0], problems) if places else []
        if len(images) != 1:
            odd.append(f"{folder.name} ({len(images)})")
            continue
        masks = subfolders(folder, naming.MASK_FOLDERS)
        files = usable_files(root, masks[0], problems) if masks else []
        files.sort(key=lambda path: naming.natural_key(image_stem(path)))
        found.append(
            ObjectFolder(folder.name, images[0], masks[0] if files else None, tuple(files))
        )
    if odd:
        problems.append(
            Problem(
                "folder-images",
                "refuse",
                str(root),
                f"folders without exactly one image in images/: {listed(odd)}",
                "keep one image in the folder of each, or move these folders away",
            )
        )
    return found


def read_objects(paths: Sequence[Path]) -> NumberedObjects:
    """Number the objects of one image from their masks.

    Args:
        paths: A mask for each object, 0 and one other value, in the order that counts; at least
            one.

    Raises:
        ImageReadError: ``object-values`` for a mask with more than two values, ``mask-shape`` for
            one of another size, and for a file that cannot be read.

    Example:
        >>> import tempfile
        >>> from maskwright.io.registry import write_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [Path(folder) / name for name in ("a.png", "b.png")]
        ...     for path, row in zip(paths, ([255, 255, 0], [0, 255, 255])):
        ...         write_mask(path, Image(np.array([[row]], np.uint8)))
        ...     numbered = read_objects(paths)
        >>> numbered.mask.array.tolist(), numbered.overlap_px
        ([[[1, 2, 2]]], 1)
    """
    first = _inside(paths[0])
    numbers = np.zeros(first.shape, np.uint32)
    claims = np.zeros(first.shape, np.uint32)
    for number, path in enumerate(paths, start=1):
        inside = first if number == 1 else _inside(path)
        if inside.shape != first.shape:
            raise ImageReadError(
                "mask-shape",
                str(path),
                expected=f"the size of {paths[0].name}, {' × '.join(map(str, first.shape))} pixels",
                found=" × ".join(map(str, inside.shape)),
                remedy="export the masks of all objects at the size of their image",
            )
        numbers[inside] = number
        claims += inside
    left = set(np.unique(numbers).tolist())
    hidden = tuple(path.name for number, path in enumerate(paths, 1) if number not in left)
    small = len(paths) <= np.iinfo(np.uint16).max
    mask = Image(numbers.astype(np.uint16 if small else np.uint32)[None])
    return NumberedObjects(mask, int(np.count_nonzero(claims > 1)), hidden)


def _inside(path: Path) -> NDArray[np.bool_]:
    mask = read_mask(path)
    values = np.unique(mask.array)
    if not is_grey(mask.array) or len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise ImageReadError(
            "object-values",
            str(path),
            expected="the mask of one object, 0 and one other value",
            found=f"{len(values)} values in {mask.channels} channels",
            remedy="draw without smoothing, one object in each file of masks/",
        )
    inside: NDArray[np.bool_] = mask.array[0] != 0
    return inside


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
