"""What came of a job's canary, and of each job's part of a batch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.counters import per_job
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.holds import JOB, MODEL, Parked, parked
from bakehouse_worker.tables import Job, Lane, Record, Result, table

_job, _record, _result, _lane = (table(m) for m in (Job, Record, Result, Lane))

_LATEST = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
_FAILED = _record.c.state == RecordState.FAILED


@dataclass(frozen=True, slots=True)
class Share:
    """Of `records` of a job, `failed` ended as dead letters, most for this reason (an error type), such as this custom_id."""

    job_id: int
    job: str
    records: int
    failed: int
    reason: str = ""
    example: str = ""


def canaries(database: Database, job_ids: Collection[int]) -> list[Share]:
    """Return what came of the canaries among these jobs that have come to their end."""
    query = select(_job.c.id, _job.c.name, _job.c.canary).where(_job.c.id.in_(job_ids), _job.c.canary.is_not(None))
    with database.read() as connection:
        jobs = connection.execute(query).all()
        counters = per_job(connection) if jobs else {}
        found = []
        for job in jobs:
            states = counters.get(job.id, {})
            succeeded, failed = states.get(RecordState.SUCCEEDED, 0), states.get(RecordState.FAILED, 0)
            if succeeded + failed >= job.canary:
                worst = _worst(connection, (_record.c.job_id == job.id) & _FAILED) if failed else ("", "")
                found.append(Share(job.id, job.name, succeeded + failed, failed, *worst))
        return found


def decided(database: Database, job_id: int) -> bool:
    """Note that a job's canary has decided; False if it had already."""
    with database.write() as connection:
        mine = (_job.c.id == job_id) & _job.c.canary.is_not(None)
        return connection.execute(update(_job).where(mine).values(canary=None)).rowcount == 1


def send_ahead(database: Database, job: str, records: int) -> bool:
    """Let a job's first records go alone until their results decide; False if some have been sent already."""
    with database.write() as connection:
        sent = select(_record.c.id).where(_record.c.job_id == _job.c.id, _record.c.attempt > 0).exists()
        chosen = select(_record.c.id).where(_record.c.job_id == _job.c.id, _record.c.state != RecordState.PENDING)
        mine = (_job.c.name == job) & ~sent & ~chosen.exists()
        return connection.execute(update(_job).where(mine).values(canary=records)).rowcount == 1


def stuck(database: Database, job_id: int) -> list[Parked]:
    """Return what a job's pending records wait behind, if all of them wait behind a parked model or job; else nothing."""
    found = {f"{each.what}:{each.name}": each for each in parked(database)}
    pending = (_record.c.lane_id == _lane.c.id) & (_record.c.state == RecordState.PENDING)
    query = select(_lane.c.model, _job.c.name).join(_job, _job.c.id == _lane.c.job_id)
    with database.read() as connection:
        lanes = connection.execute(query.where(_lane.c.job_id == job_id, select(_record.c.id).where(pending).exists()))
        behind = [found.get(f"{JOB}:{name}") or found.get(f"{MODEL}:{model}") for model, name in lanes]
    return [each for each in behind if each is not None] if behind and all(behind) else []


def shares(database: Database, batch_id: int, permanent: Collection[str]) -> list[Share]:
    """Return each job's part of a batch: how many of its answers came, and how many of them failed for good."""
    mine = _result.c.batch_id == batch_id
    bad = _FAILED & _result.c.error_type.in_(permanent)
    columns = (_job.c.id, _job.c.name, func.count(), func.count().filter(bad))
    query = select(*columns).select_from(_result).join(_record, _LATEST).join(_job, _job.c.id == _record.c.job_id)
    with database.read() as connection:
        rows = connection.execute(query.where(mine).group_by(_job.c.id, _job.c.name)).all()
        found = []
        for job_id, name, records, failed in rows:
            if failed:
                worst = _worst(connection, mine & bad & (_record.c.job_id == job_id))
                found.append(Share(job_id, name, records, failed, *worst))
        return found


def _worst(connection: Connection, which: ColumnElement[bool]) -> tuple[str, str]:
    """Return the most frequent error type among failed records, and the custom_id of one of them."""
    reason = func.coalesce(_result.c.error_type, _result.c.kind)
    query: Any = select(reason, func.min(_record.c.custom_id)).select_from(_result).join(_record, _LATEST)
    row = connection.execute(query.where(which).group_by(reason).order_by(func.count().desc()).limit(1)).first()
    return (str(row[0]), str(row[1])) if row else ("", "")
