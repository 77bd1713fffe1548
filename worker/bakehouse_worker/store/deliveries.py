"""Outcomes on their way to the application's own code: at least once, with a stable id (record and generation).

A delivery is `waiting` until its sink took it (`delivered`) or it was given up (`failed`: a dead letter of its own, which a person
sends again or drops). A lease that ran out was held by a worker that ended with the outcome in hand, perhaps because of it: such an
outcome is claimed alone, and that costs it an attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Update, bindparam, func, literal, or_, select, update

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
_DUE = _WAITING & (_delivery.c.next_at <= bindparam("now"))
#: Due, and in nobody's hand; or in the hand of a worker that was lost.
_FREE = _DUE & (_delivery.c.lease_until == 0.0)
_LOST = _DUE & (_delivery.c.lease_until > 0.0) & (_delivery.c.lease_until <= bindparam("now"))
_ANY_LOST = select(_delivery.c.record_id).where(_LOST).order_by(_delivery.c.lease_until).limit(1)


class _Found(NamedTuple):
    """A delivery that is due, and the bytes of its answer if it has one."""

    record_id: int
    generation: int
    sink: str
    attempts: int
    size: int | None


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
    lease = now + seconds
    with database.write() as connection:
        found = _small_enough(_lock(database, connection, _FREE, now, limit, resting, (_delivery.c.next_at,)))
        for ids in _by_generation(database, found):
            connection.execute(_leasing(database.sqlite), {**ids, "until": lease})
    return _parcels(database, found, lease)


def _small_enough(found: Sequence[_Found]) -> Sequence[_Found]:
    """Return the first of these whose answers have so many BYTES together: one at least."""
    total = 0
    for number, each in enumerate(found):
        total += each.size or 0
        if total > BYTES:
            return found[: max(1, number)]
    return found


def claim_lost(database: Database, seconds: float, most: int, resting: Collection[str] = ()) -> Parcel | None:
    """Take over one delivery whose worker was lost, which costs an attempt; one that has had `most` attempts is given up.

    The others of its sink that were lost wait for as long, because it may be the sink that ends its workers: `let_go` frees them. None
    if there is no other, but for those of resting sinks.
    """
    now = database.now()
    with database.read() as connection:  # there is seldom one, and a database has few writers
        if connection.execute(_ANY_LOST, {"now": now}).first() is None:
            return None
    lease, due = now + seconds, _LOST & _delivery.c.sink.not_in(resting)
    while True:
        with database.write() as connection:
            order = (_delivery.c.attempts, _delivery.c.next_at)
            found = _lock(database, connection, _LOST, now, 1, resting, order)
            if not found:
                return None
            mine = _mine((found[0].record_id, found[0].generation))
            tried = {"attempts": _delivery.c.attempts + 1, "error": LOST}
            given_up = (_delivery.c.attempts + 1 >= most) & mine
            if connection.execute(update(_delivery).where(given_up).values(tried | {"state": "failed"})).rowcount:
                continue
            connection.execute(update(_delivery).where(mine).values(tried | {"lease_until": lease}))
            same = update(_delivery).where(due, _delivery.c.sink == found[0].sink)
            connection.execute(same.values(next_at=lease, error=PUT_OFF), {"now": now})
        return next(iter(_parcels(database, [found[0]._replace(attempts=found[0].attempts + 1)], lease)), None)


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
            for ids in _by_generation(database, keys):
                connection.execute(_taking(database.sqlite), ids)


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


def mark(connection: Connection, key: Key) -> bool:
    """Mark one outcome as delivered, inside a transaction; False if somebody else delivered it."""
    return bool(connection.execute(update(_delivery).where(_mine(key), _WAITING).values(_TAKEN)).rowcount)


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
    now: float,
    limit: int,
    resting: Collection[str],
    order: Sequence[ColumnElement[Any]],
) -> list[_Found]:
    """Return what is due, no more than `limit`, but for resting sinks."""
    query = _looking(database.sqlite, due, order)
    if resting:
        query = query.where(_delivery.c.sink.not_in(resting))
    return [_Found._make(each) for each in connection.execute(query, {"now": now, "at_most": limit}).all()]


def _parcels(database: Database, found: Sequence[_Found], lease: float) -> list[Parcel]:
    """Return the content of what was claimed. A newer generation than the one claimed has withdrawn it."""
    if not found:
        return []
    with database.read() as connection:
        wanted = {"record_ids": bulk.ids(database.sqlite, [each.record_id for each in found])}
        rows = [outcomes.row(each) for each in connection.execute(_content(database.sqlite), wanted).all()]
        by_id = {row.record_id: row for row in outcomes.with_metadata(database, connection, rows)}
    return [
        Parcel((each.record_id, each.generation), each.sink, each.attempts, lease, row)
        for each in found
        if (row := by_id.get(each.record_id)) and row.generation == each.generation
    ]


# What runs for every span of outcomes is made once for each database: to build such a statement takes longer than to run it.


@cache
def _looking(sqlite: bool, due: ColumnElement[bool], order: Sequence[ColumnElement[Any]]) -> Select[Any]:
    answers = select(func.length(_result.c.line)).where(_result.c.record_id == _delivery.c.record_id)
    size = answers.order_by(_result.c.attempt.desc()).limit(1).scalar_subquery()
    keys = select(_delivery.c.record_id, _delivery.c.generation, _delivery.c.sink, _delivery.c.attempts, size)
    keys = keys.where(due).order_by(*order).limit(bindparam("at_most"))
    return keys if sqlite else keys.with_for_update(skip_locked=True, of=_delivery)


@cache
def _content(sqlite: bool) -> Select[Any]:
    return outcomes.query().where(bulk.bound(sqlite, _record.c.id, "record_ids"))


@cache
def _leasing(sqlite: bool) -> Update:
    return update(_delivery).where(_those(sqlite)).values(lease_until=bindparam("until"))


@cache
def _taking(sqlite: bool) -> Update:
    return update(_delivery).where(_those(sqlite), _WAITING).values(_TAKEN)


def _those(sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a delivery is one of those that `_by_generation` names."""
    return (_delivery.c.generation == bindparam("of")) & bulk.bound(sqlite, _delivery.c.record_id, "record_ids")


def _by_generation(database: Database, keys: Sequence[Key] | Sequence[_Found]) -> Iterator[dict[str, Any]]:
    """Yield what `_those` takes: nearly always all are of one generation."""
    ids: dict[int, list[int]] = {}
    for key in keys:
        ids.setdefault(key[1], []).append(key[0])
    for generation, some in ids.items():
        yield {"of": generation, "record_ids": bulk.ids(database.sqlite, some)}
