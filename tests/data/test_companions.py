"""Second observers and regions of interest: paired by name, never guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy.ndimage import label

from maskwright.data.companions import (
    ROI_FOLDERS,
    SECOND_OBSERVER_FOLDERS,
    field_of_view,
    find_companions,
    region_of,
)
from maskwright.errors import DataError
from maskwright.io.image import Image
from maskwright.io.registry import read_image, read_mask

VESSELS = Path(__file__).parents[3] / "shared" / "data" / "vessels"


def make(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("image", "file", "folders"),
    [
        ("Image_01L", "second_observer/Image_01L_2ndHO.png", SECOND_OBSERVER_FOLDERS),
        ("01_test", "2nd_manual/01_manual2.gif", SECOND_OBSERVER_FOLDERS),
        ("a", "Observer2/a.png", SECOND_OBSERVER_FOLDERS),
        ("a", "observer2/a_observer2.png", SECOND_OBSERVER_FOLDERS),
        ("21_training", "mask/21_training_mask.gif", ROI_FOLDERS),
        ("01_h", "mask/01_h_mask.tif", ROI_FOLDERS),
        ("a", "roi/a.png", ROI_FOLDERS),
        ("a", "FOV/a_fov.png", ROI_FOLDERS),
        ("a", "field_of_view/a_FOV_mask.png", ROI_FOLDERS),
        ("a_roi", "roi/a_roi.png", ROI_FOLDERS),
    ],
)
def test_names_of_known_data_sets_pair(
    tmp_path: Path, image: str, file: str, folders: tuple[str, ...]
) -> None:
    make(tmp_path, f"images/{image}.png", f"1st_manual/{image}.png", file)
    found = find_companions(tmp_path, [image, "other"], folders)
    assert found.files == {image: tmp_path / file}
    assert found.unmatched == ("other",)
    assert found.ambiguous == found.orphans == ()
    assert found.folder == (tmp_path / file).parent


def test_the_folder_mask_holds_the_truth_unless_drives_truth_is_beside_it(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "mask/a.png")
    assert find_companions(tmp_path, ["a"], ROI_FOLDERS).folder is None
    make(tmp_path, "masks/a.png")
    assert find_companions(tmp_path, ["a"], ROI_FOLDERS).folder is None
    make(tmp_path, "manual1/a.png")
    found = find_companions(tmp_path, ["a"], ROI_FOLDERS)
    assert found.folder == tmp_path / "mask"


def test_without_a_folder_nothing_is_found_and_nothing_is_missed(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "masks/a.png")
    found = find_companions(tmp_path, ["a"], SECOND_OBSERVER_FOLDERS)
    assert (dict(found.files), found.unmatched, found.folder) == ({}, (), None)


@pytest.mark.parametrize(
    "files", [("roi/a.png", "roi/a.tif"), ("roi/a_roi.png", "roi/a_fov.png"),
              ("roi/a_mask.png", "roi/a_seg.png")],
)  # fmt: skip
def test_two_files_of_one_image_are_reported_and_neither_is_taken(
    tmp_path: Path, files: tuple[str, str]
) -> None:
    make(tmp_path, *files, "roi/b.png", "roi/stray.png", "roi/notes.txt", "roi/.hidden.png")
    found = find_companions(tmp_path, ["c", "a", "b"], ROI_FOLDERS)
    assert found.files == {"b": tmp_path / "roi" / "b.png"}
    assert found.unmatched == ("c", "a")
    assert found.ambiguous == ("a",)
    assert found.orphans == ("stray.png",)


def test_similar_names_do_not_pair(tmp_path: Path) -> None:
    make(tmp_path, "roi/Image_1.png", "roi/Image_01.png", "roi/image_2.png")
    found = find_companions(tmp_path, ["Image_1", "Image_2"], ROI_FOLDERS)
    assert list(found.files) == ["Image_1"]
    assert set(found.orphans) == {"Image_01.png", "image_2.png"}


def test_a_link_out_of_the_data_set_is_left_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", make(tmp_path, "elsewhere/a.png")
    root.mkdir()
    make(root, "roi/b.png")
    (root / "roi" / "a.png").symlink_to(outside / "elsewhere" / "a.png")
    found = find_companions(root, ["a", "b"], ROI_FOLDERS)
    assert list(found.files) == ["b"]
    assert found.unmatched == ("a",)


def test_a_data_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data-folder"):
        find_companions(tmp_path / "nowhere", ["a"], ROI_FOLDERS)


def test_a_region_is_what_is_not_black() -> None:
    inside = np.array([[True, False, True]])
    for array in (inside, inside.astype(np.uint8), inside * 255, inside * 0.5):
        assert np.array_equal(region_of(array), inside)
    colours = np.zeros((3, 1, 3), np.uint8)
    colours[0, 0, 0], colours[2, 0, 2] = 200, 1
    assert np.array_equal(region_of(Image(colours)), inside)


def test_the_colours_of_a_palette_decide_not_its_indices(tmp_path: Path) -> None:
    picture = PillowImage.fromarray(np.array([[0, 1, 0]], np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "roi.png")
    mask = read_mask(tmp_path / "roi.png")
    assert mask.palette is not None
    assert region_of(mask).tolist() == [[True, False, True]]


def test_a_region_may_be_all_of_the_image_or_nothing() -> None:
    assert region_of(np.full((3, 4), 9)).all()
    assert not region_of(np.zeros((3, 4))).any()


def fundus(noise: float = 4.0, dark: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """A dim-edged disc with a black hole and a lit speck outside, and the disc."""
    y, x = np.indices((200, 220)) - np.array([100, 110])[:, None, None]
    distance = np.hypot(y, x)
    disc = distance < 90
    red = np.where(disc, 200 - 150 * (distance / 90) ** 2, dark)
    red[95:103, 120:128] = 0
    red[3:5, 3:12] = 120
    red += np.random.default_rng(0).normal(0, noise, red.shape)
    return np.clip(np.stack([red, red * 0.5, red * 0.2]), 0, 255).astype(np.uint8), disc


def test_the_field_of_view_is_one_filled_disc_in_spite_of_noise() -> None:
    image, disc = fundus()
    found = field_of_view(image)
    assert label(found)[1] == 1
    assert label(~found)[1] == 1
    assert (found & disc).sum() / (found | disc).sum() > 0.97


def test_the_field_of_view_follows_the_brightness_of_the_image() -> None:
    image, _ = fundus(noise=0.0)
    expected = field_of_view(image.astype(float))
    assert np.array_equal(field_of_view(image / 7.0), expected)
    assert np.array_equal(field_of_view(image * 100.0 + 900), expected)


@pytest.mark.parametrize(
    "image", [np.zeros((3, 9, 9)), np.full((1, 9, 9), 80.0), np.arange(400.0).reshape(1, 20, 20)]
)
def test_an_image_without_a_dark_surround_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="field-of-view"):
        field_of_view(image)


@pytest.mark.skipif(not VESSELS.is_dir(), reason=f"the real images are not at {VESSELS}")
def test_every_second_observer_of_the_real_vessels_pairs() -> None:
    names = sorted(path.stem for path in (VESSELS / "images").iterdir())
    found = find_companions(VESSELS, names, SECOND_OBSERVER_FOLDERS)
    assert len(found.files) == 28
    assert found.unmatched == found.orphans == ()
    assert all(path.stem == f"{name}_2ndHO" for name, path in found.files.items())


@pytest.mark.skipif(not VESSELS.is_dir(), reason=f"the real images are not at {VESSELS}")
def test_the_field_of_view_of_every_real_photograph_is_a_disc_with_the_vessels() -> None:
    for path in sorted((VESSELS / "images").iterdir()):
        inside = field_of_view(read_image(path).array)
        vessels = read_mask(VESSELS / "masks" / f"{path.stem}_1stHO.png").array[0] != 0
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert label(inside)[1] == label(~inside)[1] == 1
        assert 0.6 < inside.mean() < 0.75
        assert inside.sum() == pytest.approx(np.pi / 4 * height * width, rel=0.01)
        assert height == pytest.approx(width, rel=0.01)
        # Observer 1 drew some strokes up to 12 px out into the dark surround.
        assert (vessels & inside).sum() > 0.995 * vessels.sum()
