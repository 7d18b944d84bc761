"""The learning rate, the averaging and the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.train.schedule import (
    average_decay,
    learning_rate,
    steps_within,
    validation_steps,
)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_every_update_has_a_positive_rate_no_higher_than_the_peak(total: int, warm: float) -> None:
    rates = [learning_rate(step, total, 0.5, warm) for step in range(total)]
    assert all(0 < rate <= 0.5 for rate in rates)


def test_the_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@given(st.integers(1, 3000), st.integers(1, 40))
def test_the_last_update_is_validated_and_none_twice(total: int, count: int) -> None:
    steps = validation_steps(total, count)
    assert max(steps) == total
    assert min(steps) >= 1
    assert len(steps) == min(total, count)


def test_the_average_follows_at_first_and_settles_later() -> None:
    assert average_decay(0, 0.99) == 0.1
    assert average_decay(90, 0.99) == pytest.approx(0.91)
    assert average_decay(10**6, 0.99) == 0.99


def test_steps_validations_and_reserve_fill_the_budget() -> None:
    steps = steps_within(480, step_s=0.25, validation_s=2, validations=10, reserve_s=20)
    assert steps == 1760
    assert steps * 0.25 + 10 * 2 + 20 == 480


def test_a_budget_too_small_for_anything_still_takes_a_step() -> None:
    assert steps_within(1, step_s=5, validation_s=5, validations=10, reserve_s=5) == 1
