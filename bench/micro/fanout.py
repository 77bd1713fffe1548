"""Results parsed, stored, settled and handed to a Python handler: by our stations in spans, and by one Celery task per result."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

from bakehouse_worker.collect import collect
from bakehouse_worker.deliver import deliver
from bakehouse_worker.fanout import Fanout
from bakehouse_worker.runtime import Runtime, make
from bakehouse_worker.settings import Settings
from bakehouse_worker.settle import settle
from bench.emulator import Emulator, environment
from bench.micro import REPETITIONS, Row, among, rate
from bench.micro.lines import line
from bench.micro.world import answered, pointing_at, runtime, timed, valkey, wait

HANDLERS = {"one call each": "bench.micro.handlers:take", "spans": "bench.micro.handlers:take_many"}
MOST_TASKS = 5_000


def measure(records: int, home: Path) -> Iterator[Row]:
    tasks = min(records, MOST_TASKS)
    usual: list[float] = []
    alone: dict[str, list[dict[str, float]]] = {name: [] for name in HANDLERS}
    apart: dict[str, list[float]] = {name: [] for name in HANDLERS}
    for _ in range(REPETITIONS):
        usual.append(one_task_each(tasks, home / "celery") / tasks)
        for name, sink in HANDLERS.items():
            alone[name].append(ours(records, home / "ours", sink))
            apart[name].append(abreast(records, home / "ours", sink) / records)
    told = f"published, run by prefork -c 2, stored; {tasks:,} results, medians of {REPETITIONS}, all by turns"
    yield "one Celery task per result", among(usual), told
    for name in HANDLERS:
        took = [sum(each.values()) / records for each in alone[name]]
        stations = {each: median(run[each] for run in alone[name]) for each in alone[name][0]}
        told = ", ".join(f"{station} {rate(records, seconds)}" for station, seconds in stations.items())
        what = f"collected over HTTP, settled, delivered to a handler ({name}), one process"
        yield what, f"{among(took)}, {median(usual) / median(took):.0f} x one task each", told
        figure = f"{among(apart[name])}, {median(usual) / median(apart[name]):.0f} x one task each"
        yield f"the same ({name}), a process for each station", figure, "as worker processes are; SQLite"


def ours(records: int, home: Path, sink: str) -> dict[str, float]:
    """Return the seconds that each station took, one after the other; in a worker each has a process of its own.

    One record goes first, as one task does: what is imported with the first is not counted.
    """
    with Emulator(home.with_name("emulator")) as emulator, pointing_at(emulator.url), runtime(home) as world:
        through(world, 1, sink, "first")
        return through(world, records, sink, "bench")


def through(world: Runtime, records: int, sink: str, job: str) -> dict[str, float]:
    """Let a job's records be answered, and return the seconds from the first result line to the last delivery, by station."""
    batches = answered(world, records, sink, job)
    took = {"collect": timed(lambda: [collect(world, batch) for batch in batches])}
    took["settle"] = timed(lambda: [settle(world, batch) for batch in batches])
    delivered = 0
    started = time.perf_counter()
    while tried := deliver(world).delivered:
        delivered += tried
    took["deliver"] = time.perf_counter() - started
    assert delivered == records, (delivered, records)
    return took


def abreast(records: int, home: Path, sink: str) -> float:
    """Return the seconds from the first result line to the last delivery when each station has a process of its own."""
    with Emulator(home.with_name("emulator")) as emulator, pointing_at(emulator.url), runtime(home) as world:
        through(world, 1, sink, "first")
        line = Line(answered(world, records, sink, "bench"), records)
        world.database.close()
        running = [line.start(world.settings, each) for each in (line.collect, line.settle, line.deliver)]
        time.sleep(0.5)  # they are there
        started = time.perf_counter()
        line.begin.set()
        for each in running:
            each.join()
        took = time.perf_counter() - started
        assert not any(each.exitcode for each in running)
        return took


class Line:
    """Batches on their way through three processes: what a station did rings for the next, span by span, as in the workers."""

    fork = multiprocessing.get_context("fork")

    def __init__(self, batches: list[int], records: int) -> None:
        self.batches, self.records = batches, records
        self.begin, self.collected, self.settled = self.fork.Event(), self.fork.SimpleQueue(), self.fork.SimpleQueue()

    def start(self, settings: Settings, station: Callable[[Runtime], None]) -> BaseProcess:
        def work() -> None:
            mine = make(settings)
            self.begin.wait()
            station(mine)

        process = self.fork.Process(target=work)
        process.start()
        return process

    def collect(self, mine: Runtime) -> None:
        for batch in self.batches:
            collect(mine, batch, Fanout(mine, batch, self.ring_each))
            self.collected.put((batch, None))

    def ring_each(self, _station: str, calls: Sequence[Sequence[Any]]) -> None:
        for words in calls:
            self.collected.put(words)

    def settle(self, mine: Runtime) -> None:
        left = len(self.batches)
        while left:
            batch, record_ids = self.collected.get()
            self.settled.put(settle(mine, batch, record_ids).delivering)
            left -= record_ids is None

    def deliver(self, mine: Runtime) -> None:
        left = self.records
        while left:
            delivered = deliver(mine).delivered
            left -= delivered
            if not delivered:
                self.settled.get()


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
            wait(lambda: stored(one_task) >= 1)
            started = time.perf_counter()
            for each in lines:
                one_task.take.delay(each)
            wait(lambda: stored(one_task) > records)
            return time.perf_counter() - started
        finally:
            worker.terminate()
            worker.wait()
            one_task.store().close()
            one_task.store.cache_clear()


def stored(one_task) -> int:
    return one_task.store().execute("SELECT count(*) FROM result").fetchone()[0]
