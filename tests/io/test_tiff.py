"""TIFF, with tifffile as the other side."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import ImageReadError, OutputError
from maskwright.io.image import Image
from maskwright.io.registry import read_header, read_image, read_mask, write_mask

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
PALETTE = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)


def _code(path: Path) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    return caught.value.code


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "uint32", "int16", "float32", "float64"]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_pixels_of_every_type_come_back(tmp_path: Path, dtype: str, order: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.astype(dtype), byteorder=order)
    image = read_mask(path)
    assert image.array.dtype == np.dtype(dtype)
    assert np.array_equal(image.array[0], GREY.astype(dtype))
    assert read_header(path).dtype == dtype


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "lzw"},
        {"compression": "packbits"},
        {"compression": "zstd"},
        {"tile": (16, 16)},
        {"rowsperstrip": 2},
        {"bigtiff": True},
        {"compression": "zlib", "predictor": True},
    ],
)
def test_compressions_tiles_and_big_files_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, GREY, **options)
    assert np.array_equal(read_image(path).array[0], GREY)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_come_channels_first_without_alpha(tmp_path: Path, planar: Any) -> None:
    rgba = np.dstack([RGB, np.full(GREY.shape, 9, np.uint8)])
    for pixels in (RGB, rgba):
        path = tmp_path / "a.tif"
        data = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
        tifffile.imwrite(
            path,
            data,
            photometric="rgb",
            planarconfig=planar,
            extrasamples=["unassalpha"] if pixels is rgba else None,
        )
        assert np.array_equal(read_image(path).array, np.moveaxis(RGB, -1, 0))
        assert read_header(path).channels == 3


def test_a_palette_stays_an_index_in_masks_and_becomes_colour_in_images(tmp_path: Path) -> None:
    ids = GREY % 3
    path = tmp_path / "a.tif"
    write_mask(path, Image(ids[None], palette=PALETTE))
    mask = read_mask(path)
    assert mask.palette is not None
    assert np.array_equal(mask.palette[:3], PALETTE)
    assert np.array_equal(mask.array[0], ids)
    assert np.array_equal(read_image(path).array, np.moveaxis(PALETTE[ids], -1, 0))


def test_min_is_white_images_are_turned_and_masks_stay_as_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="miniswhite")
    assert np.array_equal(read_image(path).array[0], 255 - GREY)
    assert np.array_equal(read_mask(path).array[0], GREY)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_orientation_tag_is_applied(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, extratags=[(274, 3, 1, orientation, True)])
    image = read_image(path)
    assert np.array_equal(image.array[0], np.rot90(GREY, {1: 0, 3: 2, 6: 3}[orientation]))
    assert image.exif_turned == (orientation != 1)
    assert read_header(path).size == image.size


@given(
    st.sampled_from(["bool", "uint8", "uint16", "rgb"]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.one_of(st.none(), st.tuples(st.floats(1e-5, 100), st.floats(1e-5, 100))),
)
@settings(max_examples=30, deadline=None)
def test_written_masks_come_back_with_their_spacing(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    y: int,
    x: int,
    spacing: tuple[float, float] | None,
) -> None:
    rng = np.random.default_rng(y * x)
    path = tmp_path_factory.mktemp("masks") / "a.tif"
    shape = (3 if form == "rgb" else 1, y, x)
    array = rng.integers(0, 2 if form == "bool" else 250, shape).astype(
        "uint8" if form == "rgb" else form
    )
    write_mask(path, Image(array, spacing_mm=spacing))
    back = read_mask(path)
    assert back.array.dtype == array.dtype
    assert np.array_equal(back.array, array)
    if spacing is None:
        assert back.spacing_mm is None
    else:
        assert back.spacing_mm == pytest.approx(spacing, rel=1e-5)


def test_spacing_is_read_from_imagej_and_ome_but_not_from_dots_an_inch(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, imagej=True, resolution=(2, 4), metadata={"unit": "um"})
    assert read_image(path).spacing_mm == (0.00025, 0.0005)
    tifffile.imwrite(
        path,
        GREY,
        ome=True,
        metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"},
    )
    assert read_image(path).spacing_mm == (0.00025, 0.0005)
    tifffile.imwrite(path, GREY, resolution=(72, 72), resolutionunit="INCH")
    assert read_image(path).spacing_mm is None


def test_written_masks_are_compressed(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_mask(path, Image(np.zeros((1, 500, 500), np.uint8)))
    assert path.stat().st_size < 5000


def test_values_a_mask_cannot_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_mask(tmp_path / "a.tif", Image(np.zeros((1, 2, 2), np.float32)))
    assert caught.value.code == "mask-dtype"


def test_a_smaller_version_beside_the_image_does_not_count_as_a_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY)
        writer.write(GREY[::2, ::2], subfiletype=1)
    assert np.array_equal(read_image(path).array[0], GREY)


def _with_next_page(path: Path, offset: int | None) -> None:
    tifffile.imwrite(path, GREY)
    data = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * entries, first if offset is None else offset)
    path.write_bytes(data)


def test_circular_pages_are_refused_without_a_hang(tmp_path: Path) -> None:
    _with_next_page(tmp_path / "a.tif", None)
    assert _code(tmp_path / "a.tif") == "tiff-circular-pages"


def test_a_page_behind_the_end_of_the_file_is_refused(tmp_path: Path) -> None:
    _with_next_page(tmp_path / "a.tif", 99_999_999)
    assert _code(tmp_path / "a.tif") == "image-truncated"


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for options in ({}, {"compression": "zlib"}, {"rowsperstrip": 8}):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, noise, **options)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - 500])
        assert _code(path) == "image-truncated"


def test_rows_that_are_not_in_the_file_are_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib")
    _with_tag(path, 257, 500)
    assert _code(path) == "image-truncated"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    pixels = GREY.astype(np.float32)
    pixels[2, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert _code(tmp_path / "a.tif") == "image-nan"


def _with_tag(path: Path, tag: int, value: int) -> None:
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[tag]
        offset, dtype = entry.valueoffset, entry.dtype
    data = bytearray(path.read_bytes())
    struct.pack_into("<H" if dtype == 3 else "<I", data, offset, value)
    path.write_bytes(data)


def test_an_unknown_compression_names_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib")
    _with_tag(path, 259, 34676)
    assert _code(path) == "image-missing-codec"


def test_a_pixel_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((70_000, 2), np.uint8), compression="zlib")
    for tag in (256, 257):
        with tifffile.TiffFile(path) as file:
            dtype = file.pages[0].tags[tag].dtype
        _with_tag(path, tag, 60_000 if dtype == 3 else 70_000)
    assert _code(path) == "image-pixel-bomb"


def test_metadata_with_a_document_type_is_refused(tmp_path: Path) -> None:
    text = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><OME>&a;</OME>'
    tifffile.imwrite(tmp_path / "a.tif", GREY, description=text, metadata=None)
    assert _code(tmp_path / "a.tif") == "tiff-xml-dtd"


def test_other_colour_models_are_refused(tmp_path: Path) -> None:
    cmyk = np.zeros((5, 6, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", cmyk, photometric="separated")
    assert _code(tmp_path / "a.tif") == "image-unsupported"


def test_a_damaged_file_writes_nothing_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression="zlib")
    whole = path.read_bytes()
    for position in range(8, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 0xFF
        path.write_bytes(data)
        with suppress(ImageReadError):
            read_image(path)
    assert capfd.readouterr() == ("", "")
