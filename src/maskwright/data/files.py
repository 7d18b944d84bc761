"""Which files of a folder are meant, and which a person names on the command line."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskwright.data import naming
from maskwright.errors import DataError
from maskwright.io.registry import READABLE, file_of, image_stem, is_image, is_image_folder

_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files that a person means by files, folders and patterns.

    Args:
        inputs: Files, folders (``images/`` inside is used where it exists; masks beside images
            are left out) or patterns such as ``new/*.png``. A dataset of an HDF5 file is named as
            ``file.h5:/dataset``; a folder of Zarr is one image.

    Returns:
        Files, and folders that are images, in natural order of their names, each once.

    Raises:
        DataError: ``input-missing``, ``input-empty``, ``image-unsupported``, or ``name-twice``
            where two files would give masks of the same name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("s10.png", "s9.png", "notes.txt"):
        ...         (Path(folder) / name).touch()
        ...     [path.name for path in find_images([folder])]
        ['s9.png', 's10.png']
    """
    found: dict[Path, None] = {}
    for given in inputs:
        path = Path(given)
        if is_image_folder(path) or file_of(path).is_file():
            matches = [path]
        elif path.is_dir():
            matches = _images_of_folder(path)
        else:
            matches = [Path(match) for match in glob.glob(str(given), recursive=True)]
            matches = image_files(path for path in matches if _is_one_image(path))
        if not matches:
            kind = "empty" if path.is_dir() else "missing"
            raise DataError(
                f"input-{kind}",
                str(given),
                expected="images",
                found="no image" if path.is_dir() else "nothing there",
                remedy=f"give a file, a folder or a pattern of {READABLE} files",
            )
        found |= dict.fromkeys(matches)
    by_name: dict[str, Path] = {}
    for path in sorted(found, key=lambda p: naming.natural_key(image_stem(p))):
        if not is_image(path):
            raise DataError(
                "image-unsupported",
                str(path),
                expected=READABLE,
                found=f"a file ending in {path.suffix or 'nothing'}",
                remedy="convert it to one of them",
            )
        other = by_name.setdefault(image_stem(path), path)
        if other != path:
            raise DataError(
                "name-twice",
                str(path),
                expected="a name of its own for each image",
                found=f"{other} with the same name",
                remedy="predict them into different folders",
            )
    return list(by_name.values())


def group_channels(paths: Sequence[Path], channels: int) -> dict[str, tuple[Path, ...]]:
    """The files of each image, for a network that may take several channels.

    Args:
        paths: Image files.
        channels: Channels the network takes.

    Returns:
        Name of the image → its files: as many as the network has channels where all names end in
        ``_0000``, ``_0001`` … and none is missing, else each file alone.

    Example:
        >>> group_channels([Path("a_0000.png"), Path("a_0001.png")], 2)["a"][1].name
        'a_0001.png'
    """
    stems = {image_stem(path): path for path in paths}
    cores = {naming.channel_core(stem) for stem in stems}
    found = naming.find_channels(list(stems), [core for core in cores if core])
    wanted = list(range(channels))
    if channels > 1 and found and all(sorted(numbers) == wanted for numbers in found.values()):
        return {name: tuple(stems[numbers[n]] for n in wanted) for name, numbers in found.items()}
    return {stem: (path,) for stem, path in stems.items()}


def _images_of_folder(folder: Path) -> list[Path]:
    inner = subfolders(folder, naming.IMAGE_FOLDERS)
    files = image_files(visible_files(inner[0] if inner else folder))
    if inner:
        return files
    if not files:
        # Kaggle's layout: a folder for each image, with images/ and masks/ in it.
        each = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        places = [place for path in each for place in subfolders(path, naming.IMAGE_FOLDERS)[:1]]
        return [path for place in places for path in image_files(visible_files(place))]
    images, _ = naming.separate([image_stem(path) for path in files])
    return [path for path in files if image_stem(path) in set(images)]


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder, and folders that are images, without those that systems leave."""
    files = (path for path in sorted(folder.iterdir()) if _is_one_image(path))
    return [path for path in files if not is_system_file(path)]


def image_files(files: Iterable[Path]) -> list[Path]:
    """Those whose suffix is one of an image, and folders that are images."""
    return [path for path in files if is_image(path)]


def _is_one_image(path: Path) -> bool:
    return path.is_file() or is_image_folder(path)


def is_system_file(path: Path) -> bool:
    """Whether a system left this file behind, such as ``.DS_Store`` or ``Thumbs.db``."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def subfolders(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders of the given names, the surest name first."""
    by_name = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return [by_name[name] for name in names if name in by_name]
