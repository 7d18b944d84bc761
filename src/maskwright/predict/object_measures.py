"""What is measured of each object: size, place, probability, intensity and shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.image import Image
from maskwright.io.space import Geometry
from maskwright.io.table import Cell
from maskwright.predict.extents import Extents
from maskwright.predict.objects import CERTAIN

SHAPES = ("perimeter_px", "eccentricity", "solidity")
"""What is measured of the shape of objects of two axes."""

_AXES = "zyx"
# Pixels finer than this are of a microscope, whose areas are told in square micrometres.
_MICROSCOPE_MM = 0.01
_ROWS = 4096


@dataclass(frozen=True)
class ObjectMeasures:
    """The objects of one image.

    Args:
        classes: Class id of each, shape ``(N,)``.
        columns: Measures by name, each of N values; the object of the number n comes at n − 1.
        world_xyz: Centroids in mm, shape ``(N, 2)`` or ``(N, 3)``; empty where the place of the
            image in space is not known.
    """

    classes: NDArray[np.uint8]
    columns: Mapping[str, NDArray[Any]]
    world_xyz: NDArray[np.float64]

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Cell]]:
        """One row an object: its number, the name of its class, and its measures.

        Args:
            names: Names of the classes.
        """
        for first in range(0, len(self.classes), _ROWS):
            part = slice(first, first + _ROWS)
            values = {name: column[part].tolist() for name, column in self.columns.items()}
            for index, k in enumerate(self.classes[part].tolist()):
                yield {
                    "id": first + index + 1,
                    "class": names[k],
                    **{name: column[index] for name, column in values.items()},
                }


def measure_objects(
    objects_YX: NDArray[np.uint32],
    classes_YX: NDArray[np.uint8],
    image: Image,
    certainty_YX: NDArray[np.uint16] | None = None,
) -> ObjectMeasures:
    """Measure every object of an image.

    Args:
        objects_YX: Numbers of the objects from 1 without a gap, 0 where there is none, shape
            ``(Y, X)`` or ``(Z, Y, X)``.
        classes_YX: Class ids of the same shape; each object is of one class.
        image: The image with what is known of its pixel size and place.
        certainty_YX: Probability of each pixel's class, if it is known, see
            :func:`maskwright.predict.objects.certainty`.

    Returns:
        Sizes in pixels, and in mm², µm² (where pixels are finer than 10 µm) or mm³ where the
        pixel size is known; centroids in pixels (the first pixel's centre is 0) and in the space
        of the patient; bounding boxes, from the first pixel to the one after the last; the
        diameter of the circle or sphere of the same size; the mean and largest probability of the
        object's own class; the mean intensity of each channel; of images also the perimeter, the
        eccentricity of the ellipse with the same second moments, and the share that the object
        fills of its convex hull.

    Example:
        >>> objects = np.array([[1, 1, 0], [0, 0, 2]], np.uint32)
        >>> image = Image(np.array([[[4, 6, 0], [0, 0, 9]]], np.uint8))
        >>> found = measure_objects(objects, objects.astype(np.uint8), image).columns
        >>> found["area_px"].tolist(), found["centroid_x_px"].tolist()
        ([2, 1], [0.5, 2.0])
        >>> found["mean_intensity"].tolist()
        [5.0, 9.0]
    """
    count = int(objects_YX.max(initial=0))
    start = (0,) * objects_YX.ndim
    extents = Extents.of(objects_YX, count, start, objects_YX.shape)
    sums = ObjectSums(count, objects_YX.ndim, image.channels)
    sums.add(start, objects_YX, classes_YX, image.array, certainty_YX)
    shapes = shapes_of(objects_YX) if objects_YX.ndim == 2 else {}
    return sums.measures(extents, image.spacing_mm, image.geometry, shapes)


class ObjectSums:
    """What is summed of each object of an image that comes block by block.

    Args:
        count: Objects there are.
        axes: Axes of space.
        channels: Channels of the image.

    Example:
        >>> sums = ObjectSums(1, 1, 1)
        >>> for x, value in ((0, 4), (1, 6)):
        ...     one = np.ones(1, np.uint8)
        ...     sums.add((x,), one, one, np.array([[value]]))
        >>> extents = Extents.of(np.ones(2, int), 1, (0,), (2,))
        >>> sums.measures(extents, None, None, {}).columns["mean_intensity"].tolist()
        [5.0]
    """

    def __init__(self, count: int, axes: int, channels: int) -> None:
        self._classes = np.zeros(count, np.uint8)
        self._places = np.zeros((axes, count), np.float64)
        self._intensities = np.zeros((channels, count), np.float64)
        self._certainties = np.zeros(count, np.float64)
        self._largest = np.zeros(count, np.uint16)
        self._is_certain = False

    def add(
        self,
        start: Sequence[int],
        objects_S: NDArray[Any],
        classes_S: NDArray[np.uint8],
        image_CS: NDArray[Any],
        certainty_S: NDArray[np.uint16] | None = None,
    ) -> None:
        """Add a block.

        Args:
            start: Where it starts in the image.
            objects_S: Numbers of the objects.
            classes_S: Class ids of the same shape.
            image_CS: The image in all channels.
            certainty_S: Probability of each pixel's class, if it is known.
        """
        places = np.flatnonzero(objects_S)
        if not places.size:
            return
        index = objects_S.ravel()[places].astype(np.int64) - 1
        low = int(index.min())
        # Numbers within a block are near each other.
        index -= low
        count = int(index.max()) + 1
        near = slice(low, low + count)
        self._classes[near][index] = classes_S.ravel()[places]
        for total, first, along in zip(
            self._places, start, np.unravel_index(places, objects_S.shape), strict=True
        ):
            total[near] += np.bincount(index, along + first, count)
        for total, plane_S in zip(self._intensities, image_CS, strict=True):
            total[near] += np.bincount(index, plane_S.ravel()[places], count)
        if certainty_S is not None:
            own = certainty_S.ravel()[places]
            self._certainties[near] += np.bincount(index, own, count)
            np.maximum.at(self._largest[near], index, own)
            self._is_certain = True

    def measures(
        self,
        extents: Extents,
        spacing_mm: tuple[float, ...] | None,
        geometry: Geometry | None,
        shapes: Mapping[str, NDArray[np.float64]],
    ) -> ObjectMeasures:
        """The measures of all objects, once every block was added.

        Args:
            extents: Their sizes and boxes.
            spacing_mm: Pixel size along each axis in mm, where it is known.
            geometry: Place of the image in space, where it is known.
            shapes: What was measured of their shapes, by name.
        """
        sizes = extents.sizes
        axes = _AXES[-len(self._places) :]
        centroids = (self._places / sizes).T
        columns = _sizes(sizes, spacing_mm, len(axes))
        columns |= {f"centroid_{axis}_px": centroids[:, a] for a, axis in enumerate(axes)}
        world_xyz = _world(centroids, geometry)
        columns |= {
            f"centroid_{axis}_mm": world_xyz[:, a]
            for a, axis in enumerate("xyz"[: len(world_xyz.T)])
        }
        columns |= {f"box_{axis}_from_px": low for axis, low in zip(axes, extents.low, strict=True)}
        columns |= {
            f"box_{axis}_to_px": high for axis, high in zip(axes, extents.high, strict=True)
        }
        if self._is_certain:
            columns["mean_probability"] = self._certainties / sizes / CERTAIN
            columns["max_probability"] = self._largest / CERTAIN
        for c, total in enumerate(self._intensities):
            name = "mean_intensity" if len(self._intensities) == 1 else f"mean_intensity_{c}"
            columns[name] = total / sizes
        return ObjectMeasures(self._classes, {**columns, **shapes}, world_xyz)


def _sizes(
    sizes: NDArray[np.int64], spacing_mm: tuple[float, ...] | None, axes: int
) -> dict[str, NDArray[Any]]:
    volume = axes == 3
    what = "volume" if volume else "area"
    columns: dict[str, NDArray[Any]] = {f"{what}_px": sizes}
    lengths = {"px": 1.0}
    if spacing_mm is not None:
        micro = not volume and min(spacing_mm) < _MICROSCOPE_MM
        unit, factor = ("um", 1e3) if micro else ("mm", 1.0)
        size = math.prod(factor * length for length in spacing_mm)
        columns[f"{what}_{unit}{3 if volume else 2}"] = sizes * size
        lengths[unit] = size
    for unit, size in lengths.items():
        columns[f"equivalent_diameter_{unit}"] = (
            np.cbrt(6 * sizes * size / math.pi) if volume else np.sqrt(4 * sizes * size / math.pi)
        )
    return columns


def _world(centroids: NDArray[np.float64], place: Geometry | None) -> NDArray[np.float64]:
    """Centroids in the space of the patient, x y z: origin + direction · (spacing · index)."""
    if place is None or len(place.spacing_xyz) != centroids.shape[1]:
        return np.empty((len(centroids), 0))
    steps = centroids[:, ::-1] * np.array(place.spacing_xyz)
    world: NDArray[np.float64] = np.array(place.origin_xyz) + steps @ np.array(place.direction).T
    return world


def shapes_of(objects_YX: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Perimeter, eccentricity and solidity of objects that are numbered from 1.

    Example:
        >>> {name: values.tolist() for name, values in shapes_of(np.ones((2, 2), int)).items()}
        {'perimeter_px': [4.0], 'eccentricity': [0.0], 'solidity': [1.0]}
    """
    from skimage.measure import regionprops

    found = regionprops(objects_YX.astype(np.int32))  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # The hull of a few pixels in a row has no area; the object fills it.
        warnings.simplefilter("ignore")
        hulls = [max(float(region.area_convex), float(region.area)) for region in found]
    measured = (
        [float(region.perimeter) for region in found],
        [float(region.eccentricity) for region in found],
        [float(r.area) / hull for r, hull in zip(found, hulls, strict=True)],
    )
    return {
        name: np.array(values, np.float64) for name, values in zip(SHAPES, measured, strict=True)
    }
