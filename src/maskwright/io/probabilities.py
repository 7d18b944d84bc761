"""Probabilities on disk: float32, one page of a TIFF for each class, or one channel of a NIfTI.

::

    probabilities/NAME.tif       of an image
    probabilities/NAME.nii.gz    of a volume, at its place in space
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io.durable import replace_file
from maskwright.io.space import Geometry
from maskwright.io.volume_image import read_volume, write_array

_SUFFIXES = (".tif", ".nii.gz")


def probabilities_path(folder: Path, name: str, probabilities_KYX: NDArray[Any]) -> Path:
    """Where the probabilities of an image or volume are written.

    Example:
        >>> probabilities_path(Path("p"), "a", np.zeros((2, 3, 4, 5))).name
        'a.nii.gz'
    """
    return folder / f"{name}{_SUFFIXES[probabilities_KYX.ndim == 4]}"


def find_probabilities(folder: Path, name: str) -> Path | None:
    """The file of probabilities of an image or volume, or ``None`` where there is none.

    Example:
        >>> find_probabilities(Path("nowhere"), "a")
    """
    paths = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def write_probabilities(
    path: Path, probabilities_KYX: NDArray[np.float32], geometry: Geometry | None = None
) -> None:
    """Write probabilities, whole or not at all.

    Args:
        path: See :func:`probabilities_path`.
        probabilities_KYX: One plane or volume a class, shape ``(K, Y, X)`` or ``(K, Z, Y, X)``,
            float32.
        geometry: Place of a volume in space; ``None`` is unknown.

    Raises:
        OutputError: When writing fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.nii.gz"
        ...     write_probabilities(path, np.full((2, 3, 4, 5), 0.5, np.float32))
        ...     read_probabilities(path).shape
        (2, 3, 4, 5)
    """
    import tifffile

    with replace_file(path) as temporary:
        if probabilities_KYX.ndim == 4:
            write_array("NIfTI", temporary, probabilities_KYX, geometry)
            return
        tifffile.imwrite(
            temporary,
            probabilities_KYX,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata={"axes": "CYX"},
        )


def read_probabilities(path: Path) -> NDArray[Any]:
    """Read what :func:`write_probabilities` wrote, shape ``(K, Y, X)`` or ``(K, Z, Y, X)``.

    Raises:
        ImageReadError: When the file is not such a one.
    """
    import tifffile

    axes = 4 if path.name.lower().endswith(_SUFFIXES[1]) else 3
    try:
        array = read_volume(path, True).array if axes == 4 else np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, ValueError, OSError, ImageReadError) as error:
        raise ImageReadError(
            "probabilities-damaged",
            str(path),
            expected="probabilities as maskwright writes them",
            found=error.found if isinstance(error, ImageReadError) else str(error),
            remedy="predict again with --probabilities --overwrite",
        ) from error
    if array.ndim != axes or not np.issubdtype(array.dtype, np.floating):
        raise ImageReadError(
            "probabilities-form",
            str(path),
            expected="floats for each class",
            found=f"shape {array.shape} of {array.dtype}",
            remedy="predict again with --probabilities --overwrite",
        )
    return array
