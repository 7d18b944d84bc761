"""Packages pass the test of bioimageio.core and come back as the network they were."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from maskwright.config import ChannelIntensity
from maskwright.errors import ConfigError
from maskwright.export.bioimageio_package import write_bioimageio
from maskwright.export.facts import ModelFacts
from maskwright.export.verification import LIMIT, verify
from maskwright.io.package import read_package


def write(subject: Any, path: Path, name: str = "cells") -> Path:
    channels, dims = subject.facts.model.channels, subject.facts.dims
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (channels, *(24,) * dims)).astype(np.uint8)
    write_bioimageio(path, subject.network, subject.graph, subject.facts, image, name=name)
    return path


def description(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        values: dict[str, Any] = yaml.safe_load(archive.read("rdf.yaml"))
    return values


@pytest.mark.parametrize("kind", ["plain", "published", "gated", "volume"])
def test_the_test_of_bioimageio_core_passes(
    kind: str, subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    from bioimageio.core import test_description as run_test

    summary = run_test(str(write(subjects(kind), tmp_path / "a.zip")))
    assert summary.status == "passed", summary.format()
    steps = [detail.name for detail in summary.details if detail.status == "passed"]
    assert any("Reproduce test outputs" in name for name in steps)
    # Two sizes of batch, each with three sizes of image.
    assert sum("Run onnx inference" in name for name in steps) == 6


def test_the_package_is_read_back_with_its_own_facts(subject: Any, tmp_path: Path) -> None:
    package = read_package(write(subject, tmp_path / "a.zip"))
    assert package.network.facts is not None
    assert ModelFacts.from_json(package.network.facts, subject="a.zip") == subject.facts
    found = verify(
        subject.network, package.network.run, subject.batches, image="noise", file="a.zip"
    )
    assert list(found.largest) == ["logits"]
    assert found.worst < LIMIT / 4
    for axis, known in zip(package.axes, subject.facts.axes, strict=True):
        assert (axis.name, axis.divisor) == (known.name, known.divisor)
        assert axis.border_loss == known.border_loss


def test_other_programs_get_one_output_without_the_other_heads(
    subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    values = description(write(subjects("heads"), tmp_path / "a.zip"))
    assert [output["id"] for output in values["outputs"]] == ["probabilities"]
    assert values["outputs"][0]["axes"][1]["channel_names"] == ["none", "cell", "cell_wall"]
    assert values["config"]["maskwright"]["classes"][2]["mask_values"] == [180]


def test_the_name_keeps_what_the_format_allows(
    subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    values = description(write(subjects("plain"), tmp_path / "a.zip", name="cells: run/1"))
    assert values["name"] == "cells run 1"


def test_the_test_output_is_the_softmax_of_the_network(
    subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    path = write(subjects("plain"), tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        found = np.load(io.BytesIO(archive.read("test_output.npy")), allow_pickle=False)
        image = np.load(io.BytesIO(archive.read("test_input.npy")), allow_pickle=False)
    assert image.dtype == np.float32
    assert image.max() > 100
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def with_data(subject: Any, **settings: Any) -> Any:
    data = subject.facts.data.model_copy(update=settings)
    return replace(subject, facts=replace(subject.facts, data=data))


def channels_of(subject: Any, **values: Any) -> dict[str, Any]:
    way = ChannelIntensity.model_validate(values)
    return {"channel_intensity": (way,) * subject.facts.model.channels}


@pytest.mark.parametrize("kind", ["published", "volume"])
def test_windows_and_pixel_sizes_are_told_so_that_others_do_the_same(
    kind: str, subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    from bioimageio.core import test_description as run_test

    subject = subjects(kind)
    spacing = (2.5, 0.7, 0.7)[-subject.facts.dims :]
    window = channels_of(subject, way="window", low=20, high=120, mean=60, std=30)
    path = write(with_data(subject, spacing=spacing, **window), tmp_path / "a.zip")
    summary = run_test(str(path))
    assert summary.status == "passed", summary.format()
    values = description(path)
    steps = [step["id"] for step in values["inputs"][0]["preprocessing"]]
    assert steps == ["ensure_dtype", "clip", "fixed_zero_mean_unit_variance"]
    with zipfile.ZipFile(path) as archive:
        readme = archive.read("README.md").decode()
    assert f"- Pixel size: {' × '.join(map(str, spacing))} mm; bring images to it first." in readme
    assert "clipped and normalised as the description says" in readme


@pytest.mark.parametrize("values", [{"way": "percentile"}, {"way": "window", "low": 2, "high": 9}])
def test_steps_that_the_format_lacks_are_refused_with_a_way_out(
    values: dict[str, Any], subjects: Callable[[str], Any], tmp_path: Path
) -> None:
    subject = subjects("plain")
    with pytest.raises(ConfigError, match="export-intensity") as error:
        write(with_data(subject, **channels_of(subject, **values)), tmp_path / "a.zip")
    assert "--format onnx" in str(error.value)
    assert not (tmp_path / "a.zip").exists()
