"""Acceptance and requeueing: jobs, lanes, records and bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
from sqlalchemy import Connection, insert, null, select, update

from bakehouse.contract import Record as Incoming
from bakehouse_worker.states import RecordState
from bakehouse_worker.store.counters import REJECTED, Deltas
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import Body, Job, Lane, Record, Rejected, table

_record, _body, _job, _lane = table(Record), table(Body), table(Job), table(Lane)


@dataclass(frozen=True, slots=True)
class Entry:
    """One inbox entry that was read: its stream id and the record in it."""

    entry_id: str
    record: Incoming


@dataclass(slots=True)
class Acceptance:
    """What became of a span of entries. `rejected` pairs an entry with its reason."""

    new: int = 0
    same: int = 0
    replaced: int = 0
    rejected: list[tuple[Entry, str]] = field(default_factory=list)


def accept(database: Database, entries: Sequence[Entry]) -> Acceptance:
    """Insert a span of records, once each, as `pending`. The same record again is known; another body is a conflict.

    Raises RowRefused, with nothing written, if the database will not take one of them.
    """
    outcome, deltas, now = Acceptance(), Deltas(), database.now()
    with database.refusing(), database.write() as connection:
        jobs = _job_ids(database, connection, {entry.record.job for entry in entries}, now)
        lanes = _lane_ids(database, connection, jobs, {_lane_of(entry.record) for entry in entries})
        rows = [_row(entry, jobs, lanes, now) for entry in entries]
        statement = database.insert(Record).on_conflict_do_nothing(index_elements=["job_id", "custom_id"])
        inserted = connection.execute(statement.returning(_record.c.id, _record.c.job_id, _record.c.custom_id), rows)
        ids = {(job_id, custom_id): record_id for record_id, job_id, custom_id in inserted}
        outcome.new = len(ids)
        bodies, conflicts = [], []
        for entry in entries:
            record_id = ids.pop((jobs[entry.record.job], entry.record.custom_id), None)
            if record_id is None:
                conflicts.append(entry)
            else:
                bodies.append(_body_row(record_id, 0, entry.record))
                deltas.add(jobs[entry.record.job], RecordState.PENDING)
        if bodies:
            connection.execute(insert(_body), bodies)
        if conflicts:
            _resolve(database, connection, conflicts, jobs, outcome, deltas, now)
        deltas.write(database, connection)
    return outcome


def reject(database: Database, entry_id: str, record: Incoming, reason: str) -> None:
    """Note a receipt that cannot become a record, so that it has its end and can be seen."""
    deltas, now = Deltas(), database.now()
    with database.write() as connection:
        jobs = _job_ids(database, connection, {record.job}, now)
        _reject(database, connection, entry_id, record, reason, jobs[record.job], deltas, now)
        deltas.write(database, connection)


def close(database: Database, job: str, expected: int) -> None:
    """Set how many records the job expects in all; the last word counts."""
    with database.write() as connection:
        jobs = _job_ids(database, connection, {job}, database.now())
        connection.execute(update(_job).where(_job.c.id == jobs[job]).values(expected=expected))


def known_digests(database: Database, job: str, custom_ids: Sequence[str]) -> dict[str, str]:
    """Return {custom_id: digest} for those that the job holds already."""
    found: dict[str, str] = {}
    with database.read() as connection:
        job_id = select(_job.c.id).where(_job.c.name == job).scalar_subquery()
        for part in spans(custom_ids, 500):
            rows = connection.execute(
                select(_record.c.custom_id, _record.c.digest).where(
                    _record.c.job_id == job_id, _record.c.custom_id.in_(part)
                )
            )
            found.update((custom_id, digest) for custom_id, digest in rows)
    return found


def requeue_failed(database: Database, job: str) -> int:
    """Send every failed record of a job again, as a new generation with all its attempts; returns how many."""
    requeued = 0
    while True:
        with database.write() as connection:
            job_id = select(_job.c.id).where(_job.c.name == job).scalar_subquery()
            failed = select(_record.c.id).where(_record.c.job_id == job_id, _record.c.state == RecordState.FAILED)
            ids = list(connection.scalars(failed.order_by(_record.c.id).limit(1_000)))
            if not ids:
                return requeued
            same_body = select(
                _body.c.record_id, _body.c.generation + 1, _body.c.params, _body.c.spans, _body.c.metadata_json
            )
            latest = same_body.join(
                _record, (_record.c.id == _body.c.record_id) & (_record.c.generation == _body.c.generation)
            )
            columns = ["record_id", "generation", "params", "spans", "metadata_json"]
            connection.execute(insert(_body).from_select(columns, latest.where(_record.c.id.in_(ids))))
            _start_again(connection, ids, database.now(), generation=_record.c.generation + 1)
            deltas = Deltas()
            rows = connection.execute(select(_record.c.job_id).where(_record.c.id.in_(ids)))
            deltas.move([row[0] for row in rows], RecordState.FAILED, RecordState.PENDING)
            deltas.write(database, connection)
            requeued += len(ids)


def _start_again(connection: Connection, ids: Sequence[int], now: float, **values: Any) -> None:
    connection.execute(
        update(_record)
        .where(_record.c.id.in_(ids))
        .values(
            state=RecordState.PENDING,
            batch_id=null(),
            attempt=_record.c.attempt + 1,
            failures=0,
            expiries=0,
            next_at=now,
            settled_at=null(),
            **values,
        )
    )


def _resolve(
    database: Database,
    connection: Connection,
    entries: Sequence[Entry],
    jobs: dict[str, int],
    outcome: Acceptance,
    deltas: Deltas,
    now: float,
) -> None:
    """Tell for each entry whose (job, custom_id) is taken: the same record, a replacement, or a conflict."""
    for entry in entries:
        incoming, job_id = entry.record, jobs[entry.record.job]
        mine = (_record.c.job_id == job_id) & (_record.c.custom_id == incoming.custom_id)
        held = connection.execute(select(_record).where(mine)).one()
        if held.digest == incoming.digest:
            outcome.same += 1
        elif not incoming.replace:
            reason = "another body is known under this custom_id; send it under a new one, or replace it"
            _reject(database, connection, entry.entry_id, incoming, reason, job_id, deltas, now)
            outcome.rejected.append((entry, reason))
        elif held.state == RecordState.PACKED:
            reason = "cannot be replaced while its request is in a batch; try again when that has ended"
            _reject(database, connection, entry.entry_id, incoming, reason, job_id, deltas, now)
            outcome.rejected.append((entry, reason))
        else:
            generation = held.generation + 1
            connection.execute(insert(_body), [_body_row(held.id, generation, incoming)])
            size = len(incoming.params)
            _start_again(
                connection,
                [held.id],
                now,
                generation=generation,
                bytes=size,
                digest=incoming.digest,
                model=incoming.model,
            )
            deltas.move([job_id], held.state, RecordState.PENDING)
            outcome.replaced += 1


def _reject(
    database: Database,
    connection: Connection,
    entry_id: str,
    record: Incoming,
    reason: str,
    job_id: int,
    deltas: Deltas,
    now: float,
) -> None:
    row = {
        "entry": entry_id,
        "job": record.job,
        "custom_id": record.custom_id,
        "digest": record.digest,
        "reason": reason,
        "at": now,
    }
    statement = database.insert(Rejected).on_conflict_do_nothing(index_elements=["entry"])
    if connection.execute(statement, row).rowcount:
        deltas.add(job_id, REJECTED)


def _job_ids(database: Database, connection: Connection, names: set[str], now: float) -> dict[str, int]:
    query = select(_job.c.name, _job.c.id).where(_job.c.name.in_(names))
    found = {name: job_id for name, job_id in connection.execute(query)}
    missing = sorted(names - found.keys())
    if missing:
        statement = database.insert(Job).on_conflict_do_nothing(index_elements=["name"])
        connection.execute(statement, [{"name": name, "created_at": now} for name in missing])
        found = {name: job_id for name, job_id in connection.execute(query)}
    return found


def _lane_of(record: Incoming) -> tuple[str, int, str, str, str | None]:
    return record.job, record.priority, record.api_version, ",".join(record.betas), record.on_result


def _lane_ids(
    database: Database, connection: Connection, jobs: dict[str, int], wanted: set[tuple[str, int, str, str, str | None]]
) -> dict[tuple[str, int, str, str, str | None], int]:
    keys = {}
    rows = []
    for lane in sorted(wanted, key=repr):
        job, priority, api_version, betas, on_result = lane
        key = blake2b(repr((jobs[job], *lane[1:])).encode(), digest_size=16).hexdigest()
        keys[key] = lane
        rows.append(
            {
                "key": key,
                "job_id": jobs[job],
                "priority": priority,
                "api_version": api_version,
                "betas": betas,
                "on_result": on_result,
            }
        )
    query = select(_lane.c.key, _lane.c.id).where(_lane.c.key.in_(list(keys)))
    found = {key: lane_id for key, lane_id in connection.execute(query)}
    missing = [row for row in rows if row["key"] not in found]
    if missing:
        connection.execute(database.insert(Lane).on_conflict_do_nothing(index_elements=["key"]), missing)
        found = {key: lane_id for key, lane_id in connection.execute(query)}
    return {lane: found[key] for key, lane in keys.items()}


def _row(
    entry: Entry, jobs: dict[str, int], lanes: dict[tuple[str, int, str, str, str | None], int], now: float
) -> dict[str, Any]:
    record = entry.record
    milliseconds, _, number = entry.entry_id.partition("-")
    return {
        "job_id": jobs[record.job],
        "custom_id": record.custom_id,
        "lane_id": lanes[_lane_of(record)],
        "seq": (int(milliseconds) << 20) + int(number or 0),
        "bytes": len(record.params),
        "digest": record.digest,
        "model": record.model,
        "state": RecordState.PENDING,
        "generation": 0,
        "attempt": 0,
        "failures": 0,
        "expiries": 0,
        "next_at": now,
    }


def _body_row(record_id: int, generation: int, record: Incoming) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "generation": generation,
        "params": record.params,
        "spans": orjson.dumps(record.spans).decode() if record.spans else None,
        "metadata_json": record.metadata,
    }
