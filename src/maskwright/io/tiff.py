"""TIFF, read with tifffile: pages of 1 to 64 bits, grey, colour or indexed, and stacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ImageReadError
from maskwright.io import tiff_tags
from maskwright.io.image import (
    Header,
    Image,
    apply_orientation,
    apply_orientation_to_pair,
    check_finite,
)
from maskwright.io.stored import decoding
from maskwright.io.stored_image import read_stored, stored_header
from maskwright.io.tiff_check import (
    check_page,
    check_parts,
    check_size,
    count_pages,
    tifffile_library,
)
from maskwright.io.tiff_series import invert, open_tiff

if TYPE_CHECKING:
    import tifffile


def read_tiff(path: Path, expand: bool) -> Image:
    """Read a TIFF file of one page, or a stack, see :func:`maskwright.io.tiff_series.open_tiff`.

    The pixel size is taken from ImageJ or OME metadata, or from a resolution given in
    centimetres; one given in inches is most often a printing default and is not used.

    Args:
        path: The file, whose first bytes are those of a TIFF.
        expand: Whether a palette becomes RGB (images) or stays an index (masks).

    Returns:
        Pixels of shape ``(C, Y, X)`` or ``(C, Z, Y, X)``, alpha left out, turned as the
        orientation tag asks.

    Raises:
        ImageReadError: When the file cannot be decoded, has axes that cannot be told apart, or
            NaN pixels.

    Source: TIFF 6.0 (Adobe, 1992); BigTIFF.

    Example:
        >>> import tempfile
        >>> from maskwright.io.tiff_write import write_tiff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.ones((1, 2, 3), np.uint8), spacing_mm=(0.5, 0.25)))
        ...     read_tiff(path, False).spacing_mm
        (0.5, 0.25)
    """
    if is_stack(path):
        return read_stored(open_tiff(path, labels=not expand), path, expand)
    with _opened(path) as (file, page):
        check_size(page, path)
        orientation = tiff_tags.orientation(page)
        array_CYX = _channels_first(page, _decode(page, path))
        palette = tiff_tags.palette(page)
        spacing = tiff_tags.spacing_mm(file, page)
    if expand and page.photometric == 0:
        array_CYX = invert(array_CYX)
    if palette is not None and expand:
        array_CYX, palette = np.moveaxis(palette[array_CYX[0]], -1, 0), None
    if not array_CYX.dtype.isnative:
        array_CYX = array_CYX.astype(array_CYX.dtype.newbyteorder("="))
    check_finite(array_CYX, path)
    if spacing is not None:
        spacing = apply_orientation_to_pair(spacing, orientation)
    return Image(
        apply_orientation(array_CYX, orientation),
        spacing_mm=spacing,
        palette=palette,
        exif_turned=orientation != 1,
    )


def read_tiff_header(path: Path) -> Header:
    """Read what a TIFF file says of itself.

    Args:
        path: The file.

    Returns:
        The header, of the image as :func:`read_tiff` gives it with ``expand``.

    Raises:
        ImageReadError: When the file cannot be read, or has axes that cannot be told apart.

    Example:
        >>> import tempfile
        >>> from maskwright.io.tiff_write import write_tiff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, Image(np.ones((1, 2, 3), np.uint8)))
        ...     read_tiff_header(path).size
        (2, 3)
    """
    if is_stack(path):
        return stored_header(open_tiff(path), "TIFF")
    with _opened(path) as (_, page):
        size = apply_orientation_to_pair(
            (page.imagelength, page.imagewidth), tiff_tags.orientation(page)
        )
        if page.photometric == 3:
            return Header(size, 3, "uint8", "TIFF")
        channels = page.samplesperpixel - tiff_tags.alpha_samples(page)
        return Header(size, channels, np.dtype(page.dtype).name, "TIFF")


def is_stack(path: Path) -> bool:
    """Whether a file has several planes, be they pages or the planes of an ImageJ stack."""
    with decoding(path):
        if count_pages(path) > 1:
            return True
        with tifffile_library().TiffFile(path) as file:
            return int((file.imagej_metadata or {}).get("images", 1)) > 1


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPage]]:
    """Open a file of one page, and check what it declares."""
    with decoding(path), tifffile_library().TiffFile(path) as file:
        page = file.pages[0]
        check_page(page, path)
        check_parts([page], path)
        yield file, page


def _decode(page: tifffile.TiffPage, path: Path) -> NDArray[Any]:
    import imagecodecs

    try:
        return np.asarray(page.asarray())
    except (ValueError, NotImplementedError, imagecodecs.DelayedImportError) as error:
        if "COMPRESSION" not in str(error) and not isinstance(error, ImportError):
            raise
        name = getattr(page.compression, "name", str(page.compression))
        raise ImageReadError(
            "image-missing-codec",
            str(path),
            expected="a compression known here",
            found=name,
            remedy="save it with deflate (zip) or no compression, or "
            "install the codec with `pip install imagecodecs`",
        ) from error


def _channels_first(page: tifffile.TiffPage, array: NDArray[Any]) -> NDArray[Any]:
    """Pixels as ``(C, Y, X)`` without alpha, whatever the order in the file."""
    if page.axes == "YX":
        return array[None]
    if page.axes == "YXS":
        array = np.moveaxis(array, -1, 0)
    elif page.axes != "SYX":
        raise ValueError(f"a page with the axes {page.axes}")
    return array[: array.shape[0] - tiff_tags.alpha_samples(page)]
