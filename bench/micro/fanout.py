"""Results parsed, stored, settled and handed to a Python handler: by our stations in spans, and by one Celery task per result."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bakehouse_worker.collect import collect
from bakehouse_worker.deliver import deliver
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.settle import settle
from bench.emulator import Emulator, environment
from bench.micro import Row, rate
from bench.micro.lines import line
from bench.micro.world import drain, ended, enqueue, pointing_at, runtime, timed, to_the_api, valkey

HANDLERS = {"one call each": "bench.micro.handlers:take", "spans": "bench.micro.handlers:take_many"}
MOST_TASKS = 5_000


def measure(records: int, home: Path) -> Iterator[Row]:
    tasks = min(records, MOST_TASKS)
    usual = one_task_each(tasks, home / "celery") / tasks
    yield "one Celery task per result", rate(1, usual), f"published, run by prefork -c 2, stored; {tasks:,} results"
    for name, sink in HANDLERS.items():
        took = ours(records, home / "ours", sink)
        whole = sum(took.values()) / records
        told = ", ".join(f"{station} {rate(records, seconds)}" for station, seconds in took.items())
        figure = f"{rate(1, whole)}, {usual / whole:.0f} x one task each"
        yield f"collected over HTTP, settled, delivered to a handler ({name}), one process", figure, told


def ours(records: int, home: Path, sink: str) -> dict[str, float]:
    """Return the seconds that each station took, one after the other; in a worker each has a process of its own.

    One record goes first, as one task does: what is imported with the first is not counted.
    """
    with Emulator(home.with_name("emulator")) as emulator, pointing_at(emulator.url), runtime(home) as world:
        through(world, 1, sink, "first")
        return through(world, records, sink, "bench")


def through(world: Runtime, records: int, sink: str, job: str) -> dict[str, float]:
    """Let a job's records be answered, and return the seconds from the first result line to the last delivery, by station."""
    enqueue(world, records, job=job, on_result=sink)
    drain(world)
    batches = to_the_api(world)
    ended(world, batches)
    took = {"collect": timed(lambda: [collect(world, batch) for batch in batches])}
    took["settle"] = timed(lambda: [settle(world, batch) for batch in batches])
    delivered = 0
    started = time.perf_counter()
    while tried := deliver(world).delivered:
        delivered += tried
    took["deliver"] = time.perf_counter() - started
    assert delivered == records, (delivered, records)
    return took


def one_task_each(records: int, home: Path) -> float:
    """Return the seconds from the first message to the last stored row."""
    lines = [line(number).decode() for number in range(records)]
    with valkey(home) as url:
        broker = url.replace("unix://", "redis+socket://")
        mine = {"ONE_TASK_BROKER": broker, "ONE_TASK_STORE": str(home / "results.sqlite")}
        os.environ.update(mine)
        from bench.micro import one_task

        one_task.app.conf.broker_url = broker
        argv = [sys.executable, "-m", "celery", "-A", "bench.micro.one_task", "worker", "-c", "2", "-l", "ERROR"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        worker = subprocess.Popen(argv, env=environment(**mine), **quiet)
        try:
            one_task.take.delay(line(records).decode())  # the worker is up when this is done
            wait_for(one_task, 1)
            started = time.perf_counter()
            for each in lines:
                one_task.take.delay(each)
            wait_for(one_task, records + 1)
            return time.perf_counter() - started
        finally:
            worker.terminate()
            worker.wait()
            one_task.store().close()
            one_task.store.cache_clear()


def wait_for(one_task, rows: int) -> None:
    deadline = time.monotonic() + 600
    while one_task.store().execute("SELECT count(*) FROM result").fetchone()[0] < rows:
        if time.monotonic() > deadline:
            raise RuntimeError("the Celery worker did not get through")
        time.sleep(0.05)
