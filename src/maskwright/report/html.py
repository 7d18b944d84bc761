"""The report: one HTML file that opens offline, prints, and explains itself.

Nothing is loaded from anywhere. A content security policy in the page forbids it, and every text
that came from a file name or a setting is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from maskwright.errors import OutputError

TEMPLATES = Path(__file__).parent / "templates"
MEASURES = (
    ("dice", "Dice"),
    ("iou", "IoU"),
    ("precision", "Precision"),
    ("recall", "Recall"),
    ("specificity", "Specificity"),
    ("pixel_accuracy", "Pixel accuracy"),
    ("rvd", "Volume difference"),
    ("matthews", "Matthews"),
    ("auc", "AUC"),
    ("average_precision", "Average precision"),
)
METHODS = {
    "otsu": "Otsu’s threshold",
    "kmeans": "k-means clustering",
    "commonest class": "one class everywhere",
}


class Estimated(Protocol):
    """A mean over cases, as ``maskwright.evaluate.summary.Estimate`` holds it."""

    @property
    def mean(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def n_used(self) -> int: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def pooled(self) -> float: ...  # noqa: D102


class Unscored(Protocol):
    """A value that left its mean, and why."""

    @property
    def case(self) -> str: ...  # noqa: D102
    @property
    def class_name(self) -> str: ...  # noqa: D102
    @property
    def measure(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102


class Summarised(Protocol):
    """All measures of a set of images: what the report needs of a ``Summary``."""

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def n_groups(self) -> int: ...  # noqa: D102
    @property
    def headline(self) -> Estimated: ...  # noqa: D102
    @property
    def measures(self) -> Mapping[str, Mapping[str, Estimated]]: ...  # noqa: D102
    @property
    def missing(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def extra(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def undefined(self) -> Sequence[Unscored]: ...  # noqa: D102
    def sentence(self, images: str = "image") -> str: ...  # noqa: D102


@dataclass(frozen=True)
class ReportCase:
    """One image of the report.

    Args:
        name: Name of the image.
        dice: Dice by class name.
        mean_dice: Mean of the classes after the background.
        group: What it belongs to, such as a patient.
        flags: Short remarks, such as ``no prediction``.
        overlay: Picture as a ``data:image/`` address, see ``figures.overlay_uri``.
    """

    name: str
    dice: Mapping[str, float]
    mean_dice: float
    group: str
    flags: tuple[str, ...] = ()
    overlay: str | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows.

    Args:
        title: Title of the page.
        simulated: The images are simulated; a banner says so.
        summary: Measures of the network.
        baselines: Measures of methods without training, on the same images.
        curves: SVG elements of ``figures.curves_svg``.
        cases: The images.
        config: The resolved configuration.
        split: Names of the images of each part.
        facts: Sentences about the data, such as what each mask value means.
        warnings: Sentences a reader must not miss.
        timings_s: Seconds by stage.
        versions: Versions by package.
        hardware: Facts about the machine.
        commands: Commands that repeat the run.
        model: Facts about the network.
        images: What the cases are, in the singular.
        validations: Step and Dice by class, see ``figures.validations``.
    """

    title: str
    simulated: bool
    summary: Summarised
    baselines: Mapping[str, Summarised]
    curves: str
    cases: Sequence[ReportCase]
    config: Mapping[str, Any]
    split: Mapping[str, Sequence[str]]
    facts: Sequence[str]
    warnings: Sequence[str]
    timings_s: Mapping[str, float]
    versions: Mapping[str, str]
    hardware: Mapping[str, str]
    commands: Sequence[str]
    model: Mapping[str, str] = field(default_factory=dict)
    images: str = "held-out image"
    validations: Sequence[tuple[int, Mapping[str, float]]] = ()


def render(report: ReportData) -> str:
    """The report as one self-contained HTML page.

    Args:
        report: What to show.

    Returns:
        The page; write it as UTF-8.

    Raises:
        OutputError: If a picture is not embedded, which would make the page load something.
    """
    import jinja2
    from markupsafe import Markup

    for case in report.cases:
        if case.overlay is not None and not case.overlay.startswith("data:image/"):
            raise OutputError(
                "report-picture",
                f"picture of {case.name}",
                expected="an embedded picture (data:image/…)",
                found=case.overlay[:40],
                remedy="embed it with figures.overlay_uri",
            )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=_percent, duration=_duration, dash=_dash)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    names = report.summary.class_names
    known = [(key, title) for key, title in MEASURES if key in report.summary.measures[names[0]]]
    return (
        environment.get_template("report.html")
        .render(
            report=report,
            summary=report.summary,
            measures=known,
            methods=_methods(report),
            comparison=_comparison(report),
            cases=sorted(report.cases, key=_worst_first),
            show_groups=any(case.group != case.name for case in report.cases),
            split=[(part, members) for part, members in report.split.items() if members],
            undefined=_grouped(report.summary.undefined, {key for key, _ in known}),
            settings=_settings(report.config),
            curves=Markup(report.curves),  # noqa: S704 - made by curves_svg, which escapes its texts
            script=Markup(script),  # noqa: S704 - a file of this package
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
            policy=policy,
        )
        .lstrip()
    )


def _worst_first(case: ReportCase) -> tuple[bool, float, str]:
    is_undefined = math.isnan(case.mean_dice)
    return is_undefined, 0.0 if is_undefined else case.mean_dice, case.name


def _methods(report: ReportData) -> list[tuple[str, Summarised, bool]]:
    """The network first, then the baselines, best first."""
    others = sorted(report.baselines.items(), key=lambda item: -_or_zero(item[1].headline.mean))
    rows = [(METHODS.get(name, name), summary, False) for name, summary in others]
    return [("the trained network", report.summary, True), *rows]


def _comparison(report: ReportData) -> str:
    """One sentence that sets the headline against the best baseline."""
    if not report.baselines or math.isnan(report.summary.headline.mean):
        return ""
    name, best = max(report.baselines.items(), key=lambda item: _or_zero(item[1].headline.mean))
    score = best.headline.mean
    if math.isnan(score):
        return ""
    gain = report.summary.headline.mean - score
    method = METHODS.get(name, name)
    if gain >= 0.005:
        return (
            f"The best method without training, {method}, reaches {score:.2f} on the same images: "
            f"training gained {gain:.2f}."
        )
    return (
        f"A method without training, {method}, reaches {score:.2f} on the same images: "
        "the network is no better than that."
    )


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _grouped(undefined: Sequence[Unscored], shown: set[str]) -> list[dict[str, Any]]:
    """Undefined values of the measures on the page, one entry for each reason."""
    titles = dict(MEASURES)
    entries: dict[tuple[str, str, str], list[str]] = {}
    for item in undefined:
        if item.measure in shown:
            key = (titles[item.measure], item.class_name, item.reason)
            entries.setdefault(key, []).append(item.case)
    return [
        {"measure": measure, "class_name": name, "reason": reason, "cases": cases}
        for (measure, name, reason), cases in entries.items()
    ]


def _settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by section, nested keys dotted, values as text or JSON."""
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    sections: dict[str, Mapping[str, Any]] = {"general": plain} if plain else {}
    sections.update({key: value for key, value in config.items() if isinstance(value, Mapping)})
    return [(name, list(_flat(values))) for name, values in sections.items()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield prefix + key, text


def _number(value: float, decimals: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def _percent(value: float) -> str:
    """A share of the bar's width, whatever the value is."""
    return f"{100 * min(1.0, max(0.0, _or_zero(value))):.2f}%"


def _dash(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
