"""Mask values that do not count, and values that are shares of two classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maskwright.config import DataConfig
from maskwright.data.description import read_class_labels
from maskwright.data.labelmap import IGNORED, LabelMap, split_ignored
from maskwright.data.labels import recognise
from maskwright.io.image import Image


def _masks(*arrays: object, dtype: type = np.uint8) -> list[tuple[str, Image]]:
    return [(f"{n}.png", Image(np.array([array], dtype))) for n, array in enumerate(arrays)]


def test_the_value_that_does_not_count_is_no_class() -> None:
    masks = _masks([[0, 1, 2, 255]], [[0, 2, 1, 255]])
    plain, _ = recognise(masks, DataConfig())
    label_map, problems = recognise(masks, DataConfig(ignore=255))
    assert problems == []
    assert plain is not None
    assert label_map is not None
    assert (plain.classes, label_map.classes) == (4, 3)
    ids = label_map.encode(masks[0][1])
    assert ids.tolist() == [[0, 1, 2, IGNORED]]
    classes, valid = split_ignored(ids)
    assert valid is not None
    assert classes.tolist() == [[0, 1, 2, 0]]
    assert valid.tolist() == [[True, True, True, False]]


def test_what_does_not_count_goes_there_and_back_through_the_configuration() -> None:
    label_map, _ = recognise(_masks([[0, 255, 7]]), DataConfig(ignore=7))
    assert label_map is not None
    assert label_map.values == ((0,), (255,))
    again = LabelMap.from_config(DataConfig(**label_map.to_settings()))
    assert again.ignore == 7
    assert again.encode(_masks([[7, 255]])[0][1]).tolist() == [[IGNORED, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_objects_may_have_a_number_that_does_not_count(dtype: type) -> None:
    config = DataConfig(mask_kind="objects", ignore=9)
    masks = _masks([[0, 3, 9, 4]], dtype=dtype)
    label_map, _ = recognise(masks, config)
    assert label_map is not None
    assert label_map.encode(masks[0][1]).tolist() == [[0, 1, IGNORED, 1]]


def test_masks_in_which_nothing_counts_are_refused() -> None:
    label_map, problems = recognise(_masks([[5, 5]]), DataConfig(ignore=5))
    assert label_map is None
    assert [problem.code for problem in problems] == ["masks-all-ignored"]


def test_a_task_may_name_the_value_that_does_not_count(tmp_path: Path) -> None:
    labels = {"background": 0, "tumour": 1, "ignore": 2}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert read_class_labels(tmp_path, []) == ((("background", 0), ("tumour", 1)), 2)


QUARTERS = _masks([[0, 0.25, 0.5, 0.75, 1]], [[0, 0, 0, 1, 1]], dtype=np.float32)


def test_fractions_are_refused_with_what_to_do() -> None:
    label_map, (problem,) = recognise(QUARTERS, DataConfig())
    assert label_map is None
    assert problem.code == "mask-fractional"
    assert "0.25, 0.5, 0.75" in problem.message
    assert "data.soft=true" in problem.remedy


def test_fractions_are_shares_where_asked_for() -> None:
    label_map, problems = recognise(QUARTERS, DataConfig(soft=True))
    assert problems == []
    assert label_map is not None
    assert label_map.encode(QUARTERS[0][1]).tolist() == [[0, 0, 1, 1, 1]]
    assert label_map.shares(QUARTERS[0][1]).tolist() == [[0, 0.25, 0.5, 0.75, 1]]
    settings = DataConfig(**label_map.to_settings(), soft=True)
    again, problems = recognise(QUARTERS, settings)
    assert problems == []
    assert again == label_map


def test_grey_values_between_two_classes_are_shares_too() -> None:
    masks = _masks([np.arange(0, 201, 2)])
    assert recognise(masks, DataConfig())[0] is None
    label_map, _ = recognise(masks, DataConfig(soft=True))
    assert label_map is not None
    assert label_map.shares(masks[0][1])[0, 25] == pytest.approx(0.25)
    named = DataConfig(soft=True, labels=(("cell", 200), ("gap", 0)))
    label_map, _ = recognise(masks, named)
    assert label_map is not None
    assert label_map.shares(masks[0][1])[0, 25] == pytest.approx(0.75)


def test_bits_stay_bits_where_shares_are_asked_for() -> None:
    masks = [("a.png", Image(np.array([[[False, True]]])))]
    label_map, problems = recognise(masks, DataConfig(soft=True))
    assert problems == []
    assert label_map is not None
    assert label_map.shares(masks[0][1]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "config",
    [
        DataConfig(soft=True, mask_kind="objects"),
        DataConfig(soft=True, labels=(("a", 0), ("b", 1), ("c", 2))),
    ],
)
def test_what_holds_no_shares_is_refused(config: DataConfig) -> None:
    label_map, (problem,) = recognise(_masks([[0, 1, 2]]), config)
    assert label_map is None
    assert problem.code == "mask-soft"


def test_numbers_beyond_one_are_no_shares() -> None:
    masks = _masks([[0, 0.5, 3.5]], dtype=np.float32)
    label_map, (problem,) = recognise(masks, DataConfig(soft=True))
    assert label_map is None
    assert problem.code == "mask-fractional"
