"""Room in the API's own queue. Part of station 3, submit.

MAX_QUEUED_REQUESTS says what the account's tier is to allow. If the API says that its queue is full before that, what it had taken by
then is the limit, until an hour later.
"""

from __future__ import annotations

from collections.abc import Sequence

from bakehouse_worker.errors import Refused
from bakehouse_worker.log import logger
from bakehouse_worker.refusal import Wait
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import batches, holds, packing, submissions
from bakehouse_worker.store.submissions import Sending

#: Seconds for which a limit that the API showed is believed.
BELIEVED = 3_600.0
_KEY = "queue_limit"

log = logger("submit")


def limit(runtime: Runtime) -> int:
    """Return how many requests may be at the API: the setting, or less if the API showed that it takes less."""
    most, found = runtime.settings.max_queued_requests, holds.get(runtime.database, _KEY)
    if found is None:
        return most
    shown, at = found.split()
    return min(most, int(shown)) if 0 <= runtime.database.now() - float(at) < BELIEVED else most


def wait_for_room(runtime: Runtime, batch_id: int) -> bool:
    """Put a packed batch off, before a byte is sent, if the API would refuse it for its queue; tells whether it was."""
    most = limit(runtime)
    if most >= runtime.settings.max_queued_requests:
        return False
    there, wanted = packing.at_the_api(runtime.database, batch_id), batches.requests(runtime.database, batch_id)
    if not there or there + wanted <= most:
        return False
    until = runtime.database.now() + runtime.settings.poll_interval
    reason = f"waits for room at the API, which has {there:,} requests and showed that it takes about {most:,}"
    batches.put_off(runtime.database, batch_id, BatchState.PACKED, until, reason)
    return True


def full(runtime: Runtime, sending: Sending, members: Sequence[tuple[int, int]], verdict: Wait, error: Refused) -> str:
    """Act on a queue that is full: remember what it took, and wait; a batch that is too large even alone is halved."""
    there = packing.at_the_api(runtime.database, sending.batch_id)
    shown = there or max(1, len(members) // 2)
    holds.put(runtime.database, _KEY, f"{shown} {runtime.database.now()!r}")
    log.warning("queue full", batch=sending.batch_id, at_the_api=there, limit=shown)
    if not submissions.back_to_packed(runtime.database, sending, str(error), 0.0, None):
        return "lost"
    if there or len(members) == 1:
        hold(runtime, verdict.seconds)
        return "held"
    packing.halve(runtime.database, sending.batch_id, members)
    return "halved"


def hold(runtime: Runtime, seconds: float) -> None:
    """Let all submissions wait for a time that the API asked for."""
    reason = f"the API asks to wait {seconds:,.0f} s before the next batch"
    holds.hold(runtime.database, holds.RETRY_AFTER, reason, runtime.database.now() + seconds)
