"""What answers said, counted by deltas: every result by its kind and reason, and a job's answers that are not what was asked.

A caveat is counted while its record has succeeded and its answer is kept: a record that is sent again, or whose content is pruned,
takes its own with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select, text

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import CAVEAT, CUT_SHORT, EMPTY, Caveat, Job, Record, Result, Tally, table

_record, _result, _caveat, _job = (table(m) for m in (Record, Result, Caveat, Job))

#: All of them: what `dead requeue --reason` takes beside the reasons of failures.
REASONS = (*CUT_SHORT, EMPTY)


class Caveats:
    """Collects the caveats that come and go in one transaction, and writes them at its end in one order."""

    def __init__(self) -> None:
        self._changes: Counter[tuple[int, str]] = Counter()

    def come(self, job_id: int, reason: str, records: int) -> None:
        """Count so many answers of which this is said: an error type or a stop reason, and not always a caveat."""
        if reason in REASONS:
            self._changes[job_id, reason] += records

    def go(self, connection: Connection, record_ids: Sequence[int]) -> None:
        """Count those of these records out that have one; call it before they or their answers are touched."""
        for part in spans(record_ids):
            for job_id, reason, records in connection.execute(_rows().where(_record.c.id.in_(part))):
                self._changes[job_id, reason] -= records

    def write(self, database: Database, connection: Connection) -> None:
        """Apply the collected changes; before the counters', after everything else."""
        rows = [
            {"job_id": job_id, "reason": reason, "records": change}
            for (job_id, reason), change in sorted(self._changes.items())
            if change
        ]
        if rows:
            insert = database.insert(Caveat)
            sums = {"records": _caveat.c.records + insert.excluded.records}
            connection.execute(insert.on_conflict_do_update(index_elements=["job_id", "reason"], set_=sums), rows)


def of_job(database: Database, job_id: int) -> dict[str, int]:
    """Return {reason: records} of a job's answers that are not what was asked; none is left out that is kept."""
    query = select(_caveat.c.reason, _caveat.c.records).where(_caveat.c.job_id == job_id, _caveat.c.records > 0)
    with database.read() as connection:
        return {reason: records for reason, records in connection.execute(query)}


def differences(database: Database) -> list[tuple[str, str, int, int]]:
    """Return (job, reason, counted, rows) wherever a count of caveats differs from the rows, for `doctor`."""
    with database.read() as connection:
        names = {job_id: name for job_id, name in connection.execute(select(_job.c.id, _job.c.name))}
        kept = {(row.job_id, row.reason): row.records for row in connection.execute(select(_caveat))}
        rows = {(job_id, reason): records for job_id, reason, records in connection.execute(_rows())}
    return [
        (names.get(job_id, str(job_id)), reason, kept.get((job_id, reason), 0), rows.get((job_id, reason), 0))
        for job_id, reason in sorted(kept.keys() | rows.keys())
        if kept.get((job_id, reason), 0) != rows.get((job_id, reason), 0)
    ]


def _rows() -> Select[Any]:
    """Count the rows themselves: (job id, reason, records)."""
    reason = func.coalesce(_result.c.error_type, _result.c.stop_reason)
    current = (_record.c.id == _result.c.record_id) & (_record.c.attempt == _result.c.attempt)
    counted = select(_record.c.job_id, reason, func.count()).select_from(_result).join(_record, current)
    return counted.where(text(CAVEAT), _record.c.state == RecordState.SUCCEEDED).group_by(_record.c.job_id, reason)


def tally(database: Database, connection: Connection, seen: Mapping[tuple[str, str], int]) -> None:
    """Count results by what the API said, for metrics: {(kind, error type or stop reason): results}."""
    rows = [{"kind": kind, "reason": reason, "results": count} for (kind, reason), count in sorted(seen.items())]
    if rows:
        insert, results = database.insert(Tally), table(Tally)
        more = {"results": results.c.results + insert.excluded.results}
        connection.execute(insert.on_conflict_do_update(index_elements=["kind", "reason"], set_=more), rows)
