"""Scores of the held-out images of a run, beside what other methods reach on them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data import naming
from maskwright.data.case import Case
from maskwright.data.check import CheckReport
from maskwright.data.labelmap import LabelMap
from maskwright.data.split import Split
from maskwright.evaluate.baseline import Baselines, fit_baselines
from maskwright.evaluate.calibration import Reliability, ece, reliability
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.image_classes import ImageClassScore
from maskwright.evaluate.measuring import score_case
from maskwright.evaluate.quality import image_quality
from maskwright.evaluate.summary import Summary, summarise
from maskwright.evaluate.thresholds import ThresholdSweep
from maskwright.io.durable import write_text
from maskwright.io.image import Image
from maskwright.io.registry import write_mask
from maskwright.nn.checkpoint import read_model
from maskwright.plan.machine import describe_machine
from maskwright.predict.predictor import ImagePrediction
from maskwright.progress import Events
from maskwright.report.figures import volume_slices, write_overlay, write_panels
from maskwright.workflow.averaging_gain import measure_gain
from maskwright.workflow.calibrating import Calibration, calibrate
from maskwright.workflow.case_reader import CaseReader
from maskwright.workflow.evaluation import ONE_STACK, Evaluation
from maskwright.workflow.fitting import labels_of_images
from maskwright.workflow.gating import gate_of
from maskwright.workflow.object_choice import HeldImage, choose_objects, objects_of
from maskwright.workflow.partitions import PartitionTables
from maskwright.workflow.predictor import Predictor
from maskwright.workflow.run import METRICS_FORMAT, Run

BASELINE_IMAGES = 20
"""Training images that the baselines see."""

SECOND_OBSERVER = "second observer"


def score_run(run: Run, report: CheckReport, split: Split, *, events: Events) -> Run:
    """Predict and score the held-out images of a run, with the baselines beside it.

    The validation images choose temperature, thresholds and what an object is first. Writes
    ``predictions/``, ``overlays/``, ``calibration.json``, ``metrics.json``, ``figures/`` and the
    report. Where no image was kept for the test, the validation images are scored, and every
    output says so.

    Args:
        run: The run.
        report: The checked data set.
        split: Which image is held out.
        events: Where progress is told.

    Returns:
        The run, with the settings that the validation images chose.
    """
    from maskwright.workflow.reporting import write_report

    begun = time.monotonic()
    part, names = ("test", split.test) if split.test else ("validation", split.validation)
    label_map = LabelMap.from_config(run.config.data)
    opened = [read_model(file) for file in run.folder.weights()]
    networks, facts = [network for network, _ in opened], opened[-1][1]
    gate = gate_of(run.config.predict, run.config.data, networks[0].config)
    border = run.config.data.target == "border"
    predictor = Predictor.build(
        networks, run.config.predict, gate=gate, border=border, data=run.config.data
    )
    by_name = {case.name: case for case in report.cases}
    if report.sequence:
        # The split keeps slices apart in blocks; as evidence they are one.
        by_name = {name: replace(case, group=naming.STACK) for name, case in by_name.items()}
        events.send("message", text=ONE_STACK)
    reader = CaseReader(run, report, label_map, predictor)
    held = [by_name[name] for name in split.validation]
    if held:
        events.send("busy", stage="calibrating", text="Calibrating on the validation images")
        calibration = calibrate(
            list(split.validation),
            lambda name: reader.predicted(by_name[name]),
            label_map.classes,
            int(report.mean_pixels) * len(held),
        )
    else:
        calibration = Calibration()
    calibration.write(run.folder)
    if label_map.kind == "objects" and label_map.classes == 2 and held:
        events.send("busy", stage="choosing", text="Choosing how objects are found")
        drawn = [by_name[name] for name in split.train[:BASELINE_IMAGES]]
        run = _with_objects_chosen(run, reader, calibration, held, drawn, events)
    events.send("busy", stage="comparing", text="Comparing with the average over mirror images")
    gain = measure_gain(predictor, held, reader.pair, label_map.classes, run.config.train)
    if gain is not None:
        events.send("message", text=gain.sentence())
    events.send("busy", stage="baselines", text="Fitting the baselines")
    training = [by_name[name] for name in split.train[:BASELINE_IMAGES]]
    baselines = fit_baselines(
        (
            (image.array, true.classes_YX, image.spacing_mm, true.valid_YX)
            for image, true in (reader.pair(case) for case in training)
        ),
        label_map.classes,
        run.config.train.seed,
    )
    scorer = _RunScorer(run, reader, calibration, baselines)
    for number, name in enumerate(names, start=1):
        events.send("reading", doing="Scoring", number=number, images=len(names), name=name)
        scorer.score(by_name[name])
    events.send("busy", stage="reporting", text="Writing the report")
    tolerance = run.config.evaluate.tolerance
    summary = summarise(scorer.scores, label_map.names, tolerance=tolerance)
    evaluation = Evaluation(summary, tuple(scorer.scores), run.config.evaluate)
    metrics = {
        "format": METRICS_FORMAT,
        "part": part,
        "simulated": _is_simulated(report.root),
        **evaluation.to_json(),
        "baselines": scorer.others(),
        **scorer.extras(),
        "averaging": None if gain is None else asdict(gain),
        "image_labels": _image_labels(run, report, scorer, events),
        "roi": reader.roi_sentence,
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
    events.send("report", path=str(path), sentence=summary.sentence(f"{part} image"))
    return run


def _with_objects_chosen(
    run: Run,
    reader: CaseReader,
    calibration: Calibration,
    held: Sequence[Case],
    drawn: Sequence[Case],
    events: Events,
) -> Run:
    """The run with what finds the objects of its validation images best."""

    def images() -> Iterator[HeldImage]:
        for case in held:
            image, true = reader.pair(case)
            found = reader.prediction(image)
            calibrated_KYX = calibration.apply(found.probabilities_KYX)
            yield HeldImage(
                replace(found, probabilities_KYX=calibrated_KYX),
                true.mask.array[0],
                image.spacing_mm,
                true.valid_YX,
            )

    sizes_px: list[int] = []
    for case in drawn:
        numbers_YX = case.read_mask().array[0]
        sizes_px += np.unique(numbers_YX[numbers_YX > 0], return_counts=True)[1].tolist()
    choice = choose_objects(images(), sizes_px, run.config.predict)
    if choice is None:
        return run
    events.send("message", text=choice.sentence())
    found = {"objects": choice.method, "min_object_px": choice.min_px}
    predict = run.config.predict.model_copy(update=found)
    run = Run(run.folder, run.config.model_copy(update={"predict": predict}))
    run.folder.write_config(run.config)
    return run


def _image_labels(
    run: Run, report: CheckReport, scorer: _RunScorer, events: Events
) -> dict[str, Any] | None:
    """Scores of the labels of whole images, where the network says them."""
    truth = labels_of_images(run.config.data, report)
    if truth is None:
        return None
    found = scorer.image_probabilities
    score = ImageClassScore(truth.classes, {name: truth.label_of[name] for name in found}, found)
    events.send("message", text=score.sentence())
    return score.to_json()


class _RunScorer:
    """Predicts, writes and scores one held-out image after the other."""

    def __init__(
        self, run: Run, reader: CaseReader, calibration: Calibration, baselines: Baselines
    ) -> None:
        self._run = run
        self._reader = reader
        self._calibration = calibration
        self._baselines = baselines
        self._config = run.config.evaluate
        self._classes = reader.label_map.classes
        self._others: dict[str, list[CaseScore]] = {}
        self._regions: dict[tuple[str, str], list[CaseScore]] = {}
        self._sweeps = [ThresholdSweep() for _ in range(1, self._classes)]
        self._raw: list[Reliability] = []
        self._quality: dict[str, dict[str, float | None]] = {}
        self._partitions = PartitionTables(reader.label_map.names)
        self.scores: list[CaseScore] = []
        self.image_probabilities: dict[str, list[float]] = {}
        self.predicting_s = 0.0
        for folder in (run.folder.predictions, run.folder.overlays):
            folder.mkdir(exist_ok=True)

    def score(self, case: Case) -> None:
        image, true = self._reader.pair(case)
        label_map = self._reader.label_map
        truth, valid = true.classes_YX, true.valid_YX
        numbered = label_map.kind == "objects" and self._classes == 2
        objects = true.mask.array[0] if numbered else None
        start = time.monotonic()
        found = self._reader.prediction(image)
        self.predicting_s += time.monotonic() - start
        raw_KYX, classes_YX = found.probabilities_KYX, found.classes_YX
        self.image_probabilities[case.name] = found.image_probabilities_L.tolist()
        probabilities_KYX = self._calibration.apply(raw_KYX)
        self.scores.append(
            score_case(
                case.name,
                classes_YX,
                truth,
                self._classes,
                probabilities=probabilities_KYX,
                valid=valid,
                group=case.group,
                spacing_mm=self._config.spacing_mm or _spacing_of(image, case),
                config=self._config,
                prediction_objects=self._objects(
                    replace(found, probabilities_KYX=probabilities_KYX), image, numbered=numbered
                ),
                truth_objects=objects,
            )
        )
        self._score_others(case, image, classes_YX, truth, valid)
        self._look_further(case, image, raw_KYX, probabilities_KYX, truth, objects, valid)
        folder = self._run.folder
        write_mask(
            folder.predictions / (case.name + case.mask_suffix),
            label_map.decode(classes_YX).placed_as(image),
        )
        _draw(folder.overlays, case.name, image.array, truth, classes_YX, self._classes, valid)

    def _objects(
        self, found: ImagePrediction, image: Image, *, numbered: bool
    ) -> NDArray[np.uint32] | None:
        """Predicted objects where masks number them, else connected pieces hold."""
        if not numbered:
            return None
        settings = self._run.config.predict
        return objects_of(
            found, image.spacing_mm, settings.object_method, settings.smallest_object_px
        )

    def _score_others(
        self,
        case: Case,
        image: Image,
        classes_YX: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None,
    ) -> None:
        methods = dict(self._baselines.predict(image.array, image.spacing_mm))
        second = self._reader.second(case)
        if second is not None:
            methods[SECOND_OBSERVER] = second
        for method, predicted in methods.items():
            self._others.setdefault(method, []).append(self._overlap(case, predicted, truth, valid))
        if valid is None:
            return
        people = {"network": classes_YX}
        if second is not None:
            people[SECOND_OBSERVER] = second
        for region, where in (("inside", valid), ("outside", ~valid), ("whole image", None)):
            for method, predicted in people.items():
                scores = self._regions.setdefault((region, method), [])
                scores.append(self._overlap(case, predicted, truth, where))

    def _overlap(
        self,
        case: Case,
        predicted: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None,
    ) -> CaseScore:
        return score_case(case.name, predicted, truth, self._classes, valid=valid, group=case.group)

    def _look_further(
        self,
        case: Case,
        image: Image,
        raw_KYX: NDArray[np.float32],
        probabilities_KYX: NDArray[np.float32],
        truth: NDArray[np.uint8],
        objects: NDArray[Any] | None,
        valid: NDArray[np.bool_] | None,
    ) -> None:
        """What the report tells besides scores: thresholds, calibration, quality, partitions."""
        self._quality[case.name] = image_quality(image.array, truth).to_json()
        raw = [
            reliability(raw_KYX[k], truth == k, self._config.bins, valid)
            for k in range(self._classes)
        ]
        self._raw = [a + b for a, b in zip(self._raw, raw, strict=True)] if self._raw else raw
        for k, sweep in enumerate(self._sweeps, start=1):
            sweep.add(probabilities_KYX[k], truth == k, valid)
        if "partition" in self._config.measures:
            self._partitions.add(probabilities_KYX, truth, objects, valid)

    def others(self) -> dict[str, dict[str, Any]]:
        """Summaries of the other methods. A second observer may not have seen every image."""
        return {method: self._summary(scores).to_json() for method, scores in self._others.items()}

    def _summary(self, scores: list[CaseScore]) -> Summary:
        return summarise(scores, self._reader.label_map.names)

    def extras(self) -> dict[str, Any]:
        """What the report needs besides the scores, as plain values."""
        return {
            "regions": [
                {"region": region, "method": method, "summary": self._summary(scores).to_json()}
                for (region, method), scores in self._regions.items()
            ],
            "oracle_curves": [asdict(sweep.result()) for sweep in self._sweeps],
            "ece_before": [ece(bins) for bins in self._raw],
            "quality": self._quality,
            "partitions": self._partitions.to_json(),
        }


def _spacing_of(image: Image, case: Case) -> tuple[float, ...] | None:
    """Pixel size, of volumes and slices only: that of pictures is often a screen's or printer's."""
    return image.spacing_mm if image.array.ndim == 4 or case.z is not None else None


def _draw(
    folder: Path,
    name: str,
    image: NDArray[Any],
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    classes: int,
    valid: NDArray[np.bool_] | None,
) -> None:
    """One picture of an image; of a volume a folder with its most telling slices."""
    if truth.ndim == 2:
        write_overlay(folder / f"{name}.png", image, truth, predicted, classes, valid=valid)
        return
    (folder / name).mkdir(exist_ok=True)
    slices = volume_slices(image, truth, predicted, classes, valid=valid)
    for rank, (z, panels) in enumerate(slices):
        write_panels(folder / name / f"{rank:02d}_slice_{z:04d}.png", panels)


def _is_simulated(root: Path) -> bool:
    note = root / "README.txt"
    return note.is_file() and "simulated" in note.read_text(encoding="utf-8", errors="replace")
