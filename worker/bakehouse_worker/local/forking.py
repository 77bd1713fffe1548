"""Children forked out of a process that has imported what they need: they share its memory, and are there within milliseconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import orjson

from bakehouse import BakehouseError
from bakehouse_worker.local import tether

Reply = Callable[[dict[str, Any]], None]

#: Seconds between two looks whether a child has ended.
LOOK = 0.01


class Forked:
    """A child of this process that runs a function and ends with it; for a supervisor it is like one that was spawned."""

    def __init__(self, live: Callable[[], None]) -> None:
        tie = tether.to_parent()
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _in_child(tie, live)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked child", timeout or 0.0)
            time.sleep(LOOK)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: its id may be another's by now."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def fork(live: Callable[[Reply], None]) -> tuple[BinaryIO, int]:
    """Run a function in a child that dies with this process; returns the pipe that it answers into, once, and its id."""
    source, sink = os.pipe()

    def reply(told: dict[str, Any]) -> None:
        os.write(sink, orjson.dumps(told) + b"\n")

    def answer() -> None:
        os.close(source)
        try:
            live(reply)
        except BakehouseError as error:
            reply({"error": str(error)})

    pid = Forked(answer).pid
    os.close(sink)
    return os.fdopen(source, "rb"), pid


def read(reader: BinaryIO) -> dict[str, Any]:
    """Return what a child answers."""
    told: dict[str, Any] = orjson.loads(reader.readline() or b'{"error": "it ended without a word"}')
    return told


def ask(live: Callable[[Reply], None]) -> dict[str, Any]:
    """Run a function in a child to its end, and return what it answered."""
    reader, pid = fork(live)
    with reader:
        told = read(reader)
    os.waitpid(pid, 0)
    return told


def _in_child(tie: Callable[[], None] | None, live: Callable[[], None]) -> NoReturn:
    """Be a forked child: tied to its parent, and never back in its parent's code."""
    code = 1
    try:
        if tie is not None:
            tie()
        live()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
