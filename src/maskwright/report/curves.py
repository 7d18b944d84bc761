"""Learning curves as inline SVG: they take the page's text colour, so they suit light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

Points = list[tuple[float, float]]

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 34, 40
MAX_POINTS = 400
# Okabe and Ito's colours, told apart by colour-blind people; dashes tell them apart without colour.
STROKES = ("--line-1", "--line-2", "--line-3", "--line-4")
FALLBACKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
DASHES = ("", "7 4", "2 4", "9 3 2 3")


def validations(events: Iterable[Mapping[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    """The scores of each validation.

    Args:
        events: Events of a run; those of kind ``validation`` carry ``step`` and ``dice``, a
            mapping of class names, a sequence in class order, or one number.

    Returns:
        Step and Dice by class, in order; values that are not finite are left out.

    Example:
        >>> validations([{"kind": "validation", "step": 5, "dice": {"cell": 0.5}}])
        [(5, {'cell': 0.5})]
    """
    rows: list[tuple[int, dict[str, float]]] = []
    for event in events:
        if event.get("kind") != "validation" or "dice" not in event:
            continue
        dice = event["dice"]
        if isinstance(dice, Mapping):
            named = {str(name): value for name, value in dice.items()}
        elif isinstance(dice, Sequence):
            named = {f"class {k}": value for k, value in enumerate(dice)}
        else:
            named = {"mean": dice}
        scores = {name: float(v) for name, v in named.items() if _is_finite(v)}
        rows.append((int(event["step"]), scores))
    return rows


def curves_svg(events: Iterable[Mapping[str, Any]]) -> str:
    """Two charts: the loss with its running mean, and the Dice of each class at validations.

    Args:
        events: Events of a run: ``step`` with ``step`` and ``loss``, ``validation`` as in
            :func:`validations`.

    Returns:
        SVG elements to place into a page, one after the other; empty without any event to draw.

    Example:
        >>> curves_svg([{"kind": "step", "step": 1, "loss": 0.5}]).startswith("<svg")
        True
    """
    kept = list(events)
    losses: Points = [
        (float(e["step"]), float(e["loss"]))
        for e in kept
        if e.get("kind") == "step" and _is_finite(e.get("loss"))
    ]
    scores = validations(kept)
    charts: list[str] = []
    if losses:
        charts.append(_loss_chart(losses))
    names = list(dict.fromkeys(name for _, by_class in scores for name in by_class))
    if names:
        charts.append(_dice_chart(scores, names))
    return "\n".join(charts)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _loss_chart(losses: Points) -> str:
    steps = np.array([x for x, _ in losses])
    values = np.array([y for _, y in losses])
    window = max(1, len(losses) // 25)
    sums = np.cumsum(np.concatenate(([0.0], values)))
    middle = np.arange(values.size)
    begins = np.maximum(middle - window // 2, 0)
    ends = np.minimum(middle + window - window // 2, values.size)
    means = (sums[ends] - sums[begins]) / (ends - begins)
    # A single spike must not flatten the rest of the curve.
    top = float(max(np.percentile(values, 99.5), means.max()))
    ticks = _ticks(min(0.0, float(values.min())), top)
    frame = _Frame((float(steps[0]), float(steps[-1])), (ticks[0], max(ticks[-1], top)))
    every = np.unique(np.linspace(0, values.size - 1, min(values.size, MAX_POINTS)).astype(int))
    thin = [(float(steps[i]), float(values[i])) for i in every]
    thick = [(float(steps[i]), float(means[i])) for i in every]
    note = f"mean of {window} steps" if window > 1 else "each step"
    return _svg(
        "Loss in training",
        f"Loss from {values[0]:.3f} at step {steps[0]:.0f} to {means[-1]:.3f} at the end, {note}.",
        frame.axes(ticks, "loss")
        + frame.line(thin, "stroke:currentColor;stroke-opacity:.28;stroke-width:1")
        + frame.line(thick, f"stroke:var({STROKES[0]},{FALLBACKS[0]});stroke-width:2.5")
        + frame.legend([(note, 0)]),
    )


def _dice_chart(scores: list[tuple[int, dict[str, float]]], names: list[str]) -> str:
    frame = _Frame((0.0, float(scores[-1][0])), (0.0, 1.0))
    body = frame.axes([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "Dice")
    for number, name in enumerate(names):
        line = [(float(step), by_class[name]) for step, by_class in scores if name in by_class]
        style = _stroke(number)
        body += frame.line(line, style) + frame.dots(line, number)
    last = {name: row[name] for _, row in scores for name in names if name in row}
    told = ", ".join(f"{name} {value:.3f}" for name, value in last.items())
    body += frame.legend([(name, number) for number, name in enumerate(names[:4])])
    return _svg("Dice at validations", f"Dice at the last validation: {told}.", body)


def _stroke(number: int) -> str:
    k = number % len(STROKES)
    dash = f";stroke-dasharray:{DASHES[k]}" if DASHES[k] else ""
    return f"stroke:var({STROKES[k]},{FALLBACKS[k]});stroke-width:2.5{dash}"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below ``low`` to at least ``high``, four to eight of them."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * f for f in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (power * f) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


class _Frame:
    """Maps data to the drawing area and draws into it."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self._x[0]) / ((self._x[1] - self._x[0]) or 1.0)
        up = (min(y, self._y[1]) - self._y[0]) / ((self._y[1] - self._y[0]) or 1.0)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def axes(self, ticks: list[float], label: str) -> str:
        """Grid lines, numbers and the names of both axes."""
        parts = [_text(LEFT - 38, TOP - 16, label, "start")]
        for tick in ticks:
            _, y = self._at(self._x[0], tick)
            parts.append(
                f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" '
                f'style="stroke:currentColor;stroke-opacity:.16"/>'
            )
            parts.append(_text(LEFT - 7, y + 4, f"{tick:.6g}", "end"))
        for step in _ticks(self._x[0], self._x[1]):
            if self._x[0] <= step <= self._x[1] and step == int(step):
                x, y = self._at(step, self._y[0])
                parts.append(_text(x, y + 17, f"{step:.0f}", "middle"))
        parts.append(_text(WIDTH - RIGHT, HEIGHT - 6, "step", "end"))
        return "".join(parts)

    def line(self, points: Points, style: str) -> str:
        """A line through the points."""
        path = " ".join("{} {}".format(*self._at(x, y)) for x, y in points)
        return f'<polyline points="{path}" style="fill:none;stroke-linejoin:round;{style}"/>'

    def dots(self, points: Points, number: int) -> str:
        """A dot at each point."""
        k = number % len(STROKES)
        return "".join(
            '<circle cx="{}" cy="{}" r="3.2" style="fill:var({},{})"/>'.format(
                *self._at(x, y), STROKES[k], FALLBACKS[k]
            )
            for x, y in points
        )

    def legend(self, entries: list[tuple[str, int]]) -> str:
        """Short lines with their names, right to left above the frame."""
        parts: list[str] = []
        right = float(WIDTH - RIGHT)
        for name, number in reversed(entries):
            short = name if len(name) <= 16 else name[:15] + "…"
            parts.append(_text(right, TOP - 16, short, "end"))
            start = right - 7.2 * len(short) - 32
            parts.append(
                f'<path d="M{start:.0f} {TOP - 20}h22" style="fill:none;{_stroke(number)}"/>'
            )
            right = start - 14
        return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'style="fill:currentColor;font-size:12px">{escape(text)}</text>'
    )


def _svg(title: str, description: str, body: str) -> str:
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title}. {description}")}"><title>{escape(title)}</title>'
        f"{body}</svg>"
    )
