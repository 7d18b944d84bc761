"""Colours of classes: as numbers, from palettes, and those of classes that nobody coloured."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

GREY_STEP = 0x010101
"""How far apart neighbouring grey colours are as packed numbers."""

_OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def default_colors(classes: int) -> tuple[Color, ...]:
    """Colours that people with any colour vision can tell apart, black for the first class.

    Args:
        classes: How many; beyond eight, hues are spread evenly.

    Source: Okabe and Ito, Color Universal Design, 2008.

    Example:
        >>> default_colors(2)
        ((0, 0, 0), (230, 159, 0))
    """
    hues = ((index * 0.618034) % 1.0 for index in range(max(0, classes - 8)))
    more = (tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.6, 0.9)) for hue in hues)
    colors = ((0, 0, 0), *_OKABE_ITO, *((r, g, b) for r, g, b in more))
    return colors[:classes]


def pack_colors(array_CYX: NDArray[Any]) -> NDArray[np.uint32]:
    """Colours as numbers ``0xRRGGBB``, a grey value as the grey colour.

    Example:
        >>> hex(int(pack_colors(np.array([[[1]], [[2]], [[3]]], np.uint8))[0, 0]))
        '0x10203'
    """
    planes = array_CYX.astype(np.uint32)
    if len(planes) == 1:
        step = 255 if array_CYX.dtype == np.bool_ else 1
        packed: NDArray[np.uint32] = planes[0] * np.uint32(GREY_STEP * step)
    else:
        packed = planes[0] << 16 | planes[1] << 8 | planes[2]
    return packed


def unpack_color(value: int) -> Color:
    """The colour of a number ``0xRRGGBB``.

    Example:
        >>> unpack_color(0x010203)
        (1, 2, 3)
    """
    return value >> 16 & 255, value >> 8 & 255, value & 255


def colors_of(palette: Mapping[int, Color], indices: Sequence[int]) -> tuple[Color, ...]:
    """The colours of palette indices, the default one where the palette has none.

    Example:
        >>> colors_of({0: (0, 0, 0), 1: (9, 9, 9)}, [1])
        ((9, 9, 9),)
    """
    defaults = default_colors(len(indices))
    return tuple(palette.get(i, default) for i, default in zip(indices, defaults, strict=True))
