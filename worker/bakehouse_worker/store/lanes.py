"""Jobs and lanes, found or made inside the transaction that accepts records."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection, select

from bakehouse.contract import Record as Incoming
from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Job, Lane, table

_job, _lane = table(Job), table(Lane)

#: (job, priority, API version, betas, sink, model): what records of one lane have in common.
Common = tuple[str, int, str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a span: their ids by name, and the keys of those that have tombstones by id."""

    ids: dict[str, int]
    keys: dict[int, str]


def jobs(
    database: Database, connection: Connection, names: set[str], now: float, *, hold: bool = False, canary: int = 0
) -> Jobs:
    """Return the jobs of these names, made where there were none; `canary` records of a new one go ahead of the others.

    With `hold`, none of them gets its first tombstone before the transaction ends: what is inserted in it can be compared.
    """
    query = select(_job.c.name, _job.c.id, _job.c.tombstone_key).where(_job.c.name.in_(names)).order_by(_job.c.id)
    if hold:
        query = query.with_for_update(read=True)
    rows = connection.execute(query).all()
    missing = sorted(names - {row.name for row in rows})
    if missing:
        statement = database.insert(Job).on_conflict_do_nothing(index_elements=["name"])
        fresh = [{"name": name, "created_at": now, "rejected_pruned": 0, "canary": canary or None} for name in missing]
        connection.execute(statement, fresh)
        rows = connection.execute(query).all()
    return Jobs({row.name: row.id for row in rows}, {row.id: row.tombstone_key for row in rows if row.tombstone_key})


def lane_of(record: Incoming) -> Common:
    """Return what a record has in common with the others of its lane."""
    return record.job, record.priority, record.api_version, ",".join(record.betas), record.on_result, record.model


def lanes(
    database: Database, connection: Connection, job_ids: dict[str, int], wanted: set[Common]
) -> dict[Common, int]:
    """Return the ids of the lanes wanted, made where there were none."""
    keys = {}
    rows = []
    for lane in sorted(wanted, key=repr):
        job, priority, api_version, betas, on_result, model = lane
        key = blake2b(repr((job_ids[job], *lane[1:])).encode(), digest_size=16).hexdigest()
        keys[key] = lane
        rows.append(
            {
                "key": key,
                "job_id": job_ids[job],
                "priority": priority,
                "api_version": api_version,
                "betas": betas,
                "on_result": on_result,
                "model": model,
            }
        )
    query = select(_lane.c.key, _lane.c.id).where(_lane.c.key.in_(list(keys)))
    found = {key: lane_id for key, lane_id in connection.execute(query)}
    missing = [row for row in rows if row["key"] not in found]
    if missing:
        connection.execute(database.insert(Lane).on_conflict_do_nothing(index_elements=["key"]), missing)
        found = {key: lane_id for key, lane_id in connection.execute(query)}
    return {lane: found[key] for key, lane in keys.items()}
