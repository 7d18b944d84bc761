"""Overlap-tile prediction of arrays of any size, with any callable as the network.

Tiles read more than they keep (:mod:`maskwright.tiling`), so no seam can appear; what is needed
beyond the image's border is mirrored. Only one tile is ever held as floats; where tiles overlap and
are averaged, the running sums of a slab as high as a tile are held too.

Source: Ronneberger et al. 2015, arXiv 1505.04597, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from maskwright.data import intensity
from maskwright.data.object_target import INTERIOR
from maskwright.intensity_config import ChannelIntensity
from maskwright.predict.slab import Slab
from maskwright.tiling import Interval, Tile, read_mirrored


class _Always(TypedDict):
    probabilities: NDArray[np.float32]


class Found(_Always, total=False):
    """What a network says of a batch of tiles.

    Always ``probabilities`` of the classes, shape ``(B, K, *S')``. Where the network has them,
    ``image_probabilities`` of the classes of whole images, shape ``(B, L)``, and, where they are
    asked for, ``levels``: what each level of the decoder says, the finest first, each of the shape
    of ``probabilities``.
    """

    image_probabilities: NDArray[np.float32]
    levels: list[NDArray[np.float32]]


Engine = Callable[[NDArray[np.float32]], Found]
"""From a batch of tiles ``(B, C, *S)`` to what the network says, S being Y X or Z Y X."""

Window = tuple[Interval, ...]

Normaliser = Callable[[NDArray[Any], int], Callable[[NDArray[Any]], NDArray[np.float32]]]
"""From a whole image and the network's channels to what normalises a block of that image."""

ABSENT_BELOW = 0.5
"""A class whose presence in the image is less probable than this is taken to be absent."""


class Rule(Protocol):
    """How an image is tiled, as :class:`maskwright.tiling.TileRule` says it."""

    def cover(self, shape: tuple[int, ...]) -> list[Tile]:
        """Tiles for an image of this shape."""


def z_score(
    image_CYX: NDArray[Any], channels: int, ways: Sequence[ChannelIntensity] = ()
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Mean 0 and standard deviation 1 in each channel, measured over the whole image.

    Args:
        image_CYX: The image.
        channels: Channels of the network.
        ways: What training found for each channel instead.
    """
    measured = intensity.measure(image_CYX, channels, ways)
    return lambda block_CYX: intensity.apply(block_CYX, measured, channels)


def _nothing() -> NDArray[np.float32]:
    return np.empty(0, np.float32)


@dataclass(frozen=True)
class Part:
    """A part of an image that no further tile changes; valid until the next part is taken.

    Args:
        where: The part; parts touch and never overlap.
        probabilities_KYX: Of every class; of float16 where :func:`join_tiles` was told so.
        levels_KYX: The same of each level of the decoder, where the engine gives them.
        image_L: What its tiles add to the probabilities of the classes of whole images, each
            weighted by the share of the image that it decides; empty where there are none.
    """

    where: tuple[slice, ...]
    probabilities_KYX: NDArray[Any]
    levels_KYX: tuple[NDArray[Any], ...] = ()
    image_L: NDArray[np.float32] = field(default_factory=_nothing)


@dataclass(frozen=True)
class ImagePrediction:
    """What a network says of an image.

    Args:
        classes_YX: The most probable class of every pixel.
        probabilities_KYX: Of every class at every pixel; empty where they were not held.
        image_probabilities_L: Of every class of whole images; empty where the network predicts
            none.
        levels_YX: The most probable classes of each level of the decoder, the finest first, where
            the engine gives them.
        emptied: Whether :func:`gated` took pixels away.
        interior_YX: Where the insides of objects are, after :func:`joined`.
    """

    classes_YX: NDArray[np.uint8]
    probabilities_KYX: NDArray[np.float32] = field(default_factory=_nothing)
    image_probabilities_L: NDArray[np.float32] = field(default_factory=_nothing)
    levels_YX: tuple[NDArray[np.uint8], ...] = ()
    emptied: bool = False
    interior_YX: NDArray[np.bool_] | None = None


BringBack = tuple[tuple[int, ...], Callable[[Iterable[Part]], Iterator[Part]]]
"""Size of an image, and what brings parts of its prediction to this grid."""


def predict_tiles(
    image_CYX: NDArray[Any],
    engine: Engine,
    rule: Rule,
    channels: int,
    normalise: Normaliser = z_score,
) -> Iterator[tuple[Tile, Found]]:
    """What the network says tile by tile, each cropped to what is kept.

    Args:
        image_CYX: Image in its own data type; a volume has its Z axis before Y.
        engine: The network.
        rule: How it may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.

    Yields:
        The tile and what was found, as a batch of one, of the size of the tile's ``write``.
    """
    normalised = normalise(image_CYX, channels)
    tiles = rule.cover(image_CYX.shape[1:])
    return run_tiles(tiles, lambda read: normalised(read_mirrored(image_CYX, read)), engine)


def run_tiles(
    tiles: Iterable[Tile], read: Callable[[Window], NDArray[np.float32]], engine: Engine
) -> Iterator[tuple[Tile, Found]]:
    """What the network says of tiles, each cropped to what is kept.

    Args:
        tiles: What is to be predicted.
        read: Gives the normalised pixels of a window that may leave the image, ``(C, *S)``.
        engine: The network.

    Yields:
        As :func:`predict_tiles`.
    """
    for tile in tiles:
        found = engine(read(tile.read)[None]).copy()
        kept = (slice(None), slice(None), *tile.crop_slices)
        found["probabilities"] = found["probabilities"][kept]
        if "levels" in found:
            found["levels"] = [level_BKS[kept] for level_BKS in found["levels"]]
        yield tile, found


def join_tiles(
    predicted: Iterable[tuple[Tile, Found]],
    tiles: Sequence[Tile],
    shape: tuple[int, ...],
    *,
    sums: type[np.floating[Any]] = np.float32,
    end: int | None = None,
) -> Iterator[Part]:
    """Parts of an image that are finished: each tile, or bands of averaged tiles.

    Args:
        predicted: What the network says of ``tiles``, in their order.
        tiles: The tiles, in row-major order; of tiles that overlap whole rows, from any row on.
        shape: Size of the image.
        sums: Data type of the running sums of overlapping tiles.
        end: Row of the image before which parts end, by default its last.

    Yields:
        Parts in order. Where ``tiles`` do not begin with the first row, those parts that an
        earlier row shares are not whole.
    """
    pixels = float(np.prod(shape))
    slab: Slab | None = None
    image_L = _nothing()
    end = shape[0] if end is None else end
    stops = [*(tile.write[0].start for tile in tiles[1:]), end][: len(tiles)]
    for (tile, found), stop in zip(predicted, stops, strict=True):
        maps = [found["probabilities"][0], *(level[0] for level in found.get("levels", []))]
        if "image_probabilities" in found:
            share_L = np.float32(tile.area / pixels) * found["image_probabilities"][0]
            image_L = image_L + share_L if image_L.size else share_L
        if tile.weights is None:
            yield Part(tile.write_slices, maps[0], tuple(maps[1:]), image_L)
            image_L = _nothing()
            continue
        if slab is None:
            slab = Slab(tiles, shape, [len(values_KS) for values_KS in maps], sums)
        slab.add(tile, maps)
        if stop > tile.write[0].start:
            where, sums_KS = slab.take(stop)
            yield Part(where, sums_KS[0], tuple(sums_KS[1:]), image_L)
            image_L = _nothing()


def predict_image(
    image_CYX: NDArray[Any],
    engine: Engine,
    rule: Rule,
    channels: int,
    *,
    normalise: Normaliser = z_score,
    hold: bool = True,
    bring_back: BringBack | None = None,
    on_tile: Callable[[], None] | None = None,
) -> ImagePrediction:
    """Predict an image tile by tile and gather all that the network says of it.

    The label of the image is read from the tiles: their probabilities are averaged, each weighted
    by the area that it decides. Memory beyond the result is that of one tile, or of a slab.

    Args:
        image_CYX: Image in its own data type; a volume has its Z axis before Y.
        engine: The network.
        rule: How it may be tiled.
        channels: Channels the network takes.
        normalise: What is done to intensities.
        hold: Whether the probabilities of all pixels are kept.
        bring_back: Size of the image that is wanted, and what brings parts to its grid, where it
            is not the one that is predicted.
        on_tile: Called after each tile.

    Returns:
        Class map, label of the image and levels; probabilities where they are held.

    Example:
        >>> def dark(batch):
        ...     share = (batch < 0).mean((1, 2, 3))[:, None]
        ...     return {"probabilities": np.concatenate([(batch >= 0), (batch < 0)], axis=1),
        ...             "image_probabilities": np.concatenate([1 - share, share], axis=1)}
        >>> from maskwright.geometry import Axis
        >>> from maskwright.tiling import TileRule
        >>> axis = Axis(kernels=(3, 3), strides=(2,))
        >>> rule = TileRule((axis, axis), tile_px=64, mirror_px=0)
        >>> image = np.array([[[0, 9], [9, 9]]], np.uint8)
        >>> found = predict_image(image, dark, rule, channels=1)
        >>> found.classes_YX.tolist(), found.image_probabilities_L.tolist()
        ([[1, 0], [0, 0]], [0.75, 0.25])
    """
    size = image_CYX.shape[1:]
    tiles = rule.cover(size)
    predicted = predict_tiles(image_CYX, engine, rule, channels, normalise)
    parts = join_tiles(told(predicted, on_tile), tiles, size)
    if bring_back is not None:
        size, moved = bring_back
        parts = moved(parts)
    classes_YX = np.empty(size, np.uint8)
    probabilities_KYX, image_L = _nothing(), _nothing()
    levels_YX: list[NDArray[np.uint8]] = []
    for part in parts:
        where, part_KYX = part.where, part.probabilities_KYX
        classes_YX[where] = most_probable(part_KYX)
        if hold:
            if not probabilities_KYX.size:
                probabilities_KYX = np.empty((len(part_KYX), *size), np.float32)
            probabilities_KYX[(slice(None), *where)] = part_KYX
        if part.image_L.size:
            image_L = image_L + part.image_L if image_L.size else part.image_L
        levels_YX = levels_YX or [np.empty(size, np.uint8) for _ in part.levels_KYX]
        for level_YX, level_KYX in zip(levels_YX, part.levels_KYX, strict=True):
            level_YX[where] = most_probable(level_KYX)
    return ImagePrediction(classes_YX, probabilities_KYX, image_L, tuple(levels_YX))


def told(
    predicted: Iterable[tuple[Tile, Found]], on_tile: Callable[[], None] | None
) -> Iterator[tuple[Tile, Found]]:
    """The same, with a call for each tile that was predicted."""
    for each in predicted:
        if on_tile is not None:
            on_tile()
        yield each


def most_probable(probabilities_KYX: NDArray[Any]) -> NDArray[np.uint8]:
    """Class ids from probabilities; the lower class where two are equal."""
    classes_YX: NDArray[np.uint8]
    if probabilities_KYX.shape[0] == 2:
        classes_YX = (probabilities_KYX[1] > probabilities_KYX[0]).astype(np.uint8)
    else:
        classes_YX = probabilities_KYX.argmax(0).astype(np.uint8)
    return classes_YX


def distribution(probabilities_KYX: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of classes that may overlap as those of one class: p / Σ p.

    The most probable class stays the same. Where all are 0, all classes are alike.

    Example:
        >>> distribution(np.array([[0.25, 0.0], [0.75, 0.0]], np.float32) / 2).tolist()
        [[0.25, 0.5], [0.75, 0.5]]
    """
    total_YX = probabilities_KYX.sum(0)
    shares_KYX = np.full_like(probabilities_KYX, 1 / len(probabilities_KYX))
    np.divide(probabilities_KYX, total_YX, out=shares_KYX, where=total_YX > 0)
    return shares_KYX


def gated(found: ImagePrediction, index: int) -> ImagePrediction:
    """The prediction without a class that the image's label says is not there.

    Where the second class of the whole image, "with" the class, has a probability below 0.5, the
    pixels of the class become background. Probabilities stay as they are.

    Args:
        found: A prediction with the probabilities of the two classes of whole images.
        index: The class, above 0.

    Example:
        >>> found = ImagePrediction(np.array([[0, 1]], np.uint8),
        ...                         image_probabilities_L=np.array([0.9, 0.1], np.float32))
        >>> gated(found, 1).classes_YX.tolist(), gated(found, 1).emptied
        ([[0, 0]], True)
    """
    image_L = found.image_probabilities_L
    if image_L[1] >= ABSENT_BELOW:
        return found
    member_YX = found.classes_YX == index
    classes_YX = np.where(member_YX, np.uint8(0), found.classes_YX)
    return replace(found, classes_YX=classes_YX, emptied=bool(member_YX.any()))


def inside(p_KYX: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where interior is more probable than background and border together.

    Example:
        >>> inside(np.array([[0.1, 0.3], [0.6, 0.4], [0.3, 0.3]], np.float32)).tolist()
        [True, False]
    """
    where: NDArray[np.bool_] = p_KYX[INTERIOR] > 0.5
    return where


def joined(found: ImagePrediction) -> ImagePrediction:
    """The prediction of a network of background, interior and border as one of two classes.

    An object is what is more probably interior or border than background; its inside is what is
    more probably interior than both others together.

    Args:
        found: A prediction with the probabilities of the three classes.

    Example:
        >>> p = np.array([[[0.4, 0.2]], [[0.3, 0.6]], [[0.3, 0.2]]], np.float32)
        >>> both = joined(ImagePrediction(most_probable(p), p))
        >>> both.classes_YX.tolist(), both.interior_YX.tolist()
        ([[1, 1]], [[False, True]])
    """
    p_KYX = found.probabilities_KYX
    both_KYX = np.stack([p_KYX[0], p_KYX[1:].sum(0)])
    classes_YX = most_probable(both_KYX)
    return replace(
        found,
        classes_YX=classes_YX,
        probabilities_KYX=both_KYX,
        levels_YX=tuple(np.minimum(level_YX, 1) for level_YX in found.levels_YX),
        interior_YX=inside(p_KYX),
    )
