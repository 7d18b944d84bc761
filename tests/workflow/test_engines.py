"""One network, three libraries: the same probabilities, and the fastest where it is worth it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.export.facts import ModelFacts
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import UNet, build_unet
from maskwright.predict.engine import torch_engine
from maskwright.progress import Events
from maskwright.workflow.engines import OtherEngines, quickened
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction import Predictor

DATA = mw.DataConfig(labels=(("none", 0), ("cell", 255)))


def others_of(precision: str = "auto", **settings: Any) -> tuple[UNet, OtherEngines]:
    model = mw.ModelConfig(**{"depth": 2, "width": 8, **settings})
    network = build_unet(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    shape = (2, model.channels, *(32,) * model.dims)
    for _ in range(5):
        network(torch.randn(shape, generator=generator))
    predict = mw.PredictConfig(precision=precision)
    return network.eval(), OtherEngines(network, ModelFacts(model, DATA, predict))


def batch_of(model: mw.ModelConfig) -> np.ndarray:
    shape = (1, model.channels, *(32,) * model.dims)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0).integers(0, 255, (70, 90)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    model = mw.ModelConfig(depth=1, width=4, levels="fused")
    network = build_unet(model, seed=1).eval()
    with torch.no_grad():
        network.head.bias[1] = network.head.bias[0] + 0.2
    predict = mw.PredictConfig(precision="float32", mirror_px=8)
    folder.write_config(mw.RunConfig(model=model, data=DATA, predict=predict))
    write_model(folder.model, network, {})
    return folder.path


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dims": 3, "norm": "instance", "width": 4},
        {"levels": "fused", "image_classes": 3, "output": "sigmoid", "classes": 3},
    ],
    ids=["plain", "volume", "heads"],
)
def test_every_engine_says_in_float32_what_pytorch_says(
    engine: str, settings: dict[str, Any]
) -> None:
    network, others = others_of("float32", **settings)
    batch = batch_of(network.config)
    expected = torch_engine(network)(batch)
    ((name, found),) = ((name, each(batch)) for name, each in others.build(engine).items())
    assert name.endswith("float32")
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-4)  # type: ignore[literal-required]


def test_openvino_in_bfloat16_is_as_near_to_float32_as_pytorch_in_bfloat16() -> None:
    network, others = others_of("bfloat16", width=16)
    batch = batch_of(network.config)
    exact = torch_engine(network)(batch)["probabilities"]
    ours = torch_engine(network, precision="bfloat16")(batch)["probabilities"]
    (found,) = (each(batch)["probabilities"] for each in others.build("openvino").values())
    assert np.abs(found - exact).mean() < 3e-3
    assert np.abs(found - exact).mean() < 1.5 * np.abs(ours - exact).mean() + 1e-4
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_masks_are_the_same_whichever_engine_is_named(
    engine: str, run: Path, images: Path, tmp_path: Path
) -> None:
    for name in ("torch", engine):
        command = ["predict", str(run), str(images), "--out", str(tmp_path / name), "-q"]
        done = CliRunner().invoke(app, [*command, "--engine", name])
        assert done.exit_code == 0, done.output
    masks = [np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("torch", engine)]
    assert set(np.unique(masks[0])) == {0, 255}
    assert (masks[0] != masks[1]).mean() < 1e-3
    record = json.loads((tmp_path / engine / "predictions.json").read_text(encoding="utf-8"))
    assert {"openvino": "OpenVINO", "onnx": "ONNX Runtime"}[engine] in record["numerics"]


def test_a_few_tiles_are_predicted_by_pytorch_without_measuring_others(run: Path) -> None:
    seen: list[dict[str, Any]] = []
    opened = open_network(run, Asked(engine="auto"))
    kept = opened.quicken(opened.predictor, [(70, 90)], Events([seen.append]))
    assert kept is opened.predictor
    assert seen == []


def test_for_hours_of_work_the_engines_are_measured_and_one_of_them_is_taken(run: Path) -> None:
    seen: list[dict[str, Any]] = []
    opened = open_network(run, Asked(engine="auto"))
    chosen = opened.quicken(opened.predictor, [(1 << 17, 1 << 17)], Events([seen.append]))
    (told,) = (event["text"] for event in seen if event["kind"] == "message")
    assert all(name in told for name in ("PyTorch", "OpenVINO", "ONNX Runtime"))
    assert chosen.numerics in told.split("; seconds")[0]
    batch = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    expected = opened.predictor.engine(batch)["probabilities"]
    np.testing.assert_allclose(chosen.engine(batch)["probabilities"], expected, atol=1e-4)


def test_without_the_libraries_pytorch_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    network, others = others_of("float32")
    predictor = Predictor.build(network, others.facts.predict)
    kept = quickened(predictor, others, [(1 << 17, 1 << 17)], Events())
    assert kept.engine is predictor.engine
    assert kept.numerics == predictor.numerics
    with pytest.raises(mw.MaskwrightError, match=r"maskwright\[onnx\].*extra-missing"):
        others.build("onnx")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"engine": "tensorrt"}, "config-value"),
        ({"engine": "openvino", "levels": True}, "predict-levels"),
        ({"engine": "onnx", "settings": ("precision=bfloat16",)}, "engine-precision"),
        ({"settings": ("width=8",)}, "predict-setting"),
        ({"settings": ("mirror=8",)}, "config-unknown-key"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(asked: dict[str, Any], code: str, run: Path) -> None:
    with pytest.raises(mw.MaskwrightError, match=code):
        open_network(run, Asked(**asked))


def test_settings_of_prediction_hold_over_those_of_the_run(run: Path) -> None:
    opened = open_network(run, Asked(settings=("mirror_px=0", "tta=flip")))
    assert opened.predictor.ways == ("flip",)
    assert opened.predictor.rule.cover((32, 32))[0].read[0].size == 32


def test_a_file_is_run_by_its_own_library_alone(run: Path, tmp_path: Path) -> None:
    file = mw.export(run, tmp_path / "a.onnx").files[0]
    assert "ONNX Runtime" in open_network(file, Asked(engine="onnx")).predictor.numerics
    with pytest.raises(mw.MaskwrightError, match="predict-engine"):
        open_network(file, Asked(engine="openvino"))
