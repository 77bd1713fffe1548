"""One record's whole way in one process: real Redis, real SQL, the real SDK over HTTP, and clocks that move when told."""

from __future__ import annotations

import uuid

import pytest

from bakehouse import Client
from bakehouse_emulator import EmulatorOptions, running
from bakehouse_worker import body, doctor, models, schema
from bakehouse_worker.accept import accept
from bakehouse_worker.cancel import cancel_at_api
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.deliver import deliver
from bakehouse_worker.poll import poll
from bakehouse_worker.rescue import rescue
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.settings import Settings
from bakehouse_worker.settle import settle
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import due, outcomes, reading
from bakehouse_worker.store.database import open_database
from bakehouse_worker.submit import submit


class Clock:
    """Seconds since 1970 that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A store, a Redis, an emulator, and the stations to be called in any order."""

    def __init__(self, home, redis_url, database_url, server, **settings):
        self.home, self.server, self.clock = home, server, Clock()
        self.database_url = database_url
        self.redis_url = redis_url
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.settings = Settings(
            **{
                "data_dir": home,
                "redis_url": redis_url,
                "redis_prefix": self.prefix,
                "linger": 0,
                "poll_interval": 10,
                "retry_base": 10,
                **settings,
            }
        )
        self.runtime = self.worker()
        schema.ensure(self.runtime.database, auto_migrate=True)
        self.client = Client(redis_url, prefix=self.prefix)

    def worker(self, **changes):
        """Another worker process's view of the same world."""
        settings = self.settings.model_copy(update=changes)
        return Runtime(
            settings, open_database(self.database_url, self.home / "bakehouse.sqlite", self.clock), dice=lambda: 0.5
        )

    def params(self, text="hello", **more):
        return {
            "model": "claude-haiku-5-5",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": text}],
            **more,
        }

    def enqueue(self, count=3, job="job", text="item", **more):
        for number in range(count):
            self.client.enqueue_record(self.params(f"{text} {number}"), custom_id=f"{text} {number}", job=job, **more)
        return count

    def packed(self, count=3, **more):
        """Enqueue, accept and pack; returns the batches' ids."""
        self.enqueue(count, **more)
        accept(self.runtime)
        return chunk(self.runtime)

    def let_go(self, model):
        """Send what asks for a model whatever the API tells of it: as a person may say."""
        models.released(self.runtime, model)

    def submitted(self, count=3, **more):
        batches = self.packed(count, **more)
        for batch in batches:
            assert submit(self.runtime, batch) == "submitted"
        return batches

    def ended(self, count=3, **more):
        self.submitted(count, **more)
        self.pass_time(61)
        return poll(self.runtime)

    def pass_time(self, seconds):
        self.clock.now += seconds
        self.server.advance(seconds)

    def tick(self):
        """Everything that is due now, once."""
        self.tick_without_delivery()
        deliver(self.runtime)

    def tick_without_delivery(self):
        """The same, but outcomes stay where they are."""
        runtime = self.runtime
        accept(runtime)
        chunk(runtime)
        now = due.due(runtime.database, 100)
        for batch in now.submit:
            submit(runtime, batch)
        if now.rescue:
            rescue(runtime)
        cancel_at_api(runtime)
        poll(runtime)
        for batch in due.due(runtime.database, 100).collect:
            collect(runtime, batch)
        for batch in due.due(runtime.database, 100).settle:
            settle(runtime, batch)

    def run_to_end(self, job="job", ticks=200, step=61):
        """Tick until every record of the job has its end."""
        for _ in range(ticks):
            self.tick()
            view = self.job(job)
            if view.known and view.ended == view.known:
                return view.states
            self.pass_time(step)
        raise AssertionError(f"not at its end after {ticks} ticks: {self.job(job)}, {self.batches()}")

    def job(self, name="job"):
        return reading.jobs(self.runtime.database, name)[0]

    def batches(self):
        return reading.live_batches(self.runtime.database)

    def endings(self, job="job"):
        return {ending.custom_id: ending for ending in outcomes.iterate(self.runtime.database, self.job(job).id)}

    def all_records(self):
        """Every record of every job by its custom_id, wherever it stands."""
        database = self.runtime.database
        return {
            ending.custom_id: ending
            for view in reading.jobs(database)
            for state in RecordState
            for ending in outcomes.iterate(database, view.id, states=[state])
        }

    def never_twice(self):
        """The emulator's own ledger: nothing accepted or billed twice unless a retry was due."""
        return self.server.totals()

    def books_agree(self):
        bad = [finding for finding in doctor.examine(self.runtime) if finding.ok is False]
        assert not bad, bad


@pytest.fixture
def server():
    with running(EmulatorOptions(speed=0)) as emulator:
        yield emulator


@pytest.fixture
def make_world(tmp_path, redis_url, new_database, server, monkeypatch):
    """Build worlds; at the end of the test the books of each must agree."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    monkeypatch.setattr(body, "STALL", 60.0)  # a machine that is busy with other tests is no sender that stalls
    made = []

    def build(**settings):
        home = tmp_path / f"home{len(made)}"
        home.mkdir()
        made.append(World(home, redis_url, new_database(), server, **settings))
        return made[-1]

    yield build
    for world in made:
        world.books_agree()
        world.runtime.database.close()


@pytest.fixture
def world(make_world):
    return make_world()
