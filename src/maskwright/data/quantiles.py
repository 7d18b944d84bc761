"""Quantiles of any number of values that come in blocks, exact and without keeping them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HALF = 1 << 16
_SIGN = np.uint32(1 << 31)
_AT_ONCE = 1 << 20


def quantiles(
    read: Callable[[], Iterable[NDArray[Any]]], shares: Sequence[float]
) -> tuple[float, ...]:
    """The values below which given shares of all values lie, in the precision of float32.

    Counted by the upper half of their bits, then, where a wanted value lies, by the lower half.
    The result does not depend on how the values are cut into blocks.

    Args:
        read: Gives all values, in blocks of any shape, from the first on; it is called twice.
        shares: Shares between 0 and 1.

    Returns:
        Values that occur: of n values in order the one at ``floor(share · (n − 1))``. Empty where
        there are no values.

    Example:
        >>> quantiles(lambda: [np.array([5.0, -1.0]), np.array([[2.0]])], (0.0, 0.5, 1.0))
        (-1.0, 2.0, 5.0)
    """
    upper = np.zeros(_HALF, np.int64)
    for keys in _keys(read()):
        upper += np.bincount(keys >> 16, minlength=_HALF)
    ends = np.cumsum(upper)
    if not ends[-1]:
        return ()
    ranks = [int(share * (int(ends[-1]) - 1)) for share in shares]
    bins = [int(np.searchsorted(ends, rank, side="right")) for rank in ranks]
    lower = {found: np.zeros(_HALF, np.int64) for found in bins}
    for keys in _keys(read()):
        for found, counts in lower.items():
            counts += np.bincount(keys[keys >> 16 == found] & (_HALF - 1), minlength=_HALF)
    values = []
    for rank, found in zip(ranks, bins, strict=True):
        inside = rank - (int(ends[found]) - int(upper[found]))
        last = int(np.searchsorted(np.cumsum(lower[found]), inside, side="right"))
        values.append(_value(found << 16 | last))
    return tuple(values)


def _keys(blocks: Iterable[NDArray[Any]]) -> Iterable[NDArray[np.uint32]]:
    """Whole numbers in the order of the values: the bits of float32, negative ones turned."""
    for block in blocks:
        flat = block.reshape(-1)
        for first in range(0, flat.size, _AT_ONCE):
            # Zero is added so that −0 and 0 are one value.
            bits = (flat[first : first + _AT_ONCE].astype(np.float32) + 0).view(np.uint32)
            yield np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(key: int) -> float:
    bits = np.uint32(key)
    turned = bits ^ _SIGN if bits & _SIGN else ~bits
    return float(np.array(turned, np.uint32).view(np.float32))
