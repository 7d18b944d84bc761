"""The U-Net; :func:`build_unet` is its only builder, in two and three dimensions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.geometry.channels import decoder_channels, encoder_channels, up_channels
from maskwright.nn.blocks import (
    CONVOLUTIONS,
    MAX_POOLS,
    AttentionGate,
    ConvBlock,
    Enlargement,
    Fusion,
    ResidualBlock,
    build_image_head,
    build_up,
    crop,
)
from maskwright.nn.shared_norm import statistics_kept
from maskwright.nn.weights import fold_batch_norms, initialise

HEADS = ("head", "level_heads", "fusion", "image_head")
"""Names of the modules that turn features into predictions."""


class _Always(TypedDict):
    logits: Tensor


class Outputs(_Always, total=False):
    """What a network returns: always ``logits``, the others where the configuration asks."""

    levels: list[Tensor]
    image_logits: Tensor


class UNet(nn.Module):
    """Encoder, decoder and skips of Ronneberger, Fischer and Brox 2015, and its variations.

    Args:
        config: The network; see :class:`maskwright.config.ModelConfig`.

    Attributes:
        checkpointing: Whether training computes the features of a block again for the gradient
            instead of keeping them.

    Source: arXiv 1505.04597, figure 1; in three dimensions Çiçek et al. 2016, arXiv 1606.06650.
        Computing again: Chen et al. 2016, arXiv 1604.06174.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.axes = geometry.axes_of(config)
        depth, widths = config.depth, config.level_widths
        pooled = config.down == "max"
        one = (1,) * config.dims
        self.encoder = nn.ModuleList(
            self._block(
                encoder_channels(config, level),
                level,
                one if pooled or not level else config.level_strides[level - 1],
            )
            for level in range(depth + 1)
        )
        self.pool = nn.ModuleList(
            MAX_POOLS[config.dims](stride) if pooled else nn.Identity()
            for stride in config.level_strides
        )
        self.dropout: nn.Module = nn.Dropout(config.dropout)
        self.upsample = nn.ModuleList(
            build_up(config, level, *up_channels(config, level)) for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            self._block(decoder_channels(config, level), level, one) for level in range(depth)
        )
        gated = range(1, depth) if config.attention else ()
        self.gates = nn.ModuleDict({str(level): AttentionGate(config, level) for level in gated})
        point = CONVOLUTIONS[config.dims]
        self.head = point(widths[0], config.classes, 1)
        predicting = range(1, depth) if config.levels != "none" else ()
        self.level_heads = nn.ModuleList(
            point(widths[level], config.classes, 1) for level in predicting
        )
        self.enlargement = Enlargement(config, [self._level_crop(n) for n in range(1, depth)])
        self.fusion = Fusion(config) if config.levels == "fused" else None
        self.image_head = build_image_head(config) if config.image_classes else None
        self._crops = [
            tuple(zip(*(axis.skip_crop(level) for axis in self.axes), strict=True))
            for level in range(depth)
        ]
        initialise(self)

    def _block(self, channels: Sequence[int], level: int, stride: tuple[int, ...]) -> nn.Module:
        kernel = self.config.level_kernels[level]
        if self.config.block == "plain":
            return ConvBlock(self.config, channels, kernel, stride)
        crop_px = tuple(
            axis.shortcut_crop(level, stride=step)
            for axis, step in zip(self.axes, stride, strict=True)
        )
        return ResidualBlock(self.config, channels, kernel, stride, crop_px)

    def _level_crop(self, level: int) -> tuple[int, ...]:
        return tuple(axis.border_loss - axis.level_border(level) for axis in self.axes)

    def features(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the heads read.

        Args:
            image: Images, shape ``(B, C, *S)``.

        Returns:
            The features of the decoder's levels, the finest first (the finest alone where the
            levels do not predict), and those of the lowest level.
        """
        # Exporters record the operations of one size; legal sizes are for them to name.
        if not (torch._C._get_tracing_state() or torch.compiler.is_compiling()):
            geometry.check_shape(image.shape[2:], self.config, subject="image size")
        depth = self.config.depth
        skips: list[Tensor] = []
        features = image
        for level, block in enumerate(self.encoder):
            if level:
                features = self.pool[level - 1](features)
            features = self._through(block, features)
            if level >= depth - 1:
                features = self.dropout(features)
            skips.append(features)
        lowest = skips.pop()
        levels: list[Tensor] = []
        for level in reversed(range(depth)):
            up = self.upsample[level](features)
            # Without a name the skip is freed as soon as it is joined, before the convolutions.
            joined = torch.cat([self._gated(level, skips.pop(), features), up], dim=1)
            features = self._through(self.decoder[level], joined)
            if not level or self.config.levels != "none":
                levels.insert(0, features)
        return levels, lowest

    def _through(self, block: nn.Module, features: Tensor) -> Tensor:
        """A block's output; with ``checkpointing`` it is computed again for the gradient."""
        if not (self.checkpointing and self.training):
            return block(features)  # type: ignore[no-any-return]
        again: Tensor = checkpoint(
            block,
            features,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), statistics_kept(block)),
        )
        return again

    def _gated(self, level: int, skip: Tensor, below: Tensor) -> Tensor:
        before, after = self._crops[level]
        if str(level) not in self.gates:
            return crop(skip, [a + b for a, b in zip(before, after, strict=True)])
        return crop(self.gates[str(level)](crop(skip, before), below), after)

    def predictions(self, levels: Sequence[Tensor], lowest: Tensor) -> Outputs:
        """Class scores from the features of :meth:`features`."""
        scores = [self.head(levels[0])]
        scores += [
            head(features) for head, features in zip(self.level_heads, levels[1:], strict=True)
        ]
        outputs: Outputs = {
            "logits": scores[0] if self.fusion is None else self.fusion(self.enlargement(scores))
        }
        if self.config.levels != "none":
            outputs["levels"] = scores
        if self.image_head is not None:
            outputs["image_logits"] = self.image_head(lowest)
        return outputs

    def forward(self, image: Tensor) -> Outputs:
        """Class scores of every pixel.

        Args:
            image: Images, shape ``(B, C, *S)`` with ``S`` = Y, X or Z, Y, X.

        Returns:
            ``logits`` of shape ``(B, K, *S')``; with ``levels`` the prediction of each level of
            the decoder, the finest first, each at the level's own size; with ``image_classes``
            the ``image_logits`` of shape ``(B, image_classes)``.

        Raises:
            SizeError: When a size is not legal for this network.
        """
        return self.predictions(*self.features(image))


def build_unet(config: ModelConfig | None = None, *, seed: int | None = None) -> UNet:
    """A U-Net with fresh weights.

    Args:
        config: The network; the default is the padded network with batch normalisation.
        seed: Seed of the weights; by default PyTorch's current random state is used.

    Returns:
        An ordinary ``torch.nn.Module``: ``(B, C, *S)`` to :class:`Outputs`.

    Example:
        >>> network = build_unet(ModelConfig(depth=2, width=4))
        >>> network(torch.zeros(1, 1, 64, 64))["logits"].shape
        torch.Size([1, 2, 64, 64])
        >>> network = build_unet(ModelConfig(dims=3, depth=2, width=4, levels="fused"))
        >>> [tuple(level.shape) for level in network(torch.zeros(1, 1, 8, 8, 8))["levels"]]
        [(1, 2, 8, 8, 8), (1, 2, 4, 4, 4)]
    """
    if seed is None:
        return UNet(config or ModelConfig())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(config or ModelConfig())


def fold(network: UNet) -> UNet:
    """A copy for prediction with every batch normalisation folded into its convolution.

    Args:
        network: A trained network.

    Returns:
        A network in evaluation mode with the same output, to rounding.
    """
    folded = copy.deepcopy(network).eval()
    fold_batch_norms(folded)
    return folded.requires_grad_(False)


def memory_format(layout: str, dims: int) -> torch.memory_format:
    """PyTorch's memory order for ``contiguous`` or ``channels_last`` tensors of so many axes.

    Example:
        >>> memory_format("channels_last", 3)
        torch.channels_last_3d
    """
    if layout != "channels_last":
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d
