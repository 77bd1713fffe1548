"""Which records wait and in which order, and how they become batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, null, select, update

from bakehouse_worker.states import OPEN_STATES, BatchState, RecordState
from bakehouse_worker.store import bulk
from bakehouse_worker.store.counters import Deltas, per_job
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.store.holds import JOB, MODEL, PARKED
from bakehouse_worker.tables import Batch, Hold, Job, Lane, Record, table

_record, _batch, _lane, _job, _hold = (table(m) for m in (Record, Batch, Lane, Job, Hold))

#: States of records that were chosen for a batch; canceled ones may have been.
_GONE_AHEAD = (RecordState.PACKED, RecordState.SUCCEEDED, RecordState.FAILED)


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
    more: bool = False  #: more of its records may be due than `sizes` shows
    leaving: bool = False  #: a batch of the same betas and API version is about to leave, and may leave some behind


def due_lanes(database: Database, limit: int) -> list[LaneView]:
    """Return every lane with due records that may go now, each with at most `limit` of them. Costs an index seek per lane."""
    now = database.now()
    with database.read() as connection:
        counters = per_job(connection)
        waiting = [job_id for job_id, states in counters.items() if states.get(RecordState.PENDING)]
        if not waiting:
            return []
        parked = set(connection.scalars(select(_hold.c.scope).where(_hold.c.kind == PARKED)))
        settling = _exists(connection, _batch.c.state.in_((BatchState.ENDED, BatchState.COLLECTED)))
        leaving = _about_to_leave(connection, now)
        oldest = (
            select(func.min(_record.c.next_at))
            .where(_record.c.lane_id == _lane.c.id, _record.c.state == RecordState.PENDING)
            .scalar_subquery()
        )
        said = (_job.c.name, _job.c.expected, _job.c.canary)
        query = select(_lane, *said, oldest.label("oldest")).join(_job, _job.c.id == _lane.c.job_id)
        views = []
        ahead: dict[int, int] = {}  # of jobs with a canary: how many more may go now
        for lane in connection.execute(query.where(_lane.c.job_id.in_(waiting))).all():
            if lane.oldest is None or lane.oldest > now or {f"{MODEL}:{lane.model}", f"{JOB}:{lane.name}"} & parked:
                continue
            states = counters[lane.job_id]
            complete = not settling and _is_complete(connection, lane.job_id, lane.expected, states, now)
            view = _view(lane, complete, (lane.api_version, lane.betas) in leaving)
            if lane.canary is None:
                sizes = _sizes(connection, lane.id, now, limit)
                views.append(
                    replace(view, sizes=sizes, waiting=states[RecordState.PENDING], more=0 < limit == len(sizes))
                )
            elif room := ahead.setdefault(lane.job_id, _canary_room(states, lane.canary)):
                sizes = _sizes(connection, lane.id, now, min(room, limit))
                ahead[lane.job_id] -= len(sizes)
                views.append(replace(view, sizes=sizes, complete=True))  # a canary waits for nobody
        return views


def _view(lane: Any, complete: bool, leaving: bool) -> LaneView:
    common = (lane.id, lane.job_id, lane.priority, lane.api_version, lane.betas)
    return LaneView(*common, oldest=float(lane.oldest), complete=complete, sizes=(), leaving=leaving)


def _sizes(connection: Connection, lane_id: int, now: float, limit: int) -> tuple[tuple[int, int], ...]:
    """Return (record id, bytes of params) of a lane's first due records."""
    if not limit:
        return ()
    due = (
        select(_record.c.id, _record.c.bytes)
        .where(_record.c.lane_id == lane_id, _record.c.state == RecordState.PENDING, _record.c.next_at <= now)
        .order_by(_record.c.next_at, _record.c.seq)
        .limit(limit)
    )
    return tuple((record_id, size) for record_id, size in connection.execute(due))


def _canary_room(states: Mapping[str, int], canary: int) -> int:
    """Return how many more records of a job may go before its canary has decided."""
    return max(0, canary - sum(count for state, count in states.items() if state in _GONE_AHEAD))


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


def at_the_api(database: Database, but: int) -> int:
    """Return how many requests the API has of ours, or may have, in batches other than one."""
    states = (*OPEN_STATES, BatchState.CLOSING, BatchState.IN_DOUBT)
    query = select(func.coalesce(func.sum(_batch.c.requests), 0)).where(_batch.c.finished_at.is_(None))
    with database.read() as connection:
        return int(connection.scalar(query.where(_batch.c.state.in_(states), _batch.c.id != but)) or 0)


def counts_on_their_way(database: Database) -> frozenset[int]:
    """Return how many requests the batches have, each, that are packed or being sent, or whose answer is not known."""
    states = (BatchState.PACKED, BatchState.UPLOADING, BatchState.CLOSING, BatchState.IN_DOUBT)
    query = select(_batch.c.requests).where(_batch.c.finished_at.is_(None), _batch.c.state.in_(states))
    with database.read() as connection:
        return frozenset(connection.scalars(query))


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
        database.exclusive(connection, "pack")  # another packer then finds its records taken, instead of a deadlock
        batch_id = _new_batch(connection, members, api_version, betas, database.now())
        jobs: list[int] = []
        for part in spans(members):
            taken = connection.execute(
                update(_record)
                .where(bulk.among(connection, _record.c.id, [record_id for record_id, _ in part]))
                .where(_record.c.state == RecordState.PENDING)
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


def dissolve(database: Database, batch_id: int, groups: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """Replace a packed batch by one batch per group of its members, given as (record id, bytes). Empty if it moved on.

    Members that left it meanwhile, because they were canceled, are in none.
    """
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
        mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
        here = set(connection.scalars(select(_record.c.id).where(mine)))
        made = []
        for group in ([each for each in whole if each[0] in here] for whole in groups):
            if not group:
                continue
            made.append(_new_batch(connection, group, gone.api_version, gone.betas, now))
            for part in spans(group):
                ids = [record_id for record_id, _ in part]
                mine = bulk.among(connection, _record.c.id, ids) & (_record.c.batch_id == batch_id)
                connection.execute(update(_record).where(mine).values(batch_id=made[-1]))
        return made


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


def halve(database: Database, batch_id: int, members: Sequence[tuple[int, int]]) -> None:
    """Make two packed batches of one, whose members are given as (record id, bytes)."""
    middle = len(members) // 2
    dissolve(database, batch_id, [members[:middle], members[middle:]])


def first_alone(database: Database, batch_id: int) -> int | None:
    """Make a batch of a packed batch's first record, and another of the others: a probe. None if it has no others, or moved on."""
    mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
    with database.read() as connection:
        query = select(_record.c.id, _record.c.bytes).where(mine).order_by(_record.c.id)
        members = [(row.id, row.bytes) for row in connection.execute(query)]
    if len(members) < 2:
        return None
    made = dissolve(database, batch_id, [members[:1], members[1:]])
    return made[0] if made else None


def give_back(database: Database, batch_id: int, models: Sequence[str], jobs: Sequence[str]) -> int:
    """Let the members of a packed batch that are of these models or jobs wait as pending, and the others travel without them.

    Returns how many wait; 0 if the batch moved on.
    """
    now = database.now()
    with database.write() as connection:
        packed = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED)
        members = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
        held = connection.execute(update(_batch).where(packed).values(not_before=now)).rowcount
        if not held:
            return 0
        values = {"state": RecordState.PENDING, "batch_id": null(), "next_at": now}
        theirs = _record.c.model.in_(models) | _record.c.job_id.in_(select(_job.c.id).where(_job.c.name.in_(jobs)))
        waiting = connection.execute(
            update(_record).where(members, theirs).values(values).returning(_record.c.job_id)
        ).scalars()
        moved = list(waiting)
        if not moved:
            return 0
        deltas = Deltas()
        deltas.move(moved, RecordState.PACKED, RecordState.PENDING)
        deltas.write(database, connection)
        left, size = connection.execute(
            select(func.count(), func.coalesce(func.sum(_record.c.bytes), 0)).where(members)
        ).one()
        values = {"requests": left, "bytes": size}
        if not left:
            values |= {"state": BatchState.DISSOLVED, "finished_at": now}
        connection.execute(update(_batch).where(packed).values(values))
        return len(moved)
