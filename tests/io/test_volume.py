"""NIfTI, MetaImage and NRRD, with SimpleITK as the other side."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maskwright.errors import MaskwrightError
from maskwright.io.arrays import blocks, difference, open_labels
from maskwright.io.volume import Geometry

DATA = Path(__file__).parents[3] / "shared" / "data"
SUFFIXES = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"]
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
SHAPE = (5, 7, 9)
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real volumes are not at {DATA}")


def _labels(dtype: str = "uint8", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, shape).astype(dtype)


def _write(path: Path, array: np.ndarray, compressed: bool = False, **place: Any) -> Path:
    volume = sitk.GetImageFromArray(array, isVector=place.get("vector", False))
    if "spacing" in place:
        volume.SetSpacing(place["spacing"])
    volume.SetOrigin(place.get("origin", (0.0,) * volume.GetDimension()))
    if "direction" in place:
        volume.SetDirection(place["direction"])
    sitk.WriteImage(volume, str(path), useCompression=compressed)
    return path


def _code(path: Path, *, read: bool = False) -> str:
    with pytest.raises(MaskwrightError) as caught:
        _whole(path) if read else open_labels(path)
    return caught.value.code


def _whole(path: Path) -> np.ndarray:
    source = open_labels(path)
    return source.read(tuple(slice(0, n) for n in source.shape))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_format_and_type_comes_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = _write(tmp_path / f"a{suffix}", _labels(dtype), compressed=suffix in (".mha", ".nrrd"))
    found = _whole(path)
    assert np.array_equal(found, _labels(dtype))
    kept = {"float32": "int32", "float64": "int64"}.get(dtype, dtype)
    assert found.dtype == np.dtype(kept) == open_labels(path).dtype


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_spacing_is_reversed_and_blocks_equal_the_whole(tmp_path: Path, suffix: str) -> None:
    turned = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    path = _write(tmp_path / f"a{suffix}", _labels("uint16"), spacing=(0.5, 0.75, 3.0),
                  origin=(-10.0, 4.0, 20.5), direction=turned)  # fmt: skip
    source = open_labels(path)
    assert source.shape == SHAPE
    assert source.spacing_mm == pytest.approx((3.0, 0.75, 0.5))
    assert source.geometry is not None
    assert source.geometry.origin_xyz == pytest.approx((-10.0, 4.0, 20.5), abs=1e-6)
    assert np.array(source.geometry.direction) == pytest.approx(np.reshape(turned, (3, 3)))
    assert source.lazy == (suffix in (".nii", ".mha", ".mhd"))
    joined = np.zeros(SHAPE, "uint16")
    for block in blocks(SHAPE, budget_px=20):
        joined[block] = source.read(block)
    assert np.array_equal(joined, _labels("uint16"))
    part = (slice(1, 4), slice(3, 3), slice(0, 9))
    assert source.read(part).shape == (3, 0, 9)


def test_one_slice_stays_a_volume_and_a_plane_a_plane(tmp_path: Path) -> None:
    for suffix in (".nii", ".mha", ".nrrd"):
        assert open_labels(_write(tmp_path / f"a{suffix}", _labels()[:1])).shape == (1, 7, 9)
        plane = open_labels(_write(tmp_path / f"b{suffix}", _labels()[0], spacing=(0.5, 2.0)))
        assert (plane.shape, plane.spacing_mm) == ((7, 9), (2.0, 0.5))
        assert np.array_equal(plane.read((slice(0, 7), slice(0, 9))), _labels()[0])


def test_a_fourth_axis_of_one_is_dropped_and_of_more_refused(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz", ".mha"):
        one = sitk.JoinSeries([sitk.GetImageFromArray(_labels())])
        sitk.WriteImage(one, str(tmp_path / f"one{suffix}"))
        assert np.array_equal(_whole(tmp_path / f"one{suffix}"), _labels())
        two = sitk.JoinSeries([sitk.GetImageFromArray(_labels())] * 2)
        sitk.WriteImage(two, str(tmp_path / f"two{suffix}"))
        assert _code(tmp_path / f"two{suffix}") == "labels-axes"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colours_and_complex_numbers_are_refused(tmp_path: Path, suffix: str) -> None:
    colours = _write(tmp_path / f"rgb{suffix}", _labels(shape=(3, 4, 5, 3)), vector=True)
    assert _code(colours) == "labels-channels"
    if "n" in suffix and suffix not in (".nrrd", ".nhdr"):
        complex_ = _write(tmp_path / f"c{suffix}", _labels("complex64"))
        assert _code(complex_) == "labels-channels"


def test_fractions_are_refused_with_the_value(tmp_path: Path) -> None:
    path = _write(tmp_path / "soft.nii.gz", np.full(SHAPE, 0.25, np.float32))
    with pytest.raises(MaskwrightError, match=r"found the value 0\.25"):
        _whole(path)
    path = _write(tmp_path / "nan.mha", np.full(SHAPE, np.nan, np.float32))
    assert _code(path, read=True) == "labels-not-whole"


def test_geometries_differ_in_words() -> None:
    straight = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    turned = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    a = Geometry((1.0, 1.0, 3.0), (0.0, 0.0, 0.0), straight)
    assert difference(a, a) is None
    assert difference(a, None) is None
    assert difference(a, Geometry((1.0, 1.0, 3.0), (1e-4, 0.0, 0.0), straight)) is None
    moved = Geometry((1.0, 1.0, 3.0), (0.0, 0.0, 3.2), straight)
    assert difference(a, moved) == "origins differ by 3.2 mm"
    other = Geometry((1.0, 1.0, 2.5), (0.0, 0.0, 0.0), turned)
    expected = "spacings differ by 0.5 mm along one axis and directions differ by 90.0°"
    assert difference(a, other) == expected
    flat = Geometry((1.0, 1.0), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)))
    assert difference(a, flat) == "one has 3 axes, the other 2"


def test_one_place_in_four_formats_does_not_differ(tmp_path: Path) -> None:
    angle = np.deg2rad(17.0)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    place = {"spacing": (0.7, 0.7, 2.5), "origin": (-123.4, 56.7, -890.1),
             "direction": (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)}  # fmt: skip
    found = [
        open_labels(_write(tmp_path / f"a{suffix}", _labels(), **place)).geometry
        for suffix in SUFFIXES
    ]
    assert [difference(found[0], other) for other in found] == [None] * len(found)


def _nifti(path: Path, *edits: tuple[Any, ...]) -> Path:
    _write(path, _labels("int16"))
    data = bytearray(path.read_bytes())
    for at, layout, *values in edits:
        struct.pack_into(layout, data, at, *values)
    path.write_bytes(data)
    return path


PIXDIM, UNITS, CODES, SROW_X = 80, 123, 252, 280


@pytest.mark.parametrize("value", [0.0, -2.0, float("nan")])
def test_a_spacing_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    assert _code(_nifti(tmp_path / "a.nii", (PIXDIM, "<f", value))) == "labels-spacing"


def test_two_places_in_one_nifti_file_are_refused_beyond_half_a_voxel(tmp_path: Path) -> None:
    far = _nifti(tmp_path / "far.nii", (SROW_X, "<4f", -1.0, 0.0, 0.0, 25.0))
    with pytest.raises(MaskwrightError, match=r"an sform and a qform .* 25 mm apart"):
        open_labels(far)
    near = _nifti(tmp_path / "near.nii", (SROW_X, "<4f", -1.0, 0.0, 0.0, 0.25))
    assert open_labels(near).shape == SHAPE
    wide = _nifti(tmp_path / "w.nii", (CODES, "<2h", 0, 1), (SROW_X, "<4f", -2.0, 0.0, 0.0, 0.0))
    assert _code(wide) == "labels-two-places"
    only_q = _nifti(tmp_path / "q.nii", (CODES, "<2h", 1, 0), (SROW_X, "<4f", -9.0, 0, 0, 0))
    assert open_labels(only_q).spacing_mm == (1.0, 1.0, 1.0)


def test_nifti_units_and_oblique_axes(tmp_path: Path) -> None:
    micrometres = _nifti(tmp_path / "um.nii", (UNITS, "<B", 3))
    assert open_labels(micrometres).spacing_mm == pytest.approx((1e-3, 1e-3, 1e-3))
    sheared = _nifti(tmp_path / "shear.nii", (SROW_X, "<4f", -1.0, 0.5, 0.0, 0.0))
    assert _code(sheared) == "labels-direction"


def _nrrd(path: Path, fields: str) -> Path:
    head = f"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 2 2 2\n{fields}encoding: raw\n\n"
    path.write_bytes(head.encode() + bytes(range(8)))
    return path


def test_nrrd_says_its_unit_or_no_spacing_at_all(tmp_path: Path) -> None:
    axes = "space dimension: 3\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
    plain = open_labels(_nrrd(tmp_path / "a.nrrd", axes))
    assert plain.spacing_mm == (4.0, 3.0, 2.0)
    small = open_labels(_nrrd(tmp_path / "b.nrrd", axes + 'space units: "um" "um" "um"\n'))
    assert small.spacing_mm == pytest.approx((4e-3, 3e-3, 2e-3))
    pixels = open_labels(_nrrd(tmp_path / "c.nrrd", axes + 'space units: "px" "px" "px"\n'))
    assert (pixels.spacing_mm, pixels.geometry) == (None, None)
    bare = open_labels(_nrrd(tmp_path / "d.nrrd", ""))
    assert (bare.spacing_mm, bare.geometry) == (None, None)
    assert bare.read((slice(0, 1), slice(0, 2), slice(0, 2))).tolist() == [[[0, 1], [2, 3]]]
    assert _code(_nrrd(tmp_path / "e.nrrd", "spacings: 1 nan 2\n")) == "labels-spacing"
    sheared = "space dimension: 3\nspace directions: (1,0.5,0) (0,1,0) (0,0,1)\n"
    assert _code(_nrrd(tmp_path / "f.nrrd", sheared)) == "labels-direction"


def test_metaimage_without_spacing_has_none(tmp_path: Path) -> None:
    head = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 2 2\n"
    last = "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    for name, extra in (("a", ""), ("b", "ElementSpacing = 0 1 1\n")):
        (tmp_path / f"{name}.mha").write_bytes((head + extra + last).encode() + bytes(range(8)))
    assert open_labels(tmp_path / "a.mha").spacing_mm is None
    assert _whole(tmp_path / "a.mha").ravel().tolist() == list(range(8))
    assert _code(tmp_path / "b.mha") == "labels-spacing"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, compressed: bool) -> None:
    path = _write(tmp_path / f"a{suffix}", _labels("uint16"), compressed=compressed)
    data = path.read_bytes()
    for kept in (0, 3, 100, 340, 400, len(data) // 2, len(data) - 9):
        path.write_bytes(data[:kept])
        expected = {"image-damaged", "image-truncated"} if kept else {"image-empty-file"}
        assert _code(path, read=True) in expected, kept


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
def test_a_wrong_byte_in_compressed_voxels_is_refused(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"a{suffix}", _labels("uint16"), compressed=True)
    data = path if suffix not in (".mhd", ".nhdr") else next(tmp_path.glob("a.*raw*"))
    whole = bytearray(data.read_bytes())
    for at in (len(whole) - 100, len(whole) - 50, len(whole) - 8):
        mutant = whole.copy()
        mutant[at] ^= 0x10
        data.write_bytes(mutant)
        assert _code(path, read=True) == "image-damaged"
    data.write_bytes(whole)
    assert np.array_equal(_whole(path), _labels("uint16"))


def test_gzip_files_of_several_members_are_read(tmp_path: Path) -> None:
    whole = _write(tmp_path / "a.nii", _labels("uint16")).read_bytes()
    parts = [gzip.compress(whole[at : at + 400]) for at in range(0, len(whole), 400)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(parts))
    assert np.array_equal(_whole(tmp_path / "b.nii.gz"), _labels("uint16"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_damaged_files_end_in_our_errors_or_in_labels(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"a{suffix}", _labels("uint16"), compressed=suffix == ".nrrd")
    data, random = path.read_bytes(), np.random.default_rng(11)
    refused = 0
    for _ in range(150):
        mutant = bytearray(data[: random.integers(1, len(data))] if random.random() < 0.2 else data)
        for at in random.integers(0, min(len(mutant), 500), 4):
            mutant[at] ^= 1 << int(random.integers(8))
        path.write_bytes(mutant)
        try:
            _whole(path)
        except MaskwrightError:
            refused += 1
    assert refused > 30


@real
def test_hippocampus_labels_have_three_values_and_a_millimetre() -> None:
    paths = sorted((DATA / "hippocampus" / "labelsTr").glob("[!.]*.nii.gz"))[:6]
    assert paths
    for path in paths:
        source = open_labels(path)
        assert source.spacing_mm == (1.0, 1.0, 1.0)
        assert np.array_equal(_whole(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        assert np.unique(_whole(path)).tolist() == [0, 1, 2]


@real
def test_organ_labels_are_sparse_and_lie_on_their_scan() -> None:
    labels = open_labels(DATA / "ct_organs" / "seg.nii.gz")
    scan = open_labels(DATA / "ct_organs" / "ct.nii.gz")
    assert (labels.shape, labels.spacing_mm) == ((30, 101, 122), (3.0, 3.0, 3.0))
    values = np.unique(labels.read((slice(0, 30), slice(0, 101), slice(0, 122))))
    assert (len(values), int(values.max())) == (42, 117)
    assert difference(labels.geometry, scan.geometry) is None
