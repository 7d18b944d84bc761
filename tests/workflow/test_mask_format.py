"""Masks in the format that a person asks for, and two predictions into one folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

import maskwright as mw
from dicom_series import read_series, write_series
from maskwright.cli import app
from maskwright.data.check import check_dataset
from maskwright.io.registry import read_image, read_mask
from maskwright.progress import Events
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit
from threshold_run import make_threshold_run

SIZE = (12, 34, 37)


def _volume(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 10, SIZE).astype(np.int16)
    values[3 : 5 + seed, 5:9, 30:33] = 900
    return values


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_threshold_run(tmp_path_factory.mktemp("runs") / "bright")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number in (1, 2):
        write_series(folder / f"p{number}", _volume(number))
    return folder


@pytest.mark.parametrize("streamed", [False, True])
def test_masks_of_series_are_dicom_seg_where_asked(
    tmp_path: Path, run: Path, scans: Path, streamed: bool
) -> None:
    paths = [scans / "p1", scans / "p2"]
    memory = None
    if streamed:
        tiling = open_network(run, Asked()).predictor.tiling
        assert tiling is not None
        memory = fit(tiling, (1, *SIZE), np.dtype("i2"), 2 * 10**9, subject="").needed_bytes
    made = mw.predict(run, paths, tmp_path / "m", mask_format="dicom-seg", memory=memory)
    nifti = mw.predict(run, paths, tmp_path / "n", memory=memory)
    assert [file.name for file in made.files] == ["p1.dcm", "p2.dcm"]
    assert [file.name for file in nifti.files] == ["p1.nii.gz", "p2.nii.gz"]
    for number, (file, plain) in enumerate(zip(made.files, nifti.files, strict=True), start=1):
        assert np.array_equal(read_mask(file).array, read_mask(plain).array)
        assert np.array_equal(read_mask(file).array[0] == 255, _volume(number) == 900)
        assert read_mask(file).geometry == read_image(paths[number - 1]).geometry
        volume = highdicom.seg.segread(file).get_volume(combine_segments=True)
        point = read_series(paths[number - 1]).TransformIndexToPhysicalPoint((31, 6, 3))
        index = np.rint(volume.map_reference_to_indices(np.array([point]))[0]).astype(int)
        assert volume.array[tuple(index)] == 1
    assert mw.evaluate(made.folder, nifti.folder).summary.headline.mean == 1


def test_a_truth_without_its_empty_slices_is_scored_where_it_lies(
    tmp_path: Path, run: Path, scans: Path
) -> None:
    made = mw.predict(run, [scans], tmp_path / "masks")
    truth = mw.predict(run, [scans], tmp_path / "truth", mask_format="dicom-seg")
    for file in truth.files:
        dicom = pydicom.dcmread(file)
        del dicom[0x0099, 0x0010], dicom[0x0099, 0x1001]  # as another program writes it
        dicom.save_as(file)
        assert read_mask(file).size[0] < SIZE[0]
    for folder in (made.folder, truth.folder):  # so that 1 and 255 may mean the same
        (folder / "predictions.json").unlink()
    for pair in ((made.folder, truth.folder), (truth.folder, made.folder)):
        found = mw.evaluate(*pair, report_file=tmp_path / "report.html")
        assert found.summary.headline.mean == 1


def test_a_predicted_dicom_seg_is_a_mask_to_train_with(
    tmp_path: Path, run: Path, scans: Path
) -> None:
    shutil.copytree(scans, tmp_path / "data" / "images")
    mw.predict(run, [tmp_path / "data"], tmp_path / "data" / "masks", mask_format="dicom-seg")
    report = check_dataset(tmp_path / "data")
    assert report.ok, report.lines()
    trained = mw.train(
        tmp_path / "data",
        tmp_path / "run",
        steps=1,
        settings=("depth=1", "width=4", "patch_px=16", "batch=1", "validations=1",
                  "train.layout=contiguous", "train.precision=float32", "evaluate.measures="),
    )  # fmt: skip
    assert trained.metrics()["summary"]["classes"]


def test_the_command_line_takes_a_format(tmp_path: Path) -> None:
    run = make_threshold_run(tmp_path / "run", dims=2)
    Image.fromarray(_volume(1)[3].astype(np.uint16)).save(tmp_path / "a.png")
    for name, suffix in (("tiff", ".tif"), ("nifti", ".nii.gz"), ("zarr", ".zarr"), ("mha", ".mha"),
                         ("png", ".png"), ("auto", ".png"), ("nrrd", ".nrrd")):  # fmt: skip
        out = tmp_path / f"masks_{name}"
        done = CliRunner().invoke(
            app, ["predict", str(run), str(tmp_path / "a.png"), "--out", str(out),
                  "--mask-format", name]
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert np.array_equal(read_mask(out / f"a{suffix}").array[0] == 255, _volume(1)[3] == 900)
    failed = CliRunner().invoke(
        app, ["predict", str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "x"),
              "--mask-format", "jpeg"]
    )  # fmt: skip
    assert isinstance(failed.exception, mw.MaskwrightError)
    assert failed.exception.code == "mask-format"
    assert not (tmp_path / "x").exists()


def test_colours_are_refused_for_formats_of_one_number_a_pixel(tmp_path: Path) -> None:
    data = mw.DataConfig(labels=(("none", 0), ("cell", 0xFF0000)), mask_kind="rgb")
    run = make_threshold_run(tmp_path / "run", dims=2, data=data)
    Image.fromarray(_volume(1)[3].astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(mw.MaskwrightError, match="colours") as caught:
        mw.predict(run, [tmp_path / "a.png"], tmp_path / "masks", mask_format="nifti")
    assert caught.value.code == "mask-format"


def test_an_interrupted_prediction_does_not_go_on_in_another_format(
    tmp_path: Path, run: Path, scans: Path
) -> None:
    (tmp_path / "masks").mkdir()
    with pytest.raises(KeyboardInterrupt):
        mw.predict(run, [scans / "p1", scans / "p2"], tmp_path / "masks", events=_stopping())
    with pytest.raises(mw.MaskwrightError, match="mask_format auto, as the prediction began"):
        mw.predict(run, [scans / "p1", scans / "p2"], tmp_path / "masks", mask_format="nrrd",
                   resume=True)  # fmt: skip


def _stopping() -> Events:
    def listen(event: dict[str, object]) -> None:
        if event["kind"] == "tile":
            raise KeyboardInterrupt

    return Events([listen])


def test_two_predictions_into_one_folder_exclude_each_other(
    tmp_path: Path, run: Path, scans: Path
) -> None:
    code = (
        "import sys, time; import maskwright as mw\n"
        "from maskwright.progress import Events\n"
        "def listen(event):\n"
        "    if event['kind'] == 'tile':\n"
        "        print('begun', flush=True); sys.stdin.read()\n"
        "mw.predict(sys.argv[1], [sys.argv[2]], sys.argv[3], events=Events([listen]))\n"
    )
    arguments = [sys.executable, "-c", code, str(run), str(scans / "p1"), str(tmp_path / "masks")]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(mw.MaskwrightError, match=f"process {other.pid} on") as caught:
                mw.predict(run, [scans / "p2"], tmp_path / "masks", **options)
            assert caught.value.code == "output-in-use"
        other.kill()
    made = mw.predict(run, [scans / "p1"], tmp_path / "masks", overwrite=True)
    summary = json.loads((made.folder / "predictions.json").read_text())
    assert len(summary["images"]) == 1
    assert not list(made.folder.glob("*.lock"))
