"""Training images on the network's grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskwright.data.intensity import measure
from maskwright.data.labelmap import IGNORED
from maskwright.data.sampler import Source
from maskwright.data.target_spacing import spacing_missing
from maskwright.intensity_config import ChannelIntensity
from maskwright.resampling import Grid, resample_classes, resample_image, resample_nearest


def at_spacing(
    source: Source, target_mm: tuple[float, ...], ways: tuple[ChannelIntensity, ...] = ()
) -> Source:
    """An annotated image at another pixel size, measured anew; itself where it has that size.

    The image is interpolated linearly, and every pixel gets the class with the largest share of
    its neighbours, class by class. What must not be mixed is taken from the nearest pixel: the
    numbers of objects, whether a pixel counts, shares between classes, and with these the classes.

    Args:
        source: The image.
        target_mm: Pixel size along each axis.
        ways: What is done to the intensities of each channel.

    Raises:
        DataError: ``spacing-missing``, and ``spacing-axes`` for another number of axes.
    """
    if source.spacing_mm is None:
        raise spacing_missing(source.name)
    grid = Grid.between(source.classes_YX.shape, source.spacing_mm, target_mm)
    if grid.same:
        return source
    lines = grid.to_network
    image_CYX = resample_image(source.image_CYX, lines)
    classes_YX = resample_nearest(source.classes_YX, lines)
    if source.objects_YX is None and source.blend_YX is None:
        counted_YX = np.where(source.classes_YX == IGNORED, np.uint8(0), source.classes_YX)
        whole = tuple(slice(0, length) for length in grid.network_px)
        smooth_YX = resample_classes(lambda block: counted_YX[block], lines, whole)
        classes_YX = np.where(classes_YX == IGNORED, classes_YX, smooth_YX)
    return replace(
        source,
        image_CYX=image_CYX,
        classes_YX=classes_YX,
        intensity=measure(image_CYX, len(image_CYX), ways),
        spacing_mm=target_mm,
        objects_YX=None
        if source.objects_YX is None
        else resample_nearest(source.objects_YX, lines),
        blend_YX=None if source.blend_YX is None else resample_nearest(source.blend_YX, lines),
    )
