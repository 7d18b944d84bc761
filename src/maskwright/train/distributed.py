"""Training one network in several processes: joining them, and who computes what.

``torchrun`` starts the processes and tells each of them its number. All hold the same weights; of
each batch they take equal parts, see :mod:`maskwright.nn.ranks`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from maskwright.config import TrainConfig
from maskwright.errors import ConfigError
from maskwright.nn.ranks import ALONE, Ranks
from maskwright.nn.unet import Outputs, UNet


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun (or SLURM through it) started, for the length of a block.

    Yields:
        Which process this is; :data:`maskwright.nn.ranks.ALONE` where nobody started several.
        Where the caller joined them before, the group is used and left as it is.

    Example:
        >>> with joined() as ranks:
        ...     ranks.count
        1
    """
    if not members().alone:
        yield members()
        return
    if started_processes() < 2:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        yield members()
    finally:
        dist.destroy_process_group()


def members() -> Ranks:
    """Which process this is, within :func:`joined`.

    Example:
        >>> members().alone
        True
    """
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


def started_processes() -> int:
    """How many processes torchrun started, before they are joined.

    Example:
        >>> started_processes()
        1
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def writes_results() -> bool:
    """Whether this process is the one that prints and writes, before and after it is joined.

    Example:
        >>> writes_results()
        True
    """
    return os.environ.get("RANK", "0") == "0"


def check_parts(config: TrainConfig, ranks: Ranks) -> None:
    """Refuse a batch that cannot be cut into equal parts.

    Raises:
        ConfigError: ``batch-parts``.

    Example:
        >>> check_parts(TrainConfig(batch=4, accumulate=2), Ranks(0, 2))
    """
    parts = ranks.count * config.accumulate
    if config.batch % parts:
        larger = -(-config.batch // parts) * parts
        raise ConfigError(
            "batch-parts",
            "--set batch",
            expected=f"a multiple of {parts}: {ranks.count} processes times "
            f"accumulate={config.accumulate}",
            found=str(config.batch),
            remedy=f"use --set batch={larger}, fewer processes, or a smaller accumulate",
        )


def in_parts(config: TrainConfig, ranks: Ranks) -> TrainConfig:
    """The configuration with a batch that can be cut into equal parts, a larger one if need be.

    Example:
        >>> in_parts(TrainConfig(batch=3, accumulate=2), Ranks(0, 2)).batch
        4
    """
    parts = ranks.count * config.accumulate
    return config.model_copy(update={"batch": -(-config.batch // parts) * parts})


class Passes:
    """The forward passes of an update, of which the last one brings the gradients together.

    Args:
        network: The network.
        ranks: The processes.
        all_used: Whether every parameter has a part in the loss.
    """

    def __init__(self, network: UNet, ranks: Ranks, *, all_used: bool = True) -> None:
        self._run: Callable[[Tensor], Outputs] = network
        self._together: DistributedDataParallel | None = None
        if not ranks.alone:
            with ranks.reaching(), warnings.catch_warnings():
                # What takes the place of broadcast_buffers is missing from older versions.
                warnings.simplefilter("ignore", FutureWarning)
                self._together = DistributedDataParallel(
                    network,
                    # Each rank computes the same statistics itself.
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                    find_unused_parameters=not all_used,
                )
            self._run = self._together

    def __call__(self, image_BCS: Tensor) -> Outputs:
        """The network's outputs."""
        return self._run(image_BCS)

    def compile(self, mode: str) -> None:
        """Let PyTorch write code for this network; only where there are no other processes.

        Args:
            mode: As ``torch.compile`` takes it.
        """
        if self._together is None:
            self._run = torch.compile(self._run, mode=mode)

    def gradients(self, *, last: bool) -> AbstractContextManager[None]:
        """For the length of a pass forward and backward: whether gradients are added up after."""
        if last or self._together is None:
            return nullcontext()
        together: AbstractContextManager[None] = self._together.no_sync()
        return together
