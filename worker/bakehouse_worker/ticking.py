"""The tick: what is due, as doorbells. It changes nothing but the note of its own time (and holds submissions if the database was
restored from a backup); two beats are waste, never harm.

A line that still holds messages is not rung for again: its workers are busy, and whatever is due now is due at the next tick too.
Results to collect stand in a line of their own behind the rest of their queue, and submissions in one behind these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bakehouse_worker import accept, epoch, relay
from bakehouse_worker.app import CONTROL, PRIORITY, ROUTES
from bakehouse_worker.chunk import worthwhile
from bakehouse_worker.rescue import look_is_due
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import due as due_work
from bakehouse_worker.store import holds

#: Doorbells of one kind per tick; more would only wait.
LIMIT = 20

#: A tick is late after this many times TICK, and at least so many seconds.
LATE_TICKS, LATE = 10.0, 20.0

#: What kombu puts between a queue's name and a priority.
_SEPARATOR = "\x06\x16"

Doorbell = tuple[str, tuple[Any, ...]]


def is_early(runtime: Runtime) -> bool:
    """Tell whether the last tick was worked on just now: of those that piled up while no worker was there, one is enough."""
    ticked = holds.get(runtime.database, "ticked_at")
    return ticked is not None and 0 <= runtime.database.now() - float(ticked) < runtime.settings.tick / 2


def is_late(runtime: Runtime) -> bool:
    """Tell whether no tick was worked on for so long that somebody else should do it; before the first, from now on."""
    ticked, now = holds.get(runtime.database, "ticked_at"), runtime.database.now()
    if ticked is None:
        holds.put(runtime.database, "ticked_at", repr(now))
        return False
    return now - float(ticked) > max(LATE, LATE_TICKS * runtime.settings.tick)


def last(runtime: Runtime) -> str | None:
    """Return when a tick was worked on last, as it is noted."""
    return holds.get(runtime.database, "ticked_at")


def messages(runtime: Runtime) -> int:
    """Return how many messages wait for a control worker."""
    return int(runtime.redis.llen(_key(runtime, CONTROL)))


def forget(runtime: Runtime) -> int:
    """Drop all messages for control; returns how many. Whatever they rang for is due still, and the next tick rings for it."""
    waiting = messages(runtime)
    runtime.redis.delete(_key(runtime, CONTROL))
    return waiting


def stands_empty(runtime: Runtime, station: str) -> bool:
    """Tell whether no message waits in a station's line."""
    return not runtime.redis.llen(_key(runtime, _line(f"bakehouse.{station}")))


def due_doorbells(runtime: Runtime) -> Iterator[Doorbell]:
    """Yield (station, arguments) for all work that is due in lines that stand empty."""
    epoch.notice(runtime)
    holds.put(runtime.database, "ticked_at", repr(runtime.database.now()))
    idle = _idle_lines(runtime)
    for station, arguments in _due(runtime):
        if _line(f"bakehouse.{station}") in idle:
            yield station, arguments
    if CONTROL in idle and relay.is_due(runtime):  # last: it asks a database that is not ours, and may wait for it
        yield "relay", ()


def _due(runtime: Runtime) -> Iterator[Doorbell]:
    found = due_work.due(runtime.database, LIMIT)
    if accept.is_due(runtime):
        yield "accept", ()
    if found.leases or ((found.doubts or found.watched) and look_is_due(runtime, doubting=found.doubts)):
        yield "rescue", ()
    if found.cancel:
        yield "cancel", ()
    if found.poll:
        yield "poll", ()
    for batch_id in found.collect:
        yield "collect", (batch_id,)
    if holds.current(runtime.database) is None:
        for batch_id in found.submit:
            yield "submit", (batch_id,)
    for batch_id in found.settle:
        yield "settle", (batch_id,)
    if found.chunk and worthwhile(runtime):
        yield "chunk", ()
    yield from ((station, ()) for station, due in (("deliver", found.deliver), ("prune", found.prune)) if due)


def _line(task: str) -> str:
    """Return the list in Redis where a task's messages stand: kombu has one for each queue and priority."""
    priority = PRIORITY.get(task, 0)
    return f"{ROUTES[task]}{_SEPARATOR}{priority}" if priority else ROUTES[task]


def _key(runtime: Runtime, line: str) -> str:
    return f"{runtime.settings.redis_prefix}:celery:{line}"


def _idle_lines(runtime: Runtime) -> set[str]:
    pipeline = runtime.redis.pipeline(transaction=False)
    lines = sorted({_line(task) for task in ROUTES})
    for line in lines:
        pipeline.llen(_key(runtime, line))
    return {line for line, length in zip(lines, pipeline.execute(), strict=True) if not length}
