"""Labels of whole images: every name pairs, or is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskwright.data.image_labels import image_labels, labels_by_content, read_image_labels
from maskwright.errors import DataError

NAMES = ["a_1", "a_2", "b.c"]


def _table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _refused(path: Path | str, names: list[str] = NAMES) -> DataError:
    with pytest.raises(DataError) as caught:
        image_labels(str(path), names)
    return caught.value


def test_names_pair_by_case_file_stem_and_channel(tmp_path: Path) -> None:
    rows = "image,label\nimages/a_1.nii.gz,ill\na_2_0000.png,well\nb.c,ill\n"
    found = read_image_labels(_table(tmp_path, rows), NAMES)
    assert found.classes == ("ill", "well")
    assert found.label_of == {"a_1": 0, "a_2": 1, "b.c": 0}


def test_classes_are_numbered_in_natural_order(tmp_path: Path) -> None:
    rows = "\ufeffimage;age;label\na_1;4;10\na_2;4;9\nb.c;4;10\n"
    found = read_image_labels(_table(tmp_path, rows), NAMES)
    assert found.classes == ("9", "10")
    assert found.label_of == {"a_1": 1, "a_2": 0, "b.c": 1}


@pytest.mark.parametrize(
    ("rows", "code", "named"),
    [
        ("image,label\na_1,x\na_2,y\nb.c,x\nq,x\n", "unknown", "q"),
        ("image,label\na_1,x\na_2,y\n", "missing", "b.c"),
        ("image,label\na_1,x\na_2,y\nb.c,\n", "missing", "b.c"),
        ("image,label\na_1,x\na_2,y\nb.c,x\na_1.png,y\n", "twice", "a_1"),
        ("image,label\na_1,x\na_2,x\nb.c,x\n", "one-class", "'x'"),
        ("name,label\na_1,x\n", "columns", "name, label"),
        ("image,label\n", "columns", "no row"),
    ],
)
def test_what_does_not_pair_is_refused_by_name(
    tmp_path: Path, rows: str, code: str, named: str
) -> None:
    error = _refused(_table(tmp_path, rows))
    assert error.code == f"image-labels-{code}"
    assert named in error.found


def test_the_same_row_twice_is_no_contradiction(tmp_path: Path) -> None:
    rows = "image,label\na_1,x\na_1.png,x \na_2,y\nb.c,x\n"
    assert read_image_labels(_table(tmp_path, rows), NAMES).label_of["a_1"] == 0


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    assert isinstance(_refused(tmp_path / "no.csv"), DataError)


def test_labels_follow_from_what_the_masks_hold() -> None:
    present = {"a_1": (0,), "a_2": (0, 2), "b.c": (0, 1)}
    classes = ("background", "lung", "tumour")
    for source in ("contains:tumour", "contains:2"):
        found = image_labels(source, NAMES, class_names=classes, present=present)
        assert found.classes == ("without tumour", "with tumour")
        assert found.label_of == {"a_1": 0, "a_2": 1, "b.c": 0}


@pytest.mark.parametrize(
    ("wanted", "code"), [("liver", "class"), ("3", "class"), ("heart", "one-class")]
)
def test_a_class_that_tells_nothing_apart_is_refused(wanted: str, code: str) -> None:
    present = {"a_1": (0,), "a_2": (0, 1), "b.c": (0, 1)}
    with pytest.raises(DataError) as caught:
        labels_by_content(wanted, NAMES, ("background", "lung", "heart"), present)
    assert caught.value.code == f"image-labels-{code}"


def test_a_class_in_every_mask_is_learnt_from_patches_without_it() -> None:
    present = dict.fromkeys(NAMES, (0, 1))
    found = labels_by_content("1", NAMES, ("background", "lung"), present)
    assert set(found.label_of.values()) == {1}


def test_a_case_without_a_mask_is_named() -> None:
    with pytest.raises(DataError, match=r"b\.c") as caught:
        labels_by_content("1", NAMES, ("background", "lung"), {"a_1": (0,), "a_2": (0, 1)})
    assert caught.value.code == "image-labels-missing"
