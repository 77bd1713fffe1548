"""The whole system on one data directory: server, worker processes, beat. Several commands may share it.

Whoever holds the directory's lock runs the processes; the others join, and take over when the holder ends. Nothing outlives its
command: children die with their parent.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from bakehouse import ConfigurationError
from bakehouse_worker import health, log, rescue, schema
from bakehouse_worker.local import embedded
from bakehouse_worker.local.crew import IDLE, Crew
from bakehouse_worker.local.home import WORKERS_LOCK, prepare_home
from bakehouse_worker.local.locks import FileLock
from bakehouse_worker.local.supervise import GRACE, Child, Supervisor
from bakehouse_worker.runtime import Runtime, make
from bakehouse_worker.settings import Settings
from bakehouse_worker.store import due, holds
from bakehouse_worker.store.database import Database, reach

#: Seconds that a joining command waits for the holder's server.
JOIN_LIMIT = 30.0
#: Seconds that children have to end by themselves when nothing is in work: the crew needs IDLE_GRACE and a bit.
QUICK = 3.0


class Stack:
    """Start with `with Stack(settings) as stack`; call `stack.tend()` about twice a second while it is in use."""

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str] | None = None,
        extra: Callable[[Path], Child] | None = None,
        beside: Sequence[tuple[str, Sequence[str]]] = (),
        crew: Crew | None = None,
        check: Callable[[Database], None] | None = None,
    ) -> None:
        """Run the roles, by `crew` if that was called already, and `beside` them commands as (name, words).

        `check` is called with the store before any of them works; what it raises ends the stack.
        """
        self.home = prepare_home(settings.data_dir)
        self._settings = settings
        self._environment = dict(environment or {})
        self._extra = extra
        self._beside = beside
        self._crew = crew or Crew(self.home)
        self._check = check
        self._lock = FileLock(self.home / "stack.lock")
        self.supervisor = Supervisor()
        self._runtime: Runtime | None = None

    @property
    def owner(self) -> bool:
        """Whether this command runs the processes itself."""
        return self._lock.held

    @property
    def runtime(self) -> Runtime:
        """The runtime that speaks to this stack's store and Redis."""
        assert self._runtime is not None  # noqa: S101
        return self._runtime

    def __enter__(self) -> Stack:
        log.configure(stream=(self.home / "logs" / "command.log").open("a", encoding="utf-8"))
        try:
            if not self._take_over():
                self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def tend(self) -> None:
        """Keep the processes alive; if another command ran them and has ended, take over."""
        if self._lock.held:
            self.supervisor.tend()
        else:
            self._take_over()

    def ring(self, station: str) -> None:
        """Ring a station's doorbell, at the server that the roles use. Whatever is wrong with it: the next tick finds what is due."""
        from bakehouse_worker.app import app  # late: Celery is imported while the workers come up

        os.environ["BAKEHOUSE_REDIS_URL"] = self.runtime.settings.redis_url
        try:
            app.send_task(f"bakehouse.{station}", shadow=station, argsrepr="()", retry=False)
        except Exception as error:
            log.logger("stack").warning("not rung", station=station, reason=type(error).__name__)

    def dismiss(self) -> None:
        """Let the workers end if nothing is left to do, without waiting for it: what follows needs the machine."""
        crew = self._crew.process
        if self._lock.held and crew is not None and due.idle(self.runtime.database):
            crew.send_signal(IDLE)

    def stop(self) -> None:
        """Stop what this command started. Workers without work in hand need no time to finish it."""
        idle = False
        if self._runtime is not None:
            self.dismiss()
            idle = self._lock.held and due.idle(self._runtime.database)
            self._runtime.database.close()
            if self._lock.held and not self._settings.redis_url:
                embedded.forget_accepted(self._runtime.redis, self._runtime.keys)
        if self._lock.held:
            self.supervisor.stop(QUICK if idle else GRACE)
            health.sweep(self.home)
            if not self._settings.redis_url:
                (self.home / "redis.url").unlink(missing_ok=True)
            self._lock.release()

    def _take_over(self) -> bool:
        if not self._lock.take():
            return False
        if self._extra is not None:
            self.supervisor.start(self._extra(self.home))
        url = self._settings.redis_url or self._start_server()
        self._open(url)
        self._take_back()
        holds.try_again(self.runtime.database)
        env = {**os.environ, **self._environment, "BAKEHOUSE_DATA_DIR": str(self.home), "BAKEHOUSE_REDIS_URL": url}
        self._crew.env = env
        self.supervisor.start(self._crew)
        for name, command in self._beside:
            argv = [sys.executable, "-m", "bakehouse_worker", *command]
            self.supervisor.start(Child(name, argv, env, self.home / "logs" / f"{name}.log"))
        return True

    def _take_back(self) -> None:
        """After a crash, take over at once what the dead held: on SQLite, where the lock shows that no worker is alive."""
        workers, deadline = FileLock(self.home / WORKERS_LOCK), time.monotonic() + 5.0
        while not self._settings.database_url and time.monotonic() < deadline:
            if workers.take():
                rescue.after_crash(self.runtime)
                workers.release()
                return
            time.sleep(0.05)

    def _start_server(self) -> str:
        child, url = embedded.server(self.home)
        self.supervisor.start(child)
        embedded.wait_until_ready(child, url)
        embedded.announce(self.home, url)
        return url

    def _join(self) -> None:
        deadline = time.monotonic() + JOIN_LIMIT
        announced = self.home / "redis.url"
        while not self._settings.redis_url and not announced.exists():
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"another command holds {self.home} but its server does not come up; see {self.home}/logs"
                )
            time.sleep(0.05)
        self._open(self._settings.redis_url or announced.read_text(encoding="utf-8").strip())

    def _open(self, url: str) -> None:
        if self._runtime is not None:
            self._runtime.database.close()
        self._runtime = make(self._settings.model_copy(update={"redis_url": url, "data_dir": self.home}))
        reach(self._runtime.database)
        schema.ensure(self._runtime.database, auto_migrate=self._settings.auto_migrate)
        if self._check is not None:
            check, self._check = self._check, None
            check(self._runtime.database)
