"""The way from Python, as the README shows it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maskwright as mw
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Events

TINY = ("depth=2", "width=6", "patch_px=64", "batch=2", "validations=2", "train.precision=float32",
        "layout=channels_last")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api") / "data"
    mw.write_sample("membranes", folder, images=8, size_px=64)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> mw.Run:
    out = tmp_path_factory.mktemp("api-runs") / "cells"
    return mw.train(data, out=out, steps=6, settings=TINY, labels="cell=0,membrane=255")


def test_train_predict_evaluate_in_three_lines(run: mw.Run, data: Path, tmp_path: Path) -> None:
    masks = run.predict(data, tmp_path / "masks")
    found = mw.evaluate(masks, data)
    assert len(masks) == 8
    assert found.summary.class_names == ("cell", "membrane")
    assert 0 <= found.summary.headline.mean <= 1
    assert all(set(np.unique(mask)) <= {0, 255} for mask in masks.arrays())


def test_masks_go_into_the_run_folder_when_no_other_is_named(run: mw.Run, data: Path) -> None:
    masks = run.predict(data)
    assert masks.folder.parent == run.path
    with pytest.raises(mw.MaskwrightError, match="--overwrite"):
        run.predict(data)
    run.predict(data, overwrite=True)


def test_a_run_opens_again_with_its_configuration(run: mw.Run) -> None:
    again = mw.open_run(run.path)
    assert again.config == run.config
    assert again.config.train.steps == 6
    assert again.metrics()["part"] == "test"


def test_probabilities_sum_to_one_and_agree_with_the_mask(
    run: mw.Run, data: Path, tmp_path: Path
) -> None:
    import tifffile

    image = sorted((data / "images").iterdir())[0]
    found = run.predict(image, tmp_path / "p", probabilities=True)
    probabilities = tifffile.imread(found.probabilities[0])
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    mask = next(found.arrays())
    np.testing.assert_array_equal(mask == 255, probabilities[1] > probabilities[0])


def test_class_ids_are_written_as_a_palette_people_can_see(data: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    (ids / "images").mkdir(parents=True)
    (ids / "masks").mkdir()
    for path in sorted((data / "images").iterdir()):
        (ids / "images" / path.name).write_bytes(path.read_bytes())
        mask = np.asarray(Image.open(data / "masks" / path.name)) // 255
        mask[:20, :20] = 2
        Image.fromarray(mask).save(ids / "masks" / path.name)
    run = mw.train(ids, out=tmp_path / "run", steps=3, settings=TINY)
    masks = run.predict(ids, tmp_path / "m")
    with Image.open(masks.files[0]) as file:
        assert file.mode == "P"
        assert np.asarray(file).max() <= 2
        colours = {tuple(c) for c in np.asarray(file.convert("RGB")).reshape(-1, 3)}
    assert len(colours) > 1
    assert max(max(colour) for colour in colours) > 100


def test_images_of_another_kind_than_the_training_are_refused(run: mw.Run, tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    with pytest.raises(mw.MaskwrightError) as caught:
        run.predict(tmp_path / "colour.png", tmp_path / "out")
    assert caught.value.code == "image-channels"
    assert "colour.png" in str(caught.value)


def test_masks_of_one_class_only_are_warned_about(run: mw.Run, data: Path, tmp_path: Path) -> None:
    from maskwright.nn.checkpoint import read_model, write_model

    collapsed = tmp_path / "collapsed"
    shutil.copytree(run.path, collapsed)
    network, facts = read_model(collapsed / "model.safetensors")
    network.head.bias.data[0] += 100
    write_model(collapsed / "model.safetensors", network, facts)
    seen: list[dict[str, object]] = []
    mw.open_run(collapsed).predict(data, tmp_path / "out", events=Events([seen.append]))
    warnings = [e for e in seen if e["kind"] == "warning"]
    assert [e["code"] for e in warnings] == ["prediction-one-class"]
    assert "8 of 8 masks are of one class only" in str(warnings[0]["text"])


def test_a_run_in_use_by_another_process_is_refused(data: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(resume=False)
    hold = (
        "import sys; from pathlib import Path; from maskwright.io.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock():\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(mw.MaskwrightError) as caught:
            mw.train(data, out=folder.path, steps=1, settings=TINY, resume=True)
        other.communicate("")
    assert caught.value.code == "run-in-use"
    mw.train(data, out=folder.path, steps=1, settings=TINY, resume=True)


def test_an_image_is_its_own_mask_is_refused_by_training_as_by_check(
    data: Path, tmp_path: Path
) -> None:
    same = tmp_path / "same"
    for name in ("images", "masks"):
        (same / name).mkdir(parents=True)
        for path in sorted((data / "masks").iterdir()):
            (same / name / path.name).write_bytes(path.read_bytes())
    report = mw.check(same)
    assert not report.ok
    with pytest.raises(mw.MaskwrightError) as caught:
        mw.train(same, out=tmp_path / "run", steps=1, settings=TINY)
    assert caught.value.code == report.refusals[0].code


def test_without_a_test_part_the_validation_images_are_scored_and_the_report_says_so(
    data: Path, tmp_path: Path
) -> None:
    settings = (*TINY, "test_share=0")
    run = mw.train(data, out=tmp_path / "run", steps=2, settings=settings)
    assert run.metrics()["part"] == "validation"
    assert "No image was kept for a test" in run.folder.report.read_text(encoding="utf-8")


def test_the_network_is_an_ordinary_module() -> None:
    import torch

    network = mw.build_unet(mw.ModelConfig(width=4, depth=2, classes=3))
    assert isinstance(network, torch.nn.Module)
    assert network(torch.zeros(1, 1, 32, 32))["logits"].shape == (1, 3, 32, 32)
