"""PNG, JPEG, BMP and GIF, read and written with Pillow."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from maskwright.errors import ImageReadError, OutputError
from maskwright.io.image import (
    DECODER_ERRORS,
    MAX_PIXELS,
    Header,
    Image,
    apply_orientation,
    apply_orientation_to_pair,
    out_of_memory,
)

# Each format is opened by its own class: the first bytes are already known, and Pillow's general
# `open` would warn of images far smaller than the ones we accept.
_OPENERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}

_DECODER_ERRORS = (*DECODER_ERRORS, SyntaxError, Pillow.DecompressionBombError)

_ORIENTATION = 0x0112


def read_raster(format_name: str, path: Path, expand: bool) -> Image:
    """Read a PNG, JPEG, BMP or GIF file.

    Args:
        format_name: ``"PNG"``, ``"JPEG"``, ``"BMP"`` or ``"GIF"``.
        path: The file, whose first bytes are those of the format.
        expand: Whether a palette becomes RGB (images) or stays an index (masks).

    Returns:
        Pixels of shape ``(C, Y, X)``, alpha left out, turned as EXIF asks.

    Raises:
        ImageReadError: When the file cannot be decoded.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.gif"
        ...     write_raster("GIF", path, Image(np.full((1, 2, 3), 7, np.uint8)))
        ...     read_raster("GIF", path, False).array.tolist()
        [[[7, 7, 7], [7, 7, 7]]]
    """
    with _opened(format_name, path) as file:
        orientation = _orientation(file, path)
        alpha = file.mode.endswith("A")
        palette: NDArray[np.uint8] | None = None
        if format_name == "PNG":
            _check_png_sums(path)
        if _is_deep_colour(file):
            array, bits = _deep_colour(path), 16
        else:
            bits = _grey_bits(file)
            file.load()
            if file.mode == "P" and not expand:
                palette = np.asarray(file.getpalette("RGB"), np.uint8).reshape(-1, 3)
            array = _pixels(file.convert("RGB") if file.mode == "P" and expand else file)
            if bits in (2, 4):
                # Pillow stretches 2 and 4 bits to 0..255; a class id 1 must stay 1.
                array = array // np.uint8(255 // (2**bits - 1))
    array_CYX = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    if not array_CYX.dtype.isnative:
        array_CYX = array_CYX.astype(array_CYX.dtype.newbyteorder("="))
    return Image(
        apply_orientation(array_CYX, orientation),
        palette=palette,
        exif_turned=orientation != 1,
        alpha=alpha,
    )


def read_raster_header(format_name: str, path: Path) -> Header:
    """Read what a PNG, JPEG, BMP or GIF file says of itself.

    Args:
        format_name: ``"PNG"``, ``"JPEG"``, ``"BMP"`` or ``"GIF"``.
        path: The file.

    Returns:
        The header, of the image as :func:`read_raster` gives it with ``expand``.

    Raises:
        ImageReadError: When the file cannot be decoded.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.bmp"
        ...     write_raster("BMP", path, Image(np.full((1, 2, 3), 7, np.uint8)))
        ...     read_raster_header("BMP", path).size
        (2, 3)
    """
    with _opened(format_name, path) as file:
        mode = file.mode
        size = apply_orientation_to_pair((file.height, file.width), _orientation(file, path))
        dtype = "uint8"
        if mode == "1":
            dtype = "bool"
        elif mode.startswith("I") or _is_deep_colour(file):
            dtype = "uint16" if mode != "I" else "int32"
        grey = mode in {"1", "L", "LA", "I", "F"} or mode.startswith("I;")
        if _is_deep_colour(file) and _png_type(file)[1] == 4:
            grey = True
        return Header(size, 1 if grey else 3, dtype, format_name)


def write_raster(format_name: str, path: Path, image: Image) -> None:
    """Write a mask as PNG, BMP or GIF.

    Args:
        format_name: ``"PNG"``, ``"BMP"`` or ``"GIF"``.
        path: The file to write.
        image: Values of shape ``(1, Y, X)`` or ``(3, Y, X)``.

    Raises:
        OutputError: ``mask-dtype`` for values the format cannot hold.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     write_raster("PNG", path, Image(np.full((1, 2, 2), 700, np.uint16)))
        ...     int(read_raster("PNG", path, False).array.max())
        700
    """
    array = image.array
    deep = array.dtype == np.uint16 and format_name == "PNG" and image.channels == 1
    if not (array.dtype in (np.uint8, np.bool_) or deep) or image.channels not in (1, 3):
        raise OutputError(
            "mask-dtype",
            str(path),
            expected=f"a mask that {format_name} can hold",
            found=f"{image.channels} channels of {array.dtype}",
            remedy="write .png or .tif",
        )
    if image.channels == 3:
        picture = Pillow.fromarray(np.ascontiguousarray(np.moveaxis(array, 0, -1)))
        if format_name == "GIF":
            picture = _indexed(array, path)
    else:
        picture = Pillow.fromarray(np.ascontiguousarray(array[0]))
        if image.palette is not None and array.dtype == np.uint8:
            picture.putpalette(_padded(image.palette, int(array.max(initial=0))).tobytes())
    picture.save(path, format=format_name, **({"optimize": False} if format_name == "GIF" else {}))


@contextmanager
def _opened(format_name: str, path: Path) -> Iterator[ImageFile]:
    """Open a file, check what it declares, and turn decoder errors into ours."""
    try:
        with path.open("rb") as stream, _quiet(format_name):
            file = _OPENERS[format_name](stream)
            _check_header(file, path)
            yield file
    except ImageReadError:
        raise
    except MemoryError as error:
        raise out_of_memory(path) from error
    except Pillow.DecompressionBombError as error:
        raise _bomb(path, "more") from error
    except _DECODER_ERRORS as error:
        raise _read_error(path, format_name, error) from error


@contextmanager
def _quiet(format_name: str) -> Iterator[None]:
    """Keep Pillow from warning of large GIF frames; other formats never do when opened so."""
    if format_name != "GIF":
        yield  # changing the filters of warnings is not safe with threads, so only where needed
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        yield


def _check_header(file: ImageFile, path: Path) -> None:
    if file.width * file.height > MAX_PIXELS:
        raise _bomb(path, f"{file.width} × {file.height}")
    if file.width < 1 or file.height < 1:
        raise ImageReadError(
            "image-damaged",
            str(path),
            expected="at least one pixel",
            found=f"{file.width} × {file.height}",
            remedy="export it again",
        )
    frames = getattr(file, "n_frames", 1)
    if frames > 1:
        raise ImageReadError(
            "image-frames",
            str(path),
            expected="a single picture",
            found=f"{frames} frames",
            remedy="save each frame as a file of its own",
        )


def _png_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk of a PNG file, the stream placed at its data."""
    position = 8
    kind = b""
    while kind != b"IEND":
        stream.seek(position)
        head = stream.read(8)
        if len(head) < 8:
            raise EOFError("no IEND chunk")
        (length,), kind = struct.unpack(">I", head[:4]), head[4:]
        yield kind, length
        position += 12 + length


def _check_png_sums(path: Path) -> None:
    """Compare the checksums of the chunks that make the picture, which Pillow passes over."""
    with path.open("rb") as stream:
        for kind, length in _png_chunks(stream):
            data, checksum = stream.read(length), stream.read(4)
            if len(data) < length or len(checksum) < 4:
                raise EOFError("a chunk is cut off")
            actual = zlib.crc32(data, zlib.crc32(kind))
            if kind[:1].isupper() and actual != int.from_bytes(checksum):
                raise ValueError(f"a wrong checksum in its {kind.decode('latin-1')} chunk")


def _png_exif(path: Path) -> Pillow.Exif:
    """The EXIF block of a PNG file; Pillow would decode the whole picture to look for it."""
    exif = Pillow.Exif()
    with path.open("rb") as stream:
        for kind, length in _png_chunks(stream):
            if kind == b"eXIf":
                exif.load(b"Exif\0\0" + stream.read(length))
                break
    return exif


def _bomb(path: Path, found: str) -> ImageReadError:
    return ImageReadError(
        "image-pixel-bomb",
        str(path),
        expected=f"at most {MAX_PIXELS} pixels",
        found=found,
        remedy="cut the image into parts of at most 20000 × 20000 pixels",
    )


def _read_error(path: Path, format_name: str, error: Exception) -> ImageReadError:
    reason = str(error) or type(error).__name__
    if "MAX_TEXT" in reason or "too large" in reason.lower():
        return ImageReadError(
            "image-metadata-bomb",
            str(path),
            expected="a short description inside the file",
            found=reason,
            remedy="export the image again without its metadata",
        )
    # Pillow wraps what happens when a file ends early while its header is read.
    ends_early = EOFError | struct.error | IndexError
    if "truncated" in reason.lower() or isinstance(error.__cause__ or error, ends_early):
        return ImageReadError(
            "image-truncated",
            str(path),
            expected=f"a whole {format_name} file",
            found="a part of one",
            remedy="copy the file again from its source",
        )
    return ImageReadError(
        "image-damaged",
        str(path),
        expected=f"an intact {format_name} file",
        found=reason,
        remedy="copy the file again from its source",
    )


def _orientation(file: ImageFile, path: Path) -> int:
    try:
        exif = _png_exif(path) if file.format == "PNG" else file.getexif()
        value = exif.get(_ORIENTATION, 1)
    except _DECODER_ERRORS:
        return 1  # unreadable metadata must not cost the pixels
    return int(value) if value in range(1, 9) else 1


def _png_type(file: ImageFile) -> tuple[int, int]:
    """Bit depth and colour type of a PNG file (bytes 24 and 25 of the file), else zeros."""
    if file.format != "PNG" or file.fp is None:
        return 0, 0
    stream: Any = file.fp
    position = stream.tell()
    stream.seek(24)
    depth, colour = stream.read(2)
    stream.seek(position)
    return int(depth), int(colour)


def _is_deep_colour(file: ImageFile) -> bool:
    """Whether a PNG has 16 bits and more than one channel, which Pillow would cut to 8 bits."""
    depth, colour = _png_type(file)
    return depth == 16 and colour in (2, 4, 6)


def _grey_bits(file: ImageFile) -> int:
    depth, colour = _png_type(file)
    return depth if colour == 0 else 8


def _deep_colour(path: Path) -> NDArray[Any]:
    import imagecodecs

    array: NDArray[Any] = imagecodecs.png_decode(path.read_bytes())
    samples = array.shape[-1]
    return array[..., 0] if samples == 2 else array[..., :3]


def _pixels(picture: Pillow.Image) -> NDArray[Any]:
    """Pixels ``(Y, X)`` or ``(Y, X, C)`` without an alpha channel."""
    if picture.mode in {"CMYK", "YCbCr", "LAB", "PA"}:
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    if picture.mode in {"LA", "La"}:
        return array[..., 0]
    return array[..., :3] if array.ndim == 3 else array


def _padded(palette: NDArray[np.uint8], largest: int) -> NDArray[np.uint8]:
    """A palette with a colour for every index in use."""
    missing = max(0, largest + 1 - len(palette))
    return np.pad(palette, ((0, missing), (0, 0)))[:256]


def _indexed(array_CYX: NDArray[Any], path: Path) -> Pillow.Image:
    """An RGB mask as an indexed picture with exactly its colours."""
    colours, indices = np.unique(array_CYX.reshape(3, -1).T, axis=0, return_inverse=True)
    if len(colours) > 256:
        raise OutputError(
            "mask-dtype",
            str(path),
            expected="at most 256 colours",
            found=str(len(colours)),
            remedy="write .png or .tif",
        )
    picture = Pillow.fromarray(indices.reshape(array_CYX.shape[1:]).astype(np.uint8))
    picture.putpalette(colours.astype(np.uint8).tobytes())
    return picture
