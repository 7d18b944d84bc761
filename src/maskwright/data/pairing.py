"""Images and masks as pairs, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwright.data import naming
from maskwright.data.case import Case
from maskwright.data.problem import Problem, listed

LAYOUT = (
    "put the images into a folder images/ and their masks, with the same names, into a "
    "folder masks/ beside it"
)
"""What to do with a folder in which nothing is found."""


def pair_files(
    root: Path,
    images: dict[str, Path],
    masks: dict[str, Path],
    problems: list[Problem],
    *,
    skip: bool,
    unlabelled: bool,
) -> dict[str, Path | None]:
    """The mask of each image by their names; what does not pair becomes a problem.

    Args:
        root: The folder of the data set, for messages.
        images: Stem → file of the images.
        masks: Stem → file of the masks.
        problems: Takes what does not pair.
        skip: Whether what does not pair is left out instead of refused.
        unlabelled: Whether images without a mask are usual here, so that they are left out with
            a warning.

    Returns:
        Image stem → mask file, ``None`` where there is none.

    Example:
        >>> images, masks = {"a": Path("a.png")}, {"a_seg": Path("a_seg.png")}
        >>> pairs = pair_files(Path("."), images, masks, [], skip=False, unlabelled=False)
        >>> pairs["a"].name
        'a_seg.png'
    """
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
                LAYOUT,
            )
        )
    elif missing:
        left_out = ", left out" if unlabelled else ""
        problems.append(
            Problem(
                "mask-missing",
                "skip" if skip else "warn" if unlabelled else "refuse",
                str(root),
                f"{_number(missing, 'image')} without a mask{left_out}: {_files(images, missing)}",
                ""
                if skip
                else "draw its mask to learn from it too"
                if unlabelled
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
    dropped = set(missing) if (skip or unlabelled) and masks else set()
    pairs = {
        name: masks[several[0]] if several else None
        for name, several in found.items()
        if name not in dropped
    }
    return pairs


def check_number(root: Path, cases: Sequence[Case], problems: list[Problem]) -> None:
    """Refuse what is too little to learn from and to check on.

    Args:
        root: The folder, for messages.
        cases: All cases.
        problems: Takes the refusal.

    Example:
        >>> problems = []
        >>> check_number(Path("data"), [], problems)
        >>> problems[0].code
        'one-case'
    """
    refused = any(problem.level == "refuse" for problem in problems)
    if len(cases) > 1 or (refused and not cases):
        return
    problems.append(
        Problem(
            "one-case",
            "refuse",
            str(root),
            "a single image with a mask" if cases else "no image with a mask",
            "annotate at least two: one to learn from and one to check; of a stack, learn from "
            "its slices with --set data.slices=true",
        )
    )


def _files(files: dict[str, Path], names: list[str]) -> str:
    return listed([files[name].name for name in sorted(names, key=naming.natural_key)])


def _number(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}" + ("s" if len(names) > 1 else "")
