"""Losses summed over pixels: cross-entropy in its forms, and the boundary loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from maskwright.errors import ConfigError
from maskwright.nn.loss_prediction import Prediction, class_mean


def cross_entropy(prediction: Prediction) -> Tensor:
    """Mean of −log p(true class), Σ w_k g_k (−log p_k) / Σ w_k g_k; 0 or more.

    g is the share of the class in the truth, w its weight. With ``sigmoid`` it is the mean over
    pixels and classes of −g log p − (1 − g) log (1 − p).

    Args:
        prediction: Scores and target.

    Returns:
        A scalar; 0 where no pixel counts.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> cross_entropy(Prediction(torch.zeros(1, 2, 3), Target(torch.tensor([[0, 1, 1]]))))
        tensor(0.6931)
    """
    return prediction.mean_over_pixels(*prediction.cross_entropy)


def border_cross_entropy(prediction: Prediction) -> Tensor:
    """Cross-entropy weighted by w(x) = w_c(x) + border_map(x), the mean over pixels; 0 or more.

    The border map is w0 · exp(−(d1 + d2)² / 2σ²) between two objects, w_c the weight of the true
    class. The paper sums instead of dividing by Σ w; the gradients differ by one factor for the
    whole batch.

    Args:
        prediction: Scores and target; the target's ``border_map`` is needed.

    Returns:
        A scalar; 0 where no pixel counts.

    Raises:
        ConfigError: If there is no border map.

    Source: Ronneberger et al. 2015, arXiv 1505.04597, equations 1 and 2.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> target = Target(torch.tensor([[0, 1]]), border_map=torch.tensor([[9.0, 0.0]]))
        >>> border_cross_entropy(Prediction(torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]), target))
        tensor(0.0795)
    """
    border = prediction.target.border_map
    if border is None:
        raise ConfigError(
            "loss-objects-missing",
            "loss border_ce",
            expected="masks in which each object has a number of its own",
            found="none",
            remedy="take masks with numbered objects, or the loss dice+ce",
        )
    cost, weight = prediction.cross_entropy
    plain = cost if weight is None else prediction.pixel_cost(weighted=False)[0]
    cost = cost + border * plain
    return prediction.mean_over_pixels(cost, border + (1 if weight is None else weight))


def focal(prediction: Prediction, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which pixels that are right count less, −(1 − p)^γ log p; 0 or more.

    The mean over pixels is taken as in :func:`cross_entropy`, which it equals at γ = 0.

    Args:
        prediction: Scores and target.
        gamma: How strongly they are played down.

    Returns:
        A scalar; 0 where no pixel counts.

    Source: Lin et al. 2017, arXiv 1708.02002, equation 5.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> focal(Prediction(torch.zeros(1, 2, 3), Target(torch.tensor([[0, 1, 1]]))))
        tensor(0.1733)
    """
    return prediction.mean_over_pixels(*prediction.pixel_cost(gamma))


def top_cross_entropy(prediction: Prediction, share: float = 0.1) -> Tensor:
    """Cross-entropy of the worst pixels only, a share of those that count; 0 or more.

    At least one pixel is taken. With class weights the weighted cost decides which are worst.
    Where several processes share a batch, each takes the worst of its own pixels, and the mean is
    taken over the processes.

    Args:
        prediction: Scores and target.
        share: Share of the pixels, above 0 and at most 1.

    Returns:
        A scalar; 0 where no pixel counts.

    Source: Wu, Shen and van den Hengel 2016, arXiv 1605.06885.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> logits = torch.tensor([[[9.0, 0.0, 9.0, 9.0], [0.0, 0.0, 0.0, 0.0]]])
        >>> top_cross_entropy(Prediction(logits, Target(torch.tensor([[0, 1, 0, 0]]))), 0.25)
        tensor(0.6931)
    """
    cost, weight = prediction.cross_entropy
    keep = prediction.keep
    cost = cost.flatten() if keep is None else cost[keep]
    if not cost.numel():
        return prediction.ranks.mean(cost.sum())
    count = math.ceil(share * cost.numel())
    worst, chosen = cost.topk(count, sorted=False)
    if weight is None:
        return prediction.ranks.mean(worst.mean())
    total = (weight.flatten() if keep is None else weight[keep])[chosen].sum()
    return prediction.ranks.mean(worst.sum() / torch.where(total > 0, total, 1))


def boundary(prediction: Prediction) -> Tensor:
    """How far probability lies from where it belongs, mean of φ·(p − g), in pixels; 0 or more.

    φ is the signed distance to the outline of the class in the truth, negative inside. The mean
    is taken over the pixels that count and over the classes that have a distance map: all but
    the background. The published loss leaves out the constant φ·g, so that it is negative for a
    good prediction; the gradient is the same. Distances reach a hundred pixels and more, so give
    it a small weight beside another loss, as in ``dice+0.01*boundary``: alone it is known to
    settle on empty masks.

    Args:
        prediction: Scores and target; the target's ``distance_map`` is needed.

    Returns:
        A scalar; 0 for a class that is absent from the truth, and where no pixel counts.

    Raises:
        ConfigError: If there is no distance map.

    Source: Kervadec et al. 2019, arXiv 1812.07032, equations 4 and 5.

    Example:
        >>> from maskwright.nn.loss_target import Target
        >>> target = Target(torch.tensor([[0, 1]]), distance_map=torch.tensor([[[0.5, -0.5]]]))
        >>> boundary(Prediction(torch.zeros(1, 2, 2), target))
        tensor(0.2500)
    """
    distance = prediction.target.distance_map
    if distance is None:
        raise ConfigError(
            "loss-map-missing",
            "loss boundary",
            expected="the distance to the outlines of the truth",
            found="none",
            remedy="compute it with maskwright.data.weightmap.loss_maps",
        )
    classes = distance.shape[1]
    moved = prediction.counted[:, -classes:] - prediction.shares[:, -classes:].to(distance.dtype)
    axes = (0, *range(2, moved.ndim))
    cost_K = (distance * moved).sum(axes)
    keep = prediction.keep
    pixels = cost_K.new_tensor(moved[:, 0].numel()) if keep is None else keep.sum().to(cost_K.dtype)
    sums = prediction.ranks.sum(torch.cat([cost_K, pixels[None]]))
    cost_K = sums[:-1] / sums[-1].clamp(min=1)
    weights = prediction.weights_K
    return class_mean(cost_K, None if weights is None else weights[-classes:])
