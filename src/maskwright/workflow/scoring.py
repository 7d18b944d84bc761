"""Scores: of two folders of masks, and of the held-out images of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.config import DataConfig
from maskwright.data import naming
from maskwright.data.check import CheckReport
from maskwright.data.dataset import Case
from maskwright.data.files import image_files, subfolders, visible_files
from maskwright.data.labels import LabelMap, recognise
from maskwright.data.problem import raise_first_refusal
from maskwright.data.split import Split
from maskwright.errors import DataError
from maskwright.evaluate.baseline import Baselines, fit_baselines
from maskwright.evaluate.case import CaseScore, score_case
from maskwright.evaluate.summary import Summary, summarise
from maskwright.io.durable import write_text
from maskwright.io.image import Image
from maskwright.io.probabilities import read_probabilities
from maskwright.io.registry import mask_suffix, read_image, read_mask, write_mask
from maskwright.nn.checkpoint import read_model
from maskwright.plan.machine import describe_machine
from maskwright.predict.predictor import most_probable, predict_probabilities
from maskwright.progress import Events
from maskwright.report.figures import write_overlay
from maskwright.workflow.loading import true_classes
from maskwright.workflow.prediction import PROBABILITIES_NAME, Predictor, labels_of
from maskwright.workflow.predictions import Predictions
from maskwright.workflow.run import Run
from maskwright.workflow.settings import parse_labels

_BASELINE_TRAINING_IMAGES = 20


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Args:
        summary: Means with intervals.
        cases: Scores of each image.
    """

    summary: Summary
    cases: tuple[CaseScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the summary, then each case, worst first."""
        names = self.summary.class_names
        worst_first = sorted(self.cases, key=lambda case: (case.mean_dice, case.case))
        return {
            "summary": self.summary.to_json(),
            "cases": [case.to_json(names) for case in worst_first],
        }


def evaluate(
    predictions: str | Path | Predictions,
    truth: str | Path,
    *,
    labels: str | None = None,
    json_file: str | Path | None = None,
    events: Events | None = None,
) -> Evaluation:
    """Score a folder of predicted masks against a folder of true ones, paired by name.

    A truth without a prediction counts as an empty prediction and is listed; a prediction
    without a truth is listed. Where the predictions have a folder ``probabilities``, AUC and
    average precision are computed too.

    Args:
        predictions: Folder of predicted masks, or what ``predict`` returned.
        truth: Folder of true masks, or of a data set that has one.
        labels: ``name=value,name=value`` in class order, the background first. By default what
            the run that predicted has learnt, else recognised from the truth.
        json_file: Where to write all numbers.
        events: Where progress is told.

    Returns:
        Summary and cases.

    Raises:
        DataError: When folders are empty, sizes differ, or values are unknown.

    Example:
        ``evaluate("masks", "truth").summary.headline.mean``
    """
    events = events or Events()
    folder = predictions.folder if isinstance(predictions, Predictions) else Path(predictions)
    truths = _mask_files(Path(truth))
    found = _mask_files(folder)
    label_map = _label_map(folder, truths.values(), labels, events)
    pairs = naming.pair_names(list(found), list(truths))
    matched = {masks[0]: name for name, masks in pairs.items() if len(masks) == 1}
    if not matched:
        raise DataError(
            "evaluate-no-pairs",
            str(folder),
            expected=f"file names that also stand in {truth}",
            found="none",
            remedy="give the masks of the same images the same names",
        )
    scores = []
    for number, (name, path) in enumerate(truths.items(), start=1):
        events.send("reading", number=number, images=len(truths), name=name)
        truth_YX = label_map.encode(read_mask(path), subject=str(path))
        partner = matched.get(name)
        predicted_YX = None
        if partner is not None:
            file = found[partner]
            predicted_YX = label_map.encode(read_mask(file), subject=str(file))
        file = folder / PROBABILITIES_NAME / f"{partner}.tif"
        scores.append(
            score_case(
                name,
                predicted_YX,
                truth_YX,
                label_map.classes,
                probabilities_KYX=read_probabilities(file) if file.is_file() else None,
            )
        )
    extra = [name for name, masks in pairs.items() if len(masks) != 1]
    evaluation = Evaluation(summarise(scores, label_map.names, extra=extra), tuple(scores))
    if json_file is not None:
        write_text(Path(json_file), json.dumps(evaluation.to_json(), indent=2) + "\n")
    return evaluation


def _mask_files(folder: Path) -> dict[str, Path]:
    """Stem → mask file of a folder, or of the mask folder inside it."""
    if folder.is_file():
        return {folder.stem: folder}
    if folder.is_dir():
        inside = subfolders(folder, naming.MASK_FOLDERS)
        masks = image_files(visible_files(inside[0] if inside else folder))
        files = {
            path.stem: path for path in sorted(masks, key=lambda p: naming.natural_key(p.stem))
        }
        if files:
            return files
    raise DataError(
        "evaluate-no-masks",
        str(folder),
        expected="a folder of masks",
        found="no mask" if folder.exists() else "nothing there",
        remedy="check the path",
    )


def _label_map(
    folder: Path, truths: Iterable[Path], labels: str | None, events: Events
) -> LabelMap:
    written_by = labels_of(folder)
    if labels is None and written_by is not None:
        return LabelMap.from_config(written_by)
    config = DataConfig(labels=parse_labels(labels) if labels else ())
    label_map, problems = recognise(((str(p), read_mask(p)) for p in truths), config)
    raise_first_refusal(problems, expected="masks whose values can be told apart")
    if label_map is None:
        raise DataError(
            "evaluate-no-classes",
            str(folder),
            expected="true masks with at least two classes",
            found="none",
            remedy="name the values with --labels background=0,cell=255",
        )
    for line in label_map.describe():
        events.send("message", text=line)
    return label_map


def score_run(run: Run, report: CheckReport, split: Split, *, events: Events) -> Evaluation:
    """Predict and score the held-out images of a run, with the baselines beside it.

    Writes ``predictions/``, ``overlays/``, ``metrics.json`` and the report. Where no image was
    kept for the test, the validation images are scored, and every output says so.

    Args:
        run: The run.
        report: The checked data set.
        split: Which image is held out.
        events: Where progress is told.
    """
    from maskwright.workflow.reporting import write_report

    begun = time.monotonic()
    part, names = ("test", split.test) if split.test else ("validation", split.validation)
    label_map = LabelMap.from_config(run.config.data)
    network, facts = read_model(run.folder.model)
    predictor = Predictor.build(network, run.config.predict)
    by_name = {case.name: case for case in report.cases}
    training = [by_name[name] for name in split.train[:_BASELINE_TRAINING_IMAGES]]
    baselines = fit_baselines(
        ((read_image(case.image).array, true_classes(case, label_map)) for case in training),
        label_map.classes,
        run.config.train.seed,
    )
    scorer = _RunScorer(run, label_map, predictor, baselines)
    for number, name in enumerate(names, start=1):
        events.send("reading", doing="Scoring", number=number, images=len(names), name=name)
        scorer.score(by_name[name])
    evaluation = Evaluation(summarise(scorer.scores, label_map.names), tuple(scorer.scores))
    metrics = {
        "part": part,
        "simulated": _is_simulated(report.root),
        **evaluation.to_json(),
        "baselines": {
            method: summarise(scores, label_map.names).to_json()
            for method, scores in scorer.baseline_scores.items()
        },
        "data": {"root": str(report.root), "hash": facts.get("data_hash"), "facts": report.facts()},
        "model_step": facts.get("step"),
        "prediction_numerics": predictor.numerics,
        "timings_s": {
            "prediction": round(scorer.predicting_s, 3),
            "scoring": round(time.monotonic() - begun - scorer.predicting_s, 3),
        },
        "machine": describe_machine(),
    }
    write_text(run.folder.metrics, json.dumps(metrics, indent=2) + "\n")
    path = write_report(run)
    events.send("report", path=str(path), sentence=evaluation.summary.sentence(f"{part} image"))
    return evaluation


class _RunScorer:
    """Predicts, writes and scores one held-out image after the other."""

    def __init__(
        self, run: Run, label_map: LabelMap, predictor: Predictor, baselines: Baselines
    ) -> None:
        self._run = run
        self._label_map = label_map
        self._predictor = predictor
        self._baselines = baselines
        self.scores: list[CaseScore] = []
        self.baseline_scores: dict[str, list[CaseScore]] = {}
        self.predicting_s = 0.0
        for folder in (run.folder.predictions, run.folder.overlays):
            folder.mkdir(exist_ok=True)

    def score(self, case: Case) -> None:
        image = read_image(case.image)
        truth_YX = true_classes(case, self._label_map)
        probabilities_KYX = self._predict(image)
        classes_YX = most_probable(probabilities_KYX)
        classes = self._label_map.classes
        self.scores.append(
            score_case(
                case.name,
                classes_YX,
                truth_YX,
                classes,
                probabilities_KYX=probabilities_KYX,
                group=case.group,
            )
        )
        for method, predicted_YX in self._baselines.predict(image.array).items():
            self.baseline_scores.setdefault(method, []).append(
                score_case(case.name, predicted_YX, truth_YX, classes, group=case.group)
            )
        folder = self._run.folder
        write_mask(
            folder.predictions / (case.name + mask_suffix(case.image)),
            self._label_map.decode(classes_YX),
        )
        write_overlay(
            folder.overlays / f"{case.name}.png", image.array, truth_YX, classes_YX, classes
        )

    def _predict(self, image: Image) -> NDArray[np.float32]:
        start = time.monotonic()
        probabilities_KYX = predict_probabilities(
            image.array,
            self._predictor.engine,
            self._predictor.rule,
            self._predictor.channels,
            classes=self._predictor.classes,
        )
        self.predicting_s += time.monotonic() - start
        return probabilities_KYX


def _is_simulated(root: Path) -> bool:
    note = root / "README.txt"
    return note.is_file() and "simulated" in note.read_text(encoding="utf-8", errors="replace")
