"""What one update minimises: the loss of the prediction, and those of the decoder's levels."""

from __future__ import annotations

from torch import Tensor

from maskwright.config import TrainConfig
from maskwright.errors import ConfigError
from maskwright.nn.loss_target import Target
from maskwright.nn.losses import SegmentationLoss, level_weights
from maskwright.nn.unet import Outputs, UNet


class Objective:
    """The sum that training minimises.

    ``levels=none``: the loss of the prediction. ``supervised``: the losses of all levels of the
    decoder, weighted 1, ½, ¼ … and divided by the sum of the weights; the finest one is the
    prediction. ``fused``: the loss of the fused prediction plus the same weighted mean.

    Args:
        config: The training settings.
        network: The network; its configuration says which outputs there are.

    Raises:
        ConfigError: For a network with a head for labels of images, which training cannot feed.
    """

    def __init__(self, config: TrainConfig, network: UNet) -> None:
        model = network.config
        if model.image_classes:
            raise ConfigError(
                "train-image-head",
                "model.image_classes",
                expected="0: labels of whole images cannot be given yet",
                found=str(model.image_classes),
                remedy="leave image_classes out",
            )
        self.loss = SegmentationLoss(config, classes=model.classes, output=model.output)
        self._levels = model.levels
        self._strides = [
            tuple(axis.scale(level) for axis in network.axes) for level in range(model.depth)
        ]

    def __call__(self, outputs: Outputs, target: Target) -> tuple[Tensor, Tensor]:
        """The sum, and the soft Dice of each class that progress shows, shape ``(K,)``.

        Args:
            outputs: What the network returned.
            target: The truth at the size of ``logits``.
        """
        total, dice_K = self.loss(outputs["logits"].float(), target)
        if self._levels == "none":
            return total, dice_K
        levels = [level.float() for level in outputs["levels"]]
        strides = self._strides[: len(levels)]
        if self._levels == "fused":
            return total + self.loss.of_levels(levels, strides, target), dice_K
        weights = level_weights(len(levels))
        coarser = self.loss.of_levels(levels[1:], strides[1:], target, weights[1:])
        return weights[0] * total + coarser, dice_K
