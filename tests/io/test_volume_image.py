"""Volumes as images, and masks that lie exactly on them; SimpleITK is the other side."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from maskwright.errors import ImageReadError, OutputError
from maskwright.io.channels import read_channels
from maskwright.io.image import Image
from maskwright.io.probabilities import (
    find_probabilities,
    probabilities_path,
    read_probabilities,
    write_probabilities,
)
from maskwright.io.registry import (
    image_stem,
    mask_suffix,
    read_header,
    read_image,
    read_mask,
    write_mask,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
SUFFIXES = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"]
SHAPE = (5, 7, 9)
TURN = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)
PLACE = {"spacing": (0.7, 0.7, 2.5), "origin": (-123.4, 56.7, -890.1), "direction": TURN}
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real volumes are not at {DATA}")


def _write(path: Path, array: np.ndarray, vector: bool = False, **place: Any) -> Path:
    volume = sitk.GetImageFromArray(array, isVector=vector)
    for key, value in place.items():
        getattr(volume, f"Set{key.capitalize()}")(value)
    sitk.WriteImage(volume, str(path))
    return path


def _values(dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return (np.random.default_rng(5).random(shape) * 900).astype(dtype)


def _placing(path: Path) -> tuple[Any, ...]:
    """Pixel sizes, unit, codes and both matrices of a NIfTI file."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        header = file.read(348)
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    layout = ((76, "4f"), (123, "B"), (252, "2h18f"))
    return sum((struct.unpack_from(order + fields, header, at) for at, fields in layout), ())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_an_image_keeps_its_values_type_and_place(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = _write(tmp_path / f"a{suffix}", _values(dtype), **PLACE)
    image, header = read_image(path), read_header(path)
    assert (image.axes, image.size, image.channels) == ("CZYX", SHAPE, 1)
    assert np.array_equal(image.array[0], _values(dtype))
    assert image.array.dtype == np.dtype(dtype)
    assert image.spacing_mm == pytest.approx((2.5, 0.7, 0.7))
    assert image.geometry is not None
    assert image.geometry.origin_xyz == pytest.approx(PLACE["origin"], rel=1e-6)
    assert (header.size, header.channels, header.dtype) == (SHAPE, 1, dtype)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_fourth_axis_and_vectors_are_channels(tmp_path: Path, suffix: str) -> None:
    four = np.stack([_values(), _values() + 1, _values() + 2])
    parts = [sitk.GetImageFromArray(part) for part in four]
    sitk.WriteImage(sitk.JoinSeries(parts), str(tmp_path / f"four{suffix}"))
    vectors = np.moveaxis(four, 0, -1).astype("int16")
    _write(tmp_path / f"vector{suffix}", vectors, vector=True)
    for name, wanted in (("four", four), ("vector", np.moveaxis(vectors, -1, 0))):
        image = read_image(tmp_path / f"{name}{suffix}")
        assert np.array_equal(image.array, wanted)
        header = read_header(tmp_path / f"{name}{suffix}")
        assert (header.size, header.channels) == (SHAPE, 3)
        assert image.spacing_mm == (1.0, 1.0, 1.0)


def test_a_plane_is_an_image_and_one_slice_a_volume(tmp_path: Path) -> None:
    plane = read_image(_write(tmp_path / "a.nii.gz", _values()[0]))
    assert (plane.axes, plane.size) == ("CYX", (7, 9))
    assert read_image(_write(tmp_path / "b.nii.gz", _values()[:1])).size == (1, 7, 9)


def test_five_axes_are_refused(tmp_path: Path) -> None:
    volume = sitk.JoinSeries([sitk.GetImageFromArray(_values())] * 2)
    sitk.WriteImage(sitk.JoinSeries([volume] * 2), str(tmp_path / "five.mha"))
    with pytest.raises(ImageReadError) as caught:
        read_image(tmp_path / "five.mha")
    assert caught.value.code == "image-axes"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_none_are_refused(tmp_path: Path, suffix: str, dtype: str) -> None:
    array = _values(dtype)
    array[2, 3, 4], array[0, 0, 0] = np.nan, -np.inf
    path = _write(tmp_path / f"a{suffix}", array)
    with pytest.raises(ImageReadError, match="2 pixels") as caught:
        read_image(path)
    assert caught.value.code == "image-nan"
    # The reader of NIfTI turns them into 0; a mask of labels may be stored so.
    assert read_mask(path).size == SHAPE


def test_a_volume_of_too_many_voxels_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(
        b"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 4096 4096 4096\n"
        b"encoding: gzip\n\n" + bytes(70_000_000)
    )
    with pytest.raises(ImageReadError) as caught:
        read_header(path)
    assert caught.value.code == "image-pixel-bomb"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_lies_exactly_on_its_image(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"a{suffix}", _values(), **PLACE)
    image = read_image(path)
    for dtype in (np.uint8, np.uint16, np.bool_):
        mask = Image((image.array > 400).astype(dtype))
        target = tmp_path / f"mask{mask_suffix(path)}"
        write_mask(target, mask.placed_as(image))
        written, given = sitk.ReadImage(str(target)), sitk.ReadImage(str(path))
        for asked in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(written, asked)() == pytest.approx(getattr(given, asked)(), abs=1e-6)
        assert np.array_equal(sitk.GetArrayFromImage(written), mask.array[0])
        stored = np.uint16 if dtype == np.uint16 else np.uint8
        assert sitk.GetArrayFromImage(written).dtype == stored
    assert not [left for left in tmp_path.iterdir() if left.name.startswith(".")]


@pytest.mark.parametrize(
    ("codes", "srow"),
    [((1, 1), None), ((0, 4), (-0.7, 0, 0, 123.4)), ((2, 0), None), ((0, 0), None),
     ((1, 2), (-0.42, 0.56, 0.0, 123.6))],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_codes_and_both_matrices_of_a_nifti_image_return_bit_by_bit(
    tmp_path: Path, codes: tuple[int, int], srow: tuple[float, ...] | None, suffix: str
) -> None:
    place = PLACE if srow is None or srow[1] else {**PLACE, "direction": np.eye(3).ravel().tolist()}
    raw = bytearray(_write(tmp_path / "raw.nii", _values("int16"), **place).read_bytes())
    struct.pack_into("<2h", raw, 252, *codes)
    if srow is not None:
        struct.pack_into("<4f", raw, 280, *srow)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(raw) if suffix == ".nii.gz" else bytes(raw))
    image = read_image(path)
    write_mask(tmp_path / f"m{suffix}", Image((image.array > 9).view(np.uint8)).placed_as(image))
    assert _placing(tmp_path / f"m{suffix}") == _placing(path)


def test_a_big_endian_image_gives_its_place_to_a_little_endian_mask(tmp_path: Path) -> None:
    volume = sitk.GetImageFromArray(_values())
    for key, value in PLACE.items():
        getattr(volume, f"Set{key.capitalize()}")(value)
    sitk.WriteImage(volume, str(tmp_path / "a.nii"))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    # Every field of a NIfTI header has one of these sizes at these places.
    widths = [(0, 1, 4), (32, 1, 4), (36, 1, 2), (40, 8, 2), (56, 3, 4), (68, 4, 2), (76, 8, 4),
              (108, 3, 4), (120, 1, 2), (124, 4, 4), (140, 2, 4), (252, 2, 2),
              (256, 18, 4)]  # fmt: skip
    widths.append((352, len(data[352:]) // 4, 4))
    for at, count, width in widths:
        part = np.frombuffer(bytes(data[at : at + count * width]), f"<u{width}")
        data[at : at + count * width] = part.astype(f">u{width}").tobytes()
    (tmp_path / "b.nii").write_bytes(data)
    image = read_image(tmp_path / "b.nii")
    assert np.array_equal(image.array[0], _values())
    write_mask(tmp_path / "m.nii", Image((image.array > 9).view(np.uint8)).placed_as(image))
    assert _placing(tmp_path / "m.nii") == _placing(tmp_path / "b.nii") == _placing(
        tmp_path / "a.nii"
    )  # fmt: skip


def test_masks_get_one_file_in_a_format_of_volumes(tmp_path: Path) -> None:
    names = ("a.nii", "a.NII.GZ", "a.mha", "a.mhd", "a.nrrd", "a.nhdr")
    suffixes = [".nii", ".nii.gz", ".mha", ".mha", ".nrrd", ".nrrd"]
    assert [mask_suffix(Path(name)) for name in names] == suffixes
    assert [image_stem(Path(name)) for name in ("v1.2.nii.gz", "b.c.png")] == ["v1.2", "b.c"]
    mask = Image(np.ones((1, *SHAPE), np.uint8))
    for name in ("a.png", "a.bmp", "a.mhd", "a.nii.bz2"):
        with pytest.raises(OutputError) as caught:
            write_mask(tmp_path / name, mask)
        assert caught.value.code == "mask-format"
    with pytest.raises(OutputError) as caught:
        write_mask(tmp_path / "a.nii.gz", Image(np.ones((1, *SHAPE), np.float32)))
    assert caught.value.code == "mask-dtype"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_an_error_of_writing(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii", "a.mha"):
        with pytest.raises(OutputError) as caught:
            write_mask(tmp_path / "no" / name, Image(np.ones((1, *SHAPE), np.uint8)))
        assert caught.value.code == "output-failed"


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("a.nii", gzip.compress(bytes(400)), "Rename it to a.nii.gz"),
        ("a.nii.gz", bytes(344) + b"n+1\0" + bytes(60), "Rename it to a.nii"),
        ("a.png", bytes(344) + b"n+1\0" + bytes(60), "Rename it to a.nii"),
        ("a.nii.gz", b"\x89PNG\r\n\x1a\n", "Rename it to a.png"),
        ("a.mha", b"NRRD0004\n", "Rename it to a.nrrd"),
    ],
)
def test_a_wrong_suffix_is_named(tmp_path: Path, name: str, content: bytes, remedy: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageReadError, match=remedy) as caught:
        read_image(tmp_path / name)
    assert caught.value.code == "image-wrong-extension"


@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd", "a.nii.gz"])
def test_words_in_the_place_of_a_volume_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"words") if name[-2:] == "gz" else b"words")
    with pytest.raises(ImageReadError) as caught:
        read_image(tmp_path / name)
    assert caught.value.code == "image-damaged"


def test_probabilities_of_a_volume_come_back_at_its_place(tmp_path: Path) -> None:
    image = read_image(_write(tmp_path / "a.nii.gz", _values(), **PLACE))
    for classes in (1, 3):
        probabilities = np.random.default_rng(1).random((classes, *SHAPE)).astype(np.float32)
        path = probabilities_path(tmp_path, f"p{classes}", probabilities)
        write_probabilities(path, probabilities, image.geometry)
        assert find_probabilities(tmp_path, f"p{classes}") == path
        assert np.array_equal(read_probabilities(path), probabilities)
        assert _placing(path) == _placing(tmp_path / "a.nii.gz")
    plane = np.ones((2, 4, 5), np.float32)
    path = probabilities_path(tmp_path, "q", plane)
    write_probabilities(path, plane)
    assert path.suffix == ".tif"
    assert np.array_equal(read_probabilities(path), plane)
    path.rename(tmp_path / "q.nii.gz")
    with pytest.raises(ImageReadError) as caught:
        read_probabilities(tmp_path / "q.nii.gz")
    assert caught.value.code == "probabilities-damaged"


def test_files_of_channels_become_one_image(tmp_path: Path) -> None:
    paths = [tmp_path / f"a_000{n}.nii.gz" for n in range(3)]
    for path, dtype in zip(paths, ("uint8", "int16", "float32"), strict=True):
        _write(path, _values("uint8").astype(dtype), **PLACE)
    image = read_channels(paths)
    assert (image.channels, image.array.dtype) == (3, np.float32)
    assert all(np.array_equal(channel, _values("uint8")) for channel in image.array)
    _write(paths[1], _values(), **{**PLACE, "origin": (0.0, 56.7, -890.1)})
    with pytest.raises(ImageReadError, match=r"origins differ by 123\.4 mm") as caught:
        read_channels(paths)
    assert caught.value.code == "channel-geometry"
    _write(paths[1], _values(shape=(4, 7, 9)), **PLACE)
    with pytest.raises(ImageReadError) as caught:
        read_channels(paths)
    assert caught.value.code == "channel-size"
    _write(paths[1], _values(shape=(*SHAPE, 2)), vector=True, **PLACE)
    with pytest.raises(ImageReadError) as caught:
        read_channels(paths)
    assert caught.value.code == "channel-several"


@real
def test_every_hippocampus_mask_is_written_with_its_images_own_matrices(tmp_path: Path) -> None:
    paths = sorted((DATA / "hippocampus" / "imagesTr").glob("[!.]*.nii.gz"))[::6]
    assert len(paths) > 5
    for path in paths:
        image = read_image(path)
        assert np.array_equal(image.array[0], sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        target = tmp_path / path.name
        write_mask(target, Image(image.array > image.array.mean()).placed_as(image))
        assert _placing(target) == _placing(path)
        assert np.array_equal(read_mask(target).array, image.array > image.array.mean())
