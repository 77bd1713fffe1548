"""Points at which a process ends or freezes when told: before and after every commit of every task.

A point is `station:side:verb:count`, such as `submit:after:submissions.closing:1`: the first commit of that verb in one run of the
station's task. Nobody lists them; a process notes each one that it passes, so a new commit brings its own points along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from celery import signals
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

BEFORE, AFTER = "before", "after"
EXIT, FREEZE = "exit", "freeze"
#: Later commits of the same verb in one run are like the second.
MOST = 2
STORE = f"{os.sep}bakehouse_worker{os.sep}store{os.sep}"


class Board:
    """A directory through which a test and the processes speak: what is armed, what has fired, what was passed."""

    def __init__(self, home: Path) -> None:
        self.armed, self.fired, self.passed = home / "armed", home / "fired", home / "passed"
        for folder in (self.armed, self.fired, self.passed):
            folder.mkdir(parents=True, exist_ok=True)
        self._noted: set[str] = set()

    def arm(self, point: str, how: str) -> None:
        """Let the next process that comes to this point end or freeze there; one process, once."""
        (self.armed / point).write_text(how)

    def strikes(self) -> dict[str, tuple[str, str, int]]:
        """What has fired: {strike: (how, point, process)}."""
        found = {}
        for file in self.fired.iterdir():
            point, _, process = file.name.partition("~")
            if how := file.read_text():  # it stands there when the process is about to end
                found[file.name] = (how, point, int(process.partition(".")[0]))
        return found

    def points(self) -> list[str]:
        """All points that some process has passed."""
        return sorted(file.name for file in self.passed.iterdir())

    def come_to(self, point: str) -> None:
        """Note the point, and end or freeze if that was wanted."""
        if point not in self._noted:
            self._noted.add(point)
            (self.passed / point).touch()
        armed, mine = self.armed / point, self.armed / f"{point}~{os.getpid()}.{time.monotonic_ns()}"
        with contextlib.suppress(FileNotFoundError):
            armed.rename(mine)  # one process wins
            how = mine.read_text()
            mine.rename(self.fired / mine.name)
            if how == FREEZE:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                os._exit(137)


class Here(threading.local):
    """Where this thread is: in which station's task, and how often each verb has committed in it."""

    def __init__(self) -> None:
        self.station = "lease" if threading.current_thread().name.startswith("lease of batch") else ""
        self.counts: Counter[str] = Counter()
        self.point = ""

    def enter(self, station: str) -> None:
        self.station, self.counts = station, Counter()


def install(home: Path) -> Board:
    """Listen to tasks and commits in this process and in those that it forks."""
    board, here = Board(home), Here()
    commit = DefaultDialect.do_commit

    def committed(dialect: Any, connection: Any) -> None:
        commit(dialect, connection)
        if here.point:
            board.come_to(here.point.replace(BEFORE, AFTER, 1))
            here.point = ""

    @event.listens_for(Engine, "commit")
    def committing(connection: Any) -> None:
        writes = connection.get_execution_options().get("bakehouse_begin") == "IMMEDIATE"
        if not (here.station and writes):
            return
        verb = _verb(sys._getframe())
        here.counts[verb] += 1
        if here.counts[verb] <= MOST:
            here.point = f"{here.station}:{BEFORE}:{verb}:{here.counts[verb]}"
            board.come_to(here.point)

    DefaultDialect.do_commit = committed  # type: ignore[method-assign]
    signals.task_prerun.connect(
        lambda task, **_: here.enter(task.name.removeprefix("bakehouse.")), weak=False, dispatch_uid="chaos in"
    )
    signals.task_postrun.connect(lambda **_: here.enter(""), weak=False, dispatch_uid="chaos out")
    return board


def _verb(frame: FrameType | None) -> str:
    """The store's function that commits, as `submissions.closing`."""
    while frame is not None:
        path = frame.f_code.co_filename
        if STORE in path and not path.endswith("database.py"):
            return f"{Path(path).stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "unknown"
