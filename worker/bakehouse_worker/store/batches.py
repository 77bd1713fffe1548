"""Batches from packing to collection: membership, leases, and what the polls say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import null, select, update

from bakehouse_worker.states import OPEN_STATES, BatchState, RecordState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Body, Job, Lane, Record, Submission, table

_record, _body, _batch, _lane, _job, _submission = (table(m) for m in (Record, Body, Batch, Lane, Job, Submission))


_OPENED = (_batch.c.submitted_at, _batch.c.remote_created_at)


class Member(NamedTuple):
    """One record in a batch: what its request's bytes are made from."""

    record_id: int
    attempt: int
    bytes: int


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that the API is working on."""

    id: int
    remote_id: str
    state: str
    requests: int
    submitted_at: float
    remote_created_at: float


def members(database: Database, batch_id: int) -> list[Member]:
    """Return a batch's members that have no settled result, in the order of their requests in the body."""
    query = select(_record.c.id, _record.c.attempt, _record.c.bytes).where(
        _record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED
    )
    with database.read() as connection:
        return [Member(*row) for row in connection.execute(query.order_by(_record.c.id))]


def attempt(database: Database, record_id: int) -> int:
    """Return the number of a record's next or current sending."""
    with database.read() as connection:
        return int(connection.scalar(select(_record.c.attempt).where(_record.c.id == record_id)) or 0)


def bodies(database: Database, batch_id: int, first: int, last: int) -> list[bytes]:
    """Return the params of the members from record id `first` to `last`, in order."""
    query = (
        select(_body.c.params)
        .join(_record, (_record.c.id == _body.c.record_id) & (_record.c.generation == _body.c.generation))
        .where(_record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED, _record.c.id.between(first, last))
    )
    with database.read() as connection:
        return list(connection.scalars(query.order_by(_record.c.id)))


def renew(database: Database, batch_id: int, owner: str, seconds: float) -> bool:
    """Push the lease on; False if it was lost, and then the work in hand must stop."""
    now = database.now()
    with database.write() as connection:
        mine = (_batch.c.id == batch_id) & (_batch.c.lease_owner == owner) & (_batch.c.lease_until > now)
        return connection.execute(update(_batch).where(mine).values(lease_until=now + seconds)).rowcount == 1


def put_off(database: Database, batch_id: int, state: BatchState, until: float, alarm: str | None) -> bool:
    """Leave a batch in its state, without a lease, until a time: a wait with a reason that a person can read."""
    with database.write() as connection:
        values = {
            "lease_owner": null(),
            "lease_until": 0.0,
            "not_before": until,
            "alarm": alarm,
            "tries": _batch.c.tries + 1,
        }
        found = (_batch.c.id == batch_id) & (_batch.c.state == state)
        return connection.execute(update(_batch).where(found).values(values)).rowcount == 1


def hand_back(database: Database, batch_id: int, owner: str) -> bool:
    """Give up the lease on a batch whose collection is not finished: anybody may go on with it at once."""
    with database.write() as connection:
        mine = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.ENDED) & (_batch.c.lease_owner == owner)
        return connection.execute(update(_batch).where(mine).values(lease_owner=null(), lease_until=0.0)).rowcount == 1


def ready(database: Database, batch_id: int) -> None:
    """Let a packed batch that waited be sent at once."""
    with database.write() as connection:
        packed = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED)
        connection.execute(update(_batch).where(packed).values(not_before=0.0, alarm=null()))


def requests(database: Database, batch_id: int) -> int:
    """Return how many requests a batch has."""
    with database.read() as connection:
        return int(connection.scalar(select(_batch.c.requests).where(_batch.c.id == batch_id)) or 0)


def submitted_at(database: Database, batch_id: int) -> float:
    """Return when the API took a batch, in seconds since 1970 by our clock; 0 if it has not."""
    with database.read() as connection:
        return float(connection.scalar(select(_batch.c.submitted_at).where(_batch.c.id == batch_id)) or 0.0)


def models(database: Database, batch_id: int) -> list[str]:
    """Return the models that a packed batch's members ask for."""
    mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
    with database.read() as connection:
        return sorted(connection.scalars(select(_record.c.model).distinct().where(mine)))


def tries(database: Database, batch_id: int) -> int:
    """Return how often in a row the work on a batch failed."""
    with database.read() as connection:
        return int(connection.scalar(select(_batch.c.tries).where(_batch.c.id == batch_id)) or 0)


def open_batches(database: Database) -> list[OpenBatch]:
    """Return the batches that the API is working on, oldest first."""
    query = (
        select(_batch.c.id, _submission.c.remote_id, _batch.c.state, _batch.c.requests, *_OPENED)
        .join(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_batch.c.finished_at.is_(None), _batch.c.state.in_(OPEN_STATES))
    )
    with database.read() as connection:
        return [OpenBatch(*row) for row in connection.execute(query.order_by(_batch.c.submitted_at))]


def polled(database: Database, next_poll_at: Mapping[int, float], canceling: Sequence[int] = ()) -> None:
    """Note when each open batch is to be asked about again, and which ones the API says are being canceled."""
    with database.write() as connection:
        for batch_id, when in next_poll_at.items():
            is_open = (_batch.c.id == batch_id) & _batch.c.state.in_(OPEN_STATES)
            connection.execute(update(_batch).where(is_open).values(next_poll_at=when))
        if canceling:
            states = (_batch.c.id.in_(canceling)) & (_batch.c.state == BatchState.IN_PROGRESS)
            connection.execute(update(_batch).where(states).values(state=BatchState.CANCELING, alarm=null()))


def ended(database: Database, batch_id: int, ended_at: float | None) -> bool:
    """Note that the API has finished a batch."""
    with database.write() as connection:
        is_open = (_batch.c.id == batch_id) & _batch.c.state.in_(OPEN_STATES)
        values = {"state": BatchState.ENDED, "ended_at": ended_at or database.now(), "not_before": 0.0, "tries": 0}
        return connection.execute(update(_batch).where(is_open).values(values)).rowcount == 1


def claim_collect(database: Database, batch_id: int, owner: str, seconds: float) -> OpenBatch | None:
    """Take the lease on a batch whose results wait. None if it is not due or somebody else holds it."""
    now = database.now()
    with database.write() as connection:
        due = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.ENDED)
        free = (_batch.c.lease_until <= now) & (_batch.c.not_before <= now)
        claimed = connection.execute(
            update(_batch).where(due, free).values(lease_owner=owner, lease_until=now + seconds)
        )
        if not claimed.rowcount:
            return None
        row = connection.execute(
            select(_batch.c.id, _submission.c.remote_id, _batch.c.state, _batch.c.requests, *_OPENED)
            .join(_submission, _submission.c.id == _batch.c.submission_id)
            .where(_batch.c.id == batch_id)
        ).one()
        return OpenBatch(*row)


def collected(database: Database, batch_id: int, owner: str) -> bool:
    """Note that every member has a result row."""
    with database.write() as connection:
        mine = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.ENDED) & (_batch.c.lease_owner == owner)
        values = {"state": BatchState.COLLECTED, "lease_owner": null(), "lease_until": 0.0, "alarm": null(), "tries": 0}
        return connection.execute(update(_batch).where(mine).values(values)).rowcount == 1


def finish(database: Database, batch_id: int) -> bool:
    """Close the book on a collected batch once its last member is settled."""
    with database.write() as connection:
        left = (
            select(_record.c.id).where(_record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED).exists()
        )
        done = (
            (_batch.c.id == batch_id)
            & (_batch.c.state == BatchState.COLLECTED)
            & _batch.c.finished_at.is_(None)
            & ~left
        )
        return connection.execute(update(_batch).where(done).values(finished_at=database.now())).rowcount == 1
