"""Scores by size and group, and failures told in words."""

import math

import numpy as np
import pytest

from maskwright.config import EvaluateConfig
from maskwright.evaluate.breakdown import (
    describe_failures,
    diameters,
    score_groups,
    score_sizes,
)
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.measuring import score_case

OBJECTS = EvaluateConfig(measures=("objects",))
NAMES = ("background", "tumour")


def squares(sides, spacing_mm=None, missed=(), name="a", extra=0):
    """Squares of the given sides side by side; those of ``missed`` are not predicted."""
    truth = np.zeros((max(sides) + 2, sum(sides) + 2 * len(sides) + 6), np.uint8)
    prediction = truth.copy()
    left = 1
    for number, side in enumerate(sides):
        box = (slice(1, 1 + side), slice(left, left + side))
        truth[box] = 1
        if number not in missed:
            prediction[box] = 1
        left += side + 2
    if extra:
        prediction[0:extra, left + 1 : left + 1 + extra] = 1
    return score_case(name, prediction, truth, 2, config=OBJECTS, spacing_mm=spacing_mm)


def test_a_diameter_is_that_of_the_disc_or_ball_of_the_same_size_in_mm():
    flat = squares([4], spacing_mm=(0.5, 2.0))
    assert diameters(flat, 1, unit="mm") == pytest.approx([2 * math.sqrt(16 / math.pi)])
    assert diameters(flat, 1, unit="px") == pytest.approx([2 * math.sqrt(16 / math.pi)])
    cube = np.ones((4, 4, 4), np.uint8)
    ball = score_case("b", cube, cube, 2, config=OBJECTS, spacing_mm=(1, 1, 3))
    assert diameters(ball, 1, unit="mm") == pytest.approx([(6 * 64 * 3 / math.pi) ** (1 / 3)])


def test_ranges_of_size_hold_every_object_once():
    case = squares([2, 3, 4, 5, 6, 7, 8, 9], missed=(0, 1, 2))
    bins = score_sizes([case, case], 1, unit="px")
    assert sum(b.n for b in bins) == 16
    assert sum(b.found for b in bins) == 10
    assert bins[0].found == 0
    assert bins[-1].mean_iou == 1.0
    assert [b.high for b in bins[:-1]] == [b.low for b in bins[1:]]
    assert bins[0].label("mm").startswith("below ")
    assert bins[-1].label("mm").endswith(" mm and more")


def test_missed_objects_are_counted_in_words_with_the_size_below_which_they_lie():
    case = squares([2, 3, 9, 9, 9, 9], spacing_mm=(1, 1), missed=(0, 1))
    told = describe_failures([case], NAMES, unit="mm")
    # A square of side 3 has the area of a disc of 3.39 mm.
    assert told == ["2 of 6 tumour objects missed, all below 3.4 mm."]


def test_invented_objects_empty_predictions_and_poor_images_are_told():
    invented = squares([6], name="b", extra=3)
    lost = squares([5, 6], missed=(0, 1), name="c")
    empty = np.zeros((9, 9), np.uint8)
    wrong = score_case("d", np.eye(9, dtype=np.uint8), empty, 2, config=OBJECTS)
    gone = score_case("e", None, np.eye(9, dtype=np.uint8), 2, config=OBJECTS)
    text = " ".join(describe_failures([invented, lost, wrong, gone], NAMES, unit="px"))
    assert "1 of 4 images have no prediction at all: e." in text
    assert "No tumour was predicted in 1 of 3 images that have some: c." in text
    assert "Some tumour was predicted in 1 of 1 images that have none: d." in text
    assert "2 of 3 predicted tumour objects are none" in text
    assert "3 of 4 images have a Dice below 0.5: c (0.00), d (0.00), e (0.00)." in text


def test_without_failure_the_worst_image_is_named():
    good = squares([6, 7])
    assert describe_failures([good], NAMES, unit="px") == [
        "No image failed; the worst, a, has a Dice of 1.00."
    ]


def test_groups_are_scored_only_where_images_belong_together():
    alone = [CaseScore("a", "a", ((1, 0), (0, 1)))]
    assert score_groups(alone) == []
    pairs = [
        CaseScore(f"{g}{k}", g, ((4, wrong), (0, 4)))
        for g, wrong in (("p", 0), ("q", 4))
        for k in range(2)
    ]
    scores = score_groups(pairs)
    assert [s.group for s in scores] == ["q", "p"]
    assert (scores[0].n, scores[0].mean) == (2, pytest.approx(2 * 4 / 12))
