"""Records per job and state, kept by deltas inside the transactions that move them: status never counts ten million rows."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, func, select

from bakehouse_worker.store.database import Database
from bakehouse_worker.tables import Counter, Job, Record, Rejected, Tombstone, table

_counter = table(Counter)

REJECTED = "rejected"


class Deltas:
    """Collects the moves of one transaction and writes them at its end, in one order everywhere, so that none deadlock."""

    def __init__(self) -> None:
        self._changes: dict[tuple[int, str], int] = {}

    def add(self, job_id: int, state: str, records: int = 1) -> None:
        """Count `records` more (or fewer) in a state."""
        self._changes[job_id, state] = self._changes.get((job_id, state), 0) + records

    def move(self, job_ids: Iterable[int], before: str, after: str) -> None:
        """Count one record per job id out of `before` and into `after`."""
        for job_id, records in Tally(job_ids).items():
            self.add(job_id, before, -records)
            self.add(job_id, after, records)

    def write(self, database: Database, connection: Connection) -> None:
        """Apply the collected changes; call it last in the transaction."""
        rows = [
            {"job_id": job_id, "state": state, "records": change}
            for (job_id, state), change in sorted(self._changes.items())
            if change
        ]
        if rows:
            insert = database.insert(Counter)
            upsert = insert.on_conflict_do_update(
                index_elements=["job_id", "state"], set_={"records": _counter.c.records + insert.excluded.records}
            )
            connection.execute(upsert, rows)


def per_job(connection: Connection, job_ids: Sequence[int] | None = None) -> dict[int, dict[str, int]]:
    """Return {job id: {state: records}}, of all jobs or of some."""
    query = select(_counter.c.job_id, _counter.c.state, _counter.c.records)
    if job_ids is not None:
        query = query.where(_counter.c.job_id.in_(job_ids))
    found: dict[int, dict[str, int]] = {}
    for job_id, state, records in connection.execute(query):
        found.setdefault(job_id, {})[state] = records
    return found


def recount(connection: Connection) -> dict[int, dict[str, int]]:
    """Count the rows themselves, for `doctor`: {job id: {state: records}}. Rejected receipts are counted by job name elsewhere.

    A record that was pruned stands in its tombstone, under the state that it ended in.
    """
    found: dict[int, dict[str, int]] = {}
    for rows in (table(Record), table(Tombstone)):
        counted = select(rows.c.job_id, rows.c.state, func.count()).group_by(rows.c.job_id, rows.c.state)
        for job_id, state, records in connection.execute(counted):
            states = found.setdefault(job_id, {})
            states[state] = states.get(state, 0) + records
    return found


def rejected_per_job(connection: Connection) -> Mapping[str, int]:
    """Count rejected receipts by job name: those that are there, and those that were pruned and are known as a number."""
    rejected, job = table(Rejected), table(Job)
    pruned = connection.execute(select(job.c.name, job.c.rejected_pruned).where(job.c.rejected_pruned > 0))
    found = {name: number for name, number in pruned}
    for name, rows in connection.execute(select(rejected.c.job, func.count()).group_by(rejected.c.job)):
        found[name] = found.get(name, 0) + rows
    return found
