"""What the next tick should ring for, derived from the rows alone: a lost doorbell costs one tick, never a record."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, select, text

from bakehouse_worker.doubt import WATCH_FOR
from bakehouse_worker.states import OPEN_STATES, BatchState, RecordState, SubmissionState
from bakehouse_worker.store import canceling, retention
from bakehouse_worker.store.counters import per_job
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import LIVE, Batch, Delivery, Meta, Submission, table

_batch, _delivery, _submission, _meta = (table(m) for m in (Batch, Delivery, Submission, Meta))

#: States that are left when a sender's lease runs out.
LEASED = (BatchState.UPLOADING, BatchState.CLOSING)


@dataclass(frozen=True, slots=True)
class Due:
    """Work that stands in the tables now; ids are batches'."""

    chunk: bool
    submit: tuple[int, ...]
    poll: bool
    collect: tuple[int, ...]
    settle: tuple[int, ...]
    deliver: int
    leases: bool
    doubts: bool
    watched: bool
    prune: bool
    cancel: bool

    @property
    def rescue(self) -> bool:
        """Whether a lease has run out or an answer is in doubt."""
        return self.leases or self.doubts


def due(database: Database, limit: int) -> Due:
    """Look once over the live batches (never over records) and say what is to be done; at most `limit` ids of a kind.

    `chunk` says only that records wait; whether a batch would leave is `chunk.worthwhile`.
    """
    now = database.now()
    with database.read() as connection:
        pending = any(states.get(RecordState.PENDING) for states in per_job(connection).values())
        free = (_batch.c.lease_until <= now) & (_batch.c.not_before <= now)
        return Due(
            chunk=pending,
            submit=_ids(connection, (_batch.c.state == BatchState.PACKED) & free, limit),
            poll=bool(_ids(connection, _batch.c.state.in_(OPEN_STATES) & (_batch.c.next_poll_at <= now), 1)),
            collect=_ids(connection, (_batch.c.state == BatchState.ENDED) & free, limit),
            settle=_ids(connection, _batch.c.state == BatchState.COLLECTED, limit),
            deliver=_deliveries(connection, now),
            leases=bool(_ids(connection, _batch.c.state.in_(LEASED) & (_batch.c.lease_until <= now), 1)),
            doubts=_doubts(connection),
            watched=_has_submission(
                connection,
                (_submission.c.state == SubmissionState.ABANDONED) & (_submission.c.resolved_at >= now - WATCH_FOR),
            ),
            prune=_needs_pruning(connection, now),
            cancel=bool(canceling.to_ask_now(connection, now, 1)),
        )


def idle(database: Database) -> bool:
    """Tell whether no worker has anything in hand: no live batch, and no outcome on its way."""
    with database.read() as connection:
        waiting = select(_delivery.c.record_id).where(_delivery.c.state == "waiting").limit(1)
        batch = select(_batch.c.id).where(_batch.c.finished_at.is_(None)).limit(1)
        return connection.execute(batch).first() is None and connection.execute(waiting).first() is None


def _ids(connection: Connection, which: ColumnElement[bool], limit: int) -> tuple[int, ...]:
    live = select(_batch.c.id).where(_batch.c.finished_at.is_(None), which)
    return tuple(connection.scalars(live.order_by(_batch.c.id).limit(limit)))


def _deliveries(connection: Connection, now: float) -> int:
    """Count what is due and in nobody's hand, or was in a lost worker's; each is a range of the index, both together are not."""
    waiting = (_delivery.c.state == "waiting") & (_delivery.c.next_at <= now)
    lost = (_delivery.c.lease_until > 0.0) & (_delivery.c.lease_until <= now)
    found = 0
    for which in (_delivery.c.lease_until == 0.0, lost):
        some = select(_delivery.c.record_id).where(waiting, which).limit(1_000).subquery()
        found += connection.scalar(select(func.count()).select_from(some)) or 0
    return found


def _doubts(connection: Connection) -> bool:
    if _ids(connection, _batch.c.state == BatchState.IN_DOUBT, 1):
        return True
    of_the_live = text(LIVE)  # as the index says it: SQLite does not conclude it from the state
    return _has_submission(connection, and_(of_the_live, _submission.c.state == SubmissionState.IN_DOUBT))


def _has_submission(connection: Connection, which: ColumnElement[bool]) -> bool:
    return connection.execute(select(_submission.c.id).where(which).limit(1)).first() is not None


def _needs_pruning(connection: Connection, now: float) -> bool:
    last = connection.scalar(select(_meta.c.value).where(_meta.c.key == retention.TURN_KEY))
    return now - float(last or 0) >= retention.EVERY
