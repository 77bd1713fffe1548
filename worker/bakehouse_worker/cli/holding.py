"""Commands that stop and start submissions by hand: pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse_worker.cli.options import DataDir, console, store

if TYPE_CHECKING:
    from bakehouse_worker.runtime import Runtime

OfJob = Annotated[str | None, typer.Option("--job", "-j", help="Only this job's records.")]
OfModel = Annotated[str | None, typer.Option("--model", "-m", help="Only records that ask for this model.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (pause, resume):
        app.command()(command)


def pause(
    job: OfJob = None,
    model: OfModel = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="What `status` tells.")] = "paused by hand",
    data_dir: DataDir = None,
) -> None:
    """Send nothing more, until resume. What is at the API goes on there and is collected."""
    from bakehouse_worker import pausing

    _tell(pausing.pause(store(data_dir), reason, job=job, model=model))


def resume(job: OfJob = None, model: OfModel = None, data_dir: DataDir = None) -> None:
    """Let submissions go on at once, whatever stopped them; or those of a job or model that is parked."""
    from bakehouse_worker import pausing

    runtime = store(data_dir)
    _tell(pausing.resume(runtime, job=job, model=model))
    _tell_parked(runtime)


def _tell(said: str) -> None:
    console().print(said, highlight=False, soft_wrap=True, markup=False)


def _tell_parked(runtime: Runtime) -> None:
    from bakehouse_worker.store import holds

    for each in holds.parked(runtime.database):
        _tell(f"still parked: {each.what} {each.name} ({each.reason})")
