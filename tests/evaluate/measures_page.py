"""The text of docs/measures.md: the catalogue, and the measures beside those of other libraries.

Every number is computed and every source is read from a docstring, so that the page cannot say
what the code does not do. Of random images only bounds are printed, which are the same anywhere.
"""

from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from measures_differences import differences
from measures_peers import compare_random, differences_by_measure

from maskwright.evaluate import (
    calibration,
    detection,
    objects,
    overlap,
    partition,
    partition_curve,
    ranking,
    surface,
    topology,
    uncertainty,
    warping,
)
from maskwright.evaluate.catalogue import CATALOGUE, Measure

MODULES: dict[str, tuple[str, ModuleType]] = {
    "overlap": ("Overlap", overlap),
    "surface": ("Distances between surfaces", surface),
    "objects": ("Objects", objects),
    "partition": ("Partitions", partition),
    "topology": ("Topology", topology),
    "calibration": ("Calibration", calibration),
    "ranking": ("Ranking of pixels", ranking),
}
# Measures that share a function, or are named otherwise than it.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dsb": objects.dsb_score,
    "v_rand_thinned": partition.v_rand,
    "v_info_thinned": partition.v_info,
    "warping_error": warping.warping_error,
    "warping_deletions": warping.warping_error,
    "betti0_error": topology.betti_errors,
    "betti1_error": topology.betti_errors,
}
FURTHER = (
    detection.froc,
    partition_curve.rand_error,
    partition_curve.pixel_error,
    partition.variation_of_information,
    uncertainty.expected_dice,
    uncertainty.entropy,
)
BEST = {"high": "high", "low": "low", "zero": "0"}
UNITS = {"": "–", "length": "mm, or pixels", "bits": "bits"}
# So far apart that rounding, in 64 bits or in 32, cannot carry a difference over one of them.
BOUNDS = (1e-12, 1e-5)

INTRODUCTION = """\
# Measures

This page is written by a test (`pytest tests/evaluate/test_measures_page.py --write-pages`), \
which fails when the page and the code part ways. P is the prediction, G the truth; TP, FP, FN \
and TN are pixels, or objects where objects are counted.

- **Case first, then mean.** A measure is taken for each image, then averaged. The value of all \
pixels together stands beside it as pooled.
- **Empty masks** stay in the mean. The tables say what each measure is worth when both masks are \
empty, and when one is.
- **A missing prediction** counts as an empty one, and is listed.
- **Spacing** gives distances in mm. Without it they are in pixels, and the table says so.
- **A region of interest**, where there is one, holds for every measure.
- **Intervals** are 95 % bootstrap intervals over groups, such as patients; never over pixels or \
slices. Below three groups there is none.
- **Thresholds** are chosen on validation images. One chosen on the test images is called an oracle.
- **n** is the number of images behind a mean. A value that does not exist is NaN, says why, and \
is not among the n.
"""


def build_page() -> str:
    """The whole page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [INTRODUCTION, *_catalogue(), *_functions(), *_agreement(), *_differences()]
    return "\n".join(parts)


def function_of(measure: Measure) -> Callable[..., Any]:
    """The function that computes a measure of the catalogue."""
    if measure.name in FUNCTIONS:
        return FUNCTIONS[measure.name]
    function: Callable[..., Any] = getattr(MODULES[measure.group][1], measure.name)
    return function


def description(function: Callable[..., Any]) -> str:
    """A docstring without its example."""
    return (inspect.getdoc(function) or "").partition("\nExample:")[0]


def source_of(function: Callable[..., Any]) -> str:
    """What stands behind ``Source:`` in a docstring."""
    found = re.search(r"^Source: (.+?)(?:\n\n|\Z)", description(function), re.S | re.M)
    return _plain(found[1]) if found else ""


def shown(value: Any) -> str:
    """A value with four significant decimals; text as it is."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{float(value) + 0.0:.4g}".replace("-", "−")


def bound(difference: float) -> str:
    """The smallest of a few bounds that holds a difference."""
    for limit in BOUNDS:
        if difference <= limit:
            return f"≤ {limit:.0e}".replace("e-0", "e-")
    return f"{difference:.0e}"


def _catalogue() -> Iterable[str]:
    yield "## All measures\n"
    yield (
        "Files use the names in the second column. Best tells which end is good, or that 0 is.\n"
    )
    for group, (heading, _) in MODULES.items():
        yield f"### {heading}\n"
        yield _table(
            ("measure", "name", "formula", "range", "best", "unit", "both empty", "one empty"),
            [
                (
                    m.title, f"`{m.name}`", m.formula, f"{m.lowest} to {m.highest}", BEST[m.best],
                    UNITS[m.unit], m.both_empty, m.one_empty,
                )
                for m in CATALOGUE.values() if m.group == group
            ],
        )  # fmt: skip
    yield "### Further measures\n"
    yield "They are functions of their own, for data that the tables above do not fit.\n"
    yield _table(
        ("function", "what it is", "source"),
        [(_name(f), _plain(description(f).splitlines()[0]), source_of(f)) for f in FURTHER],
    )


def _functions() -> Iterable[str]:
    yield "## Functions and sources\n"
    yield "All modules are in `maskwright.evaluate`.\n"
    rows = []
    for measure in CATALOGUE.values():
        function = function_of(measure)
        rows.append((f"`{measure.name}`", _name(function), source_of(function)))
    yield _table(("name", "function", "source"), rows)


def _agreement() -> Iterable[str]:
    yield "## Where we agree\n"
    yield (
        "Other libraries on the same random images, none of them empty, in two and three"
        " dimensions and with pixels that are not square. The difference is the largest of all"
        " images, relative for values above 1. Libraries that compute in 32 bits are as close as"
        " those can be. The tests repeat the comparison on real images.\n"
    )
    rows = [
        (library, _code(call), _code(measure), str(len(found)), bound(float(np.max(found))))
        for (library, call, measure), found in differences_by_measure(compare_random()).items()
    ]
    yield _table(
        ("library", "its call", "our measure", "images", "largest difference"),
        sorted(rows, key=lambda row: (row[0].lower(), row[2])),
    )


def _differences() -> Iterable[str]:
    yield "## Where others differ, and why\n"
    yield (
        "Both values are computed when this page is written, with the versions in"
        " `constraints.txt`.\n"
    )
    yield _table(
        ("case", "measure", "ours", "library and call", "theirs", "why"),
        [
            (row.case, _code(row.measure), shown(row.ours), row.call, shown(row.theirs), row.why)
            for row in differences()
        ],
    )


def _code(text: str) -> str:
    """The call in a text as code; what follows its comma stays text."""
    return re.sub(r"^[^,(]+(\([^)]*\))?", r"`\g<0>`", text)


def _name(function: Callable[..., Any]) -> str:
    return f"`{function.__module__.rpartition('.')[2]}.{function.__name__}`"


def _plain(text: str) -> str:
    """A docstring's text as Markdown, on one line."""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")
