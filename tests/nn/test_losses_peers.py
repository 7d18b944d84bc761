"""Losses beside those of MONAI and PyTorch: equal where the definitions are, else by how much."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import (
    DiceCELoss,
    DiceFocalLoss,
    DiceLoss,
    FocalLoss,
    SoftclDiceLoss,
    TverskyLoss,
)
from torch.nn import functional

from maskwright.config import TrainConfig
from maskwright.loss_terms import LossSettings
from maskwright.nn.loss_target import Target
from maskwright.nn.losses import SegmentationLoss

SMOOTH = {"smooth_nr": 1e-6, "smooth_dr": 1e-6}
seeds = st.integers(0, 1000)
kinds = st.sampled_from([(5, 4), (3, 4, 5)])


def _draw(
    seed: int, classes: int, size: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, class ids with a channel, and masks of classes that overlap."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, generator=generator, dtype=torch.float64) * 3
    ids = torch.randint(classes, (2, 1, *size), generator=generator)
    masks = torch.rand(2, classes, *size, generator=generator) > 0.6
    return logits, ids, masks


def _value(
    name: str, logits: torch.Tensor, truth: torch.Tensor, output: str = "softmax", **options: object
) -> torch.Tensor:
    config = TrainConfig(loss=name, loss_settings=LossSettings(**options))  # type: ignore[arg-type]
    loss = SegmentationLoss(config, classes=logits.shape[1], output=output)  # type: ignore[arg-type]
    return loss(logits, Target(truth))[0]


@given(seeds, st.integers(2, 4), kinds, st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_dice_agrees_with_monai(
    seed: int, classes: int, size: tuple[int, ...], per_sample: bool, squared: bool
) -> None:
    logits, ids, masks = _draw(seed, classes, size)
    options = {"dice_per_sample": per_sample, "dice_squared": squared}
    theirs = {"batch": not per_sample, "squared_pred": squared, **SMOOTH}
    expected = DiceLoss(softmax=True, to_onehot_y=True, **theirs)(logits, ids)
    torch.testing.assert_close(_value("dice", logits, ids[:, 0], **options), expected)
    expected = DiceLoss(sigmoid=True, **theirs)(logits, masks.double())
    torch.testing.assert_close(_value("dice", logits, masks, "sigmoid", **options), expected)
    shares = logits.flip(0).softmax(1)
    expected = DiceLoss(softmax=True, soft_label=True, **theirs)(logits, shares)
    torch.testing.assert_close(_value("dice", logits, shares, **options), expected)


@given(seeds, st.integers(2, 4), kinds)
@settings(max_examples=20, deadline=None)
def test_sums_with_cross_entropy_and_focal_agree_with_monai(
    seed: int, classes: int, size: tuple[int, ...]
) -> None:
    logits, ids, masks = _draw(seed, classes, size)
    shared = {"softmax": True, "to_onehot_y": True, "batch": True, **SMOOTH}
    expected = DiceCELoss(**shared, lambda_ce=0.25)(logits, ids)
    torch.testing.assert_close(_value("dice+0.25*ce", logits, ids[:, 0]), expected)
    shared = {"sigmoid": True, "batch": True, **SMOOTH}
    expected = DiceFocalLoss(**shared, gamma=2.0)(logits, masks.double())
    torch.testing.assert_close(_value("dice+focal", logits, masks, "sigmoid"), expected, atol=1e-6,
                               rtol=1e-6)  # fmt: skip


@given(seeds, st.integers(2, 4), kinds)
@settings(max_examples=20, deadline=None)
def test_cross_entropy_agrees_with_pytorch_also_weighted_and_of_soft_truth(
    seed: int, classes: int, size: tuple[int, ...]
) -> None:
    logits, ids, masks = _draw(seed, classes, size)
    weights = torch.arange(1, classes + 1, dtype=torch.float64)
    expected = functional.cross_entropy(logits, ids[:, 0], weights)
    found = _value("ce", logits, ids[:, 0], class_weights=tuple(weights.tolist()))
    torch.testing.assert_close(found, expected)
    shares = logits.flip(0).softmax(1)
    torch.testing.assert_close(
        _value("ce", logits, shares), functional.cross_entropy(logits, shares)
    )
    expected = functional.binary_cross_entropy_with_logits(logits, masks.double())
    torch.testing.assert_close(_value("ce", logits, masks, "sigmoid"), expected)


@given(seeds, st.integers(2, 4), kinds, st.sampled_from([0.5, 1.0, 2.0, 3.5]))
@settings(max_examples=20, deadline=None)
def test_focal_agrees_with_monai_but_for_the_number_of_classes(
    seed: int, classes: int, size: tuple[int, ...], gamma: float
) -> None:
    logits, ids, masks = _draw(seed, classes, size)
    # MONAI's works in 32 bits.
    near = {"rtol": 1e-5, "atol": 1e-6}
    expected = FocalLoss(gamma=gamma)(logits, masks.double()).double()
    found = _value("focal", logits, masks, "sigmoid", focal_gamma=gamma)
    torch.testing.assert_close(found, expected, **near)
    # It averages over pixels and classes, of which only the true one costs anything.
    expected = FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True)(logits, ids).double()
    found = _value("focal", logits, ids[:, 0], focal_gamma=gamma)
    torch.testing.assert_close(found, classes * expected, **near)


@given(seeds, st.integers(2, 4), kinds, st.booleans())
@settings(max_examples=20, deadline=None)
def test_tversky_agrees_with_monai(
    seed: int, classes: int, size: tuple[int, ...], per_sample: bool
) -> None:
    logits, ids, masks = _draw(seed, classes, size)
    theirs = {"alpha": 0.2, "beta": 0.9, "batch": not per_sample, **SMOOTH}
    options = {"tversky_alpha": 0.2, "tversky_beta": 0.9, "dice_per_sample": per_sample}
    expected = TverskyLoss(softmax=True, to_onehot_y=True, **theirs)(logits, ids)
    torch.testing.assert_close(_value("tversky", logits, ids[:, 0], **options), expected)
    expected = TverskyLoss(sigmoid=True, **theirs)(logits, masks.double())
    torch.testing.assert_close(_value("tversky", logits, masks, "sigmoid", **options), expected)
    shares = logits.flip(0).softmax(1)
    expected = TverskyLoss(softmax=True, soft_label=True, **theirs)(logits, shares)
    torch.testing.assert_close(_value("tversky", logits, shares, **options), expected)


@given(seeds, st.sampled_from([(12, 11), (7, 8, 9)]), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_cldice_of_two_classes_agrees_with_monai_patch_by_patch(
    seed: int, size: tuple[int, ...], iterations: int
) -> None:
    logits, ids, _ = _draw(seed, 2, size)
    options = {"include_background": False, "softmax": True, "to_onehot_y": True}
    expected = SoftclDiceLoss(iter_=iterations, smooth=1e-15, **options)(logits, ids.double())
    found = _value("cldice", logits, ids[:, 0], cldice_iterations=iterations, dice_per_sample=True)
    torch.testing.assert_close(found, expected)


def test_cldice_takes_each_class_by_itself_where_monai_adds_them_up() -> None:
    logits, ids, _ = _draw(3, 3, (12, 11))
    options = {"include_background": False, "softmax": True, "to_onehot_y": True}
    theirs = SoftclDiceLoss(iter_=3, smooth=1e-15, **options)(logits, ids.double())
    ours = _value("cldice", logits, ids[:, 0], cldice_iterations=3, dice_per_sample=True)
    assert float(ours) == pytest.approx(float(theirs), abs=0.02)
    assert abs(float(ours - theirs)) > 1e-4


def test_monais_class_weights_are_not_divided_by_their_sum() -> None:
    logits, ids, _ = _draw(4, 3, (5, 4))
    weights = (1.0, 2.0, 3.0)
    theirs = DiceLoss(softmax=True, to_onehot_y=True, batch=True, weight=weights, **SMOOTH)
    ours = _value("dice", logits, ids[:, 0], class_weights=weights)
    torch.testing.assert_close(theirs(logits, ids), ours * 6 / 3)
