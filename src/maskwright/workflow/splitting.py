"""Which case of a data set a training uses for what."""

from __future__ import annotations

from pathlib import Path

from maskwright.config import RunConfig
from maskwright.data.check import CheckReport
from maskwright.data.problem import raise_first_refusal
from maskwright.data.split import Split, read_split, split_by_parts, split_cases
from maskwright.data.split_check import check_split


def choose_split(config: RunConfig, report: CheckReport, split_file: str | Path | None) -> Split:
    """The split of a data set: as a person or its manifest says it, else drawn.

    Args:
        config: Shares of the parts, and the seed.
        report: What is known of the data set.
        split_file: A split that was written down.

    Raises:
        DataError: For a split that cannot be read, parts that share something, or a class that
            no training mask shows.
    """
    data, seed = config.data, config.train.seed
    if split_file is not None:
        split = read_split(
            Path(split_file),
            report.cases,
            seed=seed,
            validation_share=data.validation_share,
            sequence=report.sequence,
            present=report.present,
        )
    else:
        split = split_by_parts(
            report.cases,
            seed=seed,
            validation_share=data.validation_share,
            sequence=report.sequence,
            subject=str(report.root),
            present=report.present,
        ) or split_cases(
            report.cases,
            seed=seed,
            validation_share=data.validation_share,
            test_share=data.test_share,
            sequence=report.sequence,
            present=report.present,
        )
    refuse_shared(split, report, expected="parts that share nothing")
    return split


def refuse_shared(split: Split, report: CheckReport, *, expected: str) -> None:
    """Refuse a split whose parts share images or groups, or lack a class.

    Args:
        split: Which image is for what.
        report: The checked data set.
        expected: What the message says of the parts.

    Raises:
        DataError: For the first problem.
    """
    problems = check_split(
        split,
        report.cases,
        digests=report.digests,
        present=report.present,
        names=report.label_map.names if report.label_map else (),
    )
    raise_first_refusal(problems, expected=expected)
