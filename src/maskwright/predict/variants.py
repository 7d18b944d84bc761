"""Several turned copies of one image predicted together, a tile of all of them in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.predict.predictor import (
    Engine,
    Found,
    Normaliser,
    Part,
    Rule,
    join_tiles,
    z_score,
)
from maskwright.tiling import Tile, read_mirrored


def predict_variants(
    images_CYX: Sequence[NDArray[Any]],
    engine: Engine,
    rule: Rule,
    channels: int,
    *,
    normalise: Normaliser = z_score,
    on_tile: Callable[[], None] | None = None,
) -> Iterator[Part]:
    """Predict copies of an image that hold the same pixels at other places.

    What a network says of a tile does not depend on what else is in its batch, so that the result
    is that of the copies one by one, to rounding. Intensities are measured once.

    Args:
        images_CYX: V copies of one size; of a volume with the Z axis before Y.
        engine: The network; its levels are left out.
        rule: How each of them may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.
        on_tile: Called for each tile of each copy.

    Yields:
        Finished parts; probabilities of shape ``(V·K, *S)``, those of the first copy first, and
        those of whole images alike.

    Example:
        >>> from maskwright.geometry import Axis
        >>> from maskwright.tiling import TileRule
        >>> dark = lambda batch: {"probabilities": np.concatenate([batch >= 0, batch < 0], axis=1)}
        >>> axis = Axis(kernels=(3, 3), strides=(2,))
        >>> rule = TileRule((axis, axis), tile_px=64, mirror_px=0)
        >>> image = np.array([[[0, 9, 9, 9]]], np.uint8)
        >>> (part,) = predict_variants([image, image[..., ::-1]], dark, rule, channels=1)
        >>> part.probabilities_KYX[:, 0].astype(int).tolist()
        [[0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    """
    size = images_CYX[0].shape[1:]
    normalised = normalise(images_CYX[0], channels)
    tiles = rule.cover(size)

    def predicted() -> Iterator[tuple[Tile, Found]]:
        for tile in tiles:
            found = engine(
                np.stack([normalised(read_mirrored(image, tile.read)) for image in images_CYX])
            )
            kept = (slice(None), slice(None), *tile.crop_slices)
            joined: Found = {"probabilities": _in_a_row(found["probabilities"][kept])}
            if "image_probabilities" in found:
                joined["image_probabilities"] = _in_a_row(found["image_probabilities"])
            if on_tile is not None:
                for _ in images_CYX:
                    on_tile()
            yield tile, joined

    return join_tiles(predicted(), tiles, size)


def _in_a_row(values_VKS: NDArray[np.float32]) -> NDArray[np.float32]:
    """All copies as channels of one."""
    return values_VKS.reshape(1, -1, *values_VKS.shape[2:])
