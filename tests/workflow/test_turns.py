"""Mirrorings and quarter turns: together where memory allows, refused where they do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import maskwright as mw
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.predict.predictor import Found
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit, tiling_of

DATA = mw.DataConfig(labels=(("tissue", 0), ("tumour", 255)))


def make_run(path: Path, **settings: Any) -> Path:
    model = mw.ModelConfig(**{"depth": 1, "width": 4, **settings})
    torch.manual_seed(0)
    network = build_unet(model, seed=1).eval()
    with torch.no_grad():
        network.head.bias[1] = network.head.bias[0] + 0.2
    folder = RunFolder(path)
    path.mkdir(parents=True)
    predict = mw.PredictConfig(precision="float32", mirror_px=8)
    folder.write_config(mw.RunConfig(model=model, data=DATA, predict=predict))
    write_model(folder.model, network, {})
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (70, 90)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(("ways", "together"), [("rotate", 2), ("flip", 4), ("flip,rotate", 4)])
def test_turned_copies_of_one_size_are_predicted_together(
    ways: str, together: int, image: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    predictor = open_network(run, Asked(tta=ways)).predictor
    batches: list[int] = []

    def counting(batch: np.ndarray) -> Found:
        batches.append(len(batch))
        return predictor.engine(batch)

    watched, array = replace(predictor, engine=counting), np.asarray(Image.open(image))[None]
    one = watched.predict(array)
    assert max(batches) == 1
    several = watched.predict(array, at_once=8)
    assert max(batches) == together
    np.testing.assert_allclose(several.probabilities_KYX, one.probabilities_KYX, atol=1e-6)
    mw.predict(run, [image], tmp_path / "out", probabilities=True, tta=ways)
    found = tifffile.imread(tmp_path / "out" / "probabilities" / "a.tif")
    np.testing.assert_allclose(found, one.probabilities_KYX, atol=1e-5)


def test_more_is_predicted_together_in_more_memory_up_to_a_limit() -> None:
    tiling = tiling_of(mw.ModelConfig(), mw.PredictConfig())
    small, large = (
        fit(tiling, (1, side, side), np.dtype("u1"), 10**10, subject="") for side in (200, 5000)
    )
    assert small.at_once(0) == small.at_once(-1) == small.at_once(small.tile_bytes - 1) == 1
    assert small.at_once(2 * small.tile_bytes) == 3
    assert small.at_once(10**12) == (1 << 20) // small.read_px
    assert large.at_once(10**12) == 1


def test_quarter_turns_are_refused_where_rows_and_columns_are_not_alike(
    image: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", depth=2, strides=((2, 1), (2, 2)))
    assert open_network(run, Asked(tta="flip")).predictor.ways == ("flip",)
    with pytest.raises(mw.MaskwrightError, match=r"rows and columns alike.*tta-rotate"):
        mw.predict(run, [image], tmp_path / "out", tta="rotate")
    assert not (tmp_path / "out").exists()
    file = mw.export(run, tmp_path / "a.onnx").files[0]
    with pytest.raises(mw.MaskwrightError, match="tta-rotate"):
        open_network(file, Asked(tta="flip,rotate"))


def test_a_volume_with_larger_steps_in_depth_may_be_turned(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", dims=3, depth=2, strides=((1, 2, 2), (2, 2, 2)))
    predictor = open_network(run, Asked(tta="rotate")).predictor
    volume = np.random.default_rng(0).integers(0, 255, (1, 6, 20, 24)).astype(np.uint8)
    found = predictor.predict(volume, at_once=2)
    turned = predictor.predict(np.rot90(volume, 1, (2, 3)).copy())
    expected = np.rot90(turned.probabilities_KYX, -1, (2, 3))
    np.testing.assert_allclose(found.probabilities_KYX, expected, atol=1e-5)


def test_training_refuses_turns_before_it_begins(tmp_path: Path) -> None:
    mw.write_sample("membranes", tmp_path / "data", images=6, size_px=64)
    settings = ("depth=1", "width=4", "strides=[[2,1]]", "predict.tta=rotate")
    with pytest.raises(mw.MaskwrightError, match="tta-rotate"):
        mw.train(tmp_path / "data", tmp_path / "run", steps=1, settings=settings)
    assert not (tmp_path / "run").exists()
