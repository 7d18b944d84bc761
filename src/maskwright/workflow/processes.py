"""What a training owns while it runs: the writer among its processes, the cache, its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from maskwright.config import RunConfig, TrainConfig
from maskwright.data.source_cache import SourceCache, source_cache
from maskwright.errors import ConfigError
from maskwright.io.run_folder import RunFolder
from maskwright.nn.ranks import Ranks
from maskwright.plan.machine import (
    Numerics,
    candidates,
    describe_machine,
    has_accelerator,
    with_compiled,
)
from maskwright.progress import EventLog, Events
from maskwright.train.board import Board
from maskwright.workflow.prediction_plan import parse_memory, show_bytes


@dataclass(frozen=True)
class Files:
    """What the writing process keeps open.

    Args:
        board: TensorBoard's files, where asked for.
    """

    board: Board | None = None


@contextmanager
def one_writer(
    folder: RunFolder, ranks: Ranks, events: Events, *, resume: bool, tensorboard: bool
) -> Iterator[Files]:
    """Make the run folder and lock it; the first process alone writes there.

    Args:
        folder: The run.
        ranks: The processes; the others wait until the folder is there.
        events: Written to the run's log, and to TensorBoard where asked for.
        resume: Whether the folder may hold a run already.
        tensorboard: Whether to write for TensorBoard.

    Raises:
        OutputError: When the folder is in the way, or cannot be made.
        RunError: When another training uses it.
    """
    if not ranks.first:
        ranks.share(None)
        yield Files()
        return
    folder.begin(resume=resume)
    with folder.lock(), ExitStack() as stack:
        log = EventLog(folder.events)
        stack.callback(log.close)
        stack.enter_context(events.also(log))
        board = None
        if tensorboard:
            board = stack.enter_context(Board(folder.board))
            stack.enter_context(events.also(board))
        ranks.share(None)
        if not ranks.alone:
            events.send("message", text=f"{ranks.count} processes train together.")
        yield Files(board)


@contextmanager
def training_cache(config: RunConfig, folder: RunFolder, ranks: Ranks) -> Iterator[SourceCache]:
    """Holds the training images of this process, see :mod:`maskwright.data.source_cache`.

    Args:
        config: Says how much memory they may take.
        folder: The run, where the files go that memory is too small for.
        ranks: The processes, each with files of its own.
    """
    limit = cache_bytes(config.train)
    with source_cache(limit, folder.path / f".images_{ranks.rank}") as cache:
        yield cache


def cache_bytes(config: TrainConfig) -> int:
    """Bytes that decoded training images may take.

    Raises:
        ConfigError: ``memory-unit``.

    Example:
        >>> cache_bytes(TrainConfig(cache_memory="2GB"))
        2000000000
    """
    return parse_memory(config.cache_memory, subject="--set cache_memory=")


def cache_sentence(cache: SourceCache) -> str:
    """That some of the images are read from files while training runs."""
    return (
        f"{show_bytes(cache.written)} of decoded images lie in the run folder while training "
        "runs, since they exceed cache_memory."
    )


def settle_repeatable(config: RunConfig) -> RunConfig:
    """The configuration with what else would be measured, where bytes shall repeat themselves.

    Raises:
        ConfigError: ``deterministic-minutes``, and ``memory-unit`` for a cache of no known size.

    Example:
        >>> config = RunConfig(train=TrainConfig(steps=10, deterministic=True))
        >>> settle_repeatable(config).train.precision
        'float32'
    """
    train = config.train
    cache_bytes(train)
    if not train.deterministic:
        return config
    if train.steps is None:
        raise ConfigError(
            "deterministic-minutes",
            "--deterministic",
            expected="a number of steps, since a time allows more of them on one day than on "
            "another",
            found=f"minutes={train.minutes:g}",
            remedy="add --steps 1000, or as many as a run of this time made",
        )
    settled = {"precision": "float32", "layout": "channels_last", "compile": "none"}
    update = {name: value for name, value in settled.items() if getattr(train, name) == "auto"}
    return config.model_copy(update={"train": train.model_copy(update=update)})


def repeatable_sentence() -> str:
    """On what the same bytes depend."""
    threads = describe_machine()["threads"]
    return (
        f"The same command gives the same bytes again on this machine, with {threads} threads "
        "for each process; OMP_NUM_THREADS sets their number."
    )


def numerics_of(config: TrainConfig, ranks: Ranks) -> list[Numerics]:
    """The number formats and memory orders to measure; compiled ones for one process alone.

    Compiled code keeps its own account of what it computes again for the gradient.

    Example:
        >>> config = TrainConfig(precision="float32", layout="contiguous", compile="none")
        >>> [str(n) for n in numerics_of(config, Ranks())]
        ['contiguous float32']
    """
    return with_compiled(
        candidates(config.layout, config.precision),
        config.compile if ranks.alone and not config.checkpointing else "none",
        accelerator=has_accelerator(),
        minutes=config.minutes,
    )
