"""Running an exported file against the network, before the file is handed out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import OutputError
from maskwright.export.facts import AxisFacts
from maskwright.export.graph import flat_outputs
from maskwright.nn.unet import UNet
from maskwright.tiling import Interval, read_mirrored

LIMIT = 1e-4
"""Largest difference between a file and its network, in float32."""

Runner = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]
"""From a batch of tiles to the file's outputs, by name."""

_LARGEST_PX = {2: 256, 3: 64}


@dataclass(frozen=True)
class Verification:
    """How far an exported file is from its network.

    Args:
        image: What both were given, in words.
        shapes: Shapes of the batches.
        largest: Largest absolute difference of each output.
    """

    image: str
    shapes: tuple[tuple[int, ...], ...]
    largest: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest of all differences."""
        return max(self.largest.values())

    def sentence(self) -> str:
        """What was compared, and what came out.

        Example:
            >>> Verification("cell.png", ((1, 1, 64, 64),), {"logits": 2e-6}).sentence()
            'largest difference from the network on cell.png (1×1×64×64): 2.0e-06'
        """
        sizes = ", ".join("×".join(map(str, shape)) for shape in self.shapes)
        return f"largest difference from the network on {self.image} ({sizes}): {self.worst:.1e}"


def windows(image_CS: NDArray[np.float32], axes: Sequence[AxisFacts]) -> list[NDArray[np.float32]]:
    """Batches of legal size around the centre of an image.

    Args:
        image_CS: A normalised image, shape ``(C, *S)``; mirrored where it is too small.
        axes: The network's axes.

    Returns:
        Shapes ``(1, C, *S)`` and ``(2, C, *S')``: a file must take batches and sizes of any kind.
    """
    largest = _LARGEST_PX[len(axes)]
    batches = []
    for number in range(2):
        reads = []
        for axis, size in zip(axes, image_CS.shape[1:], strict=True):
            wanted = axis.next_legal(min(size, largest)) + number * axis.divisor
            start = (size - wanted) // 2
            reads.append(Interval(start, start + wanted))
        window = np.ascontiguousarray(read_mirrored(image_CS, tuple(reads)))[None]
        batches.append(np.concatenate([window, window[..., ::-1]]) if number else window)
    return batches


def verify(
    network: UNet,
    run: Runner,
    batches: Sequence[NDArray[np.float32]],
    *,
    image: str,
    file: str,
) -> Verification:
    """Compare a file, which computes in float32, with its network, computed in float64.

    Args:
        network: The network, its batch normalisation not folded.
        run: Runs the file.
        batches: What both are given.
        image: What they were cut from, in words.
        file: What the file is called in a message.

    Raises:
        OutputError: ``export-differs`` where a difference is above :data:`LIMIT` or not a number.
    """
    # In float32 the network's own rounding would be counted against the file.
    exact = copy.deepcopy(network).eval().double()
    largest: dict[str, float] = {}
    for batch in batches:
        found = run(batch)
        with torch.inference_mode():
            expected = flat_outputs(exact(torch.from_numpy(batch).double()))
        for name, values in found.items():
            wanted = expected[name].numpy()
            same_shape = values.shape == wanted.shape
            difference = float(np.abs(values - wanted).max()) if same_shape else float("inf")
            # A maximum with NaN in it is NaN, whichever side it stands on.
            largest[name] = float(np.maximum(largest.get(name, 0.0), difference))
    verification = Verification(image, tuple(batch.shape for batch in batches), largest)
    if not verification.worst <= LIMIT or not all(d <= LIMIT for d in largest.values()):
        raise OutputError(
            "export-differs",
            file,
            expected=f"the network's own output to {LIMIT:g}",
            found=f"{verification.worst:.1e} on {image}",
            remedy="choose --format onnx, which computes closest to the network",
        )
    return verification
