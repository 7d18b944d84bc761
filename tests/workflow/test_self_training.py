"""Pseudo-labels: a network's own masks are learnt from, and never scored on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import maskwright as mw
import quick_runs
from maskwright.data.manifest import read_manifest
from maskwright.errors import ConfigError
from maskwright.io.registry import read_mask
from maskwright.io.table import read_table

QUICK = (*quick_runs.QUICK, "batch=1", "validations=1")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six annotated images, and beside them two others and a copy of an annotated one."""
    folder = tmp_path_factory.mktemp("pseudo") / "data"
    mw.write_sample("membranes", folder, images=6, size_px=48)
    more = folder.parent / "more"
    mw.write_sample("membranes", more, images=9, size_px=48, seed=5)
    (folder / "unlabelled").mkdir()
    for number, path in enumerate(sorted((more / "images").iterdir())[-2:]):
        shutil.copyfile(path, folder / "unlabelled" / f"new {number}.png")
    copied = sorted((folder / "images").iterdir())[0]
    shutil.copyfile(copied, folder / "unlabelled" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def run(data: Path) -> mw.Run:
    return mw.self_train(
        data,
        data.parent / "run",
        data / "unlabelled",
        steps=4,
        group_by=".+",
        settings=("pseudo_dice=0", *QUICK),
        labels="cell=0,membrane=255",
    )


def test_drawn_masks_join_training_and_nothing_else(run: mw.Run) -> None:
    split = run.folder.read_json(run.folder.splits)
    teacher = run.folder.read_json(run.path / "teacher" / "splits.json")
    assert set(split["train"]) - set(teacher["train"]) == {"new 0", "new 1"}
    assert set(teacher["train"]) <= set(split["train"])
    for part in ("validation", "test"):
        assert split[part] == teacher[part]
    assert {case["case"] for case in run.metrics()["cases"]} == set(teacher["test"])


def test_a_copy_of_an_annotated_image_is_left_out(run: mw.Run) -> None:
    rows = read_table(run.folder.pseudo / "pseudo_labels.csv")
    reasons = {Path(row["image"]).stem: row["left_out"] for row in rows}
    assert reasons == {"copy": "the same pixels as another image", "new 0": "", "new 1": ""}


def test_pixels_that_the_teacher_is_not_sure_of_do_not_count(run: mw.Run) -> None:
    assert run.config.data.ignore == 254
    mask = read_mask(run.folder.pseudo / "masks" / "new 0.png").array
    values = set(np.unique(mask).tolist())
    assert 254 in values
    assert values <= {0, 254, 255}


def test_the_report_says_how_many(run: mw.Run) -> None:
    page = run.folder.report.read_text(encoding="utf-8")
    assert "2 of 3 images without masks are learnt from" in page
    assert run.config.train.start_from.endswith("teacher")


def test_masks_below_the_expected_dice_are_left_out(data: Path, tmp_path: Path) -> None:
    found = mw.self_train(
        data,
        tmp_path / "run",
        data / "unlabelled",
        steps=1,
        group_by=".+",
        settings=("pseudo_dice=1", *QUICK),
        labels="cell=0,membrane=255",
    )
    cases, _ = read_manifest(found.folder.pseudo / "manifest.csv", [], skip=False)
    assert len(cases) == 6
    rows = read_table(found.folder.pseudo / "pseudo_labels.csv")
    assert [row["used"] for row in rows] == ["false"] * 3


def test_stacks_that_are_learnt_by_slices_are_refused_before_anything_is_learnt(
    data: Path, tmp_path: Path
) -> None:
    volumes = tmp_path / "stacks"
    for part in ("images", "masks"):
        (volumes / part).mkdir(parents=True)
        planes = [read_mask(path).array[0] for path in sorted((data / part).iterdir())]
        for number in range(3):
            stack_ZYX = np.stack(planes[number : number + 4])
            tifffile.imwrite(volumes / part / f"stack {number}.tif", stack_ZYX, imagej=True,
                             metadata={"axes": "ZYX"})  # fmt: skip
    with pytest.raises(ConfigError, match="slices of stacks"):
        mw.self_train(volumes, tmp_path / "run", data / "unlabelled", steps=4, settings=QUICK)
    assert not (tmp_path / "run").exists()
