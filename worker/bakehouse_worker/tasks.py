"""Every Celery task: ids in, one station called, the next doorbell rung. Stations are imported when first needed.

`shadow` and `argsrepr` are what Flower shows: the station's name and a short telling of what it works on, never content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bakehouse_worker.app import app

if TYPE_CHECKING:
    from bakehouse_worker.runtime import Runtime


def current() -> Runtime:
    """Return this process's runtime. Imported late: beat knows the tasks' names and needs no store."""
    from bakehouse_worker import runtime

    return runtime.current()


@app.task(name="bakehouse.tick", send_events=False)
def tick() -> None:
    """Derive what is due from the tables and ring for it. Unseen in Flower; what it rings for is seen."""
    from bakehouse_worker.ticking import due_doorbells

    for name, arguments in due_doorbells(current()):
        ring(name, *arguments)


@app.task(name="bakehouse.accept")
def accept() -> None:
    """Station 1."""
    from bakehouse_worker.accept import accept as station

    if station(current()):
        ring("chunk")


@app.task(name="bakehouse.chunk")
def chunk() -> None:
    """Station 2."""
    from bakehouse_worker.chunk import chunk as station

    for batch_id in station(current()):
        ring("submit", batch_id)


@app.task(name="bakehouse.submit")
def submit(batch_id: int) -> None:
    """Station 3."""
    from bakehouse_worker.submit import submit as station

    station(current(), batch_id)


@app.task(name="bakehouse.poll")
def poll() -> None:
    """Station 4."""
    from bakehouse_worker.poll import poll as station

    for batch_id in station(current()):
        ring("collect", batch_id)


@app.task(name="bakehouse.collect")
def collect(batch_id: int) -> None:
    """Station 5."""
    from bakehouse_worker.collect import collect as station
    from bakehouse_worker.fanout import Fanout

    station(current(), batch_id, Fanout(current(), batch_id, ring))
    ring("settle", batch_id)


@app.task(name="bakehouse.settle")
def settle(batch_id: int, record_ids: Sequence[int] | None = None) -> None:
    """Station 6: the given custom_ids' results, or all of the batch that are not settled."""
    from bakehouse_worker.settle import settle as station

    if station(current(), batch_id, record_ids).delivering:
        ring("deliver")


@app.task(name="bakehouse.deliver")
def deliver() -> None:
    """Station 7."""
    from bakehouse_worker.deliver import deliver as station

    if station(current()):
        ring("deliver")


@app.task(name="bakehouse.rescue")
def rescue() -> None:
    """Janitor: expired leases and creates in doubt."""
    from bakehouse_worker.rescue import rescue as janitor

    janitor(current())


@app.task(name="bakehouse.prune")
def prune() -> None:
    """Janitor: what is past its retention."""
    from bakehouse_worker.prune import prune as janitor

    janitor(current())


def ring(station: str, *arguments: Any) -> None:
    """Send a station's doorbell. It carries ids and nothing else."""
    app.send_task(f"bakehouse.{station}", args=arguments, shadow=station, argsrepr=describe(station, arguments))


def describe(station: str, arguments: Sequence[Any]) -> str:
    """Return what Flower shows of a doorbell's arguments, such as `(batch 42, 10,000 requests)`."""
    if not arguments:
        return "()"
    count = f", {len(arguments[1]):,} results" if len(arguments) > 1 and arguments[1] else ""
    return f"(batch {arguments[0]}{count})"
