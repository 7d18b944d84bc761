"""The pieces of the U-Net, in two and three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from maskwright.config import ModelConfig
from maskwright.geometry.channels import gate_channels, squeezed_channels

Sizes = tuple[int, ...]
Convolution = nn.Conv2d | nn.Conv3d
UpConvolution = nn.ConvTranspose2d | nn.ConvTranspose3d
BatchNorm = nn.BatchNorm2d | nn.BatchNorm3d

# By number of axes.
CONVOLUTIONS: Mapping[int, Callable[..., Convolution]] = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONVOLUTIONS: Mapping[int, Callable[..., UpConvolution]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
MAX_POOLS: Mapping[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEANS: Mapping[int, Callable[..., nn.Module]] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
LINEAR_MODES = {2: "bilinear", 3: "trilinear"}


def build_activation(model: ModelConfig) -> nn.Module:
    """ReLU, leaky ReLU with slope 0.01, or GELU."""
    if model.activation == "gelu":
        return nn.GELU()
    return nn.LeakyReLU(inplace=True) if model.activation == "leaky_relu" else nn.ReLU(inplace=True)


def build_norm(model: ModelConfig, channels: int) -> list[nn.Module]:
    """The normalisation of so many channels; nothing for ``none``."""
    if model.norm == "group":
        return [nn.GroupNorm(model.groups, channels)]
    if model.norm == "instance":
        instance = nn.InstanceNorm2d if model.dims == 2 else nn.InstanceNorm3d
        return [instance(channels, affine=True)]
    if model.norm == "batch":
        return [nn.BatchNorm2d(channels) if model.dims == 2 else nn.BatchNorm3d(channels)]
    return []


class ConvBlock(nn.Sequential):
    """Convolutions, each followed by its normalisation and activation.

    With a normalisation the convolutions have no bias.

    Args:
        model: The network.
        channels: Channels before, between and after the convolutions.
        kernel: Size of the convolutions along each axis.
        stride: Step of the first convolution along each axis.
        activated: Whether an activation follows the last convolution.
    """

    def __init__(
        self,
        model: ModelConfig,
        channels: Sequence[int],
        kernel: Sizes,
        stride: Sizes,
        *,
        activated: bool = True,
    ) -> None:
        padding = tuple(k // 2 if model.padding == "same" else 0 for k in kernel)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(channels):
            layers.append(
                CONVOLUTIONS[model.dims](
                    inner, outer, kernel, stride, padding, bias=model.norm == "none"
                )
            )
            layers += [*build_norm(model, outer), build_activation(model)]
            stride = (1,) * model.dims
        if not activated:
            layers.pop()
        if model.squeeze_excitation:
            layers.append(SqueezeExcitation(model, channels[-1]))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """A block of convolutions whose input is added before the last activation.

    The input passes through a 1×1 convolution and normalisation where channels or size change.

    Args:
        model: The network.
        channels: Channels before, between and after the convolutions.
        kernel: Size of the convolutions along each axis.
        stride: Step of the first convolution along each axis.
        crop_px: What the shortcut loses on each side along each axis.

    Source: He et al. 2015, arXiv 1512.03385.
    """

    def __init__(
        self,
        model: ModelConfig,
        channels: Sequence[int],
        kernel: Sizes,
        stride: Sizes,
        crop_px: Sizes,
    ) -> None:
        super().__init__()
        self.crop_px = crop_px
        self.body = ConvBlock(model, channels, kernel, stride, activated=False)
        self.shortcut = nn.Sequential()
        if channels[0] != channels[-1] or max(stride) > 1:
            project = CONVOLUTIONS[model.dims](
                channels[0], channels[-1], 1, stride, bias=model.norm == "none"
            )
            self.shortcut = nn.Sequential(project, *build_norm(model, channels[-1]))
        self.activation = build_activation(model)

    def forward(self, features: Tensor) -> Tensor:
        """The activation of body plus shortcut."""
        total: Tensor = self.body(features) + self.shortcut(crop(features, self.crop_px))
        activated: Tensor = self.activation(total)
        return activated


class SqueezeExcitation(nn.Module):
    """Scales each channel by a weight computed from the means of all channels.

    Args:
        model: The network.
        channels: Channels of the features.

    Source: Hu et al. 2018, arXiv 1709.01507.
    """

    def __init__(self, model: ModelConfig, channels: int) -> None:
        super().__init__()
        units = squeezed_channels(channels, model.squeeze_excitation)
        convolution = CONVOLUTIONS[model.dims]
        self.weights = nn.Sequential(
            MEANS[model.dims](1),
            convolution(channels, units, 1),
            build_activation(model),
            convolution(units, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The features, each channel scaled by its weight from 0 to 1."""
        weights: Tensor = self.weights(features)
        return features * weights


class AttentionGate(nn.Module):
    """Weighs each position of a skip by how it agrees with the level below.

    α = σ(ψ · act(W_x · x + W_g · g + b_g) + b_ψ), computed on the coarser grid and interpolated.

    Args:
        model: The network.
        level: Level of the skip.

    Source: Oktay et al. 2018, arXiv 1804.03999, equations 1 and 2.
    """

    def __init__(self, model: ModelConfig, level: int) -> None:
        super().__init__()
        convolution, stride = CONVOLUTIONS[model.dims], model.level_strides[level]
        skip, below = model.level_widths[level], model.level_widths[level + 1]
        inner = gate_channels(skip)
        self.skip = convolution(skip, inner, stride, stride, bias=False)
        self.below = convolution(below, inner, 1)
        self.score = nn.Sequential(
            build_activation(model),
            convolution(inner, 1, 1),
            nn.Sigmoid(),
            nn.Upsample(
                scale_factor=tuple(float(step) for step in stride), mode=LINEAR_MODES[model.dims]
            ),
        )

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """The skip, each position scaled by its weight from 0 to 1."""
        weights: Tensor = self.score(self.skip(skip) + self.below(below))
        return skip * weights


class Enlargement(nn.Module):
    """The predictions of all levels, each enlarged to lie exactly on that of the finest.

    Coarser predictions are interpolated, then cropped to its size.

    Args:
        model: The network.
        crops_px: What each coarser level loses on each side after interpolation, for each axis.
    """

    def __init__(self, model: ModelConfig, crops_px: Sequence[Sizes]) -> None:
        super().__init__()
        self.crops_px = crops_px
        scales = [(1.0,) * model.dims]
        for stride in model.level_strides[: model.depth - 1]:
            scales.append(tuple(a * b for a, b in zip(scales[-1], stride, strict=True)))
        self.resize = nn.ModuleList(
            nn.Upsample(scale_factor=scale, mode=LINEAR_MODES[model.dims]) for scale in scales[1:]
        )

    def forward(self, predictions: Sequence[Tensor]) -> list[Tensor]:
        """Predictions of the size of the first, in the same order."""
        enlarged = [
            crop(resize(prediction), crop_px)
            for resize, prediction, crop_px in zip(
                self.resize, predictions[1:], self.crops_px, strict=True
            )
        ]
        return [predictions[0], *enlarged]


class Fusion(nn.Module):
    """One prediction from those of all levels, by learned weights.

    The weights start at the mean of the levels (as in Xie and Tu 2015, arXiv 1504.06375), so that
    every level has its share in the result, and a gradient, from the first step on.

    Args:
        model: The network.
    """

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.levels = model.depth
        self.weigh = CONVOLUTIONS[model.dims](model.classes * model.depth, model.classes, 1)

    def forward(self, predictions: Sequence[Tensor]) -> Tensor:
        """The fused prediction from predictions of one size, the finest level first."""
        fused: Tensor = self.weigh(torch.cat(list(predictions), dim=1))
        return fused

    def shares(self) -> tuple[float, ...]:
        """How much each level weighs: its share of the sum of |weights|, the finest first."""
        weights = self.weigh.weight.detach().abs().double()
        each = [float(part.sum()) for part in weights.chunk(self.levels, dim=1)]
        return tuple(weight / sum(each) for weight in each)


def build_up(model: ModelConfig, level: int, inner: int, outer: int) -> nn.Module:
    """From a level to the one above: a transposed convolution, or resizing and a convolution.

    Source: for resizing Odena et al. 2016, doi 10.23915/distill.00003, with repeated pixels.
    """
    stride = model.level_strides[level]
    if model.up == "transposed":
        return UP_CONVOLUTIONS[model.dims](inner, outer, stride, stride, bias=model.up_bias)
    kernel = model.level_kernels[level]
    padding = tuple(k // 2 if model.padding == "same" else 0 for k in kernel)
    return nn.Sequential(
        nn.Upsample(scale_factor=tuple(float(step) for step in stride), mode="nearest"),
        CONVOLUTIONS[model.dims](inner, outer, kernel, padding=padding, bias=model.up_bias),
    )


def build_image_head(model: ModelConfig) -> nn.Sequential:
    """Means of the lowest level's features, then fully connected layers with the activation."""
    layers: list[nn.Module] = [
        MEANS[model.dims](1),
        nn.Flatten(),
    ]
    units = model.level_widths[-1]
    for hidden in model.image_hidden:
        layers += [nn.Linear(units, hidden), build_activation(model)]
        units = hidden
    return nn.Sequential(*layers, nn.Linear(units, model.image_classes))


def crop(features: Tensor, crop_px: Sequence[int]) -> Tensor:
    """The centre of ``features``, without so many pixels on each side of each axis.

    Args:
        features: Tensor of shape ``(B, C, *S)``.
        crop_px: Pixels to leave out on either side, one number an axis.

    Example:
        >>> crop(torch.zeros(1, 1, 64, 64), (4, 0)).shape
        torch.Size([1, 1, 56, 64])
    """
    if not any(crop_px):
        return features
    return features[(..., *(slice(px, -px) if px else slice(None) for px in crop_px))]
