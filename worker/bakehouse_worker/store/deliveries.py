"""Outcomes on their way to the application's own code: at least once, with a stable id (record and generation).

A delivery is `waiting` until its sink took it (`delivered`) or it was given up (`failed`: a dead letter of its own, which a person
sends again or drops). A lease that ran out was held by a worker that ended with the outcome in hand, perhaps because of it: such an
outcome is claimed alone, and that costs it an attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal, or_, select, update
from sqlmodel import Session

from bakehouse_worker.store import bulk, outcomes
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.outcomes import Row
from bakehouse_worker.tables import Delivery, Lane, Record, Result, table

_record, _delivery, _lane, _result = table(Record), table(Delivery), table(Lane), table(Result)

#: What is told of a delivery whose worker ended while it had it.
LOST = "the worker ended while the handler ran"
#: What is told of those that wait until another one of their sink was taken over.
PUT_OFF = "the worker ended with it in hand, perhaps because of another one"
#: Bytes of answers in one claim.
BYTES = 16_000_000

#: (record id, generation)
Key = tuple[int, int]

_MINE = (_delivery.c.record_id == bindparam("record")) & (_delivery.c.generation == bindparam("its_generation"))
_WAITING = _delivery.c.state == "waiting"


class Parcel(NamedTuple):
    """One outcome to be handed over: `attempts` is how often that was tried before. `lease` is when its lease ends, and proves it."""

    key: Key
    sink: str
    attempts: int
    lease: float
    row: Row


def open_for(database: Database, connection: Connection, record_ids: Sequence[int], now: float) -> int:
    """Insert, inside a transaction, a delivery for every record that has just ended and whose lane names a sink; returns how many."""
    if not record_ids:
        return 0
    columns = ("record_id", "generation", "sink", "state", "attempts", "next_at", "lease_until")
    first = (literal("waiting"), literal(0), literal(now), literal(0.0))
    ended = select(_record.c.id, _record.c.generation, _lane.c.on_result, *first).join(
        _lane, _lane.c.id == _record.c.lane_id
    )
    ended = ended.where(bulk.among(connection, _record.c.id, record_ids), _lane.c.on_result.is_not(None))
    ended = ended.order_by(_record.c.id)  # of one time: as they are read
    opened = database.insert(Delivery).from_select(columns, ended)
    return connection.execute(opened.on_conflict_do_nothing(index_elements=columns[:2])).rowcount


def claim(database: Database, limit: int, seconds: float, resting: Collection[str] = ()) -> list[Parcel]:
    """Take the lease on due deliveries that nobody holds, except those of resting sinks, and return them with their content."""
    now = database.now()
    due = _WAITING & (_delivery.c.next_at <= now) & (_delivery.c.lease_until == 0.0)
    if resting:
        due &= _delivery.c.sink.not_in(resting)
    with database.write() as connection:
        keys = _small_enough(_lock(database, connection, due, limit, (_delivery.c.next_at,)))
        lease = {"lease_until": now + seconds}
        if keys:
            connection.execute(update(_delivery).where(_these(connection, keys)).values(lease))
    return _parcels(database, keys)


def _small_enough(found: Sequence[tuple[Key, int]]) -> list[Key]:
    """Return the first of these whose answers have so many BYTES together: one at least."""
    total, fitting = 0, 0
    for fitting, (_, size) in enumerate(found, 1):
        total += size
        if total > BYTES:
            fitting = max(1, fitting - 1)
            break
    return [key for key, _ in found[:fitting]]


def claim_lost(database: Database, seconds: float, most: int, resting: Collection[str] = ()) -> Parcel | None:
    """Take over one delivery whose worker was lost, which costs an attempt; one that has had `most` attempts is given up.

    The others of its sink that were lost wait for as long, because it may be the sink that ends its workers: `let_go` frees them. None
    if there is no other, but for those of resting sinks.
    """
    now = database.now()
    due = _WAITING & (_delivery.c.next_at <= now) & (_delivery.c.lease_until > 0.0) & (_delivery.c.lease_until <= now)
    if resting:
        due &= _delivery.c.sink.not_in(resting)
    while True:
        with database.write() as connection:
            keys = [key for key, _ in _lock(database, connection, due, 1, (_delivery.c.attempts, _delivery.c.next_at))]
            if not keys:
                return None
            tried = {"attempts": _delivery.c.attempts + 1, "error": LOST}
            given_up = (_delivery.c.attempts + 1 >= most) & _mine(keys[0])
            if connection.execute(update(_delivery).where(given_up).values(tried | {"state": "failed"})).rowcount:
                continue
            lease = {"lease_until": now + seconds}
            connection.execute(update(_delivery).where(_mine(keys[0])).values(tried | lease))
            same = _delivery.c.sink.in_(select(_delivery.c.sink).where(_mine(keys[0])))
            connection.execute(update(_delivery).where(due, same).values(next_at=now + seconds, error=PUT_OFF))
        return next(iter(_parcels(database, keys)), None)


def let_go(database: Database, sink: str) -> None:
    """Let what waits behind a lost one of a sink be taken over before all others: that one ended no worker."""
    put_off = _WAITING & (_delivery.c.sink == sink) & (_delivery.c.error == PUT_OFF)
    with database.write() as connection:
        connection.execute(update(_delivery).where(put_off).values(next_at=0.0, error=None))


def renew(database: Database, keys: Sequence[Key], lease: float, seconds: float) -> tuple[float, list[Key]]:
    """Prolong a lease that ends at `lease`; returns its new end, and those of these that nobody has taken over or withdrawn."""
    until = database.now() + seconds
    with database.write() as connection:
        mine = _these(connection, keys) & _WAITING & (_delivery.c.lease_until == lease)
        renewed = update(_delivery).where(mine).values(lease_until=until)
        held = connection.execute(renewed.returning(_delivery.c.record_id, _delivery.c.generation))
        still = {(record_id, generation) for record_id, generation in held}
    return until, [key for key in keys if key in still]


def hand_back(database: Database, keys: Sequence[Key], lease: float) -> None:
    """Give up the lease, which ends at `lease`, on deliveries that were not tried: anybody may try them at once."""
    if keys:
        with database.write() as connection:
            held = _these(connection, keys) & _WAITING & (_delivery.c.lease_until == lease)
            connection.execute(update(_delivery).where(held).values(lease_until=0.0))


def delivered(database: Database, keys: Sequence[Key]) -> None:
    """Note that the sink took these outcomes."""
    if keys:
        with database.write() as connection:
            connection.execute(update(_delivery).where(_these(connection, keys), _WAITING).values(_TAKEN))


@contextmanager
def with_mark(database: Database, keys: Sequence[Key]) -> Iterator[tuple[Session, list[Key]]]:
    """Open a transaction in which these outcomes are delivered, and a session of it for the application's own writes.

    Yields the session and the keys that are marked: those of them that somebody else delivered meanwhile are not. Everything is
    committed at the end, or nothing if an error passes. A commit within the session commits nothing by itself.
    """
    with database.write() as connection:
        taken = [
            key
            for key in keys
            if connection.execute(update(_delivery).where(_mine(key), _WAITING).values(_TAKEN)).rowcount
        ]
        session = _Lent(bind=connection, join_transaction_mode="create_savepoint")
        try:
            yield session, taken
            session.commit()
        finally:
            Session.close(session)


class _Lent(Session):
    """A session that the application does not own: at the end of a `with session:` of its own, nothing it wrote is taken back."""

    def close(self) -> None:
        """Leave it open: who lent it closes it."""


def again(database: Database, keys: Sequence[Key], delays: Sequence[float], error: str) -> None:
    """Note failed deliveries, each of which is tried again in so many seconds."""
    if not keys:
        return
    now = database.now()
    values = {"next_at": bindparam("due"), "lease_until": 0.0, "error": error, "attempts": _delivery.c.attempts + 1}
    bound = [{**one, "due": now + delay} for one, delay in zip(_bound(keys), delays, strict=True)]
    with database.write() as connection:
        connection.execute(update(_delivery).where(_MINE, _WAITING).values(values), bound)


def failed(database: Database, keys: Sequence[Key], error: str) -> None:
    """Note deliveries that are given up: dead letters of their own. Nothing is billed again by it."""
    if not keys:
        return
    values = {"state": "failed", "lease_until": 0.0, "error": error, "attempts": _delivery.c.attempts + 1}
    with database.write() as connection:
        connection.execute(update(_delivery).where(_these(connection, keys), _WAITING).values(values))


_TAKEN: dict[str, Any] = {
    "state": "delivered",
    "error": None,
    "lease_until": 0.0,
    "attempts": _delivery.c.attempts + 1,
}


def _mine(key: Key) -> ColumnElement[bool]:
    return (_delivery.c.record_id == key[0]) & (_delivery.c.generation == key[1])


def _these(connection: Connection, keys: Sequence[Key]) -> ColumnElement[bool]:
    """Return the condition that a delivery is one of these: nearly always all of one generation."""
    ids: dict[int, list[int]] = {}
    for record_id, generation in keys:
        ids.setdefault(generation, []).append(record_id)
    return or_(
        *(
            (_delivery.c.generation == generation) & bulk.among(connection, _delivery.c.record_id, some)
            for generation, some in ids.items()
        )
    )


def _bound(keys: Sequence[Key]) -> list[dict[str, Any]]:
    return [{"record": record_id, "its_generation": generation} for record_id, generation in keys]


def _lock(
    database: Database,
    connection: Connection,
    due: ColumnElement[bool],
    limit: int,
    order: Sequence[ColumnElement[Any]],
) -> list[tuple[Key, int]]:
    """Return what is due, no more than `limit`, each with the bytes of its answer."""
    answers = select(func.length(_result.c.line)).where(_result.c.record_id == _delivery.c.record_id)
    size = answers.order_by(_result.c.attempt.desc()).limit(1).scalar_subquery()
    keys = select(_delivery.c.record_id, _delivery.c.generation, size)
    keys = keys.where(due).order_by(*order).limit(limit)
    if not database.sqlite:
        keys = keys.with_for_update(skip_locked=True, of=_delivery)
    return [((record_id, generation), length or 0) for record_id, generation, length in connection.execute(keys).all()]


def _parcels(database: Database, keys: Sequence[Key]) -> list[Parcel]:
    """Return the content of what was claimed. A newer generation than the one claimed has withdrawn it."""
    wanted = dict(keys)
    same = (_delivery.c.record_id == _record.c.id) & (_delivery.c.generation == _record.c.generation)
    query = outcomes.query(metadata=True).add_columns(_delivery.c.sink, _delivery.c.attempts, _delivery.c.lease_until)
    query = query.join(_delivery, same)
    with database.read() as connection:
        query = query.where(bulk.among(connection, _delivery.c.record_id, list(wanted)))
        rows = connection.execute(query).all()
    parcels = [
        Parcel((each[0], each[1]), each.sink, each.attempts, each.lease_until, outcomes.row(each)) for each in rows
    ]
    found = {parcel.key: parcel for parcel in parcels}
    return [found[key] for key in keys if key in found]
