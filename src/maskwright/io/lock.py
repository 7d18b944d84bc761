"""One process at a time: a lock that the operating system drops with the process.

::

    first process    open ─▶ lock ─▶ write who it is ─▶ … ─▶ remove the file, unlock
    second process   open ─▶ locked? ─▶ read who that is ─▶ refuse

A process that is killed leaves the file behind without its lock, and the next one takes it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from maskwright.errors import MaskwrightError
from maskwright.io.durable import output_error

_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
# Where Windows locks a byte nobody else may read it, so it is one behind the text.
_LOCKED_BYTE = 1 << 20


@contextmanager
def hold_lock(path: Path, refused: MaskwrightError) -> Iterator[None]:
    """Keep other processes from what a lock file stands for.

    On a file system that knows no locks, nothing is held.

    Args:
        path: The lock file; it is there while the lock is held.
        refused: What is raised while another process holds it; who that is is added to what was
            found.

    Raises:
        MaskwrightError: As given.
        OutputError: When the lock file cannot be made.

    Example:
        >>> import tempfile
        >>> from maskwright.errors import OutputError
        >>> held = OutputError("in-use", "out", expected="a free folder", found="a held one",
        ...                    remedy="wait")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with hold_lock(Path(folder) / "lock", held):
        ...         (Path(folder) / "lock").exists()
        True
    """
    file = _locked(path, refused)
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it meanwhile sees that it is gone.
        with suppress(OSError):
            path.unlink()
        file.close()
        with suppress(OSError):
            if os.name == "nt":
                path.unlink()


def _locked(path: Path, refused: MaskwrightError) -> IO[str]:
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise output_error(path, error) from error
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _HELD:
                holder = _holder(file)
                file.close()
                raise _named(refused, holder) from error
        if _is_there(file, path):
            break
        file.close()
    file.truncate(0)
    json.dump(
        {"process": os.getpid(), "computer": socket.gethostname(), "since": time.time()}, file
    )
    file.flush()
    return file


def _is_there(file: IO[str], path: Path) -> bool:
    """Whether the locked file is still the one of this name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _holder(file: IO[str]) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        file.seek(0)
        values = json.load(file)
        if isinstance(values, dict):
            return values
    return {}


def _named(refused: MaskwrightError, holder: dict[str, Any]) -> MaskwrightError:
    """The same refusal with the process that is in the way."""
    who = ""
    if isinstance(holder.get("process"), int):
        since = time.strftime("%H:%M", time.localtime(float(holder.get("since", 0))))
        who = f" (process {holder['process']} on {holder.get('computer')}, since {since})"
    return type(refused)(
        refused.code,
        refused.subject,
        expected=refused.expected,
        found=f"{refused.found}{who}",
        remedy=refused.remedy,
    )


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
