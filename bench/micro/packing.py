"""From the inbox to the bytes of a create, without a network: accept, pack, build the body."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakehouse_worker.body import Body
from bakehouse_worker.chunk import chunk
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, submissions
from bench.micro import Row, rate
from bench.micro.world import drain, enqueue, runtime, timed


def measure(records: int, home: Path) -> Iterator[Row]:
    with runtime(home, max_queued_requests=10_000_000) as world:
        enqueue(world, records)
        yield "accept: inbox to SQLite", rate(records, timed(lambda: drain(world))), "commits of up to 2,000, FULL"
        packed: list[int] = []
        seconds = timed(lambda: packed.extend(chunk(world)))
        yield "pack", rate(records, seconds), f"{len(packed)} batches"
        built = [build(world, batch) for batch in packed]
        seconds, size = (sum(column) for column in zip(*built, strict=True))
        yield "build bodies from the store", rate(records, seconds), f"{size / seconds / 1e6:.0f} MB/s"


def build(world: Runtime, batch: int) -> tuple[float, int]:
    """Make one create's body, piece by piece; returns the seconds and the bytes."""
    sending = submissions.begin(world.database, batch, world.owner, 600.0, "http://bench", "bench")
    assert sending is not None
    submissions.anchor(world.database, sending, None)
    size = 0

    def pieces() -> None:
        nonlocal size
        for piece in Body(world, sending, batches.members(world.database, batch)):
            size += len(piece)

    seconds = timed(pieces)
    submissions.back_to_packed(world.database, sending, "measured", 0.0, None)  # only one of a size at a time
    return seconds, size
