"""Answers: inserted once as the API's own lines, then settled, each record alone.

A result belongs to (record, attempt). Inserting it again changes nothing, so a stream that broke may simply be read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, func, null, select, update

from bakehouse_worker.retry import Decision
from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.store import bulk, caveats, deliveries
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Record, Result, table

_record, _batch, _result = (table(m) for m in (Record, Batch, Result))

#: The attempt that a result in hand must belong to.
_CURRENT = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)


class Unsettled(NamedTuple):
    """A member whose result is stored and not yet decided upon; it did not succeed."""

    record_id: int
    attempt: int
    job_id: int
    failures: int
    expiries: int
    cancel_asked_at: float | None
    kind: str
    error_type: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The records that a span of decisions moved. `delivering` outcomes wait for the deliver workers."""

    record_ids: frozenset[int]
    delivering: int


class ResultRow(NamedTuple):
    """One row for `add`. Costs are USD: at batch prices, and of a synchronous call."""

    record_id: int
    attempt: int
    batch_id: int
    kind: str
    line: bytes
    received_at: float
    error_type: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    request_id: str | None = None
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cost: float | None = None
    cost_sync: float | None = None


def own_row(
    record_id: int, attempt: int, batch_id: int, kind: str, error_type: str | None, error: str | None, now: float
) -> ResultRow:
    """Return a result row for what we, not a result line, know of a sending: missing, gone, refused, too large."""
    detail = {"type": "error", "error": {"type": error_type, "message": error}}
    line = orjson.dumps({"result": {"type": "errored", "error": detail}})
    return ResultRow(record_id, attempt, batch_id, kind, line, now, error_type=error_type, error=error)


def add(database: Database, rows: Sequence[ResultRow]) -> None:
    """Insert a span of result rows; those that stand already stay as they are."""
    with database.write() as connection:
        write(connection, rows)


def write(connection: Connection, rows: Sequence[ResultRow]) -> None:
    """The same inside a transaction."""
    bulk.insert(connection, Result, ResultRow._fields, sorted(rows, key=itemgetter(0)), key=("record_id", "attempt"))


def count(database: Database, batch_id: int) -> int:
    """Return how many results of a batch are stored."""
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).where(_result.c.batch_id == batch_id)) or 0)


def unanswered(database: Database, batch_id: int, limit: int) -> list[tuple[int, int]]:
    """Return members of a batch without a result, as (record id, attempt)."""
    answered = select(_result.c.record_id).where(_CURRENT).exists()
    query = select(_record.c.id, _record.c.attempt).where(
        _record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED, ~answered
    )
    with database.read() as connection:
        return [(row.id, row.attempt) for row in connection.execute(query.order_by(_record.c.id).limit(limit))]


def unsettled(
    database: Database, batch_id: int, limit: int, record_ids: Sequence[int] | None = None
) -> list[Unsettled]:
    """Return members that did not succeed and that no decision has been made upon: of the ids given, or any."""
    mine = (_record.c.id, _record.c.attempt, _record.c.job_id)
    before = (_record.c.failures, _record.c.expiries, _record.c.cancel_asked_at)
    query = select(*mine, *before, _result.c.kind, _result.c.error_type, _result.c.error).join(_result, _CURRENT)
    query = query.where(_record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED)
    query = query.where(_result.c.kind != "succeeded")
    with database.read() as connection:
        if record_ids is not None:
            query = query.where(bulk.among(connection, _record.c.id, record_ids))
        rows = connection.execute(query.order_by(_record.c.id).limit(limit)).all()
    return [Unsettled(*row) for row in rows]


def settle(database: Database, batch_id: int, decisions: Sequence[tuple[Unsettled, Decision]]) -> Settled:
    """Write a span of decisions in one transaction; each is a compare-and-set on (record, batch, packed).

    A record is packed into a batch at one attempt only, so the batch stands for the attempt. One that was to go again and is to be
    canceled by now is left alone: it is decided upon anew.
    """
    now, deltas = database.now(), Deltas()
    ended: list[int] = []
    again: list[int] = []
    with database.write() as connection:
        for member, decision in decisions:
            values: dict[str, Any] = {"failures": decision.failures, "expiries": decision.expiries}
            if decision.state is RecordState.PENDING:
                values |= {"attempt": member.attempt + 1, "next_at": now + decision.delay, "batch_id": null()}
            else:
                values |= {"settled_at": now}
            if _move(connection, batch_id, member, values | {"state": decision.state}):
                (again if decision.state is RecordState.PENDING else ended).append(member.record_id)
                deltas.move([member.job_id], RecordState.PACKED, decision.state)
        delivering = deliveries.open_for(database, connection, ended, now)
        settled = frozenset((*ended, *again))
        moved = [member for member, _ in decisions if member.record_id in settled]
        caveats.tally(database, connection, Counter((member.kind, member.error_type or "") for member in moved))
        deltas.write(database, connection)
    return Settled(settled, delivering)


def fail_unsent(database: Database, batch_id: int | None, failures: Sequence[ResultRow]) -> int:
    """Fail records for what a create, or no create, said of them: too large, refused by name.

    `batch_id` None means that the records are pending; else they are members of that packed batch and leave it.
    """
    now, deltas = database.now(), Deltas()
    before = RecordState.PENDING if batch_id is None else RecordState.PACKED
    with database.write() as connection:
        jobs: list[int] = []
        left = 0
        for row in failures:
            mine = (_record.c.id == row.record_id) & (_record.c.attempt == row.attempt) & (_record.c.state == before)
            if batch_id is not None:
                mine &= _record.c.batch_id == batch_id
            values = {"state": RecordState.FAILED, "failures": _record.c.failures + 1, "settled_at": now}
            moved = connection.execute(
                update(_record).where(mine).values(values).returning(_record.c.job_id, _record.c.bytes)
            ).all()
            if moved:
                write(connection, [row])
                deliveries.open_for(database, connection, [row.record_id], now)
                jobs.append(moved[0].job_id)
                left += moved[0].bytes
        if batch_id is not None and jobs:
            values = {"requests": _batch.c.requests - len(jobs), "bytes": _batch.c.bytes - left}
            connection.execute(update(_batch).where(_batch.c.id == batch_id).values(values))
            empty = (_batch.c.id == batch_id) & (_batch.c.requests == 0) & (_batch.c.state == BatchState.PACKED)
            connection.execute(update(_batch).where(empty).values(state=BatchState.DISSOLVED, finished_at=now))
        deltas.move(jobs, before, RecordState.FAILED)
        deltas.write(database, connection)
    return len(jobs)


def _move(connection: Connection, batch_id: int, member: Unsettled, values: Mapping[str, Any]) -> bool:
    """Move a member on that is still in this batch at this attempt; False if it is not."""
    mine = (_record.c.id == member.record_id) & (_record.c.batch_id == batch_id)
    mine &= _record.c.state == RecordState.PACKED
    if values["state"] == RecordState.PENDING:
        mine &= _record.c.cancel_asked_at.is_(None)
    return connection.execute(update(_record).where(mine).values(values)).rowcount == 1
