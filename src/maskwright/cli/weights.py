"""The command that takes over weights of other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.application import (
    Json,
    Labels,
    Preset,
    Quiet,
    Settings,
    app,
    print_json,
    print_table,
)


class Concat(StrEnum):
    """Orders in which decoders join their inputs."""

    skip_first = "skip-first"
    up_first = "up-first"


@app.command("import-weights")
def import_weights(
    file: Annotated[
        Path, typer.Argument(help="Weights: .safetensors, .pth or .pt.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
    preset: Preset = "unet",
    settings: Settings = None,
    labels: Labels = None,
    concat: Annotated[
        Concat, typer.Option(help="Which comes first where their decoder joins skip and upsampled.")
    ] = Concat.skip_first,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a run of the weights of another program's U-Net, matched by shape and order.

    Example: maskwright import-weights unet.pth --out runs/theirs --set width=64 --set channels=3
    """
    from maskwright.workflow.importing import import_weights as run_import

    done = run_import(
        file,
        out,
        preset=preset,
        settings=tuple(settings or ()),
        labels=labels,
        concat=concat.value,
    )
    if as_json:
        rows = [
            {"file": r.theirs, "network": r.ours, "shape": list(r.shape), "change": r.change}
            for r in done.rows
        ]
        print_json({"run": str(done.run.path), "tensors": rows, "notes": list(done.notes)})
        return
    if not quiet:
        print_table(done.table())
        typer.echo("")
    for note in done.notes:
        typer.echo(note)
    typer.echo(f"run: {done.run.path}")
