"""The table of file formats: how each is recognised, read, opened in parts and written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from maskwright.errors import ImageReadError
from maskwright.io import hdf5, raster, tiff, volume_image
from maskwright.io.dicom import is_dicom, open_dicom
from maskwright.io.dicom_seg import open_segmentation
from maskwright.io.image import Header, Image
from maskwright.io.numpy_file import open_npy, open_npz, write_npy, write_npz
from maskwright.io.ome_zarr import write_zarr
from maskwright.io.signature import first_bytes, foreign_format
from maskwright.io.stored import StoredArray, no_level
from maskwright.io.stored_image import check_numbers, read_stored, stored_header
from maskwright.io.tiff_series import open_tiff
from maskwright.io.tiff_write import write_ome_tiff, write_tiff
from maskwright.io.volume import open_volume
from maskwright.io.zarr_store import ZARR_FILES, open_zarr

Open = Callable[[Path, int, bool], StoredArray]
"""Opens a file, at a level of its pyramid, as a mask (``True``) or an image."""


@dataclass(frozen=True)
class Format:
    """A file format: how it is recognised, read and written.

    Where the first bytes of a file say little, as those of a volume do, the reader judges it.

    Args:
        name: What it is called in messages.
        suffixes: Lower-case, with the dot, the usual one first.
        read: Gives a whole image (``True``) or a mask (``False``).
        read_header: What the file says of itself.
        open: Opens an image or a mask of which any block can be read.
        magic: Where in the file which bytes tell the format.
        content: What a kind of file that many programs use is called, where this is one of them.
        write: Writes a mask, or ``None`` for formats that lose values.
        holds_planes: Whether a mask of a plane can be written.
        holds_volumes: Whether a mask of a volume can be written.
        is_folder: Whether an image is a folder.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, bool], Image]
    read_header: Callable[[Path], Header]
    open: Open
    magic: tuple[tuple[int, bytes], ...] = ()
    content: str = ""
    write: Callable[[Path, Image], None] | None = None
    holds_planes: bool = True
    holds_volumes: bool = True
    is_folder: bool = False

    def begins(self, start: bytes) -> bool:
        """Whether the first bytes of a file are those of the format."""
        return any(start[at:].startswith(magic) for at, magic in self.magic)


def _raster(name: str, suffixes: tuple[str, ...], *magic: bytes, lossy: bool = False) -> Format:
    def open_raster(path: Path, labels: bool) -> StoredArray:
        pixels = raster.read_raster(name, path, not labels).array
        read = pixels.__getitem__
        return StoredArray(pixels.shape, pixels.dtype, read, lazy=False, has_channels=True)

    return Format(
        name,
        suffixes,
        partial(raster.read_raster, name),
        partial(raster.read_raster_header, name),
        _one_level(open_raster),
        tuple((0, start) for start in magic),
        write=None if lossy else partial(raster.write_raster, name),
        holds_volumes=False,
    )


def _volume(name: str, suffixes: tuple[str, ...], *magic: tuple[int, bytes]) -> Format:
    def open_one(path: Path, labels: bool) -> StoredArray:
        return open_volume(path) if labels else volume_image.open_volume_image(path)

    return Format(
        name,
        suffixes,
        volume_image.read_volume,
        partial(volume_image.read_volume_header, name),
        _one_level(open_one),
        magic,
        write=partial(volume_image.write_volume, name),
        holds_planes=False,
    )


def _one_level(open_: Callable[[Path, bool], StoredArray]) -> Open:
    def opened(path: Path, level: int, labels: bool) -> StoredArray:
        if level != 0:
            raise no_level(path, level, 1)
        return open_(path, labels)

    return opened


def _in_parts(
    name: str,
    suffixes: tuple[str, ...],
    open_: Open,
    write: Callable[[Path, Image], None] | None,
    *,
    content: str = "",
    is_folder: bool = False,
) -> Format:
    def opened(path: Path, level: int, labels: bool) -> StoredArray:
        stored = open_(path, level, labels)
        if not labels:
            check_numbers(stored, path)
        return stored

    def read(path: Path, expand: bool) -> Image:
        return read_stored(opened(path, 0, not expand), path, expand)

    def read_header(path: Path) -> Header:
        return stored_header(opened(path, 0, False), name)

    return Format(
        name,
        suffixes,
        read,
        read_header,
        opened,
        content=content,
        write=write,
        is_folder=is_folder,
    )


_TIFF = Format(
    "TIFF",
    (".tif", ".tiff"),
    tiff.read_tiff,
    tiff.read_tiff_header,
    open_tiff,
    ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
    write=write_tiff,
)

_SEGMENTATION = replace(
    _in_parts("DICOM-SEG", (".dcm",), _one_level(open_segmentation), None, content="DICOM"),
    holds_planes=False,
)
_DICOM = _in_parts("DICOM", (), _one_level(open_dicom), None, is_folder=True)

FORMATS = (
    _raster("PNG", (".png",), b"\x89PNG\r\n\x1a\n"),
    _raster("JPEG", (".jpg", ".jpeg"), b"\xff\xd8\xff", lossy=True),
    _raster("BMP", (".bmp",), b"BM"),
    _raster("GIF", (".gif",), b"GIF87a", b"GIF89a"),
    _TIFF,
    replace(_TIFF, suffixes=(".ome.tif", ".ome.tiff"), write=write_ome_tiff),
    replace(_TIFF, suffixes=(".svs",), write=None),
    _volume("NIfTI", (".nii", ".nii.gz"), (344, b"n+1")),
    _volume("MetaImage", (".mha", ".mhd")),
    _volume("NRRD", (".nrrd", ".nhdr"), (0, b"NRRD")),
    _in_parts("NumPy", (".npy",), _one_level(open_npy), write_npy, content="NumPy"),
    _in_parts("NumPy archive", (".npz",), _one_level(open_npz), write_npz, content="ZIP"),
    _in_parts("HDF5", hdf5.SUFFIXES, _one_level(hdf5.open_hdf5), hdf5.write_hdf5, content="HDF5"),
    _in_parts("Zarr", (".zarr", ".ome.zarr"), open_zarr, write_zarr, is_folder=True),
    _SEGMENTATION,
    _DICOM,
)
"""All formats."""

READABLE = (
    "PNG, JPEG, BMP, GIF, TIFF, NIfTI, MetaImage, NRRD, NumPy, HDF5, Zarr, DICOM-SEG or a DICOM "
    "folder"
)
"""The formats that can be read, for messages."""

BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}
"""Format by lower-case suffix."""

_LONGEST_FIRST = sorted(BY_SUFFIX, key=len, reverse=True)


def suffix_of(path: Path) -> str:
    """The suffix of a file, lower-case, with both parts where the format has two."""
    path, _ = hdf5.split_dataset(Path(path))
    name = path.name.lower()
    known = next((s for s in _LONGEST_FIRST if name.endswith(s)), None)
    if known is None and os.path.isdir(path):
        return ""  # a dot in the name of a folder has no meaning
    return path.suffix.lower() if known is None else known


def stem_of(path: Path) -> str:
    """The name of a file without its suffix, which may have two parts."""
    name = hdf5.split_dataset(Path(path))[0].name
    return name[: len(name) - len(suffix_of(path))]


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a Zarr store, or an array or group inside one."""
    return any(os.path.isfile(folder / name) for name in ZARR_FILES)


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM slices, and no images of other formats but masks of them."""
    others = BY_SUFFIX.keys() - _SEGMENTATION.suffixes
    return is_dicom(folder) and not any(suffix_of(path) in others for path in folder.iterdir())


def format_of(path: Path) -> Format:
    """The format of a file, once its suffix is known and its first bytes agree with it.

    Raises:
        ImageReadError: For a file that is missing, empty, of another type than its suffix says,
            or of a type that is not read.
    """
    if is_zarr(path):
        return BY_SUFFIX[".zarr"]
    if is_series(path):
        return _DICOM
    start = first_bytes(hdf5.split_dataset(path)[0])
    found = next((format_ for format_ in FORMATS if format_.begins(start)), None)
    suffix = suffix_of(path)
    declared = BY_SUFFIX.get(suffix)
    foreign = foreign_format(start)
    if declared is None:
        if found is not None:
            raise _wrong_extension(path, found)
        raise ImageReadError(
            "image-unsupported",
            str(path),
            expected=READABLE,
            found=foreign or f"a file ending in {path.suffix or 'nothing'}",
            remedy="convert it to one of them, or move it out of the folder",
        )
    if found is not None and found.name == declared.name and suffix != ".nii.gz":
        return declared
    if found is not None:
        raise _wrong_extension(path, found)
    if foreign is not None and foreign == declared.content:
        return declared
    if foreign is not None and (suffix, foreign) != (".nii.gz", "gzip"):
        zipped = (suffix, foreign) == (".nii", "gzip")
        raise ImageReadError(
            "image-wrong-extension",
            str(path),
            expected=f"a {declared.name} file",
            found=f"the content of a {foreign} file",
            remedy=f"rename it to {path.name}.gz" if zipped else "convert it to PNG or TIFF",
        )
    if not declared.holds_planes:
        return declared
    if any(magic.startswith(start) for _, magic in declared.magic):
        raise ImageReadError(
            "image-truncated",
            str(path),
            expected=f"a whole {declared.name} file",
            found=f"only {len(start)} bytes",
            remedy="copy the file again from its source",
        )
    raise ImageReadError(
        "image-wrong-extension",
        str(path),
        expected=f"a {declared.name} file",
        found="the content of no known image type",
        remedy="export the image again as PNG or TIFF",
    )


def _wrong_extension(path: Path, found: Format) -> ImageReadError:
    return ImageReadError(
        "image-wrong-extension",
        str(path),
        expected=f"a file that is what its suffix {path.suffix or '(none)'} says",
        found=f"the content of a {found.name} file",
        remedy=f"rename it to {stem_of(path)}{found.suffixes[0]}",
    )
