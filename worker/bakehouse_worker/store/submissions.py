"""One row per POST ever tried, committed before it. This is where promise 2 lives: no request is submitted again while an
earlier submission of it may still be alive.

The order in one sending: `begin` (uploading) -> `anchor` -> the body streams -> `closing`, committed just before the last bytes ->
`accepted`, `refused` or `doubt`. A sender that lost its lease loses every one of these compare-and-sets.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from bakehouse_worker import wire
from bakehouse_worker.remote import Remote
from bakehouse_worker.states import LIVE_SUBMISSIONS, BatchState, RecordState, SubmissionState
from bakehouse_worker.store import canceling
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Job, Record, Submission, table

_record, _batch, _job, _submission = (table(m) for m in (Record, Batch, Job, Submission))


@dataclass(frozen=True, slots=True)
class Sending:
    """A submission in hand: everything that must be known to build the body and to note the answer."""

    submission_id: int
    batch_id: int
    owner: str
    nonce: str
    api_version: str
    betas: tuple[str, ...]
    requests: int


def begin(database: Database, batch_id: int, owner: str, seconds: float, origin: str, workspace: str) -> Sending | None:
    """Take the lease on a packed batch and commit its submission before any byte is sent. None if it is not to be sent now.

    A live submission of the same request count would look like this one in the API's list, so the batch leaves its last
    records behind, as pending, until its count is its own.
    """
    now = database.now()
    try:
        with database.write() as connection:
            due = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED) & (_batch.c.not_before <= now)
            row = connection.execute(
                update(_batch)
                .where(due)
                .values(state=BatchState.UPLOADING, lease_owner=owner, lease_until=now + seconds, alarm=null())
                .returning(_batch.c.requests, _batch.c.api_version, _batch.c.betas)
            ).one_or_none()
            if row is None:
                return None
            requests = _distinct(connection, workspace, row.requests)
            if requests == 0:
                connection.rollback()
                _wait_for_doubt(database, batch_id, now)
                return None
            if requests < row.requests:
                _leave_behind(database, connection, batch_id, row.requests - requests)
            nonce = wire.new_nonce()
            submission = {
                "batch_id": batch_id,
                "nonce": nonce,
                "state": SubmissionState.UPLOADING,
                "requests": requests,
                "origin": origin,
                "workspace": workspace,
                "started_at": now,
                "confirmed": False,
            }
            made = connection.execute(insert(_submission).returning(_submission.c.id), submission).scalar_one()
            connection.execute(update(_batch).where(_batch.c.id == batch_id).values(submission_id=made))
            jobs = select(_record.c.job_id).where(_record.c.batch_id == batch_id, _record.c.state == RecordState.PACKED)
            unnamed = _job.c.id.in_(jobs.distinct()) & _job.c.origin.is_(None)
            connection.execute(update(_job).where(unnamed).values(origin=origin, workspace=workspace))
    except IntegrityError:  # another sender took the same request count between our look and our insert
        return None
    betas = tuple(row.betas.split(",")) if row.betas else ()
    return Sending(made, batch_id, owner, nonce, row.api_version, betas, requests)


def _distinct(connection: Connection, workspace: str, requests: int) -> int:
    taken = set(
        connection.scalars(
            select(_submission.c.requests).where(
                _submission.c.workspace == workspace, _submission.c.state.in_(LIVE_SUBMISSIONS)
            )
        )
    )
    while requests in taken:
        requests -= 1
    return requests


def _wait_for_doubt(database: Database, batch_id: int, now: float) -> None:
    with database.write() as connection:
        reason = "waits: another batch of the same size has no answer yet, and two must not look alike"
        packed = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.PACKED)
        connection.execute(update(_batch).where(packed).values(not_before=now + 1.0, alarm=reason))


def _leave_behind(database: Database, connection: Connection, batch_id: int, count: int) -> None:
    mine = (_record.c.batch_id == batch_id) & (_record.c.state == RecordState.PACKED)
    last = select(_record.c.id).where(mine).order_by(_record.c.id.desc()).limit(count)
    left = connection.execute(
        update(_record)
        .where(_record.c.id.in_(last), mine)
        .values(state=RecordState.PENDING, batch_id=null())
        .returning(_record.c.job_id, _record.c.bytes)
    ).all()
    values = {"requests": _batch.c.requests - len(left), "bytes": _batch.c.bytes - sum(row.bytes for row in left)}
    connection.execute(update(_batch).where(_batch.c.id == batch_id).values(values))
    deltas = Deltas()
    deltas.move([row.job_id for row in left], RecordState.PACKED, RecordState.PENDING)
    deltas.write(database, connection)


def anchor(database: Database, sending: Sending, newest: Remote | None) -> None:
    """Note the newest batch that the API lists before the upload: candidates for a doubt are the ones after it."""
    with database.write() as connection:
        mine = (_submission.c.id == sending.submission_id) & (_submission.c.state == SubmissionState.UPLOADING)
        values = {"anchor": newest and newest.id, "anchor_at": newest and newest.created_at}
        connection.execute(update(_submission).where(mine).values(values))


def closing(database: Database, sending: Sending, seconds: float) -> bool:
    """Commit that the last bytes may go out now. False: the lease is lost, and they must not."""
    now = database.now()
    with database.write() as connection:
        held = (_batch.c.id == sending.batch_id) & (_batch.c.state == BatchState.UPLOADING)
        mine = (_batch.c.lease_owner == sending.owner) & (_batch.c.submission_id == sending.submission_id)
        values = {"state": BatchState.CLOSING, "lease_until": now + seconds}
        if not connection.execute(update(_batch).where(held, mine, _batch.c.lease_until > now).values(values)).rowcount:
            return False
        noted = (_submission.c.id == sending.submission_id) & (_submission.c.state == SubmissionState.UPLOADING)
        changed = connection.execute(
            update(_submission).where(noted).values(state=SubmissionState.CLOSING, closing_at=now)
        )
        if not changed.rowcount:
            connection.rollback()
        return bool(changed.rowcount)


def keep_closing(database: Database, sending: Sending, seconds: float) -> bool:
    """Push the lease of a sender on that waits for the answer; False if it is not closing, or not this sender's, any more."""
    now = database.now()
    with database.write() as connection:
        held = (_batch.c.id == sending.batch_id) & (_batch.c.state == BatchState.CLOSING)
        mine = (_batch.c.lease_owner == sending.owner) & (_batch.c.submission_id == sending.submission_id)
        renewed = update(_batch).where(held, mine, _batch.c.lease_until > now).values(lease_until=now + seconds)
        return connection.execute(renewed).rowcount == 1


def accepted(database: Database, submission_id: int, remote: Remote, *, next_poll_at: float, confirmed: bool) -> bool:
    """Note a remote id: from the answer itself (`confirmed`), or adopted from the list.

    False if it is too late for that, or if another submission has this id.
    """
    try:
        with database.write() as connection:
            waiting = _submission.c.state.in_((SubmissionState.CLOSING, SubmissionState.IN_DOUBT))
            mine = (_submission.c.id == submission_id) & waiting
            if not accept(connection, mine, remote, database.now(), confirmed=confirmed):
                return False
            held = (_batch.c.submission_id == submission_id) & _batch.c.state.in_(
                (BatchState.CLOSING, BatchState.IN_DOUBT)
            )
            won = in_progress(connection, held, remote, database.now(), next_poll_at)
            if not won:
                connection.rollback()
            return won
    except IntegrityError:
        return False


def accept(
    connection: Connection, which: ColumnElement[bool], remote: Remote, now: float, *, confirmed: bool = True
) -> bool:
    """Give a submission its remote id, inside a transaction."""
    values = {
        "state": SubmissionState.ACCEPTED,
        "remote_id": remote.id,
        "confirmed": confirmed,
        "resolved_at": now,
    }
    return connection.execute(update(_submission).where(which).values(values)).rowcount == 1


def in_progress(
    connection: Connection, which: ColumnElement[bool], remote: Remote, now: float, next_poll_at: float
) -> bool:
    """Note, inside a transaction, that the API has a batch."""
    values = {
        "state": BatchState.IN_PROGRESS,
        "submitted_at": now,
        "remote_created_at": remote.created_at,
        "expires_at": remote.expires_at,
        "next_poll_at": next_poll_at,
        "lease_owner": null(),
        "lease_until": 0.0,
        "tries": 0,
        "alarm": null(),
    }
    return connection.execute(update(_batch).where(which).values(values)).rowcount == 1


def back_to_packed(database: Database, sending: Sending, note: str, not_before: float, alarm: str | None) -> bool:
    """Note that this submission is not at the API (refused, or its last bytes never sent); its members may be sent again.

    They are sent not before a time, as a new submission. False if somebody else has decided already.
    """
    with database.write() as connection:
        states = (SubmissionState.UPLOADING, SubmissionState.CLOSING)
        values = {"state": SubmissionState.REFUSED, "resolved_at": database.now(), "note": note}
        mine = (_submission.c.id == sending.submission_id) & _submission.c.state.in_(states)
        if not connection.execute(update(_submission).where(mine).values(values)).rowcount:
            return False
        held = (_batch.c.id == sending.batch_id) & _batch.c.state.in_((BatchState.UPLOADING, BatchState.CLOSING))
        held &= _batch.c.submission_id == sending.submission_id
        packed = repack(connection, held, not_before, alarm)
        canceling.leave(database, connection, [sending.batch_id])
        return packed


def repack(connection: Connection, which: ColumnElement[bool], not_before: float, alarm: str | None) -> bool:
    """Put a batch back to packed inside a transaction; it may be sent again, not before a time.

    Members that are to be canceled must not be: before the transaction ends, they leave it (`canceling.leave`).
    """
    values = {
        "state": BatchState.PACKED,
        "lease_owner": null(),
        "lease_until": 0.0,
        "not_before": not_before,
        "alarm": alarm,
        "tries": _batch.c.tries + 1,
    }
    return connection.execute(update(_batch).where(which).values(values)).rowcount == 1


def confirm(database: Database, batch_id: int) -> None:
    """Note that a result line carried the submission's nonce: the adoption was right."""
    with database.write() as connection:
        current = select(_batch.c.submission_id).where(_batch.c.id == batch_id).scalar_subquery()
        connection.execute(update(_submission).where(_submission.c.id == current).values(confirmed=True))


def of_batch(database: Database, batch_id: int) -> tuple[str, bool]:
    """Return (nonce, confirmed) of a batch's current submission."""
    query = select(_submission.c.nonce, _submission.c.confirmed).join(
        _batch, _batch.c.submission_id == _submission.c.id
    )
    with database.read() as connection:
        nonce, confirmed = connection.execute(query.where(_batch.c.id == batch_id)).one()
        return nonce, confirmed


def identity(database: Database) -> tuple[str, str] | None:
    """Return (origin, workspace) of the latest submission, or None if nothing was ever sent."""
    query = select(_submission.c.origin, _submission.c.workspace).order_by(_submission.c.id.desc()).limit(1)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
        return (row.origin, row.workspace) if row else None
