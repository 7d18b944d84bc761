"""How many channels flow where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskwright.network_config import ModelConfig


def encoder_channels(model: ModelConfig, level: int) -> tuple[int, ...]:
    """Channels before, between and after the convolutions of an encoder block.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> [encoder_channels(ModelConfig(), level) for level in (0, 1)]
        [(1, 16, 16), (16, 32, 32)]
        >>> model = ModelConfig(width=64, widen="second")
        >>> [encoder_channels(model, level) for level in (0, 1)]
        [(1, 32, 64), (64, 64, 128)]
    """
    outer = model.level_widths[level]
    inner = model.level_widths[level - 1] if level else model.channels
    first = outer
    if model.widen == "second":
        first = inner if level else model.first_width
    return (inner, first, *(outer,) * (model.convolutions - 1))


def up_channels(model: ModelConfig, level: int) -> tuple[int, int]:
    """Channels before and after the up-convolution to a level.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> up_channels(ModelConfig(), 0), up_channels(ModelConfig(widen="second"), 0)
        ((32, 16), (32, 32))
    """
    inner = model.level_widths[level + 1]
    return inner, inner if model.widen == "second" else model.level_widths[level]


def decoder_channels(model: ModelConfig, level: int) -> tuple[int, ...]:
    """Channels before, between and after the convolutions of a decoder block.

    Example:
        >>> from maskwright.network_config import ModelConfig
        >>> decoder_channels(ModelConfig(), 0)
        (32, 16, 16)
    """
    outer = model.level_widths[level]
    return (up_channels(model, level)[1] + outer, *(outer,) * model.convolutions)


def gate_channels(channels: int) -> int:
    """Channels in which an attention gate compares a skip of so many channels."""
    return max(1, channels // 2)


def squeezed_channels(channels: int, reduction: int) -> int:
    """Units of squeeze-and-excitation: a share of the channels, at least 8.

    With fewer, one unit that is always off would take much of the block with it.
    """
    return max(8, channels // reduction)
