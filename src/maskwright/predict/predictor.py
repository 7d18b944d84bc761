"""Overlap-tile prediction of arrays of any size, with any callable as the network.

Tiles read more than they keep (:mod:`maskwright.tiling`), so no seam can appear; what is needed
beyond the image's border is mirrored. Only one tile is ever held as floats.

Source: Ronneberger et al. 2015, arXiv 1505.04597, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.tiling import Tile, read_mirrored

Engine = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From a batch of tiles ``(B, C, *S)`` to probabilities ``(B, K, *S')``, S being Y X or Z Y X."""

Normaliser = Callable[[NDArray[Any], int], Callable[[NDArray[Any]], NDArray[np.float32]]]
"""From a whole image and the network's channels to what normalises a block of that image."""


class Rule(Protocol):
    """How an image is tiled, as :class:`maskwright.tiling.TileRule` says it."""

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape."""


def z_score(
    image_CYX: NDArray[Any], channels: int
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Mean 0 and standard deviation 1 in each channel, measured over the whole image."""
    measured = intensity.measure(image_CYX, channels)
    return lambda block_CYX: intensity.apply(block_CYX, measured, channels)


def predict_tiles(
    image_CYX: NDArray[Any],
    engine: Engine,
    rule: Rule,
    channels: int,
    normalise: Normaliser = z_score,
) -> Iterator[tuple[Tile, NDArray[np.float32]]]:
    """Probabilities tile by tile, each cropped to what is kept.

    Args:
        image_CYX: Image in its own data type; a volume has its Z axis before Y.
        engine: The network.
        rule: How it may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.

    Yields:
        The tile and its probabilities, shape ``(K, Y, X)`` of the tile's ``write``.
    """
    normalised = normalise(image_CYX, channels)
    for tile in rule.cover(image_CYX.shape[1:]):
        pixels = read_mirrored(image_CYX, tile.read)
        probabilities_KYX = engine(normalised(pixels)[None])[0]
        yield tile, probabilities_KYX[(slice(None), *tile.crop_slices)]


def predict_classes(
    image_CYX: NDArray[Any],
    engine: Engine,
    rule: Rule,
    channels: int,
    *,
    normalise: Normaliser = z_score,
    on_tile: Callable[[], None] | None = None,
) -> NDArray[np.uint8]:
    """The most probable class of every pixel; memory beyond the result is that of one tile.

    Args:
        image_CYX: Image in its own data type; a volume has its Z axis before Y.
        engine: The network.
        rule: How it may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.
        on_tile: Called after each tile.

    Returns:
        Class ids, shape ``(Y, X)``.

    Example:
        >>> def dark(batch):
        ...     return np.concatenate([(batch >= 0), (batch < 0)], axis=1).astype(np.float32)
        >>> from maskwright.geometry import Axis
        >>> from maskwright.tiling import TileRule
        >>> axis = Axis(kernels=(3, 3), strides=(2,))
        >>> rule = TileRule((axis, axis), tile_px=64, mirror_px=0)
        >>> image = np.array([[[0, 9], [9, 0]]], np.uint8)
        >>> predict_classes(image, dark, rule, channels=1).tolist()
        [[1, 0], [0, 1]]
    """
    classes_YX = np.empty(image_CYX.shape[1:], np.uint8)
    for tile, probabilities_KYX in predict_tiles(image_CYX, engine, rule, channels, normalise):
        classes_YX[tile.write_slices] = most_probable(probabilities_KYX)
        if on_tile is not None:
            on_tile()
    return classes_YX


def predict_probabilities(
    image_CYX: NDArray[Any],
    engine: Engine,
    rule: Rule,
    channels: int,
    *,
    normalise: Normaliser = z_score,
    classes: int,
    on_tile: Callable[[], None] | None = None,
) -> NDArray[np.float32]:
    """The probability of every class at every pixel.

    Args:
        image_CYX: Image in its own data type; a volume has its Z axis before Y.
        engine: The network.
        rule: How it may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.
        classes: Number of classes.
        on_tile: Called after each tile.

    Returns:
        Probabilities, shape ``(K, Y, X)``, summing to one.
    """
    result_KYX = np.empty((classes, *image_CYX.shape[1:]), np.float32)
    for tile, probabilities_KYX in predict_tiles(image_CYX, engine, rule, channels, normalise):
        result_KYX[(slice(None), *tile.write_slices)] = probabilities_KYX
        if on_tile is not None:
            on_tile()
    return result_KYX


def most_probable(probabilities_KYX: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Class ids from probabilities; the lower class where two are equal."""
    classes_YX: NDArray[np.uint8]
    if probabilities_KYX.shape[0] == 2:
        classes_YX = (probabilities_KYX[1] > probabilities_KYX[0]).astype(np.uint8)
    else:
        classes_YX = probabilities_KYX.argmax(0).astype(np.uint8)
    return classes_YX
