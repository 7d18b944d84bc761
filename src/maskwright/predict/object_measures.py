"""What is measured of each object: size, place, probability, intensity and shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.image import Image
from maskwright.io.table import Cell

_AXES = "zyx"
# Pixels finer than this are of a microscope, whose areas are told in square micrometres.
_MICROSCOPE_MM = 0.01


@dataclass(frozen=True)
class ObjectMeasures:
    """The objects of one image.

    Args:
        classes: Class id of each, shape ``(N,)``.
        columns: Measures by name, each of N values; the object of the number n comes at n − 1.
        world_xyz: Centroids in mm, shape ``(N, 2)`` or ``(N, 3)``; empty where the place of the
            image in space is not known.
    """

    classes: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    world_xyz: NDArray[np.float64]

    def rows(self, names: Sequence[str]) -> list[dict[str, Cell]]:
        """One row an object: its number, the name of its class, and its measures.

        Args:
            names: Names of the classes.
        """
        values = {name: column.tolist() for name, column in self.columns.items()}
        return [
            {
                "id": index + 1,
                "class": names[k],
                **{name: column[index] for name, column in values.items()},
            }
            for index, k in enumerate(self.classes.tolist())
        ]


def measure_objects(
    objects_YX: NDArray[np.uint32],
    classes_YX: NDArray[np.uint8],
    image: Image,
    probabilities_KYX: NDArray[np.float32] | None = None,
) -> ObjectMeasures:
    """Measure every object of an image.

    Args:
        objects_YX: Numbers of the objects from 1 without a gap, 0 where there is none, shape
            ``(Y, X)`` or ``(Z, Y, X)``.
        classes_YX: Class ids of the same shape; each object is of one class.
        image: The image with what is known of its pixel size and place.
        probabilities_KYX: Probabilities of all classes, if they are known.

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
    places = np.flatnonzero(objects_YX)
    index = objects_YX.ravel()[places].astype(np.int64) - 1
    sizes = np.bincount(index, minlength=count)
    classes = np.zeros(count, np.int64)
    classes[index] = classes_YX.ravel()[places]

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.bincount(index, values, count) / sizes
        return found

    axes = _AXES[-objects_YX.ndim :]
    centroids = np.stack(
        [mean(along) for along in np.unravel_index(places, objects_YX.shape)], axis=1
    )
    columns = _sizes(sizes, image)
    columns |= {f"centroid_{axis}_px": centroids[:, a] for a, axis in enumerate(axes)}
    world_xyz = _world(centroids, image)
    columns |= {
        f"centroid_{axis}_mm": world_xyz[:, a] for a, axis in enumerate("xyz"[: len(world_xyz.T)])
    }
    columns |= _boxes(objects_YX, axes)
    if probabilities_KYX is not None:
        own = probabilities_KYX.reshape(len(probabilities_KYX), -1)[classes[index], places]
        largest = np.zeros(count, np.float32)
        np.maximum.at(largest, index, own)
        columns |= {"mean_probability": mean(own), "max_probability": largest}
    for c, plane in enumerate(image.array):
        name = "mean_intensity" if image.channels == 1 else f"mean_intensity_{c}"
        columns[name] = mean(plane.ravel()[places])
    if objects_YX.ndim == 2:
        columns |= _shapes(objects_YX)
    return ObjectMeasures(classes, columns, world_xyz)


def _sizes(sizes: NDArray[np.int64], image: Image) -> dict[str, NDArray[Any]]:
    volume = image.array.ndim == 4
    what = "volume" if volume else "area"
    columns: dict[str, NDArray[Any]] = {f"{what}_px": sizes}
    lengths = {"px": 1.0}
    if image.spacing_mm is not None:
        micro = not volume and min(image.spacing_mm) < _MICROSCOPE_MM
        unit, factor = ("um", 1e3) if micro else ("mm", 1.0)
        size = math.prod(factor * length for length in image.spacing_mm)
        columns[f"{what}_{unit}{3 if volume else 2}"] = sizes * size
        lengths[unit] = size
    for unit, size in lengths.items():
        columns[f"equivalent_diameter_{unit}"] = (
            np.cbrt(6 * sizes * size / math.pi) if volume else np.sqrt(4 * sizes * size / math.pi)
        )
    return columns


def _world(centroids: NDArray[np.float64], image: Image) -> NDArray[np.float64]:
    """Centroids in the space of the patient, x y z: origin + direction · (spacing · index)."""
    place = image.geometry
    if place is None or len(place.spacing_xyz) != centroids.shape[1]:
        return np.empty((len(centroids), 0))
    steps = centroids[:, ::-1] * np.array(place.spacing_xyz)
    world: NDArray[np.float64] = np.array(place.origin_xyz) + steps @ np.array(place.direction).T
    return world


def _boxes(objects_YX: NDArray[np.uint32], axes: str) -> dict[str, NDArray[Any]]:
    from scipy import ndimage

    found = ndimage.find_objects(objects_YX.astype(np.int32))
    return {
        f"box_{axis}_{side}_px": np.array([getattr(box[a], edge) for box in found], np.int64)
        for side, edge in (("from", "start"), ("to", "stop"))
        for a, axis in enumerate(axes)
    }


def _shapes(objects_YX: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    from skimage.measure import regionprops

    found = regionprops(objects_YX.astype(np.int32))  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # The hull of a few pixels in a row has no area; the object fills it.
        warnings.simplefilter("ignore")
        hulls = [max(float(region.area_convex), float(region.area)) for region in found]
    columns = {
        "perimeter_px": [float(region.perimeter) for region in found],
        "eccentricity": [float(region.eccentricity) for region in found],
        "solidity": [float(r.area) / hull for r, hull in zip(found, hulls, strict=True)],
    }
    return {name: np.array(values, np.float64) for name, values in columns.items()}
