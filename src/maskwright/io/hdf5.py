"""Images and masks in HDF5 files, named as ``file.h5:/dataset``.

A file of one dataset needs no name. Axes are named by labels of dimensions or ilastik's
``axistags``; the size of a voxel is in the attribute ``element_size_um``, as Fiji and PlantSeg
write it.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.io.axes import Layout, named_layout, unnamed_layout
from maskwright.io.extras import load_extra
from maskwright.io.image import Image
from maskwright.io.mask_values import single_channel
from maskwright.io.stored import Block, StoredArray, check_spacing, decoding, refusal
from maskwright.io.tiff_check import MOST_CHUNK_BYTES

SUFFIXES = (".h5", ".hdf5")
"""Suffixes of HDF5 files."""

_NAMED = re.compile(rf"^(.+(?:{'|'.join(SUFFIXES)})):/*(.*)$", re.I)
_SIZE_UM = "element_size_um"
_MASK = "mask"
_NAMING = "name the axes: dataset.dims[0].label = 'z', and so on for each axis"


def split_dataset(path: Path) -> tuple[Path, str]:
    """The file and the dataset of a path such as ``file.h5:/dataset``.

    Returns:
        The path itself and an empty name where it names no dataset.

    Example:
        >>> split_dataset(Path("cells.h5:/raw/0"))[1], split_dataset(Path("cells.h5"))[1]
        ('raw/0', '')
    """
    match = _NAMED.match(str(path))
    return (Path(match.group(1)), match.group(2)) if match else (path, "")


def open_hdf5(path: Path, labels: bool = False) -> StoredArray:
    """Open a dataset of an HDF5 file, of which any block can be read.

    Args:
        path: ``file.h5``, or ``file.h5:/dataset`` where it has several.
        labels: Whether this is a mask, which has one channel.

    Raises:
        ImageReadError: For a damaged file, one of several datasets without a name, a dataset that
            is not there or points to other files, and axes that cannot be told apart.
        MaskwrightError: ``extra-missing`` without h5py.

    Example:
        >>> import h5py, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with h5py.File(Path(folder) / "a.h5", "w") as file:
        ...         file["cells/raw"] = np.ones((40, 50), np.uint8)
        ...     open_hdf5(Path(folder) / "a.h5:/cells/raw").shape
        (40, 50)
    """
    h5py: Any = load_extra("h5py", extra="hdf5")
    name, wanted = split_dataset(path)
    with decoding(path):
        file = h5py.File(name, "r")
        dataset = _dataset(h5py, file, wanted, path)
        chunk = dataset.chunks or ()
        if math.prod(chunk) * dataset.dtype.itemsize > MOST_CHUNK_BYTES:
            expected, remedy = f"chunks of at most {MOST_CHUNK_BYTES} bytes", "use smaller chunks"
            raise refusal("hdf5-chunk-size", path, expected, f"chunks of {chunk}", remedy)
        letters = _letters(dataset)
        if letters:
            layout = named_layout(letters, dataset.shape, path, labels=labels)
        else:
            layout = unnamed_layout(dataset.shape, path, labels=labels, naming=_NAMING)
        spacing_mm = _spacing_mm(dataset, layout, path)

    def read(block: Block) -> NDArray[Any]:
        return layout.take(dataset, dataset.ndim, block)

    return StoredArray(
        layout.shape_of(dataset.shape),
        np.dtype(dataset.dtype),
        read,
        lazy=True,
        spacing_mm=spacing_mm,
        chunks=tuple(int(chunk[axis]) for axis in layout.space) if chunk else None,
        has_channels=layout.channel is not None,
        axes_implied=layout.implied,
    )


def write_hdf5(path: Path, image: Image) -> None:
    """Write a mask as the dataset ``/mask``, compressed, with the size of its voxels.

    Args:
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` or ``(1, Z, Y, X)``, bool or unsigned integers; bool
            is written as 0 and 1.

    Raises:
        OutputError: ``mask-dtype`` for other values.
        MaskwrightError: ``extra-missing`` without h5py.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.h5"
        ...     write_hdf5(path, Image(np.ones((1, 5, 6), bool), spacing_mm=(0.5, 0.25)))
        ...     open_hdf5(path).spacing_mm
        (0.5, 0.25)
    """
    values = single_channel(image, path, "HDF5")
    h5py: Any = load_extra("h5py", extra="hdf5")
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(_MASK, data=values, compression="gzip", shuffle=True)
        for dimension, letter in zip(dataset.dims, "zyx"[-values.ndim :], strict=True):
            dimension.label = letter
        if image.spacing_mm is not None:
            size_um = [1e3 * mm for mm in image.spacing_mm]
            dataset.attrs[_SIZE_UM] = [1.0] * (3 - len(size_um)) + size_um


def _dataset(h5py: Any, file: Any, wanted: str, path: Path) -> Any:
    names: list[str] = []

    def visit(name: str, node: Any) -> None:  # links are not followed
        if isinstance(node, h5py.Dataset) and node.ndim >= 2:
            names.append(name)

    file.visititems(visit)
    if not wanted and len(names) == 1:
        (wanted,) = names
    if wanted not in names:
        listed = ", ".join(f"/{name}" for name in names[:8]) or "no dataset of two or more axes"
        found = f"/{wanted}, and the file has {listed}" if wanted else listed
        remedy = f"name one of them, such as {split_dataset(path)[0].name}:/{(names or ['raw'])[0]}"
        raise refusal("hdf5-dataset", path, "one dataset", found, remedy)
    dataset = file[wanted]
    if dataset.is_virtual or dataset.external:
        remedy = "save the dataset again inside the file"
        raise refusal("hdf5-external", path, "pixels inside the file", "other files", remedy)
    return dataset


def _letters(dataset: Any) -> str:
    """One letter an axis, or nothing where the file does not name them."""
    labels = [str(dimension.label).lower() for dimension in dataset.dims]
    if "axistags" in dataset.attrs:
        labels = [axis["key"] for axis in json.loads(dataset.attrs["axistags"])["axes"]]
    return "".join(labels) if set(labels) <= set("tczyx") else ""


def _spacing_mm(dataset: Any, layout: Layout, path: Path) -> tuple[float, ...] | None:
    if _SIZE_UM not in dataset.attrs:
        return None
    size_um = np.asarray(dataset.attrs[_SIZE_UM], np.float64).ravel().tolist()
    if len(size_um) < len(layout.space):
        raise ValueError(f"{_SIZE_UM} of {len(size_um)} numbers")
    spacing_mm = tuple(um * 1e-3 for um in size_um[-len(layout.space) :])
    check_spacing(spacing_mm, path)
    return spacing_mm
