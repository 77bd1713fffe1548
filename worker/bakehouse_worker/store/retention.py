"""Deleting what need not be kept, in spans: each verb is one short transaction over at most SPAN rows.

A record goes in two steps: its content first (bodies, answers, error texts), later the row, which leaves a tombstone. Never touched
is a record that has not ended, whose outcome still waits to be delivered, or with an answer in a batch that is not finished: what
such a batch's stream brings again would stand where it was deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, null, or_, select, tuple_, update

from bakehouse_worker.states import LIVE_SUBMISSIONS, TERMINAL
from bakehouse_worker.store import tombstones
from bakehouse_worker.store.caveats import Caveats
from bakehouse_worker.store.database import SPAN, Database
from bakehouse_worker.tables import Batch, Body, Delivery, Job, Record, Rejected, Result, Submission, table

_record, _body, _result, _delivery = (table(m) for m in (Record, Body, Result, Delivery))
_batch, _submission, _rejected, _job = (table(m) for m in (Batch, Submission, Rejected, Job))

#: Seconds between two turns of the janitor, and the fact that says when the last began.
EVERY = 3600.0
TURN_KEY = "pruned_at"

#: A place in the order in which records ended: (settled_at, record id).
Place = tuple[float, int]
START: Place = (0.0, 0)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one span came to. `place` is where the next one goes on; None when there is no more."""

    records: int
    place: Place | None


def drop_content(database: Database, before: float, after: Place) -> Pruned:
    """Delete bodies, answers and error texts of one span of records that ended before a time."""
    now = database.now()
    with database.write() as connection:
        rows = _ended(connection, _record.c.content_gone_at.is_(None), before, after)
        ids = [row.id for row in rows if not row.held]
        if ids:
            _count_out(database, connection, ids)
            connection.execute(delete(_body).where(_body.c.record_id.in_(ids)))
            connection.execute(delete(_result).where(_result.c.record_id.in_(ids)))
            told = _delivery.c.record_id.in_(ids) & _delivery.c.error.is_not(None)
            connection.execute(update(_delivery).where(told).values(error=null()))
            gone = update(_record).where(_record.c.id.in_(ids))
            connection.execute(gone.values(content_gone_at=now))
    return Pruned(len(ids), _next(rows))


def bury(database: Database, before: float, after: Place) -> Pruned:
    """Replace one span of records without content that ended before a time by tombstones; counters stay as they are."""
    which, now = _record.c.content_gone_at.is_not(None), database.now()
    with database.read() as connection:
        rows = _ended(connection, which, before, after)
    tombstones.make_keys(database, {row.job_id for row in rows})
    with database.write() as connection:
        rows = _ended(connection, which, before, after)
        keys = tombstones.keys(connection, {row.job_id for row in rows})
        free = [row for row in rows if not row.held and row.job_id in keys]
        ids = [row.id for row in free]
        if ids:
            tombstones.bury(connection, keys, [(row.job_id, row.custom_id, row.digest, row.state) for row in free], now)
            _count_out(database, connection, ids)
            for rest in (_body, _result, _delivery):
                connection.execute(delete(rest).where(rest.c.record_id.in_(ids)))
            connection.execute(delete(_record).where(_record.c.id.in_(ids)))
    return Pruned(len(ids), _next(rows))


def _ended(connection: Connection, which: ColumnElement[bool], before: float, after: Place) -> Sequence[Any]:
    """Return a span of records that ended before a time, oldest first; `held` says that one must stay as it is."""
    waiting = select(_delivery.c.record_id).where(_delivery.c.record_id == _record.c.id, _delivery.c.state == "waiting")
    open_batch = select(_result.c.record_id).join(_batch, _batch.c.id == _result.c.batch_id)
    open_batch = open_batch.where(_result.c.record_id == _record.c.id, _batch.c.finished_at.is_(None))
    columns = (_record.c.id, _record.c.job_id, _record.c.custom_id, _record.c.digest, _record.c.state)
    query = (
        select(*columns, _record.c.settled_at, or_(waiting.exists(), open_batch.exists()).label("held"))
        .where(which, _record.c.settled_at < before, _record.c.state.in_(TERMINAL))
        .where(tuple_(_record.c.settled_at, _record.c.id) > after)
        .order_by(_record.c.settled_at, _record.c.id)
        .limit(SPAN)
    )
    return connection.execute(query.with_for_update(of=_record, skip_locked=True)).all()


def _count_out(database: Database, connection: Connection, ids: Sequence[int]) -> None:
    caveats = Caveats()
    caveats.go(connection, ids)
    caveats.write(database, connection)


def _next(rows: Sequence[Any]) -> Place | None:
    return (rows[-1].settled_at, rows[-1].id) if len(rows) == SPAN else None


def drop_rejected(database: Database, before: float) -> int:
    """Delete one span of receipts that were rejected before a time; their number stays with their job. Returns how many."""
    with database.write() as connection:
        oldest = select(_rejected.c.id, _rejected.c.job, _rejected.c.at).order_by(_rejected.c.id).limit(SPAN)
        rows = [row for row in connection.execute(oldest).all() if row.at < before]
        if not rows:
            return 0
        connection.execute(delete(_rejected).where(_rejected.c.id.in_([row.id for row in rows])))
        for job, number in sorted(Counter(row.job for row in rows).items()):
            more = update(_job).where(_job.c.name == job)
            connection.execute(more.values(rejected_pruned=_job.c.rejected_pruned + number))
        return len(rows)


def drop_batches(database: Database, before: float) -> int:
    """Delete one span of batches that were finished before a time, with their submissions; returns how many.

    No record or answer may refer to one. The newest submission stays: it says whose batches this store's are.
    """
    with database.write() as connection:
        oldest = _oldest_record(connection)
        limit = before if oldest is None else min(before, oldest)
        told = select(_result.c.record_id).where(_result.c.batch_id == _batch.c.id)
        mine = _submission.c.batch_id == _batch.c.id
        live = select(_submission.c.id).where(mine, _submission.c.state.in_(LIVE_SUBMISSIONS))
        newest = select(func.max(_submission.c.id)).scalar_subquery()
        last = select(_submission.c.id).where(mine, _submission.c.id == newest)
        old = select(_batch.c.id).where(_batch.c.finished_at < limit, ~told.exists(), ~live.exists(), ~last.exists())
        ids = list(connection.scalars(old.order_by(_batch.c.finished_at).limit(SPAN)))
        connection.execute(delete(_submission).where(_submission.c.batch_id.in_(ids)))
        connection.execute(delete(_batch).where(_batch.c.id.in_(ids)))
        return len(ids)


def _oldest_record(connection: Connection) -> float | None:
    """Return when the oldest record that is still there ended: a batch that was finished before has none."""
    found = []
    for which in (_record.c.content_gone_at.is_(None), _record.c.content_gone_at.is_not(None)):
        ended = select(_record.c.settled_at).where(_record.c.settled_at.is_not(None), which)
        found.append(connection.scalar(ended.order_by(_record.c.settled_at).limit(1)))
    return min((when for when in found if when is not None), default=None)


@dataclass(frozen=True, slots=True)
class Emptied:
    """A batch that the API may still have, and of whose content nothing is left here."""

    submission_id: int
    batch_id: int
    remote_id: str
    origin: str
    workspace: str


def emptied(database: Database, since: float, limit: int, batch_ids: Sequence[int] | None = None) -> list[Emptied]:
    """Return batches whose every answer was pruned or erased, and that were submitted after a time: of the ids given, or any.

    Every member of a finished batch has an answer, and an erased one's stands there empty. An adoption that no line has confirmed
    may be somebody else's batch, and is left alone.
    """
    left = select(_result.c.record_id).where(_result.c.batch_id == _batch.c.id, _result.c.line != b"")
    query = (
        select(_submission.c.id, _batch.c.id, _submission.c.remote_id, _submission.c.origin, _submission.c.workspace)
        .join(_batch, _batch.c.submission_id == _submission.c.id)
        .where(_batch.c.finished_at > since, _batch.c.submitted_at > since, ~left.exists())
        .where(_submission.c.confirmed, _submission.c.remote_id.is_not(None), _submission.c.remote_deleted_at.is_(None))
    )
    if batch_ids is not None:
        query = query.where(_batch.c.id.in_(batch_ids))
    with database.read() as connection:
        return [Emptied(*row) for row in connection.execute(query.order_by(_batch.c.finished_at).limit(limit))]


def remote_deleted(database: Database, submission_id: int) -> bool:
    """Note that the API does not have a batch any more; its id stays known."""
    now = database.now()
    with database.write() as connection:
        mine = (_submission.c.id == submission_id) & _submission.c.remote_deleted_at.is_(None)
        return connection.execute(update(_submission).where(mine).values(remote_deleted_at=now)).rowcount == 1
