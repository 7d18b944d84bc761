"""Layouts, pairs, and what is in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskwright.data.dataset import Dataset, find_cases
from maskwright.data.files import find_images, group_channels
from maskwright.errors import DataError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _codes(dataset: Dataset) -> dict[str, str]:
    for problem in dataset.problems:
        assert problem.message
        assert problem.remedy or problem.level == "skip"
    return {problem.code: problem.level for problem in dataset.problems}


@pytest.mark.parametrize("images", ["images", "Images", "img", "raw", "input"])
@pytest.mark.parametrize("masks", ["masks", "Labels", "GT", "1st_manual", "ground_truth"])
def test_two_folders_pair_by_name(tmp_path: Path, images: str, masks: str) -> None:
    _touch(tmp_path, f"{images}/a.jpg", f"{images}/b.png", f"{masks}/a.png", f"{masks}/b_mask.tif")
    dataset = find_cases(tmp_path)
    assert dataset.problems == ()
    assert [(c.name, c.image.name, c.mask and c.mask.name) for c in dataset.cases] == [
        ("a", "a.jpg", "a.png"),
        ("b", "b.png", "b_mask.tif"),
    ]


def test_one_folder_is_told_apart_by_marks(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png")
    dataset = find_cases(tmp_path)
    assert dataset.problems == ()
    assert [(c.image.name, c.mask and c.mask.name) for c in dataset.cases] == [
        ("a.png", "a_mask.png"),
        ("b.png", "b_mask.png"),
    ]


def test_images_beside_a_folder_of_masks_pair(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "b.png", "masks/a.png", "masks/b.png")
    assert [c.mask for c in find_cases(tmp_path).cases] == [
        tmp_path / "masks/a.png",
        tmp_path / "masks/b.png",
    ]


def test_the_manual_masks_win_over_the_field_of_view(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        *(f"images/{n}_training.tif" for n in (21, 22)),
        *(f"1st_manual/{n}_manual1.gif" for n in (21, 22)),
        *(f"mask/{n}_training_mask.gif" for n in (21, 22)),
    )
    dataset = find_cases(tmp_path)
    assert [c.mask and c.mask.parent.name for c in dataset.cases] == ["1st_manual"] * 2
    assert _codes(dataset) == {"folder-choice": "warn"}


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path / "no")
    assert caught.value.code == "data-folder"


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "images/notes.txt", "masks/a.png")
    assert _codes(find_cases(tmp_path)) == {"other-files": "skip", "no-image": "refuse"}


def test_images_without_any_mask_are_refused_and_listed(tmp_path: Path) -> None:
    dataset = find_cases(_touch(tmp_path, "images/a.png", "images/b.png"))
    assert _codes(dataset) == {"masks-missing": "refuse"}
    assert "a.png, b.png" in dataset.problems[0].message


def test_unpaired_files_are_refused_and_named(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"images/{n}.png" for n in "abc"), *(f"masks/{n}.png" for n in "abd"))
    dataset = find_cases(tmp_path)
    assert _codes(dataset) == {"mask-missing": "refuse", "mask-orphan": "refuse"}
    assert "c.png" in dataset.problems[0].message
    assert "d.png" in dataset.problems[1].message
    assert "skip_unpaired" in dataset.problems[1].remedy


def test_unpaired_files_are_left_out_and_listed_when_asked(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"images/{n}.png" for n in "abc"), *(f"masks/{n}.png" for n in "abd"))
    dataset = find_cases(tmp_path, skip_unpaired=True)
    assert _codes(dataset) == {"mask-missing": "skip", "mask-orphan": "skip"}
    assert [case.name for case in dataset.cases] == ["a", "b"]


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "images/a.png",
        "images/b.png",
        "masks/a_mask.png",
        "masks/a_seg.png",
        "masks/b.png",
    )
    assert _codes(find_cases(tmp_path)) == {"mask-ambiguous": "refuse"}


def test_the_same_name_with_two_suffixes_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.png", "images/a.tif", "images/b.png", "masks/a.png", "masks/b.png")
    assert _codes(find_cases(tmp_path)) == {"name-twice": "refuse"}


def test_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    one = _touch(tmp_path / "1", "images/a.png", "images/A.png", "masks/a.png", "masks/A.png")
    assert set(_codes(find_cases(one))) == {"name-case"}
    two = _touch(tmp_path / "2", "images/a.png", "images/b.png", "masks/A.png", "masks/b.png")
    assert _codes(find_cases(two)) == {"name-case": "refuse"}


def test_one_case_only_is_refused(tmp_path: Path) -> None:
    assert _codes(find_cases(_touch(tmp_path, "images/a.png", "masks/a.png"))) == {
        "one-case": "refuse"
    }


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    outside = _touch(tmp_path / "elsewhere", "a.png")
    root = _touch(tmp_path / "data", "images/b.png", "images/c.png", "masks/b.png", "masks/c.png")
    (root / "images/a.png").symlink_to(outside / "a.png")
    (root / "images/d.png").symlink_to(outside / "nothing.png")
    (root / "images/e.png").symlink_to(root / "images/b.png")
    (root / "masks/e.png").symlink_to(root / "masks/b.png")
    dataset = find_cases(root)
    assert _codes(dataset) == {"symlink-outside": "refuse", "symlink-broken": "refuse"}
    assert [case.name for case in dataset.cases] == ["b", "c", "e"]


def test_a_linked_folder_is_refused_once(tmp_path: Path) -> None:
    outside = _touch(tmp_path / "elsewhere", "a.png", "b.png")
    root = _touch(tmp_path / "data", "masks/a.png")
    (root / "images").symlink_to(outside)
    assert _codes(find_cases(root)) == {"symlink-outside": "refuse", "no-image": "refuse"}


def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    root = _touch(tmp_path / "data", "images/a.png", "masks/a.png")
    tmp_path.chmod(0o755)
    (root / "images").chmod(0o000)
    was_root = os.geteuid() == 0
    parents = [parent for parent in tmp_path.parents if parent.name.startswith("pytest-")]
    modes = [parent.stat().st_mode for parent in parents]
    if was_root:
        for parent in parents:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        codes = _codes(find_cases(root))
    finally:
        if was_root:
            os.seteuid(0)
            for parent, mode in zip(parents, modes, strict=True):
                parent.chmod(mode)
        (root / "images").chmod(0o755)
    assert codes == {"no-permission": "refuse"}


def test_system_files_are_skipped_and_listed(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        *(f"images/{n}" for n in ("a.png", "b.png", ".DS_Store", "Thumbs.db", "._a.png")),
        "masks/a.png",
        "masks/b.png",
    )
    dataset = find_cases(tmp_path)
    assert _codes(dataset) == {"system-files": "skip"}
    assert len(dataset.cases) == 2


@pytest.mark.parametrize("name", ["c.svg", "c.eps", "c.webp", "c.czi", "c.tar.gz"])
def test_images_of_types_that_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    _touch(tmp_path, f"images/{name}", "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    dataset = find_cases(tmp_path)
    assert _codes(dataset) == {"image-unsupported": "refuse"}
    assert name in dataset.problems[0].subject


def test_groups_follow_the_first_group_of_the_pattern_or_the_whole_match(tmp_path: Path) -> None:
    names = ["a1x", "a2x", "b1y"]
    _touch(tmp_path, *(f"{part}/{name}.png" for part in ("images", "masks") for name in names))
    by_letter = find_cases(tmp_path, group_by="^([a-z])")
    assert [case.group for case in by_letter.cases] == ["a", "a", "b"]
    assert "2 groups" in by_letter.grouping
    by_end = find_cases(tmp_path, group_by="[xy]$")
    assert [case.group for case in by_end.cases] == ["x", "x", "y"]


@pytest.mark.parametrize(("pattern", "code"), [("(", "group-pattern"), ("z", "group-unmatched")])
def test_a_pattern_that_cannot_group_is_refused(tmp_path: Path, pattern: str, code: str) -> None:
    _touch(tmp_path, *(f"{part}/{name}.png" for part in ("images", "masks") for name in "ab"))
    assert _codes(find_cases(tmp_path, group_by=pattern)) == {code: "refuse"}


def test_consecutive_names_are_a_sequence_unless_grouped(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"{part}/s_{n}.png" for part in ("images", "masks") for n in range(8, 12)))
    dataset = find_cases(tmp_path)
    assert dataset.sequence
    assert [case.name for case in dataset.cases] == ["s_8", "s_9", "s_10", "s_11"]
    assert not find_cases(tmp_path, group_by=".*").sequence


def test_inputs_are_files_folders_and_patterns_each_once(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "a/images/1.png",
        "a/masks/1.png",
        "b/2.png",
        "b/10.jpg",
        "b/.x.png",
        "b/notes.txt",
    )
    found = find_images([tmp_path / "a", str(tmp_path / "b/*"), tmp_path / "b/2.png"])
    assert [path.name for path in found] == ["1.png", "2.png", "10.jpg"]


def test_masks_beside_images_are_not_inputs(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png", "a_mask.png", "b.png")
    assert [path.name for path in find_images([tmp_path])] == ["a.png", "b.png"]


def test_inputs_that_give_nothing_are_errors(tmp_path: Path) -> None:
    _touch(tmp_path, "empty/notes.txt", "a/1.png", "b/1.tif", "x.svg")
    for given, code in (
        ([tmp_path / "no.png"], "input-missing"),
        ([tmp_path / "q*.png"], "input-missing"),
        ([tmp_path / "empty"], "input-empty"),
        ([tmp_path / "x.svg"], "image-unsupported"),
        ([tmp_path / "a", tmp_path / "b"], "name-twice"),
    ):
        with pytest.raises(DataError) as caught:
            find_images(given)
        assert caught.value.code == code


def _task(root: Path, images: list[str], labels: list[str], description: str | None = None) -> Path:
    _touch(root, *(f"imagesTr/{n}" for n in images), *(f"labelsTr/{n}" for n in labels))
    if description is not None:
        (root / "dataset.json").write_text(description, encoding="utf-8")
    return root


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".png"])
def test_a_task_of_the_decathlon_is_taken_as_it_is(tmp_path: Path, suffix: str) -> None:
    names = [f"a_{n:03d}{suffix}" for n in (1, 2, 4)]
    dataset = find_cases(_task(tmp_path, [*names, "._a_001" + suffix], names))
    assert [(c.name, c.image.name, c.mask and c.mask.name) for c in dataset.cases] == [
        (f"a_{n:03d}", f"a_{n:03d}{suffix}", f"a_{n:03d}{suffix}") for n in (1, 2, 4)
    ]
    assert _codes(dataset) == {"system-files": "skip"}
    assert dataset.labels == ()


def test_images_without_labels_are_left_out_of_a_task_with_a_warning(tmp_path: Path) -> None:
    names = ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    dataset = find_cases(_task(tmp_path, names, names[:2]))
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert _codes(dataset) == {"mask-missing": "warn"}
    assert "1 image without a mask, left out: c.nii.gz" in dataset.problems[0].message
    assert _codes(find_cases(tmp_path, skip_unpaired=True)) == {"mask-missing": "skip"}
    (tmp_path / "imagesTr/a.nii.gz").unlink()
    (tmp_path / "imagesTr/d.nii.gz").touch()
    assert _codes(find_cases(tmp_path))["mask-orphan"] == "refuse"


def test_a_task_without_any_label_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labelsTr").mkdir()
    assert _codes(find_cases(_task(tmp_path, ["a.nii.gz", "b.nii.gz"], []))) == {
        "masks-missing": "refuse"
    }


@pytest.mark.parametrize(("images", "masks"), [("imagesTr", "labelsTr"), ("images", "masks")])
def test_files_of_channels_are_one_case(tmp_path: Path, images: str, masks: str) -> None:
    files = [f"{images}/p{n}_000{c}.nii.gz" for n in (1, 2) for c in (0, 1, 2)]
    dataset = find_cases(_touch(tmp_path, *files, f"{masks}/p1.nii.gz", f"{masks}/p2.nii.gz"))
    assert dataset.problems == ()
    assert [(c.name, c.image.name, [p.name for p in c.more]) for c in dataset.cases] == [
        (f"p{n}", f"p{n}_0000.nii.gz", [f"p{n}_0001.nii.gz", f"p{n}_0002.nii.gz"]) for n in (1, 2)
    ]
    (tmp_path / images / "p2_0001.nii.gz").unlink()
    dataset = find_cases(tmp_path)
    assert _codes(dataset) == {"channels-missing": "refuse"}
    assert "not all of p2" in dataset.problems[0].message


def test_four_digits_that_number_images_are_no_channels(tmp_path: Path) -> None:
    names = [f"case_{n:04d}.png" for n in (0, 1, 2, 7)]
    dataset = find_cases(_task(tmp_path, names, names))
    assert [case.name for case in dataset.cases] == [name[:-4] for name in names]
    assert all(case.more == () for case in dataset.cases)


@pytest.mark.parametrize(
    "labels", ['{"0": "background", "2": "tail", "1": "head"}',
               '{"background": 0, "tail": 2, "head": 1, "ignore": 3}'],
)  # fmt: skip
def test_class_names_are_read_in_both_directions(tmp_path: Path, labels: str) -> None:
    names = ["a.nii.gz", "b.nii.gz"]
    dataset = find_cases(_task(tmp_path, names, names, f'{{"labels": {labels}}}'))
    assert dataset.labels == (("background", 0), ("head", 1), ("tail", 2))
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [("{", "dataset-json"), ("[]", "dataset-json"), ('{"labels": 3}', "dataset-json"),
     ("{}", "dataset-json"), ('{"labels": {"all": [1, 2], "core": 2}}', "dataset-regions")],
)  # fmt: skip
def test_a_description_that_cannot_be_used_is_a_warning(
    tmp_path: Path, text: str, code: str
) -> None:
    names = ["a.nii.gz", "b.nii.gz"]
    dataset = find_cases(_task(tmp_path, names, names, text))
    assert _codes(dataset) == {code: "warn"}
    assert dataset.labels == ()


def test_volumes_with_consecutive_numbers_are_subjects_and_no_stack(tmp_path: Path) -> None:
    names = [f"spleen_{n}.nii.gz" for n in range(1, 6)]
    dataset = find_cases(_task(tmp_path / "a", names, names))
    assert not dataset.sequence
    assert dataset.grouping == "each image stands alone"
    slices = [f"slice_{n}.png" for n in range(1, 6)]
    assert find_cases(_task(tmp_path / "b", slices, slices)).sequence


def test_the_voxels_beside_a_header_are_no_file_of_their_own(tmp_path: Path) -> None:
    names = ("a.mhd", "a.zraw", "b.mhd", "b.raw", "c.nhdr", "c.raw.gz", "d.raw.gz")
    _touch(tmp_path, *(f"images/{n}" for n in names), *(f"masks/{n}.nii.gz" for n in "abc"))
    dataset = find_cases(tmp_path)
    assert [case.image.name for case in dataset.cases] == ["a.mhd", "b.mhd", "c.nhdr"]
    assert _codes(dataset) == {"image-unsupported": "refuse"}


def test_inputs_may_be_volumes_and_their_channels(tmp_path: Path) -> None:
    files = [f"images/{n}_000{c}.nii.gz" for n in "ab" for c in (0, 1)]
    found = find_images([_touch(tmp_path, *files)])
    assert [path.name for path in found] == [Path(name).name for name in files]
    two = group_channels(found, 2)
    assert {name: [p.name for p in paths] for name, paths in two.items()} == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"], "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }  # fmt: skip
    for channels, paths in ((1, found), (3, found), (2, found[:3])):
        alone = group_channels(paths, channels)
        assert list(alone) == [path.name[:6] for path in paths]
