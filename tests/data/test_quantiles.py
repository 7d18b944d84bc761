"""Quantiles from blocks, with NumPy on all values at once as the other side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from maskwright.data.quantiles import quantiles

_SHARES = (0.0, 0.005, 0.5, 0.995, 1.0)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32]),
        st.integers(1, 300),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.integers(1, 5),
)
@settings(max_examples=80, deadline=None)
def test_they_are_values_in_their_order_however_the_blocks_are_cut(
    values: NDArray[Any], parts: int
) -> None:
    found = quantiles(lambda: np.array_split(values, parts), _SHARES)
    assert found == tuple(np.quantile(values.astype(float), _SHARES, method="lower"))


@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_many_values_of_a_few_kinds_are_counted(count: int) -> None:
    values = np.repeat(np.array([-5.0, 0.25, 9e6]), count)
    assert quantiles(lambda: [values], (0.2, 0.5, 0.9)) == (-5.0, 0.25, 9e6)


def test_of_nothing_there_are_none() -> None:
    assert quantiles(list, _SHARES) == ()
