"""Station 3, between chunk and poll: a packed batch goes to the API, once.

The body streams from stored bytes with its exact length. Its last bytes are held back until `closing` is committed: before that
no server can have the batch, so a lost worker costs nothing; after it, only a definite answer or `rescue` says what became of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bakehouse import ConfigurationError
from bakehouse_worker import epoch, models, queue, refusal, retry, strangers
from bakehouse_worker.body import Body
from bakehouse_worker.errors import GatewayError, Refused, SendingStopped, Unanswered, WorkerStops
from bakehouse_worker.log import logger
from bakehouse_worker.preflight import Identity, mismatch
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import answers, batches, doubts, holds, packing, results, submissions
from bakehouse_worker.store.answers import Settled
from bakehouse_worker.store.batches import Member
from bakehouse_worker.store.database import away
from bakehouse_worker.store.holds import Turn
from bakehouse_worker.store.submissions import Sending
from bakehouse_worker.waiting import Waiting

#: Seconds; uploads that fail are tried again after backoff between these.
UPLOAD_BACKOFF, UPLOAD_BACKOFF_CAP = 1.0, 60.0

#: Seconds between two tries to note an answer while the database is away.
INSIST = 0.5
#: Outcomes after which the same members go again, as the tables say and when they say.
AGAIN = frozenset({"held", "unreachable", "refused", "upload failed", "in doubt"})

log = logger("submit")


def submit(runtime: Runtime, batch_id: int) -> str:
    """Send one batch if it is to be sent now; returns what came of it, in a word or two."""
    turn = _turn(runtime)
    if turn is Turn.NONE:
        return "held"
    if models.give_back_unfit(runtime, batch_id):
        return "given back"
    if queue.wait_for_room(runtime, batch_id):
        return "held"
    if turn is Turn.PROBE:
        batch_id = packing.first_alone(runtime.database, batch_id) or batch_id
    sending = _begin(runtime, batch_id)
    return sending if isinstance(sending, str) else _send(runtime, sending)


def _begin(runtime: Runtime, batch_id: int) -> Sending | str:
    """Commit a submission and its anchor before any byte is sent; or say why nothing is sent now."""
    try:
        if strangers.look(runtime):
            return "held"
        newest = runtime.gateway.newest()
    except ConfigurationError as error:
        _hold(runtime, refusal.Circuit(str(error)))
        return "held"
    except (Refused, Unanswered) as error:
        return _no_anchor(runtime, batch_id, error)
    database, origin = runtime.database, runtime.gateway.origin
    if reason := mismatch(submissions.identity(database), Identity(origin, newest.workspace)):
        holds.hold(database, holds.CIRCUIT, reason, None)
        return "another identity"
    sending = submissions.begin(database, batch_id, runtime.owner, runtime.settings.lease, origin, newest.workspace)
    if sending is None:
        return "not due"
    submissions.anchor(database, sending, newest.batches[0] if newest.batches else None)
    return sending


def _send(runtime: Runtime, sending: Sending) -> str:
    """Stream the body and note what came of it."""
    database = runtime.database
    body = Body(runtime, sending, batches.members(database, sending.batch_id))
    told = {"batch": sending.batch_id, "submission": sending.submission_id}
    log.info("uploading", **told, requests=sending.requests, bytes=body.length)
    try:
        with Waiting(runtime, sending):
            remote = runtime.gateway.create(iter(body), body.length, sending.betas, sending.api_version)
    except WorkerStops:
        submissions.back_to_packed(database, sending, "the worker stopped before the last bytes", 0.0, None)
        log.info("handed back", batch=sending.batch_id)
        return "handed back"
    except SendingStopped as error:
        return _upload_failed(runtime, sending, str(error))
    except Refused as error:
        return _refused(runtime, sending, body.members, error)
    except Unanswered as error:
        if not body.closing:
            return _upload_failed(runtime, sending, str(error))
        doubts.doubt(database, sending.submission_id, str(error))
        log.warning("in doubt", batch=sending.batch_id, submission=sending.submission_id, reason=str(error))
        return "in doubt"
    holds.end_probe(database)
    return _answered(runtime, sending, remote, body.length)


def _answered(runtime: Runtime, sending: Sending, remote: Remote, length: int) -> str:
    """Note the API's answer, patiently: it is in this process's hands alone."""
    deadline = time.monotonic() + runtime.settings.lease
    while True:
        try:
            next_poll_at = runtime.database.now() + runtime.settings.poll_interval
            settled = answers.answered(runtime.database, sending.submission_id, remote, next_poll_at)
        except Exception as error:
            if away(error) is None or time.monotonic() > deadline:
                raise  # the lease runs out, and the list shows the batch
        else:
            if settled is not Settled.NOT_YET or time.monotonic() > deadline:
                break
        time.sleep(INSIST)
    told = {"batch": sending.batch_id, "submission": sending.submission_id, "remote": remote.id}
    if settled is Settled.LATE:
        log.error("answered too late: sent twice", **told)
        _cancel(runtime, remote)
    else:
        log.info(settled, **told, requests=sending.requests, bytes=length)
    return settled


def _cancel(runtime: Runtime, remote: Remote) -> None:
    """Stop what is there twice and is known to be ours; what has run already is billed."""
    try:
        runtime.gateway.cancel(remote.id)
    except GatewayError as error:
        log.error("not canceled", remote=remote.id, reason=type(error).__name__)


def _turn(runtime: Runtime) -> Turn:
    if holds.current(runtime.database) is not None or epoch.notice(runtime):
        return Turn.NONE
    return holds.take_turn(runtime.database, runtime.settings.probe_interval)


def _no_anchor(runtime: Runtime, batch_id: int, error: Refused | Unanswered) -> str:
    """The API did not even list: nothing was sent, so nothing is in doubt."""
    if isinstance(error, Refused):
        verdict = refusal.decide(error, 0)
        wait = verdict if isinstance(verdict, refusal.Wait | refusal.Circuit) else refusal.Circuit(str(error))
        _hold(runtime, wait)
        return "refused"
    until = runtime.database.now() + UPLOAD_BACKOFF
    batches.put_off(runtime.database, batch_id, BatchState.PACKED, until, f"waits: {error}")
    return "unreachable"


def _upload_failed(runtime: Runtime, sending: Sending, reason: str) -> str:
    tries = batches.tries(runtime.database, sending.batch_id)
    delay = retry.pause(tries, UPLOAD_BACKOFF, UPLOAD_BACKOFF_CAP, runtime.dice())
    until = runtime.database.now() + delay
    submissions.back_to_packed(runtime.database, sending, reason, until, f"waits: the upload failed ({reason})")
    log.warning("upload failed", batch=sending.batch_id, reason=reason)
    return "upload failed"


def _refused(runtime: Runtime, sending: Sending, members: Sequence[Member], error: Refused) -> str:
    """Act on a definite refusal: nothing was created, so the members may go again as the verdict says."""
    database, verdict = runtime.database, refusal.decide(error, len(members))
    log.warning(
        "refused", batch=sending.batch_id, status=error.status, type=error.error_type, verdict=type(verdict).__name__
    )
    if isinstance(verdict, refusal.Wait) and verdict.full:
        return queue.full(runtime, sending, [(member.record_id, member.bytes) for member in members], verdict, error)
    if isinstance(verdict, refusal.Wait | refusal.Circuit):
        _hold(runtime, verdict)
        submissions.back_to_packed(database, sending, str(error), 0.0, None)
        return "held"
    until = database.now() + runtime.settings.lease
    if not submissions.back_to_packed(database, sending, str(error), until, "is being divided"):
        return "lost"
    if isinstance(verdict, refusal.Eject) or len(members) == 1:
        index = verdict.index if isinstance(verdict, refusal.Eject) else 0
        at_fault = members[index]
        row = results.own_row(
            at_fault.record_id,
            at_fault.attempt,
            sending.batch_id,
            retry.REFUSED,
            error.error_type,
            error.message,
            database.now(),
        )
        results.fail_unsent(database, sending.batch_id, [row])
        batches.ready(database, sending.batch_id)
        return "one ejected"
    packing.halve(database, sending.batch_id, [(member.record_id, member.bytes) for member in members])
    return "halved"


def _hold(runtime: Runtime, verdict: refusal.Wait | refusal.Circuit) -> None:
    now = runtime.database.now()
    if isinstance(verdict, refusal.Wait):
        queue.hold(runtime, verdict.seconds)
    else:
        holds.hold(runtime.database, holds.CIRCUIT, verdict.reason, now + runtime.settings.probe_interval)
