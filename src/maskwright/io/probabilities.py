"""Probabilities on disk: a float32 TIFF with one page a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io.durable import replace_file


def write_probabilities(path: Path, probabilities_KYX: NDArray[np.float32]) -> None:
    """Write probabilities, whole or not at all.

    Args:
        path: A ``.tif`` file.
        probabilities_KYX: One plane a class, float32.
    """
    import tifffile

    with replace_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            probabilities_KYX,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata={"axes": "CYX"},
        )


def read_probabilities(path: Path) -> NDArray[Any]:
    """Read what :func:`write_probabilities` wrote, shape ``(K, Y, X)``.

    Raises:
        ImageReadError: When the file is not such a one.
    """
    import tifffile

    try:
        array = np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, ValueError, OSError) as error:
        raise ImageReadError(
            "probabilities-damaged",
            str(path),
            expected="probabilities as maskwright writes them",
            found=str(error),
            remedy="predict again with --probabilities --overwrite",
        ) from error
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.floating):
        raise ImageReadError(
            "probabilities-form",
            str(path),
            expected="a float plane for each class",
            found=f"shape {array.shape} of {array.dtype}",
            remedy="predict again with --probabilities --overwrite",
        )
    return array
