"""Masks written block by block are those that are written at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from maskwright.io.image import Image
from maskwright.io.large_mask import blocks_of, write_large_mask
from maskwright.io.registry import read_mask, write_mask
from maskwright.io.sink import LabelStore
from maskwright.io.source import open_source
from maskwright.io.stored import Block

PALETTE = np.array([[0, 0, 0], [255, 0, 9], [3, 200, 7]], np.uint8)


def _mask(kind: str, size: tuple[int, ...] = (530, 700)) -> Image:
    classes = np.random.default_rng(0).integers(0, 3, size)
    if kind == "colours":
        return Image(np.moveaxis(PALETTE[classes], -1, 0))
    if kind == "palette":
        return Image(classes.astype(np.uint8)[None], palette=PALETTE)
    return Image((classes if kind != "bool" else classes > 1).astype(kind)[None])


def _write(path: Path, mask: Image, **options: Any) -> None:
    def read(block: Block) -> Image:
        return Image(mask.array[(slice(None), *block)], palette=mask.palette)

    write_large_mask(path, mask.size, read, **options)


@pytest.mark.parametrize("kind", ["bool", "uint8", "uint16", "palette", "colours"])
def test_a_tiff_in_tiles_reads_as_the_one_written_at_once(kind: str, tmp_path: Path) -> None:
    mask = _mask(kind)
    _write(tmp_path / "parts.tif", mask, spacing_mm=(0.5, 0.25))
    write_mask(tmp_path / "whole.tif", Image(mask.array, (0.5, 0.25), palette=mask.palette))
    parts, whole = (read_mask(tmp_path / f"{name}.tif") for name in ("parts", "whole"))
    np.testing.assert_array_equal(parts.array, whole.array)
    assert (parts.array.dtype, parts.spacing_mm) == (whole.array.dtype, whole.spacing_mm)
    if kind == "palette":
        assert parts.palette is not None
        np.testing.assert_array_equal(parts.palette[:3], PALETTE)
    else:
        assert parts.palette is whole.palette is None


@pytest.mark.parametrize("size", [(1100, 700), (9, 70, 600)])
def test_a_zarr_mask_has_a_pyramid_of_its_own_values(size: tuple[int, ...], tmp_path: Path) -> None:
    mask, spacing = _mask("uint16", size), (0.5, 0.25, 0.125)[-len(size) :]
    _write(tmp_path / "a.zarr", mask, spacing_mm=spacing)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    described: Any = group.attrs["ome"]
    assert described["version"] == "0.5"
    (image,) = described["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == list("zyx"[-len(size) :])
    expected: NDArray[Any] = mask.array[0]
    for number, level in enumerate(image["datasets"]):
        if number:
            expected = expected[
                tuple(slice(None, None, 2 if n > 32 else 1) for n in expected.shape)
            ]
        np.testing.assert_array_equal(group[level["path"]][...], expected)
        (scale,) = level["coordinateTransformations"]
        assert scale["scale"][-1] == pytest.approx(spacing[-1] * 2**number)
    assert len(image["datasets"]) > 1
    assert max(expected.shape) <= 256
    source = open_source(tmp_path / "a.zarr")
    assert (source.shape, source.spacing_mm) == ((1, *size), pytest.approx(spacing))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr"]


@pytest.mark.parametrize("kind", ["uint8", "bool"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.tif"])
def test_volumes_read_as_those_written_at_once(name: str, kind: str, tmp_path: Path) -> None:
    mask, spacing = _mask(kind, (5, 40, 30)), (2.0, 0.5, 0.25)
    _write(tmp_path / name, mask, spacing_mm=spacing)
    found = read_mask(tmp_path / name)
    np.testing.assert_array_equal(found.array, mask.array)
    if name == "a.tif":
        assert found.spacing_mm == pytest.approx(spacing)


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_what_fails_on_the_way_leaves_the_earlier_mask(name: str, tmp_path: Path) -> None:
    mask = _mask("uint8")
    _write(tmp_path / name, mask)

    def failing(block: Block) -> Image:
        if block[1].start > 0:
            raise RuntimeError
        return Image(np.zeros((1, *(part.stop - part.start for part in block)), np.uint8))

    with pytest.raises(RuntimeError):
        write_large_mask(tmp_path / name, (530, 2000), failing)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found = open_source(tmp_path / name).read((slice(0, 530), slice(0, 700)))
    np.testing.assert_array_equal(found, mask.array)


def test_blocks_cover_every_pixel_once() -> None:
    seen = np.zeros((7, 10, 5), int)
    for block in blocks_of(seen.shape, (3, 4, 5)):
        seen[block] += 1
    assert (seen == 1).all()


def test_background_is_written_too_so_that_what_is_missing_is_seen(tmp_path: Path) -> None:
    store = LabelStore.begin(tmp_path / "s", (600, 600), {})
    block = (slice(0, 512), slice(0, 512))
    store.write(block, np.zeros((512, 512), np.uint8))
    folder = tmp_path / "s" / "labels" / "00000.zarr" / "c"
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    line = (tmp_path / "s" / "journal" / "00000.jsonl").read_text(encoding="utf-8").strip()
    assert json.loads(line)["block"] == [[0, 512], [0, 512]]


def test_values_beside_the_class_ids_come_back_exactly(tmp_path: Path) -> None:
    store = LabelStore.begin(tmp_path / "s", (4, 4), {})
    assert store.recall("intensity") is None
    store.remember("intensity", {"mean": [1 / 3], "std": [np.pi]})
    again = LabelStore.resume(tmp_path / "s", {})
    assert again is not None
    assert again.recall("intensity") == {"mean": [1 / 3], "std": [np.pi]}
