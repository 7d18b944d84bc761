"""The report of a run, from what the run folder holds."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from maskwright import geometry
from maskwright.config import RunConfig
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.summary import Summary
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder
from maskwright.progress import Event, read_events
from maskwright.report.curves import curves_svg, validations
from maskwright.report.figures import overlay_uri
from maskwright.report.html import ReportCase, ReportData, render
from maskwright.workflow.run import Run, open_run

_PACKAGES = ("maskwright", "torch", "numpy", "scipy", "scikit-image", "tifffile", "pillow")


def report(run: str | Path) -> Path:
    """Write a finished run's ``report.html`` again.

    Args:
        run: The run folder.

    Returns:
        The file.

    Raises:
        RunError: When the run was not scored yet.
    """
    return write_report(open_run(run))


def write_report(run: Run) -> Path:
    """Write the report from ``metrics.json``, ``events.jsonl``, ``splits.json`` and overlays."""
    folder = run.folder
    metrics = run.metrics()
    events = read_events(folder.events)
    cases = [CaseScore.from_json(case) for case in metrics["cases"]]
    summary = Summary.from_json(metrics["summary"])
    data = ReportData(
        title=folder.path.resolve().name,
        simulated=bool(metrics["simulated"]),
        summary=summary,
        baselines={name: Summary.from_json(v) for name, v in metrics["baselines"].items()},
        curves=curves_svg(events),
        cases=[_case(folder, case, summary.class_names, len(cases)) for case in cases],
        config=run.config.model_dump(mode="json"),
        split=folder.read_json(folder.splits),
        facts=[*metrics["data"]["facts"], f"SHA-256 of the training data: {_hash(metrics)}"],
        warnings=_warnings(metrics, events),
        timings_s=_timings(metrics, events),
        versions={name: version(name) for name in _PACKAGES},
        hardware={**metrics["machine"], "numbers": _numerics(run.config, metrics)},
        commands=_commands(run, metrics),
        model=_model(run.config, metrics),
        images="held-out image" if metrics["part"] == "test" else "validation image",
        validations=validations(events),
    )
    write_text(folder.report, render(data))
    return folder.report


def _case(folder: RunFolder, case: CaseScore, names: tuple[str, ...], images: int) -> ReportCase:
    dice = {name: case.value("dice", k) for k, name in enumerate(names)}
    predicted = np.sum(case.confusion, axis=0)
    flags = ["no prediction"] if case.missing else []
    if np.count_nonzero(predicted) == 1 and not case.missing:
        flags.append("one class only")
    picture = folder.overlays / f"{case.case}.png"
    uri = None
    if picture.is_file():
        from PIL import Image

        with Image.open(picture) as file:
            uri = overlay_uri(np.asarray(file.convert("RGB")), images)
    return ReportCase(case.case, dice, case.mean_dice, case.group, tuple(flags), uri)


def _warnings(metrics: dict[str, Any], events: list[Event]) -> list[str]:
    texts = [str(event["text"]) for event in events if event["kind"] == "warning"]
    if metrics["part"] != "test":
        texts.insert(
            0,
            "No image was kept for a test: these are the validation images, which also chose the "
            "weights, so the scores are too good by an unknown amount. Annotate more images, or "
            "name test images with --split.",
        )
    return list(dict.fromkeys(texts))


def _hash(metrics: dict[str, Any]) -> str:
    return str(metrics["data"]["hash"] or "not recorded")


def _timings(metrics: dict[str, Any], events: list[Event]) -> dict[str, float]:
    training = max(
        (float(e.get("elapsed_s", 0)) for e in events if e["kind"] in ("step", "end")), default=0.0
    )
    return {"training": training, **metrics["timings_s"]}


def _numerics(config: RunConfig, metrics: dict[str, Any]) -> str:
    train = config.train
    return f"training {train.layout} {train.precision}, prediction {metrics['prediction_numerics']}"


def _commands(run: Run, metrics: dict[str, Any]) -> list[str]:
    """The commands that repeat this run with its own split, seed and number of steps."""
    from maskwright.nn.presets import preset

    plain = preset("unet").model_dump(mode="json")
    own = run.config.model_dump(mode="json")
    changed = [
        f"--set {section}.{key}={_value(value)}"
        for section in ("model", "train", "predict")
        for key, value in own[section].items()
        if value != plain[section][key]
        and key not in ("steps", "minutes", "seed", "channels")
        and key != "classes"
        and key != "augment"
    ]
    changed += [
        f"--set train.augment.{key}={_value(value)}"
        for key, value in own["train"]["augment"].items()
        if value != plain["train"]["augment"][key]
    ]
    train = (
        f"maskwright train {metrics['data']['root']} --out repeated "
        f"--split {run.folder.splits} --steps {own['train']['steps']} --seed {own['train']['seed']}"
    )
    labels = ",".join(f"{name}={value}" for name, value in own["data"]["labels"])
    train += f" --labels '{labels}'" if labels else ""
    return [
        " ".join([train, *changed]),
        f"maskwright predict {run.path} NEW_IMAGES --out masks",
    ]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _model(config: RunConfig, metrics: dict[str, Any]) -> dict[str, str]:
    model = config.model
    side = geometry.next_legal_size(config.train.patch_px, model.depth, model.padding)
    layers = geometry.layer_table(side, **model.model_dump(exclude={"dropout"}))
    parameters = sum(layer.parameters for layer in layers)
    gigaflops = 2 * sum(layer.macs for layer in layers) / 1e9
    kind = "padded" if model.padding == "same" else "unpadded, as published"
    chosen = metrics["model_step"]
    return {
        "network": f"U-Net, {kind}",
        "depth and width": f"{model.depth} poolings, {model.width} channels at the top",
        "normalisation": model.norm,
        "parameters": f"{parameters:,}",
        "operations": f"{gigaflops:.1f} GFLOPs for one {side}×{side} patch",
        "receptive field": f"{geometry.receptive_field(model.depth)} pixels",
        "weights": f"of step {chosen} (best on validation)" if chosen else "best on validation",
    }
