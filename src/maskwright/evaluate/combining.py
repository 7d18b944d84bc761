"""Summaries of separate sets of images as one, where the single images are no longer known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from maskwright.evaluate.summary import Estimate, Summary

_NO_IMAGE = "no image has a value"
_APART = "only computed for each part"


def combine_summaries(parts: Sequence[Summary]) -> Summary:
    """One summary of several sets that share no image: m = Σ nᵢ mᵢ / Σ nᵢ.

    Means over images are exact. What needs the single images is left out: intervals, and the
    measures of summed counts.

    Args:
        parts: Summaries of the same classes.

    Example:
        >>> from maskwright.evaluate.measuring import score_case
        >>> from maskwright.evaluate.summary import summarise
        >>> import numpy as np
        >>> truth = np.array([[0, 1], [1, 1]])
        >>> one, two = (
        ...     summarise([score_case(name, predicted, truth, 2)], ("cell", "membrane"))
        ...     for name, predicted in (("a", truth), ("b", 0 * truth)))
        >>> combine_summaries([one, two]).headline.mean
        0.5
    """
    first = parts[0]
    measures = {
        name: {
            measure: _combined([part.measures[name][measure] for part in parts])
            for measure in by_measure
            if all(measure in part.measures[name] for part in parts)
        }
        for name, by_measure in first.measures.items()
    }
    return Summary(
        first.class_names,
        sum(part.n for part in parts),
        sum(part.n_groups for part in parts),
        _combined([part.headline for part in parts]),
        measures,
        tuple(name for part in parts for name in part.missing),
        tuple(name for part in parts for name in part.extra),
        tuple(item for part in parts for item in part.undefined),
        first.unit if all(part.unit == first.unit for part in parts) else "px",
        first.tolerance,
    )


def _combined(parts: Sequence[Estimate]) -> Estimate:
    used = sum(part.n_used for part in parts)
    total = sum(part.mean * part.n_used for part in parts if part.n_used)
    return Estimate(
        total / used if used else math.nan,
        None,
        used,
        sum(part.n for part in parts),
        math.nan,
        None if used else _NO_IMAGE,
        _APART,
    )
