"""Prediction by many processes or many machines, through the scheduler of Dask.

::

    client ── tasks, records ──► scheduler ◄── tasks, records ──► worker: its own image, or bands
       │                                                             │    of rows of a large one
       └── network, once to each worker ────────────────────────────►│
                             images ──► shared folder ◄── masks, class ids of bands (Zarr)

A task whose worker ends is given to another one, which takes up the bands that are there.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.errors import ConfigError, RunError
from maskwright.io.extras import load_extra
from maskwright.progress import Events
from maskwright.workflow import worker_start
from maskwright.workflow.distributed_tasks import Job, NetworkFiles, say
from maskwright.workflow.lease import end_leases
from maskwright.workflow.prediction_plan import memory_bytes
from maskwright.workflow.workers import MOST_KILLED, Counting, Workers

if TYPE_CHECKING:
    from maskwright.workflow.opening import OpenedNetwork

_ALLOWED = {"distributed.scheduler.allowed-failures": MOST_KILLED - 1}
_ADDRESS = re.compile(r"([a-z]+://)?[^/\s]+:[0-9]+")


def check_workers(workers: int | None, scheduler: str | None) -> bool:
    """Whether other processes predict.

    Args:
        workers: Processes to start on this machine.
        scheduler: Address of a scheduler that runs.

    Raises:
        ConfigError: ``workers-both`` or ``workers-count``.
        RunError: ``scheduler-missing`` for what cannot be an address.
        MaskwrightError: ``extra-missing`` without Dask.
    """
    if workers is None and scheduler is None:
        return False
    if workers is not None and scheduler is not None:
        raise ConfigError(
            "workers-both",
            "--workers and --scheduler",
            expected="one of the two",
            found=f"--workers {workers} --scheduler {scheduler}",
            remedy="leave out --workers: a scheduler has workers of its own",
        )
    if workers is not None and workers < 1:
        raise ConfigError(
            "workers-count",
            "--workers",
            expected="1 or more",
            found=str(workers),
            remedy="use as many as the machine has cores for, such as 2",
        )
    load_extra("distributed", extra="dask")
    if scheduler is not None and not _ADDRESS.fullmatch(scheduler):
        raise _no_scheduler(scheduler, "another text")
    return True


@contextmanager
def dividing(memory: str | int | None, workers: int | None) -> Iterator[str | int | None]:
    """What each of several processes on one machine may take of the memory of all.

    Raises:
        ConfigError: Where what needs memory in this block finds its share too small.

    Example:
        >>> with dividing("8GB", 4) as each:
        ...     each
        2000000000
    """
    if memory is None or workers is None:
        yield memory
        return
    try:
        yield memory_bytes(memory) // workers
    except ConfigError as error:
        if error.subject != "--memory" and error.code != "memory-whole":
            raise
        raise ConfigError(
            error.code,
            error.subject,
            expected=f"{error.expected}, in each of {workers} workers",
            found=f"{error.found} for each",
            remedy="give more memory, or use fewer --workers",
        ) from error


@contextmanager
def connected(
    workers: int | None,
    scheduler: str | None,
    network: OpenedNetwork,
    path: Path,
    job: Job,
    progress: Counting,
    events: Events,
) -> Iterator[Workers]:
    """Workers for one prediction; those that were started end with it.

    Args:
        workers: Processes to start on this machine, or
        scheduler: the address of a scheduler that runs.
        network: The network as the client has it open.
        path: Where it is.
        job: What all tasks share.
        progress: Where tiles are counted.
        events: Where it is told what happens to workers.

    Raises:
        RunError: ``scheduler-missing`` where nobody answers.
    """
    dask, distributed = (load_extra(name, extra="dask") for name in ("dask", "distributed"))
    files = NetworkFiles.of(path, say(network.predictor, job.dims))
    with ExitStack() as stack:
        stack.callback(end_leases, job.lease.folder)
        if workers is not None:
            events.send("busy", text="Starting workers")
            stack.enter_context(dask.config.set(_ALLOWED))
            scheduler = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=0,
                    dashboard_address=None,
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    silence_logs=logging.CRITICAL,
                    preload=[worker_start.__name__],
                )
            )
        try:
            client = stack.enter_context(distributed.Client(scheduler, set_as_default=False))
        except OSError as error:
            raise _no_scheduler(str(scheduler), str(error)) from error
        # Before the client goes, so that tasks stop at their next tile.
        stack.callback(end_leases, job.lease.folder)
        _tell(client, events, page=workers is None)
        yield Workers(client, job, files, progress, events)


def threads_each(workers: int | None) -> int | None:
    """Threads of each worker on this machine; ``None`` for those that run already."""
    if workers is None:
        return None
    text = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(text) if text.isdigit() else _cores()
    return max(1, cores // workers)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _no_scheduler(address: str, found: str) -> RunError:
    return RunError(
        "scheduler-missing",
        f"--scheduler {address}",
        expected="the address of a scheduler of Dask that runs",
        found=found,
        remedy="start one with `dask scheduler` and give the address that it prints, such as "
        "tcp://10.0.0.1:8786",
    )


def _tell(client: Any, events: Events, *, page: bool) -> None:
    info = client.scheduler_info()
    shown = page and "dashboard" in info["services"]
    events.send(
        "message",
        text=f"Workers that predict: {len(client.nthreads())}, through {info['address']}"
        + (f"; its page is {client.dashboard_link}." if shown else "."),
    )
