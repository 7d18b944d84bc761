"""The one image type that every reader returns and every writer takes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io.space import Geometry

Number = TypeVar("Number", int, float)

# What image libraries are known to raise for damaged files.
DECODER_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
MAX_PIXELS = 500_000_000
"""Largest number of pixels a file may declare: 22 000 × 22 000, far above a camera's picture and
below what a forged header of a few bytes could ask for."""


_BLOCK_PX = 1 << 20


@dataclass(frozen=True)
class Image:
    """Pixels with their axes and what is known of their geometry.

    Args:
        array: Pixels, channels first, shape ``(C, Y, X)`` or ``(C, Z, Y, X)``, in the file's own
            data type.
        spacing_mm: Pixel size in millimetres along (Z,) Y and X, or ``None`` when the file does
            not say.
        geometry: Place in space, for formats that keep one.
        palette: For indexed images the RGB colours, shape ``(n, 3)`` uint8, else ``None``.
        exif_turned: Whether the file asked to be turned or mirrored, which was done on reading.
        alpha: Whether the file has a channel of opacity, which was left out on reading.
        axes_implied: Whether the file does not name its axes.

    Example:
        >>> Image(np.zeros((1, 4, 5), np.uint8)).size
        (4, 5)
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, ...] | None = None
    geometry: Geometry | None = None
    palette: NDArray[np.uint8] | None = None
    exif_turned: bool = False
    alpha: bool = False
    axes_implied: bool = False

    @property
    def axes(self) -> str:
        """One letter an axis, ``"CYX"`` or ``"CZYX"``."""
        return "CYX" if self.array.ndim == 3 else "CZYX"

    @property
    def size(self) -> tuple[int, ...]:
        """Height and width in pixels; of a volume depth, height and width."""
        return tuple(int(n) for n in self.array.shape[1:])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])

    def placed_as(self, other: Image) -> Image:
        """The same pixels at the place of another image, as a mask lies on its image.

        Args:
            other: The image whose spacing and geometry are taken over.

        Example:
            >>> image = Image(np.zeros((1, 4, 5), np.uint8), spacing_mm=(0.5, 0.5))
            >>> Image(np.ones((1, 4, 5), bool)).placed_as(image).spacing_mm
            (0.5, 0.5)
        """
        return replace(self, spacing_mm=other.spacing_mm, geometry=other.geometry)


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels are decoded.

    Args:
        size: Height and width in pixels, as the image is read (turned where the file asks for it);
            of a volume depth, height and width.
        channels: Channels of the image as it is read, alpha left out and a palette expanded.
        dtype: Name of the data type, such as ``"uint8"``.
        format: Name of the file format, such as ``"PNG"``.

    Example:
        >>> Header((512, 512), 1, "uint8", "PNG").size
        (512, 512)
    """

    size: tuple[int, ...]
    channels: int
    dtype: str
    format: str


def apply_orientation(array_CYX: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an image upright as its EXIF or TIFF orientation tag asks.

    Args:
        array_CYX: Pixels as stored.
        orientation: Value of the tag: 1 is upright, 2 to 8 are the other mirrorings and quarter
            turns; any other value is read as upright.

    Returns:
        A view of shape ``(C, Y, X)``, for 5 to 8 with Y and X exchanged.

    Source: TIFF 6.0, section 8, tag 274.

    Example:
        >>> apply_orientation(np.array([[[1, 2, 3]]]), 6).tolist()
        [[[1], [2], [3]]]
    """
    if orientation not in range(2, 9):
        return array_CYX
    if orientation >= 5:
        array_CYX = array_CYX.swapaxes(-1, -2)
    if orientation in (3, 4, 7, 8):
        array_CYX = array_CYX[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        array_CYX = array_CYX[..., ::-1]
    return array_CYX


def apply_orientation_to_pair(
    pair: tuple[Number, Number], orientation: int
) -> tuple[Number, Number]:
    """Exchange a pair of values along Y and X where the orientation exchanges the axes.

    Args:
        pair: Values along Y and X as stored.
        orientation: Value of the tag, see :func:`apply_orientation`.

    Returns:
        Values along Y and X of the upright image.

    Example:
        >>> apply_orientation_to_pair((480, 640), 6)
        (640, 480)
    """
    return (pair[1], pair[0]) if orientation in range(5, 9) else pair


def is_grey(array_CYX: NDArray[Any]) -> bool:
    """Whether an image has one channel, or three that are equal.

    Example:
        >>> is_grey(np.ones((3, 2, 2)))
        True
    """
    if len(array_CYX) == 1:
        return True
    return len(array_CYX) == 3 and all(
        np.array_equal(array_CYX[0, y : y + 512], array_CYX[channel, y : y + 512])
        for y in range(0, array_CYX.shape[1], 512)
        for channel in (1, 2)
    )


def out_of_memory(path: Path) -> ImageReadError:
    """What is told when an image does not fit into memory."""
    return ImageReadError(
        "image-memory",
        str(path),
        expected="an image that fits into memory",
        found="too little memory",
        remedy="close other programs",
    )


def check_finite(array_CYX: NDArray[Any], path: Path) -> None:
    """Refuse an image with a value that is no number, looked for block by block.

    Args:
        array_CYX: Pixels of any type, channels first.
        path: The file, for the message.

    Raises:
        ImageReadError: ``image-nan``.

    Example:
        >>> check_finite(np.zeros((1, 2, 3), np.float32), Path("a.tif"))
    """
    if array_CYX.dtype.kind != "f":
        return
    rows = max(1, _BLOCK_PX // max(1, int(np.prod(array_CYX.shape[2:]))))
    bad = sum(
        int(np.count_nonzero(~np.isfinite(array_CYX[:, y : y + rows])))
        for y in range(0, array_CYX.shape[1], rows)
    )
    if bad:
        raise not_finite(path, bad)


def not_finite(path: Path, count: int) -> ImageReadError:
    """What is told of pixels that are no numbers."""
    return ImageReadError(
        "image-nan",
        str(path),
        expected="finite numbers in every pixel",
        found=f"{count} pixels that are NaN or infinite",
        remedy="replace them, for example by the image's minimum",
    )
