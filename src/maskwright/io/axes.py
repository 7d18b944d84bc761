"""Which axes of a stored array are channels and which are space, and what is too unclear to guess.

::

    named      TIFF of ImageJ and OME, OME-Zarr, labelled HDF5      by their letters: t c z y x s
    unnamed    .npy, plain TIFF, Zarr and HDF5                      by number and length

Unnamed: two axes are Y X, three are Z Y X, and three whose last is at most 4 long are Y X C.
Three whose first is at most 4 long may be channels as well as slices: they are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io.stored import Block, refusal

MOST_COLOURS = 4
"""Length up to which an unnamed axis may be one of channels: red, green, blue and alpha."""

_SPACE = ("yx", "zyx")


@dataclass(frozen=True)
class Layout:
    """Positions of the axes of channels and of space; every other axis has the length 1.

    Args:
        space: Positions of (Z,) Y and X.
        channel: Position of the channels, or ``None``.
        implied: Whether no axis has a name, so that this follows from their number and length. It
            takes no part in equality.

    Example:
        >>> Layout((1, 2), 0).shape_of((3, 40, 50))
        (3, 40, 50)
    """

    space: tuple[int, ...]
    channel: int | None = None
    implied: bool = field(default=False, repr=False, compare=False)

    def shape_of(self, stored: Sequence[int]) -> tuple[int, ...]:
        """The lengths of the kept axes, channels first."""
        kept = self.space if self.channel is None else (self.channel, *self.space)
        return tuple(int(stored[axis]) for axis in kept)

    def take(self, array: Any, axes: int, block: Block) -> NDArray[Any]:
        """A block of anything that can be indexed.

        Args:
            array: The stored array.
            axes: Its number of axes.
            block: A slice for each kept axis, channels first.

        Example:
            >>> stored = np.arange(24).reshape(2, 4, 3)
            >>> Layout((0, 1), 2).take(stored, 3, (slice(1, 3), slice(0, 1), slice(0, 2))).tolist()
            [[[1, 4]], [[2, 5]]]
        """
        index: list[int | slice] = [0] * axes
        kept = self.space if self.channel is None else (self.channel, *self.space)
        for axis, part in zip(kept, block, strict=True):
            index[axis] = part
        found = np.asarray(array[tuple(index)])
        if self.channel is None:
            return found
        return np.moveaxis(found, sum(axis < self.channel for axis in self.space), 0)


def named_layout(letters: str, shape: Sequence[int], path: Path, *, labels: bool) -> Layout:
    """The layout of axes with names.

    Args:
        letters: One lower-case letter an axis: ``z``, ``y``, ``x``, ``c`` channels, ``s`` samples
            of a colour, ``t`` time, and any other for an axis whose meaning is not known.
        shape: Length of each axis.
        path: The file, for messages.
        labels: Whether this is a mask, which has no channels.

    Returns:
        The layout. A single slice of a named axis ``z`` stays a volume.

    Raises:
        ImageReadError: ``image-axes`` (of a mask ``labels-axes``) for several time points, two
            axes of channels, an axis without a known meaning, or another order than Z, Y, X.

    Example:
        >>> named_layout("tczyx", (1, 2, 9, 40, 50), Path("a.zarr"), labels=False)
        Layout(space=(2, 3, 4), channel=1)
    """
    kept = [axis for axis, n in enumerate(shape) if n != 1 or letters[axis] in "zyx"]
    space = tuple(axis for axis in kept if letters[axis] not in "cs")
    channels = [axis for axis in kept if letters[axis] in "cs"]
    order = "".join(letters[axis] for axis in space)
    if order in _SPACE and len(channels) <= (0 if labels else 1):
        return Layout(space, channels[0] if channels else None)
    remedy = "save one channel and one time point, in the order Z, Y, X"
    if not labels:
        remedy = "save it in the order C, Z, Y, X, with at most one axis of channels"
        if "t" in order:
            remedy = (
                "save each time point as a file of its own, or name the axis Z where it is one "
                "of slices"
            )
    found = f"the axes {letters.upper()} of {' × '.join(map(str, shape))}"
    raise _unfit(path, found, remedy, labels=labels)


def unnamed_layout(shape: Sequence[int], path: Path, *, labels: bool, naming: str) -> Layout:
    """The layout of axes without names, where their number and lengths leave no doubt.

    Args:
        shape: Length of each axis.
        path: The file, for messages.
        labels: Whether this is a mask: it has no channels, so three axes are Z, Y, X.
        naming: How axes are named in this format, as an instruction.

    Returns:
        The layout. Of more than three axes, leading ones of length 1 are left out.

    Raises:
        ImageReadError: ``axes-ambiguous`` where channels and slices cannot be told apart, else
            ``image-axes`` or ``labels-axes``.

    Example:
        >>> unnamed_layout((40, 50, 3), Path("a.npy"), labels=False, naming="")
        Layout(space=(0, 1), channel=2)
        >>> unnamed_layout((32, 64, 64), Path("a.npy"), labels=False, naming="")
        Layout(space=(0, 1, 2), channel=None)
    """
    count, start = len(shape), 0
    if labels:
        start = max(0, count - 3)
    else:
        while count - start > 4 and shape[start] == 1:
            start += 1
    axes = tuple(range(start, count))
    found = f"the shape {' × '.join(map(str, shape)) or 'of a single number'}"
    if len(axes) == 2 or (labels and len(axes) == 3 and all(n == 1 for n in shape[:start])):
        return Layout(axes, implied=True)
    if labels or len(axes) not in (3, 4):
        remedy = "save one channel and one time point, without further axes"
        raise _unfit(path, found, remedy, labels=labels)
    first, last = shape[start] <= MOST_COLOURS, shape[-1] <= MOST_COLOURS
    if len(axes) == 3 and not first:
        layout = Layout(axes[:2], axes[2]) if last else Layout(axes)
        return replace(layout, implied=True)
    if len(axes) == 4 and first != last:
        layout = Layout(axes[1:], axes[0]) if first else Layout(axes[:3], axes[3])
        return replace(layout, implied=True)
    raise refusal(
        "axes-ambiguous",
        path,
        "axes that can be told apart",
        f"{found}, which may be channels or slices",
        naming,
    )


def _unfit(path: Path, found: str, remedy: str, *, labels: bool) -> ImageReadError:
    if labels:
        return refusal("labels-axes", path, "a plane or a volume of labels", found, remedy)
    return refusal("image-axes", path, "a plane or a volume, with channels or not", found, remedy)
