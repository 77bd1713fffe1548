"""The store's own books: every receipt in exactly one place, numbers that agree, and nothing that waits without a reason."""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse_worker import deadlines
from bakehouse_worker.doctor.finding import Finding
from bakehouse_worker.local.progress import age
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import auditing, caveats, conserving, holds
from bakehouse_worker.store.uncollected import uncollected

#: Seconds that due work may stand without a tick, and with one (the queues may be long).
UNRUNG, UNRUNG_WITH_TICKS = 600.0, 3600.0


def examine(runtime: Runtime) -> list[Finding]:
    """Make every check that the store alone can answer; changes nothing."""
    return [
        _counters(runtime),
        _caveats(runtime),
        _members(runtime),
        _astray(runtime),
        _doubled(runtime),
        _remote_ids(runtime),
        _leases(runtime),
        _overdue(runtime),
        _alarms(runtime, deadlines.RESULTS, "retention", "no uncollected results are about to be deleted at the API"),
        _alarms(runtime, deadlines.STUCK, "expiry", "no batch is at the API for longer than it may run"),
        _bodies(runtime),
        _answers(runtime),
        _results(runtime),
        _deliveries(runtime),
    ]


def _counters(runtime: Runtime) -> Finding:
    told = [
        f"job {job} counts {counted:,} {state} and has {rows:,}"
        for job, state, counted, rows in auditing.counter_differences(runtime.database)
    ]
    return _verdict("counters", told, "equal the rows")


def _caveats(runtime: Runtime) -> Finding:
    told = [
        f"job {job} counts {counted:,} answers with {reason} and has {rows:,}"
        for job, reason, counted, rows in caveats.differences(runtime.database)
    ]
    return _verdict("caveats", told, "equal the rows")


def _members(runtime: Runtime) -> Finding:
    told = [
        f"batch {batch} says {says:,} requests and accounts for {has:,}"
        for batch, says, has in auditing.member_differences(runtime.database)
    ]
    return _verdict("batches", told, "have the members they say")


def _astray(runtime: Runtime) -> Finding:
    told = [f"record {record} is {why}" for record, why in conserving.astray(runtime.database)]
    return _verdict("records", told, "stand in exactly one place")


def _doubled(runtime: Runtime) -> Finding:
    told = [
        f"record {record} is a member of batch {member_of} and has its answer in batch {answered_in}"
        for record, member_of, answered_in in conserving.in_two_batches(runtime.database)
    ]
    return _verdict("membership", told, "no record is in two batches")


def _remote_ids(runtime: Runtime) -> Finding:
    told = [
        f"batch {batch} is {state} and has no remote id" for batch, state in conserving.without_remote(runtime.database)
    ]
    return _verdict("remote ids", told, "are known of all that is at the API")


def _leases(runtime: Runtime) -> Finding:
    late = auditing.late_leases(runtime.database, 3 * runtime.settings.lease)
    told = [f"batch {batch} is held past its lease; do workers and beat run?" for batch in late]
    return _verdict("leases", told, "are in time")


def _overdue(runtime: Runtime) -> Finding:
    database, now = runtime.database, runtime.database.now()
    ticked = holds.get(database, "ticked_at")
    ticking = ticked is not None and now - float(ticked) < UNRUNG
    limit = UNRUNG_WITH_TICKS if ticking else UNRUNG
    found = conserving.overdue(database, now - limit, submitting=holds.current(database) is None)
    advice = "see the workers' logs" if ticking else "no tick came either: does beat run?"
    told = [f"batch {batch} is {state} and due for {age(now - since)}; {advice}" for batch, state, since in found]
    return _verdict("doorbells", told, "nothing is due for long")


def _alarms(runtime: Runtime, kind: str, check: str, well: str) -> Finding:
    found = deadlines.alarms(uncollected(runtime.database), runtime.database.now())
    return _verdict(check, [f"batch {each.batch_id} {each.told}" for each in found if each.kind == kind], well)


def _bodies(runtime: Runtime) -> Finding:
    missing = auditing.unfinished_without_body(runtime.database)
    told = [f"record {record} is unfinished and has no body" for record in missing]
    return _verdict("bodies", told, "are there for all that is unfinished")


def _answers(runtime: Runtime) -> Finding:
    told = [f"record {record} succeeded and has no answer" for record in conserving.without_answer(runtime.database)]
    return _verdict("answers", told, "are there for all that succeeded")


def _results(runtime: Runtime) -> Finding:
    told = [
        f"the result of record {record}, attempt {attempt}, has no {what}"
        for record, attempt, what in conserving.lone_results(runtime.database)
    ]
    return _verdict("results", told, "belong to records and batches")


def _deliveries(runtime: Runtime) -> Finding:
    told = [
        f"the delivery of record {record}, generation {generation}, has no record"
        for record, generation in conserving.lone_deliveries(runtime.database)
    ]
    return _verdict("deliveries", told, "belong to records")


def _verdict(check: str, told: Sequence[str], well: str) -> Finding:
    """Return a finding that tells the first of what is wrong, and how much more there is."""
    if not told:
        return Finding(check, True, well)
    return Finding(check, False, told[0] + (f" (and {len(told) - 1:,} more such)" if len(told) > 1 else ""))
