"""The same worker processes, with one settle task per result and with spans: FANOUT_LIMIT is all that differs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from celery import Celery
from sqlalchemy import text

from bakehouse_worker import health
from bakehouse_worker.app import QUEUES, TRANSFER
from bakehouse_worker.broker import broker
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import due
from bench.emulator import Emulator, environment
from bench.micro import REPETITIONS, Row, among, rate
from bench.micro.fanout import HANDLERS
from bench.micro.world import answered, pointing_at, runtime, wait

#: More results than any batch has: each gets a task.
EACH = 1_000_000_000
#: Results of a run with a task for each, at most; and how many times more there are in a run with spans.
TASKS, MORE = 1_000, 5


def measure(records: int, home: Path) -> Iterator[Row]:
    tasks, many = min(records, TASKS), MORE * records
    for name, sink in HANDLERS.items():
        each, spans = [], []
        for _ in range(REPETITIONS):
            each.append(took(tasks, home / "ours", sink, EACH) / tasks)
            spans.append(took(many, home / "ours", sink) / many)
        told = f"medians of {REPETITIONS}, by turns; one settle task per result: {among(each)} with {tasks:,} results"
        told += f"; spans: {among(spans)} with {many:,}"
        figure = f"{rate(1, median(spans))}, {median(each) / median(spans):.0f} x one settle task each"
        yield f"worker processes collect, settle and deliver to a handler ({name})", figure, told


def took(records: int, home: Path, sink: str, fanout_limit: int | None = None) -> float:
    """Return the seconds from the doorbells of collect to the last delivery, by the workers of `bakehouse worker`.

    One record goes first, which everything that is imported late is imported for.
    """
    with Emulator(home.with_name("emulator")) as emulator, pointing_at(emulator.url), runtime(home) as world:
        first, rest = answered(world, 1, sink, "first"), answered(world, records, sink, "bench")
        world.database.close()
        with working(world, emulator.url, fanout_limit):
            through(world, first, lambda: delivered(world) == 1)
            return through(world, rest, lambda: due.idle(world.database))


@contextmanager
def working(world: Runtime, api: str, fanout_limit: int | None) -> Iterator[None]:
    """Run control, transfer and deliver workers, each a process of its own, until the block ends."""
    settings = world.settings
    mine = {"BAKEHOUSE_DATA_DIR": str(settings.data_dir), "BAKEHOUSE_REDIS_URL": settings.redis_url}
    if fanout_limit is not None:
        mine["BAKEHOUSE_FANOUT_LIMIT"] = str(fanout_limit)
    env = environment(**mine, ANTHROPIC_BASE_URL=api, ANTHROPIC_API_KEY="bench")
    with (settings.data_dir / "logs" / "workers.log").open("ab") as log:
        workers = subprocess.Popen(
            [sys.executable, "-m", "bakehouse_worker", "worker"], env=env, stdout=log, stderr=log
        )
    try:
        wait(lambda: all(verdict.ready for verdict in health.examine(settings.data_dir, list(QUEUES))))
        yield
    finally:
        workers.terminate()
        workers.wait()


def through(world: Runtime, batches: list[int], done: Callable[[], bool]) -> float:
    """Ring for the collection of these batches, and return the seconds until that is done."""
    settings = world.settings
    found = broker(settings.redis_url)
    keys = {**found.transport_options, "global_keyprefix": f"{settings.redis_prefix}:celery:"}
    bell = Celery("bell", broker=found.url, broker_transport_options=keys)
    started = time.perf_counter()
    for batch in batches:
        bell.send_task("bakehouse.collect", args=[batch], queue=TRANSFER)
    wait(done)
    return time.perf_counter() - started


def delivered(world: Runtime) -> int:
    with world.database.read() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM delivery WHERE state = 'delivered'")))
