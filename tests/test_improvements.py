"""The comparison of improvements says no more than its figures allow."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("improvement_table")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("improvement_data")


@pytest.mark.parametrize(
    ("values", "lower_is_better", "verdict"),
    [
        ((0.02, 0.03, 0.025), False, "helps"),
        ((-0.02, -0.03, -0.025), False, "hurts"),
        ((-0.02, -0.03, -0.025), True, "helps"),
        ((0.02, 0.03, -0.001), False, "no difference beyond noise"),
        ((0.001, 0.1, 0.002), False, "no difference beyond noise"),
        ((0.0, 0.0, 0.0), False, "no difference beyond noise"),
        ((0.0, 0.01, 0.01), False, "no difference beyond noise"),
        ((0.5,), False, "no verdict from one seed"),
    ],
)
def test_a_verdict_needs_one_sign_and_twice_the_standard_error(
    table: ModuleType, values: tuple[float, ...], lower_is_better: bool, verdict: str
) -> None:
    assert table.Difference(values, lower_is_better).verdict == verdict


def test_chance_share_bounds_how_often_noise_gets_a_verdict(table: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(size=(4000, 3))
    verdicts = [table.Difference(tuple(row)).verdict for row in noise.tolist()]
    told_apart = sum(verdict in ("helps", "hurts") for verdict in verdicts) / len(verdicts)
    assert table.chance_share(3) - 0.03 < told_apart < table.chance_share(3) + 0.01


def test_differences_are_taken_between_runs_of_one_seed(table: ModuleType) -> None:
    own = [_run("b", seed, 0.9 - seed / 10) for seed in (2, 0, 1)]
    reference = [_run("baseline", seed, 0.8 - seed / 10) for seed in (0, 1, 2, 3)]
    assert table.difference(own, reference, "Dice").values == pytest.approx((0.1, 0.1, 0.1))
    assert table.difference(own, reference, "AUC") is None


def test_the_head_is_compared_with_the_area_that_the_baseline_draws(table: ModuleType) -> None:
    own = [{"seed": seed, "measures": {table.HEAD_AUC: 0.9}} for seed in range(3)]
    baseline = [{"seed": seed, "measures": {table.AREA_AUC: 0.8}} for seed in range(3)]
    found = table.difference(own, baseline, table.HEAD_AUC, table.AREA_AUC)
    assert found.values == pytest.approx((0.1, 0.1, 0.1))


def test_images_of_one_group_count_once_in_the_test(table: ModuleType) -> None:
    own = [_run("b", 0, 0.9, images=12)]
    reference = [_run("baseline", 0, 0.8, images=12)]
    assert "12 of 12 test images (signed-rank p = 0.031)" in table.over_images(own, reference)


def test_tables_hold_every_run_refusal_and_failure(table: ModuleType) -> None:
    runs = [
        _run(variant, seed, dice + seed / 100)
        for variant, dice in (("baseline", 0.7), ("b", 0.8), ("c", 0.75), ("c_border", 0.76))
        for seed in range(3)
    ]
    runs.append({**_run("abc", 0, 0.5), "failed": "loss at step 3: not finite", "measures": {}})
    text = table.render(_results(runs))
    assert "| U-Net without any | 0.002 | 100 | 0.710 ± 0.010 |" in text
    assert "- (b) fused levels. Dice: helps (+0.1000 ± 0.0000)." in text
    assert "- (a) label of the image: refused. no such labels" in text
    assert "- (a), (b) and (c): 1 of 1 runs did not end. loss at step 3: not finite" in text
    assert "## Border-weighted loss: nuclei" in text
    assert "up to 18% would pass" in text


def test_sizes_are_compared_with_plain_prediction_and_with_the_baseline(table: ModuleType) -> None:
    sizes = [
        {
            "set": "nuclei",
            "variant": variant,
            "seed": seed,
            "averaged": averaged,
            "failed": "",
            "dice": {f"{f:g}": value - 0.01 * (f != 1) for f in table.FACTORS},
        }
        for seed in range(3)
        for variant, averaged, value in (
            ("c", False, 0.8),
            ("c", True, 0.85),
            ("c_fused", False, 0.7),
        )
    ]
    text = table.render({**_results([]), "sizes": sizes})
    assert "Dice 0.800 at the size of the training images, 0.790 at half" in text
    assert "averaged over scales, against plain prediction. size 1: helps (+0.0500" in text
    assert "(b) fused levels against the baseline. size 1: hurts (-0.1000" in text


def test_test_parts_share_nothing_with_training(data: ModuleType) -> None:
    names = {
        "membranes": [f"slice_{i:02d}" for i in range(30)],
        "vessels": [f"Image_{i:02d}{side}" for i in range(1, 15) for side in "LR"],
        "lung_tumours": [f"{10035 + i // 2}_{i}" for i in range(24)],
        "nuclei": [f"{i:012x}" for i in range(110)],
    }
    kept = {name: data.DATA_SETS[name].test(several, 0) for name, several in names.items()}
    assert {name: len(several) for name, several in kept.items()} == {
        "membranes": 10,
        "vessels": 8,
        "lung_tumours": 6,
        "nuclei": 22,
    }
    assert min(kept["membranes"]) == "slice_20"
    assert min(kept["vessels"]) == "Image_11L"


def test_masks_keep_their_values_at_another_size(data: ModuleType) -> None:
    mask = np.zeros((1, 40, 30), np.uint16)
    mask[0, 5:20, 5:20] = 700
    smaller = data.resize_array(mask, 0.71, smooth=False)
    assert smaller.shape == (1, 28, 21)
    assert set(np.unique(smaller)) == {0, 700}


def _run(variant: str, seed: int, dice: float, images: int = 6) -> dict[str, Any]:
    return {
        "set": "nuclei",
        "variant": variant,
        "seed": seed,
        "rate": 0.002,
        "steps": 100,
        "failed": "",
        "measures": {"Dice": dice},
        "images": {
            f"image_{i}": {"group": f"child_{i // (images // 6)}", "dice": dice + i / 1000}
            for i in range(images)
        },
    }


def _results(runs: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {
        "facts": {"training_images": 8, "test_images": 6, "split_by_seed": False},
        "seconds": 60.0,
        "step_s": 0.5,
        "refused": {"a": "no such labels"},
        "validation_dice": {"b": {}},
    }
    return {"seconds": 60.0, "seeds": 3, "sets": {"nuclei": facts}, "runs": runs, "sizes": []}
