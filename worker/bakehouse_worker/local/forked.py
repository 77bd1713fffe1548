"""One stack, forked out of a warm process: its leader runs server, emulator and roles in one process group, and minds them.

What a role is otherwise started with (`bakehouse worker --queues control`, ...) is done here by function call, in a fork.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from bakehouse import ConfigurationError
from bakehouse_worker import health
from bakehouse_worker.local import embedded, tether
from bakehouse_worker.local.crew import ROLES, work
from bakehouse_worker.local.forking import Forked, Reply
from bakehouse_worker.local.home import prepare_home

#: Seconds in which everything must be up, and between two looks whether it is.
LIMIT, LOOK = 60.0, 0.02
#: A role that ends within so many seconds of its start is not started again.
EARLY = 2.0


def end(leader: int) -> None:
    """Kill a leader's whole group, and wait until the last of it is gone: its orphans are given to this process."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(leader, signal.SIGKILL)
    for which in (leader, -leader):
        with suppress(ChildProcessError):
            while True:
                os.waitpid(which, 0)


class ForkedStack:
    """One stack. `live` runs in a process of its own, which leads the group and stays until it is killed."""

    def __init__(self, home: Path, template: Path, environ: dict[str, str], path: Sequence[str], cwd: str) -> None:
        self._home, self._template = home, template
        self._environ, self._path, self._cwd = environ, path, cwd
        self._tools: dict[int, str] = {}
        self._roles: dict[int, tuple[str, float]] = {}
        self._imports = os.environ.get("PYTHONPATH", "")

    def live(self, reply: Reply) -> None:
        """Start everything, say where it is, and start anew what dies."""
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        home = prepare_home(self._home)
        shutil.copyfile(self._template, home / "bakehouse.sqlite")
        self._become()
        api = self._emulator()
        server, url = embedded.server(home)
        server.process = self._tool("redis", server.argv)
        embedded.wait_until_ready(server, url)
        embedded.announce(home, url)
        os.environ["BAKEHOUSE_REDIS_URL"] = url
        for name in ROLES:
            self._role(name)
        self._wait_until_ready(api)
        reply({"redis": url, "api": f"http://127.0.0.1:{api}"})
        self._mind()

    def _become(self) -> None:
        """Take the test's surroundings: its environment, its directory, and what it can import."""
        os.environ.clear()
        os.environ.update(self._environ)
        os.chdir(self._cwd)
        sys.path[:] = self._path
        importlib.invalidate_caches()

    def _emulator(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        os.environ["ANTHROPIC_BASE_URL"] = f"http://127.0.0.1:{port}"
        words = ["--port", str(port), "--batch-seconds", "0", "--quiet"]
        self._tool("emulator", [sys.executable, "-P", "-m", "bakehouse_emulator", *words])
        return port

    def _tool(self, name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._home / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(argv),
                env={**os.environ, "PYTHONPATH": self._imports},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=tether.to_parent(),
            )
        self._tools[process.pid] = name
        return process

    def _role(self, name: str) -> None:
        role = Forked(lambda: _work(name, self._home / "logs" / f"{name}.log"))
        self._roles[role.pid] = (name, time.monotonic())

    def _wait_until_ready(self, port: int) -> None:
        deadline, names = time.monotonic() + LIMIT, [name for name in ROLES]
        while not (_listens(port) and all(verdict.ready for verdict in health.examine(self._home, names))):
            if ended := self._ended():
                raise ConfigurationError(f"{ended} ended at its start")
            if time.monotonic() > deadline:
                raise ConfigurationError(f"it is not up after {LIMIT:g} seconds")
            time.sleep(LOOK)

    def _ended(self) -> str | None:
        with suppress(ChildProcessError):
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                return self._tools.get(pid) or self._roles[pid][0]
        return None

    def _mind(self) -> None:
        """Start roles anew that die, as a supervisor would; the server and the emulator are never to die."""
        while True:
            pid, _ = os.wait()
            name, started = self._roles.pop(pid, ("", 0.0))
            if name and time.monotonic() - started > EARLY:
                self._role(name)


def _work(name: str, log: Path) -> None:
    """Be a role until it ends."""
    if name == "deliver":
        _show_tracebacks(log.with_name("handlers.jsonl"))
    work(name, log)


def _show_tracebacks(into: Path) -> None:
    """Write down what handlers raise, for the test's author: logs hold no such thing, because it may quote content."""
    from bakehouse_worker import deliver

    note, ours = deliver._failed, str(Path(deliver.__file__).parent)

    def failed(turn: Any, parcels: Sequence[Any], error: BaseException) -> None:
        at = error.__traceback__
        while at is not None and at.tb_frame.f_code.co_filename.startswith(ours):
            at = at.tb_next
        raised = "".join(traceback.format_exception(type(error), error, at))
        with into.open("ab") as file:
            file.write(orjson.dumps({"handler": parcels[0].sink, "traceback": raised}) + b"\n")
        note(turn, parcels, error)

    deliver._failed = failed


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
