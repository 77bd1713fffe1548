"""The store's side of `bakehouse.reading`: what became of records, for an application in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bakehouse import ConfigurationError, Outcome, Progress, Receipt, UnknownJob
from bakehouse_worker import cancel, schema
from bakehouse_worker.outcomes import outcome, rejected
from bakehouse_worker.runtime import Runtime, make
from bakehouse_worker.settings import load
from bakehouse_worker.states import TERMINAL, RecordState
from bakehouse_worker.store import outcomes, reading
from bakehouse_worker.store.counters import REJECTED
from bakehouse_worker.store.database import reach, spans
from bakehouse_worker.store.outcomes import Row
from bakehouse_worker.store.reading import JobView

#: Custom_ids in one question.
TOGETHER = 500


def open_reader() -> StoreReader:
    """Open the store that the environment names. Raises ConfigurationError if it is not there, or of another release."""
    runtime = make(load())
    settings, database = runtime.settings, runtime.database
    if database.sqlite and not settings.sqlite_path.exists():
        raise ConfigurationError(
            f"there is no store in {settings.data_dir}/ yet: set BAKEHOUSE_DATA_DIR or BAKEHOUSE_DATABASE_URL as the workers have it"
        )
    reach(database)
    schema.ensure(database, auto_migrate=False)
    return StoreReader(runtime)


class StoreReader:
    """Reads outcomes; see `bakehouse.reading.Reader`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database

    def close(self) -> None:
        """Give its connections back."""
        self._database.close()

    def outcomes(self, receipts: Sequence[Receipt]) -> dict[Receipt, Outcome]:
        """Return the outcomes of those of these receipts, all of one job, that have ended."""
        found: dict[Receipt, Outcome] = {}
        view = self._job(receipts[0].job) if receipts else None
        if view is None:
            return found
        for part in spans(receipts, TOGETHER):
            names = list({receipt.custom_id for receipt in part})
            rows = outcomes.by_custom_id(self._database, view.id, view.name, names, metadata=True)
            for receipt in part:
                row = rows.get(receipt.custom_id)
                if row is not None and row.state in TERMINAL and _is_of(row, receipt):
                    found[receipt] = outcome(row, self._runtime.installation)
            found |= self._refused([each for each in part if _may_be_refused(each, rows.get(each.custom_id))])
        return found

    def _refused(self, receipts: Sequence[Receipt]) -> dict[Receipt, Outcome]:
        """Return the outcomes of those receipts that were rejected on acceptance."""
        if not receipts:
            return {}
        names = [receipt.custom_id for receipt in receipts]
        reasons = reading.rejected_receipts(self._database, receipts[0].job, names)
        why = {key: reason for custom_id, digest, reason in reasons for key in ((custom_id, ""), (custom_id, digest))}
        return {
            each: rejected(each.job, each.custom_id, why[each.custom_id, each.digest])
            for each in receipts
            if (each.custom_id, each.digest) in why
        }

    def iterate(self, job: str, status: str | None) -> Iterator[Outcome]:
        """Yield a job's outcomes in the order of acceptance. Raises UnknownJob at once, not at the first of them."""
        view = self._job(job)
        if view is None:
            raise UnknownJob(job)
        if status == REJECTED:
            return (
                rejected(job, custom_id, reason) for custom_id, reason in reading.every_rejection(self._database, job)
            )
        states = TERMINAL if status is None else (RecordState(status),)
        rows = outcomes.iterate(self._database, view.id, states=states, metadata=True)
        return (outcome(row, self._runtime.installation) for row in rows)

    def progress(self, jobs: Sequence[str]) -> dict[str, Progress]:
        """Return the progress of those of these jobs that are known."""
        found = {}
        for view in reading.some_jobs(self._database, jobs):
            counted = {state: view.states.get(state, 0) for state in (*RecordState, REJECTED)}
            found[view.name] = Progress(
                job=view.name,
                expected=view.expected,
                pending=counted[RecordState.PENDING],
                in_batches=counted[RecordState.PACKED],
                succeeded=counted[RecordState.SUCCEEDED],
                failed=counted[RecordState.FAILED],
                canceled=counted[RecordState.CANCELED],
                rejected=counted[REJECTED],
            )
        return found

    def cancel(self, job: str) -> int:
        """Cancel what has no end yet; returns how many records that concerns. Raises UnknownJob."""
        try:
            done = cancel.cancel_job(self._runtime, job)
        except ConfigurationError:
            if self._job(job) is None:
                raise UnknownJob(job) from None
            raise
        return done.canceled + done.asked

    def _job(self, name: str) -> JobView | None:
        return next(iter(reading.some_jobs(self._database, [name])), None)


def _may_be_refused(receipt: Receipt, row: Row | None) -> bool:
    """Tell whether a receipt may be for a body that was refused, because the record under its custom_id has another, or none."""
    return row is None or receipt.digest not in ("", row.digest)


def _is_of(row: Row, receipt: Receipt) -> bool:
    """Tell whether a record is what a receipt is for. Another body under the same custom_id is not, unless it came in its place."""
    return receipt.digest in ("", row.digest) or row.generation > 0
