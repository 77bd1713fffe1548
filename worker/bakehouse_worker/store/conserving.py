"""More questions that `doctor` asks: rows that contradict each other. They read many rows and change none.

Each returns at most LIMIT findings, oldest first: one is enough to know, and a broken store may have millions.
"""

from __future__ import annotations

from sqlalchemy import case, func, or_, select

from bakehouse_worker.states import OPEN_STATES, TERMINAL, BatchState, RecordState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Delivery, Record, Result, Submission, table

_record, _batch, _result, _delivery, _submission = (table(m) for m in (Record, Batch, Result, Delivery, Submission))

LIMIT = 100
#: States of a batch that the API has, as far as the store knows, with results that are not here yet.
_THERE = (*OPEN_STATES, BatchState.ENDED)


def astray(database: Database) -> list[tuple[int, str]]:
    """Return (record, what it is) of records that stand in no place, or in two: their state contradicts their batch or end."""
    state, batch = _record.c.state, _batch.c.state
    gone = (state == RecordState.PACKED) & (_batch.c.id.is_(None) | _batch.c.finished_at.is_not(None))
    waiting = (state == RecordState.PENDING) & _record.c.batch_id.is_not(None)
    undone = state.in_(TERMINAL) & _record.c.settled_at.is_(None)
    unknown = state.not_in(list(RecordState))
    what = case(
        (unknown, "in a state that does not exist"),
        (waiting, "pending and in a batch at once"),
        (undone, "at its end and has no time of it"),
        (_batch.c.id.is_(None), "packed and in no batch"),
        else_="packed in a batch that is finished",
    )
    query = (
        select(_record.c.id, what, batch)
        .outerjoin(_batch, _batch.c.id == _record.c.batch_id)
        .where(or_(gone, waiting, undone, unknown))
    )
    with database.read() as connection:
        rows = connection.execute(query.order_by(_record.c.id).limit(LIMIT))
        return [(record_id, why) for record_id, why, _ in rows]


def in_two_batches(database: Database) -> list[tuple[int, int, int]]:
    """Return (record, its batch, the other) of members whose present sending was answered in another batch."""
    current = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
    query = select(_record.c.id, _record.c.batch_id, _result.c.batch_id).join(_result, current)
    query = query.where(_record.c.state == RecordState.PACKED, _result.c.batch_id != _record.c.batch_id)
    with database.read() as connection:
        return [
            (record_id, mine, other)
            for record_id, mine, other in connection.execute(query.order_by(_record.c.id).limit(LIMIT))
        ]


def without_remote(database: Database) -> list[tuple[int, str]]:
    """Return (batch, state) of batches that should be at the API and whose remote id is not known."""
    query = (
        select(_batch.c.id, _batch.c.state)
        .outerjoin(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_batch.c.finished_at.is_(None), _batch.c.state.in_(_THERE), _submission.c.remote_id.is_(None))
    )
    with database.read() as connection:
        return [(batch_id, state) for batch_id, state in connection.execute(query.order_by(_batch.c.id).limit(LIMIT))]


def overdue(database: Database, before: float, *, submitting: bool) -> list[tuple[int, str, float]]:
    """Return (batch, state, due since) of batches that were due before a time and that nobody holds.

    `submitting` tells whether packed ones count: not while submissions are held. Times are seconds since 1970.
    """
    since = case(
        (_batch.c.state == BatchState.PACKED, _later(_batch.c.created_at, _batch.c.not_before)),
        (_batch.c.state.in_(OPEN_STATES), _later(_batch.c.submitted_at, _batch.c.next_poll_at)),
        else_=_later(_batch.c.submitted_at, _batch.c.not_before),
    )
    states = [*OPEN_STATES, BatchState.ENDED, BatchState.COLLECTED, *([BatchState.PACKED] if submitting else [])]
    free = (_batch.c.lease_until < before) & _batch.c.state.in_(states)
    query = select(_batch.c.id, _batch.c.state, since).where(_batch.c.finished_at.is_(None), free, since < before)
    with database.read() as connection:
        return [(b, state, when) for b, state, when in connection.execute(query.order_by(_batch.c.id).limit(LIMIT))]


def _later(one: object, other: object) -> object:
    first, second = func.coalesce(one, 0.0), func.coalesce(other, 0.0)
    return case((first > second, first), else_=second)


def without_answer(database: Database) -> list[int]:
    """Return records that succeeded, whose content was neither pruned nor erased, and that have no result."""
    answer = select(_result.c.record_id).where(
        _result.c.record_id == _record.c.id, _result.c.attempt == _record.c.attempt
    )
    whole = (_record.c.state == RecordState.SUCCEEDED) & _record.c.content_gone_at.is_(None)
    query = select(_record.c.id).where(whole, ~answer.exists())
    with database.read() as connection:
        return list(connection.scalars(query.order_by(_record.c.id).limit(LIMIT)))


def lone_results(database: Database) -> list[tuple[int, int, str]]:
    """Return (record, attempt, what is missing) of results without a record, or of a batch that never was."""
    query = (
        select(_result.c.record_id, _result.c.attempt, _record.c.id.is_(None), _result.c.batch_id)
        .outerjoin(_record, _record.c.id == _result.c.record_id)
        .outerjoin(_batch, _batch.c.id == _result.c.batch_id)
        .where(_record.c.id.is_(None) | (_batch.c.id.is_(None) & (_result.c.batch_id != 0)))
    )
    with database.read() as connection:
        rows = connection.execute(query.order_by(_result.c.record_id).limit(LIMIT))
        return [
            (record_id, attempt, "record" if lone else f"batch: there is no {batch_id}")
            for record_id, attempt, lone, batch_id in rows
        ]


def lone_deliveries(database: Database) -> list[tuple[int, int]]:
    """Return (record, generation) of deliveries without a record."""
    query = select(_delivery.c.record_id, _delivery.c.generation)
    query = query.outerjoin(_record, _record.c.id == _delivery.c.record_id).where(_record.c.id.is_(None))
    with database.read() as connection:
        rows = connection.execute(query.order_by(_delivery.c.record_id).limit(LIMIT))
        return [(record_id, generation) for record_id, generation in rows]
