"""Blocks of images of any format and size, against the same image read as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from maskwright.errors import ImageReadError
from maskwright.io.registry import read_header, read_image
from maskwright.io.source import ImageSource, open_source

RNG = np.random.default_rng(3)
PLANE = RNG.integers(0, 250, (45, 61), dtype=np.uint8)
COLOURS = RNG.integers(0, 250, (45, 61, 3), dtype=np.uint8)
VOLUME = RNG.integers(0, 60_000, (7, 45, 61), dtype=np.uint16)
ORIENTED = {"extratags": [(274, 3, 1, 6, True)]}


def _tiff(path: Path, array: np.ndarray, **options: Any) -> None:
    photometric = "rgb" if array.shape[-1] == 3 else "minisblack"
    tifffile.imwrite(path, array, **{"photometric": photometric, **options})


def _nifti(path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOLUME), str(path))


MAKE = {
    "plain.png": lambda path: Pillow.fromarray(COLOURS).save(path),
    "plain.tif": lambda path: _tiff(path, PLANE),
    "strips.tif": lambda path: _tiff(path, COLOURS, rowsperstrip=7, compression="lzw"),
    "tiles.tif": lambda path: _tiff(path, PLANE, tile=(16, 32), compression="zstd"),
    "big.tif": lambda path: _tiff(path, COLOURS, tile=(16, 16), bigtiff=True),
    "planes.tif": lambda path: _tiff(path, np.moveaxis(COLOURS, -1, 0), photometric="rgb"),
    "jpeg2000.tif": lambda path: _tiff(path, PLANE, tile=(32, 32), compression="jpeg2000"),
    "turned.tif": lambda path: _tiff(path, PLANE, tile=(16, 16), **ORIENTED),
    "white.tif": lambda path: _tiff(path, PLANE, photometric="miniswhite", compression="zlib"),
    "stack.tif": lambda path: _tiff(path, VOLUME, compression="zlib"),
    "mapped.tif": lambda path: _tiff(path, VOLUME, byteorder=">"),
    "imagej.tif": lambda path: _tiff(
        path, np.stack([VOLUME, VOLUME // 2], 1), imagej=True, metadata={"axes": "ZCYX"}
    ),
    "ome.tif": lambda path: _tiff(
        path, np.stack([VOLUME, VOLUME // 2]), ome=True, metadata={"axes": "CZYX"}
    ),
    "colours.tif": lambda path: _tiff(
        path, np.stack([COLOURS, COLOURS // 2]), imagej=True, metadata={"axes": "ZYXS"}
    ),
    "a.npy": lambda path: np.save(path, COLOURS),
    "a.npz": lambda path: np.savez_compressed(path, VOLUME),
    "a.zarr": lambda path: zarr.create_array(path, data=VOLUME, chunks=(2, 20, 20)),
    "c.zarr": lambda path: zarr.create_array(
        path, data=COLOURS, chunks=(20, 20, 1), dimension_names=("y", "x", "c")
    ),
    "a.nii": _nifti,
    "a.nii.gz": _nifti,
    "a.mha": _nifti,
    "a.nrrd": _nifti,
}


def _whole(source: ImageSource) -> np.ndarray:
    return source.read(tuple(slice(0, n) for n in source.shape[1:]))


@pytest.mark.parametrize("name", MAKE)
def test_any_block_is_that_part_of_the_whole_image(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path / name)
    image, header = read_image(tmp_path / name), read_header(tmp_path / name)
    source = open_source(tmp_path / name)
    assert source.shape == image.array.shape == (header.channels, *header.size)
    assert source.dtype == image.array.dtype == np.dtype(header.dtype)
    assert source.spacing_mm == image.spacing_mm
    assert np.array_equal(_whole(source), image.array)
    for _ in range(12):
        low = [int(RNG.integers(0, n)) for n in source.shape[1:]]
        high = [
            int(RNG.integers(at + 1, n + 1)) for at, n in zip(low, source.shape[1:], strict=True)
        ]
        block = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        found = source.read(block)
        assert found.dtype == source.dtype
        assert np.array_equal(found, image.array[(slice(None), *block)])
        found[:] = 0
        assert np.array_equal(source.read(block), image.array[(slice(None), *block)])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_blocks_of_turned_images_are_upright(tmp_path: Path, orientation: int) -> None:
    options = {"tile": (16, 16), "compression": "zlib"}
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", PLANE, extratags=tags, resolution=(10, 20),
                     resolutionunit="CENTIMETER", **options)  # fmt: skip
    image, source = read_image(tmp_path / "a.tif"), open_source(tmp_path / "a.tif")
    assert source.spacing_mm == image.spacing_mm
    block = (slice(3, 20), slice(11, 40))
    assert np.array_equal(source.read(block), image.array[(slice(None), *block)])


def test_a_palette_is_expanded_block_by_block(tmp_path: Path) -> None:
    colormap = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    tifffile.imwrite(tmp_path / "a.tif", PLANE, photometric="palette", colormap=colormap)
    image, source = read_image(tmp_path / "a.tif"), open_source(tmp_path / "a.tif")
    assert source.shape == (3, *PLANE.shape)
    assert np.array_equal(_whole(source), image.array)
    assert np.array_equal(source.read((slice(2, 5), slice(0, 9))), image.array[:, 2:5, :9])


def test_reading_a_tile_decodes_that_tile_only(tmp_path: Path) -> None:
    noise = RNG.integers(0, 255, (512, 512), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise, tile=(128, 128), compression="zlib")
    with tifffile.TiffFile(path) as file:
        at, count = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[at : at + count] = bytes(count)
    path.write_bytes(data)
    source = open_source(path)
    assert np.array_equal(source.read((slice(0, 100), slice(0, 500)))[0], noise[:100, :500])
    with pytest.raises(ImageReadError) as caught:
        source.read((slice(500, 512), slice(500, 512)))
    assert caught.value.code == "image-damaged"


def test_levels_of_a_pyramid_are_opened_with_their_spacing(tmp_path: Path) -> None:
    options: Any = {"tile": (16, 16), "photometric": "rgb", "compression": "zlib"}
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(COLOURS, subifds=1, metadata={"axes": "YXS", **size}, **options)
        writer.write(COLOURS[::2, ::2], subfiletype=1, **options)
    coarse = open_source(tmp_path / "a.ome.tif", level=1)
    assert np.array_equal(_whole(coarse), np.moveaxis(COLOURS[::2, ::2], -1, 0))
    assert coarse.spacing_mm == pytest.approx((5e-4 * 45 / 23, 5e-4 * 61 / 31))
    for path, level in ((tmp_path / "a.ome.tif", 2), (tmp_path / "a.png", 1)):
        Pillow.fromarray(PLANE).save(tmp_path / "a.png")
        with pytest.raises(ImageReadError) as caught:
            open_source(path, level=level)
        assert caught.value.code == "image-level"


def test_a_whole_slide_gives_its_baseline_and_its_pixel_size(tmp_path: Path) -> None:
    text = "Aperio Image Library v12\r\n640x500 (240x240) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    slide = np.kron(COLOURS, np.ones((8, 8, 1), np.uint8))
    tiles: Any = {"tile": (64, 64), "compression": "zlib"}
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for pixels, options in (
            (slide, tiles), (COLOURS, {}), (slide[::2, ::2], tiles),
            (COLOURS[:20], {"subfiletype": 1}), (COLOURS[:30], {"subfiletype": 9}),
        ):  # fmt: skip
            writer.write(pixels, photometric="rgb", description=text, metadata=None, **options)
    source = open_source(tmp_path / "a.tif")
    assert source.shape == (3, 360, 488)
    assert source.spacing_mm == (0.000499, 0.000499)
    assert np.array_equal(source.read((slice(64, 99), slice(0, 5))),
                          np.moveaxis(slide[64:99, :5], -1, 0))  # fmt: skip
    assert open_source(tmp_path / "a.tif", level=1).shape == (3, 180, 244)


def test_images_above_what_memory_may_hold_are_opened_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tile = np.zeros((4096, 4096), np.uint8)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write((tile for _ in range(36)), shape=(24576, 24576), dtype="u1",
                     tile=(4096, 4096), compression="zlib")  # fmt: skip
    source = open_source(path)
    assert source.shape == (1, 24576, 24576)
    assert source.chunks == (4096, 4096)
    assert read_header(path).size == (24576, 24576)
    assert source.read((slice(9000, 9010), slice(20_000, 20_020))).shape == (1, 10, 20)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.code == "image-pixel-bomb"


def test_numbers_that_are_not_finite_are_refused_where_they_are_read(tmp_path: Path) -> None:
    array = np.ones((40, 50), np.float32)
    array[30, 30] = np.nan
    np.save(tmp_path / "a.npy", array)
    source = open_source(tmp_path / "a.npy")
    assert source.read((slice(0, 20), slice(0, 50))).all()
    with pytest.raises(ImageReadError, match="1 pixels"):
        _whole(source)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["QYX", "ZYX", "CYX", "TYX"]), st.integers(2, 6))
def test_unnamed_pages_are_slices_unless_they_may_be_channels(
    tmp_path_factory: pytest.TempPathFactory, axes: str, pages: int
) -> None:
    path = tmp_path_factory.mktemp("stacks") / "a.tif"
    array = VOLUME[np.arange(pages) % 7]
    named = {} if axes == "QYX" else {"ome": True, "metadata": {"axes": axes}}
    tifffile.imwrite(path, array, photometric="minisblack", **named)
    if axes == "TYX" or (axes == "QYX" and pages <= 4):
        with pytest.raises(ImageReadError) as caught:
            open_source(path)
        assert caught.value.code == ("image-axes" if axes == "TYX" else "axes-ambiguous")
        return
    source = open_source(path)
    expected = array if axes == "CYX" else array[None]
    assert np.array_equal(_whole(source), expected)
