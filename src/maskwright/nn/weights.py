"""Fresh weights, and the folding of batch normalisation into convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from maskwright.nn.blocks import BatchNorm, Convolution, Fusion, UpConvolution

_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)


def initialise(network: nn.Module) -> None:
    """He's initialisation, N(0, 2/n) with n incoming values, biases zero.

    Layers that no activation follows (up-convolutions, predictions, shortcuts, the last
    convolution of a residual block) have the variance 1/n. The weights of a fusion start at the
    mean of the levels.

    Source: He et al. 2015, arXiv 1502.01852; Ronneberger et al. 2015, section 3.
    """
    rectified = set(_rectified(network))
    for module in network.modules():
        if isinstance(module, UpConvolution):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        elif isinstance(module, (Convolution, nn.Linear)):
            nn.init.kaiming_normal_(
                module.weight, nonlinearity="relu" if module in rectified else "linear"
            )
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Fusion):
            _average(module.weigh)


def _rectified(network: nn.Module) -> Iterator[nn.Module]:
    """Convolutions and fully connected layers that an activation follows."""
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        layers = [layer for layer in block if not isinstance(layer, _NORMS)]
        for layer, following in pairwise(layers):
            if isinstance(following, _ACTIVATIONS):
                yield layer


@torch.no_grad()
def _average(weigh: nn.Module) -> None:
    """Weights with which each class is the mean of its levels."""
    if not isinstance(weigh, Convolution):
        return
    classes, sources = weigh.out_channels, weigh.in_channels
    identity = torch.eye(classes).repeat(1, sources // classes) * (classes / sources)
    weigh.weight.copy_(identity.view(weigh.weight.shape))


def fold_batch_norms(network: nn.Module) -> None:
    """Replace each convolution and batch normalisation of a ``Sequential`` by one convolution."""
    for block in list(network.modules()):
        if not isinstance(block, nn.Sequential):
            continue
        kept: list[nn.Module] = []
        for layer in block:
            if isinstance(layer, BatchNorm) and kept and _foldable(kept[-1]):
                kept[-1] = fold_batch_norm(kept[-1], layer)
            else:
                kept.append(layer)
        block._modules.clear()
        for index, layer in enumerate(kept):
            block.add_module(str(index), layer)


def _foldable(layer: nn.Module) -> bool:
    return isinstance(layer, (Convolution, UpConvolution))


@torch.no_grad()
def fold_batch_norm(layer: nn.Module, norm: BatchNorm) -> nn.Module:
    """One convolution that computes a convolution and its batch normalisation at prediction.

    w' = w·γ/√(σ²+ε), b' = (b − μ)·γ/√(σ²+ε) + β, computed in float64.

    Args:
        layer: Convolution or transposed convolution; changed in place.
        norm: Normalisation of its output, with running statistics.

    Returns:
        The convolution.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or not isinstance(layer, (Convolution, UpConvolution)):
        return layer
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    # Transposed convolutions keep their output channels second.
    axis = 1 if isinstance(layer, UpConvolution) else 0
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.double()
    weight = layer.weight.double() * scale.view(shape)
    layer.weight = nn.Parameter(weight.to(layer.weight.dtype))
    shift = (bias - mean.double()) * scale + norm.bias.double()
    layer.bias = nn.Parameter(shift.to(layer.weight.dtype))
    return layer
