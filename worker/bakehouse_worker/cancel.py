"""Canceling at a person's word: a record, a job, a batch. And the janitor that asks the API.

What is not sent ends at once. What is sent is marked, and nothing of it goes again; the API is asked to cancel a batch when all of its
members are marked. What had run by then is billed, stored and delivered like any other answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis

from bakehouse import BakehouseError, ConfigurationError
from bakehouse_worker import accept, retry
from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import batches, canceling, holds
from bakehouse_worker.store.canceling import Scope, Sent, Standing

#: What the API answers of a batch that has ended or is not there: polling finds out which.
OVER = (400, 404, 409)
#: Seconds; a cancel that the API does not take is tried again after backoff between these.
AGAIN, AGAIN_CAP = 1.0, 60.0
#: Batches per turn of the janitor.
TURN = 20
#: Passes that may move nothing, and seconds between two of them: records in other hands are free again soon.
PASSES, PAUSE = 100, 0.05

log = logger("cancel")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cancel would do. `inbox`: entries that still stand in the inbox, of any job; None if Redis does not answer."""

    scope: Scope
    standing: Standing
    inbox: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the records. `left` were in other hands all the time: the same command again.

    canceled   not sent, and ended now
    asked      sent, and marked now; `asked_before` were marked before
    sent       what becomes of the batches that the marked ones are in
    """

    canceled: int
    asked: int
    asked_before: int
    sent: Sent
    left: int
    inbox: int | None


def cancel_record(runtime: Runtime, custom_id: str, job: str | None = None) -> Outcome:
    """Cancel what stands under a custom_id, in one job or in all that have it. Raises ConfigurationError if it is unknown."""
    return _cancel(runtime, plan(runtime, custom_id=custom_id, job=job))


def cancel_job(runtime: Runtime, job: str) -> Outcome:
    """Cancel all records of a job that have no end yet; what is enqueued later is not meant."""
    return _cancel(runtime, plan(runtime, job=job))


def cancel_batch(runtime: Runtime, batch_id: int) -> Outcome:
    """Cancel all members of a batch. Raises ConfigurationError if it is unknown or finished."""
    return _cancel(runtime, plan(runtime, batch_id=batch_id))


def plan(
    runtime: Runtime, *, custom_id: str | None = None, job: str | None = None, batch_id: int | None = None
) -> Plan:
    """Accept what stands in the inbox and say what a cancel would do; cancels nothing.

    Raises ConfigurationError if too little or too much is named, if it is unknown, or if the database was restored from a backup.
    """
    by_name = custom_id is not None or job is not None
    if by_name == (batch_id is not None):
        raise ConfigurationError(
            "name what is to be canceled: a CUSTOM_ID (with --job if only that job's is meant), --job JOB, or --batch N"
        )
    inbox = _accept(runtime)
    held = holds.standing(runtime.database)
    if held is not None and held.kind == holds.RESTORED:
        raise ConfigurationError(f"what looks unsent may be at the API, so nothing was canceled: {held.reason}")
    scope = canceling.scope(runtime.database, custom_id, job, batch_id)
    if scope is None:
        where = f" in job {job}" if job else ""
        unknown = f"record {custom_id!r}{where}" if custom_id else f"job {job}" if job else f"live batch {batch_id}"
        raise ConfigurationError(f"there is no {unknown}; `bakehouse status` names jobs and batches")
    return Plan(scope, canceling.standing(runtime.database, scope), inbox)


def _accept(runtime: Runtime) -> int | None:
    """Accept what stands in the inbox now; returns how many entries are left, in a worker's hands or new, or None without Redis."""
    try:
        before = accept.waiting(runtime)
        while before > 0 and (read := accept.accept(runtime)):
            before -= read
        return accept.waiting(runtime)
    except (BakehouseError, redis.RedisError):
        return None


def _cancel(runtime: Runtime, planned: Plan) -> Outcome:
    """Pass over the scope until nothing in it is neither canceled nor marked: records move on while it is done."""
    database, scope = runtime.database, planned.scope
    canceled, asked, idle = 0, 0, 0
    while (left := canceling.left(database, scope)) and idle < PASSES:
        before = canceled + asked
        while count := canceling.pending(database, scope):
            canceled += count
        for batch_id in canceling.batches(database, scope):
            while any(moved := canceling.members(database, scope, batch_id)):
                canceled, asked = canceled + moved[0], asked + moved[1]
        if canceled + asked == before:
            idle += 1
            time.sleep(PAUSE)
    log.info("canceled", records=canceled, asked=asked, left=left)
    sent = canceling.sent(database, scope)
    return Outcome(canceled, asked, planned.standing.asked, sent, left, planned.inbox)


def planned(what: Plan) -> str:
    """Return what a cancel would do, in a sentence or two."""
    standing = what.standing
    parts = [f"not sent, canceled at once: {standing.unsent:,}"]
    if standing.sent:
        parts.append(
            f"sent, nothing of it goes again and the API is asked to cancel: {standing.sent:,} (what has run is billed and stored)"
        )
    if standing.asked:
        parts.append(f"asked for before: {standing.asked:,}")
    return "; ".join(parts) + "." + _inbox(what.inbox)


def told(outcome: Outcome) -> list[str]:
    """Return what was done as lines for a terminal."""
    lines = [f"canceled, not sent: {outcome.canceled:,}"]
    if outcome.asked or outcome.asked_before:
        lines.append(
            f"sent, to be canceled: {outcome.asked + outcome.asked_before:,}; answers that come all the same are kept"
        )
    sent = outcome.sent
    if sent.whole:
        lines.append(f"batches that the API is asked to cancel, by a transfer worker: {sent.whole:,}")
    if sent.mixed:
        lines.append(f"batches that go on at the API, with records in them that are not canceled: {sent.mixed:,}")
    if sent.unproven:
        lines.append(f"batches that go on at the API, because it is not proven that they are ours: {sent.unproven:,}")
    if outcome.left:
        lines.append(f"in other hands just now: {outcome.left:,}; the same command again cancels them")
    return lines + ([_inbox(outcome.inbox).strip()] if outcome.inbox != 0 else [])


def _inbox(entries: int | None) -> str:
    if entries is None:
        return (
            " Redis does not answer: what stands in the inbox is not reached; the same command again, when it is back."
        )
    if entries:
        return f" Entries in the inbox that were not reached: {entries:,}; the same command again does."
    return ""


def cancel_at_api(runtime: Runtime) -> int:
    """Ask the API to cancel the batches all of whose members are to be canceled; returns how many it cancels now."""
    done = 0
    for batch_id, remote_id in canceling.to_ask(runtime.database, TURN):
        if runtime.stopping():
            break
        try:
            runtime.gateway.cancel(remote_id)
        except Refused as error:
            _refused(runtime, batch_id, error)
        except (GatewayError, ConfigurationError) as error:
            _again(runtime, batch_id, str(error), 0.0)
        else:
            done += canceling.asked(runtime.database, batch_id)
            log.info("canceling", batch=batch_id, remote=remote_id)
    return done


def _refused(runtime: Runtime, batch_id: int, error: Refused) -> None:
    if error.status not in OVER:
        _again(runtime, batch_id, str(error), error.retry_after or 0.0)
        return
    now = runtime.database.now()
    until = now + runtime.settings.poll_interval
    batches.put_off(runtime.database, batch_id, BatchState.IN_PROGRESS, until, None)
    batches.polled(runtime.database, {batch_id: now})
    log.info("left to poll", batch=batch_id, status=error.status)


def _again(runtime: Runtime, batch_id: int, reason: str, wait: float) -> None:
    """Try later, and say so on the batch."""
    pause = retry.pause(batches.tries(runtime.database, batch_id), AGAIN, AGAIN_CAP, runtime.dice())
    until = runtime.database.now() + max(pause, wait)
    alarm = f"not canceled at the API yet, and tried again: {reason}"
    batches.put_off(runtime.database, batch_id, BatchState.IN_PROGRESS, until, alarm)
    log.warning("not canceled yet", batch=batch_id, reason=reason)
