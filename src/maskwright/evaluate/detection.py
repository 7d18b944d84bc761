"""Detection of findings by marks: the free-response curve (FROC) as LUNA16 evaluates it.

A mark hits a finding when its distance from the centre is strictly below the radius. In order:

1. In each scan at most ``max_marks`` marks count, the most probable ones. Where marks are tied
   at the cut all of them go, so that the order of the file decides nothing.
2. A finding is found with the probability of the most probable mark that hits it; its other hits
   count neither way. A mark inside two findings finds both. A finding that nothing hits stays in
   the denominator.
3. Of the other marks, those that hit an excluded finding are removed.
4. The rest are false positives, counted per listed scan, also those without any mark.

These are the steps of the official evaluation. As there, marks of one probability make one point
of the curve, and points are joined by straight lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ConfigError, DataError
from maskwright.evaluate.findings import (
    LUNA16_UNKNOWN_DIAMETER_MM,
    Candidate,
    Finding,
    parse_candidates,
    parse_findings,
    voxel_to_world,
    world_to_voxel,
)
from maskwright.evaluate.froc import Froc, Interval
from maskwright.evaluate.resampling import MIN_GROUPS

__all__ = [
    "LUNA16_RATES",
    "LUNA16_UNKNOWN_DIAMETER_MM",
    "Candidate",
    "Finding",
    "Froc",
    "froc",
    "parse_candidates",
    "parse_findings",
    "voxel_to_world",
    "world_to_voxel",
]

LUNA16_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)

Placed = TypeVar("Placed", Candidate, Finding)


@dataclass(frozen=True)
class _Verdict:
    """What became of the marks and findings of one scan."""

    found: tuple[Finding, ...]
    found_probability: tuple[float, ...]
    missed: tuple[Finding, ...]
    wrong_probability: tuple[float, ...]
    excluded: int
    duplicates: int
    beyond: int


@dataclass(frozen=True)
class _Events:
    """Findings found and false positives, the most probable first, and the findings missed."""

    scan: NDArray[np.int64]
    probability: NDArray[np.float64]
    hit: NDArray[np.bool_]
    missed_scan: NDArray[np.int64]


def froc(
    candidates: Sequence[Candidate],
    findings: Sequence[Finding],
    scans: Sequence[str],
    excluded: Sequence[Finding] = (),
    max_marks: int = 100,
    rates: Sequence[float] = LUNA16_RATES,
    resamples: int = 1000,
    seed: int = 0,
) -> Froc:
    """Free-response curve and its mean sensitivity at the given rates (CPM), from 0 to 1.

    The module's text says which marks count. Between points of the curve the sensitivity is
    interpolated, beyond its last point it stays. Without findings it is undefined: NaN.

    Args:
        candidates: Marks of the program, world coordinates in mm.
        findings: What it was to find.
        scans: Every scan that was searched, also those without marks or findings.
        excluded: Findings that count neither way, such as those too small to matter.
        max_marks: Most marks that count in one scan.
        rates: False positives per scan at which the curve is read.
        resamples: Bootstrap resamples of the scans for the 95 % intervals.
        seed: Seed of the resampling.

    Returns:
        The curve, its mean and what became of every mark.

    Raises:
        ConfigError: For rates or numbers of marks that are not positive.
        DataError: If a scan is listed twice or no scan is, or a mark or finding lies in a scan
            that is not listed.

    Source: Setio et al. 2017, Medical Image Analysis 42:1, and its evaluation script
    (``noduleCADEvaluationLUNA16``); the mean is that of Niemeijer et al. 2011, IEEE Transactions
    on Medical Imaging 30:215.

    Example:
        >>> nodule = Finding("a", (0.0, 0.0, 0.0), diameter_mm=6.0)
        >>> marks = [Candidate("a", (2.9, 0.0, 0.0), 0.6), Candidate("a", (9.0, 0.0, 0.0), 0.7)]
        >>> froc(marks, [nodule], ["a", "b"]).sensitivities
        (0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    """
    _check_settings(max_marks, rates)
    index = _index(scans)
    marks = _by_scan(candidates, index, "candidates")
    targets, others = _by_scan(findings, index, "findings"), _by_scan(excluded, index, "excluded")
    verdicts = [
        _judge(*scan, max_marks=max_marks) for scan in zip(marks, targets, others, strict=True)
    ]
    events = _events(verdicts)
    grid = np.array(rates, np.float64)
    sensitivities = _read(events, np.ones(len(scans)), grid)
    interval, sensitivity_intervals = _intervals(events, grid, len(scans), resamples, seed)
    fp_per_scan, sensitivity, threshold = _turns(events, len(scans))
    found = tuple(finding for verdict in verdicts for finding in verdict.found)
    missed = tuple(finding for verdict in verdicts for finding in verdict.missed)
    return Froc(
        rates=tuple(grid.tolist()),
        sensitivities=tuple(sensitivities.tolist()),
        cpm=float(sensitivities.mean()),
        interval=interval,
        sensitivity_intervals=sensitivity_intervals,
        curve_fp_per_scan=fp_per_scan,
        curve_sensitivity=sensitivity,
        curve_threshold=threshold,
        n_scans=len(scans),
        found=found,
        missed=missed,
        false_positives=int((~events.hit).sum()),
        ignored_excluded=sum(verdict.excluded for verdict in verdicts),
        ignored_duplicates=sum(verdict.duplicates for verdict in verdicts),
        ignored_beyond=sum(verdict.beyond for verdict in verdicts),
        resamples=resamples,
        reason=None if found or missed else "the listed scans have no findings",
    )


def _check_settings(max_marks: int, rates: Sequence[float]) -> None:
    if max_marks < 1 or not rates or not all(0 < rate < math.inf for rate in rates):
        raise ConfigError(
            "froc-settings",
            "free-response curve",
            expected="rates above 0 and at least one mark for each scan",
            found=f"rates {tuple(rates)} and {max_marks} marks",
            remedy="leave both out to evaluate as LUNA16 does",
        )


def _index(scans: Sequence[str]) -> dict[str, int]:
    index = {scan: position for position, scan in enumerate(scans)}
    if not scans or len(index) < len(scans):
        twice = sorted({scan for position, scan in enumerate(scans) if index[scan] != position})
        raise DataError(
            "froc-scans",
            "list of scans",
            expected="every scan that was searched, once",
            found=f"{', '.join(twice[:3])} twice" if twice else "no scan",
            remedy="list each scan once, also those without marks",
        )
    return index


def _by_scan(items: Iterable[Placed], index: Mapping[str, int], subject: str) -> list[list[Placed]]:
    groups: list[list[Placed]] = [[] for _ in index]
    for item in items:
        if item.scan not in index:
            raise DataError(
                "froc-scan-unlisted",
                subject,
                expected="scans of the list",
                found=item.scan,
                remedy="add it to the list if it was searched, or leave its rows out",
            )
        groups[index[item.scan]].append(item)
    return groups


def _judge(
    marks: Sequence[Candidate],
    findings: Sequence[Finding],
    excluded: Sequence[Finding],
    *,
    max_marks: int,
) -> _Verdict:
    kept = list(marks)
    if len(marks) > max_marks:
        cut = sorted((mark.probability for mark in marks), reverse=True)[max_marks]
        kept = [mark for mark in marks if mark.probability > cut]
    probability_M = np.array([mark.probability for mark in kept])
    hits_MF = _hits(kept, findings)
    best = [
        int(np.argmax(np.where(hits_M, probability_M, -np.inf))) if hits_M.any() else None
        for hits_M in hits_MF.T
    ]
    hit_M = hits_MF.any(axis=1)
    excluded_M = ~hit_M & _hits(kept, excluded).any(axis=1)
    pairs = list(zip(findings, best, strict=True))
    return _Verdict(
        found=tuple(finding for finding, mark in pairs if mark is not None),
        found_probability=tuple(float(probability_M[mark]) for mark in best if mark is not None),
        missed=tuple(finding for finding, mark in pairs if mark is None),
        wrong_probability=tuple(probability_M[~hit_M & ~excluded_M].tolist()),
        excluded=int(excluded_M.sum()),
        duplicates=int(hit_M.sum()) - len(set(best) - {None}),
        beyond=len(marks) - len(kept),
    )


def _hits(marks: Sequence[Candidate], findings: Sequence[Finding]) -> NDArray[np.bool_]:
    """Which mark lies inside which finding, shape ``(marks, findings)``."""
    marks_M3 = np.array([mark.position_xyz_mm for mark in marks]).reshape(-1, 1, 3)
    findings_F3 = np.array([finding.position_xyz_mm for finding in findings]).reshape(1, -1, 3)
    radius_F = np.array([finding.diameter_mm / 2 for finding in findings])
    hits_MF: NDArray[np.bool_] = ((marks_M3 - findings_F3) ** 2).sum(axis=2) < radius_F**2
    return hits_MF


def _events(verdicts: Sequence[_Verdict]) -> _Events:
    rows = [
        (scan, probability, hit)
        for scan, verdict in enumerate(verdicts)
        for probabilities, hit in (
            (verdict.found_probability, True),
            (verdict.wrong_probability, False),
        )
        for probability in probabilities
    ]
    rows.sort(key=lambda row: -row[1])
    return _Events(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64),
        np.array([row[2] for row in rows], np.bool_),
        np.repeat(np.arange(len(verdicts)), [len(verdict.missed) for verdict in verdicts]),
    )


def _curve(
    events: _Events, times_S: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positives and findings found at each threshold, scans counted ``times_S`` times.

    Marks of one probability enter together: no threshold can tell them apart.
    """
    times_E = times_S[events.scan]
    last_E = np.append(np.diff(events.probability), -np.inf)[: events.hit.size] != 0
    fp, tp = np.cumsum(times_E * ~events.hit)[last_E], np.cumsum(times_E * events.hit)[last_E]
    return np.concatenate(([0.0], fp)), np.concatenate(([0.0], tp))


def _read(
    events: _Events, times_S: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sensitivity at each rate, NaN without findings."""
    fp, tp = _curve(events, times_S)
    n_findings = tp[-1] + times_S[events.missed_scan].sum()
    if not n_findings:
        return np.full(rates.shape, math.nan)
    return np.asarray(np.interp(rates, fp / times_S.sum(), tp / n_findings), np.float64)


def _intervals(
    events: _Events, rates: NDArray[np.float64], n_scans: int, resamples: int, seed: int
) -> tuple[Interval | None, tuple[Interval, ...] | None]:
    """Percentile intervals of the mean and of each rate; resamples without findings drop out."""
    generator = np.random.default_rng(seed)
    values_RK = np.full((resamples, rates.size), math.nan)
    if n_scans >= MIN_GROUPS:
        for row in values_RK:
            drawn_S = generator.integers(0, n_scans, n_scans)
            row[:] = _read(events, np.bincount(drawn_S, minlength=n_scans).astype(float), rates)
    values_RK = values_RK[~np.isnan(values_RK).any(axis=1)]
    if not values_RK.size:
        return None, None
    columns = np.column_stack((values_RK.mean(axis=1), values_RK))
    low, high = np.percentile(columns, (2.5, 97.5), axis=0).tolist()
    mean, *each = zip(low, high, strict=True)
    return mean, tuple(each)


def _turns(
    events: _Events, n_scans: int
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The curve without the points that lie on a straight line between their neighbours."""
    fp, tp = _curve(events, np.ones(n_scans))
    threshold = np.unique(events.probability)[::-1]
    step_fp, step_tp = np.diff(fp), np.diff(tp)
    bends = step_fp[:-1] * step_tp[1:] != step_fp[1:] * step_tp[:-1]
    kept = np.append(bends, True)[: threshold.size]
    n_findings = tp[-1] + events.missed_scan.size
    sensitivity = tp[1:][kept] / n_findings if n_findings else np.full(kept.sum(), math.nan)
    return (
        tuple((fp[1:][kept] / n_scans).tolist()),
        tuple(sensitivity.tolist()),
        tuple(threshold[kept].tolist()),
    )
