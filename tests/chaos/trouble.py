"""A plan's faults at work: each begins when its time has come, is seen when it fires, and ends by itself."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import redis
from chaos.crew import Crew
from chaos.plan import LEASE, Fault, Plan
from chaos.points import FREEZE, Board
from chaos.proxy import Proxy
from cluster import Server

from bakehouse_emulator import Running


@dataclass
class Watched:
    """A fault that fires by itself, and how often it was seen to have fired."""

    name: str
    count: Callable[[], int]
    seen: int = 0


@dataclass
class World:
    """What can be made to fail. `all_accepted` tells whether nothing that was enqueued stands in Redis alone."""

    api: Running
    wire: Proxy
    redis: Server
    redis_wire: Proxy
    crew: Crew
    board: Board
    all_accepted: Callable[[], bool]


class Trouble:
    """Call `stir` again and again. `fired` counts faults by name; `last` is when one last fired or ended."""

    def __init__(self, plan: Plan, world: World) -> None:
        self._plan, self._world = plan, world
        self._waiting = list(plan.faults)
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._watched: list[Watched] = []
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
        for point, (how, pid, _) in self._world.board.strikes().items():
            if not self.fired[name := f"{how} at {point}"]:
                self._note(name)
                if how == FREEZE:
                    self._after(self._frozen_for(point), lambda pid=pid: _go_on(pid))  # type: ignore[misc]

    def end(self) -> None:
        """The network is well again."""
        self._world.wire.heal()
        self._world.redis_wire.heal()

    def _begin(self, fault: Fault) -> bool:
        """Let a fault begin; False if it must wait."""
        if fault.kind == "process":
            return self._process(fault)
        if fault.kind == "point":
            self._world.board.arm(fault.how["point"], fault.how["do"])
        elif fault.kind == "api":
            self._rule(fault)
        else:
            self._network(fault, self._world.wire if fault.kind == "wire" else self._world.redis_wire)
        return True

    def _rule(self, fault: Fault) -> None:
        number = self._rules
        self._rules += 1
        self._world.api.rules(fault.how)
        self._watched.append(Watched(fault.name, lambda: int(self._world.api.script()[number]["fired"])))

    def _network(self, fault: Fault, proxy: Proxy) -> None:
        made = proxy.fail(**{**fault.how, "match": fault.how.get("match", "").encode()})
        self._watched.append(Watched(fault.name, lambda: made.fired))
        if made.mode == "hole":
            self._after(LEASE + 1.5, proxy.heal)

    def _process(self, fault: Fault) -> bool:
        how, world = fault.how, self._world
        if how["do"] == "flush redis":
            if not world.all_accepted() or not self._flush():
                return False  # what was not accepted yet would be lost, as the documents say
        elif how["do"] == "restart redis":
            world.redis.kill()
            self._after(how["seconds"], world.redis.start)
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

    def _frozen_for(self, point: str) -> float:
        frozen = (f.how for f in self._plan.faults if f.how.get("point") == point and f.how["do"] == FREEZE)
        return float(next(frozen)["seconds"])

    def _note(self, name: str, times: int = 1) -> None:
        self.fired[name] += times
        self.last = time.monotonic()


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
