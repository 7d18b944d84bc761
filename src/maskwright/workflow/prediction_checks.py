"""What prediction refuses before it computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from maskwright.data.intensity import select_channels
from maskwright.errors import ConfigError, DataError, OutputError
from maskwright.io.image import Image


def check_averaging(images: Sequence[Path], sizes: Sequence[tuple[int, ...]], most_px: int) -> None:
    """Refuse an image whose probabilities are too many to hold and average.

    Raises:
        ConfigError: ``tta-size``.
    """
    for path, size in zip(images, sizes, strict=True):
        if math.prod(size) > most_px:
            raise ConfigError(
                "tta-size",
                str(path),
                expected=f"at most {most_px:,} pixels to average predictions of",
                found=f"{math.prod(size):,}",
                remedy="predict this image with --tta none",
            )


def check_channels(path: Path, image: Image, channels: int) -> None:
    """Refuse an image of other channels by its name, before a tile is computed.

    Raises:
        DataError: ``image-channels``.
    """
    try:
        select_channels(image.array, channels)
    except DataError as error:
        raise DataError(
            error.code,
            str(path),
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


def check_targets(
    images: Sequence[Path], files: Sequence[Path], target: Path, *, overwrite: bool
) -> None:
    """Refuse to write a mask twice, over its image, or over an earlier one.

    Raises:
        OutputError: ``output-same-name``, ``output-over-input`` or ``output-exists``.
    """
    for image, file in zip(images, files, strict=True):
        if files.count(file) > 1:
            raise OutputError(
                "output-same-name",
                str(image),
                expected="a name no other input has",
                found=f"several inputs that would write {file}",
                remedy="predict them into different folders",
            )
        if file.resolve() == image.resolve():
            raise OutputError(
                "output-over-input",
                f"--out {target}",
                expected="a folder without the images",
                found="the folder of the images",
                remedy="choose another folder",
            )
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        raise OutputError(
            "output-exists",
            f"--out {target}",
            expected="no masks of these names",
            found=f"{len(existing)}, such as {existing[0].name}",
            remedy="choose another folder, or replace them with --overwrite",
        )
