"""The range test of rates against problems whose largest rate is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskwright.errors import TrainingError
from maskwright.train.rate_test import RateTest, find_rate


def _quadratic(curvature: float, seed: int) -> RateTest:
    """Gradient descent with noise on a parabola; it diverges at rates above 2 / curvature."""
    noise, weight = np.random.default_rng(seed), [3.0 / math.sqrt(curvature)]

    def update(step: int, rate: float) -> float:
        loss = curvature / 2 * weight[0] ** 2 + 0.3
        gradient = curvature * weight[0] + math.sqrt(curvature) * float(noise.normal(0, 0.3))
        weight[0] -= rate * gradient
        return loss

    return find_rate(update, 100, lowest=1e-4, highest=100.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("curvature", [0.5, 2.0, 10.0, 50.0])
def test_the_edge_of_a_quadratic_problem_is_found(curvature: float, seed: int) -> None:
    found, edge = _quadratic(curvature, seed), 2 / curvature
    assert found.diverged
    assert edge < found.edge < 3 * edge
    assert edge / 100 < found.chosen < edge / 2
    assert "grew beyond its start" in found.sentence()


def test_steeper_problems_get_proportionally_smaller_rates() -> None:
    assert _quadratic(1.0, 1).chosen / _quadratic(16.0, 1).chosen == pytest.approx(16, rel=0.35)


def test_a_loss_that_is_no_number_ends_the_ramp_there() -> None:
    def update(step: int, rate: float) -> float:
        if rate > 0.1:
            raise TrainingError("training-not-finite", "loss", expected="", found="", remedy="x")
        return 1.0 - rate

    found = find_rate(update, 51, lowest=1e-5, highest=1.0)
    assert found.diverged
    assert 0.07 < found.edge <= 0.1
    assert found.chosen < found.edge


def test_a_loss_that_is_never_finite_is_refused_with_a_remedy() -> None:
    with pytest.raises(TrainingError, match="learning_rate=1e-3") as caught:
        find_rate(lambda step, rate: math.nan, 50)
    assert caught.value.code == "rate-test"
