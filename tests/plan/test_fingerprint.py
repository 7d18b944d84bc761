"""What is found out about images and masks whose facts are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from maskwright.config import DataConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.image_facts import ImageFacts
from maskwright.data.intensity import Intensity
from maskwright.data.labelmap import LabelMap, default_colors
from maskwright.data.sampler import Source
from maskwright.data.split import Split
from maskwright.plan.fingerprint import Fingerprint, names_to_look_at, take_fingerprint
from maskwright.workflow.loading import load_sources


def _write(root: Path, masks: list[NDArray[np.uint8]], *, darker: float = 1.0) -> CheckReport:
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks):
        bright = np.where(mask > 0, 200, 50) * darker**number
        image = (bright + generator.integers(0, 10, mask.shape)).astype(np.uint8)
        PilImage.fromarray(image).save(root / "images" / f"i{number:02d}.png")
        PilImage.fromarray(mask).save(root / "masks" / f"i{number:02d}.png")
    return check_dataset(root, DataConfig())


def _taken(report: CheckReport, *, numbered: bool = False) -> Fingerprint:
    assert report.label_map is not None
    names = tuple(case.name for case in report.cases)
    sources = load_sources(
        report.cases, names_to_look_at(names[:-2], report), report.label_map, 1,
        data=DataConfig(**report.label_map.to_settings()), numbered=numbered,
    )  # fmt: skip
    return take_fingerprint(report, Split(names[:-2], names[-2:-1], names[-1:]), sources)


def _disc(size: int, radius: float, y: float, x: float) -> NDArray[np.bool_]:
    grid_y, grid_x = np.ogrid[:size, :size]
    inside: NDArray[np.bool_] = (grid_y - y) ** 2 + (grid_x - x) ** 2 <= radius**2
    return inside


def test_discs_have_their_diameter_and_lines_their_thickness(tmp_path: Path) -> None:
    discs = sum(_disc(128, 10, y, x) for y in (30, 90) for x in (30, 90)) > 0
    found = _taken(_write(tmp_path / "discs", [255 * discs.astype(np.uint8)] * 5)).classes[1]
    assert found.extent_px == pytest.approx(21, abs=1)
    assert found.thickness_px == pytest.approx(21, abs=3)
    assert found.objects == 4
    lines = np.zeros((128, 128), np.uint8)
    lines[:, 20:25] = lines[:, 60:65] = 255
    found = _taken(_write(tmp_path / "lines", [lines] * 5)).classes[1]
    assert found.thickness_px == pytest.approx(5, abs=1)
    assert found.extent_px == 128


def test_sizes_shares_and_intensities_are_those_of_the_images(tmp_path: Path) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :24] = 255
    facts = _taken(_write(tmp_path, [mask] * 6))
    assert facts.size_px == facts.largest_px == (64, 96)
    assert facts.cases == (4, 1, 1)
    assert facts.pixels == (4 * 64 * 96, 64 * 96, 64 * 96)
    dark, bright = facts.classes
    assert bright.share == pytest.approx(0.25)
    assert bright.mean[0] - dark.mean[0] == pytest.approx(150 / np.hypot(65, 3), rel=0.05)
    assert facts.layout == pytest.approx(1.0)
    assert Fingerprint.from_json(facts.to_json()) == facts


def test_images_of_other_brightness_are_apart_and_masks_at_other_places_are_no_layout(
    tmp_path: Path,
) -> None:
    same = [255 * _disc(64, 9, 30, 30).astype(np.uint8)] * 8
    alike = _taken(_write(tmp_path / "alike", same))
    unlike = _taken(_write(tmp_path / "unlike", same, darker=0.7))
    assert alike.apart < 0.01 < 0.2 < unlike.apart
    places = [255 * _disc(64, 9, 12 + 6 * i, 52 - 6 * i).astype(np.uint8) for i in range(8)]
    moved = _taken(_write(tmp_path / "moved", places))
    assert alike.layout is not None
    assert moved.layout is not None
    assert moved.layout < 0.3 < alike.layout


def test_objects_that_touch_are_counted() -> None:
    numbers = np.zeros((40, 40), np.int32)
    numbers[5:15, 5:15], numbers[5:15, 15:25], numbers[25:35, 5:15] = 2, 3, 4
    source = Source(
        "a", np.zeros((1, 40, 40), np.uint8), (numbers > 0).astype(np.uint8),
        Intensity((0.0,), (1.0,)), objects_YX=numbers,
    )  # fmt: skip
    label_map = LabelMap("objects", ("background", "object"), ((0,), (255,)), default_colors(2))
    report = CheckReport(
        Path("data"), (), label_map, (), {(40, 40): 1}, class_shares=(0.8, 0.2),
        images={"a": ImageFacts((40, 40), None, False, (False,))},
    )  # fmt: skip
    facts = take_fingerprint(report, Split(("a",), (), ()), [source])
    assert facts.touching == pytest.approx(2 / 3, abs=0.001)
    assert facts.classes[1].extent_px == 10
    assert facts.classes[1].objects == 3


def test_a_few_of_many_images_are_looked_at_evenly(tmp_path: Path) -> None:
    mask = 255 * _disc(32, 9, 16, 16).astype(np.uint8)
    report = _write(tmp_path, [mask] * 40)
    names = names_to_look_at([case.name for case in report.cases], report)
    assert len(names) == 12
    assert names[0] == "i00"
    assert names[-1] >= "i35"
