"""A store, a real Valkey and stations in this process: what most parts are measured in."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bakehouse import Client
from bakehouse.connection import connect
from bakehouse_worker import schema
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.local import embedded
from bakehouse_worker.poll import poll
from bakehouse_worker.runtime import Runtime, make
from bakehouse_worker.settings import Settings
from bakehouse_worker.submit import submit
from bakehouse_worker.worker import collect_seldom
from bench.inputs import params

#: Below Redis's limits and above whatever is enqueued here.
INBOX = 8_000_000_000


@contextmanager
def valkey(home: Path, fsync: str = "always") -> Iterator[str]:
    """An embedded server as users get it, or with another `appendfsync`; yields its URL."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "logs").mkdir(parents=True)
    child, url = embedded.server(home)
    child.start()
    try:
        embedded.wait_until_ready(child, url)
        connect(url).config_set("appendfsync", fsync)
        yield url
    finally:
        assert child.process is not None
        child.process.terminate()
        child.process.wait()


@contextmanager
def runtime(home: Path, database_url: str = "", **settings: object) -> Iterator[Runtime]:
    """A runtime with an empty store and a Valkey of its own; part-filled batches leave at once."""
    collect_seldom()  # as in every worker process
    with valkey(home) as url:
        wanted = {"data_dir": home, "redis_url": url, "database_url": database_url, "linger": 0, "poll_interval": 0.001}
        made = make(Settings(**{**wanted, **settings}, _env_file=None))
        schema.ensure(made.database, auto_migrate=True)
        try:
            yield made
        finally:
            made.database.close()


def client(world: Runtime) -> Client:
    return Client(world.settings.redis_url, max_inbox_bytes=INBOX)


def enqueue(world: Runtime, records: int, job: str = "bench", **more: object) -> None:
    each = ({"params": params(number), "custom_id": f"record {number}", **more} for number in range(records))
    client(world).enqueue_records(each, job=job)


def drain(world: Runtime) -> None:
    """Accept until the inbox is empty."""
    while accept(world):
        pass


def to_the_api(world: Runtime) -> list[int]:
    """Pack and submit what has been accepted, until nothing is left; returns the batches."""
    sent: list[int] = []
    while packed := chunk(world):
        for batch in packed:
            outcome = submit(world, batch)
            assert outcome == "submitted", outcome
        sent += packed
    return sent


def ended(world: Runtime, batches: list[int]) -> None:
    """Poll until all batches have ended."""
    left = set(batches)
    while left:
        left -= set(poll(world))
        time.sleep(0.01)


def answered(world: Runtime, records: int, sink: str, job: str) -> list[int]:
    """Enqueue a job and bring it as far as the API's answers; returns its batches."""
    enqueue(world, records, job=job, on_result=sink)
    drain(world)
    batches = to_the_api(world)
    ended(world, batches)
    return batches


@contextmanager
def pointing_at(url: str) -> Iterator[None]:
    """Let the gateways made inside speak to this API."""
    before = dict(os.environ)
    os.environ.update(ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="bench")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def timed(do: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def wait(so: Callable[[], bool]) -> None:
    """Wait until something is so; RuntimeError after ten minutes."""
    deadline = time.monotonic() + 600
    while not so():
        if time.monotonic() > deadline:
            raise RuntimeError("the workers did not get through")
        time.sleep(0.02)
