"""The processes that train one network together, and what they add up.

Each holds an equal part of every batch::

    batch    0  1  2  3 │ 4  5  6  7
    rank         0      │      1

A loss of the whole batch is the same number on every rank, and its gradient on a rank is that of
the rank's own part. The sum of these gradients over the ranks is the gradient of one process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from maskwright.errors import RunError


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; alone by default.

    Args:
        rank: Number of this process, from 0; the first one writes the files.
        count: Number of processes.

    Example:
        >>> ALONE.first, ALONE.sum(torch.tensor([1.0, 2.0])), ALONE.share({"steps": 3})
        (True, tensor([1., 2.]), {'steps': 3})
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the ranks; its gradient is that of this rank's own values.

        Raises:
            RunError: ``rank-lost`` when another process has ended.
        """
        if self.alone:
            return values
        with self.reaching():
            total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks, whose parts of the batch are equally large.

        Raises:
            RunError: As :meth:`sum`.
        """
        return values if self.alone else self.sum(values) / self.count

    def gather(self, value: Any) -> list[Any]:
        """A JSON value of every rank, in their order.

        Raises:
            RunError: As :meth:`sum`.
        """
        if self.alone:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with self.reaching():
            dist.all_gather(lengths, torch.tensor([len(text)]))
            longest = max(int(length) for length in lengths)
            own = torch.zeros(longest, dtype=torch.uint8)
            own[: len(text)] = text
            texts = [torch.zeros_like(own) for _ in range(self.count)]
            dist.all_gather(texts, own)
        return [
            json.loads(found[: int(length)].numpy().tobytes())
            for found, length in zip(texts, lengths, strict=True)
        ]

    def share(self, value: Any) -> Any:
        """The first rank's JSON value, on all of them.

        Raises:
            RunError: As :meth:`sum`.
        """
        return self.gather(value if self.first else None)[0]

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Tell in plain words that another process cannot be reached.

        Raises:
            RunError: ``rank-lost``.
        """
        try:
            yield
        except RuntimeError as error:
            if self.alone:
                raise
            raise RunError(
                "rank-lost",
                f"process {self.rank} of {self.count}",
                expected="all processes to answer",
                found=str(error).splitlines()[0],
                remedy="read what the process that ended first said; then start the same command "
                "again with --resume",
            ) from error


ALONE = Ranks()
"""One process, as without torchrun."""


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]
