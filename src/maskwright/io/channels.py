"""One image from several files, one for each channel, as scanners of several kinds leave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io.image import Image, is_grey
from maskwright.io.registry import read_image
from maskwright.io.source import ImageSource, open_source
from maskwright.io.space import difference


def read_channels(paths: Sequence[Path]) -> Image:
    """The image whose channels are in these files, in their order.

    Args:
        paths: One file, read as it is, or several of one channel each.

    Returns:
        The channels together, in a data type that holds all of them, at the place of the first.

    Raises:
        ImageReadError: For a file that cannot be read, and where the files differ in size
            (``channel-size``) or place (``channel-geometry``), or one of several has channels of
            its own (``channel-several``).

    Example:
        >>> import tempfile
        >>> from maskwright.io.registry import write_mask
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [Path(folder) / name for name in ("a_0000.png", "a_0001.png")]
        ...     for path in paths:
        ...         write_mask(path, Image(np.eye(4, dtype=np.uint8)[None]))
        ...     read_channels(paths).array.shape
        (2, 4, 4)
    """
    images = [read_image(path) for path in paths]
    first = images[0]
    if len(images) == 1:
        return first
    for path, image in zip(paths, images, strict=True):
        if not is_grey(image.array):
            raise _differs("several", path, "one channel in the file", f"{image.channels}")
        if image.size != first.size:
            sizes = (" × ".join(map(str, size)) for size in (first.size, image.size))
            raise _differs("size", path, *sizes)
        apart = difference(first.geometry, image.geometry)
        if apart:
            raise _differs("geometry", path, f"the place of {paths[0].name}", apart)
    array_CYX = np.concatenate([image.array[:1] for image in images])
    return Image(array_CYX, spacing_mm=first.spacing_mm, geometry=first.geometry)


def open_channels(paths: Sequence[Path]) -> ImageSource:
    """The same image, of which any block can be read; no pixel is read yet.

    Args:
        paths: One file, opened as it is, or several of one channel each.

    Returns:
        The channels together, as :func:`read_channels` gives them.

    Raises:
        ImageReadError: As :func:`read_channels`; for a file of several channels only when its
            pixels are read and differ.
    """
    sources = [open_source(path) for path in paths]
    first = sources[0]
    if len(sources) == 1:
        return first
    for source in sources:
        if source.shape[1:] != first.shape[1:]:
            sizes = (" × ".join(map(str, each.shape[1:])) for each in (first, source))
            raise _differs("size", source.path, *sizes)
        apart = difference(first.geometry, source.geometry)
        if apart:
            raise _differs("geometry", source.path, f"the place of {paths[0].name}", apart)

    def read(block: tuple[slice, ...]) -> NDArray[Any]:
        parts = [source.read(block) for source in sources]
        for source, part in zip(sources, parts, strict=True):
            if not is_grey(part):
                raise _differs("several", source.path, "one channel in the file", f"{len(part)}")
        return np.concatenate([part[:1] for part in parts])

    chunked = [source.chunks for source in sources if source.chunks]
    return replace(
        first,
        shape=(len(sources), *first.shape[1:]),
        dtype=np.result_type(*(source.dtype for source in sources)),
        read=read,
        lazy=all(source.lazy for source in sources),
        chunks=chunked[0] if chunked else None,
    )


def _differs(what: str, path: Path, expected: str, found: str) -> ImageReadError:
    return ImageReadError(
        f"channel-{what}",
        str(path),
        expected=expected,
        found=found,
        remedy="bring the channels of an image onto one grid, one channel in each file",
    )
