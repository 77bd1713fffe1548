"""Questions that `doctor` asks: they read many rows and change none."""

from __future__ import annotations

from sqlalchemy import func, select, text

from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.store import counters
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Body, Job, Record, table

_record, _batch, _body, _job = table(Record), table(Batch), table(Body), table(Job)


def counter_differences(database: Database) -> list[tuple[str, str, int, int]]:
    """Return (job, state, counted, rows) wherever a counter differs from the rows."""
    with database.read() as connection:
        names = {row.id: row.name for row in connection.execute(select(_job.c.id, _job.c.name))}
        kept, rows = counters.per_job(connection), counters.recount(connection)
        rejected = counters.rejected_per_job(connection)
    for job_id, name in names.items():
        if rejected.get(name):
            rows.setdefault(job_id, {})[counters.REJECTED] = rejected[name]
    wrong = []
    for job_id in kept.keys() | rows.keys():
        mine, theirs = kept.get(job_id, {}), rows.get(job_id, {})
        for state in sorted(mine.keys() | theirs.keys()):
            if mine.get(state, 0) != theirs.get(state, 0):
                wrong.append((names.get(job_id, str(job_id)), state, mine.get(state, 0), theirs.get(state, 0)))
    return wrong


def member_differences(database: Database) -> list[tuple[int, int, int]]:
    """Return (batch, requests, members) of batches not yet collected whose members are not as many as they say."""
    members = (
        select(func.count())
        .where(_record.c.batch_id == _batch.c.id, _record.c.state == RecordState.PACKED)
        .scalar_subquery()
    )
    states = (BatchState.ENDED, BatchState.COLLECTED, BatchState.DISSOLVED)
    query = select(_batch.c.id, _batch.c.requests, members.label("members"))
    query = query.where(_batch.c.finished_at.is_(None), _batch.c.state.not_in(states))
    with database.read() as connection:
        return [(row.id, row.requests, row.members) for row in connection.execute(query) if row.requests != row.members]


def late_leases(database: Database, grace: float) -> list[int]:
    """Return batches that somebody held and whose lease ended more than `grace` seconds ago."""
    held = (BatchState.UPLOADING, BatchState.CLOSING)
    query = select(_batch.c.id).where(
        _batch.c.finished_at.is_(None), _batch.c.state.in_(held), _batch.c.lease_until < database.now() - grace
    )
    with database.read() as connection:
        return list(connection.scalars(query))


def unfinished_without_body(database: Database) -> list[int]:
    """Return at most 100 records that are to be sent and whose body is not there."""
    body = (
        select(_body.c.record_id)
        .where(_body.c.record_id == _record.c.id, _body.c.generation == _record.c.generation)
        .exists()
    )
    unfinished = _record.c.state.in_((RecordState.PENDING, RecordState.PACKED))
    with database.read() as connection:
        return list(connection.scalars(select(_record.c.id).where(unfinished, ~body).limit(100)))


def sqlite_version(database: Database) -> str | None:
    """Return the SQLite library's version, or None for a database server."""
    if not database.sqlite:
        return None
    with database.read() as connection:
        return str(connection.scalar(text("SELECT sqlite_version()")))
