"""The one durable writer: a file is there whole or not at all.

::

    sibling temporary file → write → fsync → rename over the target → fsync of the folder

A crash at any point leaves the old file or the new one, never a part of one. Temporary files
start with a dot, so readers of folders skip what a crash leaves behind.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskwright.errors import OutputError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Write a file so that it appears whole or not at all.

    Args:
        path: The file to create or replace; its folder must exist.

    Yields:
        A sibling temporary path with the same suffix, to be written by the caller. It replaces
        ``path`` when the block ends, and is removed when the block raises.

    Raises:
        OutputError: ``output-disk-full``, ``output-read-only`` or ``output-failed``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replace_file(Path(folder) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        # Exclusive creation, with the permissions the user's umask gives to new files.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Write a folder of files so that it appears whole or not at all.

    Args:
        path: The folder to create or replace; the one above it must exist.

    Yields:
        A sibling path that does not exist yet. It replaces ``path`` when the block ends, and is
        removed when the block raises.

    Raises:
        OutputError: ``output-disk-full``, ``output-read-only`` or ``output-failed``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replace_folder(Path(folder) / "a.zarr") as temporary:
        ...         temporary.mkdir()
        ...         _ = (temporary / "zarr.json").write_text("{}")
        ...     [path.name for path in (Path(folder) / "a.zarr").iterdir()]
        ['zarr.json']
    """
    path = Path(path)
    token = secrets.token_hex(4)
    temporary = path.with_name(f".{path.name}.{token}.tmp")
    earlier = path.with_name(f".{path.name}.{token}.old")
    try:
        yield temporary
        for folder, _, files in os.walk(temporary):
            for name in files:
                _sync(Path(folder) / name)
            _sync_folder(Path(folder))
        if path.exists():
            os.replace(path, earlier)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def put_in_place(whole: Path, path: Path) -> None:
    """Move a file or folder that was written elsewhere, so that it appears whole or not at all.

    Args:
        whole: The file or folder, on the same disk.
        path: What it replaces or becomes; its folder must exist.

    Raises:
        OutputError: As :func:`replace_file`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.txt").write_text("whole")
        ...     put_in_place(Path(folder) / "a.txt", Path(folder) / "b.txt")
        ...     [path.name for path in Path(folder).iterdir()]
        ['b.txt']
    """
    with (replace_folder if whole.is_dir() else replace_file)(path) as temporary:
        os.replace(whole, temporary)


def make_folder(path: Path, *, subject: str) -> None:
    """Make a folder and those above it, if they are not there yet.

    Args:
        path: The folder.
        subject: What it is called in a message, such as ``--out masks``.

    Raises:
        OutputError: When it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "output-folder",
            subject,
            expected="a folder that can be made",
            found=error.strerror or str(error),
            remedy="choose another place",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes durably.

    Args:
        path: The file to create or replace.
        data: Its whole content.

    Raises:
        OutputError: When the disk is full, read-only or fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "a.bin", b"123")
        ...     (Path(folder) / "a.bin").read_bytes()
        b'123'
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    r"""Write text durably, as UTF-8 with ``\n`` line ends on every system.

    Args:
        path: The file to create or replace.
        text: Its whole content.

    Raises:
        OutputError: When the disk is full, read-only or fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "a.txt", "µm\n")
        ...     (Path(folder) / "a.txt").read_bytes()
        b'\xc2\xb5m\n'
    """
    write_bytes(path, text.encode("utf-8"))


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # other systems cannot open a folder; their rename is journalled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def output_error(path: Path, error: OSError) -> OutputError:
    """What is told of a file that could not be written."""
    reason = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return OutputError(
            "output-disk-full",
            str(path),
            expected="room for the file",
            found=reason,
            remedy="free some space, then run the command again",
        )
    if error.errno in _READ_ONLY:
        return OutputError(
            "output-read-only",
            str(path),
            expected="a folder that can be written",
            found=reason,
            remedy="choose another folder with --out",
        )
    return OutputError(
        "output-failed",
        str(path),
        expected="a file that can be written",
        found=reason,
        remedy="check that the folder exists and the disk works",
    )
