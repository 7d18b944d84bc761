"""PyTorch as the callable that prediction uses."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.nn.unet import UNet, fold
from maskwright.predict.predictor import Engine


def torch_engine(
    network: UNet, *, layout: str = "channels_last", precision: str = "float32"
) -> Engine:
    """A callable from tiles to probabilities; batch normalisation folded into the convolutions.

    In ``bfloat16`` the convolutions run in that format; the 1×1 convolution and the softmax stay
    in float32, so that probabilities are not rounded to 8 bits.

    Args:
        network: A trained network; it is copied and not changed.
        layout: ``contiguous`` or ``channels_last``.
        precision: ``float32`` or ``bfloat16``.

    Returns:
        A callable from ``(B, C, Y, X)`` float32 to probabilities ``(B, K, Y', X')`` float32.

    Example:
        >>> from maskwright.nn.unet import build_unet
        >>> engine = torch_engine(build_unet())
        >>> engine(np.zeros((1, 1, 32, 32), np.float32)).shape
        (1, 2, 32, 32)
    """
    body = fold(network)
    head = copy.deepcopy(body.head)
    number = torch.bfloat16 if precision == "bfloat16" else torch.float32
    order = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    body = body.to(dtype=number, memory_format=order)  # type: ignore[call-overload]
    device = next(body.parameters()).device

    @torch.inference_mode()
    def run(batch_BCYX: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(batch_BCYX)).to(device, number)
        features = body.features(batch.contiguous(memory_format=order))
        logits_BKYX = head(features.float())
        probabilities: NDArray[np.float32] = logits_BKYX.softmax(1).cpu().numpy()
        return probabilities

    return run
