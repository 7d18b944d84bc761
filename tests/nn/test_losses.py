"""Losses: known answers, MONAI as oracle, gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss, DiceLoss

from maskwright.nn.losses import segmentation_loss, soft_dice

NAMES = ["dice", "ce", "dice+ce"]


def _draw(seed: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 4, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(classes, (2, 5, 4), generator=generator)


@given(st.integers(0, 1000), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_losses_agree_with_monai(seed: int, classes: int) -> None:
    logits, truth = _draw(seed, classes)
    settings_ = {"softmax": True, "to_onehot_y": True, "batch": True,
                 "smooth_nr": 1e-6, "smooth_dr": 1e-6}  # fmt: skip
    expected = DiceLoss(**settings_)(logits, truth[:, None])
    torch.testing.assert_close(segmentation_loss("dice", logits, truth), expected)
    expected = DiceCELoss(**settings_)(logits, truth[:, None])
    torch.testing.assert_close(segmentation_loss("dice+ce", logits, truth), expected)


def test_soft_dice_of_a_hard_prediction_is_the_seeds_definition() -> None:
    truth = torch.tensor([[[1, 1, 0, 0]]])
    predicted = torch.tensor([[[1, 0, 1, 0]]])
    probabilities = torch.nn.functional.one_hot(predicted, 2).movedim(-1, 1).double()
    # 2·|A∩B| / (|A| + |B|) = 2·1 / (2 + 2)
    torch.testing.assert_close(
        soft_dice(probabilities, truth), torch.tensor([0.5, 0.5], dtype=torch.float64)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_gradients_agree_with_finite_differences(name: str, masked: bool, empty: bool) -> None:
    logits, truth = _draw(1, 3)
    if empty:
        truth = torch.zeros_like(truth)
    valid = torch.rand(truth.shape) > 0.3 if masked else None
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(name, x, truth, valid), (logits,))


@pytest.mark.parametrize("name", NAMES)
def test_masked_out_pixels_get_gradient_zero_and_change_nothing(name: str) -> None:
    logits, truth = _draw(2, 3)
    valid = torch.zeros(truth.shape, dtype=torch.bool)
    valid[:, :3] = True
    logits.requires_grad_()
    loss = segmentation_loss(name, logits, truth, valid)
    loss.backward()
    assert not logits.grad[:, :, 3:].any()
    assert logits.grad[:, :, :3].any()
    other = truth.clone()
    other[:, 3:] = 0
    torch.testing.assert_close(segmentation_loss(name, logits, other, valid), loss)
    torch.testing.assert_close(segmentation_loss(name, logits[:, :, :3], truth[:, :3]), loss)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_stay_finite(name: str, scale: float) -> None:
    _, truth = _draw(3, 2)
    logits = torch.full((2, 2, 5, 4), scale)
    logits[:, 1] = -scale
    logits.requires_grad_()
    loss = segmentation_loss(name, logits, truth)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_valid_costs_nothing(name: str) -> None:
    logits, truth = _draw(4, 2)
    valid = torch.zeros(truth.shape, dtype=torch.bool)
    assert float(segmentation_loss(name, logits, truth, valid)) == pytest.approx(0, abs=1e-9)


def test_a_perfect_prediction_costs_nothing() -> None:
    _, truth = _draw(5, 3)
    logits = torch.nn.functional.one_hot(truth, 3).movedim(-1, 1) * 50.0
    assert float(segmentation_loss("dice+ce", logits, truth)) == pytest.approx(0, abs=1e-6)
