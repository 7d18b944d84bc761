"""Numbers of objects on the disk while they are found, read and written block by block."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.io.durable import output_error
from maskwright.io.stored import Block

_CHUNKS = {2: (512, 512), 3: (64, 128, 128)}


class StoredNumbers:
    """An array of uint32 in a file of its own, 0 at first. A kill may leave it torn.

    Args:
        path: The Zarr folder to create or replace.
        size: Size of the image.

    Raises:
        OutputError: When it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     stored = StoredNumbers(Path(folder) / "a.zarr", (3, 4))
        ...     stored[1:2, 2:4] = np.full((1, 2), 70_000, np.uint32)
        ...     stored[0:2, 3:4].tolist()
        [[0], [70000]]
    """

    def __init__(self, path: Path, size: tuple[int, ...]) -> None:
        import zarr

        self._path = path
        shutil.rmtree(path, ignore_errors=True)
        chunks = tuple(min(n, length) for n, length in zip(_CHUNKS[len(size)], size, strict=True))
        try:
            self._array = zarr.create_array(path, shape=size, chunks=chunks, dtype="uint32")
        except OSError as error:
            raise output_error(path, error) from error

    def __getitem__(self, block: Block) -> NDArray[np.uint32]:
        """The numbers of a block."""
        return np.asarray(self._array[block], np.uint32)

    def __setitem__(self, block: Block, numbers_S: NDArray[np.uint32]) -> None:
        """Replace the numbers of a block.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        try:
            self._array[block] = numbers_S
        except OSError as error:
            raise output_error(self._path, error) from error
