"""Candidates against findings: detection scores of tables of points."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from maskwright.evaluate.detection import (
    LUNA16_UNKNOWN_DIAMETER_MM,
    Candidate,
    Finding,
    Froc,
    froc,
    parse_candidates,
    parse_findings,
)
from maskwright.io.durable import write_text
from maskwright.io.table import read_table
from maskwright.progress import Events


def evaluate_candidates(
    candidates: str | Path,
    findings: str | Path,
    *,
    scans: str | Path | None = None,
    excluded: str | Path | None = None,
    json_file: str | Path | None = None,
    seed: int = 0,
    events: Events | None = None,
) -> Froc:
    """Score detections as LUNA16 does: sensitivity at fixed false positives per scan.

    Args:
        candidates: CSV with ``seriesuid,coordX,coordY,coordZ,probability``, world mm.
        findings: CSV with ``seriesuid,coordX,coordY,coordZ,diameter_mm``.
        scans: File with one scan a line. Without it the scans that either table names count, so
            that a scan without finding and candidate is not seen.
        excluded: CSV of findings that count neither way, as ``findings``; a negative diameter is
            unknown and taken as 10 mm, as LUNA16 does.
        json_file: Where to write all numbers.
        seed: Seed of the resampling.
        events: Where progress is told.

    Returns:
        Sensitivities, their mean (CPM), and intervals over scans.

    Raises:
        DataError: For a value that is no number, a missing column, or a scan that is not listed.

    Example:
        ``evaluate_candidates("found.csv", "annotations.csv").cpm``
    """
    events = events or Events()
    marks = parse_candidates(read_table(Path(candidates)), str(candidates))
    truths = parse_findings(read_table(Path(findings)), str(findings))
    others: Sequence[Finding] = ()
    if excluded is not None:
        others = parse_findings(
            read_table(Path(excluded)),
            str(excluded),
            unknown_diameter_mm=LUNA16_UNKNOWN_DIAMETER_MM,
        )
    if scans is not None:
        lines = Path(scans).read_text(encoding="utf-8-sig").split()
        listed = [line for line in lines if line.lower() != "seriesuid"]
    else:
        listed = _named(marks, truths)
        events.send(
            "message",
            text=f"{len(listed)} scans are named by the tables. Scans without finding and "
            "candidate count too: list all of them with --scans.",
        )
    result = froc(marks, truths, listed, others, seed=seed)
    if json_file is not None:
        write_text(Path(json_file), json.dumps(result.to_json(), indent=2) + "\n")
    return result


def _named(marks: Sequence[Candidate], truths: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys([*(f.scan for f in truths), *(c.scan for c in marks)]))
