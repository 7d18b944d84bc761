"""To which pixel size images are brought for the network, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from maskwright.config import DataConfig
from maskwright.data.image_facts import ImageFacts
from maskwright.data.problem import listed
from maskwright.data.spacing import DIFFERING, axis_names, by
from maskwright.errors import ConfigError, DataError
from maskwright.resampling import Grid

_MOST_GROWTH = 2.0
_AXES = ("depth", "height", "width")


def choose_spacing(
    data: DataConfig,
    images: Mapping[str, ImageFacts],
    *,
    scanned: bool,
    held: Mapping[str, ImageFacts] = MappingProxyType({}),
    pixel_mm: Sequence[float] | None = None,
) -> tuple[tuple[float, ...] | None, str]:
    """The pixel size that a network works at.

    ``auto`` is the median along each axis where, along any axis, the largest spacing is more than
    1.2 times the smallest. Where that would more than double the pixels of all images together, it
    is made coarser along all axes alike until it does not. Voxels that are long along one axis are
    no reason: the network's own kernels and strides are for them.

    Args:
        data: What was asked for.
        images: What is known of the training images.
        scanned: Whether their pixel size is one of space, as that of volumes and of their slices,
            and not of a screen or printer.
        held: What is known of the images kept for scores, which have to state theirs too.
        pixel_mm: Pixel size of images that do not state theirs.

    Returns:
        The pixel size, or ``None`` where images are used as they are; and the reason, empty where
        there is nothing to tell.

    Raises:
        ConfigError: ``spacing-axes`` where a size for another number of axes was given.
        DataError: ``spacing-missing`` where one was asked for and an image does not say its own.

    Example:
        >>> facts = {name: ImageFacts((9, 9, 9), (mm, 1.0, 1.0), False, (False,))
        ...          for name, mm in (("a", 2.0), ("b", 3.0), ("c", 3.0))}
        >>> choose_spacing(DataConfig(), facts, scanned=True)[0]
        (3.0, 1.0, 1.0)
    """
    if data.spacing == "none" or not images:
        return None, ""
    size = next(iter(images.values())).size
    given = None if pixel_mm is None else tuple(pixel_mm)
    if given is not None:
        _check_axes(given, size, "predict.pixel_mm")
    known = {name: facts.spacing_mm or given for name, facts in images.items()}
    everyone = {**images, **held}
    unknown = [name for name, facts in everyone.items() if not (facts.spacing_mm or given)]
    if isinstance(data.spacing, tuple):
        _check_axes(data.spacing, size, "data.spacing")
        if unknown:
            raise spacing_missing(listed(unknown))
        unit = axis_names(len(data.spacing))
        return data.spacing, f"Images are brought to {by(data.spacing)} mm ({unit}), as set."
    if not scanned:
        return None, ""
    spacings = np.array([spacing for spacing in known.values() if spacing is not None])
    ratios = spacings.max(0) / spacings.min(0) if len(spacings) else np.ones(1)
    if ratios.max() <= DIFFERING:
        return None, ""
    axis = _AXES[-len(ratios) :][int(ratios.argmax())]
    differ = f"the voxel size differs by a factor of {ratios.max():.2g} along the {axis}"
    if unknown:
        return None, (
            f"Images are used at their own voxel size: {differ}, but {len(unknown)} of "
            f"{len(everyone)} images do not state theirs."
        )
    sizes = np.array([facts.size for facts in images.values()], np.float64)
    median = np.median(spacings, axis=0)
    growth = float((sizes * spacings / median).prod(1).sum() / sizes.prod(1).sum())
    coarser = max(1.0, (growth / _MOST_GROWTH) ** (1 / len(median)))
    target = tuple(float(f"{mm * coarser:.4g}") for mm in median)
    which = "the median"
    if coarser > 1:
        which = (
            f"{coarser:.2g} times the median, which would have made {growth:.2g} times as many "
            "voxels"
        )
    return target, (
        f"Images are brought to {by(target)} mm ({axis_names(len(target))}), {which}: {differ}; "
        "masks come back on the grid of each image. --set data.spacing=none leaves them as they "
        "are."
    )


def network_size(
    facts: ImageFacts, target_mm: Sequence[float] | None, pixel_mm: Sequence[float] | None = None
) -> tuple[int, ...]:
    """The size of an image on the network's grid.

    Example:
        >>> network_size(ImageFacts((10, 8), (2.0, 1.0), False, (False,)), (1.0, 1.0))
        (20, 8)
    """
    spacing_mm = facts.spacing_mm or pixel_mm
    if target_mm is None or spacing_mm is None:
        return facts.size
    return Grid.between(facts.size, spacing_mm, target_mm).network_px


def spacing_missing(subject: str) -> DataError:
    """What is told of an image that has to be brought to another pixel size and states none."""
    return DataError(
        "spacing-missing",
        subject,
        expected="an image that states its pixel size, since the network works at a fixed one",
        found="none",
        remedy="save it with its pixel size, as NIfTI and NRRD do, or give the size of all such "
        "images in mm, as in --set predict.pixel_mm=2.5,0.7,0.7",
    )


def _check_axes(spacing: Sequence[float], size: Sequence[int], setting: str) -> None:
    if len(spacing) != len(size):
        raise ConfigError(
            "spacing-axes",
            f"--set {setting}",
            expected=f"{len(size)} numbers in mm ({axis_names(len(size))})",
            found=by(spacing),
            remedy=f"write for example --set {setting}={','.join(['1.0'] * len(size))}",
        )
