"""The far half of pruning and erasing: batches of whose content nothing is left here are deleted at the API.

The API keeps a batch's requests and answers for 29 days after its creation; older ones are gone by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bakehouse import BakehouseError
from bakehouse_worker.deadlines import KEPT
from bakehouse_worker.errors import GatewayError, Refused
from bakehouse_worker.log import logger
from bakehouse_worker.preflight import Identity, mismatch
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import retention
from bakehouse_worker.store.retention import Emptied

#: Batches per turn: each costs a call.
LIMIT = 200

log = logger("forget")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many batches were deleted at the API, how many are left to be tried again, and why; None if none is."""

    deleted: int = 0
    left: int = 0
    reason: str | None = None


def forget(runtime: Runtime, batch_ids: Sequence[int] | None = None) -> Forgotten:
    """Delete the emptied batches at the API, those of the ids given or any. What fails is found again at the next turn."""
    since = runtime.database.now() - KEPT
    found = retention.emptied(runtime.database, since, LIMIT, batch_ids)
    if not found:
        return Forgotten()
    try:
        here = Identity(runtime.gateway.origin, runtime.gateway.newest().workspace)
    except (BakehouseError, GatewayError) as error:
        return _told(Forgotten(0, len(found), str(error)))
    deleted, reason = 0, None
    for batch in found:
        try:
            _delete(runtime, batch, here)
        except Refused as error:
            reason = str(error)
        except GatewayError as error:
            reason = str(error)
            break
        else:
            deleted += 1
    return _told(Forgotten(deleted, len(found) - deleted, reason))


def _delete(runtime: Runtime, batch: Emptied, here: Identity) -> None:
    """Delete one batch. Only where it was made does a 404 mean that it is gone: another workspace has none of ours."""
    if reason := mismatch((batch.origin, batch.workspace), here):
        raise GatewayError(reason)
    try:
        runtime.gateway.delete(batch.remote_id)
    except Refused as error:
        if error.status != 404:
            raise
    retention.remote_deleted(runtime.database, batch.submission_id)
    log.info("deleted at the API", batch=batch.batch_id, remote=batch.remote_id)


def _told(outcome: Forgotten) -> Forgotten:
    if outcome.left:
        log.warning("not deleted at the API; tried again later", batches=outcome.left, reason=outcome.reason)
    return outcome
