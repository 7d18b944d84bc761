"""Every folder of the shared data: what is said of it, and that it trains and predicts as it is."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

import maskwright as mw
from maskwright.config import DataConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.files import find_images
from maskwright.data.split import split_cases
from maskwright.data.split_check import check_split
from maskwright.io.registry import SUFFIXES, read_header, read_mask

SHARED = Path(__file__).parents[3] / "shared" / "data"
TINY = ("depth=1", "width=4", "patch_px=32", "batch=1", "validations=1", "train.layout=contiguous",
        "predict.precision=float32", "train.precision=float32", "evaluate.measures=")  # fmt: skip
SLICES = "data.slices=true"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared data at {SHARED}")


@cache
def _report(name: str, **settings: object) -> CheckReport:
    return check_dataset(SHARED / name, DataConfig.model_validate(settings))


def _refused(report: CheckReport) -> set[str]:
    return {problem.code for problem in report.refusals}


SAID = {
    "membranes": ("not used: unlabelled/ (2 images)", "consecutive slices", "22.0% of the pixels"),
    "vessels": ("14 subjects", "stored as 1-bit", "second_observer/", "for 28 of 28 images"),
    "nuclei": ("110 of 110 images are grey", "with an alpha channel", "5130 objects",
               "touch another", "little is drawn (below 0.2%) in 1 of 110"),
    "nuclei_stained": ("the colour differs from image to image", "with an alpha channel",
                       "one object of class 1"),
    "nuclei_raw_layout": ("a folder for each image and a mask for each of 97 objects",),
    "lungs": ("2 masks without an image: 422.png, 439.png", "1.1% of the mask pixels are none of",
              "masks are stored as grey in three equal channels"),
    "lung_tumours": ("0.8% of the pixels", "little is drawn (below 0.2%) in 9 of 24 masks"),
    "hippocampus": ("1 image without a mask", "float32 (46), uint8 (14)",
                    "the largest values of the images differ widely: 139 to 1.433e+06"),
    "ct_organs": ("42 class numbers with gaps, up to 117", "a single image with a mask"),
    "nuclei3d": ("a single image with a mask", "51 objects", "gaps in the numbers of 1 of 1",
                 "1 of 1 images are volumes without names of axes"),
    "nodule_patch": ("a single image with a mask", "values with fractions: 0.25, 0.5, 0.75",
                     "volumes without names of axes"),
}  # fmt: skip
if ".npy" not in SUFFIXES:  # stacks of pages and NumPy files cannot be read
    del SAID["nuclei3d"], SAID["nodule_patch"]


@pytest.mark.parametrize("name", SAID)
def test_check_says_of_a_folder_what_is_odd_about_it(name: str) -> None:
    text = "\n".join(_report(name).lines())
    assert [words for words in SAID[name] if words not in text] == []


def test_only_what_reliability_refuses_is_refused() -> None:
    refused = {name: found for name in SAID if (found := _refused(_report(name)))}
    expected = {
        "lungs": {"mask-orphan"},
        "ct_organs": {"one-case"},
        "nuclei3d": {"one-case"},
        "nodule_patch": {"one-case", "mask-fractional"},
    }
    assert refused == {name: codes for name, codes in expected.items() if name in SAID}


REMEDIES: dict[str, tuple[str, ...]] = {
    "lungs": ("skip_unpaired=true",),
    "ct_organs": (SLICES,),
    "nuclei3d": (SLICES,),
    "nodule_patch": (SLICES, "data.soft=true"),
}
"""What the refusals of the others tell to add."""


@pytest.mark.parametrize("seed", range(4))
def test_any_draw_of_slices_leaves_every_organ_to_learn_from(seed: int) -> None:
    report = _report("ct_organs", slices=True)
    split = split_cases(
        report.cases,
        seed=seed,
        validation_share=0.15,
        test_share=0.2,
        sequence=report.sequence,
        present=report.present,
    )
    assert split.test
    assert check_split(split, report.cases, digests={}, present=report.present) == []


@pytest.mark.parametrize("name", SAID)
def test_a_folder_trains_and_predicts_without_renaming_anything(name: str, tmp_path: Path) -> None:
    root = SHARED / name
    values = dict(setting.split("=") for setting in REMEDIES.get(name, ()))
    report = _report(name, **{key.removeprefix("data."): v for key, v in values.items()})
    first_of = {case.group: case.name for case in reversed(report.cases)}
    names = list(first_of.values())[::-1]
    few = names if SLICES in REMEDIES.get(name, ()) else names[:4]
    middle = len(few) // 2
    held = few[middle - 1 : middle + 1]  # what the first and last slices hold may be nowhere else
    parts = {
        "train": [name for name in few if name not in held],
        "validation": held[:1],
        "test": held[1:],
    }
    split = tmp_path / "split.json"
    split.write_text(json.dumps(parts))
    run = mw.train(
        root, tmp_path / "run", steps=2, split=split, settings=(*TINY, *REMEDIES.get(name, ()))
    )
    assert run.metrics()["summary"]["classes"]
    image = find_images([root])[0]
    masks = run.predict([image], tmp_path / "masks")
    assert read_mask(masks.files[0]).size == read_header(image).size
