"""The command that cancels. It says first what it does."""

from __future__ import annotations

from typing import Annotated

import typer

from bakehouse_worker.cli.options import DataDir, Job, Yes, ask, console, store


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(cancel)


def cancel(
    custom_id: Annotated[str | None, typer.Argument(help="The caller's custom_id.")] = None,
    job: Job = None,
    batch: Annotated[int | None, typer.Option(help="A batch's number, as `bakehouse status` has it.")] = None,
    yes: Yes = False,
    data_dir: DataDir = None,
) -> None:
    """Cancel a record, a job or a batch. What is not sent is canceled at once; what is sent, at the API.

    What had run at the API by then is billed, and its answers are stored and delivered. Nothing canceled is sent again; the same
    record enqueued again stays canceled, unless it is enqueued to replace what is known.
    """
    from bakehouse_worker import cancel as canceling
    from bakehouse_worker import log

    log.configure("CRITICAL")  # what there is to say is said below
    runtime = store(data_dir)
    plan = canceling.plan(runtime, custom_id=custom_id, job=job, batch_id=batch)
    ask(canceling.planned(plan), yes)
    if batch is not None:
        outcome = canceling.cancel_batch(runtime, batch)
    elif custom_id is not None:
        outcome = canceling.cancel_record(runtime, custom_id, job)
    else:
        outcome = canceling.cancel_job(runtime, job or "")
    for line in canceling.told(outcome):
        console().print(line, highlight=False, soft_wrap=True, markup=False)
