"""What file names say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.data.naming import find_groups, is_sequence, natural_key, pair_names, separate


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a", "a"),
        ("a", "a_mask"),
        ("a", "mask_a"),
        ("a", "a-labels"),
        ("a", "a_seg"),
        ("Image_01L", "Image_01L_1stHO"),
        ("21_training", "21_manual1"),
        ("a_img", "a_gt"),
        ("case_0000", "case"),
        ("image_7", "label_7"),
    ],
)
def test_names_of_known_data_sets_pair(image: str, mask: str) -> None:
    assert pair_names([image, "other"], [mask]) == {image: [mask], "other": []}


def test_two_marked_masks_of_one_image_are_an_ambiguity() -> None:
    assert pair_names(["a"], ["a_mask", "a_seg"]) == {"a": ["a_mask", "a_seg"]}


def test_an_equal_name_wins_over_a_marked_one() -> None:
    assert pair_names(["a"], ["a_mask", "a"]) == {"a": ["a"]}


def test_images_with_the_same_core_do_not_share_a_mask() -> None:
    assert pair_names(["a_img", "a_raw"], ["a_mask"]) == {"a_img": [], "a_raw": []}


def test_one_folder_is_separated_by_marks_only_when_they_pair() -> None:
    assert separate(["a", "a_mask", "b"]) == (["a", "b"], ["a_mask"])
    assert separate(["gas_mask", "plague_mask"]) == (["gas_mask", "plague_mask"], [])


def test_numbers_sort_by_value() -> None:
    assert sorted(["b2", "a10", "a9", "a"], key=natural_key) == ["a", "a9", "a10", "b2"]


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
@settings(max_examples=40, deadline=None)
def test_natural_order_is_total(names: list[str]) -> None:
    assert len({natural_key(name) for name in names}) == len(names)
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_both_eyes_of_a_child_are_one_group() -> None:
    groups, sentence = find_groups(["Image_01L", "Image_01R", "Image_02L", "Image_02R"])
    assert set(groups.values()) == {"Image_01", "Image_02"}
    assert "2 subjects" in sentence


def test_slices_of_a_patient_are_one_group() -> None:
    groups, sentence = find_groups(["p1_10", "p1_11", "p2_7", "p2_9", "p3_1"])
    assert groups == {"p1_10": "p1", "p1_11": "p1", "p2_7": "p2", "p2_9": "p2", "p3_1": "p3"}
    assert "3 subjects" in sentence


@pytest.mark.parametrize(
    "names",
    [
        ["slice_00", "slice_01", "slice_02"],
        ["a_1", "b_1", "c_1"],
        ["a_1", "a_2", "b_1", "b_2"],
        ["cell", "a_1", "a_2", "b_1", "b_2", "c_1"],
        ["1L", "2R"],
    ],
)
def test_other_names_stand_alone(names: list[str]) -> None:
    assert find_groups(names)[0] == {name: name for name in names}


def test_a_sequence_has_one_prefix_and_no_gap() -> None:
    assert is_sequence(["s_08", "s_09", "s_10"])
    assert is_sequence(["3", "1", "2"])
    assert not is_sequence(["s_1", "s_3", "s_4"])
    assert not is_sequence(["s_1", "t_2", "s_3"])
    assert not is_sequence(["s_1", "s_2"])
    assert not is_sequence(["s_1", "s_01", "s_2"])
