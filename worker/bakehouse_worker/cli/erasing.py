"""The command that erases."""

from __future__ import annotations

from typing import Annotated

import typer

from bakehouse_worker.cli.options import DataDir, Job, console, store


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(erase)


def erase(
    custom_id: Annotated[str, typer.Argument(help="The caller's custom_id.")],
    job: Job = None,
    data_dir: DataDir = None,
) -> None:
    """Delete one custom_id's prompts, answers and error texts, in all jobs or in one; its record stays and says so.

    A pending record is canceled; one in a batch is refused. The batch at the API is deleted with its last record's content.
    Not reached: backups and copies of the database, what handlers were given, Redis's append-only file until it is rewritten.
    """
    from bakehouse_worker import erase as erasing
    from bakehouse_worker import log

    log.configure("CRITICAL")  # what there is to say is said below
    outcome = erasing.erase(store(data_dir), custom_id, job)
    for line in erasing.told(custom_id, outcome):
        console().print(line, highlight=False, soft_wrap=True, markup=False)
