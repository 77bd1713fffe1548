"""What succeeded, settled a span at a time by the database itself: there is nothing to decide about a success.

Its rows never leave the database. What did not succeed goes through `results`, where each is decided upon alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, bindparam, func, select, update

from bakehouse_worker.states import RecordState
from bakehouse_worker.store import bulk, caveats, deliveries
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Record, Result, Spend, table

_record, _result, _spend = (table(m) for m in (Record, Result, Spend))

_ANSWERED = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
_PRICED = _result.c.cost.is_not(None) & _result.c.cost_sync.is_not(None)
_USED = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
#: What a group of answers used: columns of Spend. Money is USD.
_SUMS: dict[str, ColumnElement[Any]] = {
    **{name: func.sum(_result.c[name]).label(name) for name in _USED},
    "unpriced": func.count().filter(~_PRICED).label("unpriced"),
    **{
        name: func.coalesce(func.sum(_result.c[name]).filter(_PRICED), 0.0).label(name)
        for name in ("cost", "cost_sync")
    },
}


@dataclass(frozen=True, slots=True)
class Succeeded:
    """So many `records` succeeded, of these jobs. `delivering` outcomes wait for the deliver workers."""

    records: int = 0
    job_ids: frozenset[int] = frozenset()
    delivering: int = 0


class _Overtaken(Exception):
    """Somebody settled some of the chosen meanwhile."""


def settle(database: Database, batch_id: int, limit: int, record_ids: Sequence[int] | None = None) -> Succeeded:
    """Settle members of a batch whose sending succeeded, in one transaction: of the ids given, or any; no more than `limit`.

    A compare-and-set on (record, batch, packed): what somebody else settled meanwhile is none of them.
    """
    while True:
        try:
            return _settle(database, batch_id, limit, record_ids)
        except _Overtaken:
            continue


def _settle(database: Database, batch_id: int, limit: int, record_ids: Sequence[int] | None) -> Succeeded:
    """Settle a span of them once. SQLite looks before it writes, because it has one writer; PostgreSQL locks what it finds."""
    now, sqlite = database.now(), database.sqlite
    with ExitStack() as stack:
        connection = stack.enter_context(database.read() if sqlite else database.write())
        ids = _choose(database, connection, batch_id, limit, record_ids)
        if not ids:
            return Succeeded()
        chosen = {"ids": bulk.ids(sqlite, ids)}
        groups = connection.execute(_grouping(sqlite), chosen).all()
        if sqlite:
            stack.close()
            connection = stack.enter_context(database.write())
        if connection.execute(_moving(sqlite), {**chosen, "of_batch": batch_id, "now": now}).rowcount < len(ids):
            raise _Overtaken
        delivering = deliveries.open_for(database, connection, ids, now)
        _count(database, connection, groups)
    return Succeeded(len(ids), frozenset(group.job_id for group in groups), delivering)


def _choose(
    database: Database, connection: Connection, batch_id: int, limit: int, record_ids: Sequence[int] | None
) -> list[int]:
    """Return the members that succeeded and nobody has settled; on PostgreSQL their rows are locked."""
    query = _choosing(database.sqlite, record_ids is not None)
    asked: dict[str, Any] = {"of_batch": batch_id, "at_most": limit}
    if record_ids is not None:
        asked["ids"] = bulk.ids(database.sqlite, record_ids)
    return [record_id for (record_id,) in connection.execute(query, asked).all()]


# Made once for each database, as in `deliveries`.

_MEMBER = (_record.c.batch_id == bindparam("of_batch")) & (_record.c.state == RecordState.PACKED)


@cache
def _choosing(sqlite: bool, among: bool) -> Select[Any]:
    query = select(_record.c.id).join(_result, _ANSWERED).where(_MEMBER, _result.c.kind == "succeeded")
    if among:
        query = query.where(bulk.bound(sqlite, _record.c.id, "ids"))
    query = query.order_by(_record.c.id).limit(bindparam("at_most"))
    return query if sqlite else query.with_for_update(of=_record)


@cache
def _grouping(sqlite: bool) -> Select[Any]:
    said = (_result.c.model, _result.c.error_type, _result.c.stop_reason)
    query = select(_record.c.job_id, *said, func.count().label("answers"), *_SUMS.values()).join(_result, _ANSWERED)
    return query.where(bulk.bound(sqlite, _record.c.id, "ids")).group_by(_record.c.job_id, *said)


@cache
def _moving(sqlite: bool) -> Update:
    mine = bulk.bound(sqlite, _record.c.id, "ids") & _MEMBER
    return update(_record).where(mine).values(state=RecordState.SUCCEEDED, settled_at=bindparam("now"))


def _count(database: Database, connection: Connection, groups: Sequence[Any]) -> None:
    """Add groups of settled answers to all that is counted, in the order that every transaction keeps."""
    deltas, odd, seen = Deltas(), caveats.Caveats(), Counter[tuple[str, str]]()
    for group in groups:
        reason = group.error_type or group.stop_reason or ""
        seen["succeeded", reason] += group.answers
        odd.come(group.job_id, reason, group.answers)
        deltas.add(group.job_id, RecordState.PACKED, -group.answers)
        deltas.add(group.job_id, RecordState.SUCCEEDED, group.answers)
    _spent(database, connection, groups)
    caveats.tally(database, connection, seen)
    odd.write(database, connection)
    deltas.write(database, connection)


def _spent(database: Database, connection: Connection, groups: Sequence[Any]) -> None:
    """Add what settled answers used to their jobs' totals, by model."""
    totals: dict[tuple[int, str], dict[str, float]] = {}
    for group in groups:
        total = totals.setdefault((group.job_id, group.model or "unknown"), dict.fromkeys(("answers", *_SUMS), 0))
        for name in total:
            total[name] += getattr(group, name)
    rows = [{"job_id": job_id, "model": model, **total} for (job_id, model), total in sorted(totals.items())]
    insert = database.insert(Spend)
    more = {name: _spend.c[name] + insert.excluded[name] for name in ("answers", *_SUMS)}
    connection.execute(insert.on_conflict_do_update(index_elements=["job_id", "model"], set_=more), rows)
