"""Losses of overlap, a ratio of sums over a patch or a batch: Dice, Tversky, centreline Dice."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.nn.loss_prediction import Prediction, class_mean

# Lets a class that is absent and not predicted score 1, and changes no other score that matters.
_EPSILON = 1e-6
# Below this the slope of the focal Tversky loss, which is infinite at 0, is cut off.
_LEAST_TVERSKY_LOSS = 1e-6
# One pixel, as in the authors' code: a short stray skeleton costs little.
_SKELETON_EPSILON = 1.0


def soft_dice(prediction: Prediction, *, per_sample: bool = False, squared: bool = False) -> Tensor:
    """Soft Dice of each class, 2·Σpg / (Σp + Σg), 0 to 1.

    p is the probability of the class, g is 1 where the truth is that class; the sums run over all
    pixels of the batch that count. With a soft truth, g is the share of the class and min(p, g)
    takes the place of pg, so that only the truth itself scores 1; squared, pg does that already.
    A class that is absent and not predicted scores 1.

    Args:
        prediction: Scores and target.
        per_sample: Whether the sums run over each patch instead.
        squared: Whether the denominator is Σp² + Σg².

    Returns:
        Dice of each class, shape ``(K,)``, or of each patch and class, shape ``(B, K)``.

    Source: Dice 1945; as a loss Milletari et al. 2016, arXiv 1606.04797 (there with squares); of
    soft truth Wang et al. 2023, arXiv 2303.16296.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> logits = torch.tensor([[[0.25, 1.0]], [[0.75, 1e-9]]]).log().movedim(0, 1)
        >>> soft_dice(Prediction(logits, Target(torch.tensor([[1, 0]]))))
        tensor([0.8889, 0.8571])
    """
    overlap, predicted, true = prediction.sums
    if squared:
        axes = tuple(range(2, prediction.logits.ndim))
        shares = prediction.shares.to(predicted.dtype)
        overlap = (prediction.counted * shares).sum(axes)
        predicted, true = (part.square().sum(axes) for part in (prediction.counted, shares))
    overlap, total = prediction.over_batch(overlap, predicted + true, per_sample=per_sample)
    return (2 * overlap + _EPSILON) / (total + _EPSILON)


def dice_loss(prediction: Prediction, *, per_sample: bool = False, squared: bool = False) -> Tensor:
    """1 − mean over classes of :func:`soft_dice`, 0 to 1.

    Arguments as there.

    Returns:
        A scalar; 0 where no pixel counts.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> dice_loss(Prediction(torch.zeros(1, 2, 2), Target(torch.tensor([[0, 1]]))))
        tensor(0.5000)
    """
    dice = soft_dice(prediction, per_sample=per_sample, squared=squared)
    score = class_mean(dice, prediction.weights_K)
    return 1 - prediction.batch_mean(score, per_sample=per_sample)


def tversky_index(
    prediction: Prediction, alpha: float = 0.3, beta: float = 0.7, *, per_sample: bool = False
) -> Tensor:
    """Tversky index of each class, TP / (TP + α·FP + β·FN) with soft counts, 0 to 1.

    TP is the overlap of :func:`soft_dice`, Σpg, FP = Σp − TP, FN = Σg − TP. With α = β = ½ it is
    the soft Dice. A class that is absent and not predicted scores 1.

    Args:
        prediction: Scores and target.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        per_sample: Whether the sums run over each patch instead of the batch.

    Returns:
        The index of each class, shape ``(K,)``, or of each patch and class, shape ``(B, K)``.

    Source: Salehi et al. 2017, arXiv 1706.05721.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> tversky_index(Prediction(torch.zeros(1, 2, 4), Target(torch.tensor([[0, 0, 0, 1]]))))
        tensor([0.5556, 0.3846])
    """
    overlap, predicted, true = prediction.over_batch(*prediction.sums, per_sample=per_sample)
    wrong = alpha * (predicted - overlap) + beta * (true - overlap)
    return (overlap + _EPSILON) / (overlap + wrong + _EPSILON)


def tversky_loss(
    prediction: Prediction, alpha: float = 0.3, beta: float = 0.7, *, per_sample: bool = False
) -> Tensor:
    """1 − mean over classes of :func:`tversky_index`, 0 to 1.

    Arguments as there.

    Returns:
        A scalar; 0 where no pixel counts.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> tversky_loss(Prediction(torch.zeros(1, 2, 4), Target(torch.tensor([[0, 0, 0, 1]]))))
        tensor(0.5299)
    """
    index = tversky_index(prediction, alpha, beta, per_sample=per_sample)
    score = class_mean(index, prediction.weights_K)
    return 1 - prediction.batch_mean(score, per_sample=per_sample)


def focal_tversky_loss(
    prediction: Prediction,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    *,
    per_sample: bool = False,
) -> Tensor:
    """Mean over classes of (1 − :func:`tversky_index`)^(1/γ), 0 to 1.

    γ above 1 makes classes that are nearly right weigh more, below 1 less. At γ = 1 it is
    :func:`tversky_loss`.

    Args:
        prediction: Scores and target.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        gamma: The root that is taken.
        per_sample: Whether the sums run over each patch instead of the batch.

    Returns:
        A scalar; nearly 0 where no pixel counts.

    Source: Abraham and Khan 2018, arXiv 1810.07842 (there the sum over classes).

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> focal_tversky_loss(Prediction(torch.zeros(1, 2, 2), Target(torch.tensor([[0, 1]]))))
        tensor(0.5946)
    """
    index = tversky_index(prediction, alpha, beta, per_sample=per_sample)
    cost = (1 - index).clamp(min=_LEAST_TVERSKY_LOSS) ** (1 / gamma)
    return prediction.batch_mean(class_mean(cost, prediction.weights_K), per_sample=per_sample)


def cldice_loss(prediction: Prediction, iterations: int = 5, *, per_sample: bool = False) -> Tensor:
    """1 − soft centreline Dice, the harmonic mean of two shares of soft skeletons; 0 to 1.

    They are the share of the predicted skeleton that lies in the true mask, and the share of the
    true skeleton that the prediction covers: ΣS(p)g / ΣS(p) and ΣS(g)p / ΣS(g), one pixel added
    above and below. The mean over the foreground classes is taken; with ``softmax`` the first
    class is the background. Both empty: 0.

    Args:
        prediction: Scores and target, in two or three dimensions.
        iterations: Erosions of :func:`soft_skeleton`: half the width of the widest tube.
        per_sample: Whether the shares are taken of each patch instead of the batch.

    Returns:
        A scalar; 0 where no pixel counts.

    Source: Shit et al. 2021, arXiv 2003.07311, algorithms 1 and 2.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> truth = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]])
        >>> right = torch.nn.functional.one_hot(truth, 2).movedim(-1, 1) * 20.0
        >>> float(cldice_loss(Prediction(right, Target(truth)))) < 1e-6
        True
    """
    first = 1 if prediction.output == "softmax" else 0
    predicted = prediction.counted[:, first:]
    true = prediction.shares[:, first:].to(predicted.dtype)
    with torch.no_grad():
        true_skeleton = soft_skeleton(true, iterations)
    predicted_skeleton = soft_skeleton(predicted, iterations)
    axes = tuple(range(2, predicted.ndim))

    def share(skeleton: Tensor, mask: Tensor) -> Tensor:
        inside, whole = prediction.over_batch(
            (skeleton * mask).sum(axes), skeleton.sum(axes), per_sample=per_sample
        )
        return (inside + _SKELETON_EPSILON) / (whole + _SKELETON_EPSILON)

    precision, recall = share(predicted_skeleton, true), share(true_skeleton, predicted)
    score = 2 * precision * recall / (precision + recall)
    weights = prediction.weights_K
    score = class_mean(score, None if weights is None else weights[first:])
    return 1 - prediction.batch_mean(score, per_sample=per_sample)


def soft_skeleton(mask: Tensor, iterations: int) -> Tensor:
    """A skeleton through which gradients pass: what each erosion loses and no opening restores.

    Tubes wider than twice the iterations keep only a part of their skeleton.

    Args:
        mask: Masks or probabilities, shape ``(B, K, *S)`` with one to three spatial axes, 0 to 1.
        iterations: Number of erosions.

    Returns:
        The skeleton, same shape, 0 to 1.

    Source: Shit et al. 2021, arXiv 2003.07311, algorithm 1.

    Example:
        >>> soft_skeleton(torch.ones(1, 1, 3, 5), 2)[0, 0]
        tensor([[0., 0., 0., 0., 0.],
                [0., 0., 0., 0., 0.],
                [0., 0., 0., 0., 0.]])
    """
    pool = _MAX_POOL[mask.ndim - 3]
    skeleton = torch.zeros_like(mask)
    for _ in range(iterations + 1):
        eroded = _erode(mask)
        opened = pool(eroded, 3, stride=1, padding=1)
        fresh = functional.relu(mask - opened)
        skeleton = skeleton + functional.relu(fresh - skeleton * fresh)
        mask = eroded
    return skeleton


_MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


def _erode(mask: Tensor) -> Tensor:
    """Least value of a pixel and its neighbours across faces."""
    axes = mask.ndim - 2
    negative = -mask
    lines = []
    for axis in range(axes):
        size = [3 if a == axis else 1 for a in range(axes)]
        padding = [n // 2 for n in size]
        lines.append(_MAX_POOL[axes - 1](negative, size, stride=1, padding=padding))
    return -functools.reduce(torch.maximum, lines)
