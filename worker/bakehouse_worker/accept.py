"""Station 1, between `enqueue_record` and chunk: inbox entries become rows.

Read through the consumer group, insert and commit, then acknowledge and delete. A crash in between reads the same entries again;
the same record twice is one record. Nothing leaves the inbox before it stands in the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from bakehouse.contract import GROUP, Canary, Close, UnknownWireVersion, decode
from bakehouse_worker import epoch
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import records
from bakehouse_worker.store.database import RowRefused
from bakehouse_worker.store.records import Acceptance, Entry

#: One read takes at most this many entries, and about this many bytes.
READ_ENTRIES = 2_000
READ_BYTES = 8_000_000
#: Seconds after which the task ends and rings again, so that other control work gets its turn.
TURN = 1.0

#: KEYS inbox, bytes. Sets what the counter of bytes has drifted by to rights, whenever the inbox is empty.
_TARE = "if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end"

log = logger("accept")


@dataclass(slots=True)
class _Span:
    """Entries of one read, sorted by what they are. `done` pairs an entry's id with its size in bytes."""

    entries: list[Entry] = field(default_factory=list)
    closes: list[tuple[bytes, int, Close]] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)
    unreadable: list[tuple[bytes, dict[bytes, bytes], str]] = field(default_factory=list)
    done: list[tuple[bytes, int]] = field(default_factory=list)


def accept(runtime: Runtime, *, stale_after: float | None = None) -> int:
    """Accept what stands in the inbox, for at most a turn; returns how many entries were read.

    Entries that another consumer took and did not acknowledge within `stale_after` seconds (default: LEASE) are taken over.
    """
    epoch.notice(runtime)  # before a record takes an id that another one had before the database was restored
    stale = runtime.settings.lease if stale_after is None else stale_after
    deadline, read = time.monotonic() + TURN, 0
    for raw in _reads(runtime, stale):
        read += len(raw)
        span = _sort(raw)
        for canary in span.canaries:
            records.send_ahead(runtime.database, canary.job, canary.records)
        outcome = into_store(runtime, span.entries)
        _close(runtime, span)
        _park(runtime, span.unreadable)
        _acknowledge(runtime, span.done)
        for entry, _ in outcome.rejected:  # the reason may hold content: `show` tells it
            log.warning("rejected", entry=entry.entry_id)
        log.info(
            "accepted",
            new=outcome.new,
            same=outcome.same,
            replaced=outcome.replaced,
            rejected=len(outcome.rejected),
            parked=len(span.unreadable),
        )
        if time.monotonic() > deadline or runtime.stopping():
            break
    if not read:
        _tare(runtime)
    return read


def is_due(runtime: Runtime) -> bool:
    """Tell whether entries stand in the inbox, or bytes are counted that are not there: a lost answer left them, and they would
    keep producers out for ever.
    """
    pipeline = runtime.redis.pipeline(transaction=False)
    pipeline.xlen(runtime.keys.inbox)
    pipeline.get(runtime.keys.inbox_bytes)
    entries, held = pipeline.execute()
    return bool(entries or int(held or 0))


def waiting(runtime: Runtime) -> int:
    """Return how many entries stand in the inbox, read or not."""
    return int(runtime.redis.xlen(runtime.keys.inbox))


def _reads(runtime: Runtime, stale_after: float) -> Iterator[list[tuple[bytes, dict[bytes, bytes]]]]:
    """Yield spans of entries: first those a lost consumer left behind, then new ones, until there are no more."""
    consumer = runtime.owner
    for claim in (True, False):
        while True:
            count = _read_size(runtime)
            try:
                found = _stale(runtime, consumer, stale_after, count) if claim else _new(runtime, consumer, count)
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                if _create_group(runtime):
                    continue
                found = _oldest(runtime, count)
            if not found:
                break
            yield found


def _stale(runtime: Runtime, consumer: str, stale_after: float, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    reply: Any = runtime.redis.xautoclaim(
        runtime.keys.inbox, GROUP, consumer, min_idle_time=int(stale_after * 1000), count=count
    )
    return [(entry_id, fields) for entry_id, fields in reply[1] if fields]


def _new(runtime: Runtime, consumer: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    reply: Any = runtime.redis.xreadgroup(GROUP, consumer, {runtime.keys.inbox: ">"}, count=count)
    return list(reply[0][1]) if reply else []


def _oldest(runtime: Runtime, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    reply: Any = runtime.redis.xrange(runtime.keys.inbox, count=count)
    return list(reply)


def _create_group(runtime: Runtime) -> bool:
    """Make the consumer group; False where Redis is too full for it, and the inbox must be emptied without one."""
    try:
        runtime.redis.xgroup_create(runtime.keys.inbox, GROUP, id="0", mkstream=True)
    except redis.OutOfMemoryError:
        return False
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    return True


def _read_size(runtime: Runtime) -> int:
    """Choose how many entries to read so that a span stays small in memory whatever a record weighs."""
    pipeline = runtime.redis.pipeline(transaction=False)
    pipeline.get(runtime.keys.inbox_bytes)
    pipeline.xlen(runtime.keys.inbox)
    held, entries = pipeline.execute()
    average = int(held or 0) / max(1, entries)
    return max(1, min(READ_ENTRIES, int(READ_BYTES / max(1.0, average))))


def _sort(raw: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> _Span:
    span = _Span()
    for entry_id, fields in raw:
        header, params = fields.get(b"h", b""), fields.get(b"p", b"")
        try:
            item = decode(header, params)
        except UnknownWireVersion as error:
            span.unreadable.append((entry_id, fields, str(error)))
            continue
        except (ValueError, TypeError) as error:
            span.unreadable.append((entry_id, fields, f"not an entry ({type(error).__name__})"))
            continue
        size = len(header) + len(params)
        if isinstance(item, Close):
            span.closes.append((entry_id, size, item))
            continue
        span.done.append((entry_id, size))
        if isinstance(item, Canary):
            span.canaries.append(item)
        else:
            span.entries.append(Entry(entry_id.decode(), item))
    return span


def into_store(runtime: Runtime, entries: Sequence[Entry]) -> Acceptance:
    """Insert a span; one that the database refuses is halved down to the entry, which is rejected by name."""
    if not entries:
        return Acceptance()
    try:
        return records.accept(runtime.database, entries, runtime.settings.canary)
    except RowRefused as refused:
        if len(entries) == 1:
            reason = f"{records.REFUSED_BY_DATABASE}: {refused}"
            records.reject(runtime.database, entries[0].entry_id, entries[0].record, reason)
            return Acceptance(rejected=[(entries[0], reason)])
    middle = len(entries) // 2
    first, second = into_store(runtime, entries[:middle]), into_store(runtime, entries[middle:])
    return Acceptance(
        first.new + second.new,
        first.same + second.same,
        first.replaced + second.replaced,
        first.rejected + second.rejected,
    )


def _close(runtime: Runtime, span: _Span) -> None:
    """Close jobs. One that expects what came before it is left to be read again while another consumer holds such entries."""
    for entry_id, size, close in span.closes:
        if close.expected is None and _others_hold(runtime, entry_id, {done for done, _ in span.done}):
            continue
        records.close(runtime.database, close.job, close.expected)
        span.done.append((entry_id, size))


def _others_hold(runtime: Runtime, before: bytes, ours: set[bytes]) -> bool:
    try:
        pending: Any = runtime.redis.xpending_range(runtime.keys.inbox, GROUP, "-", before, READ_ENTRIES + 2)
    except redis.ResponseError:  # no group: Redis is full, and entries are read without one
        return False
    return any(each["message_id"] not in ours and each["message_id"] != before for each in pending)


def _acknowledge(runtime: Runtime, done: Sequence[tuple[bytes, int]]) -> None:
    """Take accepted entries out of the inbox, not by a script: a Redis that is full refuses scripts, and must be emptied."""
    if not done:
        return
    inbox, held = runtime.keys.inbox, runtime.keys.inbox_bytes
    ids = [entry_id for entry_id, _ in done]
    pipeline = runtime.redis.pipeline(transaction=False)
    pipeline.xack(inbox, GROUP, *ids)
    pipeline.xdel(inbox, *ids)
    _, removed = pipeline.execute()
    # an entry counts once; of those that another worker took out, too, the average, until the inbox is empty and counted anew
    freed = sum(size for _, size in done) * int(removed) // len(done)
    try:
        runtime.redis.decrby(held, freed)
        _tare(runtime)
    except redis.ResponseError as error:  # still full: the counter is set to rights when the inbox is empty
        log.warning("inbox bytes not counted", reason=str(error).split(" ")[0])


def _tare(runtime: Runtime) -> None:
    runtime.redis.eval(_TARE, 2, runtime.keys.inbox, runtime.keys.inbox_bytes)


def _park(runtime: Runtime, unreadable: Sequence[tuple[bytes, dict[bytes, bytes], str]]) -> None:
    """Move entries that this release cannot read aside, whole, where `status` counts them and a newer release finds them."""
    for entry_id, fields, reason in unreadable:
        pipeline = runtime.redis.pipeline(transaction=True)
        parked: dict[Any, Any] = {**fields, b"why": reason.encode()}
        pipeline.xadd(runtime.keys.parked, parked)
        pipeline.xack(runtime.keys.inbox, GROUP, entry_id)
        pipeline.xdel(runtime.keys.inbox, entry_id)
        pipeline.decrby(runtime.keys.inbox_bytes, sum(len(fields.get(name, b"")) for name in (b"h", b"p")))
        pipeline.execute()
        log.warning("parked", entry=entry_id.decode(), reason=reason)
