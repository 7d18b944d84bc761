"""Several methods on the same images: which is better, and is that certain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from maskwright.errors import ConfigError
from maskwright.evaluate.catalogue import CATALOGUE
from maskwright.evaluate.comparison import Comparison, compare_methods
from maskwright.evaluate.overlap import MEASURES
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Events
from maskwright.workflow.evaluation import Evaluation, evaluate


def compare(
    methods: Sequence[str | Path],
    truth: str | Path,
    *,
    measure: str = "dice",
    class_name: str | None = None,
    labels: str | None = None,
    objects: bool | None = None,
    roi: str | Path | None = None,
    group_by: str | None = None,
    tolerance: float | None = None,
    spacing: Sequence[float] | None = None,
    json_file: str | Path | None = None,
    seed: int = 0,
    events: Events | None = None,
) -> Comparison:
    """Compare methods image by image: paired differences, their interval, and rank stability.

    Args:
        methods: Two or more folders of predictions, or run folders (whose held-out predictions
            are taken).
        truth: Folder of true masks, or of a data set that has some.
        measure: The measure compared.
        class_name: The class; by default the mean of the classes after the first for Dice, and
            the second class for other measures.
        labels: As in :func:`~maskwright.workflow.evaluation.evaluate`.
        objects: As there.
        roi: As there.
        group_by: As there.
        tolerance: As there.
        spacing: As there.
        json_file: Where to write all numbers.
        seed: Seed of the resampling.
        events: Where progress is told.

    Returns:
        The comparison, best method first.

    Raises:
        ConfigError: For fewer than two methods, an unknown measure or class, or a measure without
            a better end.
        DataError: As for ``evaluate``.

    Example:
        ``compare(["masks_a", "masks_b"], "truth").sentence()``
    """
    events = events or Events()
    entry = CATALOGUE.get(measure)
    if entry is None or entry.best == "zero":
        known = [name for name, m in CATALOGUE.items() if m.best != "zero"]
        raise ConfigError(
            "measure-unknown",
            "--measure",
            expected="a measure that has a better end",
            found=repr(measure),
            remedy=f"use one of {', '.join(known)}",
        )
    folders = _folders(methods)
    evaluations: dict[str, Evaluation] = {}
    for name, folder in folders.items():
        events.send("message", text=f"Scoring {name}")
        evaluations[name] = evaluate(
            folder,
            truth,
            labels=labels,
            objects=objects,
            roi=roi,
            group_by=group_by,
            tolerance=tolerance,
            spacing=spacing,
            measures=[] if measure in MEASURES else [entry.group],
            events=events,
        )
    first = next(iter(evaluations.values()))
    class_index = _class_index(class_name, first.summary.class_names)
    whole = class_name is None and measure == "dice"
    values = {
        name: [
            case.mean_dice if whole else case.value(measure, class_index) for case in found.cases
        ]
        for name, found in evaluations.items()
    }
    names = first.summary.class_names
    comparison = compare_methods(
        values,
        [case.case for case in first.cases],
        [case.group for case in first.cases],
        measure=measure,
        class_name=" and ".join(names[1:]) if whole else names[class_index],
        higher_is_better=entry.best == "high",
        seed=seed,
    )
    if json_file is not None:
        write_text(Path(json_file), json.dumps(comparison.to_json(), indent=2) + "\n")
    return comparison


def _folders(methods: Sequence[str | Path]) -> dict[str, Path]:
    """Folder of predictions by the name of the method."""
    if len(methods) < 2:
        raise ConfigError(
            "compare-few",
            "compare",
            expected="two or more folders of predictions",
            found=str(len(methods)),
            remedy="name the folders one after the other: maskwright compare A B --truth masks",
        )
    folders: dict[str, Path] = {}
    for method in methods:
        path = Path(method)
        name = path.resolve().name
        if name in folders:
            name = str(method)
        run = RunFolder(path)
        folders[name] = run.predictions if run.config.is_file() else path
    return folders


def _class_index(class_name: str | None, names: Sequence[str]) -> int:
    if class_name is None:
        return 1
    if class_name not in names:
        raise ConfigError(
            "class-unknown",
            "--class",
            expected="one of " + ", ".join(names),
            found=repr(class_name),
            remedy="use a name of that list, or name the classes with --labels",
        )
    return list(names).index(class_name)
