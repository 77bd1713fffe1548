"""What succeeded, settled a span at a time by the database itself: there is nothing to decide about a success.

Its rows never leave the database. What did not succeed goes through `results`, where each is decided upon alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

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


def settle(database: Database, batch_id: int, limit: int, record_ids: Sequence[int] | None = None) -> Succeeded:
    """Settle members of a batch whose sending succeeded, in one transaction: of the ids given, or any; no more than `limit`.

    A compare-and-set on (record, batch, packed): what somebody else settled meanwhile is none of them.
    """
    now = database.now()
    with database.write() as connection:
        ids = _choose(database, connection, batch_id, limit, record_ids)
        if not ids:
            return Succeeded()
        chosen = bulk.among(connection, _record.c.id, ids)
        said = (_result.c.model, _result.c.error_type, _result.c.stop_reason)
        query = select(_record.c.job_id, *said, func.count().label("answers"), *_SUMS.values())
        query = query.join(_result, _ANSWERED).where(chosen).group_by(_record.c.job_id, *said)
        groups = connection.execute(query).all()
        delivering = deliveries.open_for(database, connection, ids, now)
        values = {"state": RecordState.SUCCEEDED, "settled_at": now}
        connection.execute(update(_record).where(chosen).values(values))
        _count(database, connection, groups)
    return Succeeded(len(ids), frozenset(group.job_id for group in groups), delivering)


def _choose(
    database: Database, connection: Connection, batch_id: int, limit: int, record_ids: Sequence[int] | None
) -> list[int]:
    """Return the members that succeeded and nobody has settled; on PostgreSQL their rows are locked."""
    mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
    query = select(_record.c.id).join(_result, _ANSWERED).where(mine, _result.c.kind == "succeeded")
    if record_ids is not None:
        query = query.where(bulk.among(connection, _record.c.id, record_ids))
    query = query.order_by(_record.c.id).limit(limit)
    if not database.sqlite:
        query = query.with_for_update(of=_record)
    return [record_id for (record_id,) in connection.execute(query).all()]


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
