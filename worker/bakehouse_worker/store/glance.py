"""What `status` reads beside the counters: a few rows per job, lane and live batch, never one per record.

What would grow with the records is looked at up to LIMIT, and says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.reading import SpendView
from bakehouse_worker.tables import Batch, Caveat, Lane, Record, Result, Spend, table

_record, _batch, _lane, _result = (table(m) for m in (Record, Batch, Lane, Result))
_spend, _caveat = table(Spend), table(Caveat)

#: Records that one look counts at most.
LIMIT = 1_000
#: Members that are looked at from each end of a batch, to see whose they are.
EDGE = 100
#: The reason told of failed records whose error is not kept any more.
PRUNED = "pruned"


@dataclass(frozen=True, slots=True)
class LaneLook:
    """What waits in one lane: records due and records due later, at most LIMIT of each, and the first time of each."""

    job_id: int
    model: str
    due: int
    oldest: float | None
    later: int
    first: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why some records failed, with one of them and what was said of it."""

    reason: str
    records: int
    custom_id: str
    message: str | None


def lanes(database: Database, job_ids: Collection[int]) -> list[LaneLook]:
    """Return the lanes of jobs in which records wait."""
    now, found = database.now(), []
    with database.read() as connection:
        query = select(_lane.c.id, _lane.c.job_id, _lane.c.model).where(_lane.c.job_id.in_(job_ids))
        for lane in connection.execute(query.order_by(_lane.c.id)).all():
            waiting = (_record.c.lane_id == lane.id) & (_record.c.state == RecordState.PENDING)
            due = _some(connection, waiting & (_record.c.next_at <= now))
            later = _some(connection, waiting & (_record.c.next_at > now))
            if due[0] or later[0]:
                found.append(LaneLook(lane.job_id, lane.model, *due, *later))
    return found


def _some(connection: Connection, which: ColumnElement[bool]) -> tuple[int, float | None]:
    some = select(_record.c.next_at).where(which).order_by(_record.c.next_at).limit(LIMIT).subquery()
    count, first = connection.execute(select(func.count(), func.min(some.c.next_at))).one()
    return count, first


def failures(database: Database, job_id: int) -> list[Failure]:
    """Return why the latest LIMIT of a job's failed records failed, most frequent first, each reason with its latest record."""
    failed = (_record.c.job_id == job_id) & (_record.c.state == RecordState.FAILED)
    some = select(_record.c.id, _record.c.attempt).where(failed).order_by(_record.c.id.desc()).limit(LIMIT).subquery()
    latest = (_result.c.record_id == some.c.id) & (_result.c.attempt == some.c.attempt)
    reason = func.coalesce(_result.c.error_type, _result.c.kind, PRUNED).label("reason")
    number, last = func.count().label("number"), func.max(some.c.id).label("last")
    query = select(reason, number, last).select_from(some.outerjoin(_result, latest)).group_by("reason")
    example = select(_record.c.custom_id, _result.c.error).outerjoin(
        _result, (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
    )
    with database.read() as connection:
        found = []
        for row in connection.execute(query.order_by(number.desc(), "reason")).all():
            custom_id, message = connection.execute(example.where(_record.c.id == row.last)).one()
            found.append(Failure(row.reason, row.number, custom_id, message))
        return found


def caveats(database: Database) -> dict[int, dict[str, int]]:
    """Return {job id: {reason: succeeded records whose answer is not what was asked}}."""
    found: dict[int, dict[str, int]] = {}
    query = select(_caveat.c.job_id, _caveat.c.reason, _caveat.c.records).where(_caveat.c.records > 0)
    with database.read() as connection:
        for job_id, reason, records in connection.execute(query.order_by(_caveat.c.reason)):
            found.setdefault(job_id, {})[reason] = records
    return found


def spend(database: Database) -> dict[int, list[SpendView]]:
    """Return {job id: what its answers used and cost, by model}."""
    found: dict[int, list[SpendView]] = {}
    columns = (_spend.c[name] for name in SpendView.__slots__)
    query = select(_spend.c.job_id, *columns).order_by(_spend.c.job_id, _spend.c.model)
    with database.read() as connection:
        for job_id, *rest in connection.execute(query):
            found.setdefault(job_id, []).append(SpendView(*rest))
    return found


def jobs_of_batches(database: Database) -> dict[int, set[int]]:
    """Return {live batch: job ids of its first and last EDGE members}; a job that stands only between them is not seen."""
    found: dict[int, set[int]] = {}
    live = select(_batch.c.id).where(_batch.c.finished_at.is_(None))
    with database.read() as connection:
        for batch_id in connection.scalars(live).all():
            mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
            for order in (_record.c.id, _record.c.id.desc()):
                some = select(_record.c.job_id).where(mine).order_by(order).limit(EDGE).subquery()
                found.setdefault(batch_id, set()).update(connection.scalars(select(some.c.job_id).distinct()))
    return found
