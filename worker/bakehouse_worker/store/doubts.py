"""Creates whose answer is not known, and the work of senders that were lost.

A submission leaves doubt by one of two verbs: `submissions.accepted`, when its batch was found, or `abandon`, when it is believed
absent on evidence. `refute` leads back into it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, func, null, select, update
from sqlalchemy.exc import IntegrityError

from bakehouse_worker.doubt import Doubt
from bakehouse_worker.states import BatchState, SubmissionState
from bakehouse_worker.store import canceling
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.submissions import repack
from bakehouse_worker.tables import Batch, Submission, table

_batch, _submission = table(Batch), table(Submission)


def doubt(database: Database, submission_id: int, note: str) -> bool:
    """Note that the answer to a submission whose last bytes may be out is not known."""
    with database.write() as connection:
        return _doubt(connection, submission_id, note)


def _doubt(connection: Connection, submission_id: int, note: str) -> bool:
    mine = (_submission.c.id == submission_id) & (_submission.c.state == SubmissionState.CLOSING)
    changed = connection.execute(update(_submission).where(mine).values(state=SubmissionState.IN_DOUBT, note=note))
    if not changed.rowcount:
        return False
    values = {"state": BatchState.IN_DOUBT, "lease_owner": null(), "lease_until": 0.0, "alarm": f"in doubt: {note}"}
    held = (_batch.c.submission_id == submission_id) & (_batch.c.state == BatchState.CLOSING)
    connection.execute(update(_batch).where(held).values(values))
    return True


def rescue_leases(database: Database, *, all_of_them: bool = False) -> tuple[int, int]:
    """Take back what expired leases hold: uploads go back to packed, closings into doubt. Returns (uploads, closings).

    `all_of_them` is for a start after a crash on one machine, when no sender can be alive any more.
    """
    now = database.now()
    with database.write() as connection:
        expired = _batch.c.finished_at.is_(None) if all_of_them else (_batch.c.lease_until <= now)
        uploading = connection.execute(
            select(_batch.c.id, _batch.c.submission_id).where(_batch.c.state == BatchState.UPLOADING, expired)
        ).all()
        for batch_id, submission_id in uploading:
            values = {
                "state": SubmissionState.REFUSED,
                "resolved_at": now,
                "note": "the sender was lost before the last bytes",
            }
            lost = (_submission.c.id == submission_id) & (_submission.c.state == SubmissionState.UPLOADING)
            connection.execute(update(_submission).where(lost).values(values))
            held = (_batch.c.id == batch_id) & (_batch.c.state == BatchState.UPLOADING) & expired
            repack(connection, held, now, None)
        closings = connection.execute(
            select(_batch.c.submission_id).where(_batch.c.state == BatchState.CLOSING, expired)
        ).scalars()
        doubts = [
            _doubt(connection, submission_id, "the sender was lost before the answer")
            for submission_id in closings.all()
        ]
        if all_of_them:
            ended = (_batch.c.state == BatchState.ENDED) & _batch.c.finished_at.is_(None)
            connection.execute(update(_batch).where(ended).values(lease_owner=null(), lease_until=0.0, not_before=0.0))
        canceling.leave(database, connection, [row.id for row in uploading])
    return len(uploading), sum(doubts)


def in_doubt(database: Database) -> list[Doubt]:
    """Return the submissions in doubt, oldest first."""
    return _doubts(database, _submission.c.state == SubmissionState.IN_DOUBT)


def abandoned(database: Database, since: float) -> list[Doubt]:
    """Return the submissions that were believed absent since a time, oldest first."""
    return _doubts(database, (_submission.c.state == SubmissionState.ABANDONED) & (_submission.c.resolved_at >= since))


def _doubts(database: Database, which: ColumnElement[bool]) -> list[Doubt]:
    with database.read() as connection:
        return [
            Doubt(
                submission_id=row.id,
                batch_id=row.batch_id,
                nonce=row.nonce,
                requests=row.requests,
                origin=row.origin,
                workspace=row.workspace,
                anchor=row.anchor,
                anchor_at=row.anchor_at,
                since=row.closing_at or row.started_at,
                refuted=frozenset((row.refuted or "").split(",")),
            )
            for row in connection.execute(select(_submission).where(which).order_by(_submission.c.id))
        ]


def known_remote_ids(database: Database, remote_ids: Sequence[str]) -> set[str]:
    """Return those of the given remote ids that some submission of ours has."""
    with database.read() as connection:
        return set(connection.scalars(select(_submission.c.remote_id).where(_submission.c.remote_id.in_(remote_ids))))


def known_there(database: Database, submission_id: int, workspace: str) -> list[str]:
    """Return remote ids, newest first, that an honest list shows before a submission's anchor: of ours whose submission began later
    and was accepted, and the newer anchors of all that did. Those that we had deleted are left out: no list shows them.
    """
    later = (_submission.c.workspace == workspace) & (_submission.c.id > submission_id)
    accepted = (_submission.c.state == SubmissionState.ACCEPTED) & _submission.c.remote_deleted_at.is_(None)
    own = select(_submission.c.anchor_at).where(_submission.c.id == submission_id).scalar_subquery()
    anchored = _submission.c.anchor.is_not(None) & (own.is_(None) | (_submission.c.anchor_at > own))
    with database.read() as connection:
        found = []
        for column, which in ((_submission.c.remote_id, accepted), (_submission.c.anchor, anchored)):
            query = select(column).where(later, which).order_by(_submission.c.id.desc()).limit(100)
            found += [remote_id for remote_id in connection.scalars(query) if remote_id]
        return list(dict.fromkeys(found))


def lacking_since(database: Database, submission_id: int) -> float:
    """Note that a list which nothing vouches for lacks a submission; returns since when one did first."""
    now = database.now()
    with database.write() as connection:
        mine = _submission.c.id == submission_id
        first = func.coalesce(_submission.c.lacking_since, now)
        values = update(_submission).where(mine).values(lacking_since=first).returning(_submission.c.lacking_since)
        return float(connection.execute(values).scalar_one())


def explain(database: Database, submission_id: int, alarm: str) -> None:
    """Say on its batch why a submission stays in doubt."""
    with database.write() as connection:
        held = (_batch.c.submission_id == submission_id) & (_batch.c.state == BatchState.IN_DOUBT)
        connection.execute(update(_batch).where(held).values(alarm=alarm))


def abandon(database: Database, submission_id: int, note: str) -> bool:
    """Believe, on evidence, that a submission in doubt never arrived: its batch goes back to packed."""
    now = database.now()
    with database.write() as connection:
        mine = (_submission.c.id == submission_id) & (_submission.c.state == SubmissionState.IN_DOUBT)
        values = {"state": SubmissionState.ABANDONED, "resolved_at": now, "note": note}
        if not connection.execute(update(_submission).where(mine).values(values)).rowcount:
            return False
        held = (_batch.c.submission_id == submission_id) & (_batch.c.state == BatchState.IN_DOUBT)
        packed = repack(connection, held, now, None)
        batch = select(_submission.c.batch_id).where(_submission.c.id == submission_id)
        canceling.leave(database, connection, list(connection.scalars(batch)))
        return packed


def refute(database: Database, batch_id: int, remote_id: str) -> bool:
    """Give back a remote id that proved to be somebody else's: the submission is in doubt again and remembers it.

    False if it was confirmed meanwhile, or if a sending of the same request count is on its way now: then later.
    """
    try:
        with database.write() as connection:
            adopted = (_submission.c.batch_id == batch_id) & (_submission.c.remote_id == remote_id)
            return give_back(connection, adopted & ~_submission.c.confirmed, remote_id)
    except IntegrityError:
        return False


def give_back(connection: Connection, which: ColumnElement[bool], remote_id: str) -> bool:
    """Take an adopted remote id from a submission inside a transaction: it and its batch are in doubt again."""
    values = {
        "state": SubmissionState.IN_DOUBT,
        "remote_id": null(),
        "refuted": _with(remote_id),
        "resolved_at": null(),
    }
    given = connection.execute(update(_submission).where(which).values(values).returning(_submission.c.id)).scalar()
    if given is None:
        return False
    states = (BatchState.ENDED, BatchState.IN_PROGRESS, BatchState.CANCELING)
    back = {
        "state": BatchState.IN_DOUBT,
        "lease_owner": null(),
        "lease_until": 0.0,
        "alarm": "in doubt: an adopted batch was not ours",
    }
    connection.execute(update(_batch).where(_batch.c.submission_id == given, _batch.c.state.in_(states)).values(back))
    return True


def refute_candidate(database: Database, submission_id: int, remote_id: str) -> bool:
    """Remember that a batch was read and is not this submission."""
    with database.write() as connection:
        states = (SubmissionState.IN_DOUBT, SubmissionState.ABANDONED)
        mine = (_submission.c.id == submission_id) & _submission.c.state.in_(states)
        return connection.execute(update(_submission).where(mine).values(refuted=_with(remote_id))).rowcount == 1


def turned_up(database: Database, submission_id: int, remote_id: str) -> bool:
    """Note that a submission believed absent is at the API after all: its requests were paid for twice."""
    with database.write() as connection:
        return note_late(connection, submission_id, remote_id)


def note_late(connection: Connection, submission_id: int, remote_id: str) -> bool:
    """Do what `turned_up` does, inside a transaction."""
    mine = (_submission.c.id == submission_id) & (_submission.c.state == SubmissionState.ABANDONED)
    values = {"state": SubmissionState.LATE, "remote_id": remote_id, "confirmed": True}
    return connection.execute(update(_submission).where(mine).values(values)).rowcount == 1


def _with(remote_id: str) -> ColumnElement[str]:
    """Return the refuted ids with one more."""
    return func.coalesce(_submission.c.refuted + ",", "") + remote_id
