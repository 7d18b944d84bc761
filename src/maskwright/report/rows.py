"""Charts made of rows with a name each: bars and dots by size or group, and a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maskwright.report.axes import LETTER, ROW, WIDTH, shortened
from maskwright.report.chart import Chart, Colour, Dots, Line, Mark, Rect, Text

HEIGHT = 28.0
TOP = 10.0
MOST_NAME, LEAST_NAME = 132.0, 48.0
CELL_HEIGHT = 44.0
# Heat stays pale enough for the number on it to be read, on white and on black.
HEAT = 0.45


@dataclass(frozen=True)
class Row:
    """One row: its name, what is drawn along 0–1, and a text at the right end.

    Args:
        label: Name at the left.
        bar: Length of a bar; NaN draws none.
        dot: Place of a dot; NaN draws none.
        span: Ends of a thin line.
        value: Text at the right.
    """

    label: str
    bar: float = math.nan
    dot: float = math.nan
    span: tuple[float, float] | None = None
    value: str = ""


def row_chart(
    name: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    legend: tuple[str, str] | None = None,
) -> Chart:
    """A chart of rows along shares from 0 to 1.

    Args:
        name: What its files are called.
        title: Heading.
        description: What it shows, in words.
        rows: From top to bottom.
        legend: What bars and dots mean.

    Example:
        >>> row_chart("a", "A", "B.", [Row("small", bar=0.5)]).height
        66.0
    """
    longest = max((len(row.label) for row in rows), default=0)
    left = min(MOST_NAME, max(LEAST_NAME, LETTER * longest + 16))
    right = WIDTH - 10 - LETTER * max((len(row.value) for row in rows), default=0) - 8
    marks: list[Mark] = []
    top = TOP
    if legend is not None:
        bars, dots = legend
        marks += [Rect(4, top - 2, 14, 12, "blue", 0.45), Text(24, top + 9, bars)]
        x = 24 + LETTER * len(bars) + 22
        marks += [Dots(((x, top + 4),), "orange", 4.2), Text(x + 10, top + 9, dots)]
        top += ROW + 4
    bottom = top + HEIGHT * len(rows)

    def along(share: float) -> float:
        return left + min(1.0, max(0.0, share)) * (right - left)

    for tick in (0.0, 0.5, 1.0):
        marks.append(Line(((along(tick), top), (along(tick), bottom)), opacity=0.16))
        marks.append(Text(along(tick), bottom + 18, f"{tick:g}", "middle"))
    for number, row in enumerate(rows):
        middle = top + HEIGHT * (number + 0.5)
        marks.append(Text(left - 8, middle + 4.5, shortened(row.label, left - 8), "end"))
        marks.append(Text(WIDTH - 10, middle + 4.5, row.value, "end"))
        if math.isfinite(row.bar):
            marks.append(Rect(left, middle - 7, along(row.bar) - left, 14, "blue", 0.45))
        if row.span is not None:
            ends = (along(row.span[0]), middle), (along(row.span[1]), middle)
            marks.append(Line(ends, "blue", 1.6, (), 0.6))
        if math.isfinite(row.dot):
            colour: Colour = "orange" if legend is not None else "blue"
            marks.append(Dots(((along(row.dot), middle),), colour, 4.2))
    return Chart(name, title, description, WIDTH, bottom + HEIGHT, tuple(marks))


def confusion_chart(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> Chart:
    """Shares of each true class that were given to each class, darker for more.

    Args:
        names: Names of the classes.
        confusion: Pixels, rows true classes, columns predicted ones.

    Returns:
        A square of cells with the share of the row, in per cent.

    Example:
        >>> confusion_chart(("a", "b"), ((3, 1), (0, 0))).description
        'Of a, 75 % were predicted as a and 25 % as b. b does not occur.'
    """
    left = min(MOST_NAME, max(LEAST_NAME, LETTER * max(map(len, names)) + 16))
    wide = (WIDTH - 4 - left) / len(names)
    marks: list[Mark] = [Text(left, 14, "predicted as"), Text(4, 14, "true")]
    told = []
    for column, name in enumerate(names):
        marks.append(Text(left + wide * (column + 0.5), 34, shortened(name, wide - 4), "middle"))
    for number, (name, row) in enumerate(zip(names, confusion, strict=True)):
        y = 42 + CELL_HEIGHT * number
        middle = y + CELL_HEIGHT / 2 + 4.5
        marks.append(Text(left - 8, middle, shortened(name, left - 8), "end"))
        total = sum(row)
        for column, pixels in enumerate(row):
            x = left + wide * column
            share = pixels / total if total else 0.0
            marks.append(Rect(x + 1, y + 1, wide - 2, CELL_HEIGHT - 2, "ink", 0.06))
            marks.append(Rect(x + 1, y + 1, wide - 2, CELL_HEIGHT - 2, "blue", HEAT * share))
            text = f"{100 * share:.1f} %" if total else "–"
            marks.append(Text(x + wide / 2, middle, text, "middle"))
        parts = [
            f"{100 * pixels / total:.0f} %{' were predicted' if k == 0 else ''} as {names[k]}"
            for k, pixels in enumerate(row)
            if total
        ]
        *first, last = parts or [""]
        joined = f"{', '.join(first)} and {last}" if first else last
        told.append(f"Of {name}, {joined}." if total else f"{name} does not occur.")
    height = 42 + CELL_HEIGHT * len(names) + 8
    return Chart(
        "confusion", "What was taken for what", " ".join(told), WIDTH, height, tuple(marks)
    )
