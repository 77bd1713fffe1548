"""Station 6, between collect and deliver: the fan-out per custom_id.

There is nothing to decide about a success: the store settles them span by span. Every other result is decided alone by
`retry.decide()`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bakehouse_worker import retry, trial
from bakehouse_worker.log import logger
from bakehouse_worker.retry import Answer, Decision, Limits
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import batches, holds, results, successes
from bakehouse_worker.store.results import Unsettled

#: Results per transaction: successes, and those that are decided upon one by one.
SPAN, DECISIONS = 5_000, 1_000

log = logger("settle")


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the records. `delivering` outcomes wait for deliver; `reason` is of one that did not succeed."""

    succeeded: int = 0
    again: int = 0
    failed: int = 0
    delivering: int = 0
    reason: str | None = None
    canceled: int = 0

    @property
    def records(self) -> int:
        """All of them."""
        return self.succeeded + self.again + self.failed + self.canceled

    def __add__(self, more: Settled) -> Settled:
        return Settled(
            self.succeeded + more.succeeded,
            self.again + more.again,
            self.failed + more.failed,
            self.delivering + more.delivering,
            self.reason or more.reason,
            self.canceled + more.canceled,
        )


def settle(runtime: Runtime, batch_id: int, record_ids: Sequence[int] | None = None) -> Settled:
    """Settle the given members of a batch, or all that have a result."""
    total = Settled()
    for station in (_succeed, _decide):
        while record_ids is None or total.records < len(record_ids):
            settled = station(runtime, batch_id, record_ids)
            total += settled
            if not settled.records or runtime.stopping():
                break
    if record_ids is None and batches.finish(runtime.database, batch_id):
        trial.judge_batch(runtime, batch_id)
        log.info("finished", batch=batch_id)
    return total


def _succeed(runtime: Runtime, batch_id: int, record_ids: Sequence[int] | None) -> Settled:
    """Settle a span of what succeeded. Submissions that the account's trouble had stopped go on if it was sent since."""
    done = successes.settle(runtime.database, batch_id, SPAN, record_ids)
    if done.records:
        if holds.answered(runtime.database, batch_id):
            log.info("circuit closed", batch=batch_id)
        trial.judge_canaries(runtime, done.job_ids)
        log.info("succeeded", batch=batch_id, records=done.records)
    return Settled(succeeded=done.records, delivering=done.delivering)


def _decide(runtime: Runtime, batch_id: int, record_ids: Sequence[int] | None) -> Settled:
    """Decide upon a span of what did not succeed."""
    members = results.unsettled(runtime.database, batch_id, DECISIONS, record_ids)
    if not members:
        return Settled()
    limits = runtime.limits
    decisions = [(member, _decision(member, limits, runtime.dice())) for member in members]
    moved = results.settle(runtime.database, batch_id, decisions)
    _circuit(runtime, decisions)
    trial.judge_canaries(runtime, {member.job_id for member in members})
    settled = _told(batch_id, [each for each in decisions if each[0].record_id in moved.record_ids])
    return replace(settled, delivering=moved.delivering)


def _decision(member: Unsettled, limits: Limits, dice: float) -> Decision:
    answer = Answer(member.kind, member.error_type, member.error, member.cancel_asked_at is not None)
    return retry.decide(answer, member.failures, member.expiries, limits, dice)


def _told(batch_id: int, decisions: Sequence[tuple[Unsettled, Decision]]) -> Settled:
    """Count what was decided, and log it: every record by its id and reason."""
    ends = Counter(decision.state for _, decision in decisions)
    reason = None
    for member, decision in decisions:
        reason = member.error_type or member.kind
        told = {"record": member.record_id, "attempt": member.attempt, "reason": reason}
        if decision.state is RecordState.PENDING:
            log.info("goes again", batch=batch_id, **told, seconds=round(decision.delay, 1))
        elif decision.state is RecordState.CANCELED:
            log.info("canceled", batch=batch_id, **told)
        else:
            log.warning("failed", batch=batch_id, **told)
    again, failed, canceled = (ends[s] for s in (RecordState.PENDING, RecordState.FAILED, RecordState.CANCELED))
    return Settled(again=again, failed=failed, reason=reason, canceled=canceled)


def _circuit(runtime: Runtime, decisions: Sequence[tuple[Unsettled, Decision]]) -> None:
    """Stop submissions when results speak of the account's trouble: the same would be said of every request sent now."""
    reason = next((decision.circuit for _, decision in decisions if decision.circuit), None)
    if reason and holds.current(runtime.database) is None:
        holds.hold(runtime.database, holds.ANSWERS, reason, runtime.database.now() + runtime.settings.probe_interval)
        log.warning("circuit open", type=reason.split(":")[0])
