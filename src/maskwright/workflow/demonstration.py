"""The demonstration: sample, train, predict, evaluate, report."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from maskwright.data.dataset import find_cases
from maskwright.data.sample import write_sample
from maskwright.errors import OutputError
from maskwright.io.registry import image_suffix, write_mask
from maskwright.progress import Events
from maskwright.workflow.evaluation import Evaluation, evaluate
from maskwright.workflow.run import Run
from maskwright.workflow.training import train

SAMPLE_IMAGES = 24
SAMPLE_PX = 256
SAMPLE_LABELS = "cell=0,membrane=255"


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration leaves.

    Args:
        run: The trained network.
        evaluation: Scores of the held-out images.
        masks: Folder of the predicted masks.
        simulated: Whether the data were the embedded sample.
    """

    run: Run
    evaluation: Evaluation
    masks: Path
    simulated: bool


def demonstrate(
    data: str | Path | None,
    out: str | Path,
    *,
    minutes: float,
    overwrite: bool = False,
    events: Events | None = None,
) -> Demonstration:
    """Go the whole way, on the simulated sample or on a person's own folder.

    Args:
        data: Folder with images and masks; ``None`` writes the simulated sample.
        out: Folder for everything: ``sample/``, ``run/``, ``masks/``, ``truth/``.
        minutes: Training time.
        overwrite: Replace an earlier demonstration in ``out``.
        events: Where progress is told.

    Raises:
        OutputError: When ``out`` holds something that is not an earlier demonstration.
    """
    events = events or Events()
    target = Path(out)
    _clear(target, overwrite=overwrite)
    if data is None:
        events.send("stage", text="Sample: simulated sections of tissue, not real data")
        write_sample("membranes", target / "sample", images=SAMPLE_IMAGES, size_px=SAMPLE_PX)
    root = target / "sample" if data is None else Path(data)
    events.send("stage", text=f"Train: {minutes:g} minutes on {root}")
    # Simulated sections are numbered, but they are not the slices of one stack.
    alone = ".+" if data is None else None
    run = train(
        root,
        target / "run",
        minutes=minutes,
        events=events,
        labels=SAMPLE_LABELS if data is None else None,
        group_by=alone,
    )
    split = json.loads(run.folder.splits.read_text(encoding="utf-8"))
    held = split["test"] or split["validation"]
    events.send("stage", text=f"Predict: {len(held)} held-out images")
    cases = {case.name: case for case in find_cases(root).cases}
    masks = run.predict([cases[name].image for name in held], target / "masks", events=events)
    events.send("stage", text="Evaluate: predicted masks against the held-out truth")
    truth = target / "truth"
    truth.mkdir()
    for name in held:
        mask = cases[name].mask
        if cases[name].objects:
            write_mask(truth / f"{name}.tif", cases[name].read_mask())
        elif mask is not None:
            shutil.copy2(mask, truth / f"{name}{image_suffix(mask)}")
    evaluation = evaluate(
        masks, truth, json_file=target / "evaluation.json", group_by=alone, events=events
    )
    return Demonstration(run, evaluation, target / "masks", data is None)


def _clear(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        return
    earlier = (target / "run").is_dir() and {p.name for p in target.iterdir()} <= {
        "sample",
        "run",
        "masks",
        "truth",
        "evaluation.json",
    }
    if not (overwrite and earlier):
        raise OutputError(
            "demo-exists",
            f"--out {target}",
            expected="a new or empty folder",
            found="an earlier demonstration" if earlier else "one that holds other files",
            remedy="replace it with --overwrite" if earlier else "choose another folder",
        )
    shutil.rmtree(target)
