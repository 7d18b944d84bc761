"""Zarr stores and TIFF stacks, with zarr and tifffile as the other side."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from maskwright.errors import MaskwrightError
from maskwright.io.arrays import blocks, open_labels

DATA = Path(__file__).parents[3] / "shared" / "data"
SHAPE = (5, 20, 30)
DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64", "float32"]


def _labels(dtype: str = "uint16") -> np.ndarray:
    top = 2 if dtype == "bool" else 100
    return np.random.default_rng(5).integers(0, top, SHAPE).astype(dtype)


def _whole(path: Path) -> np.ndarray:
    source = open_labels(path)
    return source.read(tuple(slice(0, n) for n in source.shape))


def _in_blocks(path: Path) -> np.ndarray:
    source = open_labels(path)
    joined = np.zeros(source.shape, source.dtype)
    for block in blocks(source.shape, 100, source.chunks):
        joined[block] = source.read(block)
    return joined


def _code(path: Path) -> str:
    with pytest.raises(MaskwrightError) as caught:
        _whole(path)
    return caught.value.code


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_and_every_type_come_back(tmp_path: Path, version: Any, dtype: str) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=_labels(dtype), chunks=(2, 8, 30), zarr_format=version)
    source = open_labels(path)
    assert (source.shape, source.chunks, source.lazy) == (SHAPE, (2, 8, 30), True)
    assert source.dtype == np.dtype({"float32": "int32"}.get(dtype, dtype))
    assert np.array_equal(_whole(path), _labels(dtype))
    assert np.array_equal(_in_blocks(path), _labels(dtype))


@pytest.mark.parametrize("codec", [numcodecs.Zlib(1), numcodecs.Blosc(), numcodecs.LZ4(), None])
def test_codecs_of_version_2_and_big_endian_are_read(tmp_path: Path, codec: Any) -> None:
    path = tmp_path / "a.zarr"
    delta = numcodecs.Delta(">u2")
    array = zarr.create_array(path, shape=SHAPE, dtype=">u2", chunks=(2, 8, 30), zarr_format=2,
                              compressors=codec, filters=[delta])  # fmt: skip
    array[:] = _labels()
    assert np.array_equal(_whole(path), _labels())
    assert _whole(path).dtype.isnative


def test_shards_and_missing_chunks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=SHAPE, dtype="u2", chunks=(1, 10, 30),
                              shards=(2, 20, 30), fill_value=0)  # fmt: skip
    array[:2] = _labels()[:2]
    assert np.array_equal(_whole(path)[:2], _labels()[:2])
    assert not _whole(path)[2:].any()


def _ome(path: Path, version: str, axes: list[dict[str, str]], scale: list[float]) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    data = _labels().reshape((1,) * (len(axes) - 3) + SHAPE)
    group.create_array("s0", data=data)
    group.create_array("s1", data=data[..., ::2, ::2])
    image = {"axes": axes, "datasets": [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
        for name in ("s0", "s1")
    ]}  # fmt: skip
    attributes = {"multiscales": [image]}
    group.attrs.update({"ome": attributes} if version == "0.5" else attributes)
    return path


def _axes(names: str, unit: str | None) -> list[dict[str, str]]:
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": name, "type": kinds.get(name, "space")}
        | ({"unit": unit} if unit and name in "zyx" else {})
        for name in names
    ]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_gives_full_resolution_and_its_scale(tmp_path: Path, version: str) -> None:
    axes = _axes("tczyx", "micrometer")
    path = _ome(tmp_path / "a.ome.zarr", version, axes, [1, 1, 2.0, 0.5, 0.25])
    source = open_labels(path)
    assert source.shape == SHAPE
    assert source.spacing_mm == pytest.approx((2e-3, 0.5e-3, 0.25e-3))
    assert np.array_equal(_in_blocks(path), _labels())


def test_ome_zarr_without_a_unit_has_no_spacing(tmp_path: Path) -> None:
    path = _ome(tmp_path / "a.zarr", "0.5", _axes("zyx", None), [2.0, 0.5, 0.25])
    assert open_labels(path).spacing_mm is None
    path = _ome(tmp_path / "b.zarr", "0.5", _axes("zyx", "millimeter"), [0.0, 0.5, 0.25])
    assert _code(path) == "labels-spacing"


def test_axes_in_another_order_and_several_channels_are_refused(tmp_path: Path) -> None:
    path = _ome(tmp_path / "a.zarr", "0.5", _axes("xyz", "micrometer"), [1, 1, 1])
    assert _code(path) == "labels-axes"
    path = _ome(tmp_path / "b.zarr", "0.5", _axes("cyx", "micrometer"), [1, 1, 1])
    assert _code(path) == "labels-axes"
    zarr.create_array(tmp_path / "c.zarr", data=np.zeros((2, *SHAPE), "u1"))
    assert _code(tmp_path / "c.zarr") == "labels-axes"
    zarr.create_array(tmp_path / "d.zarr", data=_labels(), dimension_names=("y", "x", "z"))
    assert _code(tmp_path / "d.zarr") == "labels-axes"


def test_a_group_of_one_array_is_that_array_and_of_two_is_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    assert _code(tmp_path / "a.zarr") == "zarr-group"
    group.create_array("cells", data=_labels())
    assert np.array_equal(_whole(tmp_path / "a.zarr"), _labels())
    group.create_array("nuclei", data=_labels())
    with pytest.raises(MaskwrightError, match=r"2 arrays \(cells, nuclei\)"):
        open_labels(tmp_path / "a.zarr")
    assert np.array_equal(_whole(tmp_path / "a.zarr" / "cells"), _labels())


class _Trap:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return Path.touch, (self.victim,)


def test_a_codec_that_could_run_code_is_refused_before_it_decodes(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=_labels(), zarr_format=2, compressors=None)
    metadata = json.loads((path / ".zarray").read_text())
    (path / "0.0.0").write_bytes(pickle.dumps(_Trap(tmp_path / "touched")))
    pickled, json2, utf8 = {"id": "pickle"}, {"id": "json2"}, {"id": "vlen-utf8"}
    for change in (
        {"filters": [pickled]},
        {"compressor": pickled},
        {"filters": [json2, pickled]},
        {"filters": [utf8], "compressor": pickled, "dtype": "|O", "fill_value": ""},
        {"filters": [pickled], "dtype": "|O", "fill_value": None},
    ):
        (path / ".zarray").write_text(json.dumps(metadata | change))
        assert _code(path) in {"zarr-codec", "image-damaged"}
    assert not (tmp_path / "touched").exists()
    (path / ".zarray").write_text(json.dumps(metadata | {"filters": [{"id": "base64"}]}))
    assert _code(path) == "zarr-codec"
    (path / ".zarray").write_text(json.dumps(metadata | {"chunks": [5, 200_000, 300_000]}))
    assert _code(path) == "zarr-chunk-size"


def test_objects_complex_numbers_and_a_path_outside_are_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "c.zarr", data=_labels("complex64"))
    assert _code(tmp_path / "c.zarr") == "labels-dtype"
    path = _ome(tmp_path / "a.zarr", "0.5", _axes("zyx", None), [1, 1, 1])
    metadata = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(metadata.replace('"s0"', '"../c.zarr"'))
    assert _code(path) == "image-damaged"


@pytest.mark.parametrize("version", [2, 3])
def test_damaged_stores_end_in_our_errors_or_in_labels(tmp_path: Path, version: Any) -> None:
    good, path = tmp_path / "good.zarr", tmp_path / "a.zarr"
    zarr.create_array(good, data=_labels(), chunks=(3, 20, 30), zarr_format=version)
    random, refused = np.random.default_rng(7), 0
    for _ in range(100):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(good, path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        victim = files[random.integers(len(files))]
        data = bytearray(victim.read_bytes())
        if random.random() < 0.3:
            del data[random.integers(len(data)) :]
        else:
            for at in random.integers(0, len(data), 3):
                data[at] ^= 1 << int(random.integers(8))
        victim.write_bytes(data)
        try:
            _whole(path)
        except MaskwrightError:
            refused += 1
    assert refused > 40


TIFFS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deflate": {"compression": "zlib"},
    "lzw in tiles": {"compression": "lzw", "tile": (16, 16)},
    "strips": {"compression": "zlib", "rowsperstrip": 4},
    "big": {"bigtiff": True},
    "big and compressed": {"bigtiff": True, "compression": "zstd"},
    "ImageJ": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "time": {"metadata": {"axes": "TYX"}},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_stacks_come_back_whole_and_in_blocks(tmp_path: Path, name: str, dtype: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _labels(dtype), photometric="minisblack", **TIFFS[name])
    source = open_labels(path)
    assert (source.shape, source.lazy, source.image) == (SHAPE, True, None)
    assert np.array_equal(_whole(path), _labels(dtype))
    assert np.array_equal(_in_blocks(path), _labels(dtype))
    assert _whole(path).dtype == np.dtype({"float32": "int32"}.get(dtype, dtype))


def test_one_bit_stacks_are_bool(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _labels("bool"), photometric="minisblack")
    assert open_labels(tmp_path / "a.tif").dtype == np.bool_
    assert np.array_equal(_whole(tmp_path / "a.tif"), _labels("bool"))


def test_spacing_comes_from_ome_and_imagej_when_the_unit_is_known(tmp_path: Path) -> None:
    ome = {"axes": "CZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", _labels()[None], metadata=ome)
    assert open_labels(tmp_path / "a.ome.tif").spacing_mm == pytest.approx((2e-3, 5e-4, 2.5e-4))
    assert np.array_equal(_in_blocks(tmp_path / "a.ome.tif"), _labels())
    for unit, factor in (
        ("um", 1e-3),
        ("micron", 1e-3),
        ("mm", 1.0),
        ("cm", 10.0),
        ("pixel", None),
    ):
        path = tmp_path / f"{unit}.tif"
        metadata = {"axes": "ZYX", "unit": unit, "spacing": 3.0}
        tifffile.imwrite(path, _labels(), imagej=True, resolution=(4, 2), metadata=metadata)
        expected = factor and pytest.approx((3.0 * factor, 0.5 * factor, 0.25 * factor))
        assert open_labels(path).spacing_mm == expected
    tifffile.imwrite(tmp_path / "b.tif", _labels(), imagej=True, resolution=(4, 2),
                     metadata={"axes": "ZYX", "unit": "um"})  # fmt: skip
    assert open_labels(tmp_path / "b.tif").spacing_mm is None


def test_stacks_of_colours_channels_and_odd_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 8, 9, 3), np.uint8), photometric="rgb")
    assert _code(path) == "labels-colour"
    tifffile.imwrite(path, np.zeros((3, 8, 9), np.uint8), imagej=True, metadata={"axes": "CYX"})
    assert _code(path) == "labels-axes"
    tifffile.imwrite(path, np.zeros((2, 3, 8, 9), np.uint8), imagej=True,
                     metadata={"axes": "TZYX"})  # fmt: skip
    assert _code(path) == "labels-axes"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((8, 9), np.uint8))
        writer.write(np.zeros((7, 9), np.uint8))
    assert _code(path) == "tiff-stack"


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_written_one_by_one_are_a_stack(tmp_path: Path, compression: str | None) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for plane in _labels():
            writer.write(plane, compression=compression)
    assert np.array_equal(_in_blocks(tmp_path / "a.tif"), _labels())


def test_a_pyramid_gives_its_full_resolution(tmp_path: Path) -> None:
    options: Any = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(_labels(), subifds=1, metadata={"axes": "ZYX"}, **options)
        writer.write(_labels()[:, ::2, ::2], subfiletype=1, **options)
    assert np.array_equal(_in_blocks(tmp_path / "a.ome.tif"), _labels())


def test_a_large_page_is_read_in_parts_and_a_small_one_is_a_picture(tmp_path: Path) -> None:
    large = np.zeros((4100, 4200), np.uint8)
    large[4000, 4000:4010] = 7
    for options in ({}, {"compression": "zlib", "tile": (512, 512)}):
        tifffile.imwrite(tmp_path / "a.tif", large, **options)
        source = open_labels(tmp_path / "a.tif")
        assert (source.shape, source.lazy, source.image) == (large.shape, True, None)
        assert source.read((slice(3999, 4002), slice(3990, 4020))).sum() == 70
    tifffile.imwrite(tmp_path / "b.tif", large[:50])
    assert open_labels(tmp_path / "b.tif").image is not None


@pytest.mark.parametrize("name", ["plain", "deflate", "ImageJ", "big"])
def test_damaged_stacks_end_in_our_errors_or_in_labels(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, _labels(), photometric="minisblack", **TIFFS[name])
    data, random, refused = path.read_bytes(), np.random.default_rng(13), 0
    for turn in range(100):
        cut = turn % 3 == 0
        mutant = bytearray(data[: random.integers(len(data))] if cut else data)
        for at in random.integers(0, min(max(len(mutant), 1), 800), 0 if cut else 4):
            mutant[at] ^= 1 << int(random.integers(8))
        path.write_bytes(mutant)
        try:
            found = _whole(path)
        except MaskwrightError:
            refused += 1
        else:
            assert not cut or np.array_equal(found, _labels())
    assert refused > 30


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real stack is not at {DATA}")
def test_the_real_stack_of_nuclei_is_read() -> None:
    path = DATA / "nuclei3d" / "masks" / "img3d.tif"
    assert open_labels(path).shape == (31, 61, 57)
    assert np.array_equal(_in_blocks(path), tifffile.imread(path))
