"""Whether a prediction still wants what its workers compute.

A worker of another machine cannot be stopped at once, and one that was given up for lost may go on.
Each looks at a small file in the folder of the masks before every tile: where it is gone, or is
that of a later prediction, it stops.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from maskwright.io.durable import write_text

LEASE_NAME = ".workers.unfinished"


class Withdrawn(Exception):  # noqa: N818 - being told to stop is no error
    """Nobody waits for the result any more."""


@dataclass(frozen=True)
class Lease:
    """The file of one prediction.

    Args:
        folder: The folder of the masks.
        token: What the file holds.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lease = Lease.begin(Path(folder))
        ...     before = lease.holds()
        ...     end_leases(Path(folder))
        ...     before, lease.holds()
        (True, False)
    """

    folder: Path
    token: str

    @staticmethod
    def begin(folder: Path) -> Lease:
        """A new one, which ends that of an earlier prediction.

        Raises:
            OutputError: When it cannot be written.
        """
        lease = Lease(folder, secrets.token_hex(8))
        write_text(folder / LEASE_NAME, lease.token)
        return lease

    def holds(self) -> bool:
        """Whether the file is there, with what was written into it."""
        try:
            return (self.folder / LEASE_NAME).read_text(encoding="utf-8") == self.token
        except OSError:
            return False

    def check(self) -> None:
        """Stop where the result is no longer wanted.

        Raises:
            Withdrawn: Where it is not.
        """
        if not self.holds():
            raise Withdrawn


def end_leases(folder: Path) -> None:
    """Tell all workers of a folder to stop."""
    (folder / LEASE_NAME).unlink(missing_ok=True)
