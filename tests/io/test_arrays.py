"""The one door for label arrays, its names and its blocks."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import DataError, MaskwrightError
from maskwright.io.arrays import (
    blocks,
    find_labels,
    is_label_path,
    label_stem,
    open_labels,
)
from maskwright.io.image import Image
from maskwright.io.registry import SUFFIXES, write_mask

DATA = Path(__file__).parents[3] / "shared" / "data"
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real masks are not at {DATA}")
LABELS = np.random.default_rng(2).integers(0, 50, (4, 6, 7))
DTYPES = ["bool", "uint8", "int8", "uint16", "int32", "int64", "uint64", ">i2", ">f4", "float16"]


def _whole(path: Path) -> np.ndarray:
    source = open_labels(path)
    return source.read(tuple(slice(0, n) for n in source.shape))


def _error(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        _whole(path)
    return caught.value


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_files_of_every_type_come_back(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(LABELS.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", labels=array)
    for path, lazy in ((tmp_path / "a.npy", True), (tmp_path / "a.npz", False)):
        source = open_labels(path)
        assert (source.shape, source.lazy, source.spacing_mm) == (LABELS.shape, lazy, None)
        assert source.dtype.kind in "bui"
        assert source.dtype.isnative
        assert _whole(path).dtype == source.dtype
        assert np.array_equal(_whole(path), array)
        assert np.array_equal(source.read((slice(1, 3), slice(2, 6), slice(0, 1))),
                              array[1:3, 2:6, :1])  # fmt: skip


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".nii.gz", ".tif", ".zarr"])
def test_writing_into_a_block_changes_no_later_read(tmp_path: Path, suffix: str) -> None:
    path, labels = tmp_path / f"a{suffix}", LABELS.astype(np.uint8)
    if suffix == ".png":
        labels = labels[0]
        write_mask(path, Image(labels[None]))
    elif suffix == ".nii.gz":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(path))
    elif suffix == ".tif":
        tifffile.imwrite(path, labels[:2], photometric="minisblack")
        labels = labels[:2]
    elif suffix == ".zarr":
        zarr.create_array(path, data=labels)
    else:
        np.save(path, labels) if suffix == ".npy" else np.savez(path, labels)
    source = open_labels(path)
    every = tuple(slice(0, n) for n in source.shape)
    block = source.read(every)
    block += 1
    assert np.array_equal(source.read(every), labels)


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((2, 3), complex), "labels-dtype"),
        (np.array([["a", "b"]]), "labels-dtype"),
        (np.zeros(5), "labels-axes"),
        (np.zeros((2, 2, 3, 3)), "labels-axes"),
        (np.zeros((0, 3)), "labels-axes"),
        (np.array(3), "labels-axes"),
        (np.full((2, 2), 0.5), "labels-not-whole"),
        (np.full((2, 2), np.nan), "labels-not-whole"),
        (np.full((2, 2), np.inf), "labels-not-whole"),
        (np.full((2, 2), 2.0**25, np.float32), "labels-not-whole"),
        (np.full((2, 2), 1e300), "labels-not-whole"),
    ],
)
def test_arrays_that_are_no_labels_are_refused(
    tmp_path: Path, array: np.ndarray, code: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    assert _error(tmp_path / "a.npy").code == code


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], object), allow_pickle=True)
    assert _error(tmp_path / "a.npy").code == "image-damaged"
    np.savez(tmp_path / "a.npz", labels=np.array([[{}]], object), allow_pickle=True)
    assert isinstance(_error(tmp_path / "a.npz"), DataError)


def test_an_npz_file_of_two_arrays_is_refused_by_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", cells=LABELS, nuclei=LABELS)
    assert "2 arrays (cells, nuclei)" in str(_error(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz")
    assert _error(tmp_path / "b.npz").code == "labels-npz"
    zeros = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        zeros, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 10**3)}
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("a.npy", zeros.getvalue())
    assert isinstance(_error(tmp_path / "bomb.npz"), DataError)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_damaged_numpy_files_end_in_our_errors_or_in_labels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    np.save(path, LABELS) if suffix == ".npy" else np.savez_compressed(path, LABELS)
    data, random, refused = path.read_bytes(), np.random.default_rng(17), 0
    for turn in range(150):
        cut = turn % 3 == 0
        mutant = bytearray(data[: random.integers(len(data))] if cut else data)
        for at in random.integers(0, min(max(len(mutant), 1), 300), 0 if cut else 3):
            mutant[at] ^= 1 << int(random.integers(8))
        path.write_bytes(mutant)
        try:
            _whole(path)
        except MaskwrightError:
            refused += 1
        else:
            assert not cut
    assert refused > 60


def test_pictures_keep_their_palette_and_read_as_indices(tmp_path: Path) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    for suffix in (".png", ".tif", ".bmp"):
        path = tmp_path / f"a{suffix}"
        write_mask(path, Image(indices[None], palette=palette))
        source = open_labels(path)
        assert source.image is not None
        assert source.image.palette is not None
        assert np.array_equal(source.image.palette[:3], palette)
        assert (source.shape, source.lazy) == ((3, 4), False)
        assert np.array_equal(source.read((slice(1, 3), slice(0, 2))), indices[1:3, :2])


def test_colours_stay_at_hand_but_are_not_read_as_numbers(tmp_path: Path) -> None:
    colours = np.zeros((3, 5, 6), np.uint8)
    colours[0, 2] = 255
    write_mask(tmp_path / "a.png", Image(colours))
    source = open_labels(tmp_path / "a.png")
    assert source.image is not None
    assert np.array_equal(source.image.array, colours)
    assert _error(tmp_path / "a.png").code == "labels-colour"
    write_mask(tmp_path / "grey.png", Image(np.repeat(colours[:1], 3, axis=0)))
    assert np.array_equal(_whole(tmp_path / "grey.png"), colours[0])


def test_pictures_keep_their_spacing(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.tif", Image(np.eye(4, dtype=np.uint8)[None], spacing_mm=(0.5, 0.25)))
    assert open_labels(tmp_path / "a.tif").spacing_mm == (0.5, 0.25)


def test_paths_that_are_nothing_or_something_else_are_refused(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        assert _error(tmp_path / f"a{suffix}").code == "image-not-found"
    assert _error(tmp_path).code == "labels-folder"
    (tmp_path / "notes.txt").write_text("no mask")
    assert _error(tmp_path / "notes.txt").code == "image-unsupported"
    for suffix in SUFFIXES - {".zarr", ".ome.zarr"}:
        for content in (b"", b"not what the suffix says", bytes(500)):
            (tmp_path / f"b{suffix}").write_bytes(content)
            assert isinstance(_error(tmp_path / f"b{suffix}"), DataError), suffix


def test_stems_and_suffixes() -> None:
    names = {
        "case_01.nii.gz": "case_01", "a.b.nii": "a.b", "x.ome.tif": "x", "x.OME.TIFF": "x",
        "x.zarr": "x", "x.ome.zarr": "x", "A.PNG": "A", "v1.2.npy": "v1.2",
    }  # fmt: skip
    assert {name: label_stem(Path("d") / name) for name in names} == names
    assert all(is_label_path(Path(name)) for name in names)
    assert not any(is_label_path(Path(n)) for n in ("a.txt", "a.gz", "a.raw", "nii", "zarr"))
    assert label_stem(Path("no_suffix")) == "no_suffix"


def test_a_folder_gives_its_labels_by_stem(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.png", ".DS_Store", "._a.png", "Thumbs.db", "notes.txt", ".x.npy"):
        (tmp_path / name).write_bytes(b"x")
    zarr.create_array(tmp_path / "c.zarr", data=LABELS)
    zarr.create_array(tmp_path / "d", data=LABELS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    assert list(find_labels(tmp_path).items()) == [
        ("a", tmp_path / "a.png"),
        ("b", tmp_path / "b.nii.gz"),
        ("c", tmp_path / "c.zarr"),
        ("d", tmp_path / "d"),
    ]
    (tmp_path / "B.mha").write_bytes(b"x")
    with pytest.raises(DataError, match=r"B\.mha and b\.nii\.gz"):
        find_labels(tmp_path)
    with pytest.raises(DataError, match="labels-no-folder"):
        find_labels(tmp_path / "absent")


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 3000),
    st.lists(st.integers(1, 50), min_size=3, max_size=3),
)
def test_blocks_cover_every_pixel_once_and_never_cut_a_chunk(
    shape: list[int], budget_px: int, chunks: list[int]
) -> None:
    chunks = chunks[: len(shape)]
    seen = np.zeros(shape, int)
    for block in blocks(shape, budget_px, chunks):
        seen[block] += 1
        assert all(s.start % c == 0 for s, c in zip(block, chunks, strict=True))
        assert all(s.stop % c == 0 or s.stop == n
                   for s, c, n in zip(block, chunks, shape, strict=True))  # fmt: skip
        chunk_px = int(np.prod(np.minimum(chunks, shape)))
        assert seen[block].size <= max(budget_px, chunk_px)
    assert (seen == 1).all()


def test_blocks_are_whole_planes_first() -> None:
    assert len(list(blocks((100, 512, 512)))) == 2
    found = list(blocks((1000, 1000, 1000), chunks=(64, 64, 64)))
    assert found[0] == (slice(0, 64), slice(0, 256), slice(0, 1000))


@real
def test_soft_labels_of_a_nodule_are_refused_with_a_value() -> None:
    path = DATA / "nodule_patch" / "label.npy"
    assert open_labels(path).shape == (32, 64, 64)
    error = _error(path)
    assert error.code == "labels-not-whole"
    assert float(error.found.split()[-1]) in {0.25, 0.5, 0.75}


@real
def test_every_real_mask_that_is_a_picture_opens() -> None:
    for name in ("vessels", "nuclei", "lungs", "membranes"):
        for path in list(find_labels(DATA / name / "masks").values())[:3]:
            source = open_labels(path)
            assert source.image is not None
            assert np.array_equal(_whole(path), source.image.array[0])
    stack = open_labels(DATA / "nuclei3d" / "masks" / "img3d.tif")
    assert np.array_equal(_whole(stack.path), tifffile.imread(stack.path))
