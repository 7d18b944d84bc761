"""Masks as DICOM-SEG, read back by highdicom as the other side."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_series import OBLIQUE, read_series, write_series
from maskwright.data.check import check_dataset
from maskwright.data.dataset import find_cases
from maskwright.data.files import find_images
from maskwright.errors import ImageReadError, OutputError
from maskwright.io.arrays import open_labels
from maskwright.io.dicom_seg_write import Segment, check_segmentable, write_segmentation
from maskwright.io.registry import is_image, is_image_folder, read_header, read_image, read_mask

RNG = np.random.default_rng(6)
SIZE = (7, 9, 11)
SEGMENTS = [
    Segment("background", 0, (0, 0, 0)),
    Segment("liver", 1, (255, 0, 0)),
    Segment("Läsion\\2", 2, (0, 128, 255)),
]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = RNG.integers(0, 900, SIZE).astype(np.int16)
    return write_series(tmp_path_factory.mktemp("series") / "scan", values)


def _drawn() -> np.ndarray:
    """Class ids with nothing in the first, the last and one middle slice."""
    classes_ZYX = RNG.integers(0, 3, SIZE).astype(np.uint8)
    classes_ZYX[[0, 3, 6]] = 0
    return classes_ZYX


def _foreign(path: Path, series: Path, classes_ZYX: np.ndarray, kind: str, **more: Any) -> Path:
    """A segmentation as another program makes it."""
    files = sorted(series.iterdir(), key=lambda file: int(pydicom.dcmread(file).InstanceNumber))
    sources = [pydicom.dcmread(file) for file in files]
    for source in sources:
        source.FrameOfReferenceUID, source.SliceThickness = "1.2.3", 2.5
    code = pydicom.sr.codedict.codes.SCT.Liver
    described = [
        highdicom.seg.SegmentDescription(number, f"{number}", code, code, "MANUAL")
        for number in range(1, int(more.pop("count", classes_ZYX.max())) + 1)
    ]
    made = highdicom.seg.Segmentation(
        sources, classes_ZYX, kind, described, "1.2.4", 1, "1.2.5", 1, "they", "it", "1", "2",
        **more,
    )  # fmt: skip
    made.save_as(path)
    return path


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(3, 9), st.integers(3, 9)),
    st.lists(st.integers(0, 65535), min_size=2, max_size=6, unique=True),
    st.integers(0, 99),
    st.tuples(*[st.floats(0.1, 9)] * 3),
)
def test_values_and_places_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int, int],
    values: list[int],
    seed: int,
    spacing_xyz: tuple[float, float, float],
) -> None:
    folder = tmp_path_factory.mktemp("seg")
    random = np.random.default_rng(seed)
    image = random.integers(0, 9, size).astype(np.int16)
    spacing_xyz = tuple(round(mm, 4) for mm in spacing_xyz)
    scan = write_series(folder / "scan", image, spacing_xyz=spacing_xyz)
    classes_ZYX = random.integers(0, len(values), size).astype(np.uint8)
    classes_ZYX[random.random(size[0]) < 0.5] = 0
    segments = [Segment(f"class {value}", value, (1, 2, 3)) for value in values]
    write_segmentation(folder / "a.dcm", classes_ZYX, segments, scan)
    frames = pydicom.dcmread(folder / "a.dcm").pixel_array
    assert frames.sum() == (classes_ZYX > 0).sum()
    mask, source = read_mask(folder / "a.dcm"), read_image(scan)
    assert mask.array.dtype == (np.uint8 if max(values) <= 255 else np.uint16)
    assert np.array_equal(mask.array[0], np.array(values)[classes_ZYX])
    assert mask.geometry == source.geometry
    assert mask.spacing_mm == source.spacing_mm
    assert np.array_equal(
        open_labels(folder / "a.dcm").read(tuple(slice(0, n) for n in size)), mask.array[0]
    )
    assert read_header(folder / "a.dcm").size == size


def test_highdicom_reads_classes_places_and_what_made_them(tmp_path: Path, series: Path) -> None:
    classes_ZYX = _drawn()
    write_segmentation(tmp_path / "a.dcm", classes_ZYX, SEGMENTS, series)
    found = highdicom.seg.segread(tmp_path / "a.dcm")
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["liver", "Läsion/2"]
    first = found.get_segment_description(1)
    assert first.algorithm_type.value == "AUTOMATIC"
    assert first.algorithm_identification.name == "maskwright"
    assert first.RecommendedDisplayCIELabValue == list(
        highdicom.color.CIELabColor.from_rgb(255, 0, 0).value
    )
    slices = {pydicom.dcmread(file).SOPInstanceUID for file in series.iterdir()}
    assert {uid for _, _, uid in found.get_source_image_uids()} == slices
    volume = found.get_volume(combine_segments=True)
    reference = read_series(series)
    for z, y, x in np.argwhere(classes_ZYX)[::17]:
        place = reference.TransformIndexToPhysicalPoint([int(x), int(y), int(z)])
        index = np.rint(volume.map_reference_to_indices(np.array([place]))[0]).astype(int)
        assert volume.array[tuple(index)] == classes_ZYX[z, y, x]


def test_slices_that_are_not_evenly_apart_keep_their_masks(tmp_path: Path) -> None:
    scan = write_series(tmp_path / "scan", RNG.integers(0, 9, (40, 5, 6)).astype(np.int16))
    moved_mm = np.array([0.0, *np.cumsum([-0.2] * 20 + [0.2] * 19)])  # of 2.5 mm each
    for file in scan.iterdir():
        dicom = pydicom.dcmread(file)
        shift = moved_mm[int(dicom.InstanceNumber)] * OBLIQUE[:, 2]
        place = np.array(dicom.ImagePositionPatient, float) + shift
        dicom.ImagePositionPatient = [f"{n:.9f}" for n in place]
        dicom.save_as(file)
    classes_ZYX = RNG.integers(0, 3, (40, 5, 6)).astype(np.uint8)
    classes_ZYX[[0, 7]] = 0
    write_segmentation(tmp_path / "a.dcm", classes_ZYX, SEGMENTS, scan)
    mask = read_mask(tmp_path / "a.dcm")
    assert np.array_equal(mask.array[0], classes_ZYX)
    assert mask.geometry == read_image(scan).geometry


def test_a_mask_without_anything_drawn_is_a_whole_mask(tmp_path: Path, series: Path) -> None:
    write_segmentation(tmp_path / "a.dcm", np.zeros(SIZE, np.uint8), SEGMENTS, series)
    mask = read_mask(tmp_path / "a.dcm")
    assert mask.size == SIZE
    assert not mask.array.any()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_the_masks_of_other_programs_lie_on_their_series(
    tmp_path: Path, series: Path, kind: str
) -> None:
    drawn = {}
    for name in ("p1", "p2"):
        values = RNG.integers(0, 900, SIZE).astype(np.int16)
        scan = write_series(tmp_path / "images" / name, values)
        drawn[name] = _drawn()
        (tmp_path / "masks").mkdir(exist_ok=True)
        _foreign(tmp_path / "masks" / f"{name}.dcm", scan, drawn[name], kind)
    assert read_mask(tmp_path / "masks" / "p1.dcm").size != SIZE or kind == "LABELMAP"
    report = check_dataset(tmp_path)
    assert report.ok, report.lines()
    for case in find_cases(tmp_path).cases:
        mask, image = case.read_mask(), case.read_image()
        assert np.array_equal(mask.array[0], drawn[case.name])
        assert mask.geometry == image.geometry
    assert report.label_map is not None
    assert report.label_map.values == ((0,), (1,), (2,))


def test_slices_of_stacks_take_their_part_of_the_mask(tmp_path: Path) -> None:
    scan = write_series(tmp_path / "images" / "p", RNG.integers(0, 900, SIZE).astype(np.int16))
    classes_ZYX = _drawn()
    (tmp_path / "masks").mkdir()
    _foreign(tmp_path / "masks" / "p.dcm", scan, classes_ZYX, "BINARY")
    for case in find_cases(tmp_path, slices=True).cases:
        assert np.array_equal(case.read_mask().array[0], classes_ZYX[case.z])


def test_shares_overlaps_and_single_slices_are_refused(tmp_path: Path, series: Path) -> None:
    _foreign(tmp_path / "shares.dcm", series, _drawn(), "FRACTIONAL")
    both = np.zeros((*SIZE, 2), np.uint8)
    both[2, 3, 4] = 1
    _foreign(tmp_path / "both.dcm", series, both, "BINARY", count=2)
    (tmp_path / "slice.dcm").write_bytes(next(iter(series.iterdir())).read_bytes())
    for name, code in (
        ("shares", "dicom-seg-type"),
        ("both", "labels-overlap"),
        ("slice", "dicom-file"),
    ):
        with pytest.raises(ImageReadError) as caught:
            read_mask(tmp_path / f"{name}.dcm")
        assert caught.value.code == code


def test_a_mask_among_the_slices_is_not_one_of_them(tmp_path: Path) -> None:
    values = RNG.integers(0, 900, SIZE).astype(np.int16)
    scan = write_series(tmp_path / "scan", values, turn=OBLIQUE)
    write_segmentation(scan / "0 mask.dcm", _drawn(), SEGMENTS, scan)
    assert is_image_folder(scan)
    assert np.array_equal(read_image(scan).array[0], values)
    assert find_images([scan]) == [scan]
    assert [is_image(scan / name) for name in ("0 mask.dcm", "IM000.dcm")] == [True, False]
    (tmp_path / "masks").mkdir()
    (scan / "0 mask.dcm").rename(tmp_path / "masks" / "scan.dcm")
    assert not is_image_folder(tmp_path / "masks")


def test_an_image_without_positions_has_no_segmentation(tmp_path: Path, series: Path) -> None:
    file = pydicom.dcmread(next(iter(series.iterdir())))
    del file.ImagePositionPatient
    (tmp_path / "photograph").mkdir()
    file.save_as(tmp_path / "photograph" / "a.dcm")
    for image in (tmp_path / "photograph", tmp_path / "a.nii.gz"):
        with pytest.raises(OutputError, match="Use --mask-format nifti"):
            check_segmentable(image)


def test_damaged_files_end_in_our_errors(tmp_path: Path, series: Path) -> None:
    path = tmp_path / "a.dcm"
    write_segmentation(path, _drawn(), SEGMENTS, series)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole[: RNG.integers(200, len(whole) + 1)])
        for _ in range(3):
            data[RNG.integers(360, len(whole)) % len(data)] = RNG.integers(256)
        path.write_bytes(data)
        with suppress(ImageReadError):
            assert read_mask(path).array.shape[2:] == SIZE[1:]


def test_without_highdicom_the_extra_is_named(tmp_path: Path, series: Path) -> None:
    write_segmentation(tmp_path / "a.dcm", _drawn(), SEGMENTS, series)
    code = (
        "import sys; sys.modules['highdicom'] = sys.modules['pydicom'] = None\n"
        "from pathlib import Path; from maskwright.errors import MaskwrightError\n"
        "from maskwright.io.registry import read_image, read_mask\n"
        "read_image(Path(sys.argv[1]))\n"
        "try: read_mask(Path(sys.argv[2]))\n"
        "except MaskwrightError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(series), str(tmp_path / "a.dcm")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "maskwright[dicom-seg]" in done.stdout
    assert "[extra-missing]" in done.stdout


def test_notes_that_say_nonsense_are_refused(tmp_path: Path, series: Path) -> None:
    path = tmp_path / "a.dcm"
    write_segmentation(path, _drawn(), SEGMENTS, series)
    at_mm = [2.5 * z for z in range(7)]
    good = {"at_mm": at_mm, "origin": [-120.0, 33.5, 7.25], "step_mm": 2.5, "values": [0, 1, 2]}
    wrong: list[dict[str, Any]] = [
        {"at_mm": 7}, {"at_mm": []}, {"at_mm": at_mm[:2]}, {"at_mm": [0, float("nan")]},
        {"values": [0, 1]}, {"step_mm": 0},
        {"values": [0, 1, 10**6]}, {"origin": [0, 0]}, {"step_mm": "x"}, {"values": None},
    ]  # fmt: skip
    for change in wrong:
        file = pydicom.dcmread(path)
        file.private_block(0x0099, "maskwright")[0x01].value = json.dumps(good | change)
        file.save_as(tmp_path / "b.dcm")
        with pytest.raises(ImageReadError):
            read_mask(tmp_path / "b.dcm")
