"""From a folder to cases: which files are images, which mask belongs to which, what is in the way.

Three layouts are taken as they are, no file needs to be renamed::

    data/images/a.png + data/masks/a.png            two folders, paired by name
    data/a.png + data/a_mask.png                    one folder, masks marked in their names
    data/imagesTr/a.nii.gz + data/labelsTr/…        a Decathlon or nnU-Net task

In the last one ``dataset.json`` names the classes, and images without a mask are usual. Files
``a_0000``, ``a_0001`` … are the channels of one image ``a``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskwright.data import naming
from maskwright.data.description import read_class_labels
from maskwright.data.files import subfolders
from maskwright.data.grouping import group_cases
from maskwright.data.listing import unique_names, usable_files
from maskwright.data.pairing import LAYOUT, pair_files
from maskwright.data.problem import Problem, listed
from maskwright.errors import DataError
from maskwright.io.channels import read_channels
from maskwright.io.image import Image
from maskwright.io.registry import SUFFIXES, image_stem, is_volume

__all__ = ["Case", "Dataset", "Problem", "find_cases", "group_cases"]


@dataclass(frozen=True)
class Case:
    """One image, its mask, and the group it must not be separated from.

    Args:
        name: Stem of the image file, without the number of the channel.
        image: The image file, or that of its first channel.
        mask: The mask file, or ``None`` where there is none.
        group: Cases of one group go to the same part of a split.
        more: The files of the other channels, in their order.

    Example:
        >>> Case("a", Path("images/a.png"), None, "a").name
        'a'
    """

    name: str
    image: Path
    mask: Path | None
    group: str
    more: tuple[Path, ...] = ()

    def read_image(self) -> Image:
        """The image with all its channels.

        Raises:
            ImageReadError: When a file cannot be read, or the channels do not fit each other.
        """
        return read_channels((self.image, *self.more))


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder, in natural order of their names.

    Args:
        root: The folder.
        cases: Images with their masks.
        problems: What was found in the way, see :class:`Problem`.
        grouping: A sentence that says which cases stay together.
        sequence: Whether the cases are consecutive slices, of which neighbours are alike.
        labels: Class names with their mask values, where the data set says them.

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
                LAYOUT,
            )
        )
        return Dataset(root, (), tuple(problems))
    firsts = {name: files[0] for name, files in images.items()}
    is_task = bool(subfolders(root, naming.TASK_FOLDERS))
    pairs = pair_files(root, firsts, masks, problems, skip=skip_unpaired, unlabelled=is_task)
    names = sorted(pairs, key=naming.natural_key)
    groups, grouping = group_cases(root, names, group_by, problems)
    cases = tuple(
        Case(name, images[name][0], pairs[name], groups[name], images[name][1:]) for name in names
    )
    # Volumes with consecutive numbers are subjects, not slices.
    volumes = any(is_volume(case.image) for case in cases)
    sequence = group_by is None and naming.is_sequence(names) and not volumes
    if sequence:
        grouping = "consecutive slices: each part of a split is a block, as neighbours are alike"
    labels = read_class_labels(root, problems) if is_task else ()
    return Dataset(root, cases, tuple(problems), grouping, sequence, labels)


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
