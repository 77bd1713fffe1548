"""Cancellation: what is not sent ends at once, what is sent is marked (`cancel_asked_at`), and its answer still counts.

A batch is locked before its members, so a sender that takes it at the same moment either has them or not. Members in other
hands are passed over, never waited for: the caller comes back while `left` says so. A packed batch has no marked members:
`members` takes out what it cancels there, and what goes back to packed loses its marked ones by `leave` in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, null, or_, select, update

from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.store import deliveries
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import SPAN, Database
from bakehouse_worker.tables import Batch, Job, Lane, Record, Submission, table

_record, _batch, _job, _lane, _submission = (table(m) for m in (Record, Batch, Job, Lane, Submission))

#: States of a batch in which a cancel at the API may still change something, now or once its remote id is known.
_RUNNING = (
    BatchState.UPLOADING,
    BatchState.CLOSING,
    BatchState.IN_DOUBT,
    BatchState.IN_PROGRESS,
    BatchState.CANCELING,
)
_PENDING, _PACKED = _record.c.state == RecordState.PENDING, _record.c.state == RecordState.PACKED
_UNMARKED = _record.c.cancel_asked_at.is_(None)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records are meant: of jobs, under a custom_id, in a batch. None above `newest`: what comes later is not meant."""

    jobs: tuple[int, ...]
    custom_id: str | None
    batch_id: int | None
    newest: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a scope's records stand that have no end: not sent; sent; sent, and asked to be canceled before."""

    unsent: int = 0
    sent: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The batches that a scope's marked records are in, and that run.

    `whole`: the API is asked. `unproven`: adopted from the API's list, and not asked, because they may be somebody else's.
    `mixed`: not asked, because they hold records that go on.
    """

    whole: int = 0
    unproven: int = 0
    mixed: int = 0


def scope(database: Database, custom_id: str | None, job: str | None, batch_id: int | None) -> Scope | None:
    """Return the scope of what is named; None if there is no such record, job or live batch."""
    with database.read() as connection:
        newest = int(connection.scalar(select(func.max(_record.c.id))) or 0)
        if batch_id is not None:
            live = select(_batch.c.id).where(_batch.c.id == batch_id, _batch.c.finished_at.is_(None))
            return Scope((), None, batch_id, newest) if connection.execute(live).first() else None
        jobs = select(_job.c.id) if job is None else select(_job.c.id).where(_job.c.name == job)
        if custom_id is not None:
            jobs = select(_record.c.job_id).where(_record.c.job_id.in_(jobs), _record.c.custom_id == custom_id)
        found = tuple(connection.scalars(jobs))
        return Scope(found, custom_id, None, newest) if found else None


def _in(wanted: Scope, state: RecordState) -> ColumnElement[bool]:
    mine = (_record.c.id <= wanted.newest) & (_record.c.state == state)
    if wanted.batch_id is not None:
        return mine & (_record.c.batch_id == wanted.batch_id)
    mine &= _record.c.job_id.in_(wanted.jobs)
    if wanted.custom_id is not None:
        return mine & (_record.c.custom_id == wanted.custom_id)
    if state is RecordState.PENDING:  # by the lanes there is an index over pending records alone
        mine &= _record.c.lane_id.in_(select(_lane.c.id).where(_lane.c.job_id.in_(wanted.jobs)))
    return mine


def standing(database: Database, wanted: Scope) -> Standing:
    """Count a scope's records that have no end."""
    with database.read() as connection:
        unsent = int(connection.scalar(select(func.count()).where(_in(wanted, RecordState.PENDING))) or 0)
        query = select(_batch.c.state, _UNMARKED, func.count()).join(_batch, _batch.c.id == _record.c.batch_id)
        query = query.where(_in(wanted, RecordState.PACKED)).group_by(_batch.c.state, _UNMARKED)
        sent = asked = 0
        for state, unmarked, records in connection.execute(query):
            if state == BatchState.PACKED:
                unsent += records
            elif unmarked:
                sent += records
            else:
                asked += records
    return Standing(unsent, sent, asked)


def left(database: Database, wanted: Scope) -> int:
    """Count a scope's records that are neither canceled nor marked, wherever they went meanwhile."""
    either = or_(_in(wanted, RecordState.PENDING), _in(wanted, RecordState.PACKED) & _UNMARKED)
    with database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(_record).where(either)) or 0)


def pending(database: Database, wanted: Scope) -> int:
    """Cancel a span of a scope's pending records; returns how many."""
    now, deltas = database.now(), Deltas()
    with database.write() as connection:
        found = select(_record.c.id).where(_in(wanted, RecordState.PENDING)).limit(SPAN)
        ids = list(connection.scalars(found.with_for_update(skip_locked=True)))
        moved = _end(database, connection, _record.c.id.in_(ids) & _PENDING, RecordState.PENDING, now, deltas)
        deltas.write(database, connection)
    return len(moved)


def batches(database: Database, wanted: Scope) -> list[int]:
    """Return the batches that hold members of a scope which are not marked."""
    query = select(_record.c.batch_id).distinct().where(_in(wanted, RecordState.PACKED), _UNMARKED)
    with database.read() as connection:
        return sorted(connection.scalars(query))


def members(database: Database, wanted: Scope, batch_id: int) -> tuple[int, int]:
    """Cancel a span of a batch's members in a scope if it is not being sent, mark them if it is; returns (canceled, marked)."""
    now, deltas = database.now(), Deltas()
    with database.write() as connection:
        state = _lock(connection, batch_id)
        mine = _in(wanted, RecordState.PACKED) & (_record.c.batch_id == batch_id) & _UNMARKED
        found = select(_record.c.id).where(mine).order_by(_record.c.id).limit(SPAN)
        ids = list(connection.scalars(found.with_for_update(skip_locked=True)))
        if state == BatchState.PACKED:
            canceled = _take_out(database, connection, batch_id, _record.c.id.in_(ids), now, deltas)
            deltas.write(database, connection)
            return canceled, 0
        marked = update(_record).where(_record.c.id.in_(ids), _PACKED).values(cancel_asked_at=now)
        count = connection.execute(marked).rowcount
        others = select(_record.c.id).where(_record.c.batch_id == batch_id, _PACKED, _UNMARKED)
        running = (_batch.c.id == batch_id) & _batch.c.state.in_(_RUNNING) & _batch.c.cancel_asked_at.is_(None)
        connection.execute(update(_batch).where(running, ~others.exists()).values(cancel_asked_at=now))
        return 0, count


def leave(database: Database, connection: Connection, batch_ids: Sequence[int]) -> None:
    """Cancel the marked members of batches that have just gone back to packed, inside a transaction and last in it."""
    now, deltas = database.now(), Deltas()
    for batch_id in sorted(batch_ids):
        if _lock(connection, batch_id) == BatchState.PACKED:
            _take_out(database, connection, batch_id, ~_UNMARKED, now, deltas)
    deltas.write(database, connection)


def _lock(connection: Connection, batch_id: int) -> str | None:
    """Return a live batch's state, which nobody else changes before the transaction ends."""
    live = select(_batch.c.state).where(_batch.c.id == batch_id, _batch.c.finished_at.is_(None))
    return connection.scalar(live.with_for_update())


def _take_out(
    database: Database, connection: Connection, batch_id: int, which: ColumnElement[bool], now: float, deltas: Deltas
) -> int:
    """Cancel members of a packed batch that is locked; they leave it, and an empty one is dissolved."""
    mine = which & (_record.c.batch_id == batch_id) & _PACKED
    moved = _end(database, connection, mine, RecordState.PACKED, now, deltas)
    if moved:
        less = {"requests": _batch.c.requests - len(moved), "bytes": _batch.c.bytes - sum(row.bytes for row in moved)}
        connection.execute(update(_batch).where(_batch.c.id == batch_id).values(less))
        empty = (_batch.c.id == batch_id) & (_batch.c.requests == 0) & (_batch.c.state == BatchState.PACKED)
        connection.execute(update(_batch).where(empty).values(state=BatchState.DISSOLVED, finished_at=now))
    return len(moved)


def _end(
    database: Database,
    connection: Connection,
    which: ColumnElement[bool],
    before: RecordState,
    now: float,
    deltas: Deltas,
) -> Sequence[Any]:
    values = {
        "state": RecordState.CANCELED,
        "batch_id": null(),
        "settled_at": now,
        "cancel_asked_at": func.coalesce(_record.c.cancel_asked_at, now),
    }
    row = (_record.c.id, _record.c.job_id, _record.c.bytes)
    moved = connection.execute(update(_record).where(which).values(values).returning(*row)).all()
    deliveries.open_for(database, connection, [each.id for each in moved], now)
    deltas.move([each.job_id for each in moved], before, RecordState.CANCELED)
    return moved


def sent(database: Database, wanted: Scope) -> Sent:
    """Tell what becomes, at the API, of the batches that a scope's marked records are in."""
    query = (
        select(_batch.c.id, _batch.c.state, _batch.c.cancel_asked_at, _submission.c.confirmed)
        .join(_record, _record.c.batch_id == _batch.c.id)
        .outerjoin(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_in(wanted, RecordState.PACKED), ~_UNMARKED, _batch.c.state.in_(_RUNNING))
        .distinct()
    )
    whole = unproven = mixed = 0
    with database.read() as connection:
        for row in connection.execute(query):
            if row.cancel_asked_at is None:
                mixed += 1
            elif row.state == BatchState.IN_PROGRESS and not row.confirmed:
                unproven += 1
            else:
                whole += 1
    return Sent(whole, unproven, mixed)


def to_ask_now(connection: Connection, now: float, limit: int) -> list[tuple[int, str]]:
    """Return (batch, remote id) of batches that the API is to be asked to cancel now, and that are certainly ours.

    One that was adopted from the API's list and not read yet may be somebody else's: it is left to run.
    """
    query = (
        select(_batch.c.id, _submission.c.remote_id)
        .join(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_batch.c.finished_at.is_(None), _batch.c.state == BatchState.IN_PROGRESS, _batch.c.not_before <= now)
        .where(_batch.c.cancel_asked_at.is_not(None), _submission.c.confirmed)
    )
    return [(row.id, row.remote_id) for row in connection.execute(query.order_by(_batch.c.id).limit(limit))]


def to_ask(database: Database, limit: int) -> list[tuple[int, str]]:
    """Return what `to_ask_now` does, by the store's clock."""
    with database.read() as connection:
        return to_ask_now(connection, database.now(), limit)


def asked(database: Database, batch_id: int) -> bool:
    """Note that the API is canceling a batch; it is asked about it soon."""
    values = {"state": BatchState.CANCELING, "alarm": null(), "tries": 0, "not_before": 0.0}
    running = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.IN_PROGRESS)
    with database.write() as connection:
        canceling = update(_batch).where(running).values(**values, next_poll_at=database.now())
        return connection.execute(canceling).rowcount == 1
