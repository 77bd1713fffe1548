"""Station 4, between submit and collect: ask once about all open batches.

Many open batches cost one `list` call, few cost a `retrieve` each; never more often than POLL_INTERVAL over all workers.
"""

from __future__ import annotations

from bakehouse_worker.errors import Refused
from bakehouse_worker.log import logger
from bakehouse_worker.remote import Remote
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, holds
from bakehouse_worker.store.batches import OpenBatch

#: Up to this many open batches are asked about one by one.
RETRIEVE_FEW = 2
#: (age in seconds, factor): most batches end within the hour, so old ones are asked about less often.
SLOWER = ((3600.0, 4.0), (600.0, 2.0))

log = logger("poll")


def poll(runtime: Runtime) -> list[int]:
    """Ask about the open batches if it is time; returns the batches that have ended."""
    interval, now = runtime.settings.poll_interval, runtime.database.now()
    if not holds.claim_turn(runtime.database, "polled_at", interval * 0.9):
        return []
    opened = batches.open_batches(runtime.database)
    if not opened:
        return []
    found = _ask(runtime, opened)
    ended = []
    for batch in opened:
        remote = found.get(batch.remote_id)
        ended_at = remote.ended_at if remote else None
        if (remote is None or remote.status == "ended") and batches.ended(runtime.database, batch.id, ended_at):
            ended.append(batch.id)
            log.info("ended", batch=batch.id, remote=batch.remote_id, known=remote is not None)
    waiting = [batch for batch in opened if batch.id not in ended]
    canceling = [b.id for b in waiting if (r := found.get(b.remote_id)) is not None and r.status == "canceling"]
    batches.polled(runtime.database, {b.id: now + interval * _factor(now - b.submitted_at) for b in waiting}, canceling)
    return ended


def _ask(runtime: Runtime, opened: list[OpenBatch]) -> dict[str, Remote]:
    """Return what the API says of each batch; one that it does not have at all is left out."""
    wanted = {batch.remote_id for batch in opened}
    found: dict[str, Remote] = {}
    if len(wanted) > RETRIEVE_FEW:
        oldest = min(batch.remote_created_at for batch in opened)
        for page in runtime.gateway.pages():
            found.update((remote.id, remote) for remote in page.batches if remote.id in wanted)
            if len(found) == len(wanted) or (page.batches and page.batches[-1].created_at < oldest - 1.0):
                break
    for remote_id in wanted - found.keys():
        try:
            found[remote_id] = runtime.gateway.retrieve(remote_id)
        except Refused as error:
            if error.status != 404:
                raise
    return found


def _factor(age: float) -> float:
    return next((factor for limit, factor in SLOWER if age >= limit), 1.0)
