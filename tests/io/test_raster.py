"""PNG, JPEG, BMP and GIF, with Pillow and imagecodecs as the other side."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import PngImagePlugin

from maskwright.errors import ImageReadError, OutputError
from maskwright.io.image import Image
from maskwright.io.registry import read_header, read_image, read_mask, write_mask

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)
PALETTE = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)
IDS = (np.arange(30, dtype=np.uint8) % 3).reshape(5, 6)


def _code(path: Path) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif"])
def test_grey_pixels_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(GREY).save(path)
    assert all(np.array_equal(plane, GREY) for plane in read_image(path).array)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colour_pixels_come_back_channels_first(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(RGB).save(path)
    assert np.array_equal(read_image(path).array, np.moveaxis(RGB, -1, 0))


def test_jpeg_pixels_are_those_of_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.jpeg"
    Pillow.fromarray(RGB).save(path)
    assert np.array_equal(np.moveaxis(read_image(path).array, 0, -1), np.asarray(Pillow.open(path)))


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    deep = GREY.astype(np.uint16) * 257
    Pillow.fromarray(deep).save(path)
    image = read_image(path)
    assert image.array.dtype == np.uint16
    assert np.array_equal(image.array[0], deep)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_sixteen_bit_colours_are_not_cut_to_eight(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "a.png"
    deep = np.random.default_rng(0).integers(0, 65535, (5, 6, samples)).astype(np.uint16)
    path.write_bytes(imagecodecs.png_encode(deep))
    kept = 1 if samples == 2 else 3
    assert np.array_equal(read_image(path).array, np.moveaxis(deep, -1, 0)[:kept])
    header = read_header(path)
    assert (header.dtype, header.channels) == ("uint16", kept)


@pytest.mark.parametrize("bits", [2, 4])
def test_class_ids_in_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    ids = IDS & (2**bits - 1)
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
        for row in ids
    )
    path = tmp_path / "a.png"
    path.write_bytes(_png(6, 5, bits, 0, zlib.compress(rows)))
    assert np.array_equal(read_mask(path).array[0], ids)


def test_one_bit_masks_are_bool(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Pillow.fromarray(GREY > 99).save(path)
    mask = read_mask(path)
    assert mask.array.dtype == np.bool_
    assert np.array_equal(mask.array[0], GREY > 99)


def test_a_palette_stays_an_index_in_masks_and_becomes_colour_in_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_mask(path, Image(IDS[None], palette=PALETTE))
    mask = read_mask(path)
    assert np.array_equal(mask.array[0], IDS)
    assert mask.palette is not None
    assert np.array_equal(mask.palette[:3], PALETTE)
    assert np.array_equal(read_image(path).array, np.moveaxis(PALETTE[IDS], -1, 0))
    assert read_header(path).channels == 3


@pytest.mark.parametrize("alpha", [255, 77])
def test_alpha_is_left_out(tmp_path: Path, alpha: int) -> None:
    path = tmp_path / "a.png"
    rgba = np.dstack([RGB, np.full(GREY.shape, alpha, np.uint8)])
    rgba[0, 0, 3] = 1
    Pillow.fromarray(rgba).save(path)
    assert np.array_equal(read_image(path).array, np.moveaxis(RGB, -1, 0))
    Pillow.fromarray(rgba).convert("LA").save(path)
    assert read_mask(path).channels == 1


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_orientation_is_applied_once_and_told(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(GREY).save(path, exif=exif)
    image = read_image(path)
    turns = {1: 0, 3: 2, 6: 3}[orientation]
    assert np.array_equal(image.array[0], np.rot90(GREY, turns))
    assert image.exif_turned == (orientation != 1)
    assert read_header(path).size == image.size
    assert np.array_equal(read_mask(path).array, image.array)


@given(
    st.sampled_from([".png", ".bmp", ".gif"]),
    st.sampled_from(["bool", "uint8", "palette"]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_written_masks_come_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, form: str, y: int, x: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("masks") / f"a{suffix}"
    high = 3 if form == "palette" else 256
    array = rng.integers(0, high, (1, y, x)).astype(np.uint8)
    if form == "bool":
        array = array > 128
    write_mask(path, Image(array, palette=PALETTE if form == "palette" else None))
    back = read_mask(path)
    if form == "bool" and suffix != ".png":
        assert np.array_equal(back.array != 0, array)
    else:
        assert np.array_equal(back.array, array)


def test_one_bit_masks_look_black_and_white_to_others(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".gif"):
        write_mask(tmp_path / f"a{suffix}", Image((GREY > 99)[None]))
        seen = np.asarray(Pillow.open(tmp_path / f"a{suffix}").convert("L"))
        assert np.array_equal(seen, np.where(GREY > 99, 255, 0))


def test_colour_masks_keep_their_colours_in_every_format(tmp_path: Path) -> None:
    array = np.moveaxis(PALETTE[IDS], -1, 0)
    for suffix in (".png", ".bmp", ".gif"):
        write_mask(tmp_path / f"a{suffix}", Image(array))
        assert np.array_equal(read_image(tmp_path / f"a{suffix}").array, array)


def test_values_above_255_need_png_or_tiff(tmp_path: Path) -> None:
    deep = Image(np.full((1, 2, 2), 700, np.uint16))
    write_mask(tmp_path / "a.png", deep)
    assert read_mask(tmp_path / "a.png").array.max() == 700
    with pytest.raises(OutputError) as caught:
        write_mask(tmp_path / "a.bmp", deep)
    assert caught.value.code == "mask-dtype"
    assert not (tmp_path / "a.bmp").exists()


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".jpg", {}), (".bmp", {}), (".gif", {}), (".jpg", {"progressive": True})],
)
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, options: dict[str, bool]) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Pillow.fromarray(noise).save(path, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert _code(path) == "image-truncated"


def test_a_flipped_bit_anywhere_in_the_pixels_of_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Pillow.fromarray(GREY).save(path)
    whole = path.read_bytes()
    start = whole.index(b"IDAT")
    for position in range(start, whole.index(b"IEND") - 4):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        assert _code(path) in {"image-damaged", "image-truncated"}


def test_more_than_one_frame_is_refused(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(GREY), Pillow.fromarray(255 - GREY)]
    for suffix in (".gif", ".png"):
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
        assert _code(tmp_path / f"a{suffix}") == "image-frames"


def test_a_pixel_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png(60_000, 60_000, 8, 0, zlib.compress(bytes(100))))
    assert _code(path) == "image-pixel-bomb"
    with pytest.raises(ImageReadError):
        read_header(path)


def test_a_large_honest_image_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Pillow.fromarray(np.zeros((9500, 9500), bool)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(path).size == (9500, 9500)
        assert read_mask(path).array.dtype == np.bool_


def test_a_metadata_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    notes = PngImagePlugin.PngInfo()
    for number in range(70):
        notes.add_text(f"note {number}", "x" * 1_000_000, zip=True)
    Pillow.fromarray(GREY).save(path, pnginfo=notes)
    assert path.stat().st_size < 200_000
    assert _code(path) == "image-metadata-bomb"


def _png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
