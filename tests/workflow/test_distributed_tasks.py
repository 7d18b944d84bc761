"""What a worker refuses, in the process of the test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import maskwright as mw
from maskwright.data.files import find_images
from maskwright.io.run_folder import RunFolder
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.workflow.distributed_tasks import (
    Job,
    NetworkFiles,
    error_of,
    look,
    say,
    whole_task,
)
from maskwright.workflow.lease import Lease, end_leases
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_cases import Case


def _prepared(folder: Path) -> tuple[Job, NetworkFiles, Case]:
    """All that a task needs: a run of a fresh network, an image, a folder for its mask."""
    run, image, out = folder / "run", folder / "a.tif", folder / "out"
    model = mw.ModelConfig(depth=1, width=2)
    for path in (run, out):
        path.mkdir()
    data = mw.DataConfig(labels=(("none", 0), ("cell", 255)))
    RunFolder(run).write_config(mw.RunConfig(model=model, data=data))
    write_model(RunFolder(run).model, build_unet(model).eval(), {})
    tifffile.imwrite(image, np.arange(1200, dtype=np.uint16).reshape(30, 40))
    asked = Asked(engine="torch", precision="float32")
    network = open_network(run, asked)
    threads = torch.get_num_threads()
    job = Job.of(Lease.begin(out), network, asked, (30, 40), threads, (), None)
    files = NetworkFiles.of(run, say(network.predictor, 2))
    return job, files, Case("a", (image,), out / "a.tif", (30, 40), network.predictor.rule)


def test_a_network_from_its_bytes_predicts_as_from_its_folder(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    answer = whole_task(job, files, case)
    assert answer["apart"] == 0
    assert not answer["withdrawn"]
    mw.predict(
        tmp_path / "run", [case.paths[0]], tmp_path / "plain", settings=["precision=float32"]
    )
    assert case.file.read_bytes() == (tmp_path / "plain" / "a.tif").read_bytes()


def test_a_worker_whose_numbers_differ_is_refused(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    other = replace(files, digest="other", said_BKS=files.said_BKS + np.float32(2e-3))
    with pytest.raises(mw.MaskwrightError, match=r"difference of 0\.002.*worker-differs"):
        raise error_of(whole_task(job, other, case)) or AssertionError
    job = replace(job, numerics="OpenVINO 1.0, bfloat16")
    with pytest.raises(mw.MaskwrightError, match=r"OpenVINO 1\.0.*worker-numerics"):
        raise error_of(whole_task(job, files, case)) or AssertionError
    assert not case.file.exists()


def test_a_worker_with_another_version_is_refused(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    with pytest.raises(mw.MaskwrightError, match=r"maskwright 0\.0\.1.*worker-version"):
        raise error_of(whole_task(replace(job, version="0.0.1"), files, case)) or AssertionError


def test_an_error_about_an_image_comes_back_as_it_was(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    case.paths[0].write_bytes(b"II*")
    error = error_of(whole_task(job, files, case))
    assert type(error) is mw.errors.ImageReadError
    assert error.subject == str(case.paths[0])
    with pytest.raises(mw.MaskwrightError, match=error.code):
        mw.predict(tmp_path / "run", find_images([case.paths[0]]), tmp_path / "plain")


def test_what_nobody_waits_for_is_not_written(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    end_leases(tmp_path / "out")
    assert whole_task(job, files, case)["withdrawn"]
    later = Lease.begin(tmp_path / "out")
    assert later.holds()
    assert whole_task(job, files, case)["withdrawn"]
    assert not case.file.exists()


def test_a_worker_says_what_it_cannot_see(tmp_path: Path) -> None:
    job, _, case = _prepared(tmp_path)
    assert not {"folder", "image"} & set(look(job.lease, case.paths))
    assert look(job.lease, [*case.paths, tmp_path / "b.tif"])["image"] == str(tmp_path / "b.tif")
    assert "folder" in look(replace(job.lease, folder=tmp_path / "other"), case.paths)
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_machine_that_came_later_and_lacks_the_folder_is_named(tmp_path: Path) -> None:
    job, files, case = _prepared(tmp_path)
    job = replace(job, lease=replace(job.lease, folder=tmp_path / "other"))
    with pytest.raises(
        mw.MaskwrightError, match=r"the worker on .*all machines share.*worker-folder"
    ):
        raise error_of(whole_task(job, files, case)) or AssertionError
