"""What a worker does: it opens the network once, then predicts images or bands of rows.

Results go from the worker into files; what a task returns are the few numbers of an image's record.
"""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import maskwright
from maskwright import errors
from maskwright.data.intensity import Intensity
from maskwright.errors import ImageReadError, MaskwrightError, OutputError, RunError
from maskwright.io.channels import open_channels
from maskwright.io.package import is_package
from maskwright.io.registry import file_of
from maskwright.io.run_folder import RunFolder
from maskwright.io.sink import LabelStore, unfinished_folder
from maskwright.plan.machine import use_threads
from maskwright.workflow.lease import Lease, Withdrawn
from maskwright.workflow.objects import ObjectFiles
from maskwright.workflow.opening import Asked, OpenedNetwork, open_network
from maskwright.workflow.prediction_cases import Case
from maskwright.workflow.prediction_journal import decided
from maskwright.workflow.prediction_plan import Fit
from maskwright.workflow.prediction_stream import on_network_grid, predict_rows
from maskwright.workflow.prediction_whole import predict_whole
from maskwright.workflow.predictor import Predictor

_PROBED_PX = {2: 256, 3: 32}
# Probabilities of two kinds of processor differ by rounding; those of another number format, or of
# one that a processor lacks, by much more.
_MOST_APART = 1e-4

Answer = dict[str, Any]
"""What a task returns: ``error``; or ``values``, the ``host``, how far its numbers are ``apart``
from the client's, and whether it was ``withdrawn``."""


@dataclass(frozen=True)
class NetworkFiles:
    """The files of a network, and what it says of a tile of noise.

    Args:
        name: What is to be opened, in the folder of the files; empty for the folder itself.
        content: The files by their names in that folder.
        digest: What tells these files from others.
        said_BKS: Probabilities of the tile, as the client computed them.
    """

    name: str
    content: Mapping[str, bytes]
    digest: str
    said_BKS: NDArray[np.float32]

    @staticmethod
    def of(path: Path, said_BKS: NDArray[np.float32]) -> NetworkFiles:
        """The files of a run, of an exported network or of a package."""
        run, name, folder = RunFolder(path), "", path
        if run.config.is_file():
            small = (run.config, run.folds, run.calibration, run.int8, run.int8_network)
            kept = [*small, *run.weights()]
            files = [file for file in kept if file.is_file()]
        elif path.is_dir() or (is_package(path) and path.suffix.lower() != ".zip"):
            folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
            files = [file for file in folder.rglob("*") if file.is_file()]
        else:
            folder, name, weights = path.parent, path.name, path.with_suffix(".bin")
            files = [path, *[weights] * (path.suffix.lower() == ".xml" and weights.is_file())]
        content = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
        found = hashlib.sha256()
        for each, data in sorted(content.items()):
            found.update(each.encode() + hashlib.sha256(data).digest())
        return NetworkFiles(name, content, found.hexdigest(), said_BKS)

    def open(self, asked: Asked) -> OpenedNetwork:
        """The network, from copies of its files that are removed again."""
        with tempfile.TemporaryDirectory(prefix="maskwright-") as folder:
            for name, content in self.content.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return open_network(Path(folder) / self.name, asked)


@dataclass(frozen=True)
class Job:
    """What is the same for all tasks of a prediction.

    Args:
        lease: Whether their results are still wanted.
        asked: What is asked of the network, engine and number format decided.
        numerics: What runs it, as the client says.
        version: Of maskwright.
        dims: Axes of space of what the network reads.
        threads: Threads of each worker; by default those that the worker was started with.
        extras: Names of the folders of what is wanted beside masks.
        table: Form of the table of objects, where they are wanted.
    """

    lease: Lease
    asked: Asked
    numerics: str
    version: str
    dims: int
    threads: int | None
    extras: tuple[str, ...] = ()
    table: str | None = None

    @staticmethod
    def of(
        lease: Lease,
        network: OpenedNetwork,
        asked: Asked,
        size: Sequence[int],
        threads: int | None,
        extras: Sequence[str],
        table: str | None,
    ) -> Job:
        """The job of a prediction, with what was decided for its network.

        Args:
            lease: Of the prediction.
            network: As the client has it open.
            asked: What it was asked for.
            size: Size of an image.
            threads: See :class:`Job`, as all that follow.
            extras: Names of folders.
            table: Form of a table.
        """
        predictor = network.predictor
        return Job(
            lease,
            asked.decided(*decided(predictor.numerics)),
            predictor.numerics,
            maskwright.__version__,
            2 if predictor.slices else len(size),
            threads,
            tuple(extras),
            table,
        )


def say(predictor: Predictor, dims: int) -> NDArray[np.float32]:
    """What a network says of a tile of noise, which is the same on every machine.

    Args:
        predictor: The network.
        dims: Axes of space of what it reads.

    Returns:
        Probabilities, shape ``(1, K, *S)``.
    """
    tile = predictor.rule.cover((_PROBED_PX[dims],) * dims)[0]
    shape = (1, predictor.channels, *(read.size for read in tile.read))
    noise_BCS = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return predictor.engine(noise_BCS)["probabilities"]


def look(lease: Lease, images: Sequence[Path]) -> dict[str, str]:
    """What a worker does not see of the files that the client sees.

    Args:
        lease: In the folder of the masks.
        images: The images.

    Returns:
        Under ``host`` the worker's machine, under ``version`` that of maskwright there; under
        ``folder`` why it cannot write there, under ``image`` the first that is missing.
    """
    found = {"host": socket.gethostname(), "version": maskwright.__version__}
    if not lease.holds():
        return found | {"folder": "no such folder"}
    mark = lease.folder / f".{lease.token}.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        mark.touch()
        mark.unlink()
    except OSError as error:
        return found | {"folder": error.strerror or str(error)}
    missing = [str(path) for path in images if not file_of(path).exists()]
    return found | ({"image": missing[0]} if missing else {})


def whole_task(job: Job, files: NetworkFiles, case: Case) -> Answer:
    """Predict an image in memory, with all that was asked for; its files are written here."""

    def run(network: OpenedNetwork) -> dict[str, Any]:
        begun = time.monotonic()
        target = case.file.parent
        measured = ObjectFiles(target, network, job.table) if job.table is not None else None
        values = predict_whole(case, network, job.extras, measured, _Watching(job.lease))
        return values | {"elapsed_s": round(time.monotonic() - begun, 3)}

    return _answer(job, files, run)


def rows_task(
    job: Job, files: NetworkFiles, case: Case, fitted: Fit, measured: Intensity, rows: slice
) -> Answer:
    """Predict the bands of an image that begin in these rows, into the store of its class ids."""

    def run(network: OpenedNetwork) -> dict[str, Any]:
        store = LabelStore(unfinished_folder(case.file))
        source = on_network_grid(open_channels(case.paths), case)
        watch = job.lease.check
        predict_rows(case, fitted, network, source, store, measured, watch, rows=rows)
        return {}

    return _answer(job, files, run)


def error_of(answer: Answer) -> MaskwrightError | None:
    """The error that a task ended with, if any."""
    if "error" not in answer:
        return None
    kind, code, subject, parts = answer["error"]
    found: MaskwrightError = getattr(errors, kind)(code, subject, **parts)
    return found


class _Watching:
    """Progress of a worker: nothing is told, and it stops where nobody waits any more."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def ticks(self, name: str) -> Callable[[], None]:
        return self._lease.check

    def skip(self, tiles: int) -> None:
        """Nobody counts here."""

    def busy(self, text: str) -> None:
        """Nobody reads here."""


class _Held:
    """The one network that this process has open, with how far its numbers are apart."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._key = ""
        self._found: tuple[OpenedNetwork, float] | None = None

    def open(self, job: Job, files: NetworkFiles) -> tuple[OpenedNetwork, float]:
        key = f"{files.digest} {job.asked} {job.numerics} {job.dims}"
        if self._found is None or self._key != key:
            self._found = None
            try:
                network = files.open(job.asked)
            except MaskwrightError as error:
                # The client could open it, so that it is this machine that lacks something.
                raise RunError(
                    error.code,
                    f"the worker on {socket.gethostname()}, {error.subject}",
                    expected=error.expected,
                    found=error.found,
                    remedy=f"{error.remedy}, there too",
                ) from error
            self._found, self._key = (network, _apart(job, files, network.predictor)), key
        return self._found


_HELD = _Held()


def _answer(
    job: Job, files: NetworkFiles, run: Callable[[OpenedNetwork], dict[str, Any]]
) -> Answer:
    """Run a task, one at a time in a process: each takes all of its threads."""
    with _HELD.lock:
        try:
            _check_here(job)
            use_threads(job.threads or _own_threads())
            network, apart = _HELD.open(job, files)
            answer = {"apart": apart, "host": socket.gethostname(), "withdrawn": False}
            return answer | {"values": run(network)}
        except Withdrawn:
            return {"apart": 0.0, "host": socket.gethostname(), "withdrawn": True, "values": {}}
        except MaskwrightError as error:
            parts = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
            return {"error": (type(error).__name__, error.code, error.subject, parts)}


def _check_here(job: Job) -> None:
    """Refuse a machine that came later and cannot see the folder, or runs another version.

    Raises:
        OutputError: ``worker-folder``.
        RunError: ``worker-version``.
    """
    if not job.lease.folder.is_dir():
        raise no_folder(socket.gethostname(), job.lease.folder)
    if maskwright.__version__ != job.version:
        raise other_version(socket.gethostname(), job.version, maskwright.__version__)
    job.lease.check()


def no_folder(host: str, folder: Path, found: str = "no such folder") -> OutputError:
    """What is told of a machine without the folder of the masks."""
    return OutputError(
        "worker-folder",
        f"the worker on {host}",
        expected=f"to write into {folder}, as this machine does",
        found=found,
        remedy="use a folder that all machines share, under the same path",
    )


def no_image(host: str, path: str) -> ImageReadError:
    """What is told of a machine without an image."""
    return ImageReadError(
        "worker-image",
        f"the worker on {host}",
        expected=f"to read {path}, as this machine does",
        found="no such file",
        remedy="put the images where all machines see them under the same path",
    )


def other_version(host: str, wanted: str, found: str) -> RunError:
    """What is told of a machine with another version of maskwright."""
    return RunError(
        "worker-version",
        f"the worker on {host}",
        expected=f"maskwright {wanted}, as on this machine",
        found=found,
        remedy="install the same version on all machines, and start the workers again",
    )


def _apart(job: Job, files: NetworkFiles, predictor: Predictor) -> float:
    """How far the probabilities of a tile are from those of the client.

    Raises:
        RunError: ``worker-numerics`` for another engine or number format, ``worker-differs`` where
            the numbers themselves are others.
    """
    host = socket.gethostname()
    if predictor.numerics != job.numerics:
        raise RunError(
            "worker-numerics",
            f"the worker on {host}",
            expected=f"{job.numerics}, as on this machine",
            found=predictor.numerics,
            remedy="install the same versions on all machines, and start the workers again",
        )
    apart = float(np.abs(say(predictor, job.dims) - files.said_BKS).max())
    if not apart <= _MOST_APART:
        raise RunError(
            "worker-differs",
            f"the worker on {host}",
            expected=f"the probabilities of this machine with {job.numerics}",
            found=f"a difference of {apart:.2g}",
            remedy="its processor lacks this number format: use --set precision=float32, or "
            "machines of one kind",
        )
    return apart


def _own_threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)
