"""A plan's faults at work: each begins when its time has come, is seen when it fires, and ends by itself."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import redis
from chaos import foreign
from chaos.crew import Crew
from chaos.plan import LEASE, Fault, Plan
from chaos.points import FREEZE, Board
from chaos.proxy import Proxy
from chaos.services import Services
from clocks import Wall
from cluster import Server
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bakehouse_emulator import Running
from bakehouse_worker.store import holds, retention
from bakehouse_worker.store.database import Database


@dataclass
class Watched:
    """A fault that fires by itself, how often it was seen to have fired, and what is to be done whenever it has."""

    name: str
    count: Callable[[], int]
    seen: int = 0
    then: Callable[[], None] | None = None


@dataclass
class World:
    """What can be made to fail. `all_accepted` tells whether nothing that was enqueued stands in Redis alone."""

    api: Running
    wire: Proxy
    redis: Server
    redis_wire: Proxy
    crew: Crew
    board: Board
    wall: Wall
    services: Services
    database: Database
    all_accepted: Callable[[], bool]


class Trouble:
    """Call `stir` again and again. `fired` counts faults by name; `last` is when one last fired or ended."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan, self._world = plan, world
        self._waiting = list(plan.faults)
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._watched: list[Watched] = []
        self._struck: set[str] = set()
        self._imitated: set[tuple[int, int]] = set()
        self._rules = 0
        self.fired: Counter[str] = Counter()
        self.started = self.last = time.monotonic()

    @property
    def over(self) -> bool:
        """Nothing is held that is to be let go."""
        return not self._later

    def stir(self) -> None:
        """Begin and end what is due, and note what has fired."""
        elapsed = time.monotonic() - self.started
        for fault in [each for each in self._waiting if each.at <= elapsed]:
            with suppress(DBAPIError, psycopg.Error):  # a database that is away: again at the next turn
                if self._begin(fault):
                    self._waiting.remove(fault)
        for each in [each for each in self._later if each[0] <= time.monotonic()]:
            each[1]()
            self._later.remove(each)
            self.last = time.monotonic()
        self.look()

    def look(self) -> None:
        """Note what has fired since the last look; what froze is to go on later."""
        for each in self._watched:
            if (more := each.count() - each.seen) > 0:
                each.seen += more
                self._note(each.name, more)
                if each.then is not None:
                    each.then()
        for strike, (how, point, process) in self._world.board.strikes().items():
            if strike not in self._struck:
                self._struck.add(strike)
                self._strike(how, point, process)

    def end(self) -> None:
        """The network is well again."""
        self._world.wire.heal()
        self._world.redis_wire.heal()
        self._world.services.start_postgres()

    def _strike(self, how: str, point: str, process: int) -> None:
        """A process ended or froze at a point: note it, let it go on, and arm the point again if that was wanted."""
        self._note(f"{how} at {point}")
        fault = next(f for f in self._plan.faults if f.how.get("point") == point and f.how["do"] == how)
        pause = float(fault.how["seconds"])
        if how == FREEZE:
            self._after(pause, lambda: _go_on(process))
        if self.fired[f"{how} at {point}"] < fault.how.get("times", 1):
            self._after(pause, lambda: self._world.board.arm(point, how))

    def _begin(self, fault: Fault) -> bool:
        """Let a fault begin; False if it must wait."""
        if fault.kind == "process":
            return self._process(fault)
        if fault.kind == "foreign":
            return self._imitate(fault)
        if fault.kind == "point":
            if fault.how["point"].startswith("prune"):
                holds.put(self._world.database, retention.TURN_KEY, "0")  # it has one turn an hour
            self._world.board.arm(fault.how["point"], fault.how["do"])
        elif fault.kind == "api":
            self._rule(fault)
        else:
            self._network(fault, self._world.wire if fault.kind == "wire" else self._world.redis_wire)
        return True

    def _imitate(self, fault: Fault) -> bool:
        """Let other software send batches of the sizes that are in doubt, each once; True when there were enough."""
        for submission, requests in sorted(foreign.in_doubt(self._world.database) - self._imitated):
            self._imitated.add((submission, requests))
            if foreign.send(self._world.api.url, submission, requests):
                self._note(fault.name)
        return self.fired[fault.name] >= int(fault.how["times"])

    def _rule(self, fault: Fault) -> None:
        number = self._rules
        self._rules += 1
        self._world.api.rules(fault.how)
        self._watched.append(Watched(fault.name, lambda: int(self._world.api.script()[number]["fired"])))

    def _network(self, fault: Fault, proxy: Proxy) -> None:
        made = proxy.fail(**{**fault.how, "match": fault.how.get("match", "").encode()})
        heals = (lambda: self._after(LEASE + 1.5, proxy.heal)) if made.mode == "hole" else None
        self._watched.append(Watched(fault.name, lambda: made.fired, then=heals))

    def _process(self, fault: Fault) -> bool:
        how, world = fault.how, self._world
        if how["do"] == "flush redis":
            if not world.all_accepted() or not self._flush():
                return False  # what was not accepted yet would be lost, as the documents say
        elif how["do"] == "restart redis":
            world.redis.kill()
            self._after(how["seconds"], world.redis.start)
        elif how["do"] == "restart postgresql":
            world.services.kill_postgres()
            self._after(how["seconds"], world.services.start_postgres)
        elif how["do"] == "hold the database":
            self._after(how["seconds"], _held(world.database))
        elif how["do"] == "set the clock":
            world.wall.step(how["by"])
        elif how["do"] == "stop":
            world.crew.freeze(how["role"])
            self._after(how["seconds"], lambda: world.crew.thaw(how["role"]))
        else:
            world.crew.kill(how["role"])
        self._note(fault.name)
        return True

    def _flush(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self._world.redis.url).flushall())
        except redis.RedisError:
            return False

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _note(self, name: str, times: int = 1) -> None:
        self.fired[name] += times
        self.last = time.monotonic()


def _held(database: Database) -> Callable[[], None]:
    """Take what every writer needs, and return what gives it back."""
    connection = database.engine.connect().execution_options(bakehouse_begin="IMMEDIATE")
    begun = connection.begin()
    if not database.sqlite:
        connection.execute(text("LOCK TABLE batch IN EXCLUSIVE MODE"))

    def give_back() -> None:
        with suppress(DBAPIError):  # the server may be gone meanwhile
            begun.rollback()
            connection.close()

    return give_back


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
