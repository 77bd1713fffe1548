"""Outcomes on their way to the application's own code: at least once, with a stable id (record and generation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, select, update

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Body, Delivery, Job, Lane, Record, Result, table

_record, _body, _job, _result, _delivery, _lane = (table(m) for m in (Record, Body, Job, Result, Delivery, Lane))


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything that a sink is told about one record."""

    record_id: int
    generation: int
    sink: str
    attempts: int
    job: str
    custom_id: str
    state: str
    sendings: int
    metadata: bytes | None
    line: bytes | None
    error_type: str | None
    error: str | None
    cost: float | None


def open_for(database: Database, connection: Connection, moved: Sequence[Any], now: float) -> int:
    """Insert, inside a transaction, a delivery for every record that has just ended and whose lane names a sink; returns how many.

    `moved` are rows with id, lane_id and generation.
    """
    if not moved:
        return 0
    lanes = {row.lane_id for row in moved}
    query = select(_lane.c.id, _lane.c.on_result).where(_lane.c.id.in_(lanes), _lane.c.on_result.is_not(None))
    sinks = {lane_id: sink for lane_id, sink in connection.execute(query)}
    rows = [
        {
            "record_id": row.id,
            "generation": row.generation,
            "sink": sinks[row.lane_id],
            "state": "waiting",
            "attempts": 0,
            "next_at": now,
            "lease_until": 0.0,
        }
        for row in moved
        if row.lane_id in sinks
    ]
    if rows:
        connection.execute(database.insert(Delivery).on_conflict_do_nothing(), rows)
    return len(rows)


def sendings() -> ColumnElement[int]:
    """Return how often a record was sent, for a query that has its latest result: one canceled while it waited was not sent again."""
    unsent = (_record.c.state == RecordState.CANCELED) & _result.c.record_id.is_(None)
    return case((unsent, _record.c.attempt), else_=_record.c.attempt + 1)


def claim(database: Database, limit: int, seconds: float) -> list[Parcel]:
    """Take the lease on due deliveries and return them with their content."""
    now = database.now()
    with database.write() as connection:
        due = (_delivery.c.state == "waiting") & (_delivery.c.next_at <= now) & (_delivery.c.lease_until <= now)
        keys = (
            select(_delivery.c.record_id, _delivery.c.generation).where(due).order_by(_delivery.c.next_at).limit(limit)
        )
        if not database.sqlite:
            keys = keys.with_for_update(skip_locked=True)
        taken = [(row.record_id, row.generation) for row in connection.execute(keys)]
        for record_id, generation in taken:
            mine = (_delivery.c.record_id == record_id) & (_delivery.c.generation == generation)
            connection.execute(update(_delivery).where(mine).values(lease_until=now + seconds))
    return _parcels(database, taken)


def _parcels(database: Database, keys: Sequence[tuple[int, int]]) -> list[Parcel]:
    wanted = dict(keys)
    current = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
    body = (_body.c.record_id == _delivery.c.record_id) & (_body.c.generation == _delivery.c.generation)
    columns: tuple[ColumnElement[Any], ...] = (
        _delivery.c.record_id,
        _delivery.c.generation,
        _delivery.c.sink,
        _delivery.c.attempts,
        _job.c.name,
        _record.c.custom_id,
        _record.c.state,
        sendings(),
        _body.c.metadata_json,
        _result.c.line,
        _result.c.error_type,
        _result.c.error,
        _result.c.cost,
    )
    query = (
        select(*columns)
        .join(_record, _record.c.id == _delivery.c.record_id)
        .join(_job, _job.c.id == _record.c.job_id)
        .outerjoin(_body, body)
        .outerjoin(_result, current)
        .where(_delivery.c.record_id.in_(wanted.keys()))
    )
    with database.read() as connection:
        rows = [Parcel(*row) for row in connection.execute(query)]
    return [parcel for parcel in rows if wanted[parcel.record_id] == parcel.generation]


def hand_back(database: Database, keys: Sequence[tuple[int, int]]) -> None:
    """Give up the leases on deliveries, (record id, generation), that were not tried: anybody may try them at once."""
    with database.write() as connection:
        for record_id, generation in keys:
            mine = (_delivery.c.record_id == record_id) & (_delivery.c.generation == generation)
            connection.execute(update(_delivery).where(mine, _delivery.c.state == "waiting").values(lease_until=0.0))


def delivered(database: Database, record_id: int, generation: int) -> bool:
    """Note that the sink took the outcome."""
    return _resolve(database, record_id, generation, {"state": "delivered", "error": None})


def again(database: Database, record_id: int, generation: int, delay: float, error: str) -> bool:
    """Note a failed delivery that is tried again in `delay` seconds."""
    return _resolve(
        database, record_id, generation, {"next_at": database.now() + delay, "lease_until": 0.0, "error": error}
    )


def failed(database: Database, record_id: int, generation: int, error: str) -> bool:
    """Note a delivery that is given up: a dead letter of its own. Nothing is billed again by it."""
    return _resolve(database, record_id, generation, {"state": "failed", "error": error})


def _resolve(database: Database, record_id: int, generation: int, values: dict[str, object]) -> bool:
    with database.write() as connection:
        mine = (_delivery.c.record_id == record_id) & (_delivery.c.generation == generation)
        waiting = mine & (_delivery.c.state == "waiting")
        values = values | {"attempts": _delivery.c.attempts + 1}
        return connection.execute(update(_delivery).where(waiting).values(values)).rowcount == 1
