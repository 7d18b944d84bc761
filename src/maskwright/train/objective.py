"""What one update minimises: the loss of the prediction, and those of the decoder's levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from maskwright import geometry
from maskwright.config import ModelConfig, TrainConfig
from maskwright.errors import ConfigError
from maskwright.nn.loss_target import Target
from maskwright.nn.losses import SegmentationLoss, level_weights
from maskwright.nn.ranks import ALONE, Ranks
from maskwright.nn.unet import Outputs


class Objective:
    """The sum that training minimises.

    ``levels=none``: the loss of the prediction. ``supervised``: the losses of all levels of the
    decoder, weighted 1, ½, ¼ … and divided by the sum of the weights; the finest one is the
    prediction. ``fused``: the loss of the fused prediction plus the same weighted mean. With a head
    for the label of the whole image its cross-entropy is added, times ``image_loss``.

    Args:
        config: The training settings.
        model: The network, which says what outputs there are.
        pixels_per_class: Pixels of each class in the training images, for balanced classes.
        ranks: The processes that share each batch.

    Raises:
        ConfigError: As :class:`maskwright.nn.losses.SegmentationLoss` does.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ModelConfig,
        *,
        pixels_per_class: Sequence[int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.loss = SegmentationLoss(
            config,
            classes=model.classes,
            output=model.output,
            pixels_per_class=pixels_per_class,
            ranks=ranks,
        )
        self._image_weight = config.image_loss if model.image_classes else 0.0
        self._levels = model.levels
        self._strides = [
            tuple(axis.scale(level) for axis in geometry.axes_of(model))
            for level in range(model.depth)
        ]

    def __call__(self, outputs: Outputs, target: Target) -> tuple[Tensor, Tensor]:
        """The sum, and the soft Dice of each class that progress shows, shape ``(K,)``.

        Args:
            outputs: What the network returned.
            target: The truth at the size of ``logits``.

        Raises:
            ConfigError: ``image-labels-none`` when a head for them has no labels to learn from.
        """
        total, dice_K = self._of_pixels(outputs, target)
        if not self._image_weight:
            return total, dice_K
        if target.image_labels is None:
            raise ConfigError(
                "image-labels-none",
                "model.image_classes",
                expected="a label for each image",
                found="none",
                remedy="say where they are: --image-labels labels.csv or contains:NAME",
            )
        of_images = functional.cross_entropy(outputs["image_logits"].float(), target.image_labels)
        return total + self._image_weight * self.loss.ranks.mean(of_images), dice_K

    def _of_pixels(self, outputs: Outputs, target: Target) -> tuple[Tensor, Tensor]:
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
