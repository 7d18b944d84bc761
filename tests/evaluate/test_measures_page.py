"""docs/measures.md is what the code builds, and every measure documents itself."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from measures_page import CATALOGUE, MODULES, build_page, description, function_of, shown, source_of
from measures_peers import (
    compare_masks,
    compare_objects,
    compare_probabilities,
    compare_random,
    differences_by_measure,
)
from PIL import Image
from scipy import ndimage

from maskwright.evaluate import detection, partition_curve, uncertainty, warping
from maskwright.evaluate.objects import components

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "measures.md"
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real images are not at {DATA}")

MEASURING = (
    *(module for _, module in MODULES.values()),
    partition_curve,
    warping,
    detection,
    uncertainty,
)
# Functions of those modules that count, check, cut or explain, and so have neither range nor best.
NO_MEASURES = {
    "best_threshold",
    "check_probabilities",
    "check_shape",
    "class_blocks",
    "count_overlaps",
    "distribution_blocks",
    "inside_labels",
    "reason_undefined",
    "reliability",
    "simple_points",
    "skeleton",
    "surface_distances",
    "surface_distances_by_class",
}
RANGE = re.compile(
    r"\b[−\d]+ (\(\w+\) )?to [−\d]+|\bfrom [−\d]+ (\(\w+\) )?upwards|\b0 is best|\bin bits\b"
)
EMPTY = re.compile(r"\bempty\b|\bno (objects|pixel|pair)\b|\bnothing\b|\bNaN\b|\bwithout\b", re.I)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Of many small calls each would wait for threads that other programs keep from running."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def measures_in(module: ModuleType) -> list[Callable[..., Any]]:
    return [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and name not in NO_MEASURES
    ]


def worst(compared: Any) -> dict[tuple[str, str, str], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            key: float(np.max(found)) for key, found in differences_by_measure(compared).items()
        }


def assert_small(differences: dict[tuple[str, str, str], float]) -> None:
    # Negated, so that NaN is large too.
    assert {key: value for key, value in differences.items() if not value < 1e-5} == {}


def test_the_page_is_what_the_code_builds_now(request: pytest.FixtureRequest) -> None:
    page = build_page()
    if request.config.getoption("--write-pages"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "write it anew with --write-pages"


def test_libraries_agree_where_definitions_coincide() -> None:
    differences = worst(compare_random())
    assert len({library for library, _, _ in differences}) == 8
    assert_small(differences)


@needs_data
def test_libraries_agree_on_real_hippocampi() -> None:
    pairs, before = [], {}
    for path in sorted((DATA / "hippocampus" / "labelsTr").glob("*.nii.gz")):
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        if labels.shape in before and len(pairs) < 4:
            pairs += [(labels == k, before[labels.shape] == k, (1.0, 1.0, 1.0)) for k in (1, 2)]
        before[labels.shape] = labels
    assert len(pairs) >= 4
    assert_small(worst(compare_masks(pairs)))


@needs_data
def test_libraries_agree_on_real_nuclei() -> None:
    pairs = []
    for path in sorted((DATA / "nuclei" / "masks").glob("*.png"))[::12][:3]:
        truth = np.asarray(Image.open(path)).astype(np.int64)[:300, :300]
        thick = components(ndimage.binary_dilation(truth > 0)).astype(np.int64)
        pairs += [(np.roll(truth, 2, 1), truth), (thick, truth)]
    assert len(pairs) >= 6
    assert_small(worst(compare_objects(pairs)))


@needs_data
def test_libraries_agree_on_real_membranes() -> None:
    pairs = []
    for path in sorted((DATA / "membranes" / "images").iterdir())[:2]:
        grey = ndimage.gaussian_filter(np.asarray(Image.open(path), np.float64), 1.5)
        truth = np.asarray(Image.open(path.parents[1] / "masks" / path.name)) == 0
        pairs.append((1 / (1 + np.exp((grey - 100) / 8)), truth))
    assert_small(worst(compare_probabilities(pairs)))


@pytest.mark.parametrize("module", MEASURING, ids=lambda module: module.__name__)
def test_every_measure_documents_range_empty_rule_and_source(module: ModuleType) -> None:
    measures = measures_in(module)
    assert measures
    for measure in measures:
        before_arguments = description(measure).partition("\nArgs:")[0]
        assert RANGE.search(before_arguments), f"{measure.__name__} states no range"
        assert EMPTY.search(description(measure)), f"{measure.__name__} states no empty rule"
        assert source_of(measure), f"{measure.__name__} states no source"


def test_functions_that_are_no_measures_exist() -> None:
    names = {name for module in MEASURING for name in vars(module)}
    assert names >= NO_MEASURES


def test_every_measure_of_the_catalogue_has_a_function_with_a_source() -> None:
    assert all(source_of(function_of(measure)) for measure in CATALOGUE.values())


def test_numbers_are_shown_with_four_significant_decimals() -> None:
    values = (11.05, 2.75, 0.60526, -0.0, float("nan"), float("inf"), -2, "stops")
    expected = ["11.05", "2.75", "0.6053", "0", "NaN", "∞", "−2", "stops"]
    assert [shown(value) for value in values] == expected
