"""Losses of a segmentation: soft Dice, cross-entropy, their sum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.config import LossName

_EPSILON = 1e-6


def soft_dice(
    probabilities_BKYX: Tensor, truth_BYX: Tensor, valid_BYX: Tensor | None = None
) -> Tensor:
    """Soft Dice of each class over the batch, 2·Σpg / (Σp + Σg).

    p is the probability of the class, g is 1 where the truth is that class; the sums run over
    all valid pixels of the batch. A class that is absent and not predicted scores 1.

    Args:
        probabilities_BKYX: Probabilities, shape ``(B, K, Y, X)``.
        truth_BYX: Class ids, shape ``(B, Y, X)``.
        valid_BYX: True where a pixel counts; all by default.

    Returns:
        Dice of each class, shape ``(K,)``, 0 to 1.

    Source: Dice 1945; as a loss Milletari et al. 2016, arXiv 1606.04797 (there with squares).

    Example:
        >>> p = torch.tensor([[[[0.25, 1.0]], [[0.75, 0.0]]]])
        >>> soft_dice(p, torch.tensor([[[1, 0]]]))
        tensor([0.8889, 0.8571])
    """
    classes = probabilities_BKYX.shape[1]
    truth_BKYX = functional.one_hot(truth_BYX.long(), classes).movedim(-1, 1)
    truth_BKYX = truth_BKYX.to(probabilities_BKYX.dtype)
    if valid_BYX is not None:
        keep = valid_BYX.unsqueeze(1).to(probabilities_BKYX.dtype)
        probabilities_BKYX, truth_BKYX = probabilities_BKYX * keep, truth_BKYX * keep
    axes = (0, 2, 3)
    overlap = (probabilities_BKYX * truth_BKYX).sum(axes)
    total = probabilities_BKYX.sum(axes) + truth_BKYX.sum(axes)
    return (2 * overlap + _EPSILON) / (total + _EPSILON)


def segmentation_loss(
    name: LossName, logits_BKYX: Tensor, truth_BYX: Tensor, valid_BYX: Tensor | None = None
) -> Tensor:
    """The loss that training minimises.

    ``dice``: 1 − mean over classes of :func:`soft_dice` of the softmax. ``ce``: mean over valid
    pixels of −log p(true class). ``dice+ce``: their sum.

    Args:
        name: Which loss.
        logits_BKYX: Class scores, shape ``(B, K, Y, X)``.
        truth_BYX: Class ids, shape ``(B, Y, X)``.
        valid_BYX: True where a pixel counts; others get gradient zero.

    Returns:
        A scalar, zero for a perfect prediction; zero too where no pixel is valid.

    Example:
        >>> logits = torch.tensor([[[[-20.0]], [[20.0]]]])
        >>> round(float(segmentation_loss("dice+ce", logits, torch.tensor([[[1]]]))), 4)
        0.0
    """
    terms: list[Tensor] = []
    if "dice" in name:
        dice = soft_dice(logits_BKYX.softmax(1), truth_BYX, valid_BYX)
        terms.append(1 - dice.mean())
    if "ce" in name.replace("dice", ""):
        if valid_BYX is None:
            terms.append(functional.cross_entropy(logits_BKYX, truth_BYX.long()))
        else:
            loss_BYX = functional.cross_entropy(logits_BKYX, truth_BYX.long(), reduction="none")
            keep = valid_BYX.to(loss_BYX.dtype)
            terms.append((loss_BYX * keep).sum() / keep.sum().clamp(min=1))
    return torch.stack(terms).sum()
