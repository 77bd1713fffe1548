"""What stays of pruned records: enough to know a late doubling, and no custom_id, which may name a person.

A job's custom_ids are hashed under a key of its own, made with its first tombstone: a job without a key has none, and costs acceptance
nothing. Whoever has the key, which lies in the same database, can check a guess; nobody can read the custom_ids back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection, delete, insert, select, update

from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import Job, Tombstone, table

_job, _tombstone = table(Job), table(Tombstone)

#: (job id, custom_id): what a record is known by.
Name = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Buried:
    """A pruned record. `pruned_at` is in seconds since 1970."""

    custom_hash: bytes
    job_id: int
    digest: str
    state: str
    pruned_at: float


def make_keys(database: Database, job_ids: Iterable[int]) -> None:
    """Give each job a key that has none.

    Its own transaction, before any record is buried: acceptance holds the jobs that it read, so that none misses a first tombstone.
    """
    with database.write() as connection:
        for job_id in sorted(set(job_ids)):
            keyless = (_job.c.id == job_id) & _job.c.tombstone_key.is_(None)
            connection.execute(update(_job).where(keyless).values(tombstone_key=secrets.token_hex(16)))


def keys(connection: Connection, job_ids: Iterable[int]) -> dict[int, str]:
    """Return {job id: key} for those of the jobs that have one."""
    query = select(_job.c.id, _job.c.tombstone_key).where(_job.c.id.in_(set(job_ids)))
    return {job_id: key for job_id, key in connection.execute(query.where(_job.c.tombstone_key.is_not(None)))}


def bury(
    connection: Connection, key_of: Mapping[int, str], records: Sequence[tuple[int, str, str, str]], now: float
) -> None:
    """Insert a tombstone for each record, given as (job id, custom_id, digest, state)."""
    rows = [
        {
            "custom_hash": _hash(key_of[job_id], custom_id),
            "job_id": job_id,
            "digest": digest,
            "state": state,
            "pruned_at": now,
        }
        for job_id, custom_id, digest, state in records
    ]
    if rows:
        connection.execute(insert(_tombstone), rows)


def among(connection: Connection, key_of: Mapping[int, str], names: Iterable[Name]) -> dict[Name, Buried]:
    """Return those of the names that are buried. One query by primary key; none where no job has a key."""
    hashes = {_hash(key_of[job_id], custom_id): (job_id, custom_id) for job_id, custom_id in names if job_id in key_of}
    found: dict[Name, Buried] = {}
    for part in spans(list(hashes), 10_000):
        for row in connection.execute(select(_tombstone).where(_tombstone.c.custom_hash.in_(part))):
            stone = Buried(*row)
            name = hashes[stone.custom_hash]
            if name[0] == stone.job_id:
                found[name] = stone
    return found


def remove(connection: Connection, stone: Buried) -> bool:
    """Take a tombstone away; False if somebody else did."""
    mine = (_tombstone.c.custom_hash == stone.custom_hash) & (_tombstone.c.job_id == stone.job_id)
    return connection.execute(delete(_tombstone).where(mine)).rowcount == 1


def known(database: Database, job_id: int, custom_ids: Sequence[str]) -> dict[str, Buried]:
    """Return {custom_id: what stays of it} for those of a few hundred custom_ids of a job that were pruned."""
    with database.read() as connection:
        names = [(job_id, custom_id) for custom_id in custom_ids]
        return {name[1]: stone for name, stone in among(connection, keys(connection, [job_id]), names).items()}


def find(database: Database, custom_id: str, job: str | None = None) -> list[tuple[str, Buried]]:
    """Return (job, what stays) of every pruned record under a custom_id: in one job, or in all."""
    query = select(_job.c.id, _job.c.name, _job.c.tombstone_key).where(_job.c.tombstone_key.is_not(None))
    if job is not None:
        query = query.where(_job.c.name == job)
    with database.read() as connection:
        jobs = {row.id: row for row in connection.execute(query)}
        key_of = {job_id: row.tombstone_key for job_id, row in jobs.items()}
        found = among(connection, key_of, [(job_id, custom_id) for job_id in jobs])
        return [(jobs[name[0]].name, stone) for name, stone in sorted(found.items())]


def _hash(key: str, custom_id: str) -> bytes:
    return blake2b(custom_id.encode(), key=bytes.fromhex(key), digest_size=16).digest()
