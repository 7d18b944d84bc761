"""The files of a folder that can be images or masks, and what else lies there."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from maskwright.data import naming
from maskwright.data.companions import ROI_FOLDERS, SECOND_OBSERVER_FOLDERS
from maskwright.data.files import image_files, is_system_file, visible_files
from maskwright.data.problem import Problem, listed
from maskwright.io.registry import (
    OTHER_SUFFIXES,
    image_stem,
    image_suffix,
    is_image,
    is_image_folder,
)

_HEADERS = (".mhd", ".nhdr")
_DATA_OF_HEADERS = (".raw", ".zraw", ".raw.gz")


def usable_files(root: Path, folder: Path, problems: list[Problem]) -> list[Path]:
    """The image files of a folder; the others are named.

    Args:
        root: The folder of the data set, which no link may leave.
        folder: The folder with the files.
        problems: Takes what else is there.

    Returns:
        The files, sorted by name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.nii.gz", "notes.txt"):
        ...         (Path(folder) / name).touch()
        ...     [path.name for path in usable_files(Path(folder), Path(folder), [])]
        ['a.nii.gz', 'b.png']
    """
    inside = root.resolve()
    if not folder.resolve().is_relative_to(inside):
        problems.append(_outside(folder))
        return []
    usable: list[Path] = []
    system: list[str] = []
    other: list[str] = []
    for path in sorted(folder.iterdir()):
        if is_system_file(path):
            system.append(path.name)
        elif path.is_symlink() and not path.exists():
            problems.append(
                Problem(
                    "symlink-broken",
                    "refuse",
                    str(path),
                    "a link to nothing",
                    "delete it or copy the file itself",
                )
            )
        elif (path.is_dir() and not is_image_folder(path)) or _is_data_of_header(path):
            continue
        elif not path.resolve().is_relative_to(inside):
            problems.append(_outside(path))
        elif is_image(path):
            usable.append(path)
        elif image_suffix(path) in OTHER_SUFFIXES:
            problems.append(
                Problem(
                    "image-unsupported",
                    "refuse",
                    str(path),
                    f"images of type {path.suffix} cannot be read",
                    "convert it to PNG or TIFF, or move it out of the folder",
                )
            )
        else:
            other.append(path.name)
    if system:
        problems.append(Problem("system-files", "skip", str(folder), listed(system), ""))
    if other:
        problems.append(
            Problem("other-files", "skip", str(folder), f"not images: {listed(other)}", "")
        )
    return usable


def unused_folders(root: Path) -> list[str]:
    """A sentence that names the folders with images that no layout takes.

    Args:
        root: The folder of the data set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "unlabelled").mkdir()
        ...     (Path(folder) / "unlabelled" / "a.png").touch()
        ...     unused_folders(Path(folder))
        ['not used: unlabelled/ (1 image)']
    """
    known = {*naming.IMAGE_FOLDERS, *naming.MASK_FOLDERS, *ROI_FOLDERS, *SECOND_OBSERVER_FOLDERS}
    found = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith(".") or folder.name.lower() in known:
            continue
        images = len(image_files(visible_files(folder)))
        if images:
            found.append(f"{folder.name}/ ({images} image{'s' if images > 1 else ''})")
    return [f"not used: {listed(found)}"] if found else []


def _outside(path: Path) -> Problem:
    return Problem(
        "symlink-outside",
        "refuse",
        str(path),
        f"a link to {path.resolve()}, outside the data folder",
        "copy what it points to into the data folder",
    )


def _is_data_of_header(path: Path) -> bool:
    """Whether a file holds the voxels of a header beside it, which is the file that counts."""
    stems = [path.name.removesuffix(end) for end in _DATA_OF_HEADERS if path.name.endswith(end)]
    return any(path.with_name(stem + header).exists() for stem in stems for header in _HEADERS)


def unique_names(
    root: Path, files: list[Path], what: str, problems: list[Problem]
) -> dict[str, Path]:
    """Stem → file; two files of one name, or of names that differ only in case, are refused.

    Args:
        root: The folder of the data set, for messages.
        files: The files.
        what: What they are called in messages.
        problems: Takes what is refused.

    Example:
        >>> list(unique_names(Path("."), [Path("a.nii.gz"), Path("b.png")], "images", []))
        ['a', 'b']
    """
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        alike[image_stem(path).casefold()].append(path)
    for paths in alike.values():
        if len(paths) < 2:
            continue
        same = len({image_stem(path) for path in paths}) < len(paths)
        problems.append(
            Problem(
                "name-twice" if same else "name-case",
                "refuse",
                str(root),
                f"{what} {listed([path.name for path in paths])} "
                + ("have the same name" if same else "differ only in upper and lower case"),
                "keep one of them" if same else "rename one of them",
            )
        )
    return {image_stem(path): path for path in files}
