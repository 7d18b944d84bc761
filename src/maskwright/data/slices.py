"""Stacks as many planes: each slice along the first axis is an image of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.data.problem import Problem
from maskwright.errors import ImageReadError
from maskwright.io.image import Image
from maskwright.io.registry import read_header

if TYPE_CHECKING:
    from maskwright.data.case import Case

_Reader = Callable[[Sequence[Path]], Image]
_Stamp = tuple[tuple[str, int, int], ...]

# An image, its mask, a region and a second mask are read in turns, slice by slice.
_STACKS_KEPT = 4
_kept: OrderedDict[_Stamp, Image] = OrderedDict()


def slice_name(stack: str, z: int) -> str:
    """The name of a slice.

    Example:
        >>> slice_name("embryo", 7)
        'embryo_z0007'
    """
    return f"{stack}_z{z:04d}"


def read_slice(reader: _Reader, paths: Sequence[Path], z: int) -> Image:
    """One slice of a stack, at the place that the file says of the stack.

    The stacks read last are kept, as slices are read one after the other.

    Args:
        reader: Reads the stack from its files.
        paths: The files.
        z: Number of the slice along the first axis, from 0.

    Raises:
        ImageReadError: ``slice-missing`` when the files hold fewer slices, and whatever the
            reader raises.

    Example:
        >>> import numpy as np, tempfile
        >>> stack = Image(np.arange(8).reshape(1, 2, 2, 2), spacing_mm=(3.0, 1.0, 1.0))
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     found = read_slice(lambda _: stack, [Path(file.name)], 1)
        >>> found.array.tolist(), found.spacing_mm
        ([[[4, 5], [6, 7]]], (1.0, 1.0))
    """
    stack = _read_stack(reader, paths)
    depth = stack.array.shape[1] if stack.array.ndim == 4 else 1
    if stack.array.ndim != 4 or z >= depth:
        raise ImageReadError(
            "slice-missing",
            str(paths[0]),
            expected=f"a stack with a slice {z} (counted from 0)",
            found=f"{depth} slices" if stack.array.ndim == 4 else "a single plane",
            remedy="give the mask as many slices as its image has",
        )
    spacing_mm = None if stack.spacing_mm is None else stack.spacing_mm[1:]
    return replace(stack, array=stack.array[:, z], spacing_mm=spacing_mm)


def _read_stack(reader: _Reader, paths: Sequence[Path]) -> Image:
    try:
        stats = [path.stat() for path in paths]
    except OSError:
        return reader(paths)  # which says what is wrong
    stamp = tuple(
        (str(path.absolute()), stat.st_mtime_ns, stat.st_size)
        for path, stat in zip(paths, stats, strict=True)
    )
    if stamp not in _kept:
        _kept[stamp] = reader(paths)
        while len(_kept) > _STACKS_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(stamp)
    return _kept[stamp]


def cut_stacks(cases: Sequence[Case], problems: list[Problem]) -> tuple[list[Case], bool]:
    """The slices of every stack as cases, those of one stack in one group.

    The slices of a single stack stand alone, so that it can be split into blocks. Planes stay as
    they are, and so does what cannot be read, which is told when it is.

    Args:
        cases: Images and stacks with their masks.
        problems: Takes masks of another depth than their image.

    Returns:
        The cases, and whether they are the slices of a single stack.
    """
    found: list[Case] = []
    alone = len(cases) == 1
    for case in cases:
        size = _size(case.image)
        if size is None or len(size) != 3:
            found.append(case)
            continue
        if case.mask is not None and (_size(case.mask) or size)[:1] != size[:1]:
            problems.append(
                Problem(
                    "mask-shape",
                    "refuse",
                    str(case.mask),
                    f"the mask has another number of slices than its image, which has {size[0]}",
                    "export the mask with all slices of its image",
                )
            )
        names = [slice_name(case.name, z) for z in range(size[0])]
        found += [
            replace(case, name=name, z=z, group=name if alone else case.group)
            for z, name in enumerate(names)
        ]
    return found, alone and len(found) > 1


def _size(path: Path) -> tuple[int, ...] | None:
    try:
        return read_header(path).size
    except ImageReadError:
        return None
