"""What is written comes back: values, data type and geometry, in every format of masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.data.files import find_images
from maskwright.errors import ImageReadError, OutputError
from maskwright.io.arrays import open_labels
from maskwright.io.image import Image
from maskwright.io.registry import (
    image_stem,
    mask_suffix,
    read_header,
    read_image,
    read_mask,
    write_mask,
)
from maskwright.io.source import open_source
from maskwright.io.space import Geometry

DATA = Path(__file__).parents[3] / "shared" / "data"
VOLUMES = [".tif", ".ome.tif", ".npy", ".npz", ".h5", ".zarr", ".ome.zarr", ".nii.gz", ".nii",
           ".mha", ".nrrd"]  # fmt: skip
PLANES = [".png", ".bmp", ".gif", *VOLUMES[:7]]
WITHOUT_SPACING = {".npy", ".npz", ".png", ".bmp", ".gif"}
RNG = np.random.default_rng(8)

spacings = st.tuples(*[st.floats(1e-4, 50)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(VOLUMES),
    st.sampled_from(["bool", "uint8", "uint16"]),
    st.tuples(st.integers(2, 9), st.integers(5, 12), st.integers(5, 12)),
    spacings,
)
def test_masks_of_volumes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    dtype: str,
    size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
) -> None:
    path = tmp_path_factory.mktemp("masks") / f"a{suffix}"
    values = RNG.integers(0, 2 if dtype == "bool" else 250, size).astype(dtype)
    rows = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    geometry = Geometry(spacing_mm[::-1], (1.0, -2.0, 3.0), rows)
    write_mask(path, Image(values[None], spacing_mm=spacing_mm, geometry=geometry))
    back, labels = read_mask(path), open_labels(path)
    stored = np.uint8 if dtype == "bool" else dtype
    assert back.array.dtype == labels.dtype == stored
    assert np.array_equal(back.array[0], values)
    assert np.array_equal(labels.read(tuple(slice(0, n) for n in size)), values)
    if suffix not in WITHOUT_SPACING:
        assert back.spacing_mm == pytest.approx(spacing_mm, rel=1e-5)
        assert labels.spacing_mm == back.spacing_mm
    if suffix in (".nii", ".nii.gz", ".mha", ".nrrd"):
        assert back.geometry is not None
        assert back.geometry.origin_xyz == pytest.approx(geometry.origin_xyz, rel=1e-5)
        assert np.allclose(back.geometry.direction, rows, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PLANES),
    st.sampled_from(["bool", "uint8", "uint16"]),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    spacings,
)
def test_masks_of_planes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    dtype: str,
    size: tuple[int, int],
    spacing_mm: tuple[float, float, float],
) -> None:
    path = tmp_path_factory.mktemp("masks") / f"a{suffix}"
    values = RNG.integers(0, 2 if dtype == "bool" else 250, size).astype(dtype)
    image = Image(values[None], spacing_mm=spacing_mm[1:])
    if dtype == "uint16" and suffix in (".bmp", ".gif"):
        with pytest.raises(OutputError):
            write_mask(path, image)
        return
    write_mask(path, image)
    back = read_mask(path)
    if (suffix, dtype) == (".gif", "bool"):  # GIF has no bits: 0 and 255
        assert np.array_equal(back.array[0] == 255, values)
    else:
        assert np.array_equal(back.array[0], values)
    if suffix not in WITHOUT_SPACING:
        assert back.spacing_mm == pytest.approx(spacing_mm[1:], rel=1e-5)


@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".npy", ".h5", ".zarr", ".nrrd"])
@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_large_numbers_of_objects_come_back(tmp_path: Path, suffix: str, dtype: str) -> None:
    values = RNG.integers(0, 2**31, (6, 7, 8)).astype(dtype)
    write_mask(tmp_path / f"a{suffix}", Image(values[None], spacing_mm=(2.0, 0.5, 0.25)))
    back = read_mask(tmp_path / f"a{suffix}")
    assert back.array.dtype == ("uint32" if "tif" in suffix else dtype)
    assert np.array_equal(back.array[0], values)
    if suffix != ".nrrd" and (suffix, dtype) != (".tif", "uint64"):
        write_mask(tmp_path / f"b{suffix}", Image(values[None, 0]))
        assert np.array_equal(read_mask(tmp_path / f"b{suffix}").array[0], values[0])


def _write_image(path: Path, array_CZYX: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    """Images as other programs write them, with named axes."""
    z_um, y_um, x_um = (mm * 1e3 for mm in spacing_mm)
    if path.name.endswith(".ome.tif"):
        sizes = {f"PhysicalSize{n}": um for n, um in zip("ZYX", (z_um, y_um, x_um), strict=True)}
        tifffile.imwrite(path, array_CZYX, ome=True, photometric="minisblack",
                         metadata={"axes": "CZYX", **sizes})  # fmt: skip
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array_CZYX.swapaxes(0, 1), imagej=True,
                         resolution=(1 / x_um, 1 / y_um),
                         metadata={"axes": "ZCYX", "unit": "um", "spacing": z_um})  # fmt: skip
    elif path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w")
        group.create_array("0", data=array_CZYX)
        axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        steps = [{"type": "scale", "scale": [1, z_um, y_um, x_um]},
                 {"type": "translation", "translation": [0, 5.0, 6.0, 7.0]}]  # fmt: skip
        datasets = [{"path": "0", "coordinateTransformations": steps}]
        axes.insert(0, {"name": "c", "type": "channel"})
        group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    else:
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("raw", data=array_CZYX, chunks=(1, 2, 5, 5))
            dataset.attrs["element_size_um"] = [z_um, y_um, x_um]
            for dimension, letter in zip(dataset.dims, "czyx", strict=True):
                dimension.label = letter


@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".zarr", ".h5"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_with_channels_give_masks_of_their_format_and_place(
    tmp_path: Path, suffix: str, dtype: str
) -> None:
    array = RNG.integers(0, 250, (2, 6, 11, 12)).astype(dtype)
    spacing_mm = (2e-3, 0.5e-3, 0.25e-3)
    path = tmp_path / f"a{suffix}"
    _write_image(path, array, spacing_mm)
    image, header = read_image(path), read_header(path)
    assert np.array_equal(image.array, array)
    assert image.array.dtype == dtype
    assert image.spacing_mm == pytest.approx(spacing_mm, rel=1e-6)
    assert (header.channels, header.size, header.dtype) == (2, (6, 11, 12), dtype)
    assert image_stem(path) == "a"
    target = tmp_path / f"m{mask_suffix(path)}"
    assert target.name == f"m{suffix}"
    write_mask(target, Image(image.array[:1] > 99).placed_as(image))
    mask = read_mask(target)
    assert np.array_equal(mask.array[0], array[0] > 99)
    assert mask.spacing_mm == pytest.approx(spacing_mm, rel=1e-6)
    assert mask.geometry == image.geometry or suffix == ".zarr"
    if suffix == ".zarr":
        assert image.geometry is not None
        assert mask.geometry is not None
        assert mask.geometry.origin_xyz == pytest.approx((7e-3, 6e-3, 5e-3))


def test_written_stacks_name_their_axes(tmp_path: Path) -> None:
    values = RNG.integers(0, 5, (3, 9, 8)).astype(np.uint8)
    for name in ("a.tif", "a.ome.tif"):
        write_mask(tmp_path / name, Image(values[None], spacing_mm=(2.0, 0.5, 0.25)))
        with tifffile.TiffFile(tmp_path / name) as file:
            assert file.series[0].axes == "ZYX"
            assert file.is_imagej or file.is_ome
        assert read_image(tmp_path / name).size == (3, 9, 8)


def test_written_zarr_is_a_pyramid_of_labels_with_its_scale(tmp_path: Path) -> None:
    values = RNG.integers(0, 9, (40, 300, 700)).astype(np.uint8)
    write_mask(tmp_path / "a.zarr", Image(values[None], spacing_mm=(2.0, 0.5, 0.25)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr"]
    coarse = open_source(tmp_path / "a.zarr", level=1)
    assert coarse.shape == (1, 20, 150, 350)
    assert coarse.spacing_mm == (4.0, 1.0, 0.5)
    assert np.array_equal(
        coarse.read((slice(0, 20), slice(0, 150), slice(0, 350)))[0], values[::2, ::2, ::2]
    )
    assert open_source(tmp_path / "a.zarr", level=2).shape == (1, 20, 75, 175)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group.attrs["ome"]["version"] == "0.5"
    write_mask(tmp_path / "a.zarr", Image(values[None, :5]))
    assert read_mask(tmp_path / "a.zarr").size == (5, 300, 700)


def test_datasets_of_hdf5_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["cells/raw"] = RNG.integers(0, 9, (40, 50), dtype=np.uint8)
        assert read_image(path).size == (40, 50)
        file["cells/more"] = RNG.integers(0, 9, (7, 40, 50), dtype=np.uint8)
    with pytest.raises(ImageReadError, match=r"a\.h5:/cells/more") as caught:
        read_image(path)
    assert caught.value.code == "hdf5-dataset"
    named = tmp_path / "a.h5:" / "cells" / "more"
    assert read_image(named).size == read_header(named).size == (7, 40, 50)
    assert (image_stem(named), mask_suffix(named)) == ("a", ".h5")
    assert find_images([str(named)]) == [named]
    with pytest.raises(ImageReadError, match="the file has /cells/more, /cells/raw"):
        read_image(tmp_path / "a.h5:" / "nothing")


def test_hdf5_does_not_read_other_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["raw"] = np.ones((40, 50), np.uint8)
    (tmp_path / "bytes").write_bytes(bytes(2000))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "raw")
        file.create_dataset("raw", (40, 50), np.uint8, external=[("bytes", 0, 2000)])
    for name, code in (("a.h5:/link", "hdf5-dataset"), ("a.h5:/raw", "hdf5-external")):
        with pytest.raises(ImageReadError) as caught:
            read_image(tmp_path / name)
        assert caught.value.code == code


def test_ilastik_names_the_axes_of_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = RNG.integers(0, 9, (3, 40, 50, 2), dtype=np.uint8)
        tags = ", ".join(f'{{"key": "{n}"}}' for n in "zyxc")
        file["exported_data"].attrs["axistags"] = f'{{"axes": [{tags}]}}'
    assert read_image(tmp_path / "a.h5").array.shape == (2, 3, 40, 50)


@pytest.mark.parametrize("shape", [(3, 40, 50), (2, 9, 8, 3), (9, 8, 7, 6), (2, 2, 2, 9, 9)])
def test_axes_that_cannot_be_told_apart_are_refused_with_how_to_name_them(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    array = np.ones(shape, np.uint8)
    np.save(tmp_path / "a.npy", array)
    zarr.create_array(tmp_path / "a.zarr", data=array)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = array
    for name, way in (("a.npy", "Z × Y × X"), ("a.zarr", "dimension_names"), ("a.h5", "label")):
        with pytest.raises(ImageReadError) as caught:
            read_image(tmp_path / name)
        if len(shape) < 5:
            assert caught.value.code == "axes-ambiguous"
            assert way in caught.value.remedy


def test_stems_and_suffixes_of_masks_follow_the_image() -> None:
    names = ["x.ome.tif", "v1.2.zarr", "s.svs", "a.npz", "a.hdf5", "b.ome.zarr"]
    assert [image_stem(Path(name)) for name in names] == ["x", "v1.2", "s", "a", "a", "b"]
    assert [mask_suffix(Path(name)) for name in names] == [
        ".ome.tif", ".zarr", ".tif", ".npz", ".hdf5", ".ome.zarr",
    ]  # fmt: skip


def test_zarr_folders_are_found_as_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes").mkdir()
    for name in ("b.zarr", "a.ome.zarr"):
        zarr.create_array(tmp_path / "images" / name, data=np.ones((9, 9), np.uint8))
    np.save(tmp_path / "images" / "c.npy", np.ones((9, 9)))
    names = ["a.ome.zarr", "b.zarr", "c.npy"]
    assert [path.name for path in find_images([tmp_path])] == names
    assert [path.name for path in find_images([str(tmp_path / "images" / "*")])] == names


def test_a_failed_write_leaves_the_earlier_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_mask(path, Image(np.ones((1, 9, 9), np.uint8)))
    with pytest.raises(OutputError):
        write_mask(path, Image(np.ones((1, 9, 9), np.float32)))
    assert read_mask(path).array.all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def _oriented(path: Path) -> Any:
    image = SimpleITK.GetImageFromArray(RNG.integers(0, 900, (5, 6, 7)).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((-10.0, 20.0, 5.5))
    image.SetDirection((0, 0, 1, -1, 0, 0, 0, -1, 0))
    SimpleITK.WriteImage(image, str(path))
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_masks_lie_on_oriented_images_in_simpleitk(tmp_path: Path, suffix: str) -> None:
    reference = _oriented(tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    write_mask(tmp_path / f"m{suffix}", Image(image.array > 400).placed_as(image))
    mask = SimpleITK.ReadImage(str(tmp_path / f"m{suffix}"))
    for index in ((0, 0, 0), (6, 5, 4), (6, 0, 2)):
        apart = np.subtract(
            mask.TransformIndexToPhysicalPoint(index),
            reference.TransformIndexToPhysicalPoint(index),
        )
        assert np.abs(apart).max() < 1e-5


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not beside the project")
def test_the_real_stack_and_patch_are_read(tmp_path: Path) -> None:
    image = read_image(DATA / "nuclei3d" / "images" / "img3d.tif")
    mask = read_mask(DATA / "nuclei3d" / "masks" / "img3d.tif")
    assert image.size == mask.size == (31, 61, 57)
    assert image.array.dtype == np.uint16
    write_mask(tmp_path / "m.tif", mask)
    assert np.array_equal(read_mask(tmp_path / "m.tif").array, mask.array)
    patch = read_image(DATA / "nodule_patch" / "sample.npy")
    assert patch.size == read_mask(DATA / "nodule_patch" / "label.npy").size == (32, 64, 64)
