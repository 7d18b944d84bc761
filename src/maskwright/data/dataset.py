"""From a folder to cases: which files are images, which mask belongs to which, what is in the way.

Two layouts are taken as they are, no file needs to be renamed::

    data/images/a.png + data/masks/a.png      two folders, paired by name
    data/a.png + data/a_mask.png              one folder, masks marked in their names
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from maskwright.data import naming
from maskwright.data.files import is_system_file, subfolders
from maskwright.data.problem import Problem, listed
from maskwright.errors import DataError
from maskwright.io.registry import OTHER_SUFFIXES, SUFFIXES

__all__ = ["Case", "Dataset", "Problem", "find_cases", "group_cases"]

_LAYOUT = (
    "put the images into a folder images/ and their masks, with the same names, into a "
    "folder masks/ beside it"
)


@dataclass(frozen=True)
class Case:
    """One image, its mask, and the group it must not be separated from.

    Args:
        name: Stem of the image file.
        image: The image file.
        mask: The mask file, or ``None`` where there is none.
        group: Cases of one group go to the same part of a split.

    Example:
        >>> Case("a", Path("images/a.png"), None, "a").name
        'a'
    """

    name: str
    image: Path
    mask: Path | None
    group: str


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, in natural order of their names.

    Args:
        root: The folder.
        cases: Images with their masks.
        problems: What was found in the way, see :class:`Problem`.
        grouping: A sentence that says which cases stay together.
        sequence: Whether the cases are consecutive slices, of which neighbours are alike.

    Example:
        >>> Dataset(Path("data"), (), ()).sequence
        False
    """

    root: Path
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...]
    grouping: str = ""
    sequence: bool = False


def find_cases(root: Path, *, group_by: str | None = None, skip_unpaired: bool = False) -> Dataset:
    """Find the images of a folder and their masks, by names only.

    Args:
        root: The folder of the data set.
        group_by: Regular expression whose first group, or whole match, names what must stay
            together; ``None`` recognises it.
        skip_unpaired: Whether images without a mask and masks without an image are left out
            instead of refused.

    Returns:
        Cases and problems. Nothing is raised for what is in the folder.

    Raises:
        DataError: ``data-folder`` when there is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("images/a.png", "masks/a_seg.png"):
        ...         (Path(folder) / name).parent.mkdir()
        ...         (Path(folder) / name).touch()
        ...     [(case.name, case.mask.name) for case in find_cases(Path(folder)).cases]
        [('a', 'a_seg.png')]
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            "data-folder",
            str(root),
            expected="a folder of images and masks",
            found="a file" if root.exists() else "nothing there",
            remedy="check the path for typing errors",
        )
    problems: list[Problem] = []
    try:
        images, masks = _images_and_masks(root, problems)
    except PermissionError as error:
        problems.append(
            Problem(
                "no-permission",
                "refuse",
                str(error.filename),
                "you may not read this folder",
                "change its permissions",
            )
        )
        return Dataset(root, (), tuple(problems))
    if not images:
        problems.append(
            Problem(
                "no-image",
                "refuse",
                str(root),
                f"no image that can be read ({', '.join(sorted(SUFFIXES))})",
                _LAYOUT,
            )
        )
        return Dataset(root, (), tuple(problems))
    pairs = _pair(root, images, masks, skip_unpaired, problems)
    names = sorted(pairs, key=naming.natural_key)
    groups, grouping = group_cases(root, names, group_by, problems)
    cases = tuple(Case(name, images[name], pairs[name], groups[name]) for name in names)
    sequence = group_by is None and naming.is_sequence(names)
    if sequence:
        grouping = "consecutive slices: each part of a split is a block, as neighbours are alike"
    return Dataset(root, cases, tuple(problems), grouping, sequence)


def _images_and_masks(
    root: Path, problems: list[Problem]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Stem → file of the images and of the masks, and what is wrong with the names."""
    image_folder = _choose(root, naming.IMAGE_FOLDERS, "images", problems) or root
    mask_folder = _choose(root, naming.MASK_FOLDERS, "masks", problems)
    image_files = _usable_files(root, image_folder, problems)
    if mask_folder is not None and image_folder != root:
        mask_files = _usable_files(root, mask_folder, problems)
    else:
        stems = naming.separate([path.stem for path in image_files])[1]
        mask_files = [path for path in image_files if path.stem in set(stems)]
        if mask_folder is not None and not mask_files:
            mask_files = _usable_files(root, mask_folder, problems)
        image_files = [path for path in image_files if path not in set(mask_files)]
    return (
        _unique(root, image_files, "images", problems),
        _unique(root, mask_files, "masks", problems),
    )


def _choose(root: Path, names: tuple[str, ...], what: str, problems: list[Problem]) -> Path | None:
    found = subfolders(root, names)
    if len(found) > 1:
        others = ", ".join(path.name for path in found[1:])
        problems.append(
            Problem(
                "folder-choice",
                "warn",
                str(root),
                f"{found[0].name}/ is taken as the folder of {what}; {others} not used",
                f"rename or move the folder {found[0].name} if another one is meant",
            )
        )
    return found[0] if found else None


def _usable_files(root: Path, folder: Path, problems: list[Problem]) -> list[Path]:
    """The image files of a folder; the others are named."""
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
        elif path.is_dir():
            continue
        elif not path.resolve().is_relative_to(inside):
            problems.append(_outside(path))
        elif path.suffix.lower() in SUFFIXES:
            usable.append(path)
        elif path.suffix.lower() in OTHER_SUFFIXES:
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


def _outside(path: Path) -> Problem:
    return Problem(
        "symlink-outside",
        "refuse",
        str(path),
        f"a link to {path.resolve()}, outside the data folder",
        "copy what it points to into the data folder",
    )


def _unique(root: Path, files: list[Path], what: str, problems: list[Problem]) -> dict[str, Path]:
    """Stem → file; two files of one name, or of names that differ only in case, are refused."""
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        alike[path.stem.casefold()].append(path)
    for paths in alike.values():
        if len(paths) < 2:
            continue
        same = len({path.stem for path in paths}) < len(paths)
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
    return {path.stem: path for path in files}


def _pair(
    root: Path,
    images: dict[str, Path],
    masks: dict[str, Path],
    skip: bool,
    problems: list[Problem],
) -> dict[str, Path | None]:
    """Image stem → mask file; what does not pair becomes a problem."""
    found = naming.pair_names(list(images), list(masks))
    used = {mask for several in found.values() for mask in several}
    for image, several in found.items():
        if len(several) > 1:
            problems.append(
                Problem(
                    "mask-ambiguous",
                    "refuse",
                    str(images[image]),
                    f"more than one mask: {listed(several)}",
                    "keep one mask an image in the folder",
                )
            )
    missing = [name for name, several in found.items() if not several]
    orphans = [name for name in masks if name not in used]
    cases = {name.casefold(): name for name in orphans}
    for name in [name for name in missing if name.casefold() in cases]:
        problems.append(
            Problem(
                "name-case",
                "refuse",
                str(images[name]),
                f"the mask {masks[cases[name.casefold()]].name} differs in upper and lower case",
                "give both the same name",
            )
        )
        missing.remove(name)
        orphans.remove(cases[name.casefold()])
    if missing and not masks:
        problems.append(
            Problem(
                "masks-missing",
                "refuse",
                str(root),
                f"{len(missing)} images but no masks: {_files(images, missing)}",
                _LAYOUT,
            )
        )
    elif missing:
        problems.append(
            Problem(
                "mask-missing",
                "skip" if skip else "refuse",
                str(root),
                f"{_number(missing, 'image')} without a mask: {_files(images, missing)}",
                ""
                if skip
                else "draw the missing masks, move these images away, or leave them out "
                "with --set skip_unpaired=true",
            )
        )
    if orphans:
        problems.append(
            Problem(
                "mask-orphan",
                "skip" if skip else "refuse",
                str(root),
                f"{_number(orphans, 'mask')} without an image: {_files(masks, orphans)}",
                ""
                if skip
                else "add the images, move these masks away, or leave them out with "
                "--set skip_unpaired=true",
            )
        )
    dropped = set(missing) if skip and masks else set()
    pairs = {
        name: masks[several[0]] if several else None
        for name, several in found.items()
        if name not in dropped
    }
    if len(pairs) < 2:
        found_cases = "a single image with a mask" if pairs else "no image with a mask"
        problems.append(
            Problem(
                "one-case",
                "refuse",
                str(root),
                found_cases,
                "annotate at least two: one to learn from and one to check",
            )
        )
    return pairs


def group_cases(
    root: Path, names: list[str], group_by: str | None, problems: list[Problem]
) -> tuple[dict[str, str], str]:
    """Which cases must not be separated, by their names.

    Args:
        root: The folder, for messages.
        names: Names of the cases.
        group_by: Regular expression whose first group, or whole match, names what must stay
            together; ``None`` recognises it.
        problems: Takes what is wrong with the expression.

    Returns:
        The group of each name, and a sentence that says how they were found.

    Example:
        >>> group_cases(Path("."), ["p1_a", "p1_b"], "p[0-9]", [])[0]
        {'p1_a': 'p1', 'p1_b': 'p1'}
    """
    if group_by is None:
        return naming.find_groups(names)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        problems.append(
            Problem(
                "group-pattern",
                "refuse",
                f"group_by={group_by}",
                f"not a regular expression: {error}",
                "mend the pattern",
            )
        )
        return {name: name for name in names}, "no groups"
    found = {name: pattern.search(name) for name in names}
    unmatched = [name for name, match in found.items() if match is None]
    if unmatched:
        problems.append(
            Problem(
                "group-unmatched",
                "refuse",
                str(root),
                f"group_by={group_by} does not match {listed(unmatched)}",
                "change the pattern so that it matches every name",
            )
        )
    groups = {
        name: (match.group(1) if pattern.groups and match.group(1) else match.group())
        if match
        else name
        for name, match in found.items()
    }
    return groups, f"{len(set(groups.values()))} groups by the pattern {group_by!r}"


def _files(files: dict[str, Path], names: list[str]) -> str:
    return listed([files[name].name for name in sorted(names, key=naming.natural_key)])


def _number(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}" + ("s" if len(names) > 1 else "")
