"""Class ids written block by block, which a kill at any moment leaves whole.

::

    .NAME.unfinished/
        settings.json        what is being written; another prediction does not go on with it
        store.json           the size of the image, and whether there is a second map
        labels/00000.zarr    the class ids of the band of rows that begins at row 0
        certainty/00000.zarr how probable each of them is, where that was asked for
        journal/00000.jsonl  one line a block, written once the block's chunks are on the disk
        mask/                the mask while it is written, at the end

A block counts as written when its line in the journal is complete, and the line follows the
chunks: what a kill leaves between the two is written again.

Blocks that begin at the same row make a band, and have the same rows. Bands share no file, so that
several processes can write a store without knowing of each other, each the bands of its own. Where
two do write the same block, as when a machine that was given up for lost goes on, both write the
same bytes into chunks that appear at once, and add the same line.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import OutputError
from maskwright.io.durable import make_folder, output_error, write_text
from maskwright.io.stored import Block

_CHUNK_PX = {2: (512, 512), 3: (64, 128, 128)}
_MOST_PARTS = 8
_LABELS, _CERTAINTY, _JOURNAL = "labels", "certainty", "journal"
_DTYPES = {_LABELS: "uint8", _CERTAINTY: "uint16"}
_Key = tuple[tuple[int, int], ...]


class LabelSink(Protocol):
    """Where class ids go, block by block."""

    def write(
        self,
        block: Block,
        classes_S: NDArray[np.uint8],
        note: Sequence[float] = (),
        certainty_S: NDArray[np.uint16] | None = None,
    ) -> None:
        """Write a block; it is on the disk when this returns."""

    def is_written(self, block: Block) -> bool:
        """Whether this very block is on the disk, whole."""


class LabelStore:
    """A :class:`LabelSink` in a folder of its own, until the mask is finished.

    What other processes write after it was opened is seen by a store that is opened later.

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
        about = json.loads(_about(folder).read_text(encoding="utf-8"))
        self.folder = folder
        self.shape: tuple[int, ...] = tuple(about["shape"])
        """Size of the image."""
        self.has_certainty: bool = about[_CERTAINTY]
        """Whether it is kept how probable each class id is."""
        self._arrays: dict[tuple[str, int], Any] = {}
        self._written: dict[int, dict[_Key, tuple[float, ...]]] = {}
        self._bands: list[slice] | None = None

    @staticmethod
    def begin(
        folder: Path,
        shape: tuple[int, ...],
        settings: Mapping[str, Any],
        *,
        certainty: bool = False,
    ) -> LabelStore:
        """An empty store; one that is there already is removed.

        Args:
            folder: The folder to make.
            shape: Size of the image.
            settings: All that the class ids depend on, as plain values.
            certainty: Whether each block comes with how probable its class ids are.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        shutil.rmtree(folder, ignore_errors=True)
        for name in (_LABELS, _JOURNAL, *[_CERTAINTY] * certainty):
            make_folder(folder / name, subject=str(folder))
        write_text(_about(folder), json.dumps({"shape": shape, _CERTAINTY: certainty}) + "\n")
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
    def bands(self) -> list[slice]:
        """Rows of each band that was begun, in order."""
        if self._bands is None:
            starts = sorted(int(path.stem) for path in (self.folder / _LABELS).glob("*.zarr"))
            heights = [int(self._array(_LABELS, start).shape[0]) for start in starts]
            self._bands = [
                slice(start, start + height) for start, height in zip(starts, heights, strict=True)
            ]
        return self._bands

    def write(
        self,
        block: Block,
        classes_S: NDArray[np.uint8],
        note: Sequence[float] = (),
        certainty_S: NDArray[np.uint16] | None = None,
    ) -> None:
        """Write a block; it is on the disk when this returns.

        Args:
            block: Where, a slice an axis; as many rows as the other blocks that begin there.
            classes_S: Class ids of the size of the block.
            note: Numbers kept beside it, see :meth:`notes`.
            certainty_S: Probability of each times 65535, for a store that keeps them.

        Raises:
            OutputError: When the disk is full, read-only or fails.
        """
        start, kept = int(block[0].start), tuple(float(value) for value in note)
        entry = json.dumps({"block": _key(block), "note": kept})
        try:
            for name, values_S in ((_LABELS, classes_S), (_CERTAINTY, certainty_S)):
                if name == _LABELS or self.has_certainty:
                    self._write(name, block, values_S)
            # A line of its own whatever an interrupted one left.
            with _journal(self.folder, start).open("ab") as file:
                file.write(b"\n" + entry.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(self.folder, error) from error
        self._entries(start)[_key(block)] = kept

    def is_written(self, block: Block) -> bool:
        """Whether this very block is on the disk, whole."""
        return _key(block) in self._entries(int(block[0].start))

    def notes(self) -> list[tuple[float, ...]]:
        """The numbers beside the blocks, in the order of their places."""
        starts = sorted(int(path.stem) for path in (self.folder / _JOURNAL).glob("*.jsonl"))
        bands = [self._entries(start) for start in starts]
        return [entries[key] for entries in bands for key in sorted(entries)]

    def read(self, block: Block) -> NDArray[np.uint8]:
        """Class ids of any block; 0 where nothing was written."""
        return self._read(_LABELS, block)

    def read_certainty(self, block: Block) -> NDArray[np.uint16]:
        """How probable the class ids of any block are, times 65535."""
        return self._read(_CERTAINTY, block)

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

    def _entries(self, start: int) -> dict[_Key, tuple[float, ...]]:
        """The blocks of a band, those of earlier processes too; a torn line is none."""
        if start not in self._written:
            self._written[start] = found = {}
            path = _journal(self.folder, start)
            for line in path.read_bytes().split(b"\n") if path.exists() else ():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
                key = tuple((int(first), int(last)) for first, last in entry["block"])
                found[key] = tuple(entry["note"])
        return self._written[start]

    def _write(self, name: str, block: Block, values_S: NDArray[Any] | None) -> None:
        rows, *rest = block
        path = self._path(name, rows.start)
        if not (path / "zarr.json").is_file():
            self._make(path, name, block)
        array = self._array(name, rows.start)
        inner = (slice(0, rows.stop - rows.start), *rest)
        array[inner] = values_S
        spans = [
            range(part.start // chunk, -(-part.stop // chunk))
            for part, chunk in zip(inner, array.chunks, strict=True)
        ]
        for where in product(*spans):
            _sync(path / array.metadata.encode_chunk_key(where))

    def _make(self, path: Path, name: str, block: Block) -> None:
        """The array of a band, in chunks of which its first block holds whole ones."""
        import zarr

        rows = block[0]
        shape = (rows.stop - rows.start, *self.shape[1:])
        chunks = tuple(
            min(most, length) if part.stop - part.start == length else _chunk(part, most)
            for part, length, most in zip(block, shape, _CHUNK_PX[len(block)], strict=True)
        )
        zarr.create_array(path, shape=shape, chunks=chunks, dtype=_DTYPES[name])
        self._bands = None

    def _array(self, name: str, start: int) -> Any:
        import zarr

        if (name, start) not in self._arrays:
            array = zarr.open_array(self._path(name, start), mode="r+")
            # A missing chunk would read as background.
            self._arrays[name, start] = array.with_config({"write_empty_chunks": True})
        return self._arrays[name, start]

    def _read(self, name: str, block: Block) -> NDArray[Any]:
        rows, *rest = block
        values_S = np.zeros(tuple(part.stop - part.start for part in block), _DTYPES[name])
        for band in self.bands:
            first, last = max(rows.start, band.start), min(rows.stop, band.stop)
            if first < last:
                inner = slice(first - band.start, last - band.start)
                found_S = self._array(name, band.start)[(inner, *rest)]
                values_S[first - rows.start : last - rows.start] = found_S
        return values_S

    def _path(self, name: str, start: int) -> Path:
        return self.folder / name / f"{start:05d}.zarr"


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


def _chunk(part: slice, most: int) -> int:
    """Length of chunks of which a part of an axis holds whole ones.

    Example:
        >>> [_chunk(slice(0, length), 512) for length in (300, 960, 1021)]
        [300, 480, 1021]
    """
    length = int(part.stop - part.start)
    fewest = -(-length // most)
    divisors = (n for n in range(fewest, _MOST_PARTS * fewest) if length % n == 0)
    return length // next(divisors, 1)


def _key(block: Block) -> _Key:
    return tuple((int(part.start), int(part.stop)) for part in block)


def _journal(folder: Path, start: int) -> Path:
    return folder / _JOURNAL / f"{start:05d}.jsonl"


def _about(folder: Path) -> Path:
    return folder / "store.json"


def _settings(folder: Path) -> Path:
    return folder / "settings.json"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
