"""Starts child processes, restarts one that dies, and stops them all. Celery workers do exit on some broker failures."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bakehouse_worker.local import tether

#: Seconds between a child's death and its restart: doubles with each death in a row, up to the cap.
RESTART, RESTART_CAP = 0.5, 30.0
#: A child that lived this many seconds starts its count of deaths anew.
HEALTHY = 30.0
#: Seconds that children have to finish what they are doing before they are killed.
GRACE = 10.0
#: The same for workers without work in hand: how long it takes them to end by themselves.
IDLE_GRACE = 0.3


class Process(Protocol):
    """What a supervisor needs of a process, spawned or forked."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, if it runs."""

    def kill(self) -> None:
        """End it at once."""


@dataclass
class Child:
    """One process to keep alive. Its output goes to a log file, or where its parent's goes if there is none."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path | None
    process: Process | None = None
    deaths: int = 0
    started: float = 0.0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, so that a terminal's Ctrl-C reaches the supervisor alone."""
        with nullcontext() if self.log is None else self.log.open("ab") as output:
            self.process = subprocess.Popen(
                list(self.argv),
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tether.to_parent(),
            )
        self.started = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """Keeps children alive for as long as `tend()` is called. No threads: whoever waits for something tends meanwhile."""

    children: list[Child] = field(default_factory=list)
    restarts: int = 0

    def start(self, child: Child) -> None:
        """Start a child and keep it."""
        child.start()
        self.children.append(child)

    def tend(self) -> None:
        """Restart children that died, with backoff."""
        now = time.monotonic()
        for child in self.children:
            if child.alive:
                continue
            if not child.restart_at:
                child.deaths = 1 if now - child.started > HEALTHY else child.deaths + 1
                child.restart_at = now + min(RESTART_CAP, RESTART * 2 ** (child.deaths - 1))
            elif now >= child.restart_at:
                child.restart_at = 0.0
                child.start()
                self.restarts += 1

    def stop(self, grace: float = GRACE) -> None:
        """Ask all children to end, the last started first, and kill those that do not within `grace` seconds."""
        doomed = list(reversed(self.children))
        self.children.clear()
        for child in doomed:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in doomed:
            if child.process is not None:
                try:
                    child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    _kill_session(child)
                    child.process.wait()


def _signal(child: Child, number: int) -> None:
    if child.process is not None and child.alive:
        child.process.send_signal(number)


def _kill_session(child: Child) -> None:
    if child.process is not None:
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            child.process.kill()
