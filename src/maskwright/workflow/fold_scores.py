"""Scores of all images of a cross-validation, each by the network that never saw it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from maskwright.config import EvaluateConfig, RunConfig, validate
from maskwright.data.split import Split
from maskwright.errors import DataError
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.combining import combine_summaries
from maskwright.evaluate.image_classes import ImageClassScore
from maskwright.evaluate.summary import Summary, summarise
from maskwright.io.durable import make_folder, replace_file, write_text
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Events, read_events
from maskwright.workflow.averaging_gain import combined_gain
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.evaluation import Evaluation
from maskwright.workflow.run import METRICS_FORMAT, Run

FOLDS = "folds"
"""What ``metrics.json`` of a cross-validation calls the part that it scores."""


def is_finished(fold: RunFolder) -> bool:
    """Whether a fold was trained and scored."""
    return fold.metrics.is_file() and fold.model.is_file()


def gather(folder: RunFolder, splits: Sequence[Split], *, events: Events) -> RunConfig:
    """Write scores, masks and calibration of all folds into the folder above them.

    Args:
        folder: The run over all folds, each of which is finished.
        splits: What each holds out.
        events: Where the spread between folds is told.

    Returns:
        The configuration that the folds share, which is that of the first one.

    Raises:
        DataError: ``folds-data`` where the images or masks changed between two folds.
        RunError: When a fold cannot be read.
    """
    runs = [folder.fold(number) for number in range(1, len(splits) + 1)]
    config = runs[0].read_config()
    found = [Run(run, run.read_config()).metrics() for run in runs]
    _check_data(folder, found, splits)
    cases = [CaseScore.from_json(case) for metrics in found for case in metrics["cases"]]
    names = tuple(found[0]["summary"]["class_names"])
    settings = validate(EvaluateConfig, found[0]["settings"], subject=str(runs[0].metrics))
    summary = summarise(cases, names, tolerance=settings.tolerance)
    evaluation = Evaluation(summary, tuple(cases), settings)
    fold_of = {name: n for n, split in enumerate(splits, start=1) for name in split.test}
    values = evaluation.to_json()
    for case in values["cases"]:
        case["fold"] = fold_of[case["case"]]
    gain = combined_gain([each["averaging"] for each in found if each["averaging"]])
    metrics: dict[str, Any] = {
        "format": METRICS_FORMAT,
        "part": FOLDS,
        "simulated": found[0]["simulated"],
        **values,
        "folds": _between(found),
        "baselines": _merged([each["baselines"] for each in found]),
        "regions": _regions(found),
        "oracle_curves": [],
        "ece_before": [],
        "quality": {name: value for each in found for name, value in each["quality"].items()},
        "averaging": None if gain is None else asdict(gain),
        "image_labels": _image_labels(found),
        "roi": found[0]["roi"],
        "data": found[0]["data"],
        "model_step": None,
        "prediction_numerics": found[0]["prediction_numerics"],
        "timings_s": _timings(found, runs),
        "machine": found[0]["machine"],
    }
    _calibration(runs).write(folder)
    parts = {f"fold_{n}": list(split.test) for n, split in enumerate(splits, start=1)}
    write_text(folder.splits, json.dumps(parts, indent=2, ensure_ascii=False) + "\n")
    _copy_masks(runs, folder)
    write_text(folder.metrics, json.dumps(metrics, indent=2) + "\n")
    folder.write_config(config)
    if gain is not None:
        events.send("message", text=gain.sentence())
    events.send("message", text=f"{metrics['folds']['sentence']}.")
    return config


def _check_data(
    folder: RunFolder, found: Sequence[Mapping[str, Any]], splits: Sequence[Split]
) -> None:
    """Refuse folds whose held-out images are not those of the plan, each scored once."""
    for number, (metrics, split) in enumerate(zip(found, splits, strict=True), start=1):
        scored = sorted(case["case"] for case in metrics["cases"])
        if metrics["part"] != "test" or scored != sorted(split.test):
            raise DataError(
                "folds-data",
                str(folder.fold(number).path),
                expected="scores of the images that this fold holds out",
                found=f"scores of {len(scored)} others",
                remedy="delete this folder and go on with --resume",
            )


def _between(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean Dice of each fold, and how far folds differ."""
    summaries = [Summary.from_json(each["summary"]) for each in found]
    means = [summary.headline.mean for summary in summaries]
    known = [mean for mean in means if not math.isnan(mean)]
    mean = float(np.mean(known)) if known else math.nan
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    of = f"Mean Dice of {len(found)} folds"
    told = "undefined" if math.isnan(mean) else f"{mean:.3f}"
    told += "" if math.isnan(spread) else f" ± {spread:.3f} between folds"
    return {
        "each": [
            {
                "fold": number,
                "n": summary.n,
                "n_groups": summary.n_groups,
                "mean_dice": None if math.isnan(summary.headline.mean) else summary.headline.mean,
                "step": each["model_step"],
            }
            for number, (summary, each) in enumerate(zip(summaries, found, strict=True), start=1)
        ],
        "mean": None if math.isnan(mean) else mean,
        "std": None if math.isnan(spread) else spread,
        "sentence": f"{of}: {told}; each image was predicted by the network that never saw it",
    }


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summaries of the other methods, of those that every fold has."""
    return {
        method: combine_summaries([Summary.from_json(each[method]) for each in parts]).to_json()
        for method in parts[0]
        if all(method in each for each in parts)
    }


def _regions(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_place: dict[tuple[str, str], list[Summary]] = {}
    for each in found:
        for entry in each["regions"]:
            place = (entry["region"], entry["method"])
            by_place.setdefault(place, []).append(Summary.from_json(entry["summary"]))
    return [
        {"region": region, "method": method, "summary": combine_summaries(parts).to_json()}
        for (region, method), parts in by_place.items()
        if len(parts) == len(found)
    ]


def _image_labels(found: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    said = [each["image_labels"] for each in found]
    if any(each is None for each in said):
        return None
    cases = {name: case for each in said for name, case in each["cases"].items()}
    score = ImageClassScore(
        tuple(said[0]["classes"]),
        {name: case["label"] for name, case in cases.items()},
        {name: case["probabilities"] for name, case in cases.items()},
    )
    return score.to_json()


def _timings(found: Sequence[Mapping[str, Any]], runs: Sequence[RunFolder]) -> dict[str, float]:
    stages = {stage for each in found for stage in each["timings_s"]}
    summed = {s: round(sum(each["timings_s"].get(s, 0.0) for each in found), 3) for s in stages}
    # A run that was ended twice says so twice.
    ends = [[e["elapsed_s"] for e in read_events(run.events) if e["kind"] == "end"] for run in runs]
    training_s = sum(max(each, default=0.0) for each in ends)
    return {"training": round(training_s, 3), **dict(sorted(summed.items()))}


def _calibration(runs: Sequence[RunFolder]) -> Calibration:
    """The geometric mean of the temperatures: no image is new to all networks of the mean."""
    temperatures = [Calibration.read(run).temperature for run in runs]
    return Calibration(math.exp(sum(map(math.log, temperatures)) / len(temperatures)))


def _copy_masks(runs: Sequence[RunFolder], folder: RunFolder) -> None:
    make_folder(folder.predictions, subject=str(folder.predictions))
    for mask in (mask for run in runs for mask in sorted(run.predictions.iterdir())):
        with replace_file(folder.predictions / mask.name) as temporary:
            shutil.copyfile(mask, temporary)
