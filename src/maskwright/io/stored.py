"""An array in a file of any format, of which any block can be read."""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError, MaskwrightError
from maskwright.io.image import DECODER_ERRORS, out_of_memory
from maskwright.io.space import Geometry

Block = tuple[slice, ...]

UNIT_MM = MappingProxyType(
    {
        **dict.fromkeys(("m", "meter", "metre"), 1e3),
        **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
        **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer"), 1e-3),
        **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
        **{"micrometre": 1e-3, "angstrom": 1e-7, "inch": 25.4, "cm": 10.0},
    }
)
"""Millimetres in a unit of length, by its name in lower case."""

_READ_ERRORS = (*DECODER_ERRORS, lzma.LZMAError, SyntaxError, TokenError, BadZipFile)


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file with the values as they are stored, of which any block can be read.

    Args:
        shape: ``(Y, X)`` or ``(Z, Y, X)`` in pixels; where it has channels, their number comes
            first.
        dtype: The data type in the file.
        read: Gives the values of one block, a slice an axis.
        lazy: Whether only what a block needs is decoded.
        spacing_mm: Pixel size along each axis in mm, or ``None`` where the file does not say.
        geometry: Place in space, for formats that keep one.
        chunks: Shape over the axes of space of what the file decodes at once, where it has such
            parts.
        has_channels: Whether the first axis is one of channels.
        axes_implied: Whether the file does not name its axes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Block], NDArray[Any]]
    lazy: bool
    spacing_mm: tuple[float, ...] | None = None
    geometry: Geometry | None = None
    chunks: tuple[int, ...] | None = None
    has_channels: bool = False
    axes_implied: bool = False


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn what libraries raise for damaged files into the project's errors."""
    try:
        yield
    except MaskwrightError:
        raise
    except MemoryError as error:
        raise out_of_memory(path) from error
    except _READ_ERRORS as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(path, lines[-1].strip()[:200]) from error


def damaged(path: Path, found: str) -> ImageReadError:
    """What is told of a file whose content is broken."""
    remedy = "copy the file again from its source"
    return refusal("image-damaged", path, "an intact file", found, remedy)


def refusal(code: str, path: Path, expected: str, found: str, remedy: str) -> ImageReadError:
    """An error about one file."""
    return ImageReadError(code, str(path), expected=expected, found=found, remedy=remedy)


def check_spacing(spacing_mm: Sequence[float] | NDArray[Any], path: Path) -> None:
    """Refuse a spacing that is not a positive, finite number along every axis.

    Raises:
        ImageReadError: ``labels-spacing``.
    """
    if not all(math.isfinite(value) and value > 0 for value in spacing_mm):
        found, remedy = " × ".join(f"{n:g}" for n in spacing_mm), "write the right one into it"
        raise refusal("labels-spacing", path, "a positive pixel spacing", found, remedy)


def no_level(path: Path, level: int, levels: int) -> ImageReadError:
    """What is told of a level that an image does not have."""
    expected = "an image with one level" if levels == 1 else f"a level of a pyramid of {levels}"
    remedy = "choose level 0" if levels == 1 else f"choose a level from 0 to {levels - 1}"
    return refusal("image-level", path, expected, f"level {level}", remedy)
