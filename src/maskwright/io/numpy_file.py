"""NumPy's files: ``.npy``, mapped into memory, and ``.npz`` of one array."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.axes import Layout, unnamed_layout
from maskwright.io.image import MAX_PIXELS, Image
from maskwright.io.mask_values import single_channel
from maskwright.io.stored import Block, StoredArray, decoding, refusal

_NAMING = "save a volume as 1 × Z × Y × X, and an image of channels as Y × X × C"


def open_npy(path: Path, labels: bool = False) -> StoredArray:
    """Open an ``.npy`` file, which is mapped into memory.

    Args:
        path: The file.
        labels: Whether this is a mask, which has one channel.

    Raises:
        ImageReadError: For a damaged file, objects in the place of numbers, and axes that cannot
            be told apart, see :func:`maskwright.io.axes.unnamed_layout`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder) / "a.npy", np.ones((40, 50, 3), np.uint8))
        ...     open_npy(Path(folder) / "a.npy").shape
        (3, 40, 50)
    """
    with decoding(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive under the name of a single array")
    return _stored(array, path, labels, lazy=True)


def open_npz(path: Path, labels: bool = False) -> StoredArray:
    """Read an ``.npz`` file of one array.

    Args:
        path: The file.
        labels: Whether this is a mask, which has one channel.

    Raises:
        ImageReadError: As :func:`open_npy`; also ``labels-npz`` for several arrays, or one that
            is too large for memory.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "a.npz", np.ones((40, 50), np.uint8))
        ...     open_npz(Path(folder) / "a.npz").shape
        (40, 50)
    """
    with decoding(path):
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(names) != 1 or members[0].file_size > 8 * MAX_PIXELS:
            found = f"{len(names)} arrays ({', '.join(names[:8])})" if names else "none"
            found = f"{members[0].file_size} bytes" if len(names) == 1 else found
            remedy = "save the array alone as a .npy file"
            raise refusal("labels-npz", path, "one array that fits memory", found, remedy)
        with np.load(path, allow_pickle=False) as archive:  # objects are refused
            array = np.asarray(archive[names[0]])
    return _stored(array, path, labels, lazy=False)


def write_npy(path: Path, image: Image) -> None:
    """Write a mask as ``.npy``, bool as 0 and 1.

    Args:
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool or unsigned integers.

    Raises:
        OutputError: ``mask-dtype`` for other values.
    """
    with path.open("wb") as file:
        np.save(file, single_channel(image, path, "NumPy"), allow_pickle=False)


def write_npz(path: Path, image: Image) -> None:
    """Write a mask as ``.npz`` with the one array ``mask``, see :func:`write_npy`."""
    with path.open("wb") as file:
        np.savez_compressed(file, mask=single_channel(image, path, "NumPy"))


def _stored(array: NDArray[Any], path: Path, labels: bool, *, lazy: bool) -> StoredArray:
    layout: Layout = unnamed_layout(array.shape, path, labels=labels, naming=_NAMING)

    def read(block: Block) -> NDArray[Any]:
        return layout.take(array, array.ndim, block)

    return StoredArray(
        layout.shape_of(array.shape),
        array.dtype,
        read,
        lazy,
        has_channels=layout.channel is not None,
        axes_implied=layout.implied,
    )
