"""The charts of a report as files: SVG for editing, PNG for slides."""

from __future__ import annotations

import re
from pathlib import Path

from maskwright.io.durable import make_folder, write_bytes, write_text
from maskwright.report.chart import to_svg
from maskwright.report.content import ReportData
from maskwright.report.plots import report_charts
from maskwright.report.raster import plain, to_png


def write_figures(report: ReportData, folder: Path) -> list[Path]:
    """Write every chart of the report as ``NAME.svg`` and ``NAME.png``.

    Args:
        report: The content of the report.
        folder: Where to; it is made if it is not there. Files of the same names are replaced.

    Returns:
        The files, in the order of the report.

    Raises:
        OutputError: If the folder or a file cannot be written.
    """
    make_folder(folder, subject=str(folder))
    paths: list[Path] = []
    used: set[str] = set()
    for charts in report_charts(report).values():
        for chart in charts:
            stem = _file_name(chart.name, used)
            svg, png = folder / f"{stem}.svg", folder / f"{stem}.png"
            write_text(svg, to_svg(chart, standalone=True) + "\n")
            write_bytes(png, to_png(chart))
            paths += [svg, png]
    return paths


def _file_name(name: str, used: set[str]) -> str:
    """The name in letters that every system takes, with a number where it is used already."""
    plain_name = re.sub("[^a-z0-9]+", "-", plain(name).lower()).strip("-") or "chart"
    unique, number = plain_name, 2
    while unique in used:
        unique, number = f"{plain_name}-{number}", number + 1
    used.add(unique)
    return unique
