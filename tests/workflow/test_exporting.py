"""A run leaves the house: files alone predict what the run predicts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file as save_tensors
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.config import ModelConfig
from maskwright.data.sample import write_sample
from maskwright.errors import ConfigError, OutputError, RunError
from maskwright.export.facts import ModelFacts
from maskwright.export.graph import read_graph
from maskwright.export.onnx_file import onnx_bytes
from maskwright.io.network_file import open_onnx
from maskwright.io.probabilities import read_probabilities
from maskwright.io.registry import read_image, read_mask
from maskwright.nn.unet import build_unet
from maskwright.predict.engine import torch_engine
from maskwright.predict.file_engine import file_engine
from maskwright.predict.predictor import predict_image
from maskwright.tiling import TileRule
from maskwright.workflow.opening import open_network
from maskwright.workflow.prediction_plan import tile_rule

DATA = Path(__file__).parents[3] / "shared" / "data"
NUCLEI = DATA / "nuclei"
BROAD = DATA / "bioimageio_unet2d_nuclei_broad"
real = pytest.mark.skipif(not BROAD.is_dir(), reason=f"the package of others is not at {BROAD}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> mw.Run:
    folder = tmp_path_factory.mktemp("export")
    write_sample("membranes", folder / "data", images=6, size_px=96)
    return mw.train(
        folder / "data", out=folder / "run", steps=30, labels="inside=255,membrane=0",
        settings=("depth=2", "width=4", "patch_px=64", "batch=2", "predict.precision=float32"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def images(run: mw.Run) -> Path:
    return run.path.parent / "data" / "images"


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("name", ["a.onnx", "a.xml", "a.zip"])
def test_a_file_alone_predicts_what_its_run_predicts(
    name: str, run: mw.Run, images: Path, tmp_path: Path
) -> None:
    done = mw.export(run.path, tmp_path / name)
    assert done.verification.worst < 1e-4
    assert done.verification.image.startswith("the test image section_")
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    for path in done.files:
        shutil.move(path, alone)
    arguments: dict[str, Any] = {"probabilities": True}
    mw.predict(alone / name, [images], tmp_path / "file", **arguments)
    mw.predict(run.path, [images], tmp_path / "run", **arguments)
    for found, expected in zip(pixels(tmp_path / "file"), pixels(tmp_path / "run"), strict=True):
        assert set(np.unique(found)) <= {0, 255}
        assert (found != expected).mean() < 1e-4
    # The temperature of the calibration travels too.
    for path in (tmp_path / "run" / "probabilities").iterdir():
        found = read_probabilities(tmp_path / "file" / "probabilities" / path.name)
        np.testing.assert_allclose(found, read_probabilities(path), atol=1e-4)


@pytest.mark.parametrize("name", ["a.pt", "a.keras"])
def test_other_formats_are_verified_too(name: str, run: mw.Run, tmp_path: Path) -> None:
    done = mw.export(run.path, tmp_path / name)
    assert done.verification.worst < 1e-4
    assert done.files == (tmp_path / name,)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(RunError, match="network-kind"):
        mw.predict(tmp_path / name, [run.path], tmp_path / "out")


def test_the_command_prints_the_largest_difference(run: mw.Run, tmp_path: Path) -> None:
    arguments = ["export", str(run.path), "--format", "onnx", "--out", str(tmp_path / "a.onnx")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.output[done.output.index("{") :])
    assert values["largest_difference"]["logits"] < 1e-4
    again = CliRunner().invoke(app, [*arguments, "--overwrite"])
    assert "largest difference from the network on the test image" in again.output
    with pytest.raises(OutputError, match="output-exists"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_an_image_of_ones_own_or_noise_stands_in_for_a_test_image(
    run: mw.Run, images: Path, tmp_path: Path
) -> None:
    own = mw.export(run.path, tmp_path / "own.onnx", image=images / "section_000.png")
    assert own.verification.image.endswith("section_000.png")
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    metrics = json.loads((moved / "metrics.json").read_text(encoding="utf-8"))
    metrics["data"]["root"] = str(tmp_path / "gone")
    (moved / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    simulated = mw.export(moved, tmp_path / "simulated.onnx")
    assert simulated.verification.image.startswith("simulated noise")


def test_a_file_that_differs_is_refused_and_nothing_is_left(run: mw.Run, tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open

    coarse = tmp_path / "coarse"
    shutil.copytree(run.path, coarse)
    model = coarse / "model.safetensors"
    with safe_open(model, framework="np") as file:
        facts = file.metadata()
    tensors = {name: torch.from_numpy(array) for name, array in load_file(model).items()}
    # Scores of a million cannot agree to 1e-4 in float32, whatever the format.
    tensors["head.weight"] = tensors["head.weight"] * 1e6
    save_tensors(tensors, model, metadata=facts)
    (tmp_path / "out").mkdir()
    for name in ("a.onnx", "a.xml"):
        with pytest.raises(OutputError, match=r"--out .*\[export-differs\]"):
            mw.export(coarse, tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_suffix_of_another_format_is_refused(run: mw.Run, tmp_path: Path) -> None:
    for name, kind in (("a.foo", None), ("a.onnx", "keras"), ("a", "onnx"), ("a.onnx", "tf")):
        with pytest.raises(ConfigError, match="export-format"):
            mw.export(run.path, tmp_path / name, format=kind)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_network_is_refused(run: mw.Run, images: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="network-missing"):
        mw.predict(tmp_path / "gone.onnx", [images], tmp_path / "out")
    with pytest.raises(RunError, match="run-missing"):
        mw.predict(tmp_path / "gone", [images], tmp_path / "out")
    with pytest.raises(RunError, match="network-kind"):
        mw.predict(images / "section_000.png", [images], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_tiles_through_onnx_equal_tiles_and_whole_image_through_torch(padding: str) -> None:
    config = ModelConfig(depth=2, width=4, padding=padding)  # type: ignore[arg-type]
    network = build_unet(config, seed=0).eval()
    facts = ModelFacts(config, mw.DataConfig(labels=(("none", 0), ("cell", 255))))
    graph = read_graph(network, [axis.smallest for axis in facts.axes])
    file = open_onnx(onnx_bytes(graph, facts), subject="a.onnx")
    image = np.random.default_rng(0).integers(0, 255, (1, 150, 119)).astype(np.uint8)

    def predicted(engine: Any, rule: TileRule) -> np.ndarray:
        return predict_image(image, engine, rule, 1).probabilities_KYX

    small, large = (tile_rule(config, facts.predict, tile=tile) for tile in (108, 1024))
    assert len(small.cover((150, 119))) > 1 == len(large.cover((150, 119)))
    expected = predicted(torch_engine(network), large)
    for engine, rule in (
        (file_engine(file, "softmax"), small),
        (file_engine(file, "softmax"), large),
        (torch_engine(network), small),
    ):
        np.testing.assert_allclose(predicted(engine, rule), expected, atol=1e-5)


@real
def test_a_package_of_others_gives_its_own_test_output() -> None:
    opened = open_network(BROAD)
    image = np.load(BROAD / "test_input.npy", allow_pickle=False)[0]
    expected = np.load(BROAD / "test_output.npy", allow_pickle=False)[0, 0]
    found = opened.predictor.predict(image).probabilities_KYX
    assert np.abs(found[1] - expected).max() < 1e-5
    assert opened.labels.names == ("background", "foreground")
    assert opened.labels.values == ((0,), (255,))


@real
def test_a_package_of_others_masks_real_nuclei(tmp_path: Path) -> None:
    chosen = sorted((NUCLEI / "images").iterdir())[:12]
    result = mw.predict(BROAD, chosen, tmp_path / "masks")
    scores = []
    for path, mask in zip(result.files, result.arrays(), strict=True):
        truth = read_mask(next((NUCLEI / "masks").glob(f"{path.stem}.*"))).array[0] > 0
        assert mask.shape == truth.shape
        assert set(np.unique(mask)) <= {0, 255}
        scores.append(2 * ((mask > 0) & truth).sum() / ((mask > 0).sum() + truth.sum()))
    assert np.median(scores) > 0.75


@real
def test_masks_of_a_package_of_others_are_those_of_bioimageio_core(tmp_path: Path) -> None:
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_model_description

    shutil.copytree(BROAD, tmp_path / "package", copy_function=shutil.copyfile)
    (tmp_path / "package").chmod(0o755)
    # Files on other servers would be fetched.
    values = yaml.safe_load((BROAD / "bioimageio.yaml").read_text(encoding="utf-8"))
    onnx = {key: value for key, value in values["weights"]["onnx"].items() if key != "parent"}
    values = {key: values[key] for key in values if key not in ("covers", "training_data")}
    text = yaml.safe_dump(values | {"weights": {"onnx": onnx}})
    (tmp_path / "package" / "rdf.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "package" / "bioimageio.yaml").unlink()
    model = load_model_description(tmp_path / "package" / "rdf.yaml")
    pipeline = create_prediction_pipeline(model)
    predictor = open_network(tmp_path / "package").predictor
    image = read_image(NUCLEI / "images" / "1400420310c9.png").array[:1]
    sample = create_sample_for_model(model, inputs={"raw": image[None].astype(np.float32)})
    blocks = pipeline.predict_sample_with_blocking(sample)
    expected = blocks.members["probability"].data.values[0, 0] > 0.5
    found = predictor.predict(image).classes_YX
    # Blocks lie elsewhere, and the package's halo is not wide enough to be exact.
    assert (found != expected).mean() < 2e-3
