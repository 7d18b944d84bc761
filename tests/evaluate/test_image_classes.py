"""Scores of the labels of whole images, against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from maskwright.errors import DataError
from maskwright.evaluate.image_classes import ImageClassScore


def _score(classes: int, cases: int = 60, seed: int = 0) -> tuple[ImageClassScore, np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    truth_N = generator.integers(0, classes, cases)
    scores_NL = generator.dirichlet(np.ones(classes), cases) + np.eye(classes)[truth_N] * 0.3
    scores_NL /= scores_NL.sum(1, keepdims=True)
    names = [f"case_{i}" for i in range(cases)]
    found = ImageClassScore(
        tuple("abcdef"[:classes]),
        dict(zip(names, truth_N.tolist(), strict=True)),
        dict(zip(names, scores_NL.tolist(), strict=True)),
    )
    return found, truth_N, scores_NL


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_accuracy_confusion_and_area_are_those_of_scikit_learn(classes: int) -> None:
    found, truth_N, scores_NL = _score(classes)
    said_N = scores_NL.argmax(1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth_N, said_N))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(truth_N, said_N))
    scores = scores_NL[:, 1] if classes == 2 else scores_NL
    expected = metrics.roc_auc_score(truth_N, scores, multi_class="ovr", average="macro")
    assert found.auc == pytest.approx(expected)


def test_the_interval_is_wilsons() -> None:
    probabilities = {str(i): (1.0, 0.0) for i in range(10)}
    found = ImageClassScore(("a", "b"), {str(i): int(i > 7) for i in range(10)}, probabilities)
    assert found.accuracy == 0.8
    assert found.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert found.most_frequent == 0.8


def test_images_of_one_class_have_no_area_and_say_so() -> None:
    found = ImageClassScore(("a", "b"), {"x": 1, "y": 1}, {"x": (0.2, 0.8), "y": (0.6, 0.4)})
    assert math.isnan(found.auc)
    assert found.to_json()["auc"] is None


def test_labels_and_predictions_of_other_cases_are_refused() -> None:
    with pytest.raises(DataError, match="2 labels, 1 predictions"):
        ImageClassScore(("a", "b"), {"x": 0, "y": 1}, {"x": (1, 0)})
