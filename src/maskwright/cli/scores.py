"""Commands that measure, compare and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.application import (
    GroupBy,
    Labels,
    ObjectIds,
    Quiet,
    Seed,
    app,
    listening,
    print_summary,
    print_table,
)

Truth = Annotated[Path, typer.Argument(help="Folder of true masks, or one mask.")]
Region = Annotated[
    Path | None,
    typer.Option("--roi", help="Masks of the region that counts [default: roi/ of the truth]."),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        min=0, help="Of the surface Dice, in mm (pixels without --spacing).", show_default="1"
    ),
]
Spacing = Annotated[
    str | None, typer.Option(metavar="MM,MM[,MM]", help="Pixel size along Z,Y,X (array order).")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all numbers to this file.")]


def _spacing(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        from maskwright.errors import ConfigError

        raise ConfigError(
            "spacing-form",
            "--spacing",
            expected="numbers in mm, one an axis, such as 3,0.7,0.7",
            found=repr(text),
            remedy="write Z,Y,X with commas and decimal points",
        ) from error


@app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of masks, one mask, or a CSV of candidates.")
    ],
    truth: Truth,
    labels: Labels = None,
    objects: ObjectIds = None,
    roi: Region = None,
    group_by: GroupBy = None,
    tolerance: Tolerance = None,
    spacing: Spacing = None,
    measures: Annotated[
        str | None,
        typer.Option(
            metavar="GROUP,…",
            help="surface, objects, partition, topology, calibration, ranking, or all.",
            show_default="surface,objects,calibration,ranking",
        ),
    ] = None,
    json_file: JsonFile = None,
    table_file: Annotated[
        Path | None,
        typer.Option("--table", help="One row an image and class: .csv, .parquet or .json."),
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write a report, one HTML file.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, for the report's pictures.")
    ] = None,
    scans: Annotated[
        Path | None, typer.Option(help="Candidates only: file with one scan a line.")
    ] = None,
    excluded: Annotated[
        Path | None, typer.Option(help="Candidates only: CSV of findings that count neither way.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score predicted masks against true ones, paired by name; made by any tool.

    Reads PNG, TIFF, NIfTI, MetaImage, NRRD, NumPy and Zarr. A table of candidates
    (seriesuid,coordX,coordY,coordZ,probability) against a table of findings
    (…,diameter_mm) gives the FROC of LUNA16.

    Example: maskwright evaluate masks data/masks --json scores.json --report scores.html
    """
    if predictions.suffix.lower() == ".csv":
        _candidates(predictions, truth, scans, excluded, json_file, quiet)
        return
    from maskwright.workflow.evaluation import evaluate as run_evaluation

    with listening(quiet) as events:
        found = run_evaluation(
            predictions,
            truth,
            labels=labels,
            objects=objects,
            roi=roi,
            group_by=group_by,
            tolerance=tolerance,
            spacing=_spacing(spacing),
            measures=measures,
            json_file=json_file,
            table_file=table_file,
            report_file=report_file,
            images=images,
            events=events,
        )
    print_summary(found.summary)
    if found.partitions:
        from maskwright.workflow.partitions import partition_lines

        print_table(partition_lines(found.partitions))
    for line in found.notes():
        typer.echo(line)
    if report_file is not None:
        typer.echo(f"report: {report_file}")


def _candidates(
    candidates: Path,
    findings: Path,
    scans: Path | None,
    excluded: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    from maskwright.workflow.detecting import evaluate_candidates

    with listening(quiet) as events:
        found = evaluate_candidates(
            candidates,
            findings,
            scans=scans,
            excluded=excluded,
            json_file=json_file,
            events=events,
        )
    print_table(found.table())
    typer.echo(found.sentence())


@app.command()
def compare(
    methods: Annotated[
        list[Path], typer.Argument(metavar="METHOD…", help="Run folders or folders of masks.")
    ],
    truth: Annotated[Path, typer.Option(help="Folder of true masks.", show_default=False)],
    measure: Annotated[str, typer.Option(help="What to compare, such as dice, hd95, pq.")] = "dice",
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class [default: mean Dice of all but the first].")
    ] = None,
    labels: Labels = None,
    objects: ObjectIds = None,
    roi: Region = None,
    group_by: GroupBy = None,
    tolerance: Tolerance = None,
    spacing: Spacing = None,
    json_file: JsonFile = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Compare methods on the same images: differences, intervals, tests, rank stability.

    Example: maskwright compare runs/a runs/b --truth data/masks --json comparison.json
    """
    from maskwright.workflow.comparing import compare as run_comparison

    with listening(quiet) as events:
        found = run_comparison(
            methods,
            truth,
            measure=measure,
            class_name=class_name,
            labels=labels,
            objects=objects,
            roi=roi,
            group_by=group_by,
            tolerance=tolerance,
            spacing=_spacing(spacing),
            json_file=json_file,
            seed=seed or 0,
            events=events,
        )
    print_table(found.table())
    typer.echo(found.sentence())


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
) -> None:
    """Write a run's report.html and its figures again.

    Example: maskwright report runs/cells
    """
    from maskwright.workflow.reporting import report as write_report

    typer.echo(f"report: {write_report(run)}")
