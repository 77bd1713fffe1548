"""What people look at: status, show, progress. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, cast, func, select

from bakehouse_worker.states import TERMINAL, RecordState, SubmissionState
from bakehouse_worker.store import bulk
from bakehouse_worker.store.counters import REJECTED, per_job
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Body, Delivery, Job, Lane, Record, Rejected, Result, Spend, Submission, table

_record, _batch, _job, _result = (table(m) for m in (Record, Batch, Job, Result))
_body, _lane = table(Body), table(Lane)
_submission, _rejected, _spend, _delivery = (table(m) for m in (Submission, Rejected, Spend, Delivery))


@dataclass(frozen=True, slots=True)
class JobView:
    """One job's records by state. `expected` is None while the job is open."""

    id: int
    name: str
    expected: int | None
    states: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """Records and receipts that acceptance has seen."""
        return sum(self.states.values())

    @property
    def ended(self) -> int:
        """Records and receipts that have reached their end."""
        return sum(self.states.get(state, 0) for state in (*TERMINAL, REJECTED))


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch that is not finished. `since` is when it entered the API's hands, or was packed."""

    id: int
    state: str
    requests: int
    since: float
    remote_id: str | None
    not_before: float
    alarm: str | None


@dataclass(frozen=True, slots=True)
class LateView:
    """A submission that was believed absent and is at the API after all: its requests are paid for twice."""

    batch_id: int
    requests: int
    remote_id: str
    since: float


@dataclass(frozen=True, slots=True)
class SpendView:
    """What a job's answers used and cost, by model; money is USD."""

    model: str
    answers: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    unpriced: int
    cost: float
    cost_sync: float


def jobs(database: Database, name: str | None = None) -> list[JobView]:
    """Return jobs with their counters, oldest first; one of them if a name is given."""
    query = select(_job.c.id, _job.c.name, _job.c.expected).order_by(_job.c.id)
    if name is not None:
        query = query.where(_job.c.name == name)
    with database.read() as connection:
        counters = per_job(connection)
        return [JobView(*row, states=counters.get(row.id, {})) for row in connection.execute(query)]


def some_jobs(database: Database, names: Sequence[str]) -> list[JobView]:
    """Return those of these jobs that are known, with their counters: two statements, however many records they have."""
    query = select(_job.c.id, _job.c.name, _job.c.expected).where(_job.c.name.in_(names))
    with database.read() as connection:
        rows = connection.execute(query).all()
        counters = per_job(connection, [row.id for row in rows])
        return [JobView(*row, states=counters.get(row.id, {})) for row in rows]


def live_batches(database: Database) -> list[BatchView]:
    """Return the batches that are not finished, oldest first."""
    query = (
        select(
            _batch.c.id,
            _batch.c.state,
            _batch.c.requests,
            func.coalesce(_batch.c.submitted_at, _batch.c.created_at),
            _submission.c.remote_id,
            _batch.c.not_before,
            _batch.c.alarm,
        )
        .outerjoin(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_batch.c.finished_at.is_(None))
    )
    with database.read() as connection:  # sorted here: SQLite would walk through all batches for their order
        return sorted((BatchView(*row) for row in connection.execute(query)), key=lambda batch: batch.id)


def late(database: Database) -> list[LateView]:
    """Return the submissions that turned up after their batch was sent again, latest first."""
    columns = (_submission.c.batch_id, _submission.c.requests, _submission.c.remote_id, _submission.c.started_at)
    query = select(*columns).where(_submission.c.state == SubmissionState.LATE).order_by(_submission.c.id.desc())
    with database.read() as connection:
        return [LateView(*row) for row in connection.execute(query.limit(100))]


def next_due(database: Database, job_id: int) -> tuple[int, float] | None:
    """Return (records backing off, when the first of them is due) for a job, or None; counts at most 1,000 of them."""
    now = database.now()
    lanes = select(_lane.c.id).where(_lane.c.job_id == job_id)
    later = _record.c.lane_id.in_(lanes) & (_record.c.state == RecordState.PENDING) & (_record.c.next_at > now)
    some = select(_record.c.next_at).where(later).order_by(_record.c.next_at).limit(1_000).subquery()
    with database.read() as connection:
        count, first = connection.execute(select(func.count(), func.min(some.c.next_at))).one()
    return (count, first) if count else None


def failures(database: Database, job_id: int) -> list[tuple[str, int, str, str | None]]:
    """Return a job's failed records by reason: (reason, records, one custom_id, that one's message), most frequent first."""
    latest = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
    reason = func.coalesce(_result.c.error_type, _result.c.kind)
    query = (
        select(reason, func.count(), func.min(_record.c.id))
        .join(_result, latest)
        .where(_record.c.job_id == job_id, _record.c.state == RecordState.FAILED)
        .group_by(reason)
        .order_by(func.count().desc())
    )
    example = select(_record.c.custom_id, _result.c.error).join(_result, latest)
    with database.read() as connection:
        found = []
        for name, count, record_id in connection.execute(query).all():
            custom_id, error = connection.execute(example.where(_record.c.id == record_id)).one()
            found.append((name, count, custom_id, error))
        return found


def spend(database: Database, job_id: int | None = None) -> list[SpendView]:
    """Return what one job's, or all jobs', answers used and cost, by model."""
    summed = (_spend.c[name] for name in SpendView.__slots__[1:])
    sums = [cast(func.sum(column), column.type) for column in summed]  # PostgreSQL sums integers to decimals
    query = select(_spend.c.model, *sums).group_by(_spend.c.model).order_by(_spend.c.model)
    if job_id is not None:
        query = query.where(_spend.c.job_id == job_id)
    with database.read() as connection:
        return [SpendView(*row) for row in connection.execute(query)]


def deliveries(database: Database) -> dict[str, int]:
    """Count outcomes on their way to the application, and those given up, by state."""
    open_ones = _delivery.c.state.in_(("waiting", "failed"))
    query = select(_delivery.c.state, func.count()).where(open_ones).group_by(_delivery.c.state)
    with database.read() as connection:
        return {state: count for state, count in connection.execute(query)}


def rejections(database: Database, job: str, limit: int = 100) -> list[tuple[str, str]]:
    """Return (custom_id, reason) of a job's rejected receipts, latest first."""
    query = (
        select(_rejected.c.custom_id, _rejected.c.reason).where(_rejected.c.job == job).order_by(_rejected.c.id.desc())
    )
    with database.read() as connection:
        return [(custom_id, reason) for custom_id, reason in connection.execute(query.limit(limit))]


def every_rejection(database: Database, job: str, span: int = 500) -> Iterator[tuple[str, str]]:
    """Yield (custom_id, reason) of all rejected receipts of a job, oldest first."""
    query = select(_rejected.c.id, _rejected.c.custom_id, _rejected.c.reason).where(_rejected.c.job == job)
    after = 0
    while True:
        with database.read() as connection:
            part = query.where(_rejected.c.id > after).order_by(_rejected.c.id).limit(span)
            rows = connection.execute(part).all()
        yield from ((row.custom_id, row.reason) for row in rows)
        if len(rows) < span:
            return
        after = rows[-1].id


def rejected_receipts(database: Database, job: str, custom_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (custom_id, digest, reason) of the rejected receipts under a few hundred custom_ids of a job."""
    query = select(_rejected.c.custom_id, _rejected.c.digest, _rejected.c.reason)
    with database.read() as connection:
        mine = (_rejected.c.job == job) & bulk.among(connection, _rejected.c.custom_id, custom_ids)
        return [(row.custom_id, row.digest, row.reason) for row in connection.execute(query.where(mine))]


def rejected_among(database: Database, job: str, custom_ids: Sequence[str]) -> dict[str, str]:
    """Return {custom_id: reason} for those of a few hundred custom_ids that have a rejected receipt in a job."""
    return {custom_id: reason for custom_id, _, reason in rejected_receipts(database, job, custom_ids)}


def rejections_of(database: Database, custom_id: str) -> list[dict[str, Any]]:
    """Return the rejected receipts under a custom_id."""
    query = select(_rejected).where(_rejected.c.custom_id == custom_id).order_by(_rejected.c.id)
    with database.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def history(database: Database, custom_id: str, job: str | None = None) -> list[dict[str, Any]]:
    """Return each record under a custom_id (one per job) as a mapping with its sendings, submissions' ids and delivery."""
    query = select(_record, _job.c.name.label("job")).join(_job, _job.c.id == _record.c.job_id)
    query = query.where(_record.c.custom_id == custom_id)
    if job is not None:
        query = query.where(_job.c.name == job)
    with database.read() as connection:
        return [_history(connection, row) for row in connection.execute(query).all()]


def _history(connection: Connection, row: Any) -> dict[str, Any]:
    columns = (
        "attempt",
        "batch_id",
        "kind",
        "error_type",
        "error",
        "stop_reason",
        "model",
        "cost",
        "received_at",
        "request_id",
    )
    known = (_body.c.generation == 0) | (_body.c.first_attempt <= _result.c.attempt)
    mine = select(func.max(_body.c.generation)).where(_body.c.record_id == _result.c.record_id, known)
    generation = mine.correlate(_result).scalar_subquery().label("generation")  # None: its body is erased
    sendings = select(*(_result.c[name] for name in columns), _submission.c.remote_id, generation)
    sendings = sendings.outerjoin(_batch, _batch.c.id == _result.c.batch_id)
    sendings = sendings.outerjoin(_submission, _submission.c.id == _batch.c.submission_id)
    results = connection.execute(sendings.where(_result.c.record_id == row.id).order_by(_result.c.attempt)).mappings()
    batch = connection.execute(
        select(_batch.c.state, _batch.c.alarm, _submission.c.remote_id)
        .outerjoin(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_batch.c.id == row.batch_id)
    ).mappings()
    delivery = connection.execute(select(_delivery).where(_delivery.c.record_id == row.id)).mappings()
    return {
        **row._mapping,
        "sendings": [dict(result) for result in results],
        "in_batch": next((dict(found) for found in batch), None),
        "deliveries": [dict(found) for found in delivery],
    }
