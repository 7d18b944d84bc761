"""Volumes of different voxel sizes: trained on, scored, predicted, streamed and exported."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

import maskwright as mw
from maskwright.data.check import check_dataset
from maskwright.data.spacing import by
from maskwright.errors import DataError
from maskwright.io.registry import read_image, read_mask
from maskwright.progress import Events
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.planning import read_plan
from maskwright.workflow.prediction_cases import plan_cases
from maskwright.workflow.prediction_whole import TRUSTED_PX

DATA = Path(__file__).parents[3] / "shared" / "data"
TINY = ("depth=1", "width=4", "patch_px=16", "batch=2", "validations=1", "train.precision=float32",
        "train.layout=contiguous", "evaluate.measures=", "predict.precision=float32",
        "learning_rate=0.01")  # fmt: skip
_FINE, _COARSE = (1.5, 1.0, 1.0), (3.0, 1.0, 1.0)


def write(path: Path, array: NDArray[Any], spacing: tuple[float, ...]) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((5.0, -7.0, 11.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(path))


def ball(number: int, spacing: tuple[float, ...]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Air with a ball of tissue of 8 mm, at another place in every volume."""
    generator = np.random.default_rng(number)
    size = tuple(round(36 / mm) for mm in spacing)
    apart = sum(
        np.square((grid + 0.5) * mm - centre)
        for grid, mm, centre in zip(
            np.ogrid[tuple(slice(0, n) for n in size)],
            spacing,
            generator.uniform(12, 24, 3),
            strict=True,
        )
    )
    mask = (apart < 64).astype(np.uint8)
    image = np.where(mask, 60, -1000) + generator.integers(-24, 200, size)
    return image.astype(np.int16), mask


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spacing") / "data"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(8):
        spacing = _COARSE if number % 2 else _FINE
        for folder, array in zip(("images", "masks"), ball(number, spacing), strict=True):
            write(root / folder / f"v{number}.nii.gz", array, spacing)
    return root


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(data: Path, told: list[str]) -> mw.Run:
    def listen(event: dict[str, Any]) -> None:
        if event["kind"] == "message":
            told.append(event["text"])

    return mw.train(data, data.parent / "run", steps=60, settings=TINY, events=Events([listen]))


def test_the_run_says_what_it_chose_and_why_and_keeps_the_numbers(
    run: mw.Run, told: list[str]
) -> None:
    values = json.loads((run.path / "config.json").read_text(encoding="utf-8"))["data"]
    assert values["spacing"] in ([1.5, 1.0, 1.0], [2.25, 1.0, 1.0], [3.0, 1.0, 1.0])
    (window,) = values["channel_intensity"]
    assert window["way"] == "window"
    assert -30 < window["low"] < 60 < window["mean"] < 260 == pytest.approx(window["high"], abs=5)
    text = "\n".join(told)
    assert "the voxel size differs by a factor of 2 along the depth" in text
    assert "they look like CT" in text
    assert f"Found here: {window['low']:.6g} to {window['high']:.6g}" in text


def test_scores_are_of_the_masks_as_they_were_drawn(run: mw.Run, data: Path) -> None:
    metrics = run.metrics()
    assert metrics["summary"]["classes"]["foreground"]["dice"]["mean"] > 0.85
    for case in metrics["cases"]:
        drawn = read_mask(data / "masks" / f"{case['case']}.nii.gz").array
        assert case["shape"] == list(drawn.shape[1:])


def test_masks_lie_on_their_images_whatever_the_spacing(run: mw.Run, tmp_path: Path) -> None:
    for name, spacing in (("fine", _FINE), ("coarse", _COARSE), ("own", run.config.data.spacing)):
        image, drawn = ball(20, spacing)
        write(tmp_path / f"{name}.nii.gz", image, spacing)
        found = run.predict(tmp_path / f"{name}.nii.gz", tmp_path / "masks" / name)
        one, other = (
            SimpleITK.ReadImage(str(path)) for path in (tmp_path / f"{name}.nii.gz", found.files[0])
        )
        assert one.GetSize() == other.GetSize()
        assert one.GetOrigin() == other.GetOrigin()
        assert one.GetSpacing() == other.GetSpacing()
        assert one.GetDirection() == other.GetDirection()
        mask = read_mask(found.files[0]).array[0] > 0
        assert 2 * (mask & (drawn > 0)).sum() / (mask.sum() + drawn.sum()) > 0.85
        record = json.loads((tmp_path / "masks" / name / "predictions.json").read_text())
        resampled = record["images"][0].get("resampled")
        expected = {"spacing_mm": list(run.config.data.spacing), "back": "probabilities"}
        same = spacing == run.config.data.spacing
        assert resampled == (None if same else expected)


def _whole_bytes(run: mw.Run, image: Path, tile: int) -> int:
    """Memory with which an image is just predicted at once."""
    predictor = open_network(run.path, Asked(tile)).predictor
    (case,) = plan_cases(
        {"a": (image,)}, {"a": image}, predictor, 10**10, whole=[], strict=True,
        held=False, trusted_px=TRUSTED_PX,
    )  # fmt: skip
    return case.needed_bytes


@pytest.fixture(scope="module")
def large(run: mw.Run, data: Path) -> Path:
    """A fine volume several tiles large, as Zarr and as NIfTI."""
    parts = [ball(number, _FINE)[0] for number in range(30, 34)]
    path = data.parent / "large.nii.gz"
    write(path, np.concatenate([np.concatenate(parts, 1), np.concatenate(parts[::-1], 1)]), _FINE)
    return path


def test_from_the_file_it_is_nearly_the_mask_from_memory_and_says_so(
    run: mw.Run, large: Path, tmp_path: Path
) -> None:
    memory = _whole_bytes(run, large, 32)
    records, masks = [], []
    for name, most in (("file", memory - 1), ("whole", memory)):
        found = run.predict(large, tmp_path / name, tile=32, memory=most)
        text = (tmp_path / name / "predictions.json").read_text(encoding="utf-8")
        records += json.loads(text)["images"]
        masks.append(read_mask(found.files[0]))
    assert records[0]["tiling"]["from_file"]
    assert [record["resampled"]["back"] for record in records] == ["class ids", "probabilities"]
    assert masks[0].size == masks[1].size == read_image(large).size
    assert masks[0].geometry == masks[1].geometry
    assert masks[0].array.any()
    assert (masks[0].array != masks[1].array).mean() < 0.01
    # The record counts the pixels of the mask, not those that the network saw.
    share = records[0]["shares"]["foreground"]
    assert share == pytest.approx((masks[0].array > 0).mean(), abs=1e-6)


def test_a_prediction_from_the_file_goes_on_with_the_same_result(
    run: mw.Run, large: Path, tmp_path: Path
) -> None:
    memory = _whole_bytes(run, large, 32) - 1

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "tile" and event["number"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.predict(large, tmp_path / "a", tile=32, memory=memory, events=Events([stop]))
    for name, resume in (("a", True), ("b", False)):
        run.predict(large, tmp_path / name, tile=32, memory=memory, resume=resume)
    one, other = (read_mask(tmp_path / name / large.name).array for name in "ab")
    np.testing.assert_array_equal(one, other)


def test_objects_of_a_streamed_image_are_on_its_own_grid(
    run: mw.Run, large: Path, tmp_path: Path
) -> None:
    memory = _whole_bytes(run, large, 32) - 1
    found = run.predict(large, tmp_path / "out", tile=32, memory=memory, objects=True)
    text = (tmp_path / "out" / "predictions.json").read_text(encoding="utf-8")
    (record,) = json.loads(text)["images"]
    assert record["tiling"]["from_file"]
    mask = read_mask(found.files[0])
    numbers = read_mask(next((tmp_path / "out" / "objects").glob("large*.nii.gz")))
    assert numbers.geometry == mask.geometry
    np.testing.assert_array_equal(numbers.array > 0, mask.array > 0)
    assert numbers.array.max() == record["objects"] >= 4
    with (tmp_path / "out" / "objects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["volume_px"]) for row in rows) == (mask.array > 0).sum()
    assert all(0.5 < float(row["mean_probability"]) <= 1 for row in rows)


def test_workers_predict_what_one_process_does(run: mw.Run, large: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    memory = _whole_bytes(run, large, 32) - 1
    for name, workers in (("one", None), ("two", 2)):
        each = memory * (workers or 1)
        run.predict(large, tmp_path / name, tile=32, memory=each, workers=workers)
    one, other = (read_mask(tmp_path / name / large.name).array for name in ("one", "two"))
    np.testing.assert_array_equal(one, other)


def test_a_run_that_begins_with_another_sees_images_as_that_one_did(
    run: mw.Run, data: Path, tmp_path: Path
) -> None:
    only = tmp_path / "fine"
    for folder in ("images", "masks"):
        (only / folder).mkdir(parents=True)
        for number in range(0, 8, 2):
            shutil.copy(data / folder / f"v{number}.nii.gz", only / folder)
    begun = mw.train(only, tmp_path / "run", steps=1, settings=TINY[2:], start_from=run.path)
    assert begun.config.data.spacing == run.config.data.spacing
    assert [channel.way for channel in begun.config.data.channel_intensity] == ["window"]


def test_the_report_tells_the_choices_and_repeats_them(run: mw.Run) -> None:
    html = (run.path / "report.html").read_text(encoding="utf-8")
    assert "intensities: window" in html
    spacing = run.config.data.spacing_mm
    assert spacing is not None
    assert f"pixels of {by(spacing)} mm" in html
    assert f"--plan {run.folder.plan}" in html
    assert read_plan(run.folder.plan).config.data.spacing_mm == spacing


def test_images_without_a_spacing_are_refused_until_it_is_given(
    run: mw.Run, tmp_path: Path
) -> None:
    image, drawn = ball(20, _FINE)
    np.save(tmp_path / "v.npy", image)
    with pytest.raises(DataError, match="spacing-missing") as error:
        run.predict(tmp_path / "v.npy", tmp_path / "masks")
    assert "v.npy" in str(error.value)
    assert not (tmp_path / "masks").exists()
    found = run.predict(
        tmp_path / "v.npy", tmp_path / "masks", settings=("predict.pixel_mm=1.5,1,1",)
    )
    mask = read_mask(found.files[0]).array[0] > 0
    assert mask.shape == drawn.shape
    assert 2 * (mask & (drawn > 0)).sum() / (mask.sum() + drawn.sum()) > 0.85


def test_an_exported_file_does_what_its_run_does(run: mw.Run, tmp_path: Path) -> None:
    image, _ = ball(21, _FINE)
    write(tmp_path / "v.nii.gz", image, _FINE)
    mw.export(run.path, tmp_path / "a.onnx")
    mw.export(run.path, tmp_path / "a.zip")
    masks = [
        read_mask(mw.predict(network, [tmp_path / "v.nii.gz"], tmp_path / name).files[0]).array
        for name, network in (
            ("1", run.path),
            ("2", tmp_path / "a.onnx"),
            ("3", tmp_path / "a.zip"),
        )
    ]
    assert masks[0].any()
    for mask in masks[1:]:
        assert (mask != masks[0]).mean() < 1e-3


def test_averages_and_levels_come_back_too(run: mw.Run, tmp_path: Path) -> None:
    image, drawn = ball(22, _FINE)
    write(tmp_path / "v.nii.gz", image, _FINE)
    found = run.predict(
        tmp_path / "v.nii.gz", tmp_path / "masks", tta="flip,scale", probabilities=True
    )
    assert read_mask(found.files[0]).array.shape[1:] == drawn.shape
    assert read_image(found.probabilities[0]).size == drawn.shape


def test_what_is_asked_for_is_done_and_a_resumed_run_keeps_it(data: Path, tmp_path: Path) -> None:
    settings = (*TINY, "data.spacing=none", "data.window=(-1000, 400)")
    run = mw.train(data, tmp_path / "run", steps=2, settings=settings)
    assert run.config.data.spacing == "none"
    (window,) = run.config.data.channel_intensity
    assert (window.low, window.high, window.mean) == (-1000, 400, None)
    again = mw.train(data, tmp_path / "run", steps=2, resume=True)
    assert again.config == run.config


def test_check_tells_what_training_will_choose(data: Path) -> None:
    report = check_dataset(data)
    assert report.ok
    assert any(note.startswith("images are brought to 2.25 × 1 × 1 mm") for note in report.notes)
    assert any(note.startswith("intensities are clipped") for note in report.notes)
    assert not any(problem.code == "spacing-differs" for problem in report.problems)


def test_slices_of_volumes_are_brought_to_one_pixel_size(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number, spacing in enumerate([(9.0, 1.0, 1.0), (9.0, 1.5, 1.5)] * 2):
        for folder, array in zip(("images", "masks"), ball(number, spacing), strict=True):
            write(tmp_path / "data" / folder / f"v{number}.nii.gz", array, spacing)
    settings = (*TINY, "data.slices=true")
    run = mw.train(tmp_path / "data", tmp_path / "run", steps=2, settings=settings)
    assert run.config.model.dims == 2
    assert run.config.data.spacing_mm is not None
    assert len(run.config.data.spacing_mm) == 2
    for number in (0, 1):
        image = tmp_path / "data" / "images" / f"v{number}.nii.gz"
        found = run.predict(image, tmp_path / f"masks{number}")
        assert read_mask(found.files[0]).size == read_image(image).size


@pytest.mark.skipif(not (DATA / "ct_organs").is_dir(), reason=f"no CT at {DATA / 'ct_organs'}")
def test_a_real_ct_is_known_as_one_and_is_resampled_and_back(tmp_path: Path) -> None:
    for folder, name in (("images", "ct"), ("masks", "seg")):
        (tmp_path / "data" / folder).mkdir(parents=True)
        source = SimpleITK.ReadImage(str(DATA / "ct_organs" / f"{name}.nii.gz"))
        for part in range(3):
            cut = source[:, :, 10 * part : 10 * part + 10]
            cut = SimpleITK.Cast(cut, SimpleITK.sitkInt16)
            if folder == "masks":
                cut = SimpleITK.Cast(cut > 0, SimpleITK.sitkUInt8)
            if part == 1:
                cut.SetSpacing((3.0, 3.0, 5.0))
            SimpleITK.WriteImage(cut, str(tmp_path / "data" / folder / f"p{part}.nii.gz"))
    settings = (*TINY, "data.spacing=4,3,3.5")
    run = mw.train(tmp_path / "data", tmp_path / "run", steps=2, settings=settings)
    assert run.config.data.spacing_mm == (4.0, 3.0, 3.5)
    (window,) = run.config.data.channel_intensity
    assert window.low is not None
    assert -1100 <= window.low < 0 < (window.high or 0)
    image = tmp_path / "data" / "images" / "p1.nii.gz"
    found = run.predict(image, tmp_path / "masks")
    assert read_mask(found.files[0]).size == read_image(image).size
