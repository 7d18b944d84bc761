"""The comparison at equal time hands over, takes back and scores what it was given."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from maskwright.io.image import Image
from maskwright.io.registry import read_image, read_mask, write_mask

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module(monkeypatch, "equal_time_data")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module(monkeypatch, "equal_time_runs")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _module(monkeypatch, "equal_time")


def _module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def test_test_parts_are_those_that_are_written_down(data: ModuleType) -> None:
    names = {
        "membranes": [f"slice_{i:02d}" for i in range(30)],
        "vessels": [f"Image_{i:02d}{side}" for i in range(1, 15) for side in "LR"],
        "nuclei": [f"{i:012x}" for i in range(110)],
        "hippocampus": [f"hippocampus_{i:03d}" for i in range(60)],
    }
    test = {name: data.DATA_SETS[name].test(several) for name, several in names.items()}
    assert test["membranes"] == [f"slice_{i}" for i in range(20, 30)]
    assert test["vessels"] == [f"Image_{i}{side}" for i in range(11, 15) for side in "LR"]
    assert test["nuclei"] == names["nuclei"][::5]
    assert test["hippocampus"] == [f"hippocampus_{i:03d}" for i in range(4, 60, 5)]


def test_grey_images_with_opacity_reach_nnunet_as_one_channel(
    data: ModuleType, tmp_path: Path
) -> None:
    numbers_YX = np.zeros((16, 20), np.uint16)
    numbers_YX[2:9, 2:9], numbers_YX[2:9, 9:15] = 3, 8
    for i in range(6):
        grey_YX = np.full((16, 20), 40 + i, np.uint8)
        opaque_YX = np.full((16, 20), 255, np.uint8)
        _save(
            tmp_path / "nuclei" / "images" / f"cell_{i}.png",
            np.stack([grey_YX, grey_YX, grey_YX, opaque_YX], axis=-1),
        )
        _save(tmp_path / "nuclei" / "masks" / f"cell_{i}.png", numbers_YX)
    prepared = data.prepare(data.DATA_SETS["nuclei"], tmp_path, tmp_path / "work")
    folder = prepared.dataset
    assert folder == tmp_path / "work" / "nnUNet_raw" / "Dataset503_nuclei"
    assert json.loads(prepared.split.read_text()) == {
        "train": ["cell_1", "cell_2", "cell_3", "cell_4"],
        "test": ["cell_0", "cell_5"],
    }
    assert _names(folder / "imagesTr") == [f"cell_{i}_0000.png" for i in range(1, 5)]
    assert _names(folder / "imagesTs") == ["cell_0_0000.png", "cell_5_0000.png"]
    assert _names(folder / "labelsTr") == [f"cell_{i}.png" for i in range(1, 5)]
    image = np.asarray(Picture.open(folder / "imagesTr" / "cell_3_0000.png"))
    assert image.shape == (16, 20)
    assert (image == 43).all()
    assert _description(folder) == {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "nucleus": 1},
        "numTraining": 4,
        "file_ending": ".png",
    }
    # Objects that touch are parted for nnU-Net; the truth that is scored is as it was.
    label_YX = read_mask(folder / "labelsTr" / "cell_1.png").array[0]
    assert label_YX[4].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert (read_mask(prepared.truth / "cell_5.png").array[0] == numbers_YX).all()


def test_a_perfect_and_a_torn_prediction_of_nnunet_score_as_they_should(
    data: ModuleType, runs: ModuleType, tmp_path: Path
) -> None:
    cells_YX = np.full((32, 40), 255, np.uint8)
    cells_YX[15:17], cells_YX[:, 20:22] = 0, 0
    for i in range(18, 22):
        _save(tmp_path / "membranes" / "images" / f"slice_{i}.png", cells_YX // 2)
        _save(tmp_path / "membranes" / "masks" / f"slice_{i}.png", cells_YX)
    prepared = data.prepare(data.DATA_SETS["membranes"], tmp_path, tmp_path / "work")
    assert _description(prepared.dataset)["labels"] == {"background": 0, "membrane": 1}
    label_YX = read_mask(prepared.dataset / "labelsTr" / "slice_18.png").array[0]
    assert (label_YX == (cells_YX == 0)).all()

    torn_YX = label_YX.copy()
    torn_YX[8:12, 20:22] = 0
    scores = {}
    for name, membrane_YX in (("perfect", label_YX), ("torn", torn_YX)):
        written, masks = tmp_path / f"written_{name}", tmp_path / name
        written.mkdir()
        for case in prepared.images:
            _write_as_nnunet(written, case, membrane_YX)
        data.take_back(prepared, written, masks)
        own_YX = read_mask(masks / "slice_20.png").array[0]
        assert (own_YX == np.where(membrane_YX, 0, 255)).all()
        scores[name], failed = runs.score(prepared, masks, written)
        assert failed == ""
    assert scores["perfect"] == pytest.approx({"Dice": 1, "V-Rand": 1, "V-Info": 1})
    true_px, torn_px = int(label_YX.sum()), int(torn_YX.sum())
    assert scores["torn"]["Dice"] == pytest.approx(2 * torn_px / (true_px + torn_px))
    assert scores["torn"]["V-Rand"] < 0.9


def test_volumes_reach_nnunet_and_come_back_as_they_are(
    data: ModuleType, runs: ModuleType, tmp_path: Path
) -> None:
    root = tmp_path / "hippocampus"
    parts_ZYX = np.zeros((8, 10, 12), np.uint8)
    parts_ZYX[2:5, 2:8, 2:9], parts_ZYX[5:7, 2:8, 2:9] = 1, 2
    for i in range(5):
        name = f"hippocampus_{i:03d}.nii.gz"
        for folder, array in (("imagesTr", 9 * parts_ZYX + i), ("labelsTr", parts_ZYX)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            write_mask(root / folder / name, Image(array[None], spacing_mm=(1, 1, 1)))
    prepared = data.prepare(data.DATA_SETS["hippocampus"], tmp_path, tmp_path / "work")
    assert _names(prepared.dataset / "imagesTs") == ["hippocampus_004_0000.nii.gz"]
    assert _description(prepared.dataset)["file_ending"] == ".nii.gz"
    copied = read_image(prepared.dataset / "imagesTr" / "hippocampus_002_0000.nii.gz")
    assert (copied.array[0] == 9 * parts_ZYX + 2).all()
    data.take_back(prepared, prepared.truth, tmp_path / "masks")
    found, failed = runs.score(prepared, tmp_path / "masks", tmp_path)
    assert failed == ""
    assert found == pytest.approx({"Dice": 1, "HD95, mm": 0})


def test_colours_stay_three_channels_and_the_surround_is_not_scored(
    data: ModuleType, tmp_path: Path
) -> None:
    y, x = np.indices((40, 50)) - np.array([20, 25])[:, None, None]
    disc_YX = y**2 + x**2 < 15**2
    image_YXC = np.stack([200 * disc_YX, 120 * disc_YX, 30 * disc_YX], axis=-1).astype(np.uint8)
    vessel_YX = np.abs(x) < 2
    for child in (9, 10, 11, 12):
        _save(tmp_path / "vessels" / "images" / f"Image_{child:02d}L.png", image_YXC)
        _save(tmp_path / "vessels" / "masks" / f"Image_{child:02d}L_1stHO.png", vessel_YX)
    prepared = data.prepare(data.DATA_SETS["vessels"], tmp_path, tmp_path / "work")
    assert list(_description(prepared.dataset)["channel_names"].values()) == ["R", "G", "B"]
    for_nnunet = Picture.open(prepared.dataset / "imagesTs" / "Image_11L_0000.png")
    assert (np.asarray(for_nnunet) == image_YXC).all()
    label_YX = read_mask(prepared.dataset / "labelsTr" / "Image_10L.png").array[0]
    assert (label_YX == vessel_YX).all()
    region_YX = read_mask(prepared.regions / "Image_12L.png").array[0] > 0
    assert region_YX[disc_YX].all()
    assert not region_YX[0].any()


def test_a_process_that_fails_or_hangs_says_so(runs: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    python = [sys.executable, "-S", "-c"]
    usage, failed = runs.measure([*python, "print('done')"], log, 60.0)
    assert failed == ""
    assert usage.peak_bytes > 1 << 20
    _, failed = runs.measure([*python, "raise SystemExit('no room')"], log, 60.0)
    assert failed.splitlines() == ["exit status 1", "no room"]
    _, failed = runs.measure([*python, "import time; time.sleep(600)"], log, 0.2)
    assert failed.startswith("not ended after")


def test_masks_that_cannot_be_scored_say_why(
    data: ModuleType, runs: ModuleType, tmp_path: Path
) -> None:
    prepared = data.Prepared(data.DATA_SETS["hippocampus"], tmp_path, tmp_path, {})
    found, failed = runs.score(prepared, tmp_path / "nothing", tmp_path)
    assert found == {}
    assert failed.startswith("exit status 2")


def test_the_table_names_failures_and_who_is_ahead(program: ModuleType) -> None:
    cells = [
        _cell("nnunet", {"Dice": 0.7, "HD95, mm": 2.0}),
        _cell("ours", {"Dice": 0.8, "HD95, mm": 2.5}),
        {**_cell("nnunet", {}), "minutes": 30.0, "failed": "exit status 1\nno room"},
    ]
    table = program.table_of(cells)
    assert {len(row) for row in table} == {8}
    assert table[1][2:6] == ["nnU-Net 2.8.1", "0.7000", "HD95, mm 2.0000", "600"]
    assert table[3][3:5] == ["-", "exit status 1"]
    assert program.comparisons(cells) == [
        "- hippocampus, 10 minutes: ours is Dice ahead by 0.1000, HD95, mm behind by 0.5000."
    ]


def test_finished_cells_are_kept_and_failed_ones_run_again(
    runs: ModuleType, data: ModuleType, program: ModuleType, tmp_path: Path
) -> None:
    prepared = data.Prepared(data.DATA_SETS["hippocampus"], tmp_path, tmp_path, {})
    cell = runs.Cell(prepared, "ours", 10.0, tmp_path, tmp_path)
    assert not cell.is_done
    cell.figures.parent.mkdir()
    cell.figures.write_text(json.dumps({**_cell("ours", {}), "failed": "exit status 1"}))
    assert not cell.is_done
    cell.figures.write_text(json.dumps(_cell("ours", {"Dice": 0.8})))
    assert cell.is_done
    assert [found["program"] for found in program.finished(tmp_path)] == ["ours"]


def _cell(name: str, scores: dict[str, float]) -> dict[str, Any]:
    return {
        "set": "hippocampus",
        "program": name,
        "minutes": 10.0,
        "wall_s": 600.0,
        "peak_bytes": 2_000_000_000,
        "failed": "",
        "scores": scores,
        "steps": 90,
    }


def _write_as_nnunet(folder: Path, name: str, mask_YX: NDArray[Any]) -> None:
    """A mask and probabilities as nnU-Net leaves them, an image being a volume of one plane."""
    write_mask(folder / f"{name}.png", Image(mask_YX[None]))
    one_KZYX = np.stack([1 - mask_YX, mask_YX]).astype(np.float32)[:, None]
    np.savez_compressed(folder / f"{name}.npz", probabilities=one_KZYX)


def _save(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(array).save(path)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _description(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return found
