"""Every kind of file comes back: pixels, data type, spacing and place, and so does its mask."""

from __future__ import annotations

import numpy as np
import pytest
from every_format import WAYS, Drawn, Way
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from scipy.spatial.transform import Rotation

from maskwright.io.formats import FORMATS
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, read_header, read_image, read_mask, write_mask
from maskwright.io.source import open_source
from maskwright.io.space import Geometry

NAMES = [f"{way.format} {way.name} {way.suffix}" for way in WAYS]


def test_every_format_and_suffix_is_in_the_table() -> None:
    listed = {(way.format, way.suffix) for way in WAYS}
    alike = {".tiff": ".tif", ".jpeg": ".jpg"}
    missing = {
        (format_.name, suffix)
        for format_ in FORMATS
        for suffix in format_.suffixes or ("",)
        if not {(format_.name, suffix), (format_.name, alike.get(suffix, suffix))} & listed
    }
    assert missing == set()
    assert {way.format for way in WAYS} == {format_.name for format_ in FORMATS}


def _draw(way: Way, seed: int, flip: int) -> Drawn:
    random = np.random.default_rng(seed)
    size = tuple(int(n) for n in (random.integers(6, 9), *random.integers(10, 20, 2)))[-way.dims :]
    dtype = np.dtype(random.choice(way.dtypes))
    if dtype.kind == "f":
        array = random.normal(0, 1e3, (way.channels, *size)).astype(dtype)
    else:
        high = min(np.iinfo(dtype).max, 30_000)
        array = random.integers(0, high, (way.channels, *size), endpoint=True).astype(dtype)
    if way.format == "DICOM-SEG":
        array %= 5
    # As coarse as the text of a DICOM header, so that nothing is lost before it is written.
    spacing_mm = tuple(float(mm) for mm in random.uniform(0.05, 5, way.dims).round(4))
    origin = tuple(float(mm) for mm in random.uniform(-200, 200, 3).round(4))
    turn = Rotation.random(random_state=seed).as_matrix()
    if way.format not in ("DICOM", "DICOM-SEG"):
        turn = turn * [1, 1, -1 if flip & 1 else 1]
    if flip & 2:
        turn = np.rint(Rotation.from_euler("xyz", [90, 180, 90], degrees=True).as_matrix())
    return Drawn(array, spacing_mm, origin, turn)


def _corners(geometry: Geometry, size: tuple[int, ...]) -> np.ndarray:
    steps = np.array(geometry.direction) * geometry.spacing_xyz
    last = np.array(size[::-1]) - 1
    return np.array([steps @ (last * c) + geometry.origin_xyz for c in np.ndindex(2, 2, 2)])


def _check_place(way: Way, image: Image, drawn: Drawn, *, within_mm: float) -> None:
    """NIfTI keeps its matrices in single precision, DICOM text of 16 characters."""
    if way.keeps == "nothing":
        assert image.spacing_mm is None
        return
    assert image.spacing_mm == pytest.approx(drawn.spacing_mm, rel=1e-5)
    if way.keeps == "spacing":
        return
    turn = drawn.turn if way.keeps == "place" else np.eye(3)
    rows = tuple(tuple(row) for row in turn.tolist())
    wanted = Geometry(drawn.spacing_mm[::-1], drawn.origin, rows)
    assert image.geometry is not None
    apart = _corners(image.geometry, image.size) - _corners(wanted, image.size)
    assert np.abs(apart).max() < within_mm


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31), flip=st.integers(0, 3))
def test_pixels_type_and_place_come_back_and_those_of_the_mask_too(
    tmp_path_factory: pytest.TempPathFactory, way: Way, seed: int, flip: int
) -> None:
    folder, drawn = tmp_path_factory.mktemp("a"), _draw(way, seed, flip)
    path = folder / f"image{way.suffix}"
    way.write(path, drawn)
    image, header, source = read_image(path), read_header(path), open_source(path)
    array = drawn.array
    if way.format == "JPEG":
        decoded = np.asarray(PillowImage.open(path))
        array = decoded[None] if decoded.ndim == 2 else np.moveaxis(decoded, -1, 0)
    if way.format == "GIF":  # a palette of greys
        array = np.repeat(array, image.channels, axis=0)
    wanted = array.dtype
    if way.format == "DICOM-SEG":
        wanted = np.dtype("u1" if array.max() <= 255 and len(np.unique(array)) > 1 else "u2")
    assert image.array.dtype == source.dtype == header.dtype == wanted
    assert np.array_equal(image.array, array)
    assert (header.size, header.format) == (image.size, way.format)
    assert (source.shape, source.spacing_mm) == (image.array.shape, image.spacing_mm)
    block = tuple(slice(n // 3, n - 1) for n in image.size)
    assert np.array_equal(source.read(block), array[(slice(None), *block)])
    _check_place(way, image, drawn, within_mm=2e-4 if way.format == "NIfTI" else 1e-6)
    target = folder / f"mask{mask_suffix(path)}"
    classes = np.random.default_rng(seed).integers(0, 4, image.size).astype(np.uint8)
    for values in (classes, (classes.astype(np.uint16) * 300), classes > 1):
        if values.dtype == np.uint16 and target.suffix in (".bmp", ".gif"):
            continue
        write_mask(target, Image(values[None]).placed_as(image))
        mask = read_mask(target)
        assert np.array_equal(mask.array[0] > 0 if values.dtype == bool else mask.array[0], values)
        assert mask.array.dtype in ((bool, np.uint8) if values.dtype == bool else (values.dtype,))
        if way.keeps != "nothing":
            _check_place(way, mask, drawn, within_mm=2e-4 if ".nii" in target.name else 1e-6)
