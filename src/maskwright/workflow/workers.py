"""What a prediction has its workers do: whole images, or bands of rows of large ones.

A task whose worker ends is given to another one, which takes up the bands that are there.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import maskwright
from maskwright.data.intensity import Intensity
from maskwright.errors import DataError, RunError
from maskwright.io.sink import LabelStore
from maskwright.predict.stream import bands_left, tiles_left
from maskwright.progress import Events
from maskwright.workflow.distributed_tasks import (
    Answer,
    Job,
    NetworkFiles,
    error_of,
    look,
    no_folder,
    no_image,
    other_version,
    rows_task,
    whole_task,
)
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_plan import Fit

_POLLED_S = 0.02
_LOOKED_S = 2.0
_FIRST_WORKER_S = 60
MOST_KILLED = 3
"""An image is at fault that ends so many workers."""

# What fails but for the image, such as a shared folder that is away for a moment.
_RETRIES = 2
# PyTorch rounds the last digit of a probability with one thread otherwise than with several.
_APART = 1e-6
# Bands of averaged rows share tiles with their neighbours: few tasks repeat few of them.
_TASKS_A_WORKER = 2


class Counting(Protocol):
    """Where it is told how many tiles are done."""

    def add(self, name: str, tiles: int) -> None:
        """Count tiles of an image that are done."""

    def skip(self, tiles: int) -> None:
        """Leave out tiles that need not be predicted."""


@dataclass(frozen=True)
class _Task:
    """Something for a worker to do."""

    function: Callable[..., Answer]
    arguments: tuple[Any, ...]
    case: Case
    tiles: int


class Workers:
    """The workers of one prediction, see :func:`maskwright.workflow.distributed.connected`.

    Args:
        client: Dask's.
        job: What all tasks share.
        files: The network.
        progress: Where tiles are counted.
        events: Where it is told what happens to workers.
    """

    def __init__(
        self, client: Any, job: Job, files: NetworkFiles, progress: Counting, events: Events
    ) -> None:
        self._client, self._job, self._files = client, job, files
        self._progress, self._events = progress, events
        self._addresses: set[str] = set()
        self._apart: set[str] = set()
        self._looked_s = -math.inf
        self._network: Any = None

    def greet(self, images: Sequence[Path]) -> None:
        """Make sure that the workers see what they need, and give them the network.

        Args:
            images: What they are to read.

        Raises:
            RunError: ``workers-none`` where no worker comes, ``worker-package`` and
                ``worker-version`` where one lacks what it needs.
            OutputError: ``worker-folder``.
            ImageReadError: ``worker-image``.
        """
        try:
            self._client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
        except TimeoutError as error:
            raise RunError(
                "workers-none",
                "the scheduler",
                expected="at least one worker",
                found=f"none within {_FIRST_WORKER_S} seconds",
                remedy="start workers with `dask worker ADDRESS`, then run the command again",
            ) from error
        paths = [_absolute(path) for path in images]
        try:
            found = self._client.run(look, self._job.lease, paths, on_error="return")
        except ImportError as error:
            raise RunError(
                "worker-package",
                "the workers",
                expected=f"maskwright {maskwright.__version__}, as on this machine",
                found=str(error),
                remedy="install the same version on all machines, and start the workers again",
            ) from error
        for values in found.values():
            self._check(values)
        self._look()
        self._give_network()

    def predict(
        self, cases: Sequence[Case], tiles: Callable[[Case], int]
    ) -> Iterator[tuple[Case, dict[str, Any]]]:
        """Predict images, each as a whole by one worker.

        Args:
            cases: The images.
            tiles: How many tiles each takes.

        Yields:
            Image and record, as they are finished.
        """
        tasks = [_Task(whole_task, (_elsewhere(case),), case, tiles(case)) for case in cases]
        for task, values in self._results(tasks):
            yield task.case, values | {"image": str(task.case.paths[0])}

    def spread(self, case: Case, fitted: Fit, store: LabelStore, measured: Intensity) -> None:
        """Predict the bands of an image that its store lacks.

        Args:
            case: The image.
            fitted: Its tiles.
            store: Where class ids go.
            measured: Mean and deviation of the whole image.
        """
        cover = fitted.rule.cover(case.work_px)
        left = bands_left(cover, store)
        begun = Counter(
            tile.write[0].start
            for tile in cover
            if tile.weights is not None or not store.is_written(tile.write_slices)
        )
        counts = [begun[band.start] for band in left]
        # Tiles that reach into the bands of several tasks count once.
        self._progress.skip(len(tiles_left(cover, store)) - sum(counts))
        arguments = (_elsewhere(case), fitted, measured)
        tasks = [
            _Task(
                rows_task,
                (*arguments, slice(left[first].start, left[last - 1].stop)),
                case,
                sum(counts[first:last]),
            )
            for first, last in _runs(left, self._together(len(left)) if fitted.averaged else 1)
        ]
        for _ in self._results(tasks):
            continue

    def _together(self, bands: int) -> int:
        """How many bands of averaged rows make a task."""
        return max(1, -(-bands // (_TASKS_A_WORKER * max(1, len(self._addresses)))))

    def _results(self, tasks: Iterable[_Task]) -> Iterator[tuple[_Task, dict[str, Any]]]:
        """What tasks return, as they end; no more are with the scheduler than can be run."""
        # Beside each task, how often it was lost.
        waiting = deque((task, 0) for task in tasks)
        running: dict[Any, tuple[_Task, int]] = {}
        try:
            while waiting or running:
                self._look()
                while waiting and len(running) < max(1, len(self._addresses)):
                    task, lost = waiting.popleft()
                    running[self._submit(task)] = task, lost
                for future in [future for future in running if future.done()]:
                    task, lost = running.pop(future)
                    answer = self._answer(future, task)
                    if answer is None:
                        if lost + 1 == MOST_KILLED:
                            raise _killed(task)
                        # With the last worker went the network too.
                        self._give_network()
                        waiting.appendleft((task, lost + 1))
                        continue
                    self._progress.add(task.case.paths[0].name, task.tiles)
                    yield task, answer["values"]
                time.sleep(_POLLED_S)
            self._look(now=True)
        finally:
            if running:
                self._client.cancel(list(running), force=True)

    def _submit(self, task: _Task) -> Any:
        arguments = (self._job, self._network, *task.arguments)
        with _asking():
            return self._client.submit(task.function, *arguments, pure=False, retries=_RETRIES)

    def _answer(self, future: Any, task: _Task) -> Answer | None:
        """What a task returned; ``None`` where it was lost with all workers.

        Raises:
            DataError: ``worker-killed`` where workers ended one after the other.
            MaskwrightError: The error that the task ended with.
        """
        from distributed import CancelledError, KilledWorker

        try:
            answer: Answer = future.result()
        except CancelledError:
            return None
        except KilledWorker as error:
            raise _killed(task) from error
        failed = error_of(answer)
        if failed is not None:
            raise failed
        if answer["withdrawn"]:
            raise no_folder(answer["host"], self._job.lease.folder, "a file there was removed")
        if answer["apart"] > _APART and answer["host"] not in self._apart:
            self._apart.add(answer["host"])
            self._events.send(
                "warning",
                code="worker-rounding",
                text=f"The processor of {answer['host']} rounds differently: probabilities differ "
                f"by up to {answer['apart']:.1g}, so that single pixels may be of another class "
                "than on this machine.",
            )
        return answer

    def _look(self, *, now: bool = False) -> None:
        """See now and then which workers are there, and tell of those that are not."""
        now_s = time.monotonic()
        if not now and now_s - self._looked_s < _LOOKED_S:
            return
        with _asking():
            there = set(self._client.nthreads())
        for address in sorted(self._addresses - there):
            self._events.send(
                "warning",
                code="worker-lost",
                text=f"The worker at {address} ended; what it was working on is predicted again.",
            )
        if not there:
            self._events.send("busy", text="Waiting for a worker")
        self._addresses, self._looked_s = there, now_s

    def _give_network(self) -> None:
        """Send the network to every worker."""
        with _asking():
            self._network = self._client.scatter(
                self._files, broadcast=True, direct=True, hash=False, timeout=_FIRST_WORKER_S
            )

    def _check(self, values: Any) -> None:
        if not isinstance(values, dict):
            # It ended while it was asked; another one takes its place.
            return
        host, version = values["host"], maskwright.__version__
        if values["version"] != version:
            raise other_version(host, version, values["version"])
        if "folder" in values:
            raise no_folder(host, self._job.lease.folder, values["folder"])
        if "image" in values:
            raise no_image(host, values["image"])


def _killed(task: _Task) -> DataError:
    return DataError(
        "worker-killed",
        str(task.case.paths[0]),
        expected="to be predicted by a worker",
        found="several workers that ended while they worked on it",
        remedy="it may need more memory than they have: use fewer --workers or a smaller --tile, "
        "and go on with --resume",
    )


@contextmanager
def _asking() -> Iterator[None]:
    """Tell of a scheduler that no longer answers.

    Raises:
        RunError: ``scheduler-lost``.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            "scheduler-lost",
            "the scheduler",
            expected="to reach it and its workers until all is predicted",
            found=str(error),
            remedy="start it again, and go on with --resume",
        ) from error


def _runs(bands: Sequence[slice], most: int) -> Iterator[tuple[int, int]]:
    """First and last, excluded, of bands that follow each other, so many at most.

    Example:
        >>> list(_runs([slice(0, 4), slice(4, 8), slice(8, 12), slice(20, 24)], 2))
        [(0, 2), (2, 3), (3, 4)]
    """
    first = 0
    for last in range(1, len(bands) + 1):
        ends = last == len(bands) or bands[last].start != bands[last - 1].stop
        if ends or last - first == most:
            yield first, last
            first = last


def _elsewhere(case: Case) -> Case:
    """The case as a process in another folder finds its files."""
    paths = tuple(_absolute(path) for path in case.paths)
    return replace(case, paths=paths, file=_absolute(case.file))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
