"""Commands about what failed: dead list, dead requeue, dead drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse import ConfigurationError
from bakehouse_worker.cli.options import AsJson, DataDir, Job, console, store

if TYPE_CHECKING:
    from bakehouse_worker.store.deadlist import Chosen, Selection

CustomIds = Annotated[list[str] | None, typer.Argument(metavar="[CUSTOM_ID]...", help="The callers' custom_ids.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Only with this reason, as `dead list` has it.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Only those that ask for this model.")]
All = Annotated[bool, typer.Option("--all", help="Everything that failed.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A new value of a top-level param.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    group = typer.Typer(help="What failed, and answers not as asked: list, requeue, drop.", no_args_is_help=True)
    group.command("list")(list_dead)
    group.command()(requeue)
    group.command()(drop)
    app.add_typer(group, name="dead")


def list_dead(job: Job = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Failed records by reason, answers that are not what was asked, and what is parked."""
    from bakehouse_worker import dead

    runtime = store(data_dir)
    letters = dead.list_dead(runtime, job)
    if as_json:
        print(dead.as_json(letters))
        return
    for line in dead.told(letters, runtime.database.now()):
        _say(line)


def requeue(
    custom_ids: CustomIds = None,
    job: Job = None,
    reason: Reason = None,
    model: Model = None,
    everything: All = False,
    values: Set = None,
    data_dir: DataDir = None,
    yes: Yes = False,
) -> None:
    """Send failed records again, with all their attempts; with the reason of odd answers, those.

    --set model=NAME or max_tokens=2048 changes what is asked. With --model and --set model=NAME, pending records of the old model
    get the new one, too.
    """
    from bakehouse_worker import dead, log

    log.configure("CRITICAL")  # what there is to say is said below
    wanted, changed = _selection(custom_ids, job, reason, model), dead.values_of(values or [])

    def ask(chosen: Chosen) -> None:
        new = f" with new {', '.join(changed)}" if changed else ""
        _ask(f"to be sent{new}, and paid: {dead.concerned(chosen)}", dead.left_out(chosen), yes)

    moved = dead.requeue(store(data_dir), wanted, changed, everything=everything, ask=ask)
    _say(f"requeued: {dead.concerned(moved)}", dead.left_out(moved))
    _say_missing(wanted, moved.failed + moved.succeeded + moved.pending + moved.erased + moved.pruned)


def drop(
    custom_ids: CustomIds = None,
    job: Job = None,
    reason: Reason = None,
    model: Model = None,
    everything: All = False,
    data_dir: DataDir = None,
    yes: Yes = False,
) -> None:
    """Give failed records up: they end as canceled, and stay in `show` and `export`."""
    from bakehouse_worker import dead, log

    log.configure("CRITICAL")
    wanted = _selection(custom_ids, job, reason, model)
    if dead.is_odd(reason):
        raise ConfigurationError(f"{reason} is said of answers, and only what failed can be dropped")
    runtime = store(data_dir)
    moved = dead.drop(
        runtime,
        wanted,
        everything=everything,
        ask=lambda chosen: _ask(f"to be given up: {dead.concerned(chosen)}", "", yes),
    )
    _say(f"dropped: {dead.concerned(moved)}")
    _say_missing(wanted, moved.failed)


def _selection(custom_ids: list[str] | None, job: str | None, reason: str | None, model: str | None) -> Selection:
    from bakehouse_worker.store.deadlist import Selection

    return Selection(tuple(dict.fromkeys(custom_ids or ())), job, reason, model)


def _say_missing(wanted: Selection, met: int) -> None:
    if (missing := len(wanted.custom_ids) - met) > 0:
        _say(f"not among them: {missing:,} of the custom_ids named; `bakehouse show` tells where each stands")


def _ask(what: str, more: str, yes: bool) -> None:
    for line in filter(None, (what, more)):
        console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)
    if not yes and not typer.confirm("Go on?", default=False, err=True):
        raise ConfigurationError("nothing was changed")


def _say(*lines: str) -> None:
    for line in filter(None, lines):
        console().print(line, highlight=False, soft_wrap=True, markup=False)
