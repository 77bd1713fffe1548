"""Acceptance: jobs, lanes, records and bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, null, select, update

from bakehouse.contract import Record as Incoming
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import bulk, lanes, tombstones, trials
from bakehouse_worker.store.caveats import Caveats
from bakehouse_worker.store.counters import REJECTED, Deltas, per_job
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.store.lanes import Jobs
from bakehouse_worker.store.tombstones import Buried, Name
from bakehouse_worker.tables import Body, Delivery, Job, Record, Rejected, table

_record, _body, _job, _delivery = table(Record), table(Body), table(Job), table(Delivery)

#: How the reason of a receipt begins that the database would not take; what follows is the database's own word.
REFUSED_BY_DATABASE = "the database refuses it"

#: Columns of a new record's row and of a body's, in the order of their values.
_RECORD = (
    *("job_id", "custom_id", "lane_id", "seq", "bytes", "digest", "model"),
    *("state", "generation", "attempt", "failures", "expiries", "next_at"),
)
_BODY = ("record_id", "generation", "first_attempt", "params", "metadata_json")
#: What changes of a record's row when another body takes its place.
_ASKED = ("lane_id", "bytes", "digest", "model")

_PENDING = RecordState.PENDING.value

_Row = tuple[int, str, *tuple[Any, ...]]

_CONFLICT = "another body is known under this custom_id; send it under a new one, or replace it"
_IN_BATCH = "cannot be replaced while its request is in a batch; try again when that has ended"


@dataclass(frozen=True, slots=True)
class Entry:
    """One inbox entry that was read: its stream id and the record in it."""

    entry_id: str
    record: Incoming


@dataclass(slots=True)
class Acceptance:
    """What became of a span of entries. `rejected` pairs an entry with its reason."""

    new: int = 0
    same: int = 0
    replaced: int = 0
    rejected: list[tuple[Entry, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Span:
    """A span of entries in one transaction: where it writes, when, and what came of it."""

    database: Database
    connection: Connection
    jobs: Jobs
    now: float
    deltas: Deltas = field(default_factory=Deltas)
    caveats: Caveats = field(default_factory=Caveats)
    outcome: Acceptance = field(default_factory=Acceptance)


def accept(database: Database, entries: Sequence[Entry], canary: int = 0) -> Acceptance:
    """Insert a span of records, once each, as `pending`. The same record again is known; another body is a conflict.

    `canary` is how many records of each job that is new go ahead.

    Raises RowRefused, with nothing written, if the database will not take one of them.
    """
    names, now = {entry.record.job for entry in entries}, database.now()
    with database.refusing(), database.write() as connection:
        database.exclusive(connection, "accept")  # two spans with the same records in another order would deadlock
        jobs = lanes.jobs(database, connection, names, now, hold=True, canary=canary)
        wanted = [lanes.lane_of(entry.record) for entry in entries]
        found = lanes.lanes(database, connection, jobs.ids, set(wanted))
        span = _Span(database, connection, jobs, now)
        rows = [
            _row(entry, jobs.ids[entry.record.job], found[lane], now)
            for entry, lane in zip(entries, wanted, strict=True)
        ]
        ids = _insert(span, rows)
        buried = _take_back(span, ids)
        span.outcome.new = len(ids)
        bodies, taken = [], []
        for entry, row in zip(entries, rows, strict=True):
            record_id = ids.pop(row[:2], None)
            if record_id is None:
                taken.append((entry, row))
            else:
                bodies.append(_body_row(record_id, 0, 0, entry.record))
                span.deltas.add(row[0], RecordState.PENDING)
        bulk.insert(connection, Body, _BODY, bodies)
        for entry, row in taken:
            if row[:2] in buried:
                _resolve_pruned(span, entry, row, buried)
            else:
                _resolve(span, entry, row, buried)
        span.caveats.write(database, connection)
        span.deltas.write(database, connection)
    return span.outcome


def reject(database: Database, entry_id: str, record: Incoming, reason: str) -> None:
    """Note a receipt that cannot become a record, so that it has its end and can be seen."""
    now = database.now()
    with database.write() as connection:
        span = _Span(database, connection, lanes.jobs(database, connection, {record.job}, now), now)
        _reject(span, Entry(entry_id, record), reason)
        span.deltas.write(database, connection)


def close(database: Database, job: str, expected: int | None) -> None:
    """Set how many records the job expects in all, or as many as it has now; the last word counts."""
    with database.write() as connection:
        job_id = lanes.jobs(database, connection, {job}, database.now()).ids[job]
        if expected is None:
            expected = sum(per_job(connection, [job_id]).get(job_id, {}).values())
        connection.execute(update(_job).where(_job.c.id == job_id).values(expected=expected))


def send_ahead(database: Database, job: str, canary: int) -> bool:
    """Let a job's first records go ahead of the others, if none of it was sent yet; makes the job where there is none."""
    with database.write() as connection:
        lanes.jobs(database, connection, {job}, database.now(), canary=canary)
    return trials.send_ahead(database, job, canary)


def known_digests(database: Database, job: str, custom_ids: Sequence[str]) -> dict[str, str]:
    """Return {custom_id: digest} for those that the job holds already, or held before they were pruned."""
    found: dict[str, str] = {}
    with database.read() as connection:
        row = connection.execute(select(_job.c.id, _job.c.tombstone_key).where(_job.c.name == job)).one_or_none()
        if row is None:
            return found
        keys = {row.id: row.tombstone_key} if row.tombstone_key else {}
        for part in spans(custom_ids):
            asked = bulk.listed(connection, part)
            mine = (_record.c.job_id == row.id) & (_record.c.custom_id == asked.c.value)
            digest = select(_record.c.digest).where(mine).scalar_subquery()  # one index seek each, whatever is planned
            rows = connection.execute(select(asked.c.value, digest))
            found.update((custom_id, known) for custom_id, known in rows if known is not None)
            buried = tombstones.among(connection, keys, [(row.id, custom_id) for custom_id in part])
            for name, stone in buried.items():
                found.setdefault(name[1], stone.digest)
    return found


def start_again(connection: Connection, ids: Sequence[int], now: float, **values: Any) -> None:
    """Make records that have ended `pending` under the next attempt, with all their attempts; `values` are more columns.

    An outcome that was not delivered, or was given up, is withdrawn: the new one is told instead.
    """
    untold = _delivery.c.record_id.in_(ids) & _delivery.c.state.in_(("waiting", "failed"))
    connection.execute(delete(_delivery).where(untold))
    connection.execute(
        update(_record)
        .where(_record.c.id.in_(ids))
        .values(
            state=RecordState.PENDING,
            batch_id=null(),
            attempt=_record.c.attempt + 1,
            failures=0,
            expiries=0,
            next_at=now,
            settled_at=null(),
            content_gone_at=null(),
            erased_at=null(),
            cancel_asked_at=null(),
            **values,
        )
    )


def _insert(span: _Span, rows: Sequence[_Row]) -> dict[Name, int]:
    """Insert the rows whose (job, custom_id) is not taken; returns the ids of these. Nobody else inserts records meanwhile."""
    last = span.connection.scalar(select(func.max(_record.c.id))) or 0
    bulk.insert(span.connection, Record, _RECORD, rows, key=_RECORD[:2])
    query = select(_record.c.job_id, _record.c.custom_id, _record.c.id).where(_record.c.id > last)
    return {(job_id, custom_id): record_id for job_id, custom_id, record_id in span.connection.execute(query)}


def _take_back(span: _Span, ids: dict[Name, int]) -> dict[Name, Buried]:
    """Delete from what was just inserted the records that were pruned before, and return what stays of them.

    Looked up after the insert, because a record is deleted and buried in one transaction: whoever finds no row finds the tombstone.
    """
    buried = tombstones.among(span.connection, span.jobs.keys, ids)
    if buried:
        doubled = [ids.pop(name) for name in buried]
        for part in spans(doubled):
            span.connection.execute(delete(_record).where(_record.c.id.in_(part)))
    return buried


def _resolve(span: _Span, entry: Entry, row: _Row, buried: dict[Name, Buried]) -> None:
    """Tell what an entry is whose (job, custom_id) is taken: the same record, a replacement, or a conflict."""
    incoming, job_id, connection = entry.record, row[0], span.connection
    mine = (_record.c.job_id == job_id) & (_record.c.custom_id == incoming.custom_id)
    held = connection.execute(select(_record).where(mine).with_for_update()).one_or_none()
    if held is None:
        _resolve_pruned(span, entry, row, buried)
    elif held.digest == incoming.digest:
        span.outcome.same += 1
    elif not incoming.replace:
        _reject(span, entry, _CONFLICT)
    elif held.state == RecordState.PACKED:
        _reject(span, entry, _IN_BATCH)
    else:
        generation = held.generation + 1
        body = _body_row(held.id, generation, held.attempt + 1, incoming)
        bulk.insert(connection, Body, _BODY, [body])
        values = {name: value for name, value in zip(_RECORD, row, strict=True) if name in _ASKED}
        span.caveats.go(connection, [held.id])
        start_again(connection, [held.id], span.now, generation=generation, **values)
        span.deltas.move([job_id], held.state, RecordState.PENDING)
        span.outcome.replaced += 1


def _resolve_pruned(span: _Span, entry: Entry, row: _Row, buried: dict[Name, Buried]) -> None:
    """The same of an entry whose record was pruned; one that is replaced comes out of its grave as a new record."""
    incoming, name = entry.record, row[:2]
    stone = buried.get(name) or tombstones.among(
        span.connection, tombstones.keys(span.connection, [name[0]]), [name]
    ).get(name)
    if stone is None:  # there is neither row nor tombstone: not of our doing, and the inbox still has the entry
        raise RuntimeError(f"record of inbox entry {entry.entry_id} vanished while it was accepted")
    if stone.digest == incoming.digest:
        span.outcome.same += 1
    elif not incoming.replace:
        _reject(span, entry, _CONFLICT)
    else:
        tombstones.remove(span.connection, stone)
        buried.pop(name, None)
        record_id = _insert(span, [row])[name]
        bulk.insert(span.connection, Body, _BODY, [_body_row(record_id, 0, 0, incoming)])
        span.deltas.move([name[0]], stone.state, RecordState.PENDING)
        span.outcome.replaced += 1


def _reject(span: _Span, entry: Entry, reason: str) -> None:
    record = entry.record
    row = {
        "entry": entry.entry_id,
        "job": record.job,
        "custom_id": record.custom_id,
        "digest": record.digest,
        "reason": reason,
        "at": span.now,
    }
    statement = span.database.insert(Rejected).on_conflict_do_nothing(index_elements=["entry"])
    if span.connection.execute(statement, row).rowcount:
        span.deltas.add(span.jobs.ids[record.job], REJECTED)
    span.outcome.rejected.append((entry, reason))


def _row(entry: Entry, job_id: int, lane_id: int, now: float) -> _Row:
    record = entry.record
    milliseconds, _, number = entry.entry_id.partition("-")
    seq = (int(milliseconds) << 20) + int(number or 0)
    asked = (lane_id, seq, len(record.params), record.digest, record.model)
    return (job_id, record.custom_id, *asked, _PENDING, 0, 0, 0, 0, now)


def _body_row(record_id: int, generation: int, first_attempt: int, record: Incoming) -> tuple[Any, ...]:
    return record_id, generation, first_attempt, record.params, record.metadata
