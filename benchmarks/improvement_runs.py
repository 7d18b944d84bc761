"""Trainings of the comparison of improvements, and predictions at several sizes.

Each is a process of the command line with one thread. What is finished lies in the work folder
and is not done again.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from improvement_data import FACTORS, Prepared, resized_name
from improvement_table import AREA_AUC, HEAD_AUC
from maskwright.evaluate.contingency import components, match_objects
from maskwright.evaluate.ranking import auc
from maskwright.io.durable import write_text
from maskwright.io.registry import read_mask
from maskwright.progress import read_events

_COMMON = ("model.depth=4", "model.width=16", "train.batch=4", "train.validations=2")
_REFUSED = 2
_NOT_KEPT = ("checkpoints", "overlays", "figures", "predictions")


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        prepared: The data set.
        variant: Name of the variant.
        settings: All settings of the run but the rate.
        rate: Peak learning rate.
        seed: Seed of everything random.
        steps: Number of updates.
        seconds: The time that these updates take.
        folder: Where runs of this version of the code lie.
    """

    prepared: Prepared
    variant: str
    settings: tuple[str, ...]
    rate: float
    seed: int
    steps: int
    seconds: float
    folder: Path

    @property
    def path(self) -> Path:
        """Folder of this training."""
        name = f"{self.variant}_rate{self.rate:g}_seed{self.seed}_{self.seconds:g}s"
        return self.folder / self.prepared.data.name / name

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.path / "run"

    @property
    def figures(self) -> Path:
        """What is kept of a finished training."""
        return self.path / "figures.json"


@dataclass(frozen=True)
class Sizes:
    """Predictions of one trained network at several sizes.

    Args:
        job: The training.
        resized: Folder with the resized ``images`` and ``masks``.
        averaged: Whether predictions are averaged over scales.
    """

    job: Job
    resized: Path
    averaged: bool

    @property
    def name(self) -> str:
        """Name of its files."""
        return "sizes_averaged" if self.averaged else "sizes_plain"

    @property
    def figures(self) -> Path:
        """What is kept of finished predictions."""
        return self.job.path / f"{self.name}.json"


def settings_of(
    prepared: Prepared, settings: Sequence[str], numerics: Sequence[str]
) -> tuple[str, ...]:
    """All settings of a variant on a data set.

    Args:
        prepared: The data set.
        settings: What the variant sets; ``{foreground}`` stands for the name of the class.
        numerics: Memory order and number format, the same for all.
    """
    data = prepared.data
    return (
        *_COMMON,
        f"train.patch_px={data.patch_px}",
        f"evaluate.measures={data.measures}",
        *data.settings,
        *numerics,
        *(setting.format(foreground=data.foreground) for setting in settings),
    )


def _command(*arguments: str | Path) -> str:
    """Run ``maskwright``; why it refused or stopped by itself, or nothing."""
    command = [sys.executable, "-m", "maskwright.cli", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, _REFUSED):
        # Interrupted or killed: no result, to be done again.
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning:")]
    return "\n".join(lines).strip() if done.returncode else ""


def train(job: Job) -> dict[str, Any]:
    """Train and score, or read the figures of a training that is done.

    Args:
        job: What to train.

    Returns:
        Figures of the run, with ``failed`` saying why where there are none.
    """
    if job.figures.exists():
        found: dict[str, Any] = json.loads(job.figures.read_text(encoding="utf-8"))
        return found
    shutil.rmtree(job.path, ignore_errors=True)
    job.path.mkdir(parents=True)
    options = job.prepared.data.options.items()
    settings = (*job.settings, f"train.learning_rate={job.rate}")
    failed = _command(
        *("train", job.prepared.root, "--out", job.run, "--split", job.prepared.split),
        *("--steps", str(job.steps), "--seed", str(job.seed)),
        *(part for key, value in options for part in (f"--{key.replace('_', '-')}", value)),
        *(part for setting in settings for part in ("--set", setting)),
    )
    figures: dict[str, Any] = {
        "set": job.prepared.data.name,
        "variant": job.variant,
        "seed": job.seed,
        "rate": job.rate,
        "seconds": job.seconds,
        "steps": job.steps,
        "failed": failed,
    }
    if not failed:
        figures |= _figures(job)
        _check_head(job)
    for name in _NOT_KEPT:
        shutil.rmtree(job.run / name, ignore_errors=True)
    write_text(job.figures, json.dumps(figures, indent=1) + "\n")
    return figures


def _check_head(job: Job) -> None:
    """Refuse a run whose labels of the image did not reach the network."""
    config = json.loads((job.run / "config.json").read_text(encoding="utf-8"))
    if config["data"]["image_labels"] and not config["model"]["image_classes"]:
        raise SystemExit(f"{job.run}: image labels were asked for, but the network has no head")


def _figures(job: Job) -> dict[str, Any]:
    """What the tables need of a finished run."""
    metrics = json.loads((job.run / "metrics.json").read_text(encoding="utf-8"))
    events = read_events(job.run / "events.jsonl")
    ended = [event["elapsed_s"] for event in events if event["kind"] == "step"]
    steps_s = [b - a for a, b in itertools.pairwise(ended)]
    foreground = job.prepared.data.foreground
    return {
        "validation_dice": max(e["mean_dice"] for e in events if e["kind"] == "validation"),
        "step_s": statistics.median(steps_s) if steps_s else None,
        "elapsed_s": ended[-1],
        "measures": _measures(metrics, job, foreground),
        "images": {
            case["case"]: {"group": case["group"], "dice": case["classes"][foreground]["dice"]}
            for case in metrics["cases"]
        },
    }


def _measures(metrics: dict[str, Any], job: Job, foreground: str) -> dict[str, float | None]:
    """The measures of a set by the names that the tables use."""
    classes = metrics["summary"]["classes"]
    own, name = classes[foreground], job.prepared.data.name
    if name == "membranes":
        cells = metrics["partitions"]["cell"]["best_v_rand"]
        return {"Dice": own["dice"]["mean"], "V-Rand": cells[1]}
    if name == "vessels":
        return {"Dice": own["dice"]["mean"], "AUC": own["auc"]["mean"]}
    if name == "lung_tumours":
        # Of halves without tumour Dice is 0 or 1, so all halves are counted together.
        head = metrics.get("image_labels")
        return {
            "pooled Dice": own["dice"]["pooled"],
            AREA_AUC: _area_auc(metrics["cases"], list(classes).index(foreground)),
            HEAD_AUC: head["auc"] if head else None,
        }
    return {
        "Dice": own["dice"]["mean"],
        "objects AP": own["ap"]["pooled"],
        **_objects(metrics, job),
    }


def _area_auc(cases: Sequence[dict[str, Any]], k: int) -> float:
    """AUC for "holds the class" where the score is the number of pixels that were drawn."""
    confusion_NKK = np.array([case["confusion"] for case in cases])
    return auc(confusion_NKK[:, :, k].sum(1), confusion_NKK[:, k].sum(1) > 0)


def _objects(metrics: dict[str, Any], job: Job) -> dict[str, float]:
    """Precision and recall of all objects at an IoU of one half, and the share of merged ones."""
    tallies = [case["objects"][1] for case in metrics["cases"]]
    tp, fp, fn = (sum(tally[key] for tally in tallies) for key in ("tp", "fp", "fn"))
    merged = true = 0
    for case in metrics["cases"]:
        name = f"{case['case']}.png"
        truth_YX = read_mask(job.prepared.root / "masks" / name).array[0]
        drawn_YX = read_mask(job.run / "predictions" / name).array[0] > 0
        matching = match_objects(components(drawn_YX), truth_YX)
        of_true, of_drawn, shared = matching.pairs
        # A true object belongs to the drawn one that holds more than half of it.
        owners = of_drawn[2 * shared > matching.truth_sizes[of_true]]
        merged += int((np.bincount(owners)[owners] > 1).sum()) if owners.size else 0
        true += matching.truth_ids.size
    return {
        "precision of objects": tp / max(1, tp + fp),
        "recall of objects": tp / max(1, tp + fn),
        "merged objects": merged / max(1, true),
    }


def predict_sizes(sizes: Sizes) -> dict[str, Any]:
    """Dice of a trained network on the test images at every size.

    Args:
        sizes: What to predict.

    Returns:
        Dice by size, with ``failed`` saying why where there is none.
    """
    if sizes.figures.exists():
        found: dict[str, Any] = json.loads(sizes.figures.read_text(encoding="utf-8"))
        return found
    job, resized = sizes.job, sizes.resized
    out, scores = job.path / sizes.name, job.path / f"{sizes.name}_scores.json"
    more = ("--tta", "scale") if sizes.averaged else ()
    failed = _command("predict", job.run, resized / "images", "--out", out, "--overwrite", *more)
    failed = failed or _command(
        *("evaluate", out, resized / "masks", "--measures", "", "--json", scores)
    )
    figures: dict[str, Any] = {
        "set": job.prepared.data.name,
        "variant": job.variant,
        "seed": job.seed,
        "averaged": sizes.averaged,
        "failed": failed,
    }
    if not failed:
        cases = json.loads(scores.read_text(encoding="utf-8"))["cases"]
        foreground = job.prepared.data.foreground
        dice = {case["case"]: case["classes"][foreground]["dice"] for case in cases}
        figures["dice"] = {
            f"{factor:g}": statistics.fmean(
                value for name, value in dice.items() if name.endswith(resized_name("", factor))
            )
            for factor in FACTORS
        }
    shutil.rmtree(out, ignore_errors=True)
    write_text(sizes.figures, json.dumps(figures, indent=1) + "\n")
    return figures
