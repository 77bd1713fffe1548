"""The roles of one machine, forked out of one process that has imported what they need: paid once, and shared by all of them.

`python -m bakehouse_worker.local.crew` imports what all of them need, and forks `transfer`, which alone imports the SDK. With `--ask`,
that one asks the API who we are, and prints `preflight.answer()` as a line of JSON. The crew waits for one line, {"environ": {...}},
before any role works, and keeps them alive until it is told to end. At the end of its input without such a line it ends.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import orjson

from bakehouse_worker.local import tether
from bakehouse_worker.local.forking import Forked
from bakehouse_worker.local.supervise import GRACE, IDLE_GRACE, Child, Supervisor

ROLES = ("control", "transfer", "deliver", "beat")
#: What all roles need, beside the stations.
NEEDED = (
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.events",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "bakehouse_worker.beat",
    "bakehouse_worker.tasks",
    "bakehouse_worker.worker",
)
#: Tells a crew to end that has nothing in work, and need not wait for its roles to end as they should.
IDLE = signal.SIGUSR1
#: Seconds between two looks at the roles.
LOOK = 0.1


class Crew(Child):
    """The crew as a supervisor's child. `call` it early: it imports, and asks, while its caller does something else."""

    def __init__(self, home: Path, *, asking: bool = False) -> None:
        self._asking = ["--ask"] if asking else []
        self._called: subprocess.Popen[bytes] | None = None
        argv = [sys.executable, "-m", "bakehouse_worker.local.crew"]
        super().__init__("crew", argv, {**os.environ, "BAKEHOUSE_DATA_DIR": str(home)}, home / "logs" / "crew.log")

    def call(self) -> None:
        """Let it import, and ask the API who we are if that was wanted."""
        assert self.log is not None  # noqa: S101
        with self.log.open("ab") as output:
            self._called = subprocess.Popen(
                [*self.argv, *self._asking],
                env=dict(self.env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                preexec_fn=tether.to_parent(),
            )

    def answer(self) -> bytes:
        """Return what the API said of who we are; nothing if it could not be asked."""
        if self._called is None or self._called.stdout is None:
            return b""
        return self._called.stdout.readline()

    def start(self) -> None:
        """Let it start the roles, with the environment as it is now."""
        if self._called is None or self._called.poll() is not None:
            self._asking = []
            self.call()
        called, self._called = self._called, None
        assert called is not None  # noqa: S101
        assert called.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it has ended; its supervisor starts another
            called.stdin.write(orjson.dumps({"environ": dict(self.env)}) + b"\n")
            called.stdin.close()
        if called.stdout is not None:
            called.stdout.close()
        self.process, self.started = called, time.monotonic()

    def dismiss(self) -> None:
        """End it if it was called and never started."""
        if self._called is not None:
            self._called.kill()
            self._called.wait()
            self._called = None


@contextmanager
def called(home: Path, *, asking: bool) -> Iterator[Crew]:
    """Call a crew, and end it if nobody has started it meanwhile."""
    crew = Crew(home, asking=asking)
    crew.call()
    try:
        yield crew
    finally:
        crew.dismiss()


class Role(Child):
    """One role as a supervisor's child, forked out of this process: when it is started, or before."""

    def __init__(self, name: str, log: Path, forked: Forked | None = None) -> None:
        super().__init__(name, (), {}, log)
        self._work = partial(work, name, log)
        self._forked = forked

    def start(self) -> None:
        """Fork it, unless it is there and waits."""
        self.process, self._forked = self._forked or Forked(self._work), None
        self.started = time.monotonic()


def imports() -> None:
    """Import what all roles need, the stations among it; no connection and no thread may be there when they are forked."""
    from bakehouse_worker import worker
    from bakehouse_worker.app import ROUTES

    for name in NEEDED:
        importlib.import_module(name)
    for task in ROUTES:
        if task != "bakehouse.tick":
            importlib.import_module(f"bakehouse_worker.{task.removeprefix('bakehouse.')}")
    worker.collect_seldom()


def work(name: str, log: Path) -> None:
    """Be a role until it ends; what `bakehouse worker --queues NAME` and `bakehouse beat` do."""
    tether.name_this(name)
    for number in (signal.SIGTERM, signal.SIGINT, IDLE):
        signal.signal(number, signal.SIG_DFL)
    into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(into, 1)
    os.dup2(into, 2)
    if name == "beat":
        from bakehouse_worker.app import app

        app.Beat(loglevel="INFO", quiet=True).run()
    else:
        from bakehouse_worker.worker import start

        start(name, None)


def _first_transfer() -> tuple[Forked, int]:
    """Fork the role that has most to import, to wait for its word in a pipe; it alone answers for this process."""
    source, sink = os.pipe()

    def live() -> None:
        os.close(sink)
        with os.fdopen(source, "rb") as word:
            _transfer("--ask" in sys.argv, word)

    waiting = Forked(live)
    os.close(source)
    _to_nowhere(1)
    return waiting, sink


def _transfer(asking: bool, word: BinaryIO) -> None:
    """Import the SDK, ask who we are if that is wanted, and work when the word comes."""
    importlib.import_module("bakehouse_worker.gateway")
    if asking:
        from bakehouse_worker.preflight import answer

        sys.stdout.buffer.write(orjson.dumps(answer()) + b"\n")
        sys.stdout.buffer.flush()
    if line := word.readline():
        work("transfer", _begin(line))


def _begin(line: bytes) -> Path:
    """Take the environment that a crew was told, let go of its pipes, and return the log of `transfer`."""
    os.environ.update(orjson.loads(line)["environ"])
    _to_nowhere(0, 1)
    return Path(os.environ["BAKEHOUSE_DATA_DIR"]) / "logs" / "transfer.log"


def _to_nowhere(*numbers: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(null, number)
    os.close(null)


class _Ended(Exception):
    """This process was told to end, by this signal."""


def _end(number: int, _frame: FrameType | None) -> None:
    raise _Ended(number)


def main() -> None:
    """Import, ask if that is wanted, and keep the roles alive from the word to start until the word to end."""
    imports()
    waiting, sink = _first_transfer()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    with suppress(BrokenPipeError):  # it has ended, and is started like the others
        os.write(sink, line)
    os.close(sink)
    log = _begin(line)
    supervisor = Supervisor()
    try:
        for number in (signal.SIGTERM, IDLE):
            signal.signal(number, _end)
        for name in ROLES:
            supervisor.start(Role(name, log.with_name(f"{name}.log"), waiting if name == "transfer" else None))
        while True:
            supervisor.tend()
            time.sleep(LOOK)
    except _Ended as ended:
        for number in (signal.SIGTERM, IDLE):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop(IDLE_GRACE if ended.args[0] == IDLE else GRACE)


if __name__ == "__main__":
    main()
