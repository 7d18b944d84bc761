"""One process at a time, whatever becomes of the other one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskwright.errors import OutputError, RunError
from maskwright.io.lock import hold_lock
from maskwright.io.run_folder import RunFolder
from maskwright.workflow.prediction_checks import only_prediction

HOLDER = (
    "import sys; from pathlib import Path; from maskwright.errors import OutputError\n"
    "from maskwright.io.lock import hold_lock\n"
    "held = OutputError('in-use', 'out', expected='', found='', remedy='')\n"
    "with hold_lock(Path(sys.argv[1]), held):\n"
    "    print('held', flush=True); sys.stdin.read()"
)
REFUSED = OutputError("in-use", "out", expected="a free folder", found="a held one", remedy="wait")


@contextmanager
def _another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with _another_process(tmp_path / "lock") as other:
        with (
            pytest.raises(OutputError, match=f"process {other.pid} on ") as caught,
            hold_lock(tmp_path / "lock", REFUSED),
        ):
            pass
        assert caught.value.found.startswith("a held one (")
        assert caught.value.code == "in-use"


def test_a_killed_process_is_in_nobodys_way(tmp_path: Path) -> None:
    with _another_process(tmp_path / "lock") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert (tmp_path / "lock").exists()
        with hold_lock(tmp_path / "lock", REFUSED):
            assert (tmp_path / "lock").read_text().startswith(f'{{"process": {os.getpid()}')
    assert list(tmp_path.iterdir()) == []


def test_what_a_lock_file_holds_is_not_trusted(tmp_path: Path) -> None:
    for text in ("", "[1]", '{"process": "no number"}', "{"):
        (tmp_path / "lock").write_text(text)
        with hold_lock(tmp_path / "lock", REFUSED):
            pass


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), hold_lock(tmp_path / "lock", REFUSED):
            raise KeyError


def test_training_and_prediction_name_the_process_in_their_way(tmp_path: Path) -> None:
    with (
        _another_process(tmp_path / ".lock") as training,
        pytest.raises(RunError, match=f"trained right now .process {training.pid} on"),
        RunFolder(tmp_path).lock(),
    ):
        pass
    with (
        _another_process(tmp_path / ".predictions.lock") as predicting,
        pytest.raises(OutputError, match=f"right now .process {predicting.pid} on") as caught,
        only_prediction(tmp_path),
    ):
        pass
    assert caught.value.code == "output-in-use"
