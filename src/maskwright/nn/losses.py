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
    ids_K11 = torch.arange(probabilities_BKYX.shape[1], device=truth_BYX.device).view(-1, 1, 1)
    # Booleans weigh an eighth of what a one-hot tensor of 64-bit integers does.
    truth_BKYX = truth_BYX.unsqueeze(1) == ids_K11
    if valid_BYX is not None:
        keep = valid_BYX.unsqueeze(1)
        probabilities_BKYX, truth_BKYX = probabilities_BKYX * keep, truth_BKYX & keep.bool()
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
    return loss_and_dice(name, logits_BKYX, truth_BYX, valid_BYX)[0]


def loss_and_dice(
    name: LossName, logits_BKYX: Tensor, truth_BYX: Tensor, valid_BYX: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss and, without a second pass, the soft Dice that progress shows.

    Arguments as in :func:`segmentation_loss`.

    Returns:
        The scalar of :func:`segmentation_loss`, and the Dice of each class, shape ``(K,)``.

    Example:
        >>> logits = torch.tensor([[[[-20.0]], [[20.0]]]])
        >>> loss_and_dice("ce", logits, torch.tensor([[[1]]]))[1]
        tensor([1., 1.])
    """
    log_BKYX = logits_BKYX.log_softmax(1)
    dice_K = soft_dice(log_BKYX.exp(), truth_BYX, valid_BYX)
    terms: list[Tensor] = []
    if "dice" in name:
        terms.append(1 - dice_K.mean())
    if "ce" in name.replace("dice", ""):
        loss_BYX = functional.nll_loss(log_BKYX, truth_BYX.long(), reduction="none")
        if valid_BYX is None:
            terms.append(loss_BYX.mean())
        else:
            keep_BYX = valid_BYX.to(loss_BYX.dtype)
            terms.append((loss_BYX * keep_BYX).sum() / keep_BYX.sum().clamp(min=1))
    return torch.stack(terms).sum(), dice_K.detach()
