"""Commands about what failed: dead list, dead requeue, dead drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse import ConfigurationError
from bakehouse_worker.cli.options import AsJson, DataDir, Job, console, store

if TYPE_CHECKING:
    from pathlib import Path

    from bakehouse_worker.runtime import Runtime
    from bakehouse_worker.store.deadlist import Chosen, Selection

CustomIds = Annotated[list[str] | None, typer.Argument(metavar="[CUSTOM_ID]...", help="The callers' custom_ids.")]
Reason = Annotated[str | None, typer.Option("--reason", "-r", help="Only with this reason, as `dead list` has it.")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Only those that ask for this model.")]
All = Annotated[bool, typer.Option("--all", help="Everything that failed.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A new value of a top-level param.")]
Deliveries = Annotated[
    bool, typer.Option("--deliveries", help="Outcomes that their handlers did not take; no record goes again.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    group = typer.Typer(help="What failed, and answers not as asked: list, requeue, drop.", no_args_is_help=True)
    group.command("list")(list_dead)
    group.command()(requeue)
    group.command()(drop)
    app.add_typer(group, name="dead")


def list_dead(
    job: Job = None, deliveries: Deliveries = False, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Failed records by reason, answers that are not what was asked, and what is parked."""
    from bakehouse_worker import dead

    runtime = store(data_dir)
    if deliveries:
        _list_undelivered(runtime, job, as_json)
        return
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
    deliveries: Deliveries = False,
    data_dir: DataDir = None,
    yes: Yes = False,
) -> None:
    """Send failed records again, with all their attempts; with the reason of odd answers, those.

    --set model=NAME or max_tokens=2048 changes what is asked. With --model and --set model=NAME, pending records of the old model
    get the new one, too. With --deliveries, outcomes that were given up are handed to their handlers again.
    """
    from bakehouse_worker import dead, log

    log.configure("CRITICAL")  # what there is to say is said below
    if deliveries:
        _only_ids_and_job("requeue", reason, model, values)
        _move_undelivered("requeue", custom_ids, job, everything, data_dir, yes)
        return
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
    deliveries: Deliveries = False,
    data_dir: DataDir = None,
    yes: Yes = False,
) -> None:
    """Give failed records up: they end as canceled, and stay in `show` and `export`."""
    from bakehouse_worker import dead, log

    log.configure("CRITICAL")
    if deliveries:
        _only_ids_and_job("drop", reason, model, None)
        _move_undelivered("drop", custom_ids, job, everything, data_dir, yes)
        return
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


def _list_undelivered(runtime: Runtime, job: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    import orjson

    from bakehouse_worker import undelivered

    letters = undelivered.list_undelivered(runtime, job)
    if as_json:
        print(orjson.dumps([asdict(each) for each in letters], option=orjson.OPT_INDENT_2).decode())
        return
    for line in undelivered.told(letters):
        _say(line)


def _only_ids_and_job(command: str, reason: str | None, model: str | None, values: list[str] | None) -> None:
    named = {"--reason": reason, "--model": model, "--set": values}
    if wrong := next((name for name, given in named.items() if given), None):
        raise ConfigurationError(f"dead {command} --deliveries goes by custom_ids and --job; {wrong} is of records")


def _move_undelivered(
    command: str, custom_ids: list[str] | None, job: str | None, everything: bool, data_dir: Path | None, yes: bool
) -> None:
    """Hand over again, or drop, what was given up."""
    from bakehouse_worker import undelivered
    from bakehouse_worker.store.undelivered import count

    names = tuple(dict.fromkeys(custom_ids or ()))
    if not (names or job or everything):
        raise ConfigurationError("say which: name custom_ids, or give --job, or --all for all")
    runtime = store(data_dir)
    there, gone = count(runtime.database, names, job)
    left = f"left out, as their content is gone: {gone:,}" if gone and command == "requeue" else ""
    if there or (gone and command == "drop"):
        doing = "handed over again" if command == "requeue" else "given up for good"
        _ask(f"to be {doing}: {_outcomes(there + (gone if command == 'drop' else 0))}", left, yes)
    move = undelivered.deliver_again if command == "requeue" else undelivered.drop
    _say(f"{command}{'d' if command == 'requeue' else 'ped'}: {_outcomes(move(runtime, names, job))}", left)


def _outcomes(number: int) -> str:
    return f"{number:,} outcome{'s'[: number != 1]}"


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
