"""Folders of DICOM slices, written and read by SimpleITK as the other side."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from dicom_series import read_series, write_series
from maskwright.data.files import find_images
from maskwright.errors import ImageReadError
from maskwright.io.image import Image
from maskwright.io.registry import mask_suffix, read_header, read_image, write_mask
from maskwright.io.source import open_source

RNG = np.random.default_rng(4)
VALUES = RNG.integers(0, 2000, (6, 9, 7)).astype(np.int16)


def _series(folder: Path, **options: Any) -> Path:
    return write_series(folder, VALUES, **options)


def _code(folder: Path) -> ImageReadError:
    with pytest.raises(ImageReadError) as caught:
        read_image(folder)
    with pytest.raises(ImageReadError):
        read_header(folder)
    return caught.value


def test_a_series_is_one_volume_as_simpleitk_reads_it(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case.1")
    image, reference = read_image(folder), read_series(folder)
    assert np.array_equal(image.array[0], VALUES)
    assert np.array_equal(image.array[0], SimpleITK.GetArrayFromImage(reference))
    assert image.geometry is not None
    assert image.geometry.spacing_xyz == pytest.approx(reference.GetSpacing())
    assert image.geometry.origin_xyz == pytest.approx(reference.GetOrigin())
    direction = [n for row in image.geometry.direction for n in row]
    assert direction == pytest.approx(reference.GetDirection(), abs=1e-5)
    assert read_header(folder).size == (6, 9, 7)


def test_a_mask_lies_on_its_series_in_simpleitk(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case")
    image = read_image(folder)
    path = tmp_path / f"mask{mask_suffix(folder)}"
    write_mask(path, Image(image.array > 900).placed_as(image))
    mask, reference = SimpleITK.ReadImage(str(path)), read_series(folder)
    assert np.array_equal(SimpleITK.GetArrayFromImage(mask), VALUES > 900)
    for corner in np.ndindex(2, 2, 2):
        index = [int(n) for n in np.array(corner) * (6, 8, 5)]
        apart = np.subtract(
            mask.TransformIndexToPhysicalPoint(index),
            reference.TransformIndexToPhysicalPoint(index),
        )
        assert np.abs(apart).max() < 1e-4


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = read_image(_series(tmp_path / "case", slope=0.5))
    assert np.array_equal(image.array[0], VALUES * 0.5 - 1024)


def test_blocks_read_their_slices_only(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case")
    source = open_source(folder)
    assert (source.lazy, source.chunks) == (True, (1, 9, 7))
    (folder / "IM003.dcm").write_bytes((folder / "IM003.dcm").read_bytes()[:-40])  # the first slice
    found = source.read((slice(2, 5), slice(1, 4), slice(0, 7)))
    assert np.array_equal(found[0], VALUES[2:5, 1:4])
    with pytest.raises(ImageReadError, match=r"IM003\.dcm"):
        source.read((slice(0, 1), slice(0, 9), slice(0, 7)))


def test_a_missing_slice_is_refused_with_its_neighbours_named(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case")
    (folder / "IM000.dcm").unlink()  # the fourth slice, between IM005 and IM001
    error = _code(folder)
    assert error.code == "dicom-gap"
    assert "5 mm from IM005.dcm to IM001.dcm" in error.found


def test_a_slice_twice_is_refused(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case")
    (folder / "copy.dcm").write_bytes((folder / "IM003.dcm").read_bytes())
    assert _code(folder).code == "dicom-gap"


def test_two_series_in_one_folder_are_refused_with_a_slice_named(tmp_path: Path) -> None:
    other = _series(tmp_path / "other", series="1.2.826.0.1.3680043.2.1125.7")
    folder = _series(tmp_path / "case")
    (folder / "x.dcm").write_bytes((other / "IM003.dcm").read_bytes())
    error = _code(folder)
    assert error.code == "dicom-series"
    assert "x.dcm" in error.found


def test_a_localiser_among_the_slices_is_named(tmp_path: Path) -> None:
    other = _series(tmp_path / "other", turn=np.eye(3))
    folder = _series(tmp_path / "case")
    (folder / "x.dcm").write_bytes((other / "IM003.dcm").read_bytes())
    error = _code(folder)
    assert error.code == "dicom-slice"
    assert error.subject.endswith("x.dcm")


def test_folders_of_slices_are_found_as_images(tmp_path: Path) -> None:
    for name in ("p10", "p9"):
        _series(tmp_path / "images" / name)
    assert [path.name for path in find_images([tmp_path])] == ["p9", "p10"]
    assert find_images([tmp_path / "images" / "p9"]) == [tmp_path / "images" / "p9"]
    write_mask(tmp_path / "images" / "p9" / "x.png", Image(np.ones((1, 5, 5), np.uint8)))
    assert [path.name for path in find_images([tmp_path / "images" / "p9"])] == ["x.png"]


def test_damaged_slices_end_in_our_errors(tmp_path: Path) -> None:
    folder = _series(tmp_path / "case")
    whole = (folder / "IM001.dcm").read_bytes()
    for _ in range(25):
        data = bytearray(whole[: RNG.integers(140, len(whole) + 1)])
        for _ in range(2):
            data[RNG.integers(132, len(data))] = RNG.integers(256)
        (folder / "IM001.dcm").write_bytes(data)
        with suppress(ImageReadError):
            assert read_image(folder).array.shape[2:] == (9, 7)
