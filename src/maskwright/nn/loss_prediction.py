"""What a network said beside what it should have said; every quantity is computed once."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.nn.loss_target import Target, check_target, class_shares
from maskwright.nn.ranks import ALONE, Ranks

Output = Literal["softmax", "sigmoid"]


class Prediction:
    """Class scores of a batch, the target, and what the terms of a loss share.

    Ignored pixels are taken out here: they count for nothing in any sum and their gradient is
    zero.

    Args:
        logits: Class scores, shape ``(B, K, *S)``, S being any number of spatial axes.
        target: What they should have been.
        output: ``softmax`` for classes that exclude each other, ``sigmoid`` for classes that may
            overlap.
        weights_K: A weight for each class; all alike by default.
        ranks: The processes that hold the other parts of the batch. Sums over the batch are taken
            over all of them, so that each of them finds the same loss.

    Raises:
        DataError: If a part of the target has another shape.

    Example:
        >>> logits = torch.tensor([[[0.0, 20.0], [0.0, -20.0]]])
        >>> Prediction(logits, Target(torch.tensor([[1, 0]]))).probabilities[0, 0]
        tensor([0.5000, 1.0000])
    """

    def __init__(
        self,
        logits: Tensor,
        target: Target,
        output: Output = "softmax",
        weights_K: Tensor | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        check_target(logits, target)
        self.logits = logits
        self.target = target
        self.output = output
        self.weights_K = weights_K
        self.ranks = ranks
        self.keep = None if target.valid is None else target.valid.bool()

    @cached_property
    def log_probabilities(self) -> Tensor:
        """Logarithm of p of each class, shape ``(B, K, *S)``."""
        if self.output == "softmax":
            return self.logits.log_softmax(1)
        return functional.logsigmoid(self.logits)

    @cached_property
    def log_against(self) -> Tensor:
        """Logarithm of 1 − p of each class that may overlap others, shape ``(B, K, *S)``."""
        return functional.logsigmoid(-self.logits)

    @cached_property
    def probabilities(self) -> Tensor:
        """The probability p of each class, shape ``(B, K, *S)``."""
        return self.log_probabilities.exp()

    @cached_property
    def counted(self) -> Tensor:
        """The probability p of each class where it counts, 0 elsewhere, shape ``(B, K, *S)``."""
        return self.probabilities if self.keep is None else self.probabilities * self.keep[:, None]

    @cached_property
    def ids(self) -> Tensor | None:
        """Class ids if the truth has them, 0 where ignored, shape ``(B, *S)``."""
        truth = self.target.truth
        if truth.ndim == self.logits.ndim:
            return None
        if truth.dtype == torch.bool:
            truth = truth.to(torch.uint8)
        return truth if self.keep is None else truth.masked_fill(~self.keep, 0)

    @cached_property
    def shares(self) -> Tensor:
        """The share of each class in the truth, 0 where ignored, shape ``(B, K, *S)``."""
        if self.ids is not None:
            shares = class_shares(self.ids, self.logits.shape[1])
        else:
            shares = self.target.truth
        return shares if self.keep is None else shares.masked_fill(~self.keep[:, None], 0)

    @cached_property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Overlap, Σ p and Σ g of each patch and class, each of shape ``(B, K)``.

        The overlap is Σ min(p, g). It equals Σ p·g where g is 0 or 1; of a soft truth Σ p·g would
        be largest for a prediction other than the truth.
        """
        axes = tuple(range(2, self.logits.ndim))
        if self.shares.is_floating_point():
            overlap = torch.minimum(self.counted, self.shares.to(self.counted.dtype))
        else:
            overlap = self.counted * self.shares
        return overlap.sum(axes), self.counted.sum(axes), self.shares.sum(axes).to(overlap.dtype)

    def over_batch(self, *parts: Tensor, per_sample: bool = False) -> tuple[Tensor, ...]:
        """Sums of each patch, shape ``(B, …)``, added over the batch unless they are kept apart."""
        if per_sample:
            return parts
        return self.ranks.sum(torch.stack([part.sum(0) for part in parts])).unbind()

    def batch_mean(self, scores: Tensor, *, per_sample: bool = False) -> Tensor:
        """The mean of the scores of the patches; a score of the whole batch is that already."""
        return self.ranks.mean(scores.mean()) if per_sample else scores

    @cached_property
    def cross_entropy(self) -> tuple[Tensor, Tensor | None]:
        """Weighted cross-entropy of each pixel and its weight, as in :meth:`pixel_cost`."""
        return self.pixel_cost()

    def pixel_cost(
        self, gamma: float = 0.0, *, weighted: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Cost of each pixel, Σ_k w_k g_k (1 − p_k)^γ (−log p_k), and its weight Σ_k w_k g_k.

        With ``sigmoid`` the absence of a class costs as much as its presence, and the weighted
        mean over the classes is taken.

        Args:
            gamma: How strongly pixels that are right are played down; 0 is cross-entropy.
            weighted: Whether the class weights are used.

        Returns:
            Cost of each pixel, shape ``(B, *S)``, and the weights, which are ``None`` where all
            are 1.
        """
        weights = self.weights_K if weighted else None
        if self.output == "softmax" and self.ids is not None:
            ids = self.ids.long()
            cost = _played_down(-self.log_probabilities.gather(1, ids[:, None])[:, 0], gamma)
            if weights is None:
                return cost, None
            weight = weights[ids]
            return cost * weight, weight
        cost = self.shares * _played_down(-self.log_probabilities, gamma)
        if self.output == "sigmoid":
            absent = 1 - self.shares.to(cost.dtype)
            cost = cost + absent * _played_down(-self.log_against, gamma)
            return class_mean(cost.movedim(1, -1), weights), None
        if weights is None:
            return cost.sum(1), None
        weights = weights.view(-1, *[1] * (cost.ndim - 2))
        return (cost * weights).sum(1), (self.shares * weights).sum(1)

    def mean_over_pixels(self, cost: Tensor, weight: Tensor | None) -> Tensor:
        """Σ cost / Σ weight over the pixels that count; 0 without any."""
        if self.keep is not None:
            cost = cost * self.keep
            weight = self.keep.to(cost.dtype) if weight is None else weight * self.keep
        elif weight is None:
            if self.ranks.alone:
                return cost.mean()
            weight = torch.ones_like(cost)
        summed, total = self.ranks.sum(torch.stack([cost.sum(), weight.sum().to(cost.dtype)]))
        mean: Tensor = summed / torch.where(total > 0, total, 1)
        return mean


def _played_down(negative_log: Tensor, gamma: float) -> Tensor:
    """(1 − p)^γ · (−log p), from −log p."""
    if gamma == 0:
        return negative_log
    # The bound keeps the slope of a power below 1 finite where p is 1.
    against = -torch.expm1(-negative_log)
    return against.clamp(min=torch.finfo(against.dtype).tiny) ** gamma * negative_log


def class_mean(values_K: Tensor, weights_K: Tensor | None) -> Tensor:
    """Mean over the classes, which are the last axis; weighted where weights are given.

    Without any class of weight above 0 it is 0.

    Example:
        >>> class_mean(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3.0]))
        tensor(0.2500)
    """
    if weights_K is None:
        return values_K.mean(-1)
    total = weights_K.sum()
    return (values_K * weights_K).sum(-1) / torch.where(total > 0, total, 1)
