"""A short run on real electron micrographs, where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import maskwright as mw

MEMBRANES = Path(__file__).parents[3] / "shared" / "data" / "membranes"


@pytest.mark.skipif(not MEMBRANES.is_dir(), reason=f"the real images are not at {MEMBRANES}")
def test_two_hundred_steps_beat_threshold_and_clustering_on_real_membranes(tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["slice_0*"], "test": ["slice_2[5-9]"]}))
    run = mw.train(
        MEMBRANES, out=tmp_path / "run", steps=200, split=split, labels="cell=255,membrane=0",
        settings=("width=8", "patch_px=192", "batch=2", "validations=3"),
    )  # fmt: skip
    metrics = run.metrics()
    dice = metrics["summary"]["classes"]["membrane"]["dice"]["mean"]
    baselines = {
        name: summary["classes"]["membrane"]["dice"]["mean"]
        for name, summary in metrics["baselines"].items()
    }
    assert dice > max(baselines.values()) + 0.1
    masks = run.predict(MEMBRANES / "unlabelled", tmp_path / "masks")
    assert len(masks) == 2
