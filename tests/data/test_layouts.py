"""Layouts beyond two folders: a folder an image, a manifest, slices of stacks, companions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.config import DataConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.dataset import Dataset, find_cases
from maskwright.data.files import find_images
from maskwright.data.object_folders import read_objects
from maskwright.data.split import Split, split_by_parts
from maskwright.errors import DataError, ImageReadError


def _save(path: Path, array: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if array.ndim == 3:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    else:
        Pillow.fromarray(array).save(path)
    return path


def _noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape or (12, 16)).astype(np.uint8)


def _disc(y: int, x: int, *, shape: tuple[int, int] = (12, 16)) -> NDArray[np.uint8]:
    rows, columns = np.indices(shape)
    return (((rows - y) ** 2 + (columns - x) ** 2 <= 9) * 255).astype(np.uint8)


def _problems(found: Dataset | CheckReport) -> dict[str, str]:
    for problem in found.problems:
        assert problem.message
        assert problem.remedy or problem.level == "skip"
    return {problem.code: problem.level for problem in found.problems}


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """Three images in folders of their own, each with three objects that do not touch."""
    for seed, name in enumerate(("a1", "b2", "c3")):
        _save(tmp_path / f"{name}/images/{name}.png", _noise(seed))
        for number, (y, x) in enumerate([(3, 3), (3, 12), (8, 7)]):
            _save(tmp_path / f"{name}/masks/object_{number + 8}.png", _disc(y, x))
    return tmp_path


def test_a_folder_for_each_image_becomes_a_mask_of_numbered_objects(kaggle: Path) -> None:
    report = check_dataset(kaggle)
    assert report.ok
    assert report.label_map is not None
    assert report.label_map.kind == "objects"
    assert "9 objects, 3 to 3 a mask" in "\n".join(report.lines())
    case = report.cases[1]
    numbers = case.read_mask().array[0]
    # Natural order: object_8, object_9, object_10.
    assert [int(numbers[y, x]) for y, x in ((3, 3), (3, 12), (8, 7))] == [1, 2, 3]
    assert [path.name for path in find_images([kaggle])] == ["a1.png", "b2.png", "c3.png"]


def test_where_objects_overlap_the_later_one_wins_and_it_is_told(kaggle: Path) -> None:
    _save(kaggle / "b2/masks/object_11.png", _disc(3, 4))
    report = check_dataset(kaggle)
    assert _problems(report) == {"objects-overlap": "warn"}
    both = int(((_disc(3, 3) > 0) & (_disc(3, 4) > 0)).sum())
    assert f"{both} pixels" in "\n".join(report.lines())
    assert int(report.cases[1].read_mask().array[0, 3, 3]) == 4


def test_an_object_of_which_nothing_is_left_is_told(kaggle: Path) -> None:
    _save(kaggle / "b2/masks/object_99.png", _disc(3, 3))
    _save(kaggle / "c3/masks/object_7.png", np.zeros((12, 16), np.uint8))
    report = check_dataset(kaggle)
    assert _problems(report) == {"objects-overlap": "warn", "object-empty": "warn"}
    text = "\n".join(report.lines())
    assert "b2/object_8.png" in text
    assert "c3/object_7.png" in text


def test_no_objects_reads_the_same_folders_as_one_class(kaggle: Path) -> None:
    report = check_dataset(kaggle, DataConfig(mask_kind="values"))
    assert report.label_map is not None
    assert report.label_map.kind == "bool"
    assert set(np.unique(report.label_map.encode(report.cases[0].read_mask()))) == {0, 1}


def test_one_mask_in_each_folder_is_an_ordinary_mask(kaggle: Path) -> None:
    for path in kaggle.glob("*/masks/object_[!8].png"):
        path.unlink()
    for path in kaggle.glob("*/masks/object_1*.png"):
        path.unlink()
    report = check_dataset(kaggle)
    assert report.label_map is not None
    assert report.label_map.kind == "values"
    assert report.cases[0].objects == ()


def test_folders_without_masks_or_with_two_images_are_refused_by_name(kaggle: Path) -> None:
    for path in (kaggle / "a1/masks").iterdir():
        path.unlink()
    _save(kaggle / "b2/images/other.png", _noise(9))
    found = find_cases(kaggle)
    assert _problems(found)["mask-missing"] == _problems(found)["folder-images"] == "refuse"
    told = {problem.code: problem.message for problem in found.problems}
    assert "a1" in told["mask-missing"]
    assert "b2 (2)" in told["folder-images"]


@pytest.mark.parametrize(
    ("odd", "code"),
    [(_noise(5), "object-values"), (_disc(3, 3, shape=(9, 9)), "mask-shape")],
)
def test_what_is_no_mask_of_one_object_is_refused(
    kaggle: Path, odd: NDArray[np.uint8], code: str
) -> None:
    paths = [kaggle / "a1/masks/object_8.png", _save(kaggle / "a1/masks/object_9.png", odd)]
    with pytest.raises(ImageReadError, match=code):
        read_objects(paths)
    assert _problems(check_dataset(kaggle))[code] == "refuse"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A manifest whose images share a name and lie in several folders."""
    rows = ["image,mask,image_label,group,split,roi"]
    for number in range(6):
        folder, part = f"p{number // 2}", ("train", "train", "val", "val", "test", "test")[number]
        _save(tmp_path / f"{folder}/{number % 2}/scan.png", _noise(number))
        _save(tmp_path / f"drawn/{number}.png", _disc(3, 3 + number))
        rows.append(f"{folder}/{number % 2}/scan.png,drawn/{number}.png,{'ab'[number % 2]},"
                    f"{folder},{part},")  # fmt: skip
    _save(tmp_path / "fields/0.png", np.full((12, 16), 255, np.uint8))
    rows[1] += "fields/0.png"
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.parametrize("by_name", [True, False])
def test_a_manifest_names_cases_groups_parts_labels_and_regions(table: Path, by_name: bool) -> None:
    found = find_cases(table / "manifest.csv" if by_name else table)
    assert found.problems == ()
    names = [case.name for case in found.cases]
    assert names == [f"p{n // 2}_{n % 2}_scan" for n in range(6)]
    assert [case.group for case in found.cases] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert [case.image_label for case in found.cases] == list("ababab")
    assert found.cases[0].roi == table / "fields/0.png"
    assert found.cases[1].roi is None
    assert "3 groups" in found.grouping
    split = split_by_parts(
        found.cases, seed=0, validation_share=0.2, sequence=False, subject="manifest.csv"
    )
    assert split == Split(tuple(names[:2]), tuple(names[2:4]), tuple(names[4:]))
    assert check_dataset(table).ok


def test_what_a_person_says_of_groups_goes_before_the_manifest(table: Path) -> None:
    groups = {case.group for case in find_cases(table, group_by="_([01])_").cases}
    assert groups == {"0", "1"}


def _broken(table: Path, old: str, new: str) -> Dataset:
    path = table / "manifest.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    return find_cases(table / "manifest.csv")


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("drawn/2.png", "drawn/9.png", "manifest-file", "row 4, column mask"),
        ("p0/1/scan.png", "", "manifest-file", "row 3, column image"),
        ("fields/0.png", "nowhere.png", "manifest-file", "row 2, column roi"),
        (",val,", ",tune,", "manifest-split", "row 4, column split"),
        (",val,", ",,", "manifest-split", "row 4, column split"),
        ("p0/1/scan.png", "p0/0/scan.png", "manifest-twice", "scan.png 2 times"),
        ("image,mask", "picture,mask", "manifest-columns", "not image and mask"),
        ("drawn/2.png", "", "mask-missing", "no mask for scan.png"),
    ],
)
def test_a_manifest_is_refused_by_row(
    table: Path, old: str, new: str, code: str, told: str
) -> None:
    problems = {p.code: p.line() for p in _broken(table, old, new).problems if p.level == "refuse"}
    assert told in problems[code]


def _several_channels(folder: Path, cell: str) -> Dataset:
    rows = ["image,image_3,image_2,mask"]
    for name in ("a", "b"):
        for channel in range(3):
            _save(folder / f"{name}_{channel:04d}.png", _noise(channel))
        _save(folder / f"{name}_drawn.png", _disc(3, 3))
        rows.append(f"{name}_0000.png,{name}_0002.png,{name}_0001.png,{name}_drawn.png")
    (folder / "manifest.csv").write_text("\n".join(rows).replace("b_0002.png", cell) + "\n")
    return find_cases(folder)


def test_a_manifest_names_channels_in_files_of_their_own(tmp_path: Path) -> None:
    found = _several_channels(tmp_path, "b_0002.png")
    assert found.problems == ()
    assert [case.name for case in found.cases] == ["a", "b"]
    read = found.cases[0].read_image()
    for channel, plane_YX in enumerate(read.array):
        assert np.array_equal(plane_YX, _noise(channel))
    assert check_dataset(tmp_path).channels == 3


@pytest.mark.parametrize(
    ("cell", "code"),
    [("", "manifest-file"), ("c.png", "manifest-file"), ("a_0000.png", "manifest-twice")],
)
def test_a_row_that_lacks_a_channel_or_repeats_a_file_is_refused(
    tmp_path: Path, cell: str, code: str
) -> None:
    found = _several_channels(tmp_path, cell)
    assert code in {problem.code for problem in found.problems if problem.level == "refuse"}


def test_a_table_of_other_columns_is_no_manifest(table: Path) -> None:
    (table / "manifest.csv").write_text("file,patient\na,b\n")
    for number in range(2):
        _save(table / f"images/{number}.png", _noise(number))
        _save(table / f"masks/{number}.png", _disc(3, 3))
    assert [case.name for case in find_cases(table).cases] == ["0", "1"]
    with pytest.raises(DataError, match="data-folder"):
        find_cases(table / "nowhere.csv")


def _stacks(root: Path, number: int, depth: int = 6) -> Path:
    for index in range(number):
        image = _noise(index, depth, 12, 16)
        mask = np.zeros((depth, 12, 16), np.uint8)
        mask[1:4, 2:8, 3:9] = 1
        mask[2:5, 8:11, 9:14] = 2
        _save(root / f"images/v{index}.nii.gz", image)
        _save(root / f"masks/v{index}.nii.gz", mask)
    return root


def test_the_slices_of_stacks_are_cases_and_those_of_one_stack_stay_together(
    tmp_path: Path,
) -> None:
    report = check_dataset(_stacks(tmp_path, 3), DataConfig(slices=True))
    assert report.ok
    assert report.dims == 2
    assert [case.name for case in report.cases[:2]] == ["v0_z0000", "v0_z0001"]
    assert len(report.cases) == 18
    assert {case.group for case in report.cases} == {"v0", "v1", "v2"}
    case = report.cases[8]
    assert np.array_equal(case.read_image().array[0], _noise(1, 6, 12, 16)[2])
    assert set(np.unique(case.read_mask().array)) == {0, 1, 2}
    assert report.present["v1_z0002"] == (0, 1, 2)
    assert case.mask_suffix == ".png"


def test_a_single_stack_is_enough_and_cut_into_blocks(tmp_path: Path) -> None:
    root = _stacks(tmp_path, 1, depth=8)
    assert _problems(find_cases(root)) == {"one-case": "refuse"}
    found = find_cases(root, slices=True)
    assert found.problems == ()
    assert found.sequence
    assert len({case.group for case in found.cases}) == 8


def test_a_mask_with_other_slices_than_its_image_is_refused(tmp_path: Path) -> None:
    root = _stacks(tmp_path, 2)
    _save(root / "masks/v1.nii.gz", np.ones((5, 12, 16), np.uint8))
    report = check_dataset(root, DataConfig(slices=True))
    assert _problems(report)["mask-shape"] == "refuse"
    assert _problems(report)["slice-missing"] == "refuse"


def test_empty_slices_at_the_ends_of_a_stack_are_no_copies(tmp_path: Path) -> None:
    image, mask = np.zeros((2, 6, 12, 16), np.uint8)
    image[2:5] = _noise(0, 3, 12, 16)
    mask[3, 2:8, 3:9] = 1
    _save(tmp_path / "images/v.nii.gz", image)
    _save(tmp_path / "masks/v.nii.gz", mask)
    report = check_dataset(tmp_path, DataConfig(slices=True))
    assert _problems(report) == {"mask-empty": "warn", "image-constant": "warn"}
    assert len({case.group for case in report.cases}) == 6


def test_a_stack_that_changes_on_disk_is_read_again(tmp_path: Path) -> None:
    root = _stacks(tmp_path, 1)
    case = find_cases(root, slices=True).cases[0]
    before = case.read_image().array
    _save(root / "images/v0.nii.gz", _noise(7, 6, 14, 16))
    assert case.read_image().array.shape == (1, 14, 16)
    assert before.shape == (1, 12, 16)


def test_two_files_of_which_one_is_called_seg_are_an_image_and_its_mask(tmp_path: Path) -> None:
    _save(tmp_path / "ct.nii.gz", _noise(0, 3, 4, 5))
    _save(tmp_path / "seg.nii.gz", _noise(1, 3, 4, 5))
    found = find_cases(tmp_path)
    assert [(case.name, case.mask and case.mask.name) for case in found.cases] == [
        ("ct", "seg.nii.gz")
    ]
    assert [path.name for path in find_images([tmp_path])] == ["ct.nii.gz"]


def test_companions_are_told_and_their_sizes_are_compared(tmp_path: Path) -> None:
    for number in range(3):
        _save(tmp_path / f"images/{number}.png", _noise(number))
        _save(tmp_path / f"masks/{number}.png", _disc(3, 3))
    _save(tmp_path / "roi/0.png", np.full((12, 16), 255, np.uint8))
    _save(tmp_path / "roi/1.png", np.full((9, 9), 255, np.uint8))
    _save(tmp_path / "second_observer/0.png", _disc(3, 4))
    _save(tmp_path / "spare/a.png", _noise(8))
    report = check_dataset(tmp_path)
    assert _problems(report) == {"companion-unmatched": "warn", "companion-shape": "refuse"}
    text = "\n".join(report.lines())
    for words in ("roi/: where pixels count, for 2 of 3", "for 1 of 3 images", "spare/ (1 image)"):
        assert words in text
