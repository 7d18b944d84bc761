"""What is told of volumes before training."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maskwright.config import DataConfig
from maskwright.data.census import MaskCensus
from maskwright.data.check import CheckReport, check_dataset
from maskwright.io.image import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SIZE = (6, 20, 24)


def _write(path: Path, array: np.ndarray, **place: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    volume = sitk.GetImageFromArray(array)
    for key, value in ({"spacing": (0.5, 0.5, 2.0)} | place).items():
        getattr(volume, f"Set{key.capitalize()}")(value)
    sitk.WriteImage(volume, str(path))


def _scan(seed: int, size: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, size).astype(np.float32)


def _labels(seed: int, size: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, size).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A task of four volumes without any fault."""
    for number, name in enumerate("abcd"):
        _write(tmp_path / f"imagesTr/{name}.nii.gz", _scan(number))
        _write(tmp_path / f"labelsTr/{name}.nii.gz", _labels(number))
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "rest", "1": "head", "2": "tail"}}')
    return tmp_path


def _problems(report: CheckReport) -> dict[str, str]:
    return {problem.code: problem.level for problem in report.problems}


def test_a_sound_task_is_ready_and_told_in_voxels_and_millimetres(root: Path) -> None:
    report = check_dataset(root, patch_px=256)
    assert report.ok
    assert report.problems == ()
    assert report.label_map is not None
    assert report.label_map.names == ("rest", "head", "tail")
    lines = report.lines()
    assert lines[1:4] == [
        "4 volumes, grey, float32",
        "size in voxels (depth × height × width): 6 × 20 × 24",
        "voxel size (depth × height × width): 2 × 0.5 × 0.5 mm, 4 times as long along the depth",
    ]
    assert any("value 1 is read as class 1 'head', 33" in line for line in lines)
    assert lines[5].endswith("of the voxels")
    assert (report.dims, report.median_size, report.median_spacing_mm) == (3, SIZE, (2.0, 0.5, 0.5))
    assert report.mean_pixels == 6 * 20 * 24
    assert report.present["a"] == (0, 1, 2)


def test_labels_on_the_command_line_win_over_the_description(root: Path) -> None:
    report = check_dataset(root, DataConfig(labels=(("x", 0), ("y", 1), ("y", 2))))
    assert report.label_map is not None
    assert report.label_map.names == ("x", "y")


def test_a_mask_that_does_not_lie_on_its_image_is_refused_in_millimetres(root: Path) -> None:
    _write(root / "labelsTr/b.nii.gz", _labels(1), origin=(3.2, 0.0, 0.0))
    _write(root / "labelsTr/c.nii.gz", _labels(2), spacing=(0.5, 0.5, 2.5))
    _write(root / "labelsTr/d.nii.gz", _labels(3, (6, 20, 25)))
    report = check_dataset(root)
    assert _problems(report) == {"mask-geometry": "refuse", "mask-shape": "refuse"}
    told = [problem.message for problem in report.problems]
    assert told[0] == "the mask does not lie on its image: origins differ by 3.2 mm"
    assert told[1].endswith("spacings differ by 0.5 mm along one axis")
    assert "6 × 20 × 25 pixels, its image 6 × 20 × 24 (depth × height × width)" in told[2]


def test_many_sizes_are_told_as_ranges(root: Path) -> None:
    for number in range(8):
        size = (5 + number, 20, 30 - number)
        _write(root / f"imagesTr/e{number}.nii.gz", _scan(9 + number, size))
        _write(root / f"labelsTr/e{number}.nii.gz", _labels(9 + number, size))
    lines = check_dataset(root).lines()
    assert lines[2] == "size in voxels (depth × height × width): 5 to 12 × 20 × 23 to 30"


def test_voxel_sizes_that_differ_or_are_unknown_are_warnings(root: Path) -> None:
    for folder, array in (("imagesTr", _scan(0)), ("labelsTr", _labels(0))):
        _write(root / folder / "a.nii.gz", array, spacing=(0.5, 0.5, 3.0))
        head = b"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 24 20 6\n"
        kind = b"MET_FLOAT" if folder == "imagesTr" else b"MET_UCHAR"
        tail = b"ElementType = " + kind + b"\nElementDataFile = LOCAL\n"
        (root / folder / "b.nii.gz").unlink()
        (root / folder / "b.mha").write_bytes(head + tail + array.tobytes())
    report = check_dataset(root)
    assert _problems(report)["spacing-differs"] == "warn"
    assert _problems(report)["spacing-unknown"] == "warn"
    assert "2 to 3 × 0.5 × 0.5 mm" in report.problems[-1].message
    assert report.ok


def test_planes_beside_volumes_are_refused(root: Path) -> None:
    _write(root / "imagesTr/e.nii.gz", _scan(7)[0], spacing=(0.5, 0.5))
    _write(root / "labelsTr/e.nii.gz", _labels(7)[0], spacing=(0.5, 0.5))
    assert _problems(check_dataset(root)) == {"image-dims": "refuse"}


def test_volumes_smaller_than_a_patch_of_three_sides_are_a_warning(root: Path) -> None:
    report = check_dataset(root, patch_px=(8, 16, 16))
    assert _problems(report) == {"image-small": "warn"}
    assert "8 × 16 × 16 pixels" in report.problems[0].message
    assert _problems(check_dataset(root, patch_px=(6, 16, 16))) == {}


def test_channels_in_files_are_one_image(root: Path) -> None:
    for name in "abcd":
        _write(root / f"imagesTr/{name}_0001.nii.gz", _scan(ord(name)))
        (root / f"imagesTr/{name}.nii.gz").rename(root / f"imagesTr/{name}_0000.nii.gz")
    report = check_dataset(root)
    assert (report.problems, report.channels) == ((), 2)
    assert report.cases[0].read_image().array.shape == (2, *SIZE)
    assert report.to_json()["cases"][0]["channels"][0].endswith("a_0001.nii.gz")
    _write(root / "imagesTr/b_0001.nii.gz", _scan(5, (6, 20, 23)))
    report = check_dataset(root)
    assert _problems(report) == {"channel-size": "refuse"}
    assert report.problems[0].subject.endswith("b_0001.nii.gz")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32])
def test_values_are_counted_alike_in_every_type(dtype: type) -> None:
    values = np.random.default_rng(0).choice([0, 1, 7, 90], (30, 70, 200))
    census = MaskCensus()
    census.add("a", Image(values[None].astype(dtype)))
    expected = np.unique(values, return_counts=True)
    assert np.array_equal(census.masks[0].values, expected[0])
    assert np.array_equal(census.masks[0].counts, expected[1])
    assert census.masks[0].values.dtype == np.int64


def test_negative_far_apart_and_fractional_values_are_still_seen() -> None:
    for values, code in (([0, -5], "mask-negative"), ([0.0, 0.5], "mask-fractional")):
        census = MaskCensus()
        census.add("a", Image(np.array(values).reshape(1, 1, 1, 2)))
        assert [problem.code for problem in census.refusals] == [code]
    census = MaskCensus()
    census.add("a", Image(np.array([3, 2**40, 3]).reshape(1, 1, 1, 3)))
    assert census.masks[0].values.tolist() == [3, 2**40]
    assert census.masks[0].counts.tolist() == [2, 1]


def test_counting_a_volume_takes_little_memory() -> None:
    mask = Image(np.zeros((1, 60, 500, 500), np.int16))
    census = MaskCensus()
    tracemalloc.start()
    census.add("a", mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not on this computer")
def test_the_hippocampus_task_is_ready_as_it_comes() -> None:
    report = check_dataset(SHARED / "hippocampus", patch_px=256)
    assert report.ok
    assert len(report.cases) == len({case.group for case in report.cases}) == 60
    assert not report.sequence
    assert _problems(report) == {
        "mask-missing": "warn",
        "image-dtypes": "warn",
        "image-ranges": "warn",
    }
    assert "left out: hippocampus_118.nii.gz" in report.problems[0].message
    assert report.label_map is not None
    assert report.label_map.names == ("background", "anterior", "posterior")
    assert report.class_shares == pytest.approx((0.949, 0.026, 0.025), abs=0.001)
    assert report.lines()[1:4] == [
        "60 volumes, grey, float32 (46), uint8 (14)",
        "size in voxels (depth × height × width): 28 to 44 × 44 to 57 × 31 to 42",
        "voxel size (depth × height × width): 1 × 1 × 1 mm",
    ]
