"""Images whose channels are in several files, from training to masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

import maskwright as mw


def test_channels_in_files_are_learnt_from_and_predicted_together(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in "abcd":
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 4 : 12 + ord(name) % 7] = 1
        for channel in (0, 1):
            image = (mask * 90 * channel + generator.integers(0, 60, (32, 32))).astype(np.uint8)
            path = tmp_path / "data" / "imagesTr" / f"{name}_000{channel}.png"
            Pillow.fromarray(image).save(path)
        Pillow.fromarray(mask).save(tmp_path / "data" / "labelsTr" / f"{name}.png")
    tiny = ("depth=1", "width=4", "patch_px=32", "batch=1", "validations=1",
            "train.precision=float32", "train.layout=contiguous")  # fmt: skip
    run = mw.train(tmp_path / "data", out=tmp_path / "run", steps=2, settings=tiny)
    assert run.config.model.channels == 2
    masks = run.predict(tmp_path / "data" / "imagesTr", tmp_path / "masks")
    assert [path.name for path in masks.files] == ["a.png", "b.png", "c.png", "d.png"]
