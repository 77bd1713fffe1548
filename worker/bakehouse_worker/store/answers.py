"""The API's own answer to a create: it settles whose a remote id is, whatever was believed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, null, select, update
from sqlalchemy.exc import IntegrityError

from bakehouse_worker.remote import Remote
from bakehouse_worker.states import BatchState, SubmissionState
from bakehouse_worker.store import doubts, submissions
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Batch, Submission, table

_batch, _submission = table(Batch), table(Submission)


class Settled(StrEnum):
    """What an answer came to."""

    SUBMITTED = "submitted"  #: the submission has its own remote id
    LATE = "late"  #: the batch was sent again meanwhile: its requests are at the API twice
    NOT_YET = "not yet"  #: another sending of the same count is in the way for a moment; note it again


def answered(database: Database, submission_id: int, remote: Remote, next_poll_at: float) -> Settled:
    """Note the answer to a create. It comes from the API, so it outweighs an adoption, and a belief that nothing arrived."""
    if submissions.accepted(database, submission_id, remote, next_poll_at=next_poll_at, confirmed=True):
        return Settled.SUBMITTED
    try:
        with database.write() as connection:
            others = _adopters(connection, submission_id, remote.id)
            settled = _settle(database, connection, submission_id, remote, next_poll_at)
            for other in others:
                doubts.give_back(connection, _submission.c.id == other, remote.id)
            return settled
    except IntegrityError:
        return Settled.NOT_YET


def _adopters(connection: Connection, submission_id: int, remote_id: str) -> Sequence[int]:
    """Take the remote id from submissions that adopted it from the list; they are in doubt again by the end of the transaction."""
    adopted = (_submission.c.remote_id == remote_id) & (_submission.c.id != submission_id) & ~_submission.c.confirmed
    taken = update(_submission).where(adopted).values(remote_id=null()).returning(_submission.c.id)
    return list(connection.scalars(taken))


def _settle(
    database: Database, connection: Connection, submission_id: int, remote: Remote, next_poll_at: float
) -> Settled:
    now = database.now()
    mine = _submission.c.id == submission_id
    row = connection.execute(
        select(
            _submission, _batch.c.state.label("batch_state"), _batch.c.submission_id, _batch.c.requests.label("members")
        )
        .join(_batch, _batch.c.id == _submission.c.batch_id)
        .where(mine)
        .with_for_update()
    ).one()
    if row.state in (SubmissionState.CLOSING, SubmissionState.IN_DOUBT, SubmissionState.ACCEPTED):
        submissions.accept(connection, mine, remote, now)
        if row.remote_id != remote.id:  # adopted another one, or was in doubt
            states = (BatchState.CLOSING, BatchState.IN_DOUBT, *_UNREAD)
            held = (_batch.c.submission_id == submission_id) & _batch.c.state.in_(states)
            submissions.in_progress(connection, held, remote, now, next_poll_at)
        return Settled.SUBMITTED
    if row.state == SubmissionState.ABANDONED and _is_revived(connection, row, remote, now, next_poll_at):
        return Settled.SUBMITTED
    doubts.note_late(connection, submission_id, remote.id)
    return Settled.LATE


#: States of a batch whose results nobody has taken for its own yet.
_UNREAD = (BatchState.IN_PROGRESS, BatchState.CANCELING, BatchState.ENDED)


def _is_revived(connection: Connection, row: Any, remote: Remote, now: float, next_poll_at: float) -> bool:
    """Take a batch back that was about to be sent again, if its last bytes are not out and it has all its members still."""
    if row.batch_state not in (BatchState.PACKED, BatchState.UPLOADING) or row.members != row.requests:
        return False
    newer = (_submission.c.batch_id == row.batch_id) & (_submission.c.state == SubmissionState.UPLOADING)
    stopped = {"state": SubmissionState.REFUSED, "resolved_at": now, "note": "an earlier sending was answered"}
    connection.execute(update(_submission).where(newer).values(stopped))
    submissions.accept(connection, _submission.c.id == row.id, remote, now)
    connection.execute(update(_batch).where(_batch.c.id == row.batch_id).values(submission_id=row.id))
    held = (_batch.c.id == row.batch_id) & (_batch.c.state == row.batch_state)
    return submissions.in_progress(connection, held, remote, now, next_poll_at)
