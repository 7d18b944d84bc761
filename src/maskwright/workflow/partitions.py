"""Scores of partitions over a set of slices: one table a class, one global threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.evaluate.partition import segments
from maskwright.evaluate.partition_curve import (
    ErrorSweep,
    ThresholdScore,
    best_threshold,
    score_thresholds,
)


class PartitionTables:
    """Collects V-Rand, V-Info, Rand and pixel error at each threshold, slice by slice.

    Args:
        names: Names of the classes; each is scored as if it were the cells.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._slices: list[list[tuple[ThresholdScore, ...]]] = [[] for _ in names]
        self._rand = [ErrorSweep("rand") for _ in names]
        self._pixel = [ErrorSweep("pixel") for _ in names]

    def add(
        self,
        probabilities_KYX: NDArray[Any],
        truth_YX: NDArray[Any],
        objects_YX: NDArray[Any] | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Score one slice.

        Args:
            probabilities_KYX: Probability of each class.
            truth_YX: True class ids.
            objects_YX: Numbered true objects of class 1, where there are such; by default the
                connected pieces of each class.
            valid: Region of interest.
        """
        for k, _ in enumerate(self._names):
            pieces = segments(truth_YX == k)
            if objects_YX is not None and k == 1:
                pieces = objects_YX
            probability_YX = probabilities_KYX[k].clip(0, 1)
            self._slices[k].append(score_thresholds(probability_YX, pieces, valid=valid))
            self._rand[k].add(probability_YX, pieces, valid)
            self._pixel[k].add(probability_YX, pieces, valid)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain values by class: the rows and the best of each measure with its threshold."""
        tables = {}
        for k, name in enumerate(self._names):
            if not self._slices[k]:
                continue
            curve = best_threshold(self._slices[k])
            (rand, rand_at), (pixel, pixel_at) = self._rand[k].result(), self._pixel[k].result()
            tables[name] = {
                "rows": [[row.threshold, row.v_rand.f, row.v_info.f] for row in curve.rows],
                "best_v_rand": [curve.best_v_rand.threshold, curve.best_v_rand.v_rand.f],
                "best_v_info": [curve.best_v_info.threshold, curve.best_v_info.v_info.f],
                "rand_error": [rand_at, rand],
                "pixel_error": [pixel_at, pixel],
                "slices": curve.slices,
            }
        return tables


def partition_lines(tables: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The tables as text: a header, one row a threshold, and the best values last."""
    if not tables:
        return []
    header = ["threshold"]
    for name in tables:
        header += [f"V-Rand of {name}", f"V-Info of {name}"]
    rows = [header]
    first = next(iter(tables.values()))
    for index, (threshold, _, _) in enumerate(first["rows"]):
        row = [f"{threshold:.1f}"]
        for table in tables.values():
            row += [f"{value:.4f}" for value in table["rows"][index][1:]]
        rows.append(row)
    best = ["best (at)"]
    for table in tables.values():
        for key in ("best_v_rand", "best_v_info"):
            at, value = table[key]
            best.append(f"{value:.4f} ({at:.1f})")
    return [*rows, best]
