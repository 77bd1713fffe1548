"""Janitor: content past its retention goes; the narrow record row stays as a tombstone, so that a late doubling is still known."""

from __future__ import annotations

from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import retention

DAY = 86_400.0

log = logger("prune")


def prune(runtime: Runtime) -> int:
    """Delete the content of records that ended more than RETAIN_CONTENT days ago; returns how many records it was."""
    days = runtime.settings.retain_content
    if days is None:
        return 0
    before, pruned = runtime.database.now() - days * DAY, 0
    while span := retention.drop_content(runtime.database, before):
        pruned += span
    if pruned:
        log.info("pruned", records=pruned)
    return pruned
