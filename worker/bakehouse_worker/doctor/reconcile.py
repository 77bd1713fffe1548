"""`bakehouse doctor --reconcile`: the store compared with the API, and what a restored store forgot taken back from it.

A batch at the API that the store does not know is told by one result line: other software's, or this installation's. Ours are read
whole, oldest first; answers to records that are unsent here are stored as if they had been collected, so that nothing of it is paid
again. What cannot be decided yet is told, and submissions go on waiting for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from bakehouse_worker import epoch, result_line, strangers, wire
from bakehouse_worker.collect import SPAN
from bakehouse_worker.doctor.finding import Finding
from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.preflight import Identity, mismatch
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.settle import settle
from bakehouse_worker.states import SubmissionState
from bakehouse_worker.store import doubts, epochs, holds, reclaiming, submissions
from bakehouse_worker.store.reclaiming import Bound, Limits
from bakehouse_worker.store.results import ResultRow

#: States of a submission whose batch is the sender's to note, or is noted.
SPOKEN_FOR = (SubmissionState.UPLOADING, SubmissionState.CLOSING, SubmissionState.ACCEPTED)

log = logger("reconcile")


@dataclass(slots=True)
class _Seen:
    """What one walk through the API's list came to."""

    foreign: int = 0
    taken: list[str] = field(default_factory=list)
    bound: Bound = field(default_factory=Bound)
    undecided: list[str] = field(default_factory=list)  #: sentences


def reconcile(runtime: Runtime) -> list[Finding]:
    """Compare with the API and take back what is ours; lifts the hold of a restored store when nothing is undecided.

    Raises ConfigurationError without a key, redis.RedisError without Redis.
    """
    try:
        newest = runtime.gateway.newest()
        if reason := mismatch(
            submissions.identity(runtime.database), Identity(runtime.gateway.origin, newest.workspace)
        ):
            return [Finding("api", False, reason)]
        doubts.rescue_leases(runtime.database)
        known = reclaiming.at_the_api(runtime.database)
        unknown, listed = _walk(runtime, [created for _, created in known.values()])
        gone = _gone(runtime, {remote_id: batch for remote_id, (batch, _) in known.items() if remote_id not in listed})
        seen = _Seen()
        for remote in reversed(unknown):
            _judge(runtime, remote, newest.workspace, seen)
    except GatewayError as error:
        told = f"the comparison was not finished, and may be run again: {error}"
        return [Finding("api", False, told)]
    return [gone, *_told(seen), _go_on(runtime, seen)]


def _walk(runtime: Runtime, created: Iterable[float]) -> tuple[list[Remote], set[str]]:
    """Return the unknown batches that could hold records of ours without an end, newest first, and all ids listed so far back."""
    oldest = epochs.oldest_unfinished(runtime.database)
    starts = [*created, *([] if oldest is None else [oldest])]
    unknown: list[Remote] = []
    listed: set[str] = set()
    if starts:
        for batches, known in strangers.unknown(runtime, min(starts) - strangers.SKEW):
            listed |= {remote.id for remote in batches}
            unknown += [remote for remote in batches if remote.id not in known]
    if oldest is None:
        return [], listed
    return [remote for remote in unknown if remote.created_at >= oldest - strangers.SKEW], listed


def _gone(runtime: Runtime, missing: dict[str, int]) -> Finding:
    """Ask by name for the batches that the list did not show."""
    lost = []
    for remote_id, batch in sorted(missing.items(), key=lambda pair: pair[1]):
        try:
            runtime.gateway.retrieve(remote_id)
        except Refused as error:
            if error.status != 404:
                raise
            lost.append(f"batch {batch} ({remote_id}) is not at the API any more; collecting it will fail its records")
    more = f" (and {len(lost) - 1:,} more such)" if len(lost) > 1 else ""
    return Finding("local batches", not lost, lost[0] + more if lost else "are all at the API")


def _judge(runtime: Runtime, remote: Remote, workspace: str, seen: _Seen) -> None:
    """Decide on one batch that the store does not know."""
    if remote.status != "ended":
        seen.undecided.append(
            f"{remote.id} ({remote.requests:,} requests) still runs: whose it is, its first result tells"
        )
        return
    mine = strangers.first_id(runtime, remote)
    if mine is None or mine.installation != runtime.installation:
        seen.foreign += 1
        return
    state = epochs.expected(runtime.database, mine.nonce)
    if state in SPOKEN_FOR:
        seen.undecided.append(f"{remote.id} has a sender that has not noted it yet")
    elif (doubt := reclaiming.in_doubt_with(runtime.database, mine.nonce)) is not None:
        _resolve(runtime, doubt, remote)
        seen.taken.append(remote.id)
    else:
        _take_back(runtime, remote, mine.nonce, workspace, seen)


def _resolve(runtime: Runtime, submission_id: int, remote: Remote) -> None:
    submissions.accepted(runtime.database, submission_id, remote, next_poll_at=0.0, confirmed=True)


def _take_back(runtime: Runtime, remote: Remote, nonce: str, workspace: str, seen: _Seen) -> None:
    """Store the answers of a batch of ours that belong to records unsent here, and settle them before a later batch is read."""
    database = runtime.database
    silence = epochs.silence(database)
    limits = Limits(silence.records if silence else None, remote.created_at + strangers.SKEW)
    batch_id = reclaiming.open_batch(database, remote)
    bound = Bound()
    with runtime.gateway.results(remote.id) as lines:
        for rows in _spans(_rows(runtime, lines, batch_id, nonce)):
            bound += reclaiming.bind(database, batch_id, rows, limits)
    settle(runtime, batch_id)
    seen.bound += bound
    seen.taken.append(remote.id)
    if bound.later:
        seen.undecided.append(
            f"{remote.id} has {bound.later:,} answers to records whose earlier sending is not collected yet"
        )
    else:
        reclaiming.adopted(database, batch_id, nonce, remote, runtime.gateway.origin, workspace)
    log.info("taken back", batch=batch_id, remote=remote.id, records=bound.bound, later=bound.later)


def _rows(runtime: Runtime, lines: Iterator[bytes], batch_id: int, nonce: str) -> Iterator[ResultRow]:
    whose = wire.members(runtime.installation, nonce)
    for line in lines:
        if row := result_line.row(line, batch_id, runtime.database.now(), whose):
            yield row


def _spans(rows: Iterator[ResultRow]) -> Iterator[list[ResultRow]]:
    while span := list(islice(rows, SPAN)):
        yield span


def _told(seen: _Seen) -> list[Finding]:
    """Tell what became of the batches that the store did not know."""
    bound = seen.bound
    parts = [f"{seen.foreign:,} are other software's"] if seen.foreign else []
    if seen.taken:
        parts.append(
            f"{len(seen.taken):,} of ours taken back, with answers to {bound.bound:,} records that were unsent here"
        )
    told = ", ".join(parts) or "none that the store does not know"
    found = [Finding("remote batches", True, told)]
    if bound.ended:
        found.append(Finding("known answers", None, f"{bound.ended:,} answers were to records that had theirs already"))
    if bound.strange:
        found.append(
            Finding("lost records", None, f"{bound.strange:,} answers are to records that this database does not know")
        )
    if seen.undecided:
        more = f" (and {len(seen.undecided) - 1:,} more such)" if len(seen.undecided) > 1 else ""
        found.append(Finding("undecided", None, seen.undecided[0] + more))
    return found


def _go_on(runtime: Runtime, seen: _Seen) -> Finding:
    """Lift the hold of a restored store if nothing is left to decide."""
    standing = holds.standing(runtime.database)
    held = standing is not None and standing.kind == holds.RESTORED
    if not held and epoch.restored(runtime) is None:
        return Finding("submissions", True, "are not held for a restored database")
    if seen.undecided:
        told = "stay held: run `bakehouse doctor --reconcile` again when the batches above have ended and are collected"
        return Finding("submissions", False, told)
    epoch.rejoin(runtime)
    log.info("reconciled", taken_back=len(seen.taken))
    return Finding("submissions", True, "go on: the database was restored, and knows now what the API has of it")
