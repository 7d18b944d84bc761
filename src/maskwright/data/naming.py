"""What file names say: which mask belongs to which image, what must stay together, what order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

TASK_FOLDERS = ("imagestr",)
"""The folder of images of a Decathlon or nnU-Net task, lower-case."""

IMAGE_FOLDERS = (
    *TASK_FOLDERS,
    "images",
    "image",
    "imgs",
    "img",
    "raw",
    "inputs",
    "input",
    "originals",
    "original",
)
"""Names of folders of images, lower-case, the surest first."""

MASK_FOLDERS = (
    "labelstr",
    "1st_manual",
    "manual1",
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "gt",
    "ground_truth",
    "groundtruth",
    "segmentations",
    "segmentation",
    "targets",
    "target",
)
"""Names of folders of masks, lower-case, the surest first: where there is a folder ``1st_manual``,
as in the DRIVE vessels, ``mask`` holds the field of view."""

_MASK_WORDS = (
    r"masks?|labels?|seg|segmentations?|gt|ground_?truth|annotations?|targets?|truth|"
    r"manual\d?|\d(?:st|nd|rd)(?:HO|_manual)"
)
_IMAGE_WORDS = r"images?|img|im|raw|orig|original|training|test|0000"
_MASK_AFFIX = re.compile(rf"^(?:{_MASK_WORDS})[_\-. ](?=.)|(?<=.)[_\-. ](?:{_MASK_WORDS})$", re.I)
_IMAGE_AFFIX = re.compile(
    rf"^(?:{_IMAGE_WORDS})[_\-. ](?=.)|(?<=.)[_\-. ](?:{_IMAGE_WORDS})$", re.I
)
_SIDE = re.compile(r"^(.*\d)[_\- ]?(L|R|OD|OS|left|right)$", re.I)
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
_PREFIX_NUMBER = re.compile(r"^(.+)[_\-](\d+)$")
_ENDING_NUMBER = re.compile(r"^(.*?)(\d+)$")


def mask_core(stem: str) -> str:
    """A mask's name without what marks it as a mask.

    Example:
        >>> mask_core("Image_01L_1stHO"), mask_core("mask_7"), mask_core("cell")
        ('Image_01L', '7', 'cell')
    """
    return _MASK_AFFIX.sub("", stem, count=1)


def image_core(stem: str) -> str:
    """An image's name without what marks it as an image.

    Example:
        >>> image_core("21_training"), image_core("cell")
        ('21', 'cell')
    """
    return _IMAGE_AFFIX.sub("", stem, count=1)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key under which ``slice_2`` comes before ``slice_10``.

    Example:
        >>> sorted(["s10", "s2", "s1"], key=natural_key)
        ['s1', 's2', 's10']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts]
    return (*key, (-1, 0, name))


def pair_names(images: Sequence[str], masks: Sequence[str]) -> dict[str, list[str]]:
    """The masks that belong to each image by their names.

    Equal names pair first; of the rest, names pair that are equal without their marks, such as
    ``_mask`` or ``_1stHO`` at a mask and ``_training`` at an image. A single image pairs with a
    single mask that is called ``seg``, ``label`` or the like.

    Args:
        images: Stems of the images.
        masks: Stems of the masks.

    Returns:
        For each image the stems of its masks: one is a pair, none a missing mask, several an
        ambiguity.

    Example:
        >>> pair_names(["a", "b"], ["a", "b_seg", "c"])
        {'a': ['a'], 'b': ['b_seg']}
    """
    same = set(images) & set(masks)
    pairs = {name: [name] if name in same else [] for name in images}
    by_core: dict[str, list[str]] = defaultdict(list)
    for mask in masks:
        if mask not in same:
            by_core[mask_core(mask)].append(mask)
    rest = [name for name in images if name not in same]
    cores = Counter(image_core(name) for name in rest)
    for name in rest:
        # A mark may also be a part of the name, so the whole name is tried first.
        core = image_core(name)
        found = by_core.get(name) or (by_core.get(core, []) if cores[core] == 1 else [])
        pairs[name] = list(found)
    taken = {mask for found in pairs.values() for mask in found}
    left = [mask for mask in masks if mask not in taken]
    if len(images) == len(left) == 1 and not pairs[images[0]] and is_mask_word(left[0]):
        pairs[images[0]] = left
    return pairs


def is_mask_word(stem: str) -> bool:
    """Whether a name says that it is a mask, and nothing else.

    Example:
        >>> is_mask_word("seg"), is_mask_word("a_seg")
        (True, False)
    """
    return re.fullmatch(_MASK_WORDS, stem, re.I) is not None


def channel_core(stem: str) -> str:
    """A name without the four digits of a channel; empty where it has none.

    Example:
        >>> channel_core("case_0001"), channel_core("case_1")
        ('case', '')
    """
    match = _CHANNEL.match(stem)
    return match.group(1) if match else ""


def find_channels(images: Sequence[str], masks: Sequence[str]) -> dict[str, dict[int, str]]:
    """The files of each image, where every name ends in the four digits of a channel.

    Four digits may also number the images themselves. They are channels only if a mask has the
    name without them, and none the name with them.

    Args:
        images: Stems of the image files.
        masks: Stems of the masks.

    Returns:
        Name of the image → number of the channel → stem; nothing where names are not such.

    Example:
        >>> find_channels(["a_0000", "a_0001"], ["a"]), find_channels(["a_0000"], ["a_0000"])
        ({'a': {0: 'a_0000', 1: 'a_0001'}}, {})
    """
    found = {name: match for name in images if (match := _CHANNEL.match(name))}
    named = {match.group(1) for match in found.values()} & set(masks)
    if len(found) < len(images) or not named or set(images) & set(masks):
        return {}
    channels: dict[str, dict[int, str]] = defaultdict(dict)
    for name, match in found.items():
        channels[match.group(1)][int(match.group(2))] = name
    return dict(channels)


def separate(stems: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell images from masks that lie in one folder, by the marks in the masks' names.

    Returns:
        Stems of the images and of the masks; no masks when no name is marked or when no marked
        name has an unmarked partner.

    Example:
        >>> separate(["a", "a_mask", "b", "b_mask"])
        (['a', 'b'], ['a_mask', 'b_mask'])
        >>> separate(["ct", "seg"])
        (['ct'], ['seg'])
    """
    alone = len(stems) == 2
    masks = [s for s in stems if mask_core(s) != s or (alone and is_mask_word(s))]
    images = [stem for stem in stems if stem not in masks]
    if not any(pair_names(images, masks).values()):
        return list(stems), []
    return images, masks


def find_groups(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Recognise which images must not be split between training and test.

    Args:
        names: Names of the cases.

    Returns:
        The group of each name, and a sentence that says what was recognised.

    Example:
        >>> find_groups(["Image_01L", "Image_01R", "Image_02L"])[0]["Image_01R"]
        'Image_01'
    """
    sides = {name: found.group(1) for name in names if (found := _SIDE.match(name))}
    if sides and len(sides) == len(names) and max(Counter(sides.values()).values()) > 1:
        return sides, (
            f"left and right of one subject stay together: {_count(sides)} subjects, "
            f"recognised from names such as {names[0]!r}"
        )
    prefixes = {name: found.group(1) for name in names if (found := _PREFIX_NUMBER.match(name))}
    members = Counter(prefixes.values())
    several = sum(count > 1 for count in members.values())
    if len(prefixes) == len(names) and len(members) >= 3 and several >= 2:
        return prefixes, (
            f"images of one subject stay together: {len(members)} subjects, "
            f"recognised from names such as {names[0]!r} (subject_number)"
        )
    return {name: name for name in names}, "each image stands alone"


STACK = "one stack"
"""Group of the consecutive slices of a stack, whose scores are no independent evidence."""


def _count(groups: dict[str, str]) -> int:
    return len(set(groups.values()))


def is_sequence(names: Sequence[str]) -> bool:
    """Whether names are one prefix with consecutive numbers, as the slices of a stack.

    Example:
        >>> is_sequence(["slice_09", "slice_10", "slice_11"]), is_sequence(["a1", "a2", "a7"])
        (True, False)
    """
    found = [_ENDING_NUMBER.match(name) for name in names]
    if len(names) < 3 or not all(found):
        return False
    prefixes = {match.group(1) for match in found if match}
    numbers = sorted(int(match.group(2)) for match in found if match)
    return len(prefixes) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
