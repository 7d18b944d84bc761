"""A mask lies on its image, whatever the image's axes, origin and spacing: SimpleITK says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

import maskwright as mw
from dicom_series import OBLIQUE, read_series, write_series
from maskwright.errors import OutputError
from maskwright.io.registry import read_image
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit
from threshold_run import make_threshold_run

SIZE = (12, 34, 37)
MARKED = (9, 5, 30)
TURNS = {
    "straight": np.eye(3),
    "oblique": OBLIQUE,
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "mirrored": np.diag([1.0, -1.0, 1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
}
SPACING_XYZ = (0.7, 0.9, 2.5)
ORIGIN = (-120.0, 33.5, 7.25)


def _volume() -> np.ndarray:
    values = np.random.default_rng(3).integers(0, 10, SIZE).astype(np.int16)
    values[MARKED] = 900
    return values


def _write(folder: Path, suffix: str, turn: np.ndarray) -> Path:
    if suffix == "dicom":
        return write_series(
            folder / "scan", _volume(), spacing_xyz=SPACING_XYZ, origin=ORIGIN, turn=turn
        )
    image = SimpleITK.GetImageFromArray(_volume())
    image.SetSpacing(SPACING_XYZ)
    image.SetOrigin(ORIGIN)
    image.SetDirection(turn.ravel().tolist())
    folder.mkdir()
    SimpleITK.WriteImage(image, str(folder / f"scan{suffix}"))
    return folder / f"scan{suffix}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_threshold_run(tmp_path_factory.mktemp("runs") / "bright")


def _least_memory(run: Path, image: Path) -> int:
    """Bytes with which an image can be predicted from its file, and not in memory."""
    tiling = open_network(run, Asked()).predictor.tiling
    assert tiling is not None
    pixels = read_image(image).array
    return fit(tiling, pixels.shape, pixels.dtype, 2 * 10**9, subject="").needed_bytes


# The slices of a series lie along the normal of their rows and columns.
CASES = [
    (suffix, name)
    for suffix in (".nii", ".nii.gz", ".mha", ".nrrd", "dicom")
    for name in TURNS
    if suffix != "dicom" or np.linalg.det(TURNS[name]) > 0
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("suffix", "turn"), CASES)
def test_a_predicted_mask_lies_on_its_image(
    tmp_path: Path, run: Path, suffix: str, turn: str, streamed: bool
) -> None:
    path = _write(tmp_path / "images", suffix, TURNS[turn])
    memory = _least_memory(run, path) if streamed else None
    made = mw.predict(run, [path], tmp_path / "masks", memory=memory)
    assert ("from_file" in (made.folder / "predictions.json").read_text()) == streamed
    image = read_series(path) if path.is_dir() else SimpleITK.ReadImage(str(path))
    mask = SimpleITK.ReadImage(str(made.files[0]))
    assert mask.GetSize() == image.GetSize()
    assert mask.GetSpacing() == pytest.approx(image.GetSpacing(), rel=1e-6)
    assert mask.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-4)
    assert mask.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-6)
    index_xyz = [int(n) for n in np.argwhere(SimpleITK.GetArrayFromImage(image) == 900)[0][::-1]]
    point = image.TransformIndexToPhysicalPoint(index_xyz)
    assert mask[mask.TransformPhysicalPointToIndex(point)] == 255
    assert SimpleITK.GetArrayFromImage(mask).sum() == 255


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", "dicom"])
@pytest.mark.parametrize(
    ("mask_format", "written"), [("nrrd", ".nrrd"), ("mha", ".mha"), ("nifti", ".nii.gz")]
)
def test_a_mask_of_another_format_lies_on_its_image(
    tmp_path: Path, run: Path, suffix: str, mask_format: str, written: str
) -> None:
    path = _write(tmp_path / "images", suffix, OBLIQUE)
    made = mw.predict(run, [path], tmp_path / "masks", mask_format=mask_format)
    assert made.files[0].name == f"scan{written}"
    image = read_series(path) if path.is_dir() else SimpleITK.ReadImage(str(path))
    mask = SimpleITK.ReadImage(str(made.files[0]))
    index_xyz = [int(n) for n in np.argwhere(SimpleITK.GetArrayFromImage(image) == 900)[0][::-1]]
    point = image.TransformIndexToPhysicalPoint(index_xyz)
    assert mask[mask.TransformPhysicalPointToIndex(point)] == 255


@pytest.mark.parametrize(
    ("suffix", "turn", "mask_format", "told"),
    [
        (".nii.gz", "straight", "png", "keeps volumes"),
        (".nii.gz", "straight", "tiff", "where an image lies"),
        ("dicom", "oblique", "zarr", "how its axes are turned"),
        ("dicom", "oblique", "bmp", "found 'bmp'"),
        (".mha", "oblique", "dicom-seg", "a series of DICOM slices"),
    ],
)
def test_a_format_that_cannot_hold_the_mask_is_refused_before_anything_is_written(
    tmp_path: Path, run: Path, suffix: str, turn: str, mask_format: str, told: str
) -> None:
    path = _write(tmp_path / "images", suffix, TURNS[turn])
    with pytest.raises(mw.MaskwrightError, match=told) as caught:
        mw.predict(run, [path], tmp_path / "masks", mask_format=mask_format)
    assert "--mask-format" in str(caught.value)
    assert not (tmp_path / "masks").exists()


def test_zarr_keeps_the_origin_of_a_straight_volume(tmp_path: Path, run: Path) -> None:
    path = _write(tmp_path / "images", ".nrrd", np.eye(3))
    made = mw.predict(run, [path], tmp_path / "masks", mask_format="zarr")
    geometry = read_image(made.files[0]).geometry
    assert geometry is not None
    assert geometry.origin_xyz == pytest.approx(ORIGIN)
    with pytest.raises(OutputError):
        mw.predict(run, [path], tmp_path / "more", mask_format="tiff")
