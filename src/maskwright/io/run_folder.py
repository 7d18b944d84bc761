"""The run folder: the unit a person keeps, copies and shares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.config import RunConfig, parse_config
from maskwright.errors import OutputError, RunError
from maskwright.io.durable import make_folder, write_text
from maskwright.io.lock import hold_lock


@dataclass(frozen=True)
class RunFolder:
    """Paths and small files of one run.

    ::

        config.json          everything resolved; enough to repeat the run
        plan.json            every choice with its reason
        model.safetensors    the network that predict uses
        checkpoints/         resume state
        events.jsonl         progress, one JSON object a line
        splits.json          which image was used for what
        metrics.json         per case and summary
        predictions/         masks of the held-out images
        overlays/            image, truth, prediction and errors side by side
        calibration.json     what the validation images say of the probabilities
        int8.onnx            the network in integers of 8 bits
        int8.json            the Dice that it loses by them
        ensemble/            the networks that prediction averages, where several learnt
        snapshots/           likewise, where those of several validations are kept
        figures/             the report's charts as SVG and PNG
        tensorboard/         curves and pictures for TensorBoard, where asked for
        report.html          one self-contained file

    A run of several folds holds one run for each, and what follows from all of them::

        folds.json           which image is held out in which fold, and what was asked for
        fold_1/ fold_2/ …    a run each

    Args:
        path: The folder.

    Example:
        >>> RunFolder(Path("runs/cells")).model.name
        'model.safetensors'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.json"

    @property
    def plan(self) -> Path:
        """Every choice with its reason."""
        return self.path / "plan.json"

    @property
    def model(self) -> Path:
        """The network that prediction uses."""
        return self.path / "model.safetensors"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def splits(self) -> Path:
        """Which image was used for what."""
        return self.path / "splits.json"

    @property
    def metrics(self) -> Path:
        """Scores of the held-out images."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Masks of the held-out images."""
        return self.path / "predictions"

    @property
    def overlays(self) -> Path:
        """Pictures of the held-out images."""
        return self.path / "overlays"

    @property
    def calibration(self) -> Path:
        """Temperature and thresholds chosen on the validation images."""
        return self.path / "calibration.json"

    @property
    def int8(self) -> Path:
        """The loss of Dice of the network in int8."""
        return self.path / "int8.json"

    @property
    def int8_network(self) -> Path:
        """The network in int8."""
        return self.path / "int8.onnx"

    @property
    def figures(self) -> Path:
        """The report's charts."""
        return self.path / "figures"

    @property
    def board(self) -> Path:
        """The files of TensorBoard."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def pseudo(self) -> Path:
        """Masks that a network drew for images without any, and the learning from them."""
        return self.path / "pseudo_labels"

    @property
    def snapshots(self) -> Path:
        """Networks of the last validations, where they are kept."""
        return self.path / "snapshots"

    @property
    def ensemble(self) -> Path:
        """Networks that learnt one after the other, where there are several."""
        return self.path / "ensemble"

    @property
    def folds(self) -> Path:
        """Which image is held out in which fold; only a run of several folds has it."""
        return self.path / "folds.json"

    def fold(self, number: int) -> RunFolder:
        """The run of one fold.

        Args:
            number: From 1.
        """
        return RunFolder(self.path / f"fold_{number}")

    def weights(self) -> tuple[Path, ...]:
        """The files of the networks whose probabilities prediction averages; of most runs one.

        Raises:
            RunError: When the list of folds is damaged.
        """
        if self.folds.is_file():
            count = len(self.read_json(self.folds)["folds"])
            return tuple(path for n in range(1, count + 1) for path in self.fold(n).weights())
        members = sorted(self.ensemble.glob("network_*.safetensors"))
        return tuple(members or sorted(self.snapshots.glob("step_*.safetensors"))) or (self.model,)

    def refuse_folds(self) -> None:
        """Refuse a run of several folds where one network is needed.

        Raises:
            RunError: ``run-of-folds``.
        """
        if self.folds.is_file():
            raise RunError(
                "run-of-folds",
                str(self.path),
                expected="a run of one network",
                found=f"the networks of {len(self.read_json(self.folds)['folds'])} folds",
                remedy=f"name one of them, such as {self.fold(1).path}",
            )

    def refuse_several(self) -> None:
        """Refuse a run whose prediction averages networks where one is needed.

        Raises:
            RunError: ``run-of-several``.
        """
        count = len(self.weights())
        if count > 1:
            raise RunError(
                "run-of-several",
                str(self.path),
                expected="a run of one network",
                found=f"{count} networks, whose probabilities prediction averages",
                remedy="train one alone with --set ensemble=1 and without --set snapshots",
            )

    def read_config(self) -> RunConfig:
        """The run's configuration.

        Raises:
            RunError: When this is not a run folder.
            ConfigError: When the file is damaged or from a newer version.
        """
        if not self.config.is_file():
            raise RunError(
                "run-missing",
                str(self.path),
                expected="a run folder (with config.json)",
                found="no such folder" if not self.path.exists() else "a folder without it",
                remedy="name the folder given to `maskwright train --out`",
            )
        return parse_config(self.config.read_text(encoding="utf-8"), subject=str(self.config))

    def write_config(self, config: RunConfig) -> None:
        """Write the run's configuration."""
        write_text(self.config, config.model_dump_json(indent=2) + "\n")

    def read_json(self, path: Path) -> dict[str, Any]:
        """One of the run's JSON files.

        Raises:
            RunError: When it is missing or damaged.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                "run-incomplete",
                str(path),
                expected="a file written by training",
                found="none",
                remedy="finish the run with `maskwright train … --resume`",
            ) from error
        except json.JSONDecodeError as error:
            raise RunError(
                "run-damaged",
                f"{path} line {error.lineno}",
                expected="JSON",
                found=error.msg,
                remedy="restore the file",
            ) from error
        if not isinstance(values, dict):
            raise RunError(
                "run-damaged",
                str(path),
                expected="a JSON object",
                found=type(values).__name__,
                remedy="restore the file",
            )
        return values

    def begin(self, *, resume: bool) -> None:
        """Make the folder, refusing one that holds something unless the run is resumed.

        Raises:
            OutputError: When the folder is not empty, or cannot be made.
        """
        if not resume and self.path.exists() and any(self.path.iterdir()):
            raise OutputError(
                "run-exists",
                f"--out {self.path}",
                expected="a new or empty folder",
                found="one that holds files",
                remedy="choose another name, or continue that run with --resume",
            )
        make_folder(self.path, subject=f"--out {self.path}")

    def check_begun(self) -> None:
        """Refuse to go on with a network that no training of this folder made, as imported ones.

        Raises:
            RunError: ``run-not-begun``, ``run-of-folds``.
        """
        self.refuse_folds()
        if self.model.exists() and not self.splits.exists():
            raise RunError(
                "run-not-begun",
                str(self.path),
                expected="a run that training began",
                found="weights without a split of images, as `maskwright import-weights` makes",
                remedy=f"train into another folder with --from {self.path}",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training into the same folder.

        The operating system drops the lock when the process ends, however it ends.

        Raises:
            RunError: When another process holds it.
        """
        refused = RunError(
            "run-in-use",
            str(self.path),
            expected="a run no other process is using",
            found="one that is being trained right now",
            remedy="wait for it, stop it, or choose another --out",
        )
        with hold_lock(self.path / ".lock", refused):
            yield
