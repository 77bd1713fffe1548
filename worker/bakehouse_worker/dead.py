"""Dead letters: what failed, and answers that are not what was asked. Listed, sent again as new generations, or dropped.

The same for the command line and for Python: `list_dead`, `requeue`, `drop`, each with the runtime of `runtime.make()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from bakehouse import ConfigurationError, InvalidRecord, contract, record
from bakehouse_worker import rewriting
from bakehouse_worker.local.progress import age, counted
from bakehouse_worker.log import logger
from bakehouse_worker.rewriting import Changes
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import deadletters, deadlist, holds, reading
from bakehouse_worker.store.caveats import REASONS
from bakehouse_worker.store.database import spans
from bakehouse_worker.store.deadlist import Chosen, Group, Selection
from bakehouse_worker.store.holds import JOB, MODEL
from bakehouse_worker.wrapping import wrapped

log = logger("dead")

#: Whoever is asked before anything changes; says no by raising.
Ask = Callable[[Chosen], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A model or a job (`what`) that is parked, and how many pending records wait behind it. `since` is seconds since 1970."""

    what: str
    name: str
    reason: str
    since: float
    records: int


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What a person should look at: failed records, answers that are not what was asked, and what is parked."""

    failed: tuple[Group, ...]
    odd: tuple[Group, ...]
    parked: tuple[Waiting, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """How many records a requeue or a drop moved, by what they were, and how many it left out as their content is gone."""

    failed: int = 0
    succeeded: int = 0
    pending: int = 0
    erased: int = 0
    pruned: int = 0


def list_dead(runtime: Runtime, job: str | None = None) -> DeadLetters:
    """Return what is dead, in one job or in all; of what is parked, all models and that job. Changes nothing."""
    database = runtime.database
    _check_job(runtime, job)
    waiting = []
    for each in holds.parked(database):
        of_model = each.what == MODEL
        if of_model or job in (None, each.name):
            records = deadlist.waiting_behind(
                database, each.name if of_model else None, None if of_model else each.name
            )
            waiting.append(Waiting(each.what, each.name, each.reason, each.since, records))
    return DeadLetters(tuple(deadlist.failed(database, job)), tuple(deadlist.odd(database, job)), tuple(waiting))


def requeue(
    runtime: Runtime,
    wanted: Selection,
    values: Mapping[str, Any] | None = None,
    *,
    everything: bool = False,
    ask: Ask | None = None,
) -> Moved:
    """Send failed records again, as new generations with all their attempts; answers too, if `reason` is one of theirs.

    `values` are new top-level params. Pending records get them too if no reason is selected and they wait for just that: with `model`
    among the values those of the model selected, and those of a selected job that is parked. A model that nothing waits for any more
    is parked no longer; a job stays so until `resume`. A selection that names nothing needs `everything`. `ask` is told what was
    chosen before anything changes. Raises ConfigurationError or InvalidRecord, with nothing changed, for what cannot be done.
    """
    database, values = runtime.database, dict(values or {})
    _check(runtime, wanted, everything)
    changes = rewriting.changes(values) if values else None
    pending = changes is not None and wanted.reason is None and _waits_for(runtime, wanted, changes)
    chosen = deadlist.choose(database, wanted, succeeded=True, pending=pending)
    if changes is not None:
        _check_changes(runtime, chosen, changes, values)
    if ask is not None and chosen.records:
        ask(chosen)
    moved = {
        state: sum(deadletters.requeue(database, part, state, changes) for part in spans(ids))
        for state, ids in (
            (RecordState.PENDING, chosen.pending),
            (RecordState.FAILED, chosen.failed),
            (RecordState.SUCCEEDED, chosen.succeeded),
        )
    }
    log.info("requeued", records=sum(moved.values()), values=sorted(values))
    if pending and wanted.model is not None and not deadlist.waiting_behind(database, wanted.model, None):
        holds.unpark(database, MODEL, wanted.model)
    failed, succeeded = moved[RecordState.FAILED], moved[RecordState.SUCCEEDED]
    return Moved(failed, succeeded, moved[RecordState.PENDING], chosen.erased, chosen.pruned)


def _waits_for(runtime: Runtime, wanted: Selection, changes: Changes) -> bool:
    """Tell whether pending records that a selection meets wait for a person to change them."""
    if wanted.model is not None and changes.model not in (None, wanted.model):
        return True
    return any((each.what, each.name) == (JOB, wanted.job) for each in holds.parked(runtime.database))


def drop(runtime: Runtime, wanted: Selection, *, everything: bool = False, ask: Ask | None = None) -> Moved:
    """Give failed records up: they end as `canceled`, and stay in `show` and `export`. The arguments are those of `requeue`."""
    _check(runtime, wanted, everything)
    chosen = deadlist.choose(runtime.database, wanted, gone=True)
    if ask is not None and chosen.records:
        ask(chosen)
    dropped = sum(deadletters.drop(runtime.database, part) for part in spans(chosen.failed))
    log.info("dropped", records=dropped)
    return Moved(failed=dropped)


def _check(runtime: Runtime, wanted: Selection, everything: bool) -> None:
    if wanted == Selection() and not everything:
        raise ConfigurationError("say which: name custom_ids, or give --job, --reason or --model, or --all for all")
    _check_job(runtime, wanted.job)


def _check_job(runtime: Runtime, job: str | None) -> None:
    if job is not None and not reading.jobs(runtime.database, job):
        raise ConfigurationError(f"no job {job!r} is known; `bakehouse status` names those that are")


def _check_changes(runtime: Runtime, chosen: Chosen, changes: Changes, values: Mapping[str, Any]) -> None:
    """Refuse what the producer would refuse, by the rules of each API version among the records chosen."""
    versions, most = deadlist.terms(runtime.database, chosen)
    for version in sorted(versions) or [contract.DEFAULT_API_VERSION]:
        rewriting.check(values, version)
    if most + changes.growth > record.MAX_PARAMS_BYTES:
        raise InvalidRecord("params", f"a record would grow beyond the {record.MAX_PARAMS_BYTES:,} bytes of a batch")


def values_of(settings: list[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` of a command line: the value is JSON, or else text as it stands."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise ConfigurationError(f"--set takes KEY=VALUE, such as max_tokens=2048, not {setting!r}")
        try:
            values[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            values[name] = value
    return values


def told(letters: DeadLetters, now: float) -> list[str]:
    """Return what is dead as lines for a terminal of 80 columns."""
    lines = []
    for title, groups in (("failed", letters.failed), ("answered, but not what was asked", letters.odd)):
        lines += [title] if groups else []
        for group in groups:
            lines += wrapped(f"{group.job}: {group.records:,} {group.reason}, such as {group.example}", 2, 4)
            lines += wrapped(group.message, 6, 0) if group.message else []
    lines += ["parked"] if letters.parked else []
    for each in letters.parked:
        waiting = "1 record waits" if each.records == 1 else f"{each.records:,} records wait"
        lines += wrapped(f"{each.what} {each.name}: {waiting}, for {age(now - each.since)}", 2, 4)
        lines += wrapped(each.reason, 6, 0)
    return lines or ["nothing failed, no answer is other than what was asked, and nothing is parked"]


def as_json(letters: DeadLetters) -> str:
    """Return what is dead as JSON; times are seconds since 1970."""
    return orjson.dumps(asdict(letters), option=orjson.OPT_INDENT_2).decode()


def concerned(what: Chosen | Moved) -> str:
    """Return in words how many records a requeue or a drop concerns, or moved."""
    numbers = [
        (_number(what.failed), "failed record"),
        (_number(what.succeeded), "answer"),
        (_number(what.pending), "pending record"),
    ]
    parts = [counted(number, noun) for number, noun in numbers if number]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:]))) or "no record"


def left_out(what: Chosen | Moved) -> str:
    """Return in words how many were left out and why, or nothing."""
    gone = [f"{number:,} {how}" for number, how in ((what.erased, "erased"), (what.pruned, "pruned")) if number]
    return f"left out, as their prompts are gone: {' and '.join(gone)}" if gone else ""


def is_odd(reason: str | None) -> bool:
    """Tell whether a reason is one of answers, not of failures."""
    return reason in REASONS


def _number(records: Any) -> int:
    return records if isinstance(records, int) else len(records)
