"""Scores of masks of any origin against true ones, paired by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.config import EvaluateConfig, validate
from maskwright.data import naming
from maskwright.data.companions import ROI_FOLDERS, find_companions
from maskwright.data.dataset import group_cases
from maskwright.data.problem import Problem, raise_first_refusal
from maskwright.errors import DataError
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.summary import Summary, summarise
from maskwright.io.arrays import is_label_path, open_labels
from maskwright.io.durable import write_text
from maskwright.io.registry import is_volume
from maskwright.io.table import write_table
from maskwright.progress import Events
from maskwright.workflow.masks import mask_files, pair, understand
from maskwright.workflow.pairs import PairScorer
from maskwright.workflow.prediction import is_overlapping, labels_of
from maskwright.workflow.prediction_whole import PROBABILITIES_NAME
from maskwright.workflow.predictions import Predictions
from maskwright.workflow.settings import resolve_data

ONE_STACK = (
    "The images are numbered as the slices of one stack. Slices are alike, so there is no interval "
    "over them; --group-by .+ says that each image stands alone."
)
_SCREEN_FORMATS = {".png", ".jpg", ".jpeg", ".bmp", ".gif"}


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Args:
        summary: Means with intervals.
        cases: Scores of each image.
        settings: What was measured, and how.
        partitions: Scores of partitions at each threshold, by class, where they were asked for
            and there are probabilities.
    """

    summary: Summary
    cases: tuple[CaseScore, ...]
    settings: EvaluateConfig
    partitions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def worst_first(self) -> list[CaseScore]:
        """The cases in the order of their mean Dice."""
        return sorted(self.cases, key=lambda case: (case.mean_dice, case.case))

    def to_json(self) -> dict[str, Any]:
        """Plain values: the summary, then each case, worst first."""
        names = self.summary.class_names
        return {
            "summary": self.summary.to_json(),
            "settings": self.settings.model_dump(mode="json"),
            "partitions": dict(self.partitions),
            "cases": [case.to_json(names) for case in self.worst_first],
        }

    def notes(self) -> list[str]:
        """What a reader must know of the means: worst cases taken, values left out."""
        names = ("the image", *self.summary.class_names[1:])
        by_flag: dict[tuple[int, str], list[str]] = {}
        for case in self.worst_first:
            for flag in case.flags:
                by_flag.setdefault(flag, []).append(case.case)
        lines = [
            f"{names[k]} in {', '.join(cases)}: {text}" for (k, text), cases in by_flag.items()
        ]
        by_reason: dict[tuple[str, str, str], list[str]] = {}
        for item in self.summary.undefined:
            key = (self.summary.title(item.measure), item.class_name, item.reason)
            by_reason.setdefault(key, []).append(item.case)
        lines += [
            f"{measure} of {name} has no value for {', '.join(cases)}: {reason}"
            for (measure, name, reason), cases in by_reason.items()
        ]
        return lines

    def rows(self) -> list[dict[str, str | int | float | bool | None]]:
        """A table with one row for each image and class, for spreadsheets and statistics."""
        rows: list[dict[str, str | int | float | bool | None]] = []
        for case in self.worst_first:
            values = case.to_json(self.summary.class_names)["classes"]
            for k, name in enumerate(self.summary.class_names):
                counts = case.counts(k)
                rows.append(
                    {
                        "case": case.case,
                        "group": case.group,
                        "class": name,
                        "missing": case.missing,
                        "true_px": counts.true,
                        "predicted_px": counts.predicted,
                        **values[name],
                        "flags": "; ".join(text for of, text in case.flags if of in (0, k)),
                    }
                )
        return rows


def evaluate(
    predictions: str | Path | Predictions,
    truth: str | Path,
    *,
    labels: str | None = None,
    objects: bool | None = None,
    roi: str | Path | None = None,
    group_by: str | None = None,
    tolerance: float | None = None,
    spacing: Sequence[float] | None = None,
    measures: str | Sequence[str] | None = None,
    json_file: str | Path | None = None,
    table_file: str | Path | None = None,
    report_file: str | Path | None = None,
    images: str | Path | None = None,
    events: Events | None = None,
) -> Evaluation:
    """Score predicted masks against true ones, paired by name.

    Takes image files, TIFF stacks, NIfTI, MetaImage, NRRD, NumPy and Zarr arrays, made by any
    tool. A truth without a prediction counts as an empty prediction and is listed; a prediction
    without a truth is listed. Where the predictions have a folder ``probabilities``, ranking and
    calibration are measured too. Masks of more than 2^28 pixels are read block by block and only
    their overlap is counted.

    Args:
        predictions: Folder of predicted masks, one mask, or what ``predict`` returned.
        truth: Folder of true masks, one mask, or the folder of a data set that has some.
        labels: ``name=value,name=value`` in class order, the background first. By default what
            the run that predicted has learnt, else recognised from the truth.
        objects: Whether values of the truth number objects; recognised by default.
        roi: Folder of masks, or one mask, whose non-zero pixels are the region of interest; by
            default a folder ``roi`` of the data set, where there is one.
        group_by: Regular expression that names what must not be split, such as a patient;
            recognised by default.
        tolerance: Tolerance of the surface Dice in mm, or in pixels where sizes are unknown.
        spacing: Pixel size in mm along each axis of the array (Z, Y, X), instead of the files'.
        measures: Groups of measures beyond overlap (``surface``, ``objects``, ``partition``,
            ``topology``, ``calibration``, ``ranking``), or ``all``.
        json_file: Where to write all numbers.
        table_file: Where to write one row an image and class (``.csv``, ``.parquet``, ``.json``).
        report_file: Where to write a report as one HTML file.
        images: Folder of the images, so that the report shows them.
        events: Where progress is told.

    Returns:
        Summary and cases.

    Raises:
        DataError: When folders are empty, sizes differ, or values are unknown.

    Example:
        ``evaluate("masks", "truth").summary.headline.mean``
    """
    events = events or Events()
    given = {"tolerance": tolerance, "spacing_mm": spacing, "measures": measures}
    config = validate(
        EvaluateConfig,
        {key: value for key, value in given.items() if value is not None},
        subject="evaluate",
    )
    folder = predictions.folder if isinstance(predictions, Predictions) else Path(predictions)
    truths = mask_files(Path(truth))
    found = mask_files(folder)
    matched, extra = _matched(folder, Path(truth), found, truths)
    written_by = labels_of(folder) if labels is None and objects is None else None
    data = written_by or resolve_data(labels=labels, objects=objects)
    true_set, predicted_set = understand(
        truths, found, data, events, same_values=written_by is not None
    )
    problems: list[Problem] = []
    groups, _ = group_cases(Path(truth), list(truths), group_by, problems)
    raise_first_refusal(problems, expected="a group for every name")
    volumes = any(is_volume(path) for path in truths.values())
    if group_by is None and naming.is_sequence(list(truths)) and not volumes:
        groups = dict.fromkeys(truths, naming.STACK)
        events.send("message", text=ONE_STACK)
    rois = _regions_of_interest(roi, Path(truth), list(truths), events)
    scorer = PairScorer(
        true_set,
        predicted_set,
        config,
        _spacings(truths, config, events),
        rois,
        folder / PROBABILITIES_NAME,
        overlapping=is_overlapping(folder),
    )
    scores = []
    for number, name in enumerate(truths, start=1):
        events.send("reading", doing="Scoring", number=number, images=len(truths), name=name)
        scores.append(scorer.score(name, matched.get(name), groups[name]))
    names = true_set.label_map.names
    evaluation = Evaluation(
        summarise(scores, names, extra=extra, tolerance=config.tolerance),
        tuple(scores),
        config,
        scorer.partitions.to_json(),
    )
    if json_file is not None:
        write_text(Path(json_file), json.dumps(evaluation.to_json(), indent=2) + "\n")
    if table_file is not None:
        write_table(Path(table_file), evaluation.rows())
    if report_file is not None:
        from maskwright.workflow.evaluation_report import write_evaluation_report

        write_evaluation_report(
            Path(report_file),
            f"{folder.resolve().name} against {Path(truth).resolve().name}",
            evaluation,
            true_set,
            predicted_set,
            matched,
            rois,
            None if images is None else Path(images),
        )
    return evaluation


def _matched(
    folder: Path, truth: Path, found: Mapping[str, Path], truths: Mapping[str, Path]
) -> tuple[dict[str, str], list[str]]:
    if len(found) == len(truths) == 1 and is_label_path(folder) and is_label_path(truth):
        # Two files that a person names belong together whatever they are called.
        return {next(iter(truths)): next(iter(found))}, []
    matched, extra = pair(found, truths)
    if not matched:
        raise DataError(
            "evaluate-no-pairs",
            str(folder),
            expected=f"file names that also stand in {truth}",
            found="none",
            remedy="give the masks of the same images the same names",
        )
    return matched, extra


def _spacings(
    truths: Mapping[str, Path], config: EvaluateConfig, events: Events
) -> dict[str, tuple[float, ...] | None]:
    """Pixel size of each case; in pixels for all where one does not know it."""
    if "surface" not in config.measures and "objects" not in config.measures:
        return dict.fromkeys(truths)
    if config.spacing_mm is not None:
        return dict.fromkeys(truths, config.spacing_mm)
    known = {
        # The dots per inch of a PNG or JPEG are those of a screen or printer.
        name: None if path.suffix.lower() in _SCREEN_FORMATS else open_labels(path).spacing_mm
        for name, path in truths.items()
    }
    without = [name for name, spacing in known.items() if spacing is None]
    if without:
        why = "no mask says its pixel size"
        if len(without) < len(known):
            why = f"{len(without)} masks do not say their pixel size, such as {without[0]}"
        events.send("message", text=f"Distances are in pixels: {why} (--spacing sets it in mm).")
        return dict.fromkeys(truths)
    return known


def _regions_of_interest(
    roi: str | Path | None, truth: Path, names: list[str], events: Events
) -> dict[str, Path]:
    if roi is None:
        found = find_companions(truth, names, ROI_FOLDERS) if truth.is_dir() else None
        if found is None or found.folder is None:
            return {}
        events.send("message", text=f"Only pixels inside the masks of {found.folder} count.")
        files = dict(found.files)
    elif is_label_path(Path(roi)):
        return dict.fromkeys(names, Path(roi))
    else:
        regions = mask_files(Path(roi))
        files = {name: regions[region] for name, region in pair(regions, names)[0].items()}
    without = [name for name in names if name not in files]
    if without:
        raise DataError(
            "roi-missing",
            str(roi or "roi"),
            expected="a region of interest for every image",
            found=f"none for {len(without)} images, such as {without[0]}",
            remedy="add it under the image's name, white where pixels count",
        )
    return files
