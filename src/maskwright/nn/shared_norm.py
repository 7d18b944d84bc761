"""Layers that couple the images of a batch, for a batch that is spread over processes or passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from maskwright.nn.blocks import BatchNorm


def share_statistics(network: nn.Module) -> None:
    """Replace every batch normalisation by one whose statistics are those of all ranks.

    Parameters and buffers stay the same objects under the same names. Unlike
    ``torch.nn.SyncBatchNorm`` it needs no accelerator.

    Args:
        network: Changed in place.
    """
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, BatchNorm):
                setattr(parent, name, SharedBatchNorm(layer))


@contextmanager
def statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch normalisations leave their running statistics as they are for a second pass."""
    layers = [layer for layer in block.modules() if isinstance(layer, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.clone()
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all ranks, which may be of different sizes.

    y = (x − μ) / √(σ² + ε) · γ + β, where N μ = Σ n_r μ_r and N σ² = Σ n_r (σ_r² + (μ_r − μ)²)

    Args:
        layer: What it takes the place of.

    Source: Ioffe and Szegedy 2015, arXiv 1502.03167; the variance of parts Chan, Golub and LeVeque
    1983, doi 10.1080/00031305.1983.10483115.
    """

    def __init__(self, layer: BatchNorm) -> None:
        super().__init__(
            layer.num_features,
            eps=layer.eps,
            momentum=layer.momentum,
            affine=False,
            track_running_stats=False,
        )
        self.affine, self.track_running_stats = layer.affine, layer.track_running_stats
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked

    def _check_input_dim(self, input: Tensor) -> None:
        """Images and volumes alike."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised features, shape ``(B, C, *S)``."""
        if not self.training:
            return super().forward(input)
        output, mean_C, variance_C, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps
        )
        unbiased_C = variance_C * (count / (count - 1).clamp(min=1))
        for running, found in (
            (self.running_mean, mean_C),
            (self.running_var, unbiased_C),
        ):
            if running is not None:
                running.lerp_(found, self.momentum or 0.0)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        normalised: Tensor = output
        return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, features: Tensor, weight_C: Tensor, bias_C: Tensor, epsilon: float
    ) -> tuple[Tensor, ...]:
        axes = (0, *range(2, features.ndim))
        own_variance_C, own_mean_C = torch.var_mean(features.float(), axes, correction=0)
        own_count = own_mean_C.new_full((1,), features.numel() // features.shape[1])
        own = torch.cat([own_count, own_mean_C, own_variance_C])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        gathered = torch.stack(parts)
        channels = features.shape[1]
        counts_R1 = gathered[:, :1]
        means_RC, variances_RC = gathered[:, 1 : channels + 1], gathered[:, channels + 1 :]
        count = counts_R1.sum()
        mean_C = (counts_R1 * means_RC).sum(0) / count
        variance_C = (counts_R1 * (variances_RC + (means_RC - mean_C) ** 2)).sum(0) / count
        scale_C = torch.rsqrt(variance_C + epsilon)
        context.save_for_backward(features, weight_C, mean_C, scale_C, count)
        gain_C = weight_C * scale_C
        output = _per_channel(features, gain_C, bias_C - mean_C * gain_C)
        context.mark_non_differentiable(mean_C, variance_C, count)
        return output, mean_C, variance_C, count

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, weight_C, mean_C, scale_C, count = context.saved_tensors
        gradient = gradients[0]
        axes = (0, *range(2, features.ndim))
        gradient = gradient.float()
        standard = _per_channel(features.float(), scale_C, -mean_C * scale_C)
        own_2C = torch.stack([gradient.sum(axes), (gradient * standard).sum(axes)])
        sums_2C = own_2C.clone()
        dist.all_reduce(sums_2C)
        mean_gradient_C, mean_product_C = sums_2C / count
        gain_C = weight_C * scale_C
        towards = _per_channel(gradient, gain_C, -gain_C * mean_gradient_C)
        towards -= _per_channel(standard, gain_C * mean_product_C, torch.zeros_like(gain_C))
        return towards.to(features.dtype), own_2C[1], own_2C[0], None


def _per_channel(features: Tensor, factor_C: Tensor, shift_C: Tensor) -> Tensor:
    shape = (1, -1, *(1,) * (features.ndim - 2))
    scaled = features * factor_C.view(shape) + shift_C.view(shape)
    return scaled.to(features.dtype)


class PartDropout(nn.Module):
    """Dropout that draws for the whole batch and takes its part, as one pass over all would.

    Args:
        probability: Probability of dropping a value.

    Example:
        >>> whole, part = nn.Dropout(0.5), PartDropout(0.5)
        >>> part.parts, part.number = 2, 1
        >>> _ = torch.manual_seed(1); everything = whole(torch.ones(4, 2, 3, 3))
        >>> _ = torch.manual_seed(1); bool((part(torch.ones(2, 2, 3, 3)) == everything[2:]).all())
        True
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.parts, self.number = 1, 0

    def forward(self, features: Tensor) -> Tensor:
        """The features, some of them zero and the others larger, shape ``(B, C, *S)``."""
        if not self.training:
            return features
        rows = len(features)
        whole = features.new_ones((rows * self.parts, *features.shape[1:]))
        last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(features.ndim)
        # Random numbers are drawn in the order of the memory.
        if last is not None and features.is_contiguous(memory_format=last):
            whole = whole.contiguous(memory_format=last)
        kept = functional.dropout(whole, self.probability)
        return features * kept[rows * self.number : rows * (self.number + 1)]
