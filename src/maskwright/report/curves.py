"""Learning curves: the loss, and the Dice of each class at validations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maskwright.report.axes import Axes, series, ticks
from maskwright.report.chart import Chart, Line

MAX_POINTS = 400


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


def learning_charts(events: Iterable[Mapping[str, Any]]) -> list[Chart]:
    """The loss with its running mean, the Dice of each class at validations, the test of rates.

    Args:
        events: Events of a run: ``step`` with ``step`` and ``loss``, ``validation`` as in
            :func:`validations`, ``rate_test`` with ``rates``, ``losses`` and ``chosen``.

    Returns:
        The charts, without those that have no event to draw.

    Example:
        >>> [c.name for c in learning_charts([{"kind": "step", "step": 1, "loss": 0.5}])]
        ['loss']
    """
    kept = list(events)
    losses = [
        (float(e["step"]), float(e["loss"]))
        for e in kept
        if e.get("kind") == "step" and _is_finite(e.get("loss"))
    ]
    scores = validations(kept)
    charts: list[Chart] = []
    if losses:
        charts.append(_loss_chart(losses))
    names = list(dict.fromkeys(name for _, by_class in scores for name in by_class))
    if names:
        charts.append(_dice_chart(scores, names))
    charts += [_rate_chart(e["rates"], e["losses"], e["chosen"]) for e in kept if _is_ramp(e)][-1:]
    return charts


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_ramp(event: Mapping[str, Any]) -> bool:
    return event.get("kind") == "rate_test" and len(event["rates"]) > 1


def _rate_chart(rates: Sequence[float], losses: Sequence[float], chosen: float) -> Chart:
    powers = [math.log10(rate) for rate in rates]
    levels = ticks(min(0.0, min(losses)), max(losses))
    axes = Axes(
        (powers[0], powers[-1]),
        (levels[0], levels[-1]),
        ("learning rate, as a power of 10", "loss"),
    )
    axes.grid(_whole_ticks(math.ceil(powers[0]), powers[-1]), levels)
    axes.line(zip(powers, losses, strict=True), 0)
    at = math.log10(chosen)
    axes.rule((at, levels[0]), (at, levels[-1]))
    axes.note(at, levels[-1], f"{chosen:.2g}", lift=4.0)
    return axes.chart(
        "learning-rate-test",
        "Loss at each learning rate tried",
        f"Loss from {losses[0]:.3f} at a rate of {rates[0]:.2g} to {losses[-1]:.3f} at "
        f"{rates[-1]:.2g}; {chosen:.2g} was chosen.",
    )


def _loss_chart(losses: list[tuple[float, float]]) -> Chart:
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
    levels = ticks(min(0.0, float(values.min())), top)
    note = f"mean of {window} steps" if window > 1 else "each step"
    axes = Axes(
        (float(steps[0]), float(steps[-1])),
        (levels[0], max(levels[-1], top)),
        ("step", "loss"),
        legend=[(note, *series(0))],
    )
    axes.grid(_whole_ticks(steps[0], steps[-1]), levels)
    every = np.unique(np.linspace(0, values.size - 1, min(values.size, MAX_POINTS)).astype(int))
    thin = tuple(axes.at(float(steps[i]), float(values[i])) for i in every)
    axes.marks.append(Line(thin, opacity=0.28))
    axes.line([(float(steps[i]), float(means[i])) for i in every], 0)
    return axes.chart(
        "loss",
        "Loss in training",
        f"Loss from {values[0]:.3f} at step {steps[0]:.0f} to {means[-1]:.3f} at the end, {note}.",
    )


def _dice_chart(scores: list[tuple[int, dict[str, float]]], names: list[str]) -> Chart:
    last_step = float(scores[-1][0])
    axes = Axes(
        (0.0, last_step),
        (0.0, 1.0),
        ("step", "Dice"),
        legend=[(name, *series(number)) for number, name in enumerate(names)],
    )
    axes.grid(_whole_ticks(0.0, last_step), ticks(0.0, 1.0))
    for number, name in enumerate(names):
        line = [(float(step), by_class[name]) for step, by_class in scores if name in by_class]
        axes.line(line, number)
        axes.dots(line, series(number)[0], radius=3.0)
    last = {name: row[name] for _, row in scores for name in names if name in row}
    told = ", ".join(f"{name} {value:.3f}" for name, value in last.items())
    return axes.chart(
        "dice-at-validations", "Dice at validations", f"Dice at the last validation: {told}."
    )


def _whole_ticks(first: float, last: float) -> list[float]:
    """Ticks that are steps of the training; there is nothing between two steps."""
    return [t for t in ticks(first, last) if first <= t <= last and t == int(t)]
