"""How large the images of a data set are, in pixels and in millimetres, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskwright.data.problem import Problem, listed

ANISOTROPIC = 2.0
"""A voxel is anisotropic when its longest side is more than this many times its other sides."""

_AXES = ("depth", "height", "width")
_MOST_SIZES = 6  # sizes of volumes that are listed one by one
DIFFERING = 1.2
"""Voxel sizes that differ by more, along any axis, matter."""


def thick_axis(spacing: Sequence[float] | None) -> int | None:
    """The axis along which pixels are more than twice as long as along all others, or ``None``.

    Example:
        >>> thick_axis((5.0, 0.7, 0.7)), thick_axis((1.0, 1.0, 1.0)), thick_axis(None)
        (0, None, None)
    """
    if spacing is None:
        return None
    *_, second, longest = sorted(spacing)
    return list(spacing).index(longest) if longest > ANISOTROPIC * second else None


def space_facts(
    sizes: Mapping[tuple[int, ...], int], spacings: Mapping[tuple[float, ...], int]
) -> list[str]:
    """Sentences on the sizes of images, and of voxels where they are known.

    Args:
        sizes: How many images have which size in pixels.
        spacings: How many volumes have which voxel size in mm.

    Example:
        >>> space_facts({(30, 64, 64): 2}, {(5.0, 0.5, 0.5): 2})[1]
        'voxel size (depth × height × width): 5 × 0.5 × 0.5 mm, 10 times as long along the depth'
    """
    dims = max(len(size) for size in sizes)
    unit = "voxels" if dims == 3 else "pixels"
    shown = counted({by(size): n for size, n in sizes.items()})
    if dims == 3 and len(sizes) > _MOST_SIZES:
        shown = _ranges(list(sizes))
    facts = [f"size in {unit} ({axis_names(dims)}): {shown}"]
    if spacings:
        shown = counted({by(spacing): n for spacing, n in spacings.items()})
        if len(spacings) > _MOST_SIZES:
            shown = _ranges(list(spacings))
        middle = medians(spacings)
        thick = thick_axis(middle)
        told = ""
        if thick is not None:
            times = middle[thick] / max(mm for axis, mm in enumerate(middle) if axis != thick)
            told = f", {times:.2g} times as long along the {_AXES[thick]}"
        facts.append(f"voxel size ({axis_names(dims)}): {shown} mm{told}")
    return facts


def space_problems(
    root: str,
    sizes: Mapping[tuple[int, ...], int],
    spacings: Mapping[tuple[float, ...], int],
    unplaced: Sequence[str],
) -> list[Problem]:
    """What is wrong with the sizes of images and voxels.

    Args:
        root: The folder of the data set.
        sizes: How many images have which size in pixels.
        spacings: How many volumes have which voxel size in mm.
        unplaced: Names of volumes that do not say theirs.

    Example:
        >>> [p.code for p in space_problems("data", {(9, 9): 1, (9, 9, 9): 1}, {}, [])]
        ['image-dims']
    """
    problems = []
    if len({len(size) for size in sizes}) > 1:
        volumes = sum(n for size, n in sizes.items() if len(size) == 3)
        problems.append(
            Problem(
                "image-dims",
                "refuse",
                root,
                f"{sum(sizes.values()) - volumes} planes and {volumes} volumes in one data set",
                "keep one kind",
            )
        )
    if unplaced:
        problems.append(
            Problem(
                "spacing-unknown",
                "warn",
                root,
                f"no voxel size, so measured in pixels: {listed(unplaced)}",
                "save them with their voxel size if it is known",
            )
        )
    ends = [(min(along), max(along)) for along in zip(*spacings, strict=True)]
    if any(high > DIFFERING * low for low, high in ends):
        problems.append(
            Problem(
                "spacing-differs",
                "warn",
                root,
                f"voxel sizes differ from volume to volume: {_ranges(list(spacings))} mm; each "
                "volume is used as it is",
                "if that is more than the network should learn, bring them to one size, as with "
                "--set data.spacing=2,0.7,0.7",
            )
        )
    return problems


def medians(
    counts: Mapping[tuple[int, ...], int] | Mapping[tuple[float, ...], int],
) -> tuple[float, ...]:
    """The median along each axis; empty where there is nothing.

    Example:
        >>> medians({(1.0, 0.5): 3, (9.0, 0.5): 2})
        (1.0, 0.5)
    """
    if not counts:
        return ()
    every = np.repeat(np.array(list(counts), np.float64), list(counts.values()), axis=0)
    return tuple(float(value) for value in np.median(every, axis=0))


def axis_names(dims: int) -> str:
    """What the numbers of a size are.

    Example:
        >>> axis_names(2), axis_names(3)
        ('height × width', 'depth × height × width')
    """
    return " × ".join(_AXES[-dims:])


def by(numbers: Sequence[float]) -> str:
    """A size as a person writes it.

    Example:
        >>> by((24, 40)), by((2.5, 0.75))
        ('24 × 40', '2.5 × 0.75')
    """
    return " × ".join(f"{number:.6g}" for number in numbers)


def counted(counts: Mapping[str, int]) -> str:
    """What there is and how often, in a row.

    Example:
        >>> counted({"uint8": 3, "uint16": 1})
        'uint8 (3), uint16 (1)'
    """
    if len(counts) == 1:
        return next(iter(counts))
    return listed([f"{what} ({n})" for what, n in counts.items()], most=6)


def _ranges(several: Sequence[tuple[float, ...]]) -> str:
    ends = [(min(along), max(along)) for along in zip(*several, strict=True)]
    return " × ".join(f"{a:.6g}" if a == b else f"{a:.6g} to {b:.6g}" for a, b in ends)
