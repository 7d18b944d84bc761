"""The loss that training minimises: a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from maskwright.config import TrainConfig
from maskwright.errors import ConfigError
from maskwright.loss_terms import LossMap, LossSettings, balanced_weights, needed_maps, parse_loss
from maskwright.nn.loss_overlap import (
    cldice_loss,
    dice_loss,
    focal_tversky_loss,
    soft_dice,
    tversky_loss,
)
from maskwright.nn.loss_pixel import (
    border_cross_entropy,
    boundary,
    cross_entropy,
    focal,
    top_cross_entropy,
)
from maskwright.nn.loss_prediction import Output, Prediction
from maskwright.nn.loss_target import Target, pooled
from maskwright.nn.ranks import ALONE, Ranks

_Term = Callable[[Prediction, LossSettings], Tensor]

_TERMS: Mapping[str, _Term] = MappingProxyType(
    {
        "dice": lambda p, s: dice_loss(p, per_sample=s.dice_per_sample, squared=s.dice_squared),
        "ce": lambda p, s: cross_entropy(p),
        "border_ce": lambda p, s: border_cross_entropy(p),
        "focal": lambda p, s: focal(p, s.focal_gamma),
        "topk": lambda p, s: top_cross_entropy(p, s.topk_share),
        "tversky": lambda p, s: tversky_loss(
            p, s.tversky_alpha, s.tversky_beta, per_sample=s.dice_per_sample
        ),
        "focal_tversky": lambda p, s: focal_tversky_loss(
            p,
            s.tversky_alpha,
            s.tversky_beta,
            s.focal_tversky_gamma,
            per_sample=s.dice_per_sample,
        ),
        "boundary": lambda p, s: boundary(p),
        "cldice": lambda p, s: cldice_loss(p, s.cldice_iterations, per_sample=s.dice_per_sample),
    }
)


class SegmentationLoss:
    """Σ weight · term, for the terms that the configuration names.

    Args:
        config: The training settings; ``loss`` and ``loss_settings`` matter here.
        classes: Number of classes of the network's output.
        output: ``softmax`` for classes that exclude each other, ``sigmoid`` for classes that may
            overlap.
        pixels_per_class: Pixels of each class in the training images; needed where the classes
            are balanced.
        ranks: The processes that share each batch.

    Raises:
        ConfigError: If there are class weights but not one for each class, or the classes are to
            be balanced and their pixels are not given.

    Example:
        >>> loss = SegmentationLoss(TrainConfig(loss="dice+0.5*ce"), classes=2)
        >>> value, dice = loss(torch.tensor([[[-20.0]], [[20.0]]]).movedim(0, 1),
        ...                    Target(torch.tensor([[1]])))
        >>> round(float(value), 4), dice.tolist()
        (0.0, [1.0, 1.0])
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        classes: int,
        output: Output = "softmax",
        pixels_per_class: Sequence[int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.needed_maps: tuple[LossMap, ...] = needed_maps(config.loss)
        self._terms = parse_loss(config.loss)
        self._settings = config.loss_settings
        self._output: Output = output
        self._weights_K = _class_weights(config.loss_settings, classes, pixels_per_class)

    def __call__(self, logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """The loss of a batch and, without a second pass, the soft Dice that progress shows.

        Args:
            logits: Class scores, shape ``(B, K, *S)``, S being any number of spatial axes.
            target: Truth, ignored pixels, and the maps that :attr:`needed_maps` names.

        Returns:
            A scalar, 0 for a perfect prediction and where no pixel counts; and the soft Dice of
            each class over the batch, shape ``(K,)``, without gradient.

        Raises:
            DataError: If a part of the target has another shape.
            ConfigError: If a map is missing.
        """
        prediction = self._prediction(logits, target)
        value = self._sum(prediction)
        # After the loss: what is computed here without gradient is kept, and would lack it there.
        with torch.no_grad():
            dice_K = soft_dice(prediction)
        return value, dice_K

    def of_levels(
        self,
        levels: Sequence[Tensor],
        strides: Sequence[Sequence[int]],
        target: Target,
        weights: Sequence[float] | None = None,
    ) -> Tensor:
        """The weighted sum of the losses of coarser predictions, each against a pooled truth.

        See :func:`maskwright.nn.loss_target.pooled` for how the truth is brought to a level.

        Args:
            levels: Class scores of each level, shape ``(B, K, *S')``.
            strides: For each level and axis, how many pixels of the target one of its pixels
                spans.
            target: The target at full resolution.
            weights: A weight for each level; those of :func:`level_weights` by default.

        Returns:
            A scalar; 0 without levels.

        Example:
            >>> loss = SegmentationLoss(TrainConfig(loss="ce"), classes=2)
            >>> target = Target(torch.tensor([[[0, 0], [1, 1]]]))
            >>> loss.of_levels([torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 1, 1)],
            ...                [(1, 1), (2, 2)], target)
            tensor(0.6931)
        """
        weights = level_weights(len(levels)) if weights is None else weights
        costs = [
            weight * self._sum(self._prediction(*pooled(logits, target, stride)))
            for logits, stride, weight in zip(levels, strides, weights, strict=True)
        ]
        return torch.stack(costs).sum() if costs else torch.zeros((), device=target.truth.device)

    def _prediction(self, logits: Tensor, target: Target) -> Prediction:
        weights = self._weights_K
        if weights is not None:
            weights = weights.to(logits)
        return Prediction(logits, target, self._output, weights, self.ranks)

    def _sum(self, prediction: Prediction) -> Tensor:
        terms = [w * _TERMS[name](prediction, self._settings) for name, w in self._terms.items()]
        return torch.stack(terms).sum()


def level_weights(levels: int) -> tuple[float, ...]:
    """Weights of predictions at several levels, 1, ½, ¼ … divided by their sum.

    Args:
        levels: Number of levels, the finest first.

    Example:
        >>> level_weights(2)
        (0.666..., 0.333...)
    """
    total = 2 - 2.0 ** (1 - levels)
    return tuple(0.5**level / total for level in range(levels))


def _class_weights(
    settings: LossSettings, classes: int, pixels_per_class: Sequence[int] | None
) -> Tensor | None:
    weights = settings.class_weights
    if settings.balance_classes:
        if pixels_per_class is None:
            raise ConfigError(
                "loss-counts-missing",
                "balance_classes",
                expected="the number of pixels of each class",
                found="none",
                remedy="give the weights themselves, as class_weights=1,5",
            )
        weights = balanced_weights(pixels_per_class)
    if not weights:
        return None
    if len(weights) != classes:
        raise ConfigError(
            "loss-class-weights",
            "class_weights",
            expected=f"{classes} numbers, one for each class, background first",
            found=str(len(weights)),
            remedy="write as many as there are classes, as class_weights=1,5",
        )
    return torch.tensor(weights)
