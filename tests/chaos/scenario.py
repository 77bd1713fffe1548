"""One plan carried out: a small cluster works while things go wrong, and is judged by the API's ledger."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import records
from chaos.crew import ROLES, Crew
from chaos.plan import LEASE, SPAN, Plan
from chaos.points import Board
from chaos.proxy import Proxy
from chaos.records import Verdict
from chaos.services import Services
from chaos.trouble import Trouble, World
from cluster import Server
from journey_machine import wait_until
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bakehouse import BakehouseError, Client
from bakehouse_emulator import EmulatorOptions, running
from bakehouse_worker import health, schema
from bakehouse_worker.store import due
from bakehouse_worker.store.database import Database, open_database

FAST = {
    "TICK": 0.5,
    "LINGER": 0.3,
    "POLL_INTERVAL": 0.3,
    "LEASE": LEASE,
    "CREATE_TIMEOUT": 2,
    "DOUBT_GRACE": 3,
    "PROBE_INTERVAL": 1,
    "RETRY_BASE": 0.3,
    "FANOUT_LIMIT": 5,
    "DELIVER_TIMEOUT": 2,  # what a lost worker had in hand is leased for so long, and some
    "IMPORTS": "chaos.sink",
}


@dataclass
class Outcome:
    """What came of a scenario. `fired` counts faults by name; `recovery` is from the last of them to the end of the last record."""

    plan: Plan
    verdict: Verdict
    done: bool
    sound: bool
    seconds: float
    recovery: float
    fired: Counter[str] = field(default_factory=Counter)
    passed: list[str] = field(default_factory=list)  # crash points that its processes came to

    @property
    def good(self) -> bool:
        verdict = self.verdict
        bad = verdict.lost or verdict.billed_twice or verdict.sent_twice or verdict.undelivered
        return self.done and self.sound and not bad


def carry_out(plan: Plan, home: Path, services: Services) -> Outcome:
    """Carry out a plan in an empty directory, which keeps logs, the plan and the points that were passed."""
    home.mkdir(parents=True)
    plan.write(home / "plan.json")
    with ExitStack() as stack:
        url = services.database(plan.database)
        stack.callback(services.drop, url)
        return _Scenario(plan, home, services, url, stack).play()


class _Scenario:
    def __init__(self, plan: Plan, home: Path, services: Services, url: str, stack: ExitStack) -> None:
        self.plan, self.home, self.enqueued, self._services = plan, home, 0, services
        self._progress = (0, 0)
        options = EmulatorOptions(**{"speed": 60, "batch_seconds": 30, **plan.readings})
        api = stack.enter_context(running(options))
        wire = stack.enter_context(Proxy(int(api.url.rpartition(":")[2])))
        server = Server(home / "redis")
        server.start()
        stack.callback(server.kill)
        redis_wire = stack.enter_context(Proxy(server.port))
        data = home / "data"
        data.mkdir(mode=0o700)
        self.database: Database = open_database(url, data / "bakehouse.sqlite")
        stack.callback(self.database.close)
        schema.ensure(self.database, auto_migrate=True)
        redis_url = server.url.replace(f":{server.port}/", f":{redis_wire.port}/")
        crew = Crew(services, home, self._environment(url, redis_url, wire.port))
        stack.callback(crew.end)
        self.client = Client(server.url)
        stack.callback(services.wall.leave)
        if url:
            services.wall.join(url)
        board, wall = Board(home / "board"), services.wall
        self.world = World(
            api, wire, server, redis_wire, crew, board, wall, services, self.database, self._all_accepted
        )

    def _environment(self, database_url: str, redis_url: str, api_port: int) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BAKEHOUSE_", "ANTHROPIC_"))}
        settings = {
            **FAST,
            "MAX_BATCH_REQUESTS": self.plan.batch,
            "DATABASE_URL": database_url,
            "DATA_DIR": self.home / "data",
            "REDIS_URL": redis_url,
        }
        return {
            **own,
            **{f"BAKEHOUSE_{name}": str(value) for name, value in settings.items()},
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{api_port}",
            "ANTHROPIC_API_KEY": "key",
            "CHAOS_BOARD": str(self.home / "board"),
            "CHAOS_DELIVERED": str(self.home / "delivered.txt"),
            "CHAOS_HANDLING": str(self.plan.handling),
            "CHAOS_WITHOUT": self.plan.without,
            **self._services.wall.env,  # read at every look at the clock
        }

    def play(self) -> Outcome:
        if self.plan.without == "no_two_look_alike":
            with self.database.write() as connection:
                connection.execute(text("DROP INDEX submission_distinct"))
        crew = self.world.crew
        crew.start()
        wait_until(self._ready, "the cluster works", 60)
        trouble = Trouble(self.plan, self.world)
        moved = time.monotonic()
        while not (done := self._is_done(trouble)) and time.monotonic() - max(trouble.last, moved) < self.plan.limit:
            trouble.stir()
            self._enqueue(trouble.started)
            crew.tend()
            moved = self._moved(moved)
            time.sleep(0.2)
        ended = time.monotonic()
        trouble.look()
        trouble.end()
        sound = crew.command("doctor") == 0
        crew.end()
        recovery = max(0.0, ended - trouble.last)
        passed, took = self.world.board.points(), ended - trouble.started
        return Outcome(self.plan, self._verdict(), done, sound, took, recovery, trouble.fired, passed)

    def _ready(self) -> bool:
        self.world.crew.tend()
        return all(verdict.ready for verdict in health.examine(self.home / "data", list(ROLES)))

    def _is_done(self, trouble: Trouble) -> bool:
        """Every record has its end and was delivered, and nothing more is to go wrong."""
        if self.enqueued < self.plan.records or time.monotonic() - trouble.started < SPAN or not trouble.over:
            return False
        with suppress(DBAPIError):  # the database is away
            return records.ended(self.database) >= self.enqueued and due.idle(self.database)
        return False

    def _moved(self, last: float) -> float:
        """Return when anything last came to its end or was delivered: as long as something does, nothing hangs."""
        delivered = self.home / "delivered.txt"
        with suppress(DBAPIError):
            now = (records.ended(self.database), delivered.stat().st_size if delivered.exists() else 0)
            if now != self._progress:
                self._progress = now
                return time.monotonic()
        return last

    def _all_accepted(self) -> bool:
        with suppress(DBAPIError):
            return 0 < self.enqueued <= records.known(self.database)
        return False

    def _enqueue(self, started: float) -> None:
        """Enqueue what is due by now; what Redis did not take goes again with the next turn."""
        share = min(1.0, (time.monotonic() - started + 0.5) / SPAN)
        upto = max(self.enqueued, int(self.plan.records * share))
        with suppress(BakehouseError):
            jobs: dict[str, list[dict[str, Any]]] = {}
            for job, entry in records.entries(self.plan, self.enqueued, upto):
                jobs.setdefault(job, []).append(entry)
            for job, entries in jobs.items():
                self.client.enqueue_records(entries, job=job)
            self.enqueued = upto

    def _verdict(self) -> Verdict:
        self.world.api.advance(600)  # what runs at the API without our knowledge ends and is billed too
        delivered = self.home / "delivered.txt"
        return records.judge(self.plan, self.enqueued, self.world.api, self.database, delivered)
