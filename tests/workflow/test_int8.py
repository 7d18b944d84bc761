"""Integers of 8 bits: made from training images, measured on validation images, used when asked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.config import DataConfig, ModelConfig, PredictConfig
from maskwright.export.facts import ModelFacts
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import read_model, write_model
from maskwright.nn.unet import build_unet
from maskwright.plan.machine import describe_machine
from maskwright.predict.engine import torch_engine
from maskwright.workflow.distributed_tasks import NetworkFiles
from maskwright.workflow.engines import OtherEngines
from maskwright.workflow.int8 import MEAN_LOSS, WORST_LOSS, ImageLoss, Int8
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_journal import Finished

SETTINGS = ("depth=1", "width=4", "patch_px=64", "evaluate.measures=")
SPLIT = {"train": ["section_00[0-3]"], "validation": ["section_00[45]"], "test": ["section_006"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set and a run of it."""
    root = tmp_path_factory.mktemp("int8")
    mw.write_sample("membranes", root / "data", images=7, size_px=96)
    (root / "split.json").write_text(json.dumps(SPLIT), encoding="utf-8")
    mw.train(root / "data", root / "run", steps=40, settings=SETTINGS, split=root / "split.json")
    return root / "data", root / "run"


@pytest.fixture(scope="module")
def quantised(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("quantised") / "run"
    shutil.copytree(trained[1], run)
    mw.quantise(run, tiles=8)
    return run


@pytest.fixture
def run(quantised: Path, tmp_path: Path) -> Path:
    """A quantised run that a test may change."""
    return Path(shutil.copytree(quantised, tmp_path / "run"))


def made_with(losses: list[float], processor: str | None = None) -> Int8:
    images = tuple(ImageLoss(f"{i}", 0.9, 0.9 - loss) for i, loss in enumerate(losses))
    here = describe_machine()["processor"]
    return Int8(b"", images, 8, "OpenVINO, int8", here if processor is None else processor)


def engines_of(run: Path, precision: str, **changes: object) -> list[str]:
    """The number formats that OpenVINO offers for a run."""
    folder = RunFolder(run)
    network, _ = read_model(folder.model)
    predict = PredictConfig(precision=precision)  # type: ignore[arg-type]
    facts = ModelFacts(network.config, folder.read_config().data, predict)
    found = Int8.find(folder)
    assert found is not None
    built = OtherEngines(network, facts, replace(found, **changes)).build("openvino")  # type: ignore[arg-type]
    return [name.split(", ")[-1] for name in built]


def test_convolutions_hold_integers_and_say_nearly_what_float32_says(quantised: Path) -> None:
    stored = onnx.load(RunFolder(quantised).int8_network)
    integers = [w for w in stored.graph.initializer if w.data_type == onnx.TensorProto.INT8]
    assert len([w for w in integers if len(w.dims) == 4]) == 8  # every convolution of depth 1
    network, _ = read_model(RunFolder(quantised).model)
    batch = np.random.default_rng(0).normal(size=(2, 1, 64, 96)).astype(np.float32)
    exact = torch_engine(network)(batch)["probabilities"]
    opened = open_network(quantised, Asked(settings=("precision=int8",)))
    assert opened.predictor.numerics.endswith("int8")
    found = opened.predictor.engine(batch)["probabilities"]
    assert 0 < np.abs(found - exact).mean() < 0.02


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(dims=3, depth=1, width=4, norm="instance"),
        ModelConfig(depth=1, width=4, image_classes=2, levels="fused", output="sigmoid"),
    ],
    ids=["volume", "heads"],
)
def test_networks_of_every_kind_can_be_quantised(model: ModelConfig) -> None:
    from maskwright.export.int8_file import int8_bytes

    network = build_unet(model, seed=0).eval()
    facts = ModelFacts(model, DataConfig(labels=(("none", 0), ("cell", 255))))
    shape = (1, 1, *(16,) * model.dims)
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    content = int8_bytes(OtherEngines(network, facts).onnx("openvino")[0], [batch])
    made = Int8(content, (ImageLoss("a", 1, 1),), 1, "", "")
    others = OtherEngines(network, replace(facts, predict=PredictConfig(precision="int8")), made)
    (found,) = (engine(batch) for engine in others.build("openvino").values())
    exact = torch_engine(network)(batch)
    assert found.keys() == exact.keys()
    assert np.abs(found["probabilities"] - exact["probabilities"]).mean() < 0.05


def test_the_loss_is_the_difference_of_the_dice_of_the_masks_that_predict_writes(
    trained: tuple[Path, Path], quantised: Path, tmp_path: Path
) -> None:
    told = json.loads((quantised / "int8.json").read_text(encoding="utf-8"))
    names = ["section_004", "section_005"]
    assert [image["name"] for image in told["images"]] == names
    value = RunFolder(quantised).read_config().data.labels[1][1]
    dice: dict[str, list[float]] = {"float32": [], "int8": []}
    for precision, values in dice.items():
        images = [trained[0] / "images" / f"{name}.png" for name in names]
        out = tmp_path / precision
        mw.predict(quantised, images, out, settings=(f"precision={precision}",))
        for name in names:
            files = (out / f"{name}.png", trained[0] / "masks" / f"{name}.png")
            found, true = (np.asarray(Image.open(file)) == value for file in files)
            values.append(2 * (found & true).sum() / (found.sum() + true.sum()))
    for precision, values in dice.items():
        assert [image[precision] for image in told["images"]] == pytest.approx(values, abs=1e-9)
    losses = np.subtract(dice["float32"], dice["int8"])
    assert told["mean_loss"] == pytest.approx(losses.mean(), abs=1e-9)
    assert told["worst_loss"] == pytest.approx(losses.max(), abs=1e-9)


def test_test_images_are_not_looked_at(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(trained[0], data)
    shutil.copytree(trained[1], run)
    (data / "images" / "section_006.png").write_bytes(b"")
    expected = mw.quantise(run, tiles=2)
    assert mw.quantise(run, data=data, tiles=2).images == expected.images


@pytest.mark.parametrize(
    ("losses", "small"),
    [
        ([0.0, 0.0], True),
        ([MEAN_LOSS - 1e-6], True),
        ([MEAN_LOSS + 1e-6], False),
        ([WORST_LOSS + 1e-6, -0.5], False),
        ([-0.1, -0.2], True),
    ],
)
def test_a_loss_is_small_where_mean_and_worst_image_are_within_their_limits(
    losses: list[float], small: bool
) -> None:
    made = made_with(losses)
    assert made.small_loss == made.unasked == small
    assert not made_with(losses, "another processor").unasked
    assert ("only with" in made.sentences()[1]) is not small


def test_int8_is_tried_unasked_only_with_a_small_loss_measured_on_this_processor(
    quantised: Path,
) -> None:
    small, large = (ImageLoss("a", 0.9, 0.9),), (ImageLoss("a", 0.9, 0.8),)
    assert engines_of(quantised, "auto", images=small) == ["bfloat16", "float32", "int8"]
    assert engines_of(quantised, "auto", images=large) == ["bfloat16", "float32"]
    assert engines_of(quantised, "auto", images=small, processor="") == ["bfloat16", "float32"]
    assert engines_of(quantised, "int8", images=large, processor="") == ["int8"]
    assert engines_of(quantised, "bfloat16", images=small) == ["bfloat16"]


def test_int8_is_for_the_weights_that_it_was_made_of(run: Path) -> None:
    network, facts = read_model(RunFolder(run).model)
    write_model(RunFolder(run).model, network, {**facts, "step": 41})
    assert Int8.find(RunFolder(run)) is None
    with pytest.raises(mw.MaskwrightError, match=r"maskwright quantise .*int8-missing"):
        open_network(run, Asked(settings=("precision=int8",)))
    assert "int8" not in open_network(run, Asked(engine="openvino")).predictor.numerics


def test_a_file_that_was_changed_is_not_taken(run: Path) -> None:
    RunFolder(run).int8_network.write_bytes(b"other")
    assert Int8.find(RunFolder(run)) is None


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_other_engines_refuse_int8(engine: str, quantised: Path) -> None:
    with pytest.raises(mw.MaskwrightError, match="engine-precision"):
        open_network(quantised, Asked(engine=engine, settings=("precision=int8",)))


def test_files_and_training_refuse_int8(trained: tuple[Path, Path], tmp_path: Path) -> None:
    file = mw.export(trained[1], tmp_path / "a.onnx").files[0]
    with pytest.raises(mw.MaskwrightError, match="engine-precision"):
        open_network(file, Asked(settings=("precision=int8",)))
    settings = (*SETTINGS, "predict.precision=int8")
    with pytest.raises(mw.MaskwrightError, match=r"maskwright quantise.*engine-precision"):
        mw.train(trained[0], tmp_path / "run", steps=1, settings=settings)
    assert not (tmp_path / "run").exists()


def test_without_its_images_a_run_is_left_as_it_is(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    before = sorted(path.name for path in run.iterdir())
    done = CliRunner().invoke(app, ["quantise", str(run), "--data", str(tmp_path / "gone")])
    assert done.exit_code != 0
    with pytest.raises(mw.MaskwrightError, match=r"--data.*int8-no-data"):
        mw.quantise(run, data=tmp_path / "gone")
    splits = {"train": ["section_000"], "validation": [], "test": []}
    (run / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    with pytest.raises(mw.MaskwrightError, match="int8-no-validation"):
        mw.quantise(run)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_prediction_in_int8_goes_on_in_int8(tmp_path: Path) -> None:
    journal = Finished.begin(tmp_path, {"numerics": "OpenVINO 2026.4, int8"})
    assert journal.decided == ("openvino", "int8")


def test_workers_of_other_machines_are_given_int8_too(quantised: Path) -> None:
    asked = Asked(settings=("precision=int8",))
    sent = NetworkFiles.of(quantised, np.empty(0, np.float32)).open(asked)
    here = open_network(quantised, asked)
    assert sent.predictor.numerics == here.predictor.numerics
    batch = np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)
    found, expected = (each.predictor.engine(batch)["probabilities"] for each in (sent, here))
    np.testing.assert_array_equal(found, expected)


def test_the_command_tells_what_is_lost_and_predict_uses_it(
    run: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["quantise", str(run), "--tiles", "2", "--json", "-q"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["limits"] == {"mean_loss": 0.002, "worst_loss": 0.01}
    assert told["tiles"] == 2
    image = trained[0] / "images" / "section_006.png"
    command = ["predict", str(run), str(image), "--out", str(tmp_path / "masks"), "-q"]
    done = CliRunner().invoke(app, [*command, "--set", "precision=int8", "--engine", "openvino"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "masks" / "predictions.json").read_text(encoding="utf-8"))
    assert record["numerics"].endswith("int8")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "masks" / "section_006.png")))) <= {
        0,
        255,
    }
