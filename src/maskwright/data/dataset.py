"""From a folder to cases: which files are images, which mask belongs to which, what is in the way.

These layouts are taken as they are, no file needs to be renamed::

    data/images/a.png + data/masks/a.png            two folders, paired by name
    data/a.png + data/a_mask.png                    one folder, masks marked in their names
    data/imagesTr/a.nii.gz + data/labelsTr/…        a Decathlon or nnU-Net task
    data/a/images/a.png + data/a/masks/*.png        Kaggle's: a folder an image, a mask an object
    data/manifest.csv                               a table that names image, mask and more

In the third one ``dataset.json`` names the classes, and images without a mask are usual. Files
``a_0000``, ``a_0001`` … are the channels of one image ``a``. Folders such as ``roi/`` and
``second_observer/`` say where pixels count and what another person drew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from maskwright.data import naming
from maskwright.data.case import Case
from maskwright.data.companions import (
    ROI_FOLDERS,
    SECOND_OBSERVER_FOLDERS,
    find_companions,
    tell_companions,
)
from maskwright.data.description import read_class_labels
from maskwright.data.files import subfolders
from maskwright.data.grouping import group_cases
from maskwright.data.listing import unique_names, unused_folders, usable_files
from maskwright.data.manifest import find_manifest, read_manifest
from maskwright.data.object_folders import find_object_folders, is_object_layout
from maskwright.data.pairing import LAYOUT, check_number, pair_files
from maskwright.data.problem import Problem, listed
from maskwright.data.slices import cut_stacks
from maskwright.errors import DataError
from maskwright.io.registry import SUFFIXES, image_stem, is_volume

__all__ = ["Case", "Dataset", "Problem", "find_cases", "group_cases"]

_BLOCKS = "each part of a split is a block, as neighbours are alike"


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, in natural order of their names.

    Args:
        root: The folder, or the manifest.
        cases: Images with their masks.
        problems: What was found in the way, see :class:`Problem`.
        grouping: A sentence that says which cases stay together.
        sequence: Whether the cases are consecutive slices, of which neighbours are alike.
        labels: Class names with their mask values, where the data set says them.
        ignore: Mask value of pixels that do not count, where the data set says it.
        numbered: Whether masks number objects because of how they are stored.
        notes: What else there is, a sentence each.

    Example:
        >>> Dataset(Path("data"), (), ()).sequence
        False
    """

    root: Path
    cases: tuple[Case, ...]
    problems: tuple[Problem, ...]
    grouping: str = ""
    sequence: bool = False
    labels: tuple[tuple[str, int], ...] = ()
    ignore: int | None = None
    numbered: bool = False
    notes: tuple[str, ...] = ()


def find_cases(
    root: Path,
    *,
    group_by: str | None = None,
    skip_unpaired: bool = False,
    slices: bool = False,
) -> Dataset:
    """Find the images of a folder and their masks, by names only.

    Args:
        root: The folder of the data set, or a manifest, see :mod:`maskwright.data.manifest`.
        group_by: Regular expression whose first group, or whole match, names what must stay
            together; ``None`` recognises it.
        skip_unpaired: Whether images without a mask and masks without an image are left out
            instead of refused.
        slices: Whether each slice of a stack is a case of its own.

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
    if not root.is_dir() and not (root.is_file() and root.suffix.lower() == ".csv"):
        raise DataError(
            "data-folder",
            str(root),
            expected="a folder of images and masks, or a manifest (.csv)",
            found="a file" if root.exists() else "nothing there",
            remedy="check the path for typing errors",
        )
    problems: list[Problem] = []
    layout = _Layout()
    try:
        manifest = find_manifest(root)
        if manifest is not None:
            cases, layout.grouped = read_manifest(manifest, problems, skip=skip_unpaired)
        elif is_object_layout(root):
            cases = _object_cases(root, problems, skip_unpaired, layout)
        else:
            cases = _paired_cases(root, problems, skip_unpaired, layout)
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
    cases.sort(key=lambda case: naming.natural_key(case.name))
    grouping, sequence = "", False
    if cases:
        cases, grouping, sequence = _grouped(root, cases, group_by, problems, layout)
    if slices:
        stacks = len(cases)
        cases, one_stack = cut_stacks(cases, problems)
        if one_stack:
            sequence, grouping = True, f"slices of one stack: {_BLOCKS}"
        elif len(cases) > stacks:
            groups = len({case.group for case in cases})
            sequence, grouping = False, f"slices of one stack stay together: {groups} groups"
    check_number(root, cases, problems)
    return Dataset(
        root,
        tuple(cases),
        tuple(problems),
        grouping,
        sequence,
        layout.labels,
        layout.ignore,
        layout.numbered,
        tuple(layout.notes),
    )


@dataclass
class _Layout:
    """What a layout says beside its cases."""

    grouped: bool = False
    numbered: bool = False
    labels: tuple[tuple[str, int], ...] = ()
    ignore: int | None = None
    notes: list[str] = field(default_factory=list)


def _paired_cases(root: Path, problems: list[Problem], skip: bool, layout: _Layout) -> list[Case]:
    """Images and masks in folders, paired by name, with what goes with them."""
    images, masks = _images_and_masks(root, problems)
    if not images:
        problems.append(
            Problem(
                "no-image",
                "refuse",
                str(root),
                f"no image that can be read ({', '.join(sorted(SUFFIXES))})",
                LAYOUT,
            )
        )
        return []
    firsts = {name: files[0] for name, files in images.items()}
    is_task = bool(subfolders(root, naming.TASK_FOLDERS))
    pairs = pair_files(root, firsts, masks, problems, skip=skip, unlabelled=is_task)
    if is_task:
        layout.labels, layout.ignore = read_class_labels(root, problems)
    rois = find_companions(root, list(pairs), ROI_FOLDERS)
    seconds = find_companions(root, list(pairs), SECOND_OBSERVER_FOLDERS)
    tell_companions(rois, "where pixels count", layout.notes, problems)
    tell_companions(seconds, "what a second person drew", layout.notes, problems)
    layout.notes += unused_folders(root)
    return [
        Case(
            name,
            images[name][0],
            mask,
            name,
            images[name][1:],
            roi=rois.files.get(name),
            second=seconds.files.get(name),
        )
        for name, mask in pairs.items()
    ]


def _object_cases(root: Path, problems: list[Problem], skip: bool, layout: _Layout) -> list[Case]:
    """A folder for each image, with the masks of its objects."""
    folders = find_object_folders(root, problems)
    bare = [folder.name for folder in folders if not folder.objects]
    if bare:
        problems.append(
            Problem(
                "mask-missing",
                "skip" if skip else "refuse",
                str(root),
                f"no masks in {listed(bare)}",
                ""
                if skip
                else "draw them, move these folders away, or leave them out with "
                "--set skip_unpaired=true",
            )
        )
    several = any(len(folder.objects) > 1 for folder in folders)
    layout.numbered = several
    if several:
        objects = sum(len(folder.objects) for folder in folders)
        layout.notes.append(f"a folder for each image and a mask for each of {objects} objects")
    return [
        Case(
            folder.name,
            folder.image,
            folder.masks if several or not folder.objects else folder.objects[0],
            folder.name,
            objects=folder.objects if several else (),
        )
        for folder in folders
        if folder.objects or not skip
    ]


def _grouped(
    root: Path,
    cases: list[Case],
    group_by: str | None,
    problems: list[Problem],
    layout: _Layout,
) -> tuple[list[Case], str, bool]:
    """The cases with their groups, a sentence on these, and whether they are slices."""
    names = [case.name for case in cases]
    if layout.grouped and group_by is None:
        groups = len({case.group for case in cases})
        return cases, f"{groups} groups, as the manifest says", False
    groups_of, grouping = group_cases(root, names, group_by, problems)
    # Volumes with consecutive numbers are subjects, not slices.
    volumes = any(is_volume(case.image) for case in cases)
    sequence = group_by is None and naming.is_sequence(names) and not volumes
    if sequence:
        grouping = f"consecutive slices: {_BLOCKS}"
    return [replace(case, group=groups_of[case.name]) for case in cases], grouping, sequence


def _images_and_masks(
    root: Path, problems: list[Problem]
) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path]]:
    """Name → files of the images and name → file of the masks, and what is wrong with them."""
    image_folder = _choose(root, naming.IMAGE_FOLDERS, "images", problems) or root
    mask_folder = _choose(root, naming.MASK_FOLDERS, "masks", problems)
    image_files = usable_files(root, image_folder, problems)
    if mask_folder is not None and image_folder != root:
        mask_files = usable_files(root, mask_folder, problems)
    else:
        stems = set(naming.separate([image_stem(path) for path in image_files])[1])
        mask_files = [path for path in image_files if image_stem(path) in stems]
        if mask_folder is not None and not mask_files:
            mask_files = usable_files(root, mask_folder, problems)
        image_files = [path for path in image_files if path not in set(mask_files)]
    masks = unique_names(root, mask_files, "masks", problems)
    images = unique_names(root, image_files, "images", problems)
    return _join_channels(root, images, masks, problems), masks


def _join_channels(
    root: Path, images: dict[str, Path], masks: dict[str, Path], problems: list[Problem]
) -> dict[str, tuple[Path, ...]]:
    """Name → files of each image; images that lack a channel are refused."""
    channels = naming.find_channels(list(images), list(masks))
    if not channels:
        return {name: (path,) for name, path in images.items()}
    every = sorted({number for numbers in channels.values() for number in numbers})
    lacking = [name for name, numbers in channels.items() if sorted(numbers) != every]
    if lacking:
        problems.append(
            Problem(
                "channels-missing",
                "refuse",
                str(root),
                f"the channels {', '.join(f'{n:04d}' for n in every)} are there, but not all of "
                f"{listed(sorted(lacking, key=naming.natural_key))}",
                "add the missing files, or move these images away",
            )
        )
    return {
        name: tuple(images[numbers[n]] for n in sorted(numbers))
        for name, numbers in channels.items()
    }


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
