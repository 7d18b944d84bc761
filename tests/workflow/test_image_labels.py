"""Labels of whole images, from a table or from the masks to metrics and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.errors import ConfigError, DataError

TINY = ("depth=1", "width=4", "patch_px=32", "batch=2", "validations=1", "train.precision=float32",
        "train.layout=contiguous", "evaluate.measures=ranking")  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((32, 32), np.uint8)
        if number % 2:
            mask[8:24, 6:20] = 255
        image = (mask // 2 + generator.integers(0, 60, (32, 32))).astype(np.uint8)
        Pillow.fromarray(image).save(root / "images" / f"scan_{chr(97 + number)}.png")
        Pillow.fromarray(mask).save(root / "masks" / f"scan_{chr(97 + number)}.png")
    return root


def test_what_a_mask_holds_becomes_the_label_of_its_image(data: Path, tmp_path: Path) -> None:
    run = mw.train(
        data, out=tmp_path / "run", steps=60, settings=(*TINY, "learning_rate=0.01"),
        image_labels="contains:foreground",
    )  # fmt: skip
    assert run.config.model.image_classes == 2
    assert run.config.data.image_class_names == ("without foreground", "with foreground")
    labels = run.metrics()["image_labels"]
    truth = {name: int(ord(name[-1]) % 2 == 0) for name in labels["cases"]}
    assert {name: case["label"] for name, case in labels["cases"].items()} == truth
    assert np.sum(labels["confusion"]) == len(truth)
    page = run.folder.report.read_text(encoding="utf-8")
    assert "Labels of whole images" in page
    assert "as with foreground" in page
    events = [
        json.loads(line) for line in run.folder.events.read_text(encoding="utf-8").splitlines()
    ]
    accuracies = [e["image_accuracy"] for e in events if e["kind"] == "validation"]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)


def test_a_gated_run_is_scored_on_the_masks_that_it_writes(data: Path, tmp_path: Path) -> None:
    settings = (*TINY, "gate=true", "predict.precision=float32")
    run = mw.train(
        data, out=tmp_path / "run", steps=20, settings=settings, image_labels="contains:foreground"
    )
    masks = run.predict(data / "images", tmp_path / "masks")
    written = json.loads((masks.folder / "predictions.json").read_text(encoding="utf-8"))["images"]
    for record, mask in zip(written, masks.arrays(), strict=True):
        if record["image_label"]["label"] == "without foreground":
            assert not mask.any()
    for own in sorted((run.path / "predictions").iterdir()):
        expected = np.asarray(Pillow.open(masks.folder / own.name))
        np.testing.assert_array_equal(np.asarray(Pillow.open(own)), expected)


def test_a_table_names_the_labels_and_prediction_writes_them(data: Path, tmp_path: Path) -> None:
    rows = [f"{p.name},{'ill' if ord(p.stem[-1]) % 2 else 'well'}"
            for p in sorted((data / "images").iterdir())]  # fmt: skip
    table = tmp_path / "labels.csv"
    table.write_text("image,image_label\n" + "\n".join(rows) + "\n")
    run = mw.train(data, out=tmp_path / "run", steps=2, settings=TINY, image_labels=str(table))
    assert run.metrics()["image_labels"]["classes"] == ["ill", "well"]
    masks = run.predict(data / "images", tmp_path / "masks")
    written = (masks.folder / "image_labels.csv").read_text(encoding="utf-8").splitlines()
    assert written[0].startswith("image,label")
    assert len(written) == 13
    resumed = mw.train(data, out=tmp_path / "run", resume=True)
    assert resumed.config == run.config


def test_labels_that_do_not_fit_leave_no_run_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="liver"):
        mw.train(data, out=tmp_path / "run", steps=1, settings=TINY, image_labels="contains:liver")
    with pytest.raises(ConfigError, match="image-labels-none"):
        mw.train(data, out=tmp_path / "run", steps=1, settings=(*TINY, "image_classes=2"))
    with pytest.raises(ConfigError, match="class_weights"):
        mw.train(data, out=tmp_path / "run", steps=1, settings=(*TINY, "class_weights=1,2,3"))
    assert not (tmp_path / "run").exists()
