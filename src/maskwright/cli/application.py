"""The application, the options that several commands share, and printing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.errors import Interrupted

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

Data = Annotated[
    Path,
    typer.Argument(
        help="Folder with images/ and masks/ or another known layout, or a manifest (.csv).",
        show_default=False,
    ),
]
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
PRESETS_HELP = "unet, small, fused, attention, residual, ronneberger2015, cicek2016 or isensee2021."
Preset = Annotated[str, typer.Option(help=PRESETS_HELP)]
StartPreset = Annotated[
    str | None, typer.Option(help=PRESETS_HELP, show_default="unet, or the network of --from")
]
StartFrom = Annotated[
    Path | None,
    typer.Option("--from", metavar="RUN", help="Begin with the network and weights of a run."),
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.05, help="Time for everything, the report included.", show_default="10"),
]
Steps = Annotated[int | None, typer.Option(min=1, help="Updates instead of time.")]
SplitFile = Annotated[
    Path | None,
    typer.Option(help='JSON {"train": […], "validation": […], "test": […]}; globs allowed.'),
]
ImageLabels = Annotated[
    str | None,
    typer.Option(
        help="Class of each whole image: labels.csv, or contains:NAME of a class.",
        show_default="column image_label of a manifest; none leaves it out",
    ),
]


@contextmanager
def listening(quiet: bool) -> Iterator[Events]:
    """Progress on the terminal, and Ctrl-C told as one of our errors."""
    from maskwright.progress import Events, TerminalBar

    with TerminalBar(quiet=quiet) as bar:
        try:
            yield Events([bar])
        except KeyboardInterrupt as error:
            remedy = "run the same command again; finished files are whole"
            raise Interrupted(signal.SIGINT, "the command", remedy=remedy) from error


def print_json(values: Any) -> None:
    """Print what a program reads."""
    typer.echo(json.dumps(values, indent=2))


def read_summary(values: dict[str, Any]) -> Summary:
    """The summary that a JSON file holds."""
    from maskwright.evaluate.summary import Summary

    return Summary.from_json(values)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a header and rows, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        typer.echo("  ".join(cells).rstrip())
        if number == 0:
            typer.echo("  ".join("-" * width for width in widths))


def print_summary(summary: Summary) -> None:
    """Print the measures of a set of images, and what left a mean."""
    print_table(summary.table())
    further = summary.further_table()
    if further:
        typer.echo("")
        print_table(further)
    typer.echo(summary.sentence())
    if summary.missing:
        typer.echo(f"no prediction (counted as empty): {', '.join(summary.missing)}")
    if summary.extra:
        typer.echo(f"no truth (not counted): {', '.join(summary.extra)}")
