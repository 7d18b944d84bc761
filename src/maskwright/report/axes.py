"""Axes that place data in the frame of a chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from maskwright.report.chart import TEXT_PX, Chart, Colour, Dots, Line, Mark, Points, Rect, Text

# About the width of a telephone's page, so that the text keeps its size there.
WIDTH = 372
PLOT_HEIGHT = 196
LEFT, RIGHT, BOTTOM = 44, 18, 44
ROW = 20
# Wider than most letters of most fonts: the page's font is the reader's.
LETTER = 0.6 * TEXT_PX
# Dashes tell classes apart where colours do not.
SERIES: tuple[tuple[Colour, tuple[float, ...]], ...] = (
    ("blue", ()),
    ("orange", (7, 4)),
    ("green", (2, 4)),
    ("pink", (9, 3, 2, 3)),
)


def series(number: int) -> tuple[Colour, tuple[float, ...]]:
    """Colour and dashes of the n-th line of a chart."""
    return SERIES[number % len(SERIES)]


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from below ``low`` to at least ``high``, four to eight of them.

    Example:
        >>> [round(tick, 2) for tick in ticks(0, 0.93)]
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * f for f in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (power * f) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def shortened(text: str, width: float) -> str:
    """The text, cut with an ellipsis to about this width.

    Example:
        >>> shortened("a name that is far too long", 80)
        'a name th…'
    """
    letters = max(2, int(width / LETTER))
    return text if len(text) <= letters else text[: letters - 1] + "…"


class Axes:
    """A horizontal and a vertical axis; marks are added in the order they are drawn.

    Args:
        x: First and last value of the horizontal axis.
        y: Lowest and highest value of the vertical axis.
        labels: Names of both axes.
        legend: Name, colour and dashes of each line.
        plot_height: Height of the area between the axes.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        labels: tuple[str, str],
        *,
        legend: Sequence[tuple[str, Colour, tuple[float, ...]]] = (),
        plot_height: float = PLOT_HEIGHT,
    ) -> None:
        self._x, self._y = x, y
        self._labels = labels
        self.marks: list[Mark] = []
        rows = self._legend(legend)
        self.top = rows * ROW + (32.0 if labels[1] else 12.0)
        self.bottom = self.top + plot_height
        self.height = self.bottom + BOTTOM

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a value; values beyond an axis stay on its end."""
        across = (x - self._x[0]) / ((self._x[1] - self._x[0]) or 1.0)
        up = (y - self._y[0]) / ((self._y[1] - self._y[0]) or 1.0)
        across, up = min(1.0, max(0.0, across)), min(1.0, max(0.0, up))
        return LEFT + across * (WIDTH - LEFT - RIGHT), self.bottom - up * (self.bottom - self.top)

    def grid(self, x_ticks: Iterable[float], y_ticks: Iterable[float]) -> None:
        """Draw grid lines, numbers and the names of both axes."""
        for tick in y_ticks:
            _, y = self.at(self._x[0], tick)
            self.marks.append(Line(((LEFT, y), (WIDTH - RIGHT, y)), opacity=0.16))
            self.marks.append(Text(LEFT - 7, y + 4.5, f"{tick:.6g}", "end"))
        for tick in x_ticks:
            x, _ = self.at(tick, self._y[0])
            self.marks.append(Line(((x, self.bottom), (x, self.bottom + 4)), opacity=0.4))
            self.marks.append(Text(x, self.bottom + 18, f"{tick:.6g}", "middle"))
        along, up = self._labels
        self.marks.append(Text(WIDTH - RIGHT, self.bottom + 37, along, "end"))
        if up:
            self.marks.append(Text(4, self.top - 15, up))

    def line(self, points: Iterable[tuple[float, float]], number: int) -> None:
        """Draw the n-th line of the chart."""
        colour, dash = series(number)
        self.marks.append(Line(self._all(points), colour, 2.4, dash))

    def rule(
        self, a: tuple[float, float], b: tuple[float, float], dash: tuple[float, ...] = (4, 4)
    ) -> None:
        """Draw a thin line from one value to another, such as the diagonal."""
        self.marks.append(Line(self._all((a, b)), width=1.2, dash=dash, opacity=0.55))

    def dots(
        self,
        points: Iterable[tuple[float, float]],
        colour: Colour,
        *,
        labels: Sequence[str] = (),
        radius: float = 3.4,
        opacity: float = 1.0,
    ) -> None:
        """Draw a dot at each value."""
        self.marks.append(Dots(self._all(points), colour, radius, opacity, tuple(labels)))

    def column(self, x: float, height: float, width: float) -> None:
        """Draw a pale column on the horizontal axis; places, not values, but for ``x``."""
        middle, _ = self.at(x, self._y[0])
        top = self.bottom - height
        self.marks.append(Rect(middle - width / 2, top, width, height, "ink", 0.16))

    def band(self, low: float, high: float) -> None:
        """Shade the whole height between two values of the horizontal axis."""
        (left, top), (right, bottom) = self.at(low, self._y[1]), self.at(high, self._y[0])
        self.marks.append(Rect(left, top, right - left, bottom - top, "blue", 0.14))

    def note(
        self,
        x: float,
        y: float,
        text: str,
        anchor: Literal["start", "middle", "end"] = "middle",
        *,
        lift: float = 0.0,
    ) -> None:
        """Write beside a value, ``lift`` above it."""
        place_x, place_y = self.at(x, y)
        self.marks.append(Text(place_x, place_y - lift, text, anchor))

    def chart(self, name: str, title: str, description: str) -> Chart:
        """The chart with everything added so far."""
        return Chart(name, title, description, WIDTH, self.height, tuple(self.marks))

    def _all(self, points: Iterable[tuple[float, float]]) -> Points:
        return tuple(self.at(x, y) for x, y in points)

    def _legend(self, entries: Sequence[tuple[str, Colour, tuple[float, ...]]]) -> int:
        """Short lines with their names, from the left, in as many rows as they need."""
        rows, x = (1 if entries else 0), 4.0
        for name, colour, dash in entries:
            short = shortened(name, WIDTH - 60)
            width = 30 + LETTER * len(short)
            if x > 4 and x + width > WIDTH - RIGHT:
                rows, x = rows + 1, 4.0
            y = rows * ROW - 4
            self.marks.append(Line(((x, y - 4.5), (x + 22, y - 4.5)), colour, 2.4, dash))
            self.marks.append(Text(x + 28, y, short))
            x += width + 16
        return rows
