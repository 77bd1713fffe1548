"""One custom_id's content, gone at a person's word. The record's row stays and says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, func, null, select, update

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.records import REFUSED_BY_DATABASE
from bakehouse_worker.tables import Batch, Body, Delivery, Job, Record, Rejected, Result, table

_record, _body, _result, _delivery = (table(m) for m in (Record, Body, Result, Delivery))
_batch, _job, _rejected = table(Batch), table(Job), table(Rejected)

#: What a delivery says that had not come to its handler.
WITHDRAWN = "withdrawn: the record was erased before its outcome was delivered"


@dataclass(frozen=True, slots=True)
class Erased:
    """One record whose content is gone. `state` is where it stood before; `batch_ids` are its sendings' batches."""

    job: str
    state: str
    batch_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was found under a custom_id. If any is `sent` (job, state of its batch), nothing was erased.

    `rejected` counts the rejected receipts under it: they hold no content, or none any more.
    """

    erased: tuple[Erased, ...] = ()
    sent: tuple[tuple[str, str], ...] = ()
    rejected: int = 0


def erase(database: Database, custom_id: str, job: str | None = None) -> Erasure:
    """Delete bodies, answers, metadata and error texts under a custom_id, in one job or in all.

    A record that is pending ends as `canceled`; one that is in a batch keeps everything, and so do the others. Outcomes that
    still wait to be delivered are withdrawn. An answer's row stays, empty, with its kind and its usage: should its batch's
    results be read again, what stands is not doubled.
    """
    now = database.now()
    with database.write() as connection:
        rows = _found(connection, custom_id, job)
        sent = [(row.job, row.batch_state) for row in rows if row.state == RecordState.PACKED]
        if sent:
            return Erasure(sent=tuple(sent))
        batches = _batches(connection, [row.id for row in rows])
        _cancel(database, connection, [row for row in rows if row.state == RecordState.PENDING], now)
        _drop(connection, [row.id for row in rows], now)
        rejected = _clean_rejected(connection, custom_id, job)
    erased = (Erased(row.job, row.state, tuple(batches.get(row.id, ()))) for row in rows)
    return Erasure(tuple(erased), rejected=rejected)


def _found(connection: Connection, custom_id: str, job: str | None) -> Sequence[Any]:
    jobs = select(_job.c.id) if job is None else select(_job.c.id).where(_job.c.name == job)
    query = (
        select(_record.c.id, _record.c.job_id, _record.c.state, _job.c.name.label("job"))
        .add_columns(
            select(_batch.c.state).where(_batch.c.id == _record.c.batch_id).scalar_subquery().label("batch_state")
        )
        .join(_job, _job.c.id == _record.c.job_id)
        .where(_record.c.job_id.in_(jobs), _record.c.custom_id == custom_id)  # a seek per job in the index by both
        .order_by(_record.c.id)
        .with_for_update(of=_record)
    )
    return connection.execute(query).all()


def _batches(connection: Connection, ids: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    query = select(_result.c.record_id, _result.c.batch_id).where(_result.c.record_id.in_(ids))
    for record_id, batch_id in connection.execute(query.order_by(_result.c.record_id, _result.c.attempt)):
        found.setdefault(record_id, []).append(batch_id)
    return found


def _cancel(database: Database, connection: Connection, pending: Sequence[Any], now: float) -> None:
    """End what was not sent: locked, and seen as pending, by this transaction."""
    ids = [row.id for row in pending]
    waiting = _record.c.id.in_(ids) & (_record.c.state == RecordState.PENDING)
    connection.execute(update(_record).where(waiting).values(state=RecordState.CANCELED, settled_at=now))
    deltas = Deltas()
    deltas.move([row.job_id for row in pending], RecordState.PENDING, RecordState.CANCELED)
    deltas.write(database, connection)


def _drop(connection: Connection, ids: Sequence[int], now: float) -> None:
    connection.execute(delete(_body).where(_body.c.record_id.in_(ids)))
    connection.execute(update(_result).where(_result.c.record_id.in_(ids)).values(line=b"", error=null()))
    waiting = _delivery.c.state == "waiting"
    ended = {
        "state": case((waiting, "failed"), else_=_delivery.c.state),
        "error": case((waiting, WITHDRAWN), else_=null()),
    }
    connection.execute(update(_delivery).where(_delivery.c.record_id.in_(ids)).values(ended))
    gone = func.coalesce(_record.c.content_gone_at, now)
    first = func.coalesce(_record.c.erased_at, now)
    connection.execute(update(_record).where(_record.c.id.in_(ids)).values(content_gone_at=gone, erased_at=first))


def _clean_rejected(connection: Connection, custom_id: str, job: str | None) -> int:
    """Cut from reasons what the database said of a row: it may quote it. Returns how many receipts there are."""
    mine = _rejected.c.custom_id == custom_id
    if job is not None:
        mine &= _rejected.c.job == job
    quoting = mine & _rejected.c.reason.startswith(REFUSED_BY_DATABASE)
    connection.execute(update(_rejected).where(quoting).values(reason=REFUSED_BY_DATABASE))
    return int(connection.scalar(select(func.count()).where(mine)) or 0)


def shared(database: Database, batch_ids: Sequence[int]) -> int:
    """Return how many of these batches hold other records' content too, so that the API's copy of it stays."""
    left = select(_result.c.record_id).where(_result.c.batch_id == _batch.c.id, _result.c.line != b"").exists()
    with database.read() as connection:
        query = select(func.count()).select_from(_batch).where(_batch.c.id.in_(batch_ids))
        return int(connection.scalar(query.where(_batch.c.submitted_at.is_not(None), left)) or 0)
