"""Every layer of a network with its output size, parameters and multiplications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from maskwright.geometry.channels import (
    decoder_channels,
    encoder_channels,
    gate_channels,
    squeezed_channels,
    up_channels,
)
from maskwright.geometry.network import check_shape

if TYPE_CHECKING:
    from maskwright.network_config import ModelConfig

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of the table that ``maskwright describe`` prints.

    Args:
        name: Where it stands, such as ``down 1 conv 2``.
        shape: Its output along each axis, in pixels.
        channels: Channels of its output.
        parameters: Trained numbers, the normalisation after it included.
        macs: Multiplications with addition for one input image.
    """

    name: str
    shape: Sizes
    channels: int
    parameters: int
    macs: int


def layer_table(shape: Sequence[int], model: ModelConfig) -> list[Layer]:
    """Every layer with its output size, parameters and multiplications.

    A convolution of n taps has n·in·out + out parameters; followed by a normalisation it has no
    bias, and the normalisation has 2·out. An up-convolution of n taps has n·in·out + out.
    Multiplications are those of convolutions and fully connected layers.

    Args:
        shape: Size of the input along each axis, in pixels.
        model: The network.

    Returns:
        Layers in the order in which data flow.

    Raises:
        SizeError: When ``shape`` is not legal.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> paper = ModelConfig(width=64, padding="valid", norm="none")
        >>> table = layer_table((572, 572), paper)
        >>> table[-1].shape, sum(layer.parameters for layer in table)
        ((388, 388), 31030658)
    """
    check_shape(shape, model, subject="--input")
    walk = _Walk(model, tuple(shape))
    for level in range(model.depth + 1):
        place = f"down {level}" if level < model.depth else "bottom"
        stride = (1,) * model.dims
        if level and model.down == "stride":
            stride = model.level_strides[level - 1]
        elif level:
            walk.pool(f"down {level - 1} pool", level - 1)
        walk.block(place, encoder_channels(model, level), level, stride)
    if model.image_classes:
        walk.image_head()
    for level in reversed(range(model.depth)):
        covered = walk.enlarged(level)
        if model.attention and level:
            walk.gate(f"up {level} attention", level, covered)
        walk.up(f"up {level} up-conv", level, covered)
        walk.block(f"up {level}", decoder_channels(model, level), level, (1,) * model.dims)
        if model.levels != "none" or not level:
            name = "1×1 conv" if model.levels == "none" else f"up {level} 1×1 conv"
            width = model.level_widths[level]
            walk.point(name, width, model.classes)
    if model.levels == "fused":
        walk.point("fusion", model.classes * model.depth, model.classes)
    return walk.table


@dataclass
class _Walk:
    """Follows the data and writes down each layer."""

    model: ModelConfig
    shape: Sizes
    table: list[Layer] = field(default_factory=list)

    def block(self, place: str, channels: Sizes, level: int, stride: Sizes) -> None:
        model, kernel = self.model, self.model.level_kernels[level]
        steps = stride
        for number, (inner, outer) in enumerate(pairwise(channels), 1):
            self.shape = tuple(
                (size - (k - 1 if model.padding == "valid" else 0) + (step - 1)) // step
                for size, k, step in zip(self.shape, kernel, steps, strict=True)
            )
            self._convolution(f"{place} conv {number}", inner, outer, prod(kernel))
            steps = (1,) * model.dims
        inner, outer = channels[0], channels[-1]
        if model.squeeze_excitation:
            units = squeezed_channels(outer, model.squeeze_excitation)
            weights = 2 * outer * units
            self._add(f"{place} squeeze-excitation", outer, weights + units + outer, weights)
        if model.block == "residual" and (inner != outer or prod(stride) > 1):
            self._convolution(f"{place} shortcut", inner, outer, 1)

    def pool(self, name: str, level: int) -> None:
        stride = self.model.level_strides[level]
        self.shape = tuple(size // step for size, step in zip(self.shape, stride, strict=True))
        self._add(name, self.model.level_widths[level], 0, 0)

    def enlarged(self, level: int) -> Sizes:
        stride = self.model.level_strides[level]
        return tuple(size * step for size, step in zip(self.shape, stride, strict=True))

    def gate(self, name: str, level: int, covered: Sizes) -> None:
        model = self.model
        skip, below = model.level_widths[level], model.level_widths[level + 1]
        inner = gate_channels(skip)
        weights = inner * (prod(model.level_strides[level]) * skip + below + 1)
        macs = weights * prod(self.shape)
        self.table.append(Layer(name, covered, skip, weights + inner + 1, macs))

    def up(self, name: str, level: int, covered: Sizes) -> None:
        model = self.model
        inner, outer = up_channels(model, level)
        taps = prod(model.level_strides[level])
        weights = inner * outer * taps
        macs = weights * prod(self.shape)
        self.shape = covered
        if model.up == "resize":
            kernel = model.level_kernels[level]
            lost = (k - 1 if model.padding == "valid" else 0 for k in kernel)
            self.shape = tuple(size - loss for size, loss in zip(covered, lost, strict=True))
            weights = inner * outer * prod(kernel)
            macs = weights * prod(self.shape)
        self._add(name, outer, weights + (outer if model.up_bias else 0), macs)
        joined = outer + model.level_widths[level]
        self._add(f"up {level} concatenate", joined, 0, 0)

    def point(self, name: str, inner: int, outer: int) -> None:
        self._add(name, outer, inner * outer + outer, inner * outer * prod(self.shape))

    def image_head(self) -> None:
        model = self.model
        sources = (model.level_widths[-1], *model.image_hidden)
        targets = (*model.image_hidden, model.image_classes)
        for number, (inner, outer) in enumerate(zip(sources, targets, strict=True), 1):
            name = f"image fully connected {number}"
            self.table.append(
                Layer(name, (1,) * model.dims, outer, inner * outer + outer, inner * outer)
            )

    def _convolution(self, name: str, inner: int, outer: int, taps: int) -> None:
        weights = taps * inner * outer
        extra = outer if self.model.norm == "none" else 2 * outer
        self._add(name, outer, weights + extra, weights * prod(self.shape))

    def _add(self, name: str, channels: int, parameters: int, macs: int) -> None:
        self.table.append(Layer(name, self.shape, channels, parameters, macs))
