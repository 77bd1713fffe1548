"""What the store knows of its own age: a mark that only grows, and the last sign of life before a silence.

The mark grows by one whenever the last bytes of a create are about to go out. Redis holds a copy of it, written after it: a Redis
that knows a higher mark than the store proves that the store was restored from a backup.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from sqlalchemy import BigInteger, Text, cast, delete, func, select

from bakehouse_worker.states import RecordState, SubmissionState
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.holds import RESTORED, SUBMIT
from bakehouse_worker.tables import Batch, Hold, Meta, Record, Submission, table

_meta, _hold, _record, _batch, _submission = (table(m) for m in (Meta, Hold, Record, Batch, Submission))

#: Facts: the mark; the silence that was noted; the newest batch of the API's list that was looked at.
MARK, SILENCE, SEEN = "epoch", "silence", "seen_batch"
#: Seconds without a tick that count as a silence.
SILENT = 300.0
#: Bits of a record's `seq` below its milliseconds.
_SEQ_BITS = 20


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which nothing ran here: `since` by our clock, and the highest record id that the store knew then."""

    since: float
    records: int


def mark(database: Database) -> int:
    """Return the mark: how often the last bytes of a create were about to go out."""
    with database.read() as connection:
        return int(connection.scalar(select(_meta.c.value).where(_meta.c.key == MARK)) or 0)


def advance(database: Database) -> int:
    """Let the mark grow by one; returns it."""
    with database.write() as connection:
        more = cast(cast(_meta.c.value, BigInteger) + 1, Text)
        upsert = database.insert(Meta).on_conflict_do_update(index_elements=["key"], set_={"value": more})
        return int(connection.execute(upsert.returning(_meta.c.value), {"key": MARK, "value": "1"}).scalar_one())


def rejoin(database: Database, mark: int) -> int:
    """After a restored store was reconciled: step over the highest mark known anywhere, and let submissions go on.

    Returns the new mark. A person's pause stays.
    """
    with database.write() as connection:
        held = connection.scalar(select(_meta.c.value).where(_meta.c.key == MARK).with_for_update())
        reached = max(int(held or 0), mark) + 1
        statement = database.insert(Meta)
        upsert = statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value})
        connection.execute(upsert, {"key": MARK, "value": str(reached)})
        connection.execute(delete(_meta).where(_meta.c.key == SILENCE))
        connection.execute(delete(_hold).where(_hold.c.scope == SUBMIT, _hold.c.kind == RESTORED))
        return reached


def note_silence(database: Database, *, restored: bool = False) -> None:
    """Note that nothing ran here for long, or (`restored`) that the store is not the one that ran here last.

    Called before anything is accepted: a record with a higher id came after it. Noted once for one last sign of life.
    """
    now = database.now()
    with database.read() as connection:
        query = select(_meta.c.key, _meta.c.value).where(_meta.c.key.in_((SILENCE, "ticked_at")))
        found = {row.key: row.value for row in connection.execute(query)}
        since = float(found.get("ticked_at", now))
        if not restored and now - since <= SILENT:
            return
        if SILENCE in found and orjson.loads(found[SILENCE])["since"] == since:
            return
        records = int(connection.scalar(select(func.max(_record.c.id))) or 0)
    with database.write() as connection:
        statement = database.insert(Meta)
        upsert = statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value})
        connection.execute(
            upsert, {"key": SILENCE, "value": orjson.dumps({"since": since, "records": records}).decode()}
        )


def silence(database: Database) -> Silence | None:
    """Return the silence that is noted."""
    with database.read() as connection:
        value = connection.scalar(select(_meta.c.value).where(_meta.c.key == SILENCE))
    return Silence(**orjson.loads(value)) if value else None


def forget_silence(database: Database) -> None:
    """Note that nothing came of a silence."""
    with database.write() as connection:
        connection.execute(delete(_meta).where(_meta.c.key == SILENCE))


def expected(database: Database, nonce: str) -> str | None:
    """Return the state of the submission with a nonce, if the store knows one."""
    with database.read() as connection:
        return connection.scalar(select(_submission.c.state).where(_submission.c.nonce == nonce))


def oldest_unfinished(database: Database) -> float | None:
    """Return when the oldest record without an end was enqueued, in seconds since 1970 by Redis's clock; None: there is none."""
    unfinished = _record.c.state.in_((RecordState.PENDING, RecordState.PACKED))
    with database.read() as connection:
        seq = connection.scalar(select(func.min(_record.c.seq)).where(unfinished))
    return None if seq is None else enqueued_at(seq)


def enqueued_at(seq: int) -> float:
    """Return when a record was enqueued, in seconds since 1970 by Redis's clock."""
    return float(seq >> _SEQ_BITS) / 1000.0


def clock_ahead(database: Database) -> float:
    """Return by how many seconds the API's clock is ahead of ours, as the latest batches show; 0 if there are none."""
    query = select(_batch.c.remote_created_at - _batch.c.submitted_at).join(
        _submission, _submission.c.batch_id == _batch.c.id
    )
    known = _batch.c.remote_created_at.is_not(None) & (_submission.c.state == SubmissionState.ACCEPTED)
    with database.read() as connection:
        return float(
            max(connection.scalars(query.where(known).order_by(_submission.c.id.desc()).limit(20)), default=0.0)
        )
