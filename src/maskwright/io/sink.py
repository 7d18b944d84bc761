"""Class ids written block by block, which a kill at any moment leaves whole.

::

    .NAME.unfinished/
        settings.json    what is being written; another prediction does not go on with it
        labels.zarr/     the class ids
        journal.jsonl    one line a block, written once the block's chunks are on the disk

A block counts as written when its line in the journal is complete, and the line follows the
chunks: what a kill leaves between the two is written again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import OutputError
from maskwright.io.durable import make_folder, output_error, write_text

Block = tuple[slice, ...]

_CHUNKS = {2: (512, 512), 3: (64, 128, 128)}


class LabelSink(Protocol):
    """Where class ids go, block by block."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the parts in which they are stored."""

    def write(self, block: Block, classes_S: NDArray[np.uint8], note: Sequence[float] = ()) -> None:
        """Write a block; it is on the disk when this returns."""

    def is_written(self, block: Block) -> bool:
        """Whether this very block is on the disk, whole."""


class LabelStore:
    """A :class:`LabelSink` in a folder of its own, until the mask is finished.

    Args:
        folder: The folder, which :meth:`begin` or :meth:`resume` made sure of.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = LabelStore.begin(Path(folder) / "a", (4, 6), {"tile_px": 32})
        ...     block = (slice(0, 2), slice(0, 6))
        ...     store.write(block, np.ones((2, 6), np.uint8))
        ...     again = LabelStore.resume(Path(folder) / "a", {"tile_px": 32})
        ...     again.is_written(block), again.is_written((slice(2, 4), slice(0, 6)))
        (True, False)
    """

    def __init__(self, folder: Path) -> None:
        import zarr

        self.folder = folder
        self._array: Any = zarr.open_array(_labels(folder), mode="r+")
        # A missing chunk would read as background.
        self._array = self._array.with_config({"write_empty_chunks": True})
        self._written: dict[tuple[tuple[int, int], ...], tuple[float, ...]] = {}
        self._read_journal()

    @staticmethod
    def begin(folder: Path, shape: tuple[int, ...], settings: Mapping[str, Any]) -> LabelStore:
        """An empty store; one that is there already is removed.

        Args:
            folder: The folder to make.
            shape: Size of the image.
            settings: All that the class ids depend on, as plain values.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        import zarr

        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder, subject=str(folder))
        chunks = tuple(min(n, size) for n, size in zip(_CHUNKS[len(shape)], shape, strict=True))
        try:
            zarr.create_array(_labels(folder), shape=shape, chunks=chunks, dtype="uint8")
        except OSError as error:
            raise output_error(folder, error) from error
        write_text(_journal(folder), "")
        # Last: a store without settings was never begun.
        write_text(_settings(folder), json.dumps(settings, indent=2) + "\n")
        return LabelStore(folder)

    @staticmethod
    def resume(folder: Path, settings: Mapping[str, Any]) -> LabelStore | None:
        """The store that an earlier process left, or ``None`` where it had not begun.

        Raises:
            OutputError: ``resume-differs`` where it was begun with other settings.
        """
        try:
            earlier = json.loads(_settings(folder).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return None
        wanted = json.loads(json.dumps(settings))
        for name in {**earlier, **wanted}:
            if earlier.get(name) != wanted.get(name):
                raise OutputError(
                    "resume-differs",
                    f"--resume {folder}",
                    expected=f"{name} {earlier.get(name)}, as the prediction began",
                    found=f"{wanted.get(name)}",
                    remedy="run the command as it was begun, or begin anew with --overwrite",
                )
        return LabelStore(folder)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the image."""
        return tuple(int(n) for n in self._array.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the parts in which the class ids are stored."""
        return tuple(int(n) for n in self._array.chunks)

    def write(self, block: Block, classes_S: NDArray[np.uint8], note: Sequence[float] = ()) -> None:
        """Write a block; it is on the disk when this returns.

        Args:
            block: Where, a slice an axis.
            classes_S: Class ids of the size of the block.
            note: Numbers kept beside it, see :meth:`notes`.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        key = _key(block)
        try:
            self._array[block] = classes_S
            for path in self._chunk_files(key):
                _sync(path)
            line = json.dumps({"block": key, "note": [float(value) for value in note]})
            with _journal(self.folder).open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(self.folder, error) from error
        self._written[key] = tuple(float(value) for value in note)

    def is_written(self, block: Block) -> bool:
        """Whether this very block is on the disk, whole."""
        return _key(block) in self._written

    def notes(self) -> list[tuple[float, ...]]:
        """The numbers beside the blocks, in the order of their places."""
        return [self._written[key] for key in sorted(self._written)]

    def read(self, block: Block) -> NDArray[np.uint8]:
        """Class ids of any block."""
        values: NDArray[np.uint8] = np.asarray(self._array[block])
        return values

    def remember(self, name: str, values: Mapping[str, Any]) -> None:
        """Keep plain values beside the class ids.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        write_text(self.folder / f"{name}.json", json.dumps(values) + "\n")

    def recall(self, name: str) -> dict[str, Any] | None:
        """Values that were kept under this name, or ``None``."""
        try:
            values: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None
        return values

    def _read_journal(self) -> None:
        """Take up the blocks of an earlier process; a torn last line is cut off."""
        whole = 0
        with _journal(self.folder).open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                entry = json.loads(line)
                key = tuple((int(first), int(last)) for first, last in entry["block"])
                self._written[key] = tuple(entry["note"])
            file.truncate(whole)

    def _chunk_files(self, key: Sequence[tuple[int, int]]) -> Iterator[Path]:
        spans = [
            range(first // chunk, -(-last // chunk))
            for (first, last), chunk in zip(key, self.chunks, strict=True)
        ]
        encode = self._array.metadata.encode_chunk_key
        return (_labels(self.folder) / encode(where) for where in product(*spans))


def unfinished_folder(mask: Path) -> Path:
    """Where the class ids of a mask are until it is finished.

    Example:
        >>> unfinished_folder(Path("masks/a.tif")).name
        '.a.tif.unfinished'
    """
    return mask.with_name(f".{mask.name}.unfinished")


def discard(mask: Path) -> None:
    """Remove what is there of a mask that is finished, or that nobody goes on with."""
    folder = unfinished_folder(mask)
    # Without settings nothing goes on with it, wherever the removal is interrupted.
    _settings(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _key(block: Block) -> tuple[tuple[int, int], ...]:
    return tuple((int(part.start), int(part.stop)) for part in block)


def _labels(folder: Path) -> Path:
    return folder / "labels.zarr"


def _journal(folder: Path) -> Path:
    return folder / "journal.jsonl"


def _settings(folder: Path) -> Path:
    return folder / "settings.json"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
