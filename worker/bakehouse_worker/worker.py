"""What a worker process does besides its stations: before it works, while it does, and when it is told to stop.

`bakehouse worker` and plain `celery -A bakehouse_worker.app worker -Q ...` come through here alike, by Celery's signals.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import redis
from celery import bootsteps, signals
from celery.exceptions import SecurityWarning
from celery.worker import state

from bakehouse import BakehouseError, ConfigurationError
from bakehouse_worker import health, log, redis_server, runtime, schema, ticking
from bakehouse_worker.app import CONTROL, DELIVER, QUEUES, ROUTES, TRANSFER, app
from bakehouse_worker.health import Pulse
from bakehouse_worker.local import tether
from bakehouse_worker.local.home import WORKERS_LOCK, prepare_home
from bakehouse_worker.local.locks import FileLock
from bakehouse_worker.store.database import reach
from bakehouse_worker.store.outbox import open_outbox

#: Tasks at a time. Control's are short and share one process. Transfers wait for the network; users' code may not bear company.
CONCURRENCY = {CONTROL: 1, TRANSFER: 2, DELIVER: 1}

#: Messages for control that a worker works through when it starts; more are dropped, because every one can be derived again.
BACKLOG = 1_000
#: New objects before Python looks for cycles: a span of records makes many, and no cycles.
THRESHOLD = (50_000, 20, 20)
#: Seconds between two looks whether beat is there.
CHORES = 5.0


def start(queue: str, concurrency: int | None) -> None:
    """Run a worker of one queue until it is stopped."""
    # Celery warns of root because of pickled messages; these are JSON, and nothing else is accepted.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    wanted = concurrency or CONCURRENCY[queue]
    app.Worker(
        queues=[queue],
        hostname=f"{queue}-{os.getpid()}@{socket.gethostname()}",
        pool="solo" if queue == CONTROL and wanted == 1 else "prefork",
        concurrency=wanted,
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    ).start()


def begin() -> None:
    """Prepare the worker that this process is to be, by Celery's signal; what a person can mend is one sentence and exit code 2."""
    log.configure()
    collect_seldom()
    try:
        life = Life(app.amqp.queues.consume_from)
        life.prepare()
    except BakehouseError as error:
        sys.stderr.write(f"bakehouse: {error}\n")
        raise SystemExit(2) from None
    signals.worker_shutting_down.connect(lambda **_: life.stop_soon(), weak=False)
    signals.worker_shutdown.connect(lambda **_: life.end(), weak=False)


def collect_seldom() -> None:
    """Let Python look for cycles seldom, and not among what is there already: a third of a worker's time went into that."""
    gc.freeze()
    gc.set_threshold(*THRESHOLD)


class Life:
    """One worker process, from before its pool forks to its end."""

    def __init__(self, queues: Collection[str]) -> None:
        self._queues = [queue for queue in QUEUES if queue in queues]
        self._settings = runtime.current().settings
        self._lock = FileLock(prepare_home(self._settings.data_dir) / WORKERS_LOCK)
        self.pulse = Pulse(self._settings.data_dir, "+".join(self._queues))

    def prepare(self) -> None:
        """Do what must be done before the pool forks. Raises ConfigurationError if this worker cannot work."""
        database = runtime.current().database
        self._lock.take(shared=True)
        reach(database)
        if schema.ensure(database, auto_migrate=self._settings.auto_migrate):
            log.logger("worker").info("schema migrated", to=schema.HEAD)
        redis_server.check_at_start(runtime.current().redis, log.logger("redis"))
        if CONTROL in self._queues:
            open_outbox(self._settings)  # only whether its URL can be used; it may be away
            _make_room()
            _forget_backlog()
        database.close()  # pool processes open their own
        runtime.stop_flag()  # shared with them
        self._import_stations()
        app.steps["consumer"].add(
            _heartbeat(self.pulse, [Standby(self._give_up_deaf, _received)] if CONTROL in self._queues else [])
        )
        self.pulse.start()

    def _import_stations(self) -> None:
        """Import once what the pool's processes need, so that they share the memory and none of them pays the time."""
        if TRANSFER in self._queues:
            importlib.import_module("bakehouse_worker.gateway")
        for name, queue in ROUTES.items():
            if queue in self._queues and name != "bakehouse.tick":
                importlib.import_module(f"bakehouse_worker.{name.removeprefix('bakehouse.')}")
        if DELIVER in self._queues:
            self._import_handlers()

    def _import_handlers(self) -> None:
        """Import the application's code, which no other worker does; in the main process, so that a mistake is told at once."""
        for module in self._settings.imports:
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:
                reason = f"{type(error).__name__}: {error}"
                raise ConfigurationError(f"BAKEHOUSE_IMPORTS: {module} cannot be imported ({reason})") from error

    def stop_soon(self) -> None:
        """Tell the stations to hand back what they hold, and end this process in STOP_GRACE seconds if they do not."""
        runtime.stop_flag().set()
        last = threading.Timer(self._settings.stop_grace, self._give_up)
        last.daemon = True
        last.start()

    def _give_up(self) -> None:
        log.logger("worker").error("stopped with work in hand", queues=self._queues, seconds=self._settings.stop_grace)
        self.end()
        os._exit(1)  # the pool's processes end with this one; their leases run out

    def _give_up_deaf(self) -> None:
        log.logger("worker").error("no message arrives here though some wait: ending, to be started again")
        self.end()
        os._exit(1)

    def end(self) -> None:
        """Leave no heartbeat behind: this process was stopped, not lost."""
        self.pulse.stop()


def after_fork() -> None:
    """Make a pool process its own: its own connections, its own name for leases; it dies with its worker."""
    runtime.current.cache_clear()
    tether.tie_pool_child()


def _make_room() -> None:
    """Empty the inbox before anything else: on a Redis that is full no worker comes up, and nobody else makes room in it."""
    from bakehouse_worker import accept

    try:
        accept.accept(runtime.current())
    except Exception as error:  # Redis is away: workers wait for it
        log.logger("worker").warning("inbox not looked into", reason=type(error).__name__)


def _forget_backlog() -> None:
    """Throw away what beat rang while no worker was there, if it is much: a tick says nothing that the next one does not say."""
    current = runtime.current()
    try:
        if ticking.messages(current) > BACKLOG:
            log.logger("worker").warning("old messages dropped", messages=ticking.forget(current))
    except redis.RedisError as error:  # Redis is away: workers wait for it
        log.logger("worker").warning("queue not looked into", reason=type(error).__name__)


def _received() -> int:
    """Return how many messages this worker has begun to work on since its start."""
    return sum(state.total_count.values())


class Standby:
    """Does beat's work where no tick came for long: beat is gone, or Redis is so full that it takes no message.

    If messages wait in the queue all the same, and again when the next tick is late, and not one of any kind was received in between,
    this worker's own connection is dead without anybody having noticed: it ends, and whoever tends it starts it anew. `received`
    counts the messages that came here since the start.
    """

    def __init__(self, end: Callable[[], None], received: Callable[[], int]) -> None:
        self._end, self._received = end, received
        self._seen: tuple[str | None, int] = (None, 0)  # the tick made here last, and what had been received by then
        self._unheard = 0

    def __call__(self) -> None:
        """Look once, in the worker's idle loop."""
        from bakehouse_worker import tasks

        current = runtime.current()
        try:
            late = ticking.is_late(current)
            if (ticking.last(current), self._received()) != self._seen:
                self._unheard = 0  # somebody works on ticks, or messages come
            if not late:
                return
            self._unheard += ticking.messages(current) > 0
            if self._unheard > 1:
                self._end()
            log.logger("worker").warning("no tick from beat: ticking here")
            _make_room()
            tasks.tick.run()
            self._seen = ticking.last(current), self._received()
        except Exception as error:  # a broker that refuses, a database that is away: again at the next turn
            log.logger("worker").warning("cannot tick", reason=type(error).__name__)


def _heartbeat(pulse: Pulse, chores: Sequence[Callable[[], None]]) -> type[bootsteps.StartStopStep]:
    """Return the step of Celery's consumer that tells whether it is connected and its loop turns, and does chores meanwhile."""

    class Heartbeat(bootsteps.StartStopStep):
        requires = ("celery.worker.consumer.tasks:Tasks",)
        timers: Sequence[Any] = ()

        def start(self, consumer: Any) -> None:
            every = consumer.timer.call_repeatedly
            self.timers = [every(health.BEAT, pulse.mark), *(every(CHORES, chore) for chore in chores)]
            pulse.working()

        def stop(self, consumer: Any) -> None:
            for timer in self.timers:
                timer.cancel()
            pulse.waiting()

    return Heartbeat
