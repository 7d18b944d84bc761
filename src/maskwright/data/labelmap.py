"""Which mask value means which class, there and back.

::

    mask values  ──encode──▶  class ids 0, 1, 2 …  ──decode──▶  mask values, made to be seen
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig, MaskKind
from maskwright.data.colors import (
    GREY_STEP,
    Color,
    colors_of,
    default_colors,
    pack_colors,
    unpack_color,
)
from maskwright.errors import ConfigError, DataError
from maskwright.io.image import Image, is_grey

__all__ = [
    "GREY_STEP",
    "IGNORED",
    "Color",
    "LabelMap",
    "colors_of",
    "default_colors",
    "default_names",
    "grey_plane",
    "pack_colors",
    "split_ignored",
    "unpack_color",
]

IGNORED = 255
"""Class id of pixels that do not count."""

_NO_CLASS = 255
_BLOCK_PX = 1 << 20


@dataclass(frozen=True)
class LabelMap:
    """The classes of a data set and the mask values that mean them.

    Args:
        kind: What mask values are: ``values`` (grey values or class ids), ``bool``, ``palette``
            indices, ``rgb`` colours, or ``objects`` (every value above 0 is one object).
        names: Name of each class.
        values: For each class the mask values that mean it; colours as ``0xRRGGBB``. The first
            one is written. For ``objects`` 0 stands for nothing and 255 for every object.
        colors: For each class the colour it is shown in.
        nearest: Whether a value that is none of these is read as the nearest one.
        ignore: Value of pixels that do not count, packed as the others; ``None`` for none.

    Example:
        >>> cells = LabelMap("values", ("background", "cell"), ((0,), (255,)), default_colors(2))
        >>> cells.encode(Image(np.array([[[0, 255]]], np.uint8))).tolist()
        [[0, 1]]
    """

    kind: MaskKind
    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    colors: tuple[Color, ...]
    nearest: bool = False
    ignore: int | None = None

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.names)

    @classmethod
    def from_config(cls, config: DataConfig) -> LabelMap:
        """The map that a configuration declares.

        Args:
            config: With ``labels``, ``mask_kind`` and ``nearest_value``; the kind ``auto`` means
                colours where a value is above 65535 and grey values otherwise.

        Raises:
            ConfigError: ``labels-few`` for fewer than two classes, ``labels-value-twice`` for a
                value that means two classes.

        Example:
            >>> LabelMap.from_config(DataConfig(labels=(("none", 0), ("cell", 255)))).names
            ('none', 'cell')
        """
        values: dict[str, list[int]] = {}
        owner: dict[int, str] = {}
        for name, value in config.labels:
            if owner.setdefault(value, name) != name:
                raise ConfigError(
                    "labels-value-twice",
                    "labels",
                    expected="each value once",
                    found=f"{value} as {owner[value]!r} and as {name!r}",
                    remedy="give each value one meaning",
                )
            values.setdefault(name, []).append(value)
        if len(values) < 2:
            raise ConfigError(
                "labels-few",
                "labels",
                expected="at least two classes",
                found=f"{len(values)}",
                remedy="name the background as well, as in background=0,cell=255",
            )
        kind = config.mask_kind
        if kind == "auto":
            kind = "rgb" if max(owner) > 65535 else "values"
        colors = default_colors(len(values))
        if kind == "rgb":
            colors = tuple(unpack_color(several[0]) for several in values.values())
        return cls(
            kind,
            tuple(values),
            tuple(tuple(v) for v in values.values()),
            colors,
            config.nearest_value,
            config.ignore,
        )

    def to_settings(self) -> dict[str, Any]:
        """The fields of :class:`~maskwright.config.DataConfig` that make this map again.

        Returns:
            ``labels``, ``mask_kind``, ``nearest_value`` and ``ignore``. The colours of a palette
            are not kept; a map made from these settings has the default colours.

        Example:
            >>> LabelMap("bool", ("a", "b"), ((0,), (1,)), default_colors(2)).to_settings()
            {'labels': (('a', 0), ('b', 1)), 'mask_kind': 'bool', 'nearest_value': False,
             'ignore': None}
        """
        labels = tuple(
            (name, value)
            for name, several in zip(self.names, self.values, strict=True)
            for value in several
        )
        return {
            "labels": labels,
            "mask_kind": self.kind,
            "nearest_value": self.nearest,
            "ignore": self.ignore,
        }

    def describe(self) -> list[str]:
        """One sentence a class that says which values are read as it.

        Example:
            >>> LabelMap("values", ("a", "b"), ((0,), (1, 2)), default_colors(2)).describe()[1]
            "values 1, 2 are read as class 1 'b'"
        """
        sentences = []
        for index, (name, several) in enumerate(zip(self.names, self.values, strict=True)):
            if self.kind == "objects" and several != (0,):
                sentences.append(
                    f"every value above 0 is read as one object of class {index} "
                    f"{name!r} (--set mask_kind=values overrides)"
                )
                continue
            noun = {"rgb": "colour", "palette": "palette index"}.get(self.kind, "value")
            plural = {"rgb": "colours", "palette": "palette indices"}.get(self.kind, "values")
            row = ", ".join(f"#{v:06x}" if self.kind == "rgb" else str(v) for v in several)
            near = ", with the values nearest to it," if self.nearest else ""
            sentences.append(
                f"{noun} {row}{near} is read as class {index} {name!r}"
                if len(several) == 1
                else f"{plural} {row}{near} are read as class {index} {name!r}"
            )
        return sentences

    def encode(self, mask: Image, *, subject: str = "mask") -> NDArray[np.uint8]:
        """Class ids of a mask.

        Args:
            mask: Values as :func:`~maskwright.io.registry.read_mask` gives them.
            subject: What the mask is called in a message.

        Returns:
            Class ids, shape of the mask without channels, :data:`IGNORED` where the mask has the
            value that does not count.

        Raises:
            DataError: ``mask-value`` for a value no class has, ``mask-channels`` for colours
                where grey values are declared.

        Example:
            >>> ids = LabelMap("objects", ("background", "cell"), ((0,), (255,)),
            ...                default_colors(2))
            >>> ids.encode(Image(np.array([[[0, 7, 9]]], np.uint16))).tolist()
            [[0, 1, 1]]
        """
        plane = self._plane(mask, subject)
        ignored = plane == self.ignore if self.ignore is not None else None
        if self.kind in ("bool", "objects"):
            plane = plane != 0
        if plane.dtype == np.bool_:
            plane = plane * np.uint8(self.true_value)
        if plane.dtype in (np.uint8, np.uint16):
            table = self.encode_values(np.arange(np.iinfo(plane.dtype).max + 1))
            classes: NDArray[np.uint8] = table[plane]
        else:
            classes = np.empty(plane.shape, np.uint8)
            # Slab by slab, as the search takes many times the memory of the values.
            rows = max(1, _BLOCK_PX // max(1, int(np.prod(plane.shape[1:]))))
            for y in range(0, len(plane), rows):
                classes[y : y + rows] = self.encode_values(plane[y : y + rows])
        unknown = classes == _NO_CLASS
        if ignored is not None:
            classes[ignored] = IGNORED
            unknown &= ~ignored
        if unknown.any():
            found = np.unique(plane[unknown])
            row = ", ".join(f"{v:g}" for v in found[:8].tolist())
            row += ", …" if len(found) > 8 else ""
            raise DataError(
                "mask-value",
                subject,
                expected="the values "
                + ", ".join(str(v) for several in self.values for v in several),
                found=f"{int(unknown.sum())} pixels with {row}",
                remedy="mend the mask, or declare these values with --labels",
            )
        return classes

    def shares(self, mask: Image, *, subject: str = "mask") -> NDArray[np.float32]:
        """The share of the second of two classes, (v − low) / (high − low), cut to 0 and 1.

        Args:
            mask: Values between those of the classes.
            subject: What the mask is called in a message.

        Raises:
            DataError: As :meth:`encode` does.

        Example:
            >>> two = LabelMap("values", ("a", "b"), ((0,), (200,)), default_colors(2), True)
            >>> two.shares(Image(np.array([[[0, 50, 200]]], np.uint8))).tolist()
            [[0.0, 0.25, 1.0]]
        """
        if self.kind != "values" or not self.nearest or self.classes != 2:
            hard: NDArray[np.float32] = (self.encode(mask, subject=subject) == 1).astype(np.float32)
            return hard
        (low, *_), (high, *_) = self.values
        plane = grey_plane(mask.array, subject).astype(np.float32)
        if mask.array.dtype == np.bool_:
            plane *= self.true_value
        found: NDArray[np.float32] = ((plane - low) / (high - low)).clip(0, 1)
        return found

    def _plane(self, mask: Image, subject: str) -> NDArray[Any]:
        return pack_colors(mask.array) if self.kind == "rgb" else grey_plane(mask.array, subject)

    def encode_values(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Class ids of mask values or packed colours, 255 for a value that no class has.

        Example:
            >>> two = LabelMap("values", ("a", "b"), ((0,), (9,)), default_colors(2))
            >>> two.encode_values(np.array([0, 9, 4])).tolist()
            [0, 1, 255]
        """
        pairs = sorted((v, index) for index, several in enumerate(self.values) for v in several)
        known = np.array([value for value, _ in pairs], np.float64)
        classes = np.array([index for _, index in pairs], np.uint8)
        above = np.searchsorted(known, values).clip(0, len(known) - 1)
        if self.nearest:
            below = (above - 1).clip(0)
            is_below = values - known[below] < known[above] - values
            nearest: NDArray[np.uint8] = classes[np.where(is_below, below, above)]
            return nearest
        return np.where(known[above] == values, classes[above], np.uint8(_NO_CLASS))

    def decode(self, classes_YX: NDArray[np.uint8]) -> Image:
        """The mask of class ids in the data set's own values, so that a viewer shows it.

        Args:
            classes_YX: Class ids.

        Returns:
            0/255 and objects as grey, bool as bool, colours as RGB, other values up to 255 as
            palette indices in the classes' colours, larger ones as uint16.

        Example:
            >>> two = LabelMap("values", ("a", "b"), ((0,), (255,)), default_colors(2))
            >>> two.decode(np.array([[0, 1]], np.uint8)).array.tolist()
            [[[0, 255]]]
        """
        first = [several[0] for several in self.values]
        if self.kind == "rgb":
            table = np.array([unpack_color(value) for value in first], np.uint8)
            return Image(np.moveaxis(table[classes_YX], -1, 0))
        if self.kind == "bool":
            return Image(np.array(first, bool)[classes_YX][None])
        dtype = np.uint8 if max(first) <= 255 else np.uint16
        array_CYX = np.array(first, dtype)[classes_YX][None]
        if self.kind != "palette" and (set(first) == {0, 255} or max(first) > 255):
            return Image(array_CYX)
        palette = np.zeros((max(first) + 1, 3), np.uint8)
        palette[first] = self.colors
        return Image(array_CYX, palette=palette)

    @property
    def true_value(self) -> int:
        """The value that a set bit stands for."""
        known = {value for several in self.values for value in several}
        return 1 if 1 in known or 255 not in known else 255


def split_ignored(
    classes_YX: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Class ids with 0 where pixels do not count, and where they count, ``None`` for all.

    Example:
        >>> classes, valid = split_ignored(np.array([1, IGNORED], np.uint8))
        >>> classes.tolist(), valid.tolist()
        ([1, 0], [True, False])
    """
    valid = classes_YX != IGNORED
    if valid.all():
        return classes_YX, None
    return np.where(valid, classes_YX, np.uint8(0)), valid


def default_names(classes: int) -> tuple[str, ...]:
    """Names for classes that nobody named.

    Example:
        >>> default_names(3)
        ('background', 'class 1', 'class 2')
    """
    if classes == 2:
        return "background", "foreground"
    return ("background", *(f"class {index}" for index in range(1, classes)))


def grey_plane(array_CYX: NDArray[Any], subject: str) -> NDArray[Any]:
    """The one plane of a mask with one channel or three equal ones.

    Raises:
        DataError: ``mask-channels`` for real colours.

    Example:
        >>> grey_plane(np.ones((3, 2, 2)), "mask").shape
        (2, 2)
    """
    if not is_grey(array_CYX):
        raise DataError(
            "mask-channels",
            subject,
            expected="one channel, or three equal ones",
            found=f"{len(array_CYX)} channels that differ",
            remedy="save the mask as grey values, or set mask_kind=rgb",
        )
    plane: NDArray[Any] = array_CYX[0]
    return plane
