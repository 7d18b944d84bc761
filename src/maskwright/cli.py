"""The command line: parse, call the workflow, print.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import Interrupted, MaskwrightError

if TYPE_CHECKING:
    from maskwright.evaluate.summary import Summary
    from maskwright.progress import Events

app = typer.Typer(
    name="maskwright",
    help="From a folder of images and hand-drawn masks to a trained U-Net, masks and a report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[Path, typer.Argument(help="Folder with images/ and masks/.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and results.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated."),
]
Labels = Annotated[
    str | None,
    typer.Option(metavar="NAME=VALUE,…", help="Meaning of mask values, background first."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Part of a name that must not be split (a patient)."),
]
ObjectIds = Annotated[
    bool | None,
    typer.Option("--objects/--no-objects", help="Mask values number objects [default: look]."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="0")]
Preset = Annotated[str, typer.Option(help="unet or ronneberger2015.")]


@contextmanager
def _events(quiet: bool) -> Iterator[Events]:
    from maskwright.progress import Events, TerminalBar

    with TerminalBar(quiet=quiet) as bar:
        try:
            yield Events([bar])
        except KeyboardInterrupt as error:
            remedy = "run the same command again; finished files are whole"
            raise Interrupted(signal.SIGINT, "the command", remedy=remedy) from error


def _print_json(values: Any) -> None:
    typer.echo(json.dumps(values, indent=2))


@app.command()
def check(
    data: Data,
    labels: Labels = None,
    objects: ObjectIds = None,
    group_by: GroupBy = None,
    settings: Settings = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="List every image and its mask.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is there, what is wrong, and what each mask value means.

    Example: maskwright check data
    """
    from maskwright.data.check import check_dataset
    from maskwright.workflow.settings import resolve_data

    config = resolve_data(
        group_by=group_by, objects=objects, labels=labels, settings=tuple(settings or ())
    )
    with _events(quiet) as events:

        def on_case(number: int, of: int, name: str) -> None:
            events.send("reading", number=number, images=of, name=name)

        report = check_dataset(data, config, on_case=on_case)
    if as_json:
        _print_json(report.to_json())
    elif not quiet:
        typer.echo("\n".join([*(report.pairs() if pairs else ()), *report.lines()]))
    else:
        report.raise_if_refused()
    if not report.ok:
        raise typer.Exit(2)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
    minutes: Annotated[
        float | None, typer.Option(min=0.05, help="Time budget.", show_default="10")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates instead of time.")] = None,
    preset: Preset = "unet",
    settings: Settings = None,
    seed: Seed = None,
    split: Annotated[
        Path | None,
        typer.Option(help='JSON {"train": […], "validation": […], "test": […]}; globs allowed.'),
    ] = None,
    group_by: GroupBy = None,
    objects: ObjectIds = None,
    labels: Labels = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a U-Net, score it on held-out images and write a report.

    Example: maskwright train data --out runs/cells --minutes 10
    """
    from maskwright.workflow.training import train as run_training

    with _events(quiet) as events:
        run = run_training(
            data,
            out,
            minutes=minutes,
            steps=steps,
            preset=preset,
            settings=tuple(settings or ()),
            seed=seed,
            split=split,
            group_by=group_by,
            objects=objects,
            labels=labels,
            resume=resume,
            events=events,
        )
    _print_summary(_summary(run.metrics()["summary"]))
    typer.echo(f"report: {run.folder.report}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Folders, files or globs.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks.", show_default=False)],
    tile: Annotated[
        int | None, typer.Option(min=16, help="Largest tile side, for less memory.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write every class's probability.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a mask for each image, of any size.

    Example: maskwright predict runs/cells new/ --out masks
    """
    from maskwright.workflow.prediction import SUMMARY_NAME
    from maskwright.workflow.prediction import predict as run_prediction

    with _events(quiet) as events:
        found = run_prediction(
            run,
            inputs,
            out,
            tile=tile,
            probabilities=probabilities,
            overwrite=overwrite,
            events=events,
        )
    if as_json:
        typer.echo((found.folder / SUMMARY_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(f"{len(found)} masks in {found.folder}")


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks.", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="Folder of true masks.", show_default=False)],
    labels: Labels = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers to this file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score predicted masks against true ones, paired by name.

    Example: maskwright evaluate masks data/masks --json scores.json
    """
    from maskwright.workflow.scoring import evaluate as run_evaluation

    with _events(quiet) as events:
        found = run_evaluation(
            predictions, truth, labels=labels, json_file=json_file, events=events
        )
    _print_summary(found.summary)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
) -> None:
    """Write a run's report.html again.

    Example: maskwright report runs/cells
    """
    from maskwright.workflow.reporting import report as write_report

    typer.echo(f"report: {write_report(run)}")


@app.command()
def describe(
    preset: Preset = "unet",
    input_px: Annotated[
        int | None, typer.Option("--input", min=1, help="Side of a square input in pixels.")
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a network's layers, sizes, parameters, FLOPs and receptive field.

    Example: maskwright describe --preset ronneberger2015 --input 572
    """
    from maskwright.workflow.description import describe as build_description
    from maskwright.workflow.description import table

    found = build_description(preset=preset, input_px=input_px, settings=tuple(settings or ()))
    if as_json:
        _print_json(found)
    else:
        typer.echo("\n".join(table(found)))


@app.command()
def sample(
    name: Annotated[str, typer.Argument(help="membranes.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    images: Annotated[int, typer.Option(help="Number of images.")] = 24,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sample.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write the embedded sample: simulated images with their masks.

    Example: maskwright sample membranes --out sample --images 24
    """
    from maskwright.data.sample import write_sample

    write_sample(name, out, images=images, size_px=size, seed=seed, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{images} simulated images with masks in {out} (not real data)")


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Argument(help="Your own folder instead of the sample.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo-run"),
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 2.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demonstration.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Go the whole way in a few minutes: sample, train, predict, evaluate, report.

    Example: maskwright demo --out demo-run
    """
    from maskwright.workflow.demonstration import demonstrate

    with _events(quiet) as events:
        shown = demonstrate(data, out, minutes=minutes, overwrite=overwrite, events=events)
    typer.echo("")
    _print_summary(shown.evaluation.summary)
    typer.echo("")
    for method, values in shown.run.metrics()["baselines"].items():
        dice = _summary(values).headline.mean
        typer.echo(f"for comparison, {method}: mean Dice {dice:.3f}")
    if shown.simulated:
        typer.echo("These images are simulated; nothing here is a measurement.")
    typer.echo(f"masks:  {shown.masks}")
    typer.echo(f"report: {shown.run.folder.report}")


def _summary(values: dict[str, Any]) -> Summary:
    from maskwright.evaluate.summary import Summary

    return Summary.from_json(values)


def _print_summary(summary: Summary) -> None:
    rows = summary.table()
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        typer.echo("  ".join(cells))
        if number == 0:
            typer.echo("  ".join("-" * width for width in widths))
    typer.echo(summary.sentence())
    if summary.missing:
        typer.echo(f"no prediction (counted as empty): {', '.join(summary.missing)}")
    if summary.extra:
        typer.echo(f"no truth (not counted): {', '.join(summary.extra)}")


def main() -> None:
    """Run the command line; a person's mistake ends with a message and exit status 2."""
    try:
        app()
    except MaskwrightError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        # What the system refuses (no permission, a full disk) is told, not traced.
        where = error.filename or "the system"
        typer.echo(f"error: {where}: {error.strerror or error}. [system]", err=True)
        sys.exit(2)
    except MemoryError:
        typer.echo(
            "error: not enough memory. For prediction use a smaller --tile, for training --set "
            "batch=2 or --set patch_px=128. [memory]",
            err=True,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
