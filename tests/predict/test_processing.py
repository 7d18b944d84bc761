"""Steps of bioimage.io's format compute what bioimageio.core computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.errors import RunError
from maskwright.predict.processing import activation, normaliser

YX = ("y", "x")


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 4000, (3, 33, 41)).astype(np.uint16)


def normalised(steps: list[tuple[str, dict[str, Any]]], image: np.ndarray) -> np.ndarray:
    return normaliser(steps, YX, subject="package")(image, len(image))(image)


def by_core(name: str, settings: dict[str, Any], image: np.ndarray) -> np.ndarray:
    """One step by bioimageio.core."""
    from bioimageio.core import Sample, Tensor, proc_ops
    from bioimageio.core.stat_calculators import compute_measures
    from bioimageio.spec.model import v0_5

    kind = "".join(part.capitalize() for part in name.split("_"))
    values = {"id": name} | ({"kwargs": settings} if settings else {})
    step = getattr(v0_5, f"{kind}Descr").model_validate(values)
    operator = getattr(proc_ops, kind).from_proc_descr(step, "raw")
    data = image[None].astype(np.float32)
    tensor = Tensor.from_numpy(data, dims=("batch", "channel", "y", "x"))
    sample = Sample(members={"raw": tensor}, stat={}, id="image")
    sample.stat.update(compute_measures(operator.required_measures, [sample]))
    operator(sample)
    result: np.ndarray = sample.members["raw"].data.values[0]
    return result


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("zero_mean_unit_variance", {"axes": ["x", "y"]}),
    ("zero_mean_unit_variance", {"axes": ["channel", "y", "x"]}),
    ("scale_range", {"axes": ["y", "x"], "min_percentile": 1, "max_percentile": 99.8}),
    ("scale_range", {"axes": ["channel", "y", "x"], "min_percentile": 5, "max_percentile": 95}),
    ("scale_linear", {"gain": 0.5, "offset": -3.0}),
    ("scale_linear", {"gain": [1.0, 2.0, 3.0], "offset": [0.0, 1.0, 2.0], "axis": "channel"}),
    ("clip", {"min": 100.0, "max": 900.0}),
    ("binarize", {"threshold": 1000.0}),
    ("fixed_zero_mean_unit_variance", {"mean": 7.0, "std": 3.0}),
    (
        "fixed_zero_mean_unit_variance",
        {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "axis": "channel"},
    ),
    ("ensure_dtype", {"dtype": "float32"}),
]


@pytest.mark.parametrize(("name", "settings"), STEPS)
def test_each_step_agrees_with_bioimageio_core(
    name: str, settings: dict[str, Any], image: np.ndarray
) -> None:
    expected = by_core(name, settings, image)
    found = normalised([(name, settings)], image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
def test_activations_agree_with_bioimageio_core(name: str, image: np.ndarray) -> None:
    logits = image / 200.0 - 10
    found = activation([(name, {})], YX, subject="package")(logits)
    np.testing.assert_allclose(found, by_core(name, {}, logits), rtol=1e-4, atol=1e-6)


def test_a_block_is_normalised_by_the_whole_image(image: np.ndarray) -> None:
    steps = [
        ("ensure_dtype", {"dtype": "float32"}),
        ("clip", {"min": 50.0, "max": 3000.0}),
        ("zero_mean_unit_variance", {"axes": ["y", "x"]}),
        ("scale_linear", {"gain": 2.0}),
    ]
    apply = normaliser(steps, YX, subject="package")(image, 3)
    np.testing.assert_array_equal(apply(image)[:, 5:9, 3:7], apply(image[:, 5:9, 3:7]))
    np.testing.assert_allclose(apply(image).mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(apply(image).std((1, 2)), 2, atol=1e-5)


def test_a_step_measures_what_the_steps_before_it_left(image: np.ndarray) -> None:
    clip = ("clip", {"min": 0.0, "max": 500.0})
    both = normalised([clip, ("scale_range", {"axes": ["y", "x"]})], image)
    assert both.max() == pytest.approx(1)
    assert (both == both.max()).mean() > 0.5


def test_a_grey_image_stored_as_colours_is_taken_as_grey() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    measure = normaliser([("scale_linear", {"gain": 1.0})], YX, subject="package")
    assert measure(np.repeat(grey, 3, 0), 1)(np.repeat(grey, 3, 0)).shape == (1, 3, 4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("custom", {"source": "steps.py", "callable": "run"}),
        ("scale_mean_variance", {"reference_tensor": "raw"}),
        ("zero_mean_unit_variance", {"axes": ["x"]}),
        ("scale_range", {"axes": ["x", "y"], "reference_tensor": "other"}),
        ("softmax", {"axis": "x"}),
        ("binarize", {}),
    ],
)
def test_steps_that_are_not_known_are_refused_before_an_image_is_read(
    name: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(RunError, match=r"cells\.zip.*\[package-operation\]"):
        normaliser([(name, settings)], YX, subject="cells.zip")
