"""How many calls one poll of 100 open batches costs, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bakehouse_worker.poll import poll
from bench.emulator import Emulator
from bench.micro import Row
from bench.micro.world import drain, enqueue, pointing_at, runtime, timed, to_the_api

BATCHES = 100


def measure(records: int, home: Path) -> Iterator[Row]:
    with (
        Emulator(home / "emulator", hold=True) as emulator,
        pointing_at(emulator.url),
        runtime(home / "ours", max_batch_requests=1) as world,
    ):
        enqueue(world, BATCHES)
        drain(world)
        assert len(to_the_api(world)) == BATCHES
        poll(world)
        time.sleep(0.01)
        before = sum(emulator.calls().values())
        seconds = timed(lambda: poll(world))
        calls = sum(emulator.calls().values()) - before
    yield f"API calls for one poll of {BATCHES} open batches", str(calls), f"{seconds * 1000:.0f} ms"
