"""Which files of a folder are meant, and which a person names on the command line."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from maskwright.data import naming
from maskwright.errors import DataError
from maskwright.io.registry import SUFFIXES

_SYSTEM_FILES = {"thumbs.db", "desktop.ini"}


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files that a person means by files, folders and patterns.

    Args:
        inputs: Files, folders (``images/`` inside is used where it exists; masks beside images
            are left out) or patterns such as ``new/*.png``.

    Returns:
        Files in natural order of their names, each once.

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
        if path.is_dir():
            matches = _images_of_folder(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(match) for match in glob.glob(str(given), recursive=True)]
            matches = [m for m in matches if m.is_file() and m.suffix.lower() in SUFFIXES]
        if not matches:
            kind = "empty" if path.is_dir() else "missing"
            raise DataError(
                f"input-{kind}",
                str(given),
                expected="images",
                found="no image" if path.is_dir() else "nothing there",
                remedy="give a file, a folder or a pattern of PNG, JPEG, BMP, GIF or TIFF images",
            )
        found |= dict.fromkeys(matches)
    by_name: dict[str, Path] = {}
    for path in sorted(found, key=lambda p: naming.natural_key(p.stem)):
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                "image-unsupported",
                str(path),
                expected="PNG, JPEG, BMP, GIF or TIFF",
                found=f"a file ending in {path.suffix or 'nothing'}",
                remedy="convert it to PNG or TIFF",
            )
        other = by_name.setdefault(path.stem, path)
        if other != path:
            raise DataError(
                "name-twice",
                str(path),
                expected="a name of its own for each image",
                found=f"{other} with the same name",
                remedy="predict them into different folders",
            )
    return list(by_name.values())


def _images_of_folder(folder: Path) -> list[Path]:
    inner = subfolders(folder, naming.IMAGE_FOLDERS)
    files = image_files(visible_files(inner[0] if inner else folder))
    if inner:
        return files
    images, _ = naming.separate([path.stem for path in files])
    return [path for path in files if path.stem in set(images)]


def visible_files(folder: Path) -> list[Path]:
    """The files of a folder without those that systems leave behind."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if not is_system_file(path)]


def image_files(files: Iterable[Path]) -> list[Path]:
    """Those whose suffix is one of an image."""
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def is_system_file(path: Path) -> bool:
    """Whether a system left this file behind, such as ``.DS_Store`` or ``Thumbs.db``."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def subfolders(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Folders of the given names, the surest name first."""
    by_name = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return [by_name[name] for name in names if name in by_name]
