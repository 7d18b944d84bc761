"""Sensitivity against false positives per scan, as a result that is kept, printed and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from maskwright.evaluate.case import number, plain
from maskwright.evaluate.findings import Finding
from maskwright.evaluate.resampling import MIN_GROUPS

Interval = tuple[float, float]


@dataclass(frozen=True)
class Froc:
    """Sensitivity against false positives per scan.

    Args:
        rates: False positives per scan at which the curve is read.
        sensitivities: Share of the findings that is found at each rate; NaN without findings.
        cpm: Their mean (competition performance metric); NaN without findings.
        interval: 95 % bootstrap interval of ``cpm`` over scans; ``None`` below three scans.
        sensitivity_intervals: The same for each rate.
        curve_fp_per_scan: False positives per scan where the curve turns; it starts at (0, 0).
        curve_sensitivity: Sensitivity at each turn.
        curve_threshold: Probability that a mark must reach at each turn.
        n_scans: Listed scans.
        found: Findings that a mark hits, whatever its probability.
        missed: Findings that no mark hits.
        false_positives: Marks that hit nothing.
        ignored_excluded: Marks that were removed because they hit an excluded finding.
        ignored_duplicates: Marks that hit a finding which has a more probable one.
        ignored_beyond: Marks beyond the most probable ones of their scan.
        resamples: Bootstrap resamples behind the intervals.
        reason: Why the sensitivities are NaN.
    """

    rates: tuple[float, ...]
    sensitivities: tuple[float, ...]
    cpm: float
    interval: Interval | None
    sensitivity_intervals: tuple[Interval, ...] | None
    curve_fp_per_scan: tuple[float, ...]
    curve_sensitivity: tuple[float, ...]
    curve_threshold: tuple[float, ...]
    n_scans: int
    found: tuple[Finding, ...]
    missed: tuple[Finding, ...]
    false_positives: int
    ignored_excluded: int
    ignored_duplicates: int
    ignored_beyond: int
    resamples: int
    reason: str | None = None

    @property
    def n_findings(self) -> int:
        """All findings, found or missed."""
        return len(self.found) + len(self.missed)

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN as ``None`` with its reason."""
        return {
            **asdict(self),
            "sensitivities": [plain(value) for value in self.sensitivities],
            "curve_sensitivity": [plain(value) for value in self.curve_sensitivity],
            "cpm": plain(self.cpm),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Froc:
        """The result that :meth:`to_json` wrote."""
        ends, all_ends = values["interval"], values["sensitivity_intervals"]
        read = {
            **values,
            "rates": tuple(values["rates"]),
            "sensitivities": tuple(number(value) for value in values["sensitivities"]),
            "cpm": number(values["cpm"]),
            "interval": None if ends is None else (ends[0], ends[1]),
            "sensitivity_intervals": None
            if all_ends is None
            else tuple((low, high) for low, high in all_ends),
            "curve_fp_per_scan": tuple(values["curve_fp_per_scan"]),
            "curve_sensitivity": tuple(number(value) for value in values["curve_sensitivity"]),
            "curve_threshold": tuple(values["curve_threshold"]),
        }
        for key in ("found", "missed"):
            read[key] = tuple(
                Finding(f["scan"], tuple(f["position_xyz_mm"]), f["diameter_mm"])
                for f in values[key]
            )
        return Froc(**read)

    def table(self) -> list[list[str]]:
        """A header and the sensitivity at each rate, as text."""
        rows = [["false positives per scan", *(f"{rate:g}" for rate in self.rates)]]
        rows.append(["sensitivity", *(f"{value:.3f}" for value in self.sensitivities)])
        if self.sensitivity_intervals is not None:
            ends = (f"{low:.2f}–{high:.2f}" for low, high in self.sensitivity_intervals)
            rows.append(["95 % interval", *ends])
        return rows

    def sentence(self) -> str:
        """The mean sensitivity and what was counted, in words."""
        if self.reason is not None:
            return f"No sensitivity: {self.reason}."
        interval = f"no interval below {MIN_GROUPS} scans"
        if self.interval is not None:
            interval = "95 % interval {:.3f}–{:.3f}".format(*self.interval)
        left_out = (
            (self.ignored_excluded, "on excluded findings"),
            (self.ignored_duplicates, "on findings that have a more probable one"),
            (self.ignored_beyond, "beyond the limit of their scan"),
        )
        notes = [
            f"{count} mark{'s' if count > 1 else ''} {what}" for count, what in left_out if count
        ]
        ignored = f" Not counted: {', '.join(notes)}." if notes else ""
        return (
            f"CPM {self.cpm:.4f} ({interval}) on {self.n_scans} scans: {len(self.found)} of "
            f"{self.n_findings} findings are hit by some mark, {self.false_positives} marks hit "
            f"nothing.{ignored}"
        )
