"""A chart as a list of marks in one frame, and its drawing as SVG.

The same description becomes an element of a page, a file of its own, and, in
:mod:`maskwright.report.raster`, a PNG picture. Marks carry the place in the frame, from the top
left corner; :mod:`maskwright.report.axes` turns data into places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Literal

Colour = Literal["ink", "blue", "orange", "green", "pink"]
Points = tuple[tuple[float, float], ...]

TEXT_PX = 13.0
FONT_FAMILY = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
# Okabe and Ito's hues, darkened until they stand out on white; colour-blind people tell them apart.
SOLID: dict[Colour, str] = {
    "ink": "#1c1e21",
    "blue": "#0072b2",
    "orange": "#c55200",
    "green": "#00785a",
    "pink": "#a8437c",
}
# The page sets these for light and dark.
VARIABLES: dict[Colour, str] = {
    "ink": "currentColor",
    "blue": "var(--line-1,#0072b2)",
    "orange": "var(--line-2,#c55200)",
    "green": "var(--line-3,#00785a)",
    "pink": "var(--line-4,#a8437c)",
}
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """A line through points; ``dash`` alternates drawn and empty lengths."""

    points: Points
    colour: Colour = "ink"
    width: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Dots:
    """Discs; ``labels`` name them when the pointer rests on one."""

    points: Points
    colour: Colour = "blue"
    radius: float = 3.4
    opacity: float = 1.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rect:
    """A filled rectangle from its top left corner."""

    x: float
    y: float
    width: float
    height: float
    colour: Colour = "blue"
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text; ``y`` is its base line, ``anchor`` the part of it that lies at ``x``."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    colour: Colour = "ink"


Mark = Line | Dots | Rect | Text


@dataclass(frozen=True)
class Chart:
    """A chart, drawn in the order of its marks.

    Args:
        name: What its files are called.
        title: Heading, in plain words.
        description: What a reader who cannot see the chart must know.
        width: Width of the frame.
        height: Height of the frame.
        marks: What is drawn.
    """

    name: str
    title: str
    description: str
    width: float
    height: float
    marks: tuple[Mark, ...]


def to_svg(chart: Chart, *, standalone: bool = False) -> str:
    """The chart as SVG, with its title and description for screen readers.

    Args:
        chart: What to draw.
        standalone: Write a file of its own, with fixed colours on white; otherwise an element of
            the page, which takes the text colour and the variables of the page.

    Returns:
        One ``svg`` element.

    Example:
        >>> mark = Text(4, 16, "a < b")
        >>> to_svg(Chart("a", "A", "Nothing.", 80, 20, (mark,)))
        '<svg class="chart" viewBox="0 0 80 20" role="img" aria-label="A. Nothing.">...a &lt; b...'
    """
    colours = SOLID if standalone else VARIABLES
    label = _text(f"{chart.title}. {chart.description}")
    frame = f'viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" aria-label="{label}"'
    if standalone:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{chart.width:g}" '
            f'height="{chart.height:g}" {frame} font-family="{FONT_FAMILY}">'
        )
    else:
        head = f'<svg class="chart" {frame}>'
    body = "".join(_drawn(mark, colours) for mark in chart.marks)
    paper = '<rect width="100%" height="100%" fill="#fff"/>' if standalone else ""
    return (
        f"{head}<title>{_text(chart.title)}</title><desc>{_text(chart.description)}</desc>"
        f"{paper}{body}</svg>"
    )


def _drawn(mark: Mark, colours: dict[Colour, str]) -> str:
    colour = colours[mark.colour]
    match mark:
        case Line():
            places = " ".join(f"{_place(x)} {_place(y)}" for x, y in mark.points)
            dash = f";stroke-dasharray:{' '.join(map(_place, mark.dash))}" if mark.dash else ""
            return (
                f'<polyline points="{places}" style="fill:none;stroke-linejoin:round;'
                f'stroke:{colour};stroke-width:{mark.width:g}{_opacity("stroke", mark)}{dash}"/>'
            )
        case Dots():
            labels = mark.labels or ("",) * len(mark.points)
            style = f'style="fill:{colour}{_opacity("fill", mark)}"'
            return "".join(
                f'<circle cx="{_place(x)}" cy="{_place(y)}" r="{mark.radius:g}" {style}'
                + (f"><title>{_text(label)}</title></circle>" if label else "/>")
                for (x, y), label in zip(mark.points, labels, strict=True)
            )
        case Rect():
            return (
                f'<rect x="{_place(mark.x)}" y="{_place(mark.y)}" width="{_place(mark.width)}" '
                f'height="{_place(mark.height)}" style="fill:{colour}{_opacity("fill", mark)}"/>'
            )
        case Text():
            return (
                f'<text x="{_place(mark.x)}" y="{_place(mark.y)}" text-anchor="{mark.anchor}" '
                f'style="fill:{colour};font-size:{TEXT_PX:g}px">{_text(mark.text)}</text>'
            )


def _opacity(kind: str, mark: Line | Dots | Rect) -> str:
    return "" if mark.opacity == 1 else f";{kind}-opacity:{mark.opacity:g}"


def _place(value: float) -> str:
    return f"{round(value, 1):g}"


def _text(text: str) -> str:
    return escape(_NOT_IN_XML.sub("\ufffd", text))
