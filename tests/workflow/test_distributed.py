"""Several processes predict what one does, whichever of them is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import psutil
import pytest
import tifffile
import torch
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.io.registry import read_image
from maskwright.io.run_folder import RunFolder
from maskwright.io.sink import unfinished_folder
from maskwright.io.volume_image import write_array
from maskwright.nn.checkpoint import write_model
from maskwright.nn.unet import build_unet
from maskwright.progress import Events
from maskwright.workflow.lease import LEASE_NAME
from maskwright.workflow.opening import Asked, open_network
from maskwright.workflow.prediction_plan import fit

TILE, SLIDE = 64, (240, 1000)

_KILLED = """
import os, signal, sys
import psutil
import maskwright as mw
from maskwright.progress import Events
import maskwright.workflow.prediction
if "distributed" in sys.modules:
    sys.exit("Dask is imported without being asked for")
def listen(event):
    if event["kind"] == "tile":
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
mw.predict(sys.argv[1], [sys.argv[2]], sys.argv[3], tile=int(sys.argv[4]),
           memory=int(sys.argv[5]), workers=1, events=Events([listen]))
"""


def make_run(path: Path, *, spacing: Any = "none", **settings: Any) -> Path:
    """A run folder with a fresh network of two classes, for pixels of this size if any."""
    model = mw.ModelConfig(**{"depth": 1, "width": 4, "classes": 2, **settings})
    path.mkdir()
    data = mw.DataConfig(labels=(("tissue", 0), ("tumour", 255)), spacing=spacing)
    predict = mw.PredictConfig(precision="float32", mirror_px=8)
    RunFolder(path).write_config(mw.RunConfig(model=model, data=data, predict=predict))
    write_model(RunFolder(path).model, build_unet(model, seed=1).eval(), {})
    return path


def make_image(path: Path, *shape: int) -> Path:
    noise = np.random.default_rng(len(path.name)).integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(path, noise, tile=(64, 64), compression="zlib")
    return path


def least_memory(run: Path, image: Path, tile: int) -> int:
    """Bytes with which an image can be predicted from its file, and not in memory."""
    tiling = open_network(run, Asked(tile)).predictor.tiling
    assert tiling is not None
    pixels = read_image(image).array
    return fit(tiling, pixels.shape, pixels.dtype, 2 * 10**9, subject="").needed_bytes


def records(folder: Path) -> list[dict[str, Any]]:
    values = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))["images"]
    return [{key: each[key] for key in each if key != "elapsed_s"} for each in values]


def same_files(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*"))
    for name in names:
        if (one / name).is_file() and name.name != "predictions.json":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert records(one) == records(other)


@contextmanager
def cluster_of(workers: int) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs=50,
    ) as cluster:  # fmt: skip
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread everywhere: PyTorch rounds the last digit otherwise with several."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with cluster_of(2) as found:
        yield found


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("slides") / "slide.tif", *SLIDE)


@pytest.fixture(scope="module")
def alone(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, Path]:
    """A run, the memory to predict the slide from its file, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    run = make_run(folder / "run", width=16)
    memory = least_memory(run, slide, TILE)
    mw.predict(run, [slide], folder / "one", tile=TILE, memory=memory)
    return run, memory, folder / "one"


def predict_while(
    act: Callable[[], None], out: Path, *arguments: Any, **options: Any
) -> BaseException | None:
    """Predict an image, and act once a part of a band is there; the error it ended with, if any."""
    ended = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            mw.predict(*arguments, out, **options)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            raised.append(error)
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    journal = unfinished_folder(out / "slide.tif") / "journal"
    while not ended.is_set() and not any(path.stat().st_size for path in journal.glob("*.jsonl")):
        time.sleep(0.001)
    assert not ended.is_set(), raised
    act()
    thread.join()
    return raised[0] if raised else None


def test_a_folder_on_two_workers_gives_the_files_of_one_process(tmp_path: Path) -> None:
    run, images = make_run(tmp_path / "run"), tmp_path / "images"
    images.mkdir()
    for name in "abcd":
        make_image(images / f"{name}.tif", 70, 80 + ord(name) % 7)
    common = ["predict", str(run), str(images), "--probabilities", "--objects", "--tta", "flip"]
    for name, more in (("one", []), ("two", ["--workers", "2"])):
        done = CliRunner().invoke(app, [*common, "--out", str(tmp_path / name), *more])
        assert done.exit_code == 0, done.output
    assert "Workers that predict: 2" in done.output
    same_files(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_bands_of_a_large_image_on_a_scheduler_give_the_mask_of_one_process(
    norm: str, cluster: distributed.LocalCluster, slide: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", norm=norm)
    memory, seen = least_memory(run, slide, TILE), list[dict[str, Any]]()
    options = {"tile": TILE, "memory": memory, "objects": norm == "instance"}
    mw.predict(run, [slide], tmp_path / "one", **options)
    mw.predict(run, [slide], tmp_path / "two", scheduler=cluster.scheduler_address,
               events=Events([seen.append]), **options)  # fmt: skip
    same_files(tmp_path / "one", tmp_path / "two")
    assert records(tmp_path / "two")[0]["tiling"]["averaged"] is (norm == "instance")
    tiles = [event["number"] for event in seen if event["kind"] == "tile"]
    (start,) = (event for event in seen if event["kind"] == "start")
    assert len(tiles) > 3
    assert tiles[-1] == start["tiles"]


@pytest.mark.parametrize("spacing", ["none", (1.25, 1.0, 1.0)])
def test_a_volume_of_averaged_tiles_on_a_scheduler_is_that_of_one_process(
    spacing: Any, cluster: distributed.LocalCluster, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", spacing=spacing, dims=3, norm="instance")
    path = tmp_path / "v.nii.gz"
    volume = np.random.default_rng(0).normal(size=(1, 40, 40, 24)).astype(np.float32)
    write_array("NIfTI", path, volume, None)
    memory = least_memory(run, path, 32)
    for name, address in (("one", None), ("two", cluster.scheduler_address)):
        mw.predict(run, [path], tmp_path / name, tile=32, memory=memory, scheduler=address,
                   settings=["pixel_mm=1,1,1"])  # fmt: skip
    same_files(tmp_path / "one", tmp_path / "two")
    assert records(tmp_path / "two")[0]["tiling"]["from_file"]
    assert ("resampled" in records(tmp_path / "two")[0]) is (spacing != "none")


@pytest.mark.parametrize("killed", [1, 2])
def test_workers_killed_midway_leave_the_mask_as_it_is(
    killed: int,
    cluster: distributed.LocalCluster,
    slide: Path,
    alone: tuple[Path, int, Path],
    tmp_path: Path,
) -> None:
    (run, memory, expected), seen = alone, list[dict[str, Any]]()
    before = {nanny.pid for nanny in cluster.workers.values()}

    def kill() -> None:
        for pid in sorted(before)[:killed]:
            os.kill(pid, signal.SIGKILL)

    error = predict_while(
        kill, tmp_path / "two", run, [slide], tile=TILE, memory=memory,
        scheduler=cluster.scheduler_address, events=Events([seen.append]),
    )  # fmt: skip
    assert error is None
    same_files(expected, tmp_path / "two")
    cluster.wait_for_workers(2)
    assert len({nanny.pid for nanny in cluster.workers.values()} - before) == killed
    assert [event["code"] for event in seen if event["kind"] == "warning"] == [
        "worker-lost"
    ] * killed
    assert not (tmp_path / "two" / LEASE_NAME).exists()


def test_an_image_that_ends_its_workers_is_named(
    slide: Path, alone: tuple[Path, int, Path], tmp_path: Path
) -> None:
    run, memory, _ = alone
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster_of(1) as cluster:
        (nanny,) = cluster.workers.values()
        error = predict_while(
            lambda: os.kill(nanny.pid, signal.SIGKILL), tmp_path / "out", run, [slide], tile=TILE,
            memory=memory, scheduler=cluster.scheduler_address,
        )  # fmt: skip
    assert isinstance(error, mw.MaskwrightError)
    assert error.code == "worker-killed"
    assert error.subject == str(slide)
    assert not (tmp_path / "out" / "slide.tif").exists()


def test_what_workers_did_is_taken_up_after_the_client_was_killed(
    slide: Path, alone: tuple[Path, int, Path], tmp_path: Path
) -> None:
    (run, memory, expected), out = alone, tmp_path / "out"
    seen = list[dict[str, Any]]()
    command = [sys.executable, "-c", _KILLED, str(run), str(slide), str(out), str(TILE)]
    done = subprocess.run([*command, str(memory)], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    _, gone = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in done.stdout.split() if psutil.pid_exists(int(pid))], 20
    )
    assert not gone
    mw.predict(run, [slide], out, tile=TILE, memory=memory, resume=True,
               events=Events([seen.append]))  # fmt: skip
    same_files(expected, out)
    tiles = [event for event in seen if event["kind"] == "tile"]
    assert 0 < len(tiles) < len(open_network(run, Asked(TILE)).predictor.rule.cover(SLIDE))


def test_a_stopped_client_leaves_nothing_half_written(
    cluster: distributed.LocalCluster, slide: Path, alone: tuple[Path, int, Path], tmp_path: Path
) -> None:
    (run, memory, expected), out = alone, tmp_path / "out"

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "tile":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mw.predict(run, [slide], out, tile=TILE, memory=memory, events=Events([stop]),
                   scheduler=cluster.scheduler_address)  # fmt: skip
    left = sorted(path.name for path in out.iterdir())
    assert left == [".predictions.unfinished.jsonl", ".slide.tif.unfinished"]
    # At once, while tasks of before may still be at work.
    mw.predict(run, [slide], out, tile=TILE, memory=memory, resume=True,
               scheduler=cluster.scheduler_address)  # fmt: skip
    same_files(expected, out)


def test_an_address_where_nobody_listens_is_told(slide: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(mw.MaskwrightError, match=rf"--scheduler {address}.*scheduler-missing") as e,
    ):
        mw.predict(make_run(tmp_path / "run"), [slide], tmp_path / "out", scheduler=address)
    assert e.value.exit_status == 2
    assert not (tmp_path / "out" / LEASE_NAME).exists()


def test_workers_and_a_scheduler_exclude_each_other(slide: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for options, code in (({"scheduler": "tcp://a:1"}, "workers-both"), ({}, "workers-count")):
        with pytest.raises(mw.MaskwrightError, match=code):
            mw.predict(run, [slide], tmp_path / "out", workers=len(options), **options)
    with pytest.raises(mw.MaskwrightError, match=r"in each of 4 workers.*fewer --workers"):
        mw.predict(run, [slide], tmp_path / "out", workers=4, memory="1GB")
    assert not (tmp_path / "out").exists()
