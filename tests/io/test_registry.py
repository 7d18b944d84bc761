"""The door all files come through."""

from __future__ import annotations

import io
import os
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from maskwright.errors import ImageReadError, OutputError
from maskwright.io.image import Image
from maskwright.io.registry import (
    SUFFIXES,
    VOLUME_SUFFIXES,
    is_jpeg,
    mask_suffix,
    read_header,
    read_image,
    read_mask,
    write_mask,
)

NOISE = np.random.default_rng(0).integers(0, 255, (17, 19), dtype=np.uint8)
PILLOW_NAMES = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".gif": "GIF"}


def _encode(suffix: str) -> bytes:
    stream = io.BytesIO()
    if suffix in PILLOW_NAMES:
        Pillow.fromarray(NOISE).save(stream, PILLOW_NAMES[suffix])
    else:
        tifffile.imwrite(stream, NOISE, compression="zlib")
    return stream.getvalue()


def _code(path: Path) -> str:
    codes = set()
    for reader in (read_image, read_mask, read_header):
        with pytest.raises(ImageReadError) as caught:
            reader(path)
        codes.add(caught.value.code)
    assert len(codes) == 1
    return codes.pop()


def test_suffixes_are_lower_case_with_a_dot() -> None:
    pictures = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff"}
    assert {".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".dcm"} == VOLUME_SUFFIXES
    pictures |= {".ome.tif", ".ome.tiff", ".svs"}
    arrays = {".npy", ".npz", ".h5", ".hdf5", ".zarr", ".ome.zarr"}
    assert pictures | VOLUME_SUFFIXES | arrays == SUFFIXES


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif"])
def test_headers_agree_with_the_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    path.write_bytes(_encode(suffix))
    header, image = read_header(path), read_image(path)
    assert header.size == image.size
    assert header.channels == image.channels
    assert header.dtype == str(image.array.dtype)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").touch()
        assert _code(tmp_path / f"a{suffix}") == "image-empty-file"


def test_a_file_cut_inside_its_first_bytes_is_truncated(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PN")
    assert _code(tmp_path / "a.png") == "image-truncated"


@pytest.mark.parametrize("content", [".png", ".jpg", ".gif", ".tif", ".bmp"])
def test_a_wrong_extension_names_the_real_type(tmp_path: Path, content: str) -> None:
    path = tmp_path / ("a.png" if content != ".png" else "a.jpg")
    path.write_bytes(_encode(content))
    with pytest.raises(ImageReadError, match=f"rename it to a{content}|Rename it to a{content}"):
        read_image(path)
    assert _code(path) == "image-wrong-extension"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"%!PS-Adobe", "EPS"),
        (b"<svg xmlns=", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"RIFF1234WEBPVP8 ", "WebP"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_foreign_content_is_named(tmp_path: Path, start: bytes, name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(start + bytes(500))
    with pytest.raises(ImageReadError, match=name):
        read_image(path)
    assert _code(path) == "image-wrong-extension"


def test_unknown_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"just some words")
    assert _code(tmp_path / "a.png") == "image-wrong-extension"


@pytest.mark.parametrize("name", ["a.eps", "a.svg", "a.webp", "a"])
def test_an_unsupported_type_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"%!PS-Adobe" if name == "a.eps" else b"<svg ")
    assert _code(tmp_path / name) == "image-unsupported"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").mkdir()
    assert _code(tmp_path / "a.png") == "image-not-found"
    assert _code(tmp_path / "b.png") == "image-is-folder"


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_encode(".png"))
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    try:
        assert _code(path) == "image-permission"
    finally:
        if was_root:
            os.seteuid(0)


def test_masks_of_lossy_images_get_a_lossless_suffix() -> None:
    given = [Path(name) for name in ("a.jpg", "a.JPEG", "a.png", "a.TIF", "a.bmp", "a.gif", "a.x")]
    assert [mask_suffix(path) for path in given] == [
        ".png",
        ".png",
        ".png",
        ".tif",
        ".bmp",
        ".gif",
        ".png",
    ]
    assert [is_jpeg(path) for path in given[:3]] == [True, True, False]


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_masks_are_never_written_with_loss(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"use \.png|Use \.png") as caught:
        write_mask(tmp_path / name, Image(NOISE[None]))
    assert caught.value.code == "mask-format"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".tif"])
def test_damaged_files_raise_only_the_projects_errors(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(suffix)  # noqa: S311
    whole = _encode(suffix)
    path = tmp_path / f"a{suffix}"
    for _ in range(150):
        data = bytearray(whole[: draw.choice([len(whole), draw.randrange(1, len(whole))])])
        for _ in range(draw.choice([0, 1, 4])):
            data[draw.randrange(min(len(data), draw.choice([60, len(data)])))] = draw.randrange(256)
        path.write_bytes(data)
        for reader in (read_image, read_mask, read_header):
            with suppress(ImageReadError):
                reader(path)
