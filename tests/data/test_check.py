"""Everything that is told of a data set before training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.config import DataConfig
from maskwright.data.check import CheckReport, Problem, check_dataset
from maskwright.data.split import split_cases
from maskwright.data.split_check import check_split
from maskwright.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def _pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape or (20, 24)).astype(np.uint8)


def _mask(seed: int, *shape: int) -> NDArray[np.uint8]:
    return ((_pixels(seed, *(shape or (20, 24))) > 128) * 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of four images without any fault."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number, name in enumerate("abcd"):
        Pillow.fromarray(_pixels(number)).save(tmp_path / f"images/{name}.png")
        Pillow.fromarray(_mask(number)).save(tmp_path / f"masks/{name}.png")
    return tmp_path


def _problems(report: CheckReport) -> dict[str, str]:
    for problem in report.problems:
        assert problem.message
        assert problem.remedy or problem.level == "skip"
        assert problem.code in problem.line()
    return {problem.code: problem.level for problem in report.problems}


def test_a_sound_data_set_is_ready(root: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    report = check_dataset(root, on_case=lambda *event: seen.append(event))
    assert report.ok
    assert report.problems == ()
    assert report.sizes == {(20, 24): 4}
    assert (report.channels, report.dtypes) == (1, {"uint8": 4})
    assert seen == [(1, 4, "a"), (2, 4, "b"), (3, 4, "c"), (4, 4, "d")]
    masks = np.stack([_mask(number) for number in range(4)])
    assert report.class_shares == pytest.approx(((masks == 0).mean(), (masks == 255).mean()))
    assert report.present["a"] == (0, 1)
    report.raise_if_refused()
    lines = report.lines()
    assert lines[1] == "4 images, grey, uint8"
    assert any("value 255 is read as class 1 'foreground'" in line for line in lines)
    assert lines[-1] == "ready for training"


def test_the_report_is_plain_json(root: Path) -> None:
    (root / "images/a.png").write_bytes(b"")
    report = json.loads(json.dumps(check_dataset(root).to_json()))
    assert not report["ok"]
    assert report["classes"][1]["values"] == [255]
    assert report["problems"][0]["code"] == "image-empty-file"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "image-empty-file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "image-truncated"),
        (b"GIF89a....", "image-wrong-extension"),
        (b"no image", "image-wrong-extension"),
    ],
)
def test_files_that_cannot_be_read_are_all_named(root: Path, content: bytes, code: str) -> None:
    (root / "images/a.png").write_bytes(content)
    (root / "masks/b.png").write_bytes(content)
    report = check_dataset(root)
    assert [problem.code for problem in report.refusals] == [code, code]
    assert [Path(problem.subject).parent.name for problem in report.refusals] == ["images", "masks"]


def test_pixels_that_are_not_numbers_are_refused(root: Path) -> None:
    (root / "images/a.png").unlink()
    tifffile.imwrite(root / "images/a.tif", np.full((20, 24), np.nan, np.float32))
    assert _problems(check_dataset(root))["image-nan"] == "refuse"


def test_refusals_are_raised_together(root: Path) -> None:
    (root / "images/a.png").write_bytes(b"")
    Pillow.fromarray(_mask(1, 10, 24)).save(root / "masks/b.png")
    with pytest.raises(DataError, match="mask-shape") as caught:
        check_dataset(root).raise_if_refused()
    assert caught.value.code == "image-empty-file"
    assert "a.png" in str(caught.value)


def test_a_mask_of_another_shape_is_refused(root: Path) -> None:
    Pillow.fromarray(_mask(1, 24, 20)).save(root / "masks/b.png")
    report = check_dataset(root)
    assert _problems(report) == {"mask-shape": "refuse"}
    assert "24 × 20" in report.problems[0].message


def test_a_mask_that_is_its_image_is_refused(root: Path) -> None:
    binary = _mask(7)
    Pillow.fromarray(np.dstack([binary] * 3)).save(root / "images/a.png")
    Pillow.fromarray(binary).save(root / "masks/a.png")
    assert _problems(check_dataset(root)) == {"mask-is-image": "refuse"}


def test_grey_stored_as_colour_is_one_channel(root: Path) -> None:
    Pillow.fromarray(_pixels(9)).convert("RGBA").save(root / "images/a.png")
    report = check_dataset(root)
    assert report.problems == ()
    assert report.channels == 1


def test_colour_images_have_three_channels(root: Path) -> None:
    for number, name in enumerate("abcd"):
        Pillow.fromarray(_pixels(number, 20, 24, 3)).save(root / f"images/{name}.png")
    Pillow.fromarray(_pixels(5)).convert("RGB").save(root / "images/d.png")
    report = check_dataset(root)
    assert report.problems == ()
    assert report.channels == 3


def test_numbers_of_channels_that_differ_are_refused(root: Path) -> None:
    Pillow.fromarray(_pixels(0, 20, 24, 3)).save(root / "images/a.png")
    assert _problems(check_dataset(root)) == {"image-channels": "refuse"}


def test_data_types_that_differ_are_a_warning(root: Path) -> None:
    Pillow.fromarray(_pixels(0).astype(np.uint16) * 9).save(root / "images/a.png")
    report = check_dataset(root)
    assert _problems(report) == {"image-dtypes": "warn"}
    assert report.ok


def test_a_turned_image_is_a_warning_and_fits_its_upright_mask(root: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(np.rot90(_pixels(0)).copy()).save(root / "images/a.png", exif=exif)
    assert _problems(check_dataset(root)) == {"exif-turned": "warn"}


def test_a_constant_image_is_a_warning(root: Path) -> None:
    Pillow.fromarray(np.full((20, 24), 7, np.uint8)).save(root / "images/a.png")
    assert _problems(check_dataset(root)) == {"image-constant": "warn"}


def test_images_smaller_than_the_patch_are_a_warning(root: Path) -> None:
    assert _problems(check_dataset(root, patch_px=21)) == {"image-small": "warn"}
    assert _problems(check_dataset(root, patch_px=20)) == {}


def test_an_empty_mask_is_a_warning_and_only_empty_ones_a_refusal(root: Path) -> None:
    nothing = Pillow.fromarray(np.zeros((20, 24), np.uint8))
    nothing.save(root / "masks/a.png")
    assert _problems(check_dataset(root)) == {"mask-empty": "warn"}
    for name in "bcd":
        nothing.save(root / f"masks/{name}.png")
    report = check_dataset(root)
    assert _problems(report) == {"masks-all-empty": "refuse"}
    assert report.label_map is None


def test_jpeg_masks_are_a_warning(root: Path) -> None:
    plane = np.zeros((160, 160), np.uint8)
    plane[40:120, 40:120] = 255
    for number, name in enumerate("abcd"):
        Pillow.fromarray(_pixels(number, 160, 160)).save(root / f"images/{name}.png")
        (root / f"masks/{name}.png").unlink()
        Pillow.fromarray(plane).save(root / f"masks/{name}.jpg", quality=95)
    assert _problems(check_dataset(root)) == {"mask-jpeg": "warn"}


def test_identical_images_are_a_warning_and_stay_together(root: Path) -> None:
    Pillow.fromarray(_pixels(0)).save(root / "images/c.png", compress_level=1)
    report = check_dataset(root)
    assert _problems(report) == {"image-duplicate": "warn"}
    group = {case.name: case.group for case in report.cases}
    assert group["a"] == group["c"] != group["b"]
    split = split_cases(report.cases, seed=0, validation_share=0.2, test_share=0.2, sequence=False)
    assert check_split(split, report.cases, digests=report.digests) == []


def test_unpaired_files_follow_the_setting(root: Path) -> None:
    (root / "images/a.png").unlink()
    assert _problems(check_dataset(root)) == {"mask-orphan": "refuse"}
    report = check_dataset(root, DataConfig(skip_unpaired=True))
    assert _problems(report) == {"mask-orphan": "skip"}
    assert report.ok


def test_images_without_masks_are_still_looked_at(root: Path) -> None:
    for path in (root / "masks").iterdir():
        path.unlink()
    report = check_dataset(root)
    assert _problems(report) == {"masks-missing": "refuse"}
    assert report.sizes == {(20, 24): 4}
    assert report.label_map is None


def test_a_problem_keeps_what_an_error_said() -> None:
    error = DataError(
        "x-y", "a.b. c.png", expected="one. thing", found="1.5, found twice", remedy="use `a`"
    )
    problem = Problem.from_error(error, Path("a.b. c.png"))
    assert (problem.code, problem.level, problem.subject) == ("x-y", "refuse", "a.b. c.png")
    assert problem.remedy == "use `a`"
    assert "1.5" in problem.message


_KNOWN = {
    "membranes": (30, "values", 1, True, 30, (0.22, 0.78), {(512, 512): 30}),
    "vessels": (28, "bool", 3, False, 14, (0.93, 0.07), {(960, 999): 28}),
    "nuclei": (110, "objects", 1, False, 110, (0.84, 0.16), None),
    "nuclei_stained": (20, "objects", 3, False, 20, (0.76, 0.24), None),
    "lungs": (22, "values", 1, False, 22, (0.78, 0.22), {(512, 512): 22}),
    "lung_tumours": (24, "values", 1, False, 12, (0.992, 0.008), {(512, 512): 24}),
}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not on this computer")
@pytest.mark.parametrize("name", _KNOWN)
def test_real_data_sets_are_what_their_catalogue_says(name: str) -> None:
    count, kind, channels, sequence, groups, shares, sizes = _KNOWN[name]
    report = check_dataset(SHARED / name, DataConfig(skip_unpaired=name == "lungs"))
    assert report.ok, report.lines()
    assert report.label_map is not None
    assert (len(report.cases), report.label_map.kind, report.channels) == (count, kind, channels)
    assert (report.sequence, len({case.group for case in report.cases})) == (sequence, groups)
    assert report.class_shares == pytest.approx(shares, abs=0.006)
    if sizes is not None:
        assert report.sizes == sizes
    told = {"lungs": {"mask-orphan": "skip", "mask-doubtful": "warn"}}.get(name, {})
    assert _problems(report) == told


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not on this computer")
def test_masks_without_an_image_are_refused_in_real_data() -> None:
    report = check_dataset(SHARED / "lungs")
    assert [problem.code for problem in report.refusals] == ["mask-orphan"]
    assert any("1.1%" in problem.message for problem in report.problems)


def test_pairs_are_listed_by_the_names_a_person_knows(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, name in enumerate(("a", "b", "c")):
        Pillow.fromarray(_pixels(index)).save(tmp_path / "images" / f"{name}.png")
        Pillow.fromarray(_mask(index + 9)).save(tmp_path / "masks" / f"{name}_mask.png")
    report = check_dataset(tmp_path)
    assert report.pairs()[2] == "images/c.png + masks/c_mask.png"
    first = "3 pairs: images/a.png + masks/a_mask.png, images/b.png + masks/b_mask.png and 1 more"
    assert report.lines()[0] == first
