"""After a restore: what the API did for records that the store believes unsent is bound to them again.

A batch that is taken back enters the books as `collected`, with no members; each span of its result lines then brings in its members
and their results in one transaction, so that a turn that ends half-way leaves nothing half-true. Its submission is noted last: until
then the batch counts as unknown, and the next turn goes over it again, which changes nothing that stands.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, null, select, update

from bakehouse import contract
from bakehouse_worker.remote import Remote
from bakehouse_worker.states import OPEN_STATES, TERMINAL, BatchState, RecordState, SubmissionState
from bakehouse_worker.store import results
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.epochs import enqueued_at
from bakehouse_worker.store.results import ResultRow
from bakehouse_worker.tables import Batch, Record, Result, Submission, table

_record, _batch, _result, _submission = (table(m) for m in (Record, Batch, Result, Submission))


@dataclass(frozen=True, slots=True)
class Bound:
    """What a span of result lines was to the store, in records.

    `bound`: unsent here, and answered now. `ended`: the store has their end, or had this answer. `later`: an earlier sending of them
    is not decided yet. `strange`: the store has no such record.
    """

    bound: int = 0
    ended: int = 0
    later: int = 0
    strange: int = 0

    def __add__(self, more: Bound) -> Bound:
        return Bound(
            self.bound + more.bound, self.ended + more.ended, self.later + more.later, self.strange + more.strange
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps an answer from a record that only has the same number: the highest id that the restored store knew, and times.

    `enqueued_before` is in seconds since 1970, by Redis's clock.
    """

    records: int | None
    enqueued_before: float


def open_batch(database: Database, remote: Remote) -> int:
    """Enter a batch of ours that the store does not know, without members; returns its id here."""
    row = {
        "state": BatchState.COLLECTED,
        "api_version": contract.DEFAULT_API_VERSION,
        "betas": "",
        "requests": 0,
        "bytes": 0,
        "created_at": remote.created_at,
        "submitted_at": remote.created_at,
        "remote_created_at": remote.created_at,
        "expires_at": remote.expires_at,
        "ended_at": remote.ended_at,
        "finished_at": database.now(),
    }
    blank = {"not_before": 0.0, "tries": 0, "lease_until": 0.0, "next_poll_at": 0.0}
    with database.write() as connection:
        return int(connection.execute(insert(_batch).returning(_batch.c.id), {**row, **blank}).scalar_one())


def bind(database: Database, batch_id: int, rows: Sequence[ResultRow], limits: Limits) -> Bound:
    """Bind a span of result rows to those of their records that were not sent here: members of the batch, with their results."""
    now = database.now()
    with database.write() as connection:
        database.exclusive(connection, "pack")  # no packer takes what is taken back here
        found = _records(connection, [row.record_id for row in rows])
        unsent = _unsent(connection, {record.batch_id for record in found.values()})
        mine, counts = [], {"bound": 0, "ended": 0, "later": 0, "strange": 0}
        for row in rows:
            what = _what(found.get(row.record_id), row.attempt, limits, unsent)
            counts[what] += 1
            if what == "bound":
                mine.append(row)
        if mine:
            _take(database, connection, batch_id, [found[row.record_id] for row in mine], now)
            results.write(connection, mine)
    return Bound(**counts)


def _records(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    columns = (_record.c.id, _record.c.job_id, _record.c.state, _record.c.attempt, _record.c.seq, _record.c.bytes)
    answered = select(_result.c.record_id).where(
        _result.c.record_id == _record.c.id, _result.c.attempt == _record.c.attempt
    )
    query = (
        select(*columns, _record.c.batch_id, answered.exists().label("answered"))
        .where(_record.c.id.in_(ids))
        .with_for_update(of=_record)
    )
    return {row.id: row for row in connection.execute(query)}


def _unsent(connection: Connection, batch_ids: Set[int | None]) -> set[int]:
    """Return those of the batches of which nothing is sent; they cannot begin to be sent before the transaction ends."""
    packed = _batch.c.id.in_([batch_id for batch_id in batch_ids if batch_id is not None])
    query = select(_batch.c.id).where(packed, _batch.c.state == BatchState.PACKED).order_by(_batch.c.id)
    return set(connection.scalars(query.with_for_update()))


def _what(record: Any, attempt: int, limits: Limits, unsent_batches: Set[int]) -> str:
    """Tell what one result line is to the record of its number. Pure."""
    if record is None or enqueued_at(record.seq) > limits.enqueued_before:
        return "strange"
    if limits.records is not None and record.id > limits.records:
        return "strange"
    if record.state in TERMINAL or record.attempt > attempt or (record.attempt == attempt and record.answered):
        return "ended"
    unsent = record.state == RecordState.PENDING or record.batch_id in unsent_batches
    return "bound" if record.attempt == attempt and unsent else "later"


def _take(database: Database, connection: Connection, batch_id: int, records: Sequence[Any], now: float) -> None:
    """Make records members of a batch: pending ones, and those of batches that were not sent, which shrink."""
    ids = [record.id for record in records]
    values: dict[str, Any] = {"state": RecordState.PACKED, "batch_id": batch_id}
    connection.execute(update(_record).where(_record.c.id.in_(ids)).values(values))
    deltas = Deltas()
    pending = [record.job_id for record in records if record.state == RecordState.PENDING]
    deltas.move(pending, RecordState.PENDING, RecordState.PACKED)
    for left in sorted({record.batch_id for record in records if record.state == RecordState.PACKED}):
        sizes = [r.bytes for r in records if r.state == RecordState.PACKED and r.batch_id == left]
        _grow(connection, left, -len(sizes), -sum(sizes))
        empty = (_batch.c.id == left) & (_batch.c.requests == 0)
        connection.execute(update(_batch).where(empty).values(state=BatchState.DISSOLVED, finished_at=now))
    _grow(connection, batch_id, len(records), sum(record.bytes for record in records))
    connection.execute(update(_batch).where(_batch.c.id == batch_id).values(finished_at=null()))
    deltas.write(database, connection)


def _grow(connection: Connection, batch_id: int, requests: int, size: int) -> None:
    more = {"requests": _batch.c.requests + requests, "bytes": _batch.c.bytes + size}
    connection.execute(update(_batch).where(_batch.c.id == batch_id).values(more))


def adopted(database: Database, batch_id: int, nonce: str, remote: Remote, origin: str, workspace: str) -> None:
    """Note the submission of a batch that was taken back: from now on the store knows its remote id."""
    now = database.now()
    row = {
        "batch_id": batch_id,
        "state": SubmissionState.ACCEPTED,
        "requests": remote.requests,
        "remote_id": remote.id,
        "confirmed": True,
        "resolved_at": now,
        "note": "taken back from the API after the database was restored",
    }
    first = {"nonce": nonce, "origin": origin, "workspace": workspace, "started_at": remote.created_at}
    with database.write() as connection:
        upsert = database.insert(Submission).on_conflict_do_update(index_elements=["nonce"], set_=row)
        made = connection.execute(upsert.returning(_submission.c.id), {**row, **first}).scalar_one()
        connection.execute(update(_batch).where(_batch.c.id == batch_id).values(submission_id=made))


def in_doubt_with(database: Database, nonce: str) -> int | None:
    """Return the id of the submission in doubt that has a nonce."""
    mine = (_submission.c.nonce == nonce) & (_submission.c.state == SubmissionState.IN_DOUBT)
    with database.read() as connection:
        return connection.scalar(select(_submission.c.id).where(mine))


def at_the_api(database: Database) -> dict[str, tuple[int, float]]:
    """Return {remote id: (batch, created at by the API's clock)} of the batches whose results are not collected yet."""
    states = (*OPEN_STATES, BatchState.ENDED)
    query = (
        select(_submission.c.remote_id, _batch.c.id, func.coalesce(_batch.c.remote_created_at, 0.0))
        .join(_batch, _batch.c.submission_id == _submission.c.id)
        .where(_batch.c.finished_at.is_(None), _batch.c.state.in_(states), _submission.c.remote_id.is_not(None))
    )
    with database.read() as connection:
        return {remote_id: (batch_id, created) for remote_id, batch_id, created in connection.execute(query)}
