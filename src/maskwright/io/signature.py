"""What the first bytes of a file say, whatever its suffix promises."""

from __future__ import annotations

from pathlib import Path

from maskwright.errors import ImageReadError

_START_BYTES = 400
# Kinds of content that are often found under a wrong suffix: where in the file, what, its name.
_FOREIGN = (
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE", "HTML"),
    (0, b"<html", "HTML"),
    (8, b"WEBP", "WebP"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"ftyp", "HEIC or AVIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"PK\x05\x06", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89HDF", "HDF5"),
    (128, b"DICM", "DICOM"),
)


def foreign_format(start: bytes) -> str | None:
    """The name of a format that is not read here, by the first bytes of a file.

    Example:
        >>> foreign_format(b"%PDF-1.7"), foreign_format(b"words")
        ('PDF', None)
    """
    return next((name for at, magic, name in _FOREIGN if start[at:].startswith(magic)), None)


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file, at least one.

    Args:
        path: The file.

    Returns:
        Up to 400 bytes.

    Raises:
        ImageReadError: For a file that is missing, a folder, empty, or that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.png").write_bytes(b"some")
        ...     first_bytes(Path(folder) / "a.png")
        b'some'
    """
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except FileNotFoundError as error:
        raise ImageReadError(
            "image-not-found",
            str(path),
            expected="a file",
            found="nothing there",
            remedy="check the path for typing errors",
        ) from error
    except IsADirectoryError as error:
        raise ImageReadError(
            "image-is-folder",
            str(path),
            expected="a file",
            found="a folder",
            remedy="rename or move the folder",
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            "image-permission",
            str(path),
            expected="a file you may read",
            found="no permission",
            remedy="change its permissions",
        ) from error
    except OSError as error:
        raise ImageReadError(
            "image-io",
            str(path),
            expected="a file that can be read",
            found=error.strerror or str(error),
            remedy="check the disk or the network folder",
        ) from error
    if not start:
        raise ImageReadError(
            "image-empty-file",
            str(path),
            expected="an image",
            found="0 bytes",
            remedy="copy the file again from its source, or delete it",
        )
    return start
