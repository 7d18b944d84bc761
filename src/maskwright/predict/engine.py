"""PyTorch as the callable that prediction uses."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.nn.unet import HEADS, UNet, fold, memory_format
from maskwright.predict.predictor import Engine, Found


def torch_engine(
    network: UNet,
    *,
    layout: str = "channels_last",
    precision: str = "float32",
    levels: bool = False,
) -> Engine:
    """A callable from tiles to probabilities; batch normalisation folded into the convolutions.

    In ``bfloat16`` the convolutions run in that format; the predictions from their features and
    the softmax (or sigmoid) stay in float32, so that probabilities are not rounded to 8 bits.

    Args:
        network: A trained network; it is copied and not changed.
        layout: ``contiguous`` or ``channels_last``.
        precision: ``float32`` or ``bfloat16``.
        levels: Whether the probabilities of the decoder's levels are given too, enlarged to lie
            on the final ones as where levels are fused; only for a network with levels.

    Returns:
        A callable from ``(B, C, *S)`` float32 to :class:`~maskwright.predict.predictor.Found`.

    Example:
        >>> from maskwright.nn.unet import build_unet
        >>> engine = torch_engine(build_unet())
        >>> engine(np.zeros((1, 1, 32, 32), np.float32))["probabilities"].shape
        (1, 2, 32, 32)
    """
    folded = fold(network).to("cuda" if torch.cuda.is_available() else "cpu")
    number = torch.bfloat16 if precision == "bfloat16" else torch.float32
    order = memory_format(layout, network.config.dims)
    for name, part in folded.named_children():
        if name not in HEADS:
            part.to(dtype=number, memory_format=order)  # type: ignore[call-overload]
    device = next(folded.parameters()).device
    overlapping = network.config.output == "sigmoid"

    def probabilities(logits_BKS: Tensor) -> NDArray[np.float32]:
        found_BKS = logits_BKS.sigmoid() if overlapping else logits_BKS.softmax(1)
        plain_BKS: NDArray[np.float32] = found_BKS.cpu().numpy()
        return plain_BKS

    @torch.inference_mode()
    def run(batch_BCS: NDArray[np.float32]) -> Found:
        batch = torch.from_numpy(np.ascontiguousarray(batch_BCS)).to(device, number)
        features, lowest = folded.features(batch.contiguous(memory_format=order))
        outputs = folded.predictions([level.float() for level in features], lowest.float())
        found: Found = {"probabilities": probabilities(outputs["logits"])}
        if "image_logits" in outputs:
            found["image_probabilities"] = outputs["image_logits"].softmax(1).cpu().numpy()
        if levels:
            enlarged = folded.enlargement(outputs["levels"])
            found["levels"] = [probabilities(logits_BKS) for logits_BKS in enlarged]
        return found

    return run
