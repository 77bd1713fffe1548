"""One plan carried out: a small cluster works while things go wrong, and is judged by the API's ledger."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from chaos import records
from chaos.crew import ROLES, Crew
from chaos.plan import LEASE, SPAN, Fault, Plan
from chaos.points import FREEZE, Board
from chaos.proxy import Proxy
from chaos.records import Verdict
from chaos.services import Services
from cluster import Server
from journey_machine import wait_until
from sqlalchemy import text

from bakehouse import BakehouseError, Client
from bakehouse_emulator import EmulatorOptions, running
from bakehouse_worker import health, schema
from bakehouse_worker.store import due
from bakehouse_worker.store.database import Database, open_database

FAST = {
    "TICK": 0.3,
    "LINGER": 0.3,
    "POLL_INTERVAL": 0.3,
    "LEASE": LEASE,
    "CREATE_TIMEOUT": 2,
    "DOUBT_GRACE": 3,
    "PROBE_INTERVAL": 1,
    "RETRY_BASE": 0.3,
    "FANOUT_LIMIT": 20,
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


@dataclass
class Watched:
    """A fault that fires by itself, and how often it was seen to have fired."""

    name: str
    count: Callable[[], int]
    seen: int = 0


class _Scenario:
    def __init__(self, plan: Plan, home: Path, services: Services, url: str, stack: ExitStack) -> None:
        self.plan, self.home, self.board = plan, home, Board(home / "board")
        self.api = stack.enter_context(running(EmulatorOptions(**{"speed": 60, "batch_seconds": 30, **plan.readings})))
        self.wire = stack.enter_context(Proxy(int(self.api.url.rpartition(":")[2])))
        self.redis = Server(home / "redis")
        self.redis.start()
        stack.callback(self._end_redis)
        self.redis_wire = stack.enter_context(Proxy(self.redis.port))
        data = home / "data"
        data.mkdir(mode=0o700)
        self.database: Database = open_database(url, data / "bakehouse.sqlite")
        stack.callback(self.database.close)
        schema.ensure(self.database, auto_migrate=True)
        self.crew = Crew(services, home, self._environment(url))
        stack.callback(self.crew.end)
        self.client = Client(self.redis.url)
        self.enqueued, self.wanted = 0, list(plan.faults)
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.watched: list[Watched] = []
        self.fired: Counter[str] = Counter()
        self.rules = 0
        self.started = self.last = time.monotonic()

    def _environment(self, url: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BAKEHOUSE_", "ANTHROPIC_"))}
        settings = {**FAST, "MAX_BATCH_REQUESTS": self.plan.batch, "DATABASE_URL": url, "DATA_DIR": self.home / "data"}
        settings["REDIS_URL"] = self.redis.url.replace(f":{self.redis.port}/", f":{self.redis_wire.port}/")
        return {
            **own,
            **{f"BAKEHOUSE_{name}": str(value) for name, value in settings.items()},
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.wire.port}",
            "ANTHROPIC_API_KEY": "key",
            "CHAOS_BOARD": str(self.home / "board"),
            "CHAOS_DELIVERED": str(self.home / "delivered.txt"),
            "CHAOS_WITHOUT": self.plan.without,
        }

    def play(self) -> Outcome:
        if self.plan.without == "no_two_look_alike":
            with self.database.write() as connection:
                connection.execute(text("DROP INDEX submission_distinct"))
        self.crew.start()
        wait_until(self._ready, "the cluster works", 30)
        self.started = self.last = time.monotonic()
        while not (done := self._is_done()) and time.monotonic() - self.last < self.plan.limit:
            self._begin_faults()
            self._enqueue()
            self.crew.tend()
            self._run_later()
            self._watch()
            time.sleep(0.05)
        ended = time.monotonic()
        self._watch()
        self.wire.heal()
        self.redis_wire.heal()
        sound = self.crew.command("doctor") == 0
        self.crew.end()
        self.api.advance(600)  # what runs at the API without our knowledge ends and is billed too
        struck = {fault.how["prompt"] for fault in self.plan.faults if "prompt" in fault.how}
        delivered = self.home / "delivered.txt"
        verdict = records.judge(self.plan.seed, self.enqueued, self.api, self.database, delivered, struck)
        return Outcome(self.plan, verdict, done, sound, ended - self.started, ended - self.last, self.fired)

    def _ready(self) -> bool:
        self.crew.tend()
        return all(verdict.ready for verdict in health.examine(self.home / "data", list(ROLES)))

    def _is_done(self) -> bool:
        """Every record has its end and was delivered, nothing is to go wrong any more, and nobody is frozen."""
        elapsed = time.monotonic() - self.started
        if self.enqueued < self.plan.records or elapsed < SPAN or self.later or records.ended(self.database) < self.enqueued:
            return False
        return due.idle(self.database)

    def _enqueue(self) -> None:
        """Enqueue what is due by now; what Redis did not take goes again with the next turn."""
        share = min(1.0, (time.monotonic() - self.started + 0.5) / SPAN)
        upto = max(self.enqueued, int(self.plan.records * share))
        with suppress(BakehouseError):
            jobs: dict[str, list[dict[str, Any]]] = {}
            for job, entry in records.entries(self.plan.seed, self.enqueued, upto):
                jobs.setdefault(job, []).append(entry)
            for job, entries in jobs.items():
                self.client.enqueue_records(entries, job=job)
            self.enqueued = upto

    def _begin_faults(self) -> None:
        elapsed = time.monotonic() - self.started
        for fault in [each for each in self.wanted if each.at <= elapsed]:
            if self._begin(fault):
                self.wanted.remove(fault)

    def _begin(self, fault: Fault) -> bool:
        """Let a fault begin; False if it must wait."""
        if fault.kind == "point":
            self.board.arm(fault.how["point"], fault.how["do"])
        elif fault.kind == "api":
            self.api.rules(fault.how)
            self._watch_rule(fault.name, self.rules)
            self.rules += 1
        elif fault.kind == "process":
            return self._process(fault)
        else:
            proxy = self.wire if fault.kind == "wire" else self.redis_wire
            made = proxy.fail(**{**fault.how, "match": fault.how.get("match", "").encode()})
            self.watched.append(Watched(fault.name, lambda: made.fired))
            if made.mode == "hole":
                self._after(LEASE + 1.5, proxy.heal)
        return True

    def _watch_rule(self, name: str, number: int) -> None:
        self.watched.append(Watched(name, lambda: int(self.api.script()[number]["fired"])))

    def _process(self, fault: Fault) -> bool:
        how = fault.how
        if how["do"] == "flush redis":
            if self.enqueued == 0 or records.known(self.database) < self.enqueued or not self._flush():
                return False  # what was not accepted yet would be lost, as the documents say
        elif how["do"] == "restart redis":
            self.redis.kill()
            self._after(how["seconds"], self.redis.start)
        elif how["do"] == "stop":
            self.crew.freeze(how["role"])
            self._after(how["seconds"], lambda: self.crew.thaw(how["role"]))
        else:
            self.crew.kill(how["role"])
        self._note(fault.name)
        return True

    def _flush(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.redis.url).flushall())
        except redis.RedisError:
            return False

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self.later.append((time.monotonic() + seconds, action))

    def _run_later(self) -> None:
        for each in [each for each in self.later if each[0] <= time.monotonic()]:
            each[1]()
            self.later.remove(each)
            self.last = time.monotonic()

    def _watch(self) -> None:
        """Note what has fired since, and let those go on that froze."""
        for each in self.watched:
            if (more := each.count() - each.seen) > 0:
                each.seen += more
                self._note(each.name, more)
        for point, (how, pid, _) in self.board.strikes().items():
            name = f"{how} at {point}"
            if not self.fired[name]:
                self._note(name)
                if how == FREEZE:
                    self._after(self._frozen_for(point), lambda pid=pid: _go_on(pid))  # type: ignore[misc]

    def _frozen_for(self, point: str) -> float:
        return next(float(f.how["seconds"]) for f in self.plan.faults if f.how.get("point") == point and "seconds" in f.how)

    def _note(self, name: str, times: int = 1) -> None:
        self.fired[name] += times
        self.last = time.monotonic()

    def _end_redis(self) -> None:
        if self.redis.process is not None and self.redis.process.poll() is None:
            self.redis.kill()


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
