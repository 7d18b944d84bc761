"""Which images of a prediction are finished, so that it can go on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwright.errors import OutputError
from maskwright.io.durable import output_error, write_text
from maskwright.io.registry import file_of
from maskwright.io.run_folder import RunFolder

JOURNAL_NAME = ".predictions.unfinished.jsonl"
_PRECISIONS = ("float32", "bfloat16", "int8")
_ENGINES = (("OpenVINO", "openvino"), ("ONNX", "onnx"))


class Finished:
    """Records of finished images, a line each; the first line says what they depend on.

    Args:
        path: The journal.
        settings: All that the masks depend on, as plain values.
        entries: What is known of each finished image, by the name of its mask.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], entries: dict[str, dict[str, Any]]
    ) -> None:
        self._path = path
        self._settings = settings
        self._entries = entries

    @staticmethod
    def begin(folder: Path, settings: Mapping[str, Any]) -> Finished:
        """A new journal.

        Args:
            folder: Where masks go.
            settings: All that they depend on.

        Raises:
            OutputError: When it cannot be written.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     mask = Path(folder) / "a.png"
            ...     mask.touch()
            ...     Finished.begin(Path(folder), {"tile": 64}).add(mask, [mask], {"pixels": 9})
            ...     Finished.of(Path(folder)).has(mask, [mask])
            True
        """
        path = folder / JOURNAL_NAME
        write_text(path, json.dumps(settings) + "\n")
        return Finished(path, json.loads(json.dumps(settings)), {})

    @staticmethod
    def of(folder: Path) -> Finished | None:
        """The journal of an interrupted prediction; ``None`` where there is none."""
        path = folder / JOURNAL_NAME
        try:
            data = path.read_bytes()
        except OSError:
            return None
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            return None
        if whole != data:
            write_text(path, whole.decode())
        settings, *entries = [json.loads(line) for line in whole.splitlines()]
        return Finished(path, settings, {entry["mask"]: entry for entry in entries})

    @property
    def decided(self) -> tuple[str, str | None]:
        """Engine and number format it began with, so that it goes on with the same."""
        return decided(str(self._settings.get("numerics", "")))

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings.

        Raises:
            OutputError: ``resume-differs``.
        """
        for name, value in json.loads(json.dumps(settings)).items():
            if self._settings.get(name) != value:
                raise OutputError(
                    "resume-differs",
                    f"--resume {self._path.parent}",
                    expected=f"{name} {self._settings.get(name)}, as the prediction began",
                    found=f"{value}",
                    remedy="run the command as it was begun, or begin anew with --overwrite",
                )

    def has(self, mask: Path, images: Sequence[Path]) -> bool:
        """Whether a mask is there, of these very files.

        Args:
            mask: The mask.
            images: The files of its image.
        """
        entry = self._entries.get(mask.name)
        return entry is not None and mask.exists() and entry["image"] == stamps(images)

    def record(self, mask: Path) -> dict[str, Any]:
        """The record of a finished image."""
        record: dict[str, Any] = self._entries[mask.name]["record"]
        return record

    def add(self, mask: Path, images: Sequence[Path], record: Mapping[str, Any]) -> None:
        """Write down an image whose mask is on the disk.

        Raises:
            OutputError: When it cannot be written.
        """
        entry = {"mask": mask.name, "image": stamps(images), "record": dict(record)}
        self._entries[mask.name] = entry
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(self._path, error) from error

    def discard(self) -> None:
        """Remove the journal: all is finished."""
        self._path.unlink(missing_ok=True)


def decided(numerics: str) -> tuple[str, str | None]:
    """Engine and number format from what a record says of them.

    Args:
        numerics: Memory order or library, then the number format.

    Example:
        >>> decided("OpenVINO 2026.1.0, bfloat16"), decided("channels_last float32")
        (('openvino', 'bfloat16'), ('torch', 'float32'))
    """
    last = numerics.split(" ")[-1]
    engine = next((name for start, name in _ENGINES if numerics.startswith(start)), "torch")
    return engine, last if last in _PRECISIONS else None


def stamps(images: Sequence[Path]) -> list[list[Any]]:
    """Name, size and time of the last change of files, which tell whether they were replaced."""
    stats = [(path, file_of(path).stat()) for path in images]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def digest(network: Path, numerics: str) -> str:
    """What tells a network from others: a hash of its files.

    Args:
        network: A run folder, a file, or the folder of a package.
        numerics: What runs it, and its number format.
    """
    run, files = RunFolder(network), [network]
    if run.config.is_file():
        int8 = [run.int8_network] if numerics.endswith("int8") else []
        files = [run.config, *run.weights(), *int8]
    elif network.is_dir():
        files = sorted(path for path in network.rglob("*") if path.is_file())
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
