"""Deliveries that were given up: listed by sink, sent again, or dropped. Nothing here touches a record: none is billed again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, update

from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import Delivery, Job, Record, table

_record, _job, _delivery = table(Record), table(Job), table(Delivery)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Outcomes of one job that one sink did not take, and one of them with what was last said of it."""

    job: str
    sink: str
    outcomes: int
    example: str
    error: str | None


def given_up(database: Database, job: str | None = None) -> list[Undelivered]:
    """Return what was given up, by job and sink, the most frequent first."""
    query = (
        select(_job.c.name, _delivery.c.sink, func.count().label("outcomes"), func.min(_record.c.id).label("one"))
        .join(_record, _record.c.id == _delivery.c.record_id)
        .join(_job, _job.c.id == _record.c.job_id)
        .where(_delivery.c.state == "failed")
        .group_by(_job.c.name, _delivery.c.sink)
        .order_by(func.count().desc(), _job.c.name, _delivery.c.sink)
    )
    if job is not None:
        query = query.where(_job.c.name == job)
    example = select(_record.c.custom_id, _delivery.c.error).join(_record, _record.c.id == _delivery.c.record_id)
    with database.read() as connection:
        found = []
        for row in connection.execute(query).all():
            same = (_delivery.c.record_id == row.one) & (_delivery.c.state == "failed")
            custom_id, error = connection.execute(example.where(same).limit(1)).one()
            found.append(Undelivered(row.name, row.sink, row.outcomes, custom_id, error))
        return found


def send_again(database: Database, custom_ids: tuple[str, ...], job: str | None) -> int:
    """Let what was given up wait again, with all its attempts, if its content is there still; returns how many."""
    there = _delivery.c.record_id.in_(select(_record.c.id).where(_record.c.content_gone_at.is_(None)))
    values = {"state": "waiting", "attempts": 0, "next_at": database.now(), "lease_until": 0.0}
    return _move(database, custom_ids, job, there, values)


def drop(database: Database, custom_ids: tuple[str, ...], job: str | None) -> int:
    """Note that nobody wants what was given up; returns how many. The answers stay in the store."""
    return _move(database, custom_ids, job, _delivery.c.record_id > 0, {"state": "dropped"})


def count(database: Database, custom_ids: tuple[str, ...], job: str | None) -> tuple[int, int]:
    """Return how many deliveries that were given up a selection meets: (those whose content is there, those whose is gone)."""
    there = _record.c.content_gone_at.is_(None)
    query = select(there, func.count()).join(_record, _record.c.id == _delivery.c.record_id).group_by(there)
    query = query.where(_delivery.c.state == "failed")
    found = {True: 0, False: 0}
    with database.read() as connection:
        for which in _selections(custom_ids, job):
            for is_there, number in connection.execute(query.where(which)):
                found[bool(is_there)] += number
    return found[True], found[False]


def _move(
    database: Database,
    custom_ids: tuple[str, ...],
    job: str | None,
    which: ColumnElement[bool],
    values: dict[str, object],
) -> int:
    moved = 0
    for selection in _selections(custom_ids, job):
        mine = _delivery.c.record_id.in_(select(_record.c.id).where(selection))
        with database.write() as connection:
            failed = update(_delivery).where(_delivery.c.state == "failed", which, mine)
            moved += connection.execute(failed.values(values)).rowcount
    return moved


def _selections(custom_ids: tuple[str, ...], job: str | None) -> list[ColumnElement[bool]]:
    mine = _record.c.id > 0
    if job is not None:
        mine &= _record.c.job_id.in_(select(_job.c.id).where(_job.c.name == job))
    return [mine & _record.c.custom_id.in_(part) for part in spans(custom_ids, 500)] if custom_ids else [mine]
