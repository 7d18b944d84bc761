"""The report: one HTML file that opens offline, prints, and explains itself.

Nothing is loaded from anywhere. A content security policy in the page forbids it, and every text
that came from a file name or a setting is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.errors import OutputError
from maskwright.report import wording
from maskwright.report.chart import to_svg
from maskwright.report.content import ReportCase, ReportData
from maskwright.report.plots import report_charts

if TYPE_CHECKING:
    import jinja2

__all__ = ["ReportCase", "ReportData", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(report: ReportData) -> str:
    """The report as one self-contained HTML page.

    Args:
        report: What to show.

    Returns:
        The page; write it as UTF-8.

    Raises:
        OutputError: If a picture is not embedded, which would make the page load something.
    """
    from markupsafe import Markup

    for case in report.cases:
        _check_pictures(case)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    tables = wording.measure_tables(report)
    shown = [info for table in tables for info in table.measures]
    rows = wording.methods(report)
    charts = {
        section: [
            {"title": chart.title, "svg": Markup(to_svg(chart))}  # noqa: S704 - texts are escaped
            for chart in drawn
        ]
        for section, drawn in report_charts(report).items()
    }
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            summary=report.summary,
            foreground=report.summary.class_names[1:],
            tables=tables,
            shown=shown,
            methods=rows,
            compared_with=wording.compared_with(rows),
            has_clusters=bool(wording.CLUSTERING & set(report.baselines)),
            regions=[(wording.method_title(report, row.method), row) for row in report.regions],
            comparisons=wording.comparisons(report),
            cases=sorted(report.cases, key=wording.worst_first),
            columns=wording.case_columns(report),
            show_groups=any(case.group != case.name for case in report.cases),
            show_folds=any(case.fold is not None for case in report.cases),
            show_expected=any(case.expected is not None for case in report.cases),
            split=[(part, members) for part, members in report.split.items() if members],
            undefined=wording.unscored(report.summary.undefined, shown),
            settings=wording.settings(report.config),
            charts=charts,
            script=Markup(script),  # noqa: S704 - a file of this package
            style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704
            policy=policy,
        )
        .lstrip()
    )


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=wording.number,
        decimals=wording.decimals,
        percent=wording.percent,
        pixels=wording.pixels,
        duration=wording.duration,
        dash=wording.dash,
    )
    return environment


def _check_pictures(case: ReportCase) -> None:
    pictures = [case.overlay, *(entry.picture for entry in case.slices)]
    for picture in pictures:
        if picture is not None and not picture.startswith("data:image/"):
            raise OutputError(
                "report-picture",
                f"picture of {case.name}",
                expected="an embedded picture (data:image/…)",
                found=picture[:40],
                remedy="embed it with figures.overlay_uri or figures.slice_uris",
            )
