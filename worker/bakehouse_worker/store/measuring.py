"""What metrics read: a few rows per job, model and live batch, never one per record."""

from __future__ import annotations

from sqlalchemy import func, select

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Job, Lane, Record, Tally, table

_record, _lane, _job, _tally = (table(m) for m in (Record, Lane, Job, Tally))


def oldest_due(database: Database) -> dict[str, float]:
    """Return {job: when the oldest of its waiting records became due}; a seek in an index per lane."""
    first = (
        select(func.min(_record.c.next_at))
        .where(_record.c.lane_id == _lane.c.id, _record.c.state == RecordState.PENDING)
        .scalar_subquery()
    )
    query = select(_job.c.name, first.label("due")).join(_lane, _lane.c.job_id == _job.c.id)
    oldest: dict[str, float] = {}
    with database.read() as connection:
        for job, due in connection.execute(query):
            if due is not None:
                oldest[job] = min(due, oldest.get(job, due))
    return oldest


def tallies(database: Database) -> list[tuple[str, str, int]]:
    """Return (kind, error type or stop reason, results) of all that was ever settled."""
    query = select(_tally.c.kind, _tally.c.reason, _tally.c.results).order_by(_tally.c.kind, _tally.c.reason)
    with database.read() as connection:
        return [(kind, reason, results) for kind, reason, results in connection.execute(query)]
