"""Station 0, before accept: records that an application committed in its outbox go into the inbox.

Read a span of rows, append it, wait until Redis has it on disk, then delete just these rows. A crash in between appends them again at
the next turn, and acceptance knows a record by (job, custom_id) and digest: the second copy is the same record. A Redis that never
has anything on disk, or cannot tell, gets them all the same, and is from then on what keeps them.

An application's database that is away, or that hangs, is waited for only so long, told in `status`, and looked at again half a minute
later; nothing else of the control work waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from bakehouse import BakehouseError, InboxFull, InboxUnavailable
from bakehouse.errors import NotOnDisk
from bakehouse.inbox import Inbox
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import holds
from bakehouse_worker.store.outbox import Outbox, Row, reason

#: One span has at most so many rows, and about so many bytes.
SPAN_ROWS, SPAN_BYTES = 500, 4_000_000
#: Seconds after which a turn ends, so that other control work gets its turn; that a turn is waited for; and a look whether rows wait.
TURN, LIMIT, LOOK = 3.0, 10.0, 3.0
#: Seconds before an outbox that did not answer is looked at again.
AGAIN = 30.0
#: Where it is noted that the outbox does not answer: since when, when it was tried last, and what it said.
KEY = "outbox_away"
FULL = "the inbox is full"

log = logger("relay")


@dataclass(frozen=True, slots=True)
class Moved:
    """What one turn came to: rows moved, and why others wait; None if nothing holds them."""

    rows: int
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class Away:
    """An outbox that cannot be read. `told` is the rest of a sentence that begins with it; times are seconds since 1970."""

    since: float
    tried: float
    told: str


def relay(runtime: Runtime) -> Moved:
    """Move what waits, for at most a turn. Never raises for a database that is away: that is noted for `status`."""
    outbox = runtime.outbox
    if outbox is None:
        return Moved(0)
    try:
        moved = runtime.patience.within(LIMIT, lambda: _turn(runtime, outbox))
    except BakehouseError:
        raise
    except Exception as error:
        _note(runtime, error)
        return Moved(0, f"the outbox {reason(error)}")
    if moved.rows:
        log.info("moved", rows=moved.rows)
    return moved


def is_due(runtime: Runtime) -> bool:
    """Tell whether rows wait in the outbox. One that did not answer is asked again only after a while; False meanwhile."""
    if not runtime.settings.outbox_url:
        return False
    known = away(runtime)
    if known is not None and 0 <= runtime.database.now() - known.tried < AGAIN:
        return False
    try:
        outbox = runtime.outbox
        found = outbox is not None and runtime.patience.within(LOOK, outbox.waits)
    except Exception as error:  # whatever it is, the tick goes on
        _note(runtime, error)
        return False
    if known is not None:
        holds.put(runtime.database, KEY, "")
        log.info("the outbox answers again")
    return found


def away(runtime: Runtime) -> Away | None:
    """Return what is noted of an outbox that does not answer; None if it does, or if there is none."""
    noted = holds.get(runtime.database, KEY) if runtime.settings.outbox_url else None
    if not noted:
        return None
    since, tried, told = noted.split(" ", 2)
    return Away(float(since), float(tried), told)


def shown(runtime: Runtime) -> str:
    """Return the outbox's URL for people: without a password, and without the query, which may hold one."""
    try:
        return runtime.outbox.shown if runtime.outbox is not None else "none"
    except BakehouseError:
        return "BAKEHOUSE_OUTBOX_URL"


def _turn(runtime: Runtime, outbox: Outbox) -> Moved:
    inbox = Inbox(runtime.redis, runtime.keys, runtime.settings.max_inbox_bytes)
    deadline, moved, most = time.monotonic() + TURN, 0, SPAN_ROWS
    while time.monotonic() < deadline and not runtime.stopping():
        rows: list[Row] = []
        try:
            if inbox.is_full():  # asked before a span is read for nothing
                return Moved(moved, FULL)
            with outbox.taken(most, SPAN_BYTES) as rows:
                if rows:
                    _append(inbox, outbox, rows)
        except InboxFull:
            return Moved(moved, FULL)
        except InboxUnavailable as error:
            if not rows or not _blames_a_row(runtime, error):
                return Moved(moved, str(error))
            if len(rows) == 1:
                outbox.pass_over(rows[0][0])
                log.error("Redis refuses a row of the outbox", row=rows[0][0])
            most = 1  # one by one, to find the row that it is
            continue
        if not rows:
            break
        moved += len(rows)
    return Moved(moved)


def _append(inbox: Inbox, outbox: Outbox, rows: Sequence[Row]) -> None:
    """Append rows and return when they are as safe in this Redis as it can make them."""
    entries = [(_bytes(header), _bytes(params)) for _, header, params in rows]
    try:
        inbox.append(entries, durable=outbox.to_disk)
    except NotOnDisk as error:
        if not error.never:
            raise
        outbox.to_disk = False
        log.warning("what leaves the outbox is as durable as this Redis", reason=str(error))


def _blames_a_row(runtime: Runtime, error: InboxUnavailable) -> bool:
    """Tell whether Redis works and yet hung up on what was appended, as it does on a value larger than it takes."""
    cause = error.__cause__
    hung_up = isinstance(cause, redis.ConnectionError | redis.TimeoutError) or "Protocol error" in str(cause)
    try:
        return hung_up and bool(runtime.redis.ping())
    except redis.RedisError:
        return False


def _note(runtime: Runtime, error: Exception) -> None:
    known, now = away(runtime), runtime.database.now()
    told = reason(error)
    holds.put(runtime.database, KEY, f"{now if known is None else known.since!r} {now!r} {told}")
    log.warning("the outbox is not moved on", reason=told)


def _bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
