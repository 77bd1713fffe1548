"""Janitor: what is past its retention goes. First content, RETAIN_CONTENT days after a record's end; then, after RETAIN_ROWS days, its
row, which leaves a tombstone, so that a late doubling is still known; at last, batches, here and at the API.

Due once an hour. A turn that has not come to the end within its time goes on at the next tick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bakehouse_worker.forget import forget
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.settings import Settings
from bakehouse_worker.store import holds, retention
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.retention import START, Place, Pruned

DAY = 86_400.0
#: Days that a batch's id stays known whatever RETAIN_ROWS says: the API lists a batch for 29.
BATCH_DAYS = 30.0
#: Seconds after which a turn ends, so that other work of its queue gets its turn.
TURN = 20.0

log = logger("prune")


def prune(runtime: Runtime) -> int:
    """Delete what is past its retention, if it is time; returns how many records lost their content or their row."""
    if not holds.claim_turn(runtime.database, retention.TURN_KEY, 0.9 * retention.EVERY):
        return 0
    deadline, gone = time.monotonic() + TURN, {"content": 0, "rows": 0, "rejected": 0, "batches": 0}
    for what, number in _spans(runtime.settings, runtime.database):
        gone[what] += number
        if time.monotonic() > deadline:
            holds.put(runtime.database, retention.TURN_KEY, "0")
            break
    if any(gone.values()):
        log.info("pruned", **gone)
    forget(runtime)
    return gone["content"] + gone["rows"]


def _spans(settings: Settings, database: Database) -> Iterator[tuple[str, int]]:
    """Prune span by span, and yield what went with each: its kind and how many."""
    now, rows, content = database.now(), settings.retain_rows, settings.retain_content
    if content is None:
        content = rows  # content never outlives its row
    if content is not None:
        yield from _each("content", retention.drop_content, database, now - content * DAY)
    if rows is None:
        return
    yield from _each("rows", retention.bury, database, now - rows * DAY)
    while number := retention.drop_rejected(database, now - rows * DAY):
        yield "rejected", number
    while number := retention.drop_batches(database, now - max(rows, BATCH_DAYS) * DAY):
        yield "batches", number


def _each(
    what: str, verb: Callable[[Database, float, Place], Pruned], database: Database, before: float
) -> Iterator[tuple[str, int]]:
    place: Place | None = START
    while place is not None:
        span = verb(database, before, place)
        yield what, span.records
        place = span.place
