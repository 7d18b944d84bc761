"""Losses worked out by hand, and what tells one from another."""

from __future__ import annotations

import math

import pytest
import torch

from maskwright.nn.loss_overlap import (
    cldice_loss,
    dice_loss,
    focal_tversky_loss,
    soft_dice,
    soft_skeleton,
    tversky_index,
)
from maskwright.nn.loss_pixel import (
    border_cross_entropy,
    boundary,
    cross_entropy,
    focal,
    top_cross_entropy,
)
from maskwright.nn.loss_prediction import Prediction
from maskwright.nn.loss_target import Target

# The probability of class 1 at four pixels, and the truth.
FOREGROUND = (0.8, 0.4, 0.3, 0.1)
TRUTH = torch.tensor([[1, 1, 0, 0]])


def _prediction(**parts: torch.Tensor) -> Prediction:
    p = torch.tensor(FOREGROUND, dtype=torch.float64)
    logits = torch.stack([1 - p, p])[None].log()
    weights = parts.pop("weights_K", None)
    return Prediction(logits, Target(TRUTH, **parts), weights_K=weights)


def _close(found: torch.Tensor, expected: float) -> bool:
    return float(found) == pytest.approx(expected, rel=1e-5)


def test_soft_dice_of_a_hard_prediction_is_the_seeds_definition() -> None:
    predicted = torch.tensor([[1, 0, 1, 0]])
    logits = torch.nn.functional.one_hot(predicted, 2).movedim(-1, 1) * 100.0
    # 2·|A∩B| / (|A| + |B|) = 2·1 / (2 + 2)
    torch.testing.assert_close(
        soft_dice(Prediction(logits, Target(TRUTH))), torch.tensor([0.5] * 2)
    )


def test_soft_dice_by_hand() -> None:
    assert _close(soft_dice(_prediction())[1], 2 * 1.2 / (1.6 + 2))
    assert _close(soft_dice(_prediction())[0], 2 * 1.6 / (2.4 + 2))
    squares = 0.64 + 0.16 + 0.09 + 0.01
    assert _close(soft_dice(_prediction(), squared=True)[1], 2 * 1.2 / (squares + 2))


def test_dice_of_the_batch_is_not_the_mean_of_its_patches() -> None:
    p = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.float64)
    truth = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    prediction = Prediction((torch.stack([1 - p, p], 1) * 200), Target(truth))
    assert _close(soft_dice(prediction)[1], 2 * 4 / (4 + 5))
    patches = soft_dice(prediction, per_sample=True)[:, 1]
    torch.testing.assert_close(patches, torch.tensor([1, 0.0]).double(), atol=1e-5, rtol=0)


def test_cross_entropy_by_hand_plain_and_weighted() -> None:
    costs = [-math.log(p) for p in (0.8, 0.4, 0.7, 0.9)]
    assert _close(cross_entropy(_prediction()), sum(costs) / 4)
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    expected = (3 * (costs[0] + costs[1]) + costs[2] + costs[3]) / 8
    assert _close(cross_entropy(_prediction(weights_K=weights)), expected)


def test_border_cross_entropy_adds_the_map_to_the_weight_of_the_class() -> None:
    costs = [-math.log(p) for p in (0.8, 0.4, 0.7, 0.9)]
    border = torch.tensor([[0.0, 0.0, 9.0, 0.5]], dtype=torch.float64)
    expected = (costs[0] + costs[1] + 10 * costs[2] + 1.5 * costs[3]) / 13.5
    assert _close(border_cross_entropy(_prediction(border_map=border)), expected)
    balance = torch.tensor([0.5, 2.0], dtype=torch.float64)
    expected = (2 * (costs[0] + costs[1]) + 9.5 * costs[2] + costs[3]) / (4 + 9.5 + 1)
    found = border_cross_entropy(_prediction(border_map=border, weights_K=balance))
    assert _close(found, expected)


def test_without_borders_border_cross_entropy_is_cross_entropy() -> None:
    flat = _prediction(border_map=torch.zeros(1, 4, dtype=torch.float64))
    torch.testing.assert_close(border_cross_entropy(flat), cross_entropy(flat))


def test_focal_by_hand_and_cross_entropy_at_gamma_zero() -> None:
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in (0.8, 0.4, 0.7, 0.9)) / 4
    assert _close(focal(_prediction()), expected)
    torch.testing.assert_close(focal(_prediction(), 0), cross_entropy(_prediction()))
    assert focal(_prediction(), 3) < focal(_prediction(), 1) < focal(_prediction(), 0)


def test_top_cross_entropy_averages_the_worst_pixels() -> None:
    assert _close(top_cross_entropy(_prediction(), 0.1), -math.log(0.4))
    assert _close(top_cross_entropy(_prediction(), 0.5), -(math.log(0.4) + math.log(0.7)) / 2)
    torch.testing.assert_close(top_cross_entropy(_prediction(), 1), cross_entropy(_prediction()))
    half = torch.tensor([[True, False, True, True]])
    assert _close(top_cross_entropy(_prediction(valid=half), 0.34), -(math.log(0.7 * 0.8)) / 2)


def test_tversky_by_hand_and_dice_at_one_half() -> None:
    # TP = 1.2, FP = 0.4, FN = 0.8
    assert _close(tversky_index(_prediction())[1], 1.2 / (1.2 + 0.3 * 0.4 + 0.7 * 0.8))
    torch.testing.assert_close(
        tversky_index(_prediction(), 0.5, 0.5), soft_dice(_prediction()), rtol=0, atol=1e-6
    )


def test_a_larger_beta_punishes_what_is_missed() -> None:
    index = tversky_index(_prediction(), 0.1, 0.9)[1]
    assert index < soft_dice(_prediction())[1] < tversky_index(_prediction(), 0.9, 0.1)[1]


def test_focal_tversky_by_hand() -> None:
    index = tversky_index(_prediction())
    expected = float(((1 - index) ** 0.75).mean())
    assert _close(focal_tversky_loss(_prediction()), expected)
    linear = float((1 - index).mean())
    assert _close(focal_tversky_loss(_prediction(), gamma=1), linear)


def test_boundary_by_hand() -> None:
    distance = torch.tensor([[[-1.5, -0.5, 0.5, 1.5]]], dtype=torch.float64)
    expected = (1.5 * 0.2 + 0.5 * 0.6 + 0.5 * 0.3 + 1.5 * 0.1) / 4
    assert _close(boundary(_prediction(distance_map=distance)), expected)


def test_boundary_punishes_what_lies_far_away_more() -> None:
    truth = torch.zeros(1, 20).long()
    truth[0, :4] = 1
    distance = (torch.arange(20) - 3.5).expand(1, 1, 20)

    def cost(place: int) -> float:
        logits = torch.nn.functional.one_hot(truth, 2).movedim(-1, 1) * 50.0
        logits[0, :, place] = torch.tensor([0.0, 50.0])
        return float(boundary(Prediction(logits, Target(truth, distance_map=distance))))

    assert cost(19) == pytest.approx(15.5 / 20)
    assert cost(5) == pytest.approx(1.5 / 20)


def test_a_class_of_weight_zero_is_left_out() -> None:
    weights = torch.tensor([0.0, 2.0], dtype=torch.float64)
    prediction = _prediction(weights_K=weights)
    assert _close(dice_loss(prediction), 1 - 2 * 1.2 / 3.6)
    assert _close(cross_entropy(prediction), -(math.log(0.8) + math.log(0.4)) / 2)


def _tube(cut: bool, *, thick: bool = False) -> torch.Tensor:
    mask = torch.zeros(1, 24, 40).long()
    mask[:, slice(8, 15) if thick else slice(10, 13)] = 1
    if cut:
        mask[:, :, 19:22] = 0
    return mask


def test_for_cldice_a_cut_is_worse_than_thickness_and_for_dice_it_is_not() -> None:
    truth = Target(_tube(cut=False))
    cut, thick = (
        Prediction(
            torch.nn.functional.one_hot(mask, 2).movedim(-1, 1) * 50.0, truth,
            weights_K=torch.tensor([0.0, 1.0]),
        )
        for mask in (_tube(cut=True), _tube(cut=False, thick=True))
    )  # fmt: skip
    assert float(dice_loss(thick)) == pytest.approx(0.4)
    assert float(dice_loss(cut)) == pytest.approx(1 - 2 * 111 / 231)
    assert float(cldice_loss(thick)) == pytest.approx(0, abs=1e-6)
    assert float(cldice_loss(cut)) == pytest.approx(1 - 2 * (38 / 41) / (38 / 41 + 1))


@pytest.mark.parametrize("axes", [2, 3])
def test_the_soft_skeleton_of_a_tube_is_its_middle(axes: int) -> None:
    tube = torch.zeros(1, 1, *[11] * (axes - 1), 20)
    tube[(0, 0, *[slice(3, 8)] * (axes - 1))] = 1
    line = torch.zeros_like(tube)
    line[(0, 0, *[5] * (axes - 1))] = 1
    assert torch.equal(soft_skeleton(tube, 2), line)
    assert not soft_skeleton(tube, 1).any()
