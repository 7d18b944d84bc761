"""What a worker process of this machine does first, by its name for Dask."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the client, which ends its workers.

    Args:
        worker: Dask's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
