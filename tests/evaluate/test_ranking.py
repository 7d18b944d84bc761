"""AUC and average precision against scikit-learn, with ties and missing classes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from maskwright.errors import DataError
from maskwright.evaluate import ranking
from maskwright.evaluate.ranking import auc, average_precision

scored_pixels = st.lists(
    st.tuples(st.integers(0, 6).map(lambda n: n / 6), st.booleans()), min_size=1, max_size=60
)


@given(scored_pixels)
def test_both_agree_with_scikit_learn_with_many_ties(pixels):
    scores = np.array([score for score, _ in pixels], np.float32)
    truth = np.array([is_true for _, is_true in pixels])
    if truth.any():
        assert average_precision(scores, truth) == pytest.approx(
            average_precision_score(truth, scores)
        )
    if truth.any() and not truth.all():
        assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize("share", [0.02, 0.9])
def test_a_small_and_a_large_class_agree_with_scikit_learn(share):
    compare_with_scikit_learn((200, 300), share)


def test_an_image_of_several_blocks_agrees_with_scikit_learn():
    compare_with_scikit_learn((2 * ranking.BLOCK_PX + 90_000,), 0.5)


def compare_with_scikit_learn(shape, share):
    generator = np.random.default_rng(0)
    truth = generator.random(shape) < share
    scores = generator.random(shape) + 0.3 * truth
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth.ravel(), scores.ravel()))
    assert average_precision(scores, truth) == pytest.approx(
        average_precision_score(truth.ravel(), scores.ravel())
    )


def test_a_perfect_ranking_scores_one_and_a_constant_one_chance():
    truth = np.array([0, 0, 0, 1])
    assert auc(truth * 0.5, truth) == average_precision(truth * 0.5, truth) == 1.0
    assert auc(np.zeros(4), truth) == 0.5
    assert average_precision(np.zeros(4), truth) == 0.25


def test_reversed_scores_mirror_the_area():
    generator = np.random.default_rng(2)
    scores, truth = generator.integers(0, 9, 500), generator.random(500) < 0.3
    assert auc(-scores, truth) == pytest.approx(1 - auc(scores, truth))


def test_an_absent_class_gives_nan():
    scores = np.array([0.1, 0.9])
    assert math.isnan(auc(scores, np.array([0, 0])))
    assert math.isnan(auc(scores, np.array([1, 1])))
    assert math.isnan(average_precision(scores, np.array([0, 0])))
    assert average_precision(scores, np.array([1, 1])) == 1.0


@pytest.mark.parametrize(
    ("scores", "code"), [(np.zeros(3), "scores-shape"), (np.array([0.0, np.nan]), "scores-nan")]
)
def test_scores_that_cannot_be_ranked_are_refused(scores, code):
    with pytest.raises(DataError, match=code):
        auc(scores, np.array([0, 1]))
