"""What an object is, chosen on validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

import maskwright as mw
from maskwright.config import PredictConfig
from maskwright.predict.predictor import ImagePrediction
from maskwright.workflow.object_choice import HeldImage, choose_objects


def discs(*centres: tuple[int, int], radius: float = 10, size: int = 64) -> NDArray[np.int64]:
    y, x = np.mgrid[:size, :size]
    numbers = np.zeros((size, size), np.int64)
    for number, (cy, cx) in enumerate(centres, start=1):
        numbers[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return numbers


def held(truth: NDArray[np.int64], *, specks: int = 0) -> HeldImage:
    """An image whose pixels are all right but for some that are invented."""
    classes = (truth > 0).astype(np.uint8)
    for number in range(specks):
        classes[2, 3 * number : 3 * number + 2] = 1
    p_YX = np.where(classes > 0, 0.9, 0.1).astype(np.float32)
    return HeldImage(ImagePrediction(classes, np.stack([1 - p_YX, p_YX])), truth)


TOUCHING = discs((32, 22), (32, 40))
APART = discs((32, 16), (32, 46))


def test_objects_that_touch_are_cut_and_specks_left_out() -> None:
    sizes = [300, 310, 305, 290]
    found = choose_objects([held(TOUCHING, specks=3), held(APART)], sizes, PredictConfig())
    assert found is not None
    assert found.method == "watershed"
    assert 2 < found.min_px <= 290
    assert found.ap == 1
    assert found.plain == pytest.approx(3 / 7)
    assert found.images == 2


def test_of_equals_the_plainest_is_chosen() -> None:
    found = choose_objects([held(APART)], [300, 310], PredictConfig())
    assert found is not None
    assert (found.method, found.min_px) == ("components", 0)


def test_what_was_asked_for_is_not_chosen() -> None:
    asked = PredictConfig(objects="components", min_object_px=0)
    assert choose_objects([held(TOUCHING, specks=3)], [300], asked) is None
    one = choose_objects([held(TOUCHING, specks=3)], [300], PredictConfig(objects="components"))
    assert one is not None
    assert one.method == "components"
    assert one.min_px > 2


def test_without_a_true_object_nothing_is_chosen() -> None:
    empty = held(np.zeros((64, 64), np.int64), specks=2)
    assert choose_objects([empty], [300], PredictConfig()) is None


def test_a_run_keeps_the_choice_and_predicts_by_it(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = tmp_path / "data"
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    for number in range(6):
        shift = int(generator.integers(-6, 6))
        numbers = discs((32, 22 + shift), (32, 40 + shift))
        image = 200 * (numbers > 0) + generator.normal(scale=5, size=numbers.shape) + 20
        tifffile.imwrite(data / "images" / f"{number}.tif", image.clip(0, 255).astype(np.uint8))
        tifffile.imwrite(data / "masks" / f"{number}.tif", numbers.astype(np.uint16))
    run = mw.train(
        data,
        tmp_path / "run",
        steps=80,
        objects=True,
        settings=("depth=1", "width=8", "patch_px=64", "batch=2", "train.precision=float32",
                  "target=classes", "group_by=.+"),
    )  # fmt: skip
    assert run.config.predict.objects == "watershed"
    assert mw.open_run(tmp_path / "run").config.predict == run.config.predict
    nuclei = list(run.metrics()["summary"]["classes"].values())[-1]
    assert nuclei["ap"]["pooled"] > 0.9
    assert "Objects are cut where they are narrow" in (run.path / "report.html").read_text("utf-8")
