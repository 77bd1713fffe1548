"""The processes of one scenario, and their supervisor: a role that died is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from chaos.services import Services

ROLES = {role: ["worker", "--queues", role] for role in ("control", "transfer", "deliver")} | {"beat": ["beat"]}
#: Seconds before a role that died is started again.
PAUSE = 0.2


class Crew:
    """control, transfer, deliver and beat as real processes, each in a session of its own."""

    def __init__(self, services: Services, home: Path, env: dict[str, str]) -> None:
        self._services, self._home, self._env = services, home, env
        self._running: dict[str, Any] = {}
        self._died: dict[str, float] = {}
        self.starts = 0

    def start(self) -> None:
        for role in ROLES:
            self._start(role)

    def _start(self, role: str) -> None:
        self._running[role] = self._services.fork(ROLES[role], self._env, self._home, self._home / f"{role}.log")
        self.starts += 1

    def tend(self) -> None:
        """Start again what has died."""
        for role, process in self._running.items():
            if process.is_alive():
                continue
            died = self._died.setdefault(role, time.monotonic())
            if time.monotonic() - died > PAUSE:
                self._signal(role, signal.SIGKILL)  # what its pool left
                del self._died[role]
                self._start(role)

    def kill(self, role: str) -> None:
        """End a role and its pool at once and without notice."""
        self._signal(role, signal.SIGKILL)

    def freeze(self, role: str) -> None:
        self._signal(role, signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        self._signal(role, signal.SIGCONT)

    def command(self, *words: str, limit: float = 30.0) -> int | None:
        """Run a command to its end; returns its exit code, None if it did not end."""
        process = self._services.fork(list(words), self._env, self._home, self._home / f"{words[0]}.log")
        process.join(limit)
        if process.is_alive():
            process.kill()
        code: int | None = process.exitcode
        return code

    def end(self) -> None:
        for role, process in self._running.items():
            self._signal(role, signal.SIGKILL)
            process.join(10)

    def _signal(self, role: str, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running[role].pid, number)
