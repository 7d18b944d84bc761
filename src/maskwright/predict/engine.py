"""PyTorch as the callable that prediction uses."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.nn.unet import HEADS, UNet, fold, memory_format
from maskwright.predict.predictor import Engine


def torch_engine(
    network: UNet, *, layout: str = "channels_last", precision: str = "float32"
) -> Engine:
    """A callable from tiles to probabilities; batch normalisation folded into the convolutions.

    In ``bfloat16`` the convolutions run in that format; the predictions from their features and
    the softmax (or sigmoid) stay in float32, so that probabilities are not rounded to 8 bits.

    Args:
        network: A trained network; it is copied and not changed.
        layout: ``contiguous`` or ``channels_last``.
        precision: ``float32`` or ``bfloat16``.

    Returns:
        A callable from ``(B, C, *S)`` float32 to probabilities ``(B, K, *S')`` float32.

    Example:
        >>> from maskwright.nn.unet import build_unet
        >>> engine = torch_engine(build_unet())
        >>> engine(np.zeros((1, 1, 32, 32), np.float32)).shape
        (1, 2, 32, 32)
    """
    folded = fold(network)
    number = torch.bfloat16 if precision == "bfloat16" else torch.float32
    order = memory_format(layout, network.config.dims)
    for name, part in folded.named_children():
        if name not in HEADS:
            part.to(dtype=number, memory_format=order)  # type: ignore[call-overload]
    device = next(folded.parameters()).device

    @torch.inference_mode()
    def run(batch_BCS: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(batch_BCS)).to(device, number)
        levels, lowest = folded.features(batch.contiguous(memory_format=order))
        found = folded.predictions([level.float() for level in levels], lowest.float())
        logits_BKS = found["logits"]
        overlapping = network.config.output == "sigmoid"
        probabilities_BKS = logits_BKS.sigmoid() if overlapping else logits_BKS.softmax(1)
        probabilities: NDArray[np.float32] = probabilities_BKS.cpu().numpy()
        return probabilities

    return run
