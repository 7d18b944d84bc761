"""The one door for label arrays of any origin: pictures, stacks, volumes, Zarr and NumPy files.

::

    file ── registry ──── a picture, decoded at once ───────────┐
         ├─ zarr_store ── pages of a TIFF, chunks of a Zarr ────┤
         ├─ volume ────── NIfTI, MetaImage, NRRD ───────────────┼── LabelSource.read(block)
         └─ NumPy ─────── mapped into memory ───────────────────┘   whole numbers, or refused
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import DataError
from maskwright.io import registry
from maskwright.io.formats import format_of
from maskwright.io.image import Image, is_grey
from maskwright.io.source import open_source
from maskwright.io.space import Geometry, difference
from maskwright.io.stored import Block, StoredArray, check_spacing, decoding, refusal
from maskwright.io.tiff import is_stack

__all__ = [
    "Geometry",
    "LabelSource",
    "blocks",
    "difference",
    "find_labels",
    "is_label_path",
    "label_stem",
    "open_image",
    "open_labels",
]

_PICTURE_PX = 1 << 24  # TIFF files of one page up to this size are decoded at once
_OF_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True, eq=False)
class LabelSource:
    """A label array in a file, of which any block can be read.

    Args:
        path: The file, or the folder of a Zarr array.
        shape: ``(Y, X)`` or ``(Z, Y, X)`` in pixels. A volume of one slice stays a volume.
        dtype: Data type of what ``read`` returns: bool or integers.
        spacing_mm: Pixel size along each axis in mm, or ``None`` where the file does not say.
        geometry: Place in space, for formats that keep one.
        read: Gives the whole numbers of one block, a slice an axis, as an array of its own. It
            raises a DataError for values that are not whole, a picture of colours, damaged data.
        lazy: Whether only the parts that a block needs are decoded.
        chunks: Shape of the parts the file decodes at once, where it has such parts.
        image: The mask as stored, with palette and colours, for files of one picture.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    spacing_mm: tuple[float, ...] | None
    geometry: Geometry | None
    read: Callable[[Block], NDArray[Any]]
    lazy: bool
    chunks: tuple[int, ...] | None = None
    image: Image | None = None


def open_labels(path: Path) -> LabelSource:
    """Open a label array, whatever made it.

    Args:
        path: A PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage, NRRD, ``.npy`` or ``.npz`` file, or
            the folder of a Zarr array, of an OME-Zarr image, or of a group of one array.

    Returns:
        The source. Floats are read as whole numbers, and refused where they are not.

    Raises:
        DataError: For a path that is missing, of another type, damaged or truncated, with
            several channels or time points, with a data type or a spacing labels cannot have.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.eye(3, dtype=np.float32))
        ...     source = open_labels(Path(folder) / "a.npy")
        ...     source.shape, source.read((slice(0, 1), slice(0, 3)))
        ((3, 3), array([[1, 0, 0]], dtype=int32))
    """
    path = Path(path)
    stored = _stored(path, "labels")
    return _picture(path) if stored is None else _labels(path, stored)


def open_image(path: Path) -> NDArray[Any]:
    """The intensities of an image or volume of any format that labels may have.

    Args:
        path: As in :func:`open_labels`.

    Returns:
        Shape ``(C, Y, X)`` or ``(C, Z, Y, X)``, in the file's own data type.

    Raises:
        DataError: For a path that is missing, of another type, or damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.full((2, 3), 0.5))
        ...     open_image(Path(folder) / "a.npy").shape
        (1, 2, 3)
    """
    source = open_source(Path(path))
    return source.read(tuple(slice(0, n) for n in source.shape[1:]))


def _stored(path: Path, what: str) -> StoredArray | None:
    """The array in a file, or ``None`` for a picture, which is decoded at once."""
    if path.is_dir() and not registry.is_image_folder(path):
        expected = f"a file with {what}, or the folder of a Zarr array"
        raise refusal("labels-folder", path, expected, "a folder", "give a file inside it")
    format_ = format_of(path)
    if not format_.holds_volumes or (format_.name == "TIFF" and _is_picture(path)):
        return None
    return format_.open(path, 0, True)


def is_label_path(path: Path) -> bool:
    """Whether a path names a file, or a Zarr folder, that :func:`open_labels` may read.

    Example:
        >>> is_label_path(Path("case_01.nii.gz")), is_label_path(Path("notes.txt"))
        (True, False)
    """
    path = Path(path)
    return registry.is_image(path)


def label_stem(path: Path) -> str:
    """The name of a case: the file's name without its suffix, which may have two parts.

    Example:
        >>> [label_stem(Path(name)) for name in ("case_01.nii.gz", "x.ome.tif", "v1.2.zarr")]
        ['case_01', 'x', 'v1.2']
    """
    return registry.image_stem(path)


def find_labels(folder: Path) -> dict[str, Path]:
    """The label files of a folder by their stems, sorted by name.

    Zarr folders count as files; other folders, files of other types and what systems leave
    behind (``.DS_Store``, ``._a.png``, ``Thumbs.db``) are passed over.

    Args:
        folder: The folder, which is not searched deeper.

    Returns:
        Path by stem; empty where there are none.

    Raises:
        DataError: ``labels-no-folder``, or ``labels-duplicate`` for two files whose stems are
            equal or differ in case only.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.eye(3))
        ...     list(find_labels(Path(folder)))
        ['a']
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found = error.strerror or str(error)
        raise DataError(
            "labels-no-folder",
            str(folder),
            expected="a folder that can be read",
            found=found,
            remedy="check the path",
        ) from error
    labels: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    for path in entries:
        if path.name.startswith(".") or path.name.lower() in _OF_SYSTEMS or not is_label_path(path):
            continue
        stem = label_stem(path)
        other = seen.setdefault(stem.casefold(), path)
        if other is not path:
            raise DataError(
                "labels-duplicate",
                str(folder),
                expected="one file for each case",
                found=f"{other.name} and {path.name}",
                remedy="move one of them out of the folder",
            )
        labels[stem] = path
    return labels


def blocks(
    shape: Sequence[int], budget_px: int = 1 << 24, chunks: Sequence[int] | None = None
) -> Iterator[Block]:
    """Cut an array into blocks of whole rows, planes and slabs, in storage order.

    Args:
        shape: Shape of the array.
        budget_px: Most pixels of a block. One chunk may be more, because it is decoded as a whole.
        chunks: Shape of the parts that are decoded at once: no block cuts through one.

    Yields:
        Slices, one an axis, that cover every pixel once.

    Example:
        >>> list(blocks((4, 3), budget_px=6))
        [(slice(0, 2, None), slice(0, 3, None)), (slice(2, 4, None), slice(0, 3, None))]
    """
    block = [max(1, min(n, c)) for n, c in zip(shape, chunks or [1] * len(shape), strict=True)]
    for axis in reversed(range(len(shape))):
        times = max(1, budget_px // math.prod(block))
        block[axis] = min(shape[axis], block[axis] * times)
    counts = [math.ceil(n / b) if b else 0 for n, b in zip(shape, block, strict=True)]
    for at in np.ndindex(*counts):
        yield tuple(
            slice(i * b, min(n, (i + 1) * b)) for i, b, n in zip(at, block, shape, strict=True)
        )


def _labels(path: Path, stored: StoredArray, image: Image | None = None) -> LabelSource:
    """The source of an array, once its header says that it can hold labels."""
    shape = tuple(int(n) for n in stored.shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        found = f"the shape {' × '.join(map(str, shape)) or 'of a single number'}"
        remedy = "save one channel and one time point, without further axes"
        raise refusal("labels-axes", path, "a plane or a volume of labels", found, remedy)
    if stored.dtype.kind not in "buif":
        remedy = "save the labels as whole numbers"
        raise refusal("labels-dtype", path, "whole numbers", f"{stored.dtype} values", remedy)
    if stored.spacing_mm is not None:
        check_spacing(stored.spacing_mm, path)
    dtype = stored.dtype.newbyteorder("=")
    if dtype.kind == "f":
        dtype = np.dtype(np.int32 if dtype.itemsize <= 4 else np.int64)

    def read(block: Block) -> NDArray[Any]:
        with decoding(path):
            values = np.asarray(stored.read(block))
            wanted = tuple(len(range(*s.indices(n))) for s, n in zip(block, shape, strict=True))
            if values.shape != wanted:
                raise ValueError(f"a part of the size {values.shape} in the place of {wanted}")
        return _whole_numbers(values, dtype, path)

    return LabelSource(
        path,
        shape,
        dtype,
        stored.spacing_mm,
        stored.geometry,
        read,
        stored.lazy,
        stored.chunks,
        image,
    )


def _whole_numbers(values: NDArray[Any], dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    if values.dtype.kind != "f":
        # A view of memory that later reads share would let the caller change their result.
        return values.astype(dtype, order="C", copy=values.base is not None)
    # Beyond these bounds the floats themselves are too coarse to tell neighbouring ids apart.
    largest = np.float32(2**24) if values.dtype.itemsize <= 4 else np.float64(2**53)
    bad = ~((np.rint(values) == values) & (np.abs(values) <= largest))
    if bad.any():
        remedy = "threshold soft labels or probabilities first, or save whole numbers"
        raise refusal(
            "labels-not-whole",
            path,
            f"whole numbers up to {int(largest)}",
            f"the value {float(values[bad][0]):g}",
            remedy,
        )
    return values.astype(dtype)


def _is_picture(path: Path) -> bool:
    """Whether a TIFF file is decoded at once: one page that is small, or has colours."""
    with decoding(path):
        if is_stack(path):
            return False
    header = registry.read_header(path)
    return math.prod(header.size) <= _PICTURE_PX or header.channels > 1


def _picture(path: Path) -> LabelSource:
    image = registry.read_mask(path)
    grey = is_grey(image.array)

    def read(block: Block) -> NDArray[Any]:
        if not grey:
            found = f"{image.channels} channels that differ"
            remedy = "say which colour is which class, or save class numbers"
            raise refusal("labels-colour", path, "one number in each pixel", found, remedy)
        return np.asarray(image.array[0][block])

    stored = StoredArray(image.size, image.array.dtype, read, False, spacing_mm=image.spacing_mm)
    return _labels(path, stored, image)
