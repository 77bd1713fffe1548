"""Every Celery task: ids in, one station called, the next doorbell rung. Stations are imported when first needed.

`shadow` and `argsrepr` are what Flower shows: the station's name and a short telling of what it works on, never content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bakehouse_worker.app import app
from bakehouse_worker.doorbell import ring, ring_each, ring_once
from bakehouse_worker.telling import Again, Failed, Station, counted

if TYPE_CHECKING:
    from bakehouse_worker.runtime import Runtime


#: Entries read in one turn of accept after which it looks again at once, without a tick.
MANY = 1_000


def current() -> Runtime:
    """Return this process's runtime. Imported late: beat knows the tasks' names and needs no store."""
    from bakehouse_worker import runtime

    return runtime.current()


@app.task(name="bakehouse.tick", base=Station, send_events=False)
def tick() -> None:
    """Derive what is due from the tables and ring for it. Unseen in Flower; what it rings for is seen."""
    from bakehouse_worker.ticking import due_doorbells, is_early

    if is_early(current()):
        return
    for name, words in due_doorbells(current()):
        ring(name, *words)


@app.task(name="bakehouse.relay", base=Station)
def relay() -> str:
    """Station 0: from an application's database into the inbox."""
    from bakehouse_worker.relay import relay as station

    moved = station(current())
    if moved.rows:
        ring("accept")
    if moved.waits:
        raise Again(f"{counted(moved=moved.rows)}: {moved.waits}")
    return counted(moved=moved.rows)


@app.task(name="bakehouse.accept", base=Station)
def accept() -> str:
    """Station 1."""
    from bakehouse_worker.accept import accept as station

    entries = station(current())
    if entries:
        ring("chunk")
    if entries >= MANY:
        ring("accept")  # more is coming in, or stands there
    return counted(read=entries)


@app.task(name="bakehouse.chunk", base=Station)
def chunk() -> str:
    """Station 2."""
    from bakehouse_worker.chunk import chunk as station

    packed = station(current())
    for batch_id in packed:
        ring("submit", batch_id)
    return counted(packed=len(packed))


@app.task(name="bakehouse.submit", base=Station)
def submit(batch_id: int) -> str:
    """Station 3."""
    from bakehouse_worker.submit import AGAIN
    from bakehouse_worker.submit import submit as station

    outcome = station(current(), batch_id)
    if outcome in AGAIN:
        raise Again(outcome)
    ring("chunk")  # a part-filled batch may have waited for this one to leave
    return outcome


@app.task(name="bakehouse.poll", base=Station)
def poll() -> str:
    """Station 4."""
    from bakehouse_worker.poll import poll as station

    ended = station(current())
    for batch_id in ended:
        ring("collect", batch_id)
    return counted(ended=len(ended))


@app.task(name="bakehouse.collect", base=Station)
def collect(batch_id: int) -> str:
    """Station 5."""
    from bakehouse_worker.collect import collect as station
    from bakehouse_worker.fanout import Fanout

    outcome = station(current(), batch_id, Fanout(current(), batch_id, ring_each))
    ring("settle", batch_id)
    if outcome == "again":
        raise Again("results incomplete")
    if outcome == "gone":
        raise Failed("the API no longer has the results")
    return outcome


@app.task(name="bakehouse.settle", base=Station)
def settle(batch_id: int, record_ids: Sequence[int] | None = None) -> str:
    """Station 6: the given custom_ids' results, or all of the batch that are not settled."""
    from bakehouse_worker.settle import settle as station

    settled = station(current(), batch_id, record_ids)
    if settled.delivering:
        ring_once("deliver")
    told = counted(
        succeeded=settled.succeeded, sent_again=settled.again, failed=settled.failed, canceled=settled.canceled
    )
    told += f": {settled.reason}" if settled.reason else ""
    if record_ids is not None and len(record_ids) == 1:  # one custom_id: its own fate is the task's
        if settled.again:
            raise Again(settled.reason or told)
        if settled.failed:
            raise Failed(settled.reason or told)
    return told


@app.task(name="bakehouse.deliver", base=Station)
def deliver() -> str:
    """Station 7."""
    from bakehouse_worker.deliver import deliver as station

    tried = station(current())
    if tried.delivered or tried.failed:
        ring_once("deliver")
    told = counted(delivered=tried.delivered, failed=tried.failed)
    if tried.failed and not tried.delivered:
        raise Again(f"{told}: {tried.reason}")
    return told + (f": {tried.reason}" if tried.reason else "")


@app.task(name="bakehouse.rescue", base=Station)
def rescue() -> str:
    """Janitor: expired leases and creates in doubt."""
    from bakehouse_worker.rescue import rescue as janitor

    return counted(resolved=janitor(current()))


@app.task(name="bakehouse.cancel", base=Station)
def cancel() -> str:
    """Janitor: batches that the API is to cancel."""
    from bakehouse_worker.cancel import cancel_at_api as janitor

    return counted(asked=janitor(current()))


@app.task(name="bakehouse.prune", base=Station)
def prune() -> str:
    """Janitor: what is past its retention."""
    from bakehouse_worker.prune import prune as janitor

    return counted(pruned=janitor(current()))
