"""The comparison of defaults: what is held out, what is changed, what the table says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from maskwright.workflow.settings import resolve

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("defaults")


def test_every_variant_is_a_legal_change_of_the_defaults(defaults: ModuleType) -> None:
    for name, data in defaults.DATA_SETS.items():
        dims = 3 if name == "hippocampus" else 2
        planned = "levels=fused"
        plain = resolve(steps=1, dims=dims, settings=(planned,))
        for variant in defaults.VARIANTS:
            changed = resolve(steps=1, dims=dims, settings=(planned, *data.settings(variant)))
            assert (changed == plain) == (variant == defaults.BASE), (name, variant)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not here")
def test_the_test_of_the_benchmark_is_in_neither_part(defaults: ModuleType, tmp_path: Path) -> None:
    for name, data in defaults.DATA_SETS.items():
        prepared = defaults.prepare(data, SHARED, tmp_path / name)
        parts = json.loads(prepared.splits[0].read_text(encoding="utf-8"))
        assert parts["train"]
        assert parts["test"]
        assert not set(parts["train"]) & set(parts["test"])
        if name in defaults.AT_EQUAL_TIME:
            masks = next(f for f in (SHARED / name).iterdir() if f.name in ("masks", "labelsTr"))
            names = sorted(path.name.split(".")[0] for path in masks.iterdir())
            scored = set(defaults.AT_EQUAL_TIME[name].test(names))
            assert not scored & {*parts["train"], *parts["test"]}


def test_the_table_shows_gains_over_the_default(defaults: ModuleType) -> None:
    def run(dice: float) -> dict[str, object]:
        return {"scores": {"Dice": dice, "AUC": 0.9}}

    found = {("vessels", "base"): run(0.75), ("vessels", "adamw"): run(0.72)}
    times = {"vessels": {"ratios": {"base": 1.0, "adamw": 0.9}}}
    rows = defaults.table_of(found, times)
    assert rows[1:] == [
        ["base", "1.00", "0.7500 (AUC 0.900)", ""],
        ["adamw", "0.90", "-0.0300 (AUC 0.900)", "-0.0300"],
    ]
