"""The pieces of the U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Two 3×3 convolutions, each followed by its normalisation and ReLU.

    Args:
        inner: Channels of the input.
        outer: Channels of the output.
        padding: ``same`` or ``valid``.
        norm: ``none`` or ``batch``; with ``batch`` the convolutions have no bias.
    """

    def __init__(self, inner: int, outer: int, padding: str, norm: str) -> None:
        layers: list[nn.Module] = []
        for source in (inner, outer):
            layers.append(
                nn.Conv2d(
                    source, outer, 3, padding=1 if padding == "same" else 0, bias=norm == "none"
                )
            )
            if norm == "batch":
                layers.append(nn.BatchNorm2d(outer))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


def crop_to(features: Tensor, like: Tensor) -> Tensor:
    """The centre of ``features``, as large as ``like``.

    Args:
        features: Tensor of shape ``(B, C, Y, X)``.
        like: Tensor whose last two sizes are wanted.

    Example:
        >>> crop_to(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 56, 56)).shape
        torch.Size([1, 1, 56, 56])
    """
    top = (features.shape[-2] - like.shape[-2]) // 2
    left = (features.shape[-1] - like.shape[-1]) // 2
    return features[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def initialise(network: nn.Module) -> None:
    """He's initialisation, N(0, 2/n) with n incoming values, biases zero.

    Up-convolutions and the 1×1 convolution are not followed by ReLU, so their variance is 1/n.

    Source: He et al. 2015, arXiv 1502.01852; Ronneberger et al. 2015, section 3.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        elif isinstance(module, nn.Conv2d):
            rectified = module.kernel_size != (1, 1)
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if rectified else "linear")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes a convolution and its batch normalisation at prediction.

    w' = w·γ/√(σ²+ε), b' = (b − μ)·γ/√(σ²+ε) + β, computed in float64.

    Args:
        conv: Convolution.
        norm: Normalisation of its output, with running statistics.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return conv
    scale = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    bias = torch.zeros_like(scale) if conv.bias is None else conv.bias.double()
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, 3)
    folded.padding = conv.padding
    folded.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    if folded.bias is not None:
        folded.bias.copy_((bias - mean.double()) * scale + norm.bias.double())
    return folded
