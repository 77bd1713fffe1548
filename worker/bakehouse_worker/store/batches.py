"""Batches from packing to collection: membership, leases, and what the polls say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, insert, null, select, update

from bakehouse_worker.store.counters import Deltas, per_job
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import (
    OPEN_STATES,
    Batch,
    BatchState,
    Body,
    Job,
    Lane,
    Record,
    RecordState,
    Submission,
    table,
)

_record, _body, _batch, _lane, _job, _submission = (table(m) for m in (Record, Body, Batch, Lane, Job, Submission))


_OPENED = (_batch.c.submitted_at, _batch.c.remote_created_at)


@dataclass(frozen=True, slots=True)
class LaneView:
    """Due records of one lane, the first `sizes` of them in order of their turn as (record id, bytes of params).

    `waiting` counts all pending records of the lane's job, due or not.
    """

    lane_id: int
    job_id: int
    priority: int
    api_version: str
    betas: str
    oldest: float
    complete: bool  #: waiting brings the job no company: see `_is_complete`
    sizes: tuple[tuple[int, int], ...]
    waiting: int = 0
    leaving: bool = False  #: a batch of the same betas and API version is about to leave, and may leave some behind


@dataclass(frozen=True, slots=True)
class Member:
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


def due_lanes(database: Database, limit: int) -> list[LaneView]:
    """Return every lane with due records, each with at most `limit` of them. Costs an index seek per lane, not per record."""
    now = database.now()
    with database.read() as connection:
        counters = per_job(connection)
        waiting = [job_id for job_id, states in counters.items() if states.get(RecordState.PENDING)]
        if not waiting:
            return []
        settling = _exists(connection, _batch.c.state.in_((BatchState.ENDED, BatchState.COLLECTED)))
        leaving = _about_to_leave(connection, now)
        oldest = (
            select(func.min(_record.c.next_at))
            .where(_record.c.lane_id == _lane.c.id, _record.c.state == RecordState.PENDING)
            .scalar_subquery()
        )
        query = select(_lane, _job.c.expected, oldest.label("oldest")).join(_job, _job.c.id == _lane.c.job_id)
        views = []
        for lane in connection.execute(query.where(_lane.c.job_id.in_(waiting))).all():
            if lane.oldest is None or lane.oldest > now:
                continue
            due = (
                select(_record.c.id, _record.c.bytes)
                .where(_record.c.lane_id == lane.id, _record.c.state == RecordState.PENDING, _record.c.next_at <= now)
                .order_by(_record.c.next_at, _record.c.seq)
                .limit(limit)
            )
            sizes = tuple((record_id, size) for record_id, size in connection.execute(due)) if limit else ()
            complete = not settling and _is_complete(connection, lane.job_id, lane.expected, counters[lane.job_id], now)
            group = (lane.api_version, lane.betas)
            oldest_at = float(lane.oldest)
            views.append(
                LaneView(
                    lane.id,
                    lane.job_id,
                    lane.priority,
                    *group,
                    oldest_at,
                    complete,
                    sizes,
                    counters[lane.job_id].get(RecordState.PENDING, 0),
                    group in leaving,
                )
            )
        return views


def _exists(connection: Connection, which: ColumnElement[bool]) -> bool:
    live = select(_batch.c.id).where(_batch.c.finished_at.is_(None), which)
    return connection.execute(live.limit(1)).first() is not None


def _about_to_leave(connection: Connection, now: float) -> set[tuple[str, str]]:
    """Return (API version, betas) of the batches that are being uploaded or will be next."""
    packed = (_batch.c.state == BatchState.PACKED) & (_batch.c.not_before <= now)
    query = select(_batch.c.api_version, _batch.c.betas).distinct()
    query = query.where(_batch.c.finished_at.is_(None), packed | (_batch.c.state == BatchState.UPLOADING))
    return {(row.api_version, row.betas) for row in connection.execute(query)}


def _is_complete(
    connection: Connection, job_id: int, expected: int | None, states: Mapping[str, int], now: float
) -> bool:
    """Tell whether waiting brings a closed job no company: all it expects has come, and none of it is backing off."""
    if expected is None or sum(states.values()) < expected:
        return False
    lanes = select(_lane.c.id).where(_lane.c.job_id == job_id)
    later = (_record.c.lane_id.in_(lanes)) & (_record.c.state == RecordState.PENDING) & (_record.c.next_at > now)
    return connection.execute(select(_record.c.id).where(later).limit(1)).first() is None


def queued_requests(database: Database) -> int:
    """Return how many requests are packed or at the API: what `MAX_QUEUED_REQUESTS` limits."""
    with database.read() as connection:
        return _queued(connection)


def _queued(connection: Connection) -> int:
    done = (BatchState.ENDED, BatchState.COLLECTED)
    query = select(func.coalesce(func.sum(_batch.c.requests), 0))
    return int(connection.scalar(query.where(_batch.c.finished_at.is_(None), _batch.c.state.not_in(done))) or 0)


def pack(database: Database, members: Sequence[tuple[int, int]], api_version: str, betas: str) -> int | None:
    """Make one batch of pending records, given as (record id, bytes). None if another packer took one of them first."""
    with database.write() as connection:
        batch_id = _new_batch(connection, members, api_version, betas, database.now())
        jobs: list[int] = []
        for part in spans(members):
            taken = connection.execute(
                update(_record)
                .where(_record.c.id.in_([record_id for record_id, _ in part]), _record.c.state == RecordState.PENDING)
                .values(state=RecordState.PACKED, batch_id=batch_id)
                .returning(_record.c.job_id)
            )
            jobs += [row[0] for row in taken]
        if len(jobs) != len(members):
            connection.rollback()
            return None
        deltas = Deltas()
        deltas.move(jobs, RecordState.PENDING, RecordState.PACKED)
        deltas.write(database, connection)
    return batch_id


def _new_batch(
    connection: Connection, members: Sequence[tuple[int, int]], api_version: str, betas: str, now: float
) -> int:
    row = {
        "state": BatchState.PACKED,
        "api_version": api_version,
        "betas": betas,
        "requests": len(members),
        "bytes": sum(size for _, size in members),
        "created_at": now,
        "not_before": 0.0,
        "tries": 0,
        "lease_until": 0.0,
        "next_poll_at": 0.0,
    }
    return int(connection.execute(insert(_batch).returning(_batch.c.id), row).scalar_one())


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


def ready(database: Database, batch_id: int) -> None:
    """Let a packed batch that waited be sent at once."""
    with database.write() as connection:
        packed = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED)
        connection.execute(update(_batch).where(packed).values(not_before=0.0, alarm=null()))


def requests(database: Database, batch_id: int) -> int:
    """Return how many requests a batch has."""
    with database.read() as connection:
        return int(connection.scalar(select(_batch.c.requests).where(_batch.c.id == batch_id)) or 0)


def tries(database: Database, batch_id: int) -> int:
    """Return how often in a row the work on a batch failed."""
    with database.read() as connection:
        return int(connection.scalar(select(_batch.c.tries).where(_batch.c.id == batch_id)) or 0)


def dissolve(database: Database, batch_id: int, groups: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """Replace a packed batch by one batch per group of its members, given as (record id, bytes). Empty if it moved on."""
    now = database.now()
    with database.write() as connection:
        packed = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED)
        gone = connection.execute(
            update(_batch)
            .where(packed)
            .values(state=BatchState.DISSOLVED, finished_at=now)
            .returning(_batch.c.api_version, _batch.c.betas)
        ).one_or_none()
        if gone is None:
            return []
        made = []
        for group in groups:
            made.append(_new_batch(connection, group, gone.api_version, gone.betas, now))
            for part in spans(group):
                mine = _record.c.id.in_([record_id for record_id, _ in part]) & (_record.c.batch_id == batch_id)
                connection.execute(update(_record).where(mine).values(batch_id=made[-1]))
        return made


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
            connection.execute(update(_batch).where(states).values(state=BatchState.CANCELING))


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
