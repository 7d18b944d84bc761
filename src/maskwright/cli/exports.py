"""The commands that write networks in other formats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.application import Json, Quiet, app, listening, print_json


class Format(StrEnum):
    """Formats of exported networks."""

    onnx = "onnx"
    openvino = "openvino"
    torchscript = "torchscript"
    keras = "keras"
    bioimageio = "bioimageio"


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    format: Annotated[
        Format | None, typer.Option(help="By default as the suffix of --out says.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Image to compare on [default: a test image of the run].")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a network as ONNX, OpenVINO, TorchScript, Keras or bioimage.io, and verify the file.

    Example: maskwright export runs/cells --format onnx --out cells.onnx
    """
    from maskwright.workflow.exporting import export as run_export

    with listening(quiet) as events:
        done = run_export(
            run,
            out,
            format=None if format is None else format.value,
            image=image,
            overwrite=overwrite,
            events=events,
        )
    if as_json:
        print_json(
            {
                "files": [str(path) for path in done.files],
                "compared_on": done.verification.image,
                "largest_difference": done.verification.largest,
            }
        )
        return
    typer.echo(", ".join(str(path) for path in done.files))
    typer.echo(done.verification.sentence())


@app.command()
def quantise(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help="Where its images are, if they were moved.")
    ] = None,
    tiles: Annotated[
        int, typer.Option(min=1, max=1000, help="Tiles of training images to measure ranges on.")
    ] = 128,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add the network in 8-bit integers to a run, and measure the Dice that it loses.

    Example: maskwright quantise runs/cells
    """
    from maskwright.workflow.quantising import quantise as run_quantise

    with listening(quiet) as events:
        made = run_quantise(run, data=data, tiles=tiles, events=events)
    if as_json:
        print_json(made.to_json())
        return
    typer.echo("\n".join(made.sentences()))
