"""What prediction refuses before it computes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maskwright.errors import ConfigError, DataError, OutputError
from maskwright.io.lock import hold_lock
from maskwright.io.sink import unfinished_folder
from maskwright.workflow.prediction_journal import JOURNAL_NAME

_LOCK_NAME = ".predictions.lock"


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


def check_turns(ways: Sequence[str], axes: Sequence[object]) -> None:
    """Refuse quarter turns of images for a network to which Y and X are not alike.

    Args:
        ways: What is averaged over.
        axes: What the network does along each axis of space.

    Raises:
        ConfigError: ``tta-rotate``.
    """
    if "rotate" in ways and axes[-1] != axes[-2]:
        raise ConfigError(
            "tta-rotate",
            "--tta rotate",
            expected="a network that treats rows and columns alike",
            found="other poolings or convolutions along Y than along X",
            remedy="use --tta flip",
        )


@contextmanager
def naming_image(path: Path) -> Iterator[None]:
    """Name the image in an error about its channels or pixel size.

    Raises:
        DataError: ``image-channels``, ``spacing-missing`` and the like.
    """
    try:
        yield
    except DataError as error:
        if error.subject != "image":
            raise
        raise DataError(
            error.code,
            str(path),
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


@contextmanager
def only_prediction(target: Path) -> Iterator[None]:
    """Keep other processes from writing masks into the same folder, where it is there yet.

    Raises:
        OutputError: ``output-in-use``, which names the other process.
    """
    if not target.is_dir():
        yield
        return
    refused = OutputError(
        "output-in-use",
        f"--out {target}",
        expected="a folder that no other prediction writes into",
        found="one that another prediction writes into right now",
        remedy="wait for it, stop it, or choose another --out",
    )
    with hold_lock(target / _LOCK_NAME, refused):
        yield


def check_targets(
    images: Sequence[Path],
    files: Sequence[Path],
    target: Path,
    *,
    overwrite: bool,
    resume: bool = False,
) -> None:
    """Refuse to write a mask twice, over its image, or over an earlier one.

    Args:
        images: The images.
        files: Their masks.
        target: The folder of the masks.
        overwrite: Whether earlier masks may be replaced.
        resume: Whether this goes on with the prediction that wrote them.

    Raises:
        OutputError: ``output-same-name``, ``output-over-input``, ``output-unfinished`` or
            ``output-exists``.
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
    if overwrite or resume:
        return
    begun = [file for file in files if unfinished_folder(file).exists()]
    existing = [file for file in files if file.exists()]
    if begun or (existing and (target / JOURNAL_NAME).exists()):
        raise OutputError(
            "output-unfinished",
            f"--out {target}",
            expected="no prediction that was interrupted",
            found=f"one of {(begun or existing)[0].name}",
            remedy="go on with it with --resume, or begin anew with --overwrite",
        )
    if existing:
        raise OutputError(
            "output-exists",
            f"--out {target}",
            expected="no masks of these names",
            found=f"{len(existing)}, such as {existing[0].name}",
            remedy="choose another folder, or replace them with --overwrite",
        )
