"""The command line: parse, call the workflow, print.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys

import typer

from maskwright.cli import exports, networks, plans, scores, weights
from maskwright.cli.application import app
from maskwright.errors import MaskwrightError

__all__ = ["app", "exports", "main", "networks", "plans", "scores", "weights"]


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
