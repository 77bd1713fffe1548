"""The command line, `bakehouse ...`. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from bakehouse import BakehouseError, __version__
from bakehouse_worker.cli import batch, cancel, dead, erasing, holding, jobs, looking, roles


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


app = typer.Typer(
    name="bakehouse",
    help="Claude work through the Message Batches API at half the price: nothing lost, nothing paid twice, nothing hidden.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Claude work through the Message Batches API at half the price: nothing lost, nothing paid twice, nothing hidden."""


for group in (jobs, looking, dead, holding, cancel, erasing, roles, batch):
    group.register(app)


def main() -> None:
    """Run a command. What a person can mend is one sentence and exit code 2; an interrupt is 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except BakehouseError as error:
        sys.stderr.write(f"bakehouse: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
