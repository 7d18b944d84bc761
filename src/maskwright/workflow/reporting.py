"""The report of a run, or of masks of any origin, as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import geometry
from maskwright.config import RunConfig, TrainConfig
from maskwright.data.naming import STACK
from maskwright.data.spacing import by
from maskwright.evaluate.case import CaseScore
from maskwright.evaluate.summary import Summary
from maskwright.evaluate.thresholds import ThresholdCurve
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder
from maskwright.network_config import setting_text
from maskwright.plan.choice import Plan, parse_plan
from maskwright.progress import Event, read_events
from maskwright.report.content import ReportCase, ReportData
from maskwright.report.curves import learning_charts, validations
from maskwright.report.figure_files import write_figures
from maskwright.report.figures import overlay_uri, slice_uris
from maskwright.report.html import render
from maskwright.workflow.calibrating import Calibration
from maskwright.workflow.evaluation import ONE_STACK
from maskwright.workflow.run import Run, open_run
from maskwright.workflow.sections import (
    columns_of,
    fold_table,
    image_labels,
    partition_tables,
    quality_trends,
    region_scores,
    sections_of,
    threshold_choices,
    with_calibration,
)

__all__ = ["report", "write_report"]

PSEUDO_LABELS, AVERAGING, OBJECTS = "Pseudo-labels:", "Averaging over", "Objects are"
"""How the sentences begin that tell of masks a network drew, and of the gain of averaging."""

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
    """Write the report from what the run folder holds, and its charts as files."""
    folder = run.folder
    metrics = run.metrics()
    events = read_events(folder.events)
    cases = [CaseScore.from_json(case) for case in metrics["cases"]]
    summary = Summary.from_json(metrics["summary"])
    names = summary.class_names
    calibration = Calibration.read(folder)
    sections = sections_of(cases, summary)
    if metrics["ece_before"]:
        sections["reliability"] = with_calibration(
            sections["reliability"],
            calibration,
            dict(zip(names, metrics["ece_before"], strict=True)),
        )
    fold_of = {case["case"]: case["fold"] for case in metrics["cases"] if "fold" in case}
    oracle = [ThresholdCurve(**curve) for curve in metrics["oracle_curves"]]
    data = ReportData(
        title=folder.path.resolve().name,
        simulated=bool(metrics["simulated"]),
        summary=summary,
        baselines={name: Summary.from_json(v) for name, v in metrics["baselines"].items()},
        learning=learning_charts(events),
        cases=[
            _case(folder, case, names, len(cases), fold=fold_of.get(case.case)) for case in cases
        ],
        config=run.config.model_dump(mode="json"),
        split=folder.read_json(folder.splits),
        facts=[*metrics["data"]["facts"], *([metrics["roi"]] if metrics["roi"] else [])],
        data_hash=_hash(metrics),
        warnings=_warnings(metrics, events),
        timings_s=_timings(metrics, events),
        cost=_cost(metrics, events),
        versions={name: version(name) for name in _PACKAGES},
        hardware={**metrics["machine"], "numbers": _numerics(run.config, metrics)},
        commands=_commands(run, metrics),
        model=_model(run.config, metrics),
        plan=_plan(run, events),
        images="validation image" if metrics["part"] == "validation" else "held-out image",
        folds=fold_table(metrics.get("folds")),
        validations=validations(events),
        thresholds=threshold_choices(calibration, oracle, names),
        quality=quality_trends(cases, metrics["quality"]),
        partitions=partition_tables(metrics["partitions"]),
        image_labels=image_labels(metrics.get("image_labels")),
        regions=region_scores(metrics["regions"]),
        has_region=bool(metrics["roi"]),
        **citation(),
        **sections,
    )
    write_figures(data, folder.figures)
    write_text(folder.report, render(data))
    return folder.report


def citation() -> dict[str, Any]:
    """How to cite the software."""
    number = version("maskwright")
    return {
        "citation": f"maskwright, version {number}: U-Net segmentation from a folder of images and "
        "masks. The network is that of Ronneberger, Fischer and Brox, MICCAI 2015, "
        "arXiv 1505.04597.",
        "bibtex": "@software{maskwright,\n"
        "  title = {maskwright: U-Net segmentation from a folder of images and masks},\n"
        "  author = {{The maskwright developers}},\n"
        f"  version = {{{number}}},\n"
        "  year = {2026}\n}",
    }


def _case(
    folder: RunFolder,
    case: CaseScore,
    names: tuple[str, ...],
    images: int,
    *,
    fold: int | None = None,
) -> ReportCase:
    if fold is not None:
        return replace(_case(folder.fold(fold), case, names, images), fold=fold)
    picture = folder.overlays / f"{case.case}.png"
    slices = folder.overlays / case.case
    if picture.is_file():
        return report_case(case, names, overlay=overlay_uri(_panels(picture), images))
    if slices.is_dir():
        # Named in the order in which the page shows them, the worst first.
        panels = [
            (int(p.stem.rpartition("_")[2]), _panels(p)) for p in sorted(slices.glob("*.png"))
        ]
        return report_case(case, names, slices=slice_uris(panels, images))
    return report_case(case, names)


def _panels(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


def report_case(case: CaseScore, names: tuple[str, ...], **pictures: Any) -> ReportCase:
    """What the report shows of one image."""
    predicted = np.sum(case.confusion, axis=0)
    flags = ["no prediction"] if case.missing else []
    if np.count_nonzero(predicted) == 1 and not case.missing:
        flags.append("one class only")
    flags += [f"{names[k]}: worst-case distance" if k else text for k, text in case.flags]
    return ReportCase(
        case.case,
        {name: case.value("dice", k) for k, name in enumerate(names)},
        case.mean_dice,
        case.group,
        tuple(flags),
        values=columns_of(case, names),
        expected=None if case.trust is None else case.trust.mean,
        **pictures,
    )


def _warnings(metrics: Mapping[str, Any], events: list[Event]) -> list[str]:
    texts = [str(event["text"]) for event in events if event["kind"] == "warning"]
    if all(case["group"] == STACK for case in metrics["cases"]):
        texts.append(ONE_STACK)
    if metrics["part"] == "validation":
        texts.insert(
            0,
            "No image was kept for a test: these are the validation images, which also chose the "
            "weights, so the scores are too good by an unknown amount. Annotate more images, or "
            "name test images with --split.",
        )
    return list(dict.fromkeys(texts))


def _hash(metrics: Mapping[str, Any]) -> str:
    return str(metrics["data"]["hash"] or "not recorded")


def _training_s(events: list[Event]) -> float:
    return max(
        (float(e.get("elapsed_s", 0)) for e in events if e["kind"] in ("step", "end")), default=0.0
    )


def _timings(metrics: Mapping[str, Any], events: list[Event]) -> dict[str, float]:
    return {"training": _training_s(events), **metrics["timings_s"]}


def _cost(metrics: Mapping[str, Any], events: list[Event]) -> dict[str, str]:
    seconds = _training_s(events) + sum(metrics["timings_s"].values())
    cores = int(metrics["machine"].get("cores", os.cpu_count() or 1))
    return {
        "processor time": f"{seconds * cores / 3600:.2f} core hours ({cores} cores)",
        "prediction": f"{metrics['timings_s']['prediction'] / max(1, len(metrics['cases'])):.2f} s "
        "an image",
    }


def _numerics(config: RunConfig, metrics: Mapping[str, Any]) -> str:
    train = config.train
    return f"training {train.layout} {train.precision}, prediction {metrics['prediction_numerics']}"


def _plan(run: Run, events: list[Event]) -> list[tuple[str, str]]:
    """What was chosen for this data, this machine and this time, and why."""
    config = run.config
    model, train = config.model, config.train
    told = [str(event["text"]) for event in events if event["kind"] == "message"]
    steps = next((t for t in told if t.startswith("One step takes")), "the number that was asked")
    numbers = next((t for t in told if t.startswith("Convolutions run")), "as planned or asked for")
    plan = _saved_plan(run.folder)
    choices = plan.choices if plan else ()
    return [
        (f"{model.channels} channels, {model.classes} classes", "found in the images and masks"),
        *_preparation(config, told),
        *((choice.setting(), choice.reason) for choice in choices if choice.name != "train.steps"),
        (f"{train.steps} steps", steps),
        (f"{train.layout} {train.precision}", numbers),
        *_kept_weights(train),
        *_told_later(told),
    ]


def _kept_weights(train: TrainConfig) -> Iterator[tuple[str, str]]:
    if train.ensemble > 1:
        yield (
            f"the mean of {train.ensemble} networks",
            "each learnt from fresh weights for its share of the steps; of each, the weights of "
            f"the best of {train.validations_each} validations",
        )
    elif train.snapshots:
        yield (
            f"the mean of {min(train.snapshots, train.validations)} snapshots",
            "the networks of the last validations, whose probabilities are averaged",
        )
    else:
        yield (
            "weights of the best validation",
            f"chosen among {train.validations} validations by the mean Dice of the classes",
        )


def _told_later(told: list[str]) -> Iterator[tuple[str, str]]:
    """What was found out on the way, in the words that were told."""
    topics = {
        "Learning rate": "learning rate",
        "Stopped early": "early stop",
        PSEUDO_LABELS: "images without masks",
        AVERAGING: "averaging at prediction",
        OBJECTS: "objects",
    }
    for begins, topic in topics.items():
        newest = next((text for text in reversed(told) if text.startswith(begins)), None)
        if newest is not None:
            yield topic, newest


def _saved_plan(folder: RunFolder) -> Plan | None:
    """The plan of a run, where it has one."""
    if not folder.plan.is_file():
        return None
    return parse_plan(folder.plan.read_text(encoding="utf-8"), subject=str(folder.plan))


def _preparation(config: RunConfig, told: list[str]) -> Iterator[tuple[str, str]]:
    """Pixel size and intensities, with the reasons that were told."""

    def reason(begins: str) -> str:
        return next((text for text in told if text.lower().startswith(begins)), "as set")

    if config.data.spacing_mm is not None:
        yield f"pixels of {by(config.data.spacing_mm)} mm", reason("images are brought")
    ways = {channel.way for channel in config.data.channel_intensity} or {"z-score"}
    yield f"intensities: {', '.join(sorted(ways))}", reason("intensities")


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _commands(run: Run, metrics: Mapping[str, Any]) -> list[str]:
    """The commands that repeat this run with its own split, seed and number of steps."""
    from maskwright.workflow.starting import plain_config

    own = run.config.model_dump(mode="json")
    start = run.config.train.start_from
    # A plan cannot be given beside --from: it names the whole network, and so does a run.
    plan = None if start else _saved_plan(run.folder)
    plain = (plan.config if plan else plain_config(run.config)).model_dump(mode="json")
    fixed = {f"train.{key}" for key in ("steps", "minutes", "seed", "start_from")}
    fixed |= {f"model.{key}" for key in ("dims", "channels", "classes")}
    changed = [
        f"--set {path}={setting_text(value)}"
        for section in ("model", "train", "predict", "evaluate")
        for path, value in _leaves(own[section], f"{section}.")
        if path not in fixed and value != dict(_leaves(plain, ""))[path]
    ]
    # Pictures are used as they are unless somebody asks for more.
    usual = {"spacing": "none"} if run.config.model.dims == 2 else {}
    changed += [
        f"--set data.{key}={setting_text(own['data'][key])}"
        for key in ("roi", "spacing", "intensity", "window")
        if own["data"][key] not in (plain["data"][key], usual.get(key))
    ]
    train = (
        f"maskwright train {metrics['data']['root']} --out repeated "
        f"{_parts(run, metrics)} --steps {own['train']['steps']} --seed {own['train']['seed']}"
    )
    train += f" --from {start}" if start else ""
    train += f" --plan {run.folder.plan}" if plan else ""
    labels = ",".join(f"{name}={value}" for name, value in own["data"]["labels"])
    train += f" --labels '{labels}'" if labels else ""
    return [
        " ".join([train, *changed]),
        f"maskwright predict {run.path} NEW_IMAGES --out masks",
    ]


def _parts(run: Run, metrics: Mapping[str, Any]) -> str:
    """What says which image is used for what."""
    if "folds" not in metrics:
        return f"--split {run.folder.splits}"
    grouped = run.config.data.group_by
    return f"--folds {len(metrics['folds']['each'])}" + (f" --group-by '{grouped}'" * bool(grouped))


def _model(config: RunConfig, metrics: Mapping[str, Any]) -> dict[str, str]:
    model = config.model
    patch = geometry.next_legal_shape(config.train.patch_shape(model.dims), model)
    layers = geometry.layer_table(patch, model)
    parameters = sum(layer.parameters for layer in layers)
    gigaflops = 2 * sum(layer.macs for layer in layers) / 1e9
    kind = "padded" if model.padding == "same" else "unpadded, as published"
    return {
        "network": f"U-Net, {kind}",
        "depth and width": f"{model.depth} poolings, {model.level_widths[0]} channels at the top",
        "normalisation": model.norm,
        "parameters": f"{parameters:,}",
        "operations": f"{gigaflops:.1f} GFLOPs for one {'×'.join(map(str, patch))} patch",
        "receptive field": f"{max(a.receptive_field for a in geometry.axes_of(model))} pixels",
        **({"begun with": f"the weights of {start}"} if (start := config.train.start_from) else {}),
        "weights": _weights(config.train, metrics["model_step"]),
    }


def _weights(train: TrainConfig, step: int | None) -> str:
    if train.ensemble > 1:
        return f"of {train.ensemble} networks, averaged"
    if train.snapshots:
        return "of the last validations, averaged" + (f" up to step {step}" if step else "")
    return f"of step {step} (best on validation)" if step else "best on validation"
