"""Annotated images in memory, as training and scoring need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.data.dataset import Case
from maskwright.data.intensity import measure, select_channels
from maskwright.data.labelmap import LabelMap, grey_plane
from maskwright.data.object_target import border_classes
from maskwright.data.sampler import Source
from maskwright.errors import DataError
from maskwright.io.image import Image
from maskwright.io.registry import read_mask


def true_mask(case: Case) -> Image:
    """The mask of a case, values as they are stored.

    Raises:
        DataError: When the case has no mask.
    """
    if case.mask is None:
        raise DataError(
            "mask-missing",
            str(case.image),
            expected="a mask",
            found="none",
            remedy="run `maskwright check`",
        )
    return read_mask(case.mask)


def true_classes(case: Case, label_map: LabelMap) -> NDArray[np.uint8]:
    """The class ids of a case's mask, shape ``(Y, X)`` or ``(Z, Y, X)``.

    Raises:
        DataError: When the case has no mask, or a value without a meaning.
    """
    return label_map.encode(true_mask(case), subject=str(case.mask))


def load_sources(
    cases: Sequence[Case],
    names: Sequence[str],
    label_map: LabelMap,
    channels: int,
    *,
    label_of: Mapping[str, int] = MappingProxyType({}),
    numbered: bool = False,
    target: str = "classes",
) -> list[Source]:
    """Decode the named cases into memory, images in their own data type.

    Args:
        cases: All cases.
        names: Which to load, in this order.
        label_map: Meaning of mask values.
        channels: Channels the network takes.
        label_of: Case name → class of the whole image, where there are such classes.
        numbered: Whether the objects are needed too.
        target: ``border`` for the classes of :func:`maskwright.data.object_target.border_classes`.
    """
    by_name = {case.name: case for case in cases}
    sources = []
    for case in (by_name[name] for name in names):
        image = case.read_image()
        array_CYX = select_channels(image.array, channels)
        mask = true_mask(case)
        classes_YX = label_map.encode(mask, subject=str(case.mask))
        objects_YX = _objects(mask, classes_YX, label_map) if numbered else None
        if target == "border":
            classes_YX = border_classes(grey_plane(mask.array, str(case.mask)))
        sources.append(
            Source(
                case.name,
                array_CYX,
                classes_YX,
                measure(array_CYX, channels),
                image.spacing_mm,
                objects_YX,
                label_of.get(case.name),
            )
        )
    return sources


def _objects(mask: Image, classes_YX: NDArray[np.uint8], label_map: LabelMap) -> NDArray[np.int32]:
    """The objects as they are numbered, else the connected pieces of each class."""
    if label_map.kind == "objects":
        _, numbers = np.unique(mask.array[0], return_inverse=True)
        numbers = numbers.reshape(classes_YX.shape) + 1
        return np.where(classes_YX > 0, numbers, 0).astype(np.int32)
    import cc3d

    pieces: NDArray[np.int32] = cc3d.connected_components(classes_YX).astype(np.int32)
    return pieces


def hash_sources(sources: Sequence[Source]) -> str:
    """SHA-256 of names, pixels and classes: changes when the data do."""
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda s: s.name):
        digest.update(source.name.encode())
        digest.update(np.ascontiguousarray(source.image_CYX).data)
        digest.update(source.classes_YX.data)
    return digest.hexdigest()
