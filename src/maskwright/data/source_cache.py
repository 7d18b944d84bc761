"""Decoded training images: in memory as far as allowed, else in files that the system pages in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.sampler import Source
from maskwright.io.durable import make_folder, output_error

_ARRAYS = ("image_CYX", "classes_YX", "objects_YX", "blend_YX")


class SourceCache:
    """Keeps annotated images, the first ones in memory and what exceeds a limit in files.

    Args:
        limit: Bytes that decoded images may take in memory.
        folder: Where the files go; it is made when the first one is needed.
    """

    def __init__(self, limit: int, folder: Path) -> None:
        self._left = limit
        self._folder = folder
        self._files = 0
        self.written = 0
        """Bytes that lie in files."""

    def keep(self, source: Source) -> Source:
        """The same image, with arrays that are read from files where memory is used up.

        Raises:
            OutputError: When a file cannot be written.
        """
        arrays = {name: getattr(source, name) for name in _ARRAYS}
        size = sum(array.nbytes for array in arrays.values() if array is not None)
        if size <= self._left:
            self._left -= size
            return source
        self.written += size
        moved: dict[str, Any] = {
            name: None if array is None else self._on_disk(array) for name, array in arrays.items()
        }
        return replace(source, **moved)

    def _on_disk(self, array: NDArray[Any]) -> NDArray[Any]:
        make_folder(self._folder, subject=str(self._folder))
        path = self._folder / f"{self._files}.npy"
        self._files += 1
        try:
            np.save(path, array)
        except OSError as error:
            raise output_error(path, error) from error
        mapped: NDArray[Any] = np.load(path, mmap_mode="r")
        return mapped


@contextmanager
def source_cache(limit: int, folder: Path) -> Iterator[SourceCache]:
    """A cache for the length of a block; its files are gone after it.

    What a process that was killed left in the folder is removed too.

    Args:
        limit: Bytes that decoded images may take in memory.
        folder: A folder of its own for the files.

    Example:
        >>> from maskwright.data.intensity import measure
        >>> image = np.zeros((1, 8, 8), np.uint8)
        >>> with source_cache(128, Path("scratch")) as cache:
        ...     kept = cache.keep(Source("a", image, image[0], measure(image, 1)))
        >>> kept.image_CYX is image
        True
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield SourceCache(limit, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
