"""Batches that the API has and whose results are not here: a few rows, read by `status`, `doctor` and metrics."""

from __future__ import annotations

from sqlalchemy import Connection, select

from bakehouse_worker.deadlines import Uncollected
from bakehouse_worker.states import OPEN_STATES, BatchState, SubmissionState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Submission, table

_batch, _submission = table(Batch), table(Submission)


def uncollected(database: Database) -> list[Uncollected]:
    """Return the batches with results to come, oldest first. The API's times are told by our clock."""
    columns = (_batch.c.id, _batch.c.state, _batch.c.requests, _batch.c.submitted_at, _batch.c.created_at)
    query = select(*columns, _batch.c.remote_created_at, _batch.c.expires_at)
    there = _batch.c.finished_at.is_(None) & _batch.c.state.in_((*OPEN_STATES, BatchState.ENDED))
    with database.read() as connection:
        ahead = _ahead(connection)
        found = []
        for row in connection.execute(query.where(there).order_by(_batch.c.id)):
            made = None if row.remote_created_at is None else row.remote_created_at - ahead
            since = next(when for when in (made, row.submitted_at, row.created_at) if when is not None)
            expires = None if row.expires_at is None else row.expires_at - ahead
            found.append(Uncollected(row.id, row.state, row.requests, since, expires))
        return found


def _ahead(connection: Connection) -> float:
    """Return by how many seconds the API's clock is ahead of ours, as the latest batch shows; 0 if there is none.

    A batch is made after its last bytes went out, and at once: an answer that was lost, and found days later, tells the same.
    """
    query = (
        select(_batch.c.remote_created_at - _submission.c.closing_at)
        .join(_submission, _submission.c.id == _batch.c.submission_id)
        .where(_submission.c.state == SubmissionState.ACCEPTED, _submission.c.closing_at.is_not(None))
        .where(_batch.c.remote_created_at.is_not(None))
        .order_by(_submission.c.id.desc())
        .limit(1)
    )
    return float(connection.scalar(query) or 0.0)
