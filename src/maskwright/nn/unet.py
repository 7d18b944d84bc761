"""The U-Net; :func:`build_unet` is its only builder."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from maskwright import geometry
from maskwright.config import ModelConfig
from maskwright.nn.blocks import ConvBlock, crop_to, fold_batch_norm, initialise


class UNet(nn.Module):
    """Encoder, decoder and skips of Ronneberger, Fischer and Brox 2015.

    Args:
        config: The network; see :class:`maskwright.config.ModelConfig`.

    Source: arXiv 1505.04597, figure 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(config.depth + 1)]
        sources = [config.channels, *widths]
        self.encoder = nn.ModuleList(
            ConvBlock(inner, outer, config.padding, config.norm)
            for inner, outer in zip(sources, widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(config.dropout)
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2)
            for level in range(config.depth)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(2 * width, width, config.padding, config.norm) for width in widths[:-1]
        )
        self.head = nn.Conv2d(config.width, config.classes, 1)
        initialise(self)

    def features(self, image_BCYX: Tensor) -> Tensor:
        """The last level's features, before the 1×1 convolution, shape ``(B, width, Y', X')``."""
        # Exporters record the operations of one size; legal sizes are for them to name.
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            for size in image_BCYX.shape[-2:]:
                geometry.check_size(
                    size, self.config.depth, self.config.padding, subject="image size"
                )
        depth = self.config.depth
        skips: list[Tensor] = []
        features = image_BCYX
        for level, block in enumerate(self.encoder):
            if level:
                features = self.pool(features)
            features = block(features)
            if level >= depth - 1:
                features = self.dropout(features)
            skips.append(features)
        skips.pop()
        for level in reversed(range(depth)):
            up = self.upsample[level](features)
            features = self.decoder[level](torch.cat([crop_to(skips.pop(), up), up], dim=1))
        return features

    def forward(self, image_BCYX: Tensor) -> dict[str, Tensor]:
        """Class scores of every pixel.

        Args:
            image_BCYX: Images, shape ``(B, C, Y, X)``.

        Returns:
            ``{"logits": (B, K, Y', X')}``.

        Raises:
            SizeError: When Y or X is not legal for this depth and padding.
        """
        return {"logits": self.head(self.features(image_BCYX))}


def build_unet(config: ModelConfig | None = None, *, seed: int | None = None) -> UNet:
    """A U-Net with fresh weights.

    Args:
        config: The network; the default is the padded network with batch normalisation.
        seed: Seed of the weights; by default PyTorch's current random state is used.

    Returns:
        An ordinary ``torch.nn.Module``: ``(B, C, Y, X)`` to ``{"logits": (B, K, Y', X')}``.

    Example:
        >>> network = build_unet(ModelConfig(depth=2, width=4))
        >>> network(torch.zeros(1, 1, 64, 64))["logits"].shape
        torch.Size([1, 2, 64, 64])
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
    for block in (*folded.encoder, *folded.decoder):
        layers = list(block.children())
        kept: list[nn.Module] = []
        for index, layer in enumerate(layers):
            following = layers[index + 1] if index + 1 < len(layers) else None
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                kept.append(fold_batch_norm(layer, following))
            elif not isinstance(layer, nn.BatchNorm2d):
                kept.append(layer)
        block._modules.clear()
        for index, layer in enumerate(kept):
            block.add_module(str(index), layer)
    return folded.requires_grad_(False)
