"""The process that stacks come from: started for the first test that wants one, it imports everything once, and forks.

It is the workers' own code (`bakehouse_worker.local.warm`), spoken to by one JSON object a line: nothing of it is imported here. It
ends with its standard input, so with this process however that ends, and on Linux all of its children end with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

#: Seconds until it must have imported everything, until a stack must be up, and until it must have ended.
IMPORT_LIMIT, START_LIMIT, STOP_LIMIT = 120.0, 90.0, 30.0
#: Lines of a log that an error shows.
TAIL = 30
_NEEDED = ("celery", "sqlmodel", "anthropic", "typer", "starlette", "uvicorn")


class StackUnavailable(Exception):
    """The stack cannot be had: one sentence says why, and the end of its logs follows."""


class Warm:
    """One such process, for a test session. `with Warm() as warm`: nothing is started before the first `start()`."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stacks = 0

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, environ: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
        """Start a stack on a fresh data directory; returns that, and where its Redis and its emulator are.

        Raises StackUnavailable, in which the stack's logs are, if it does not come up.
        """
        if self._process is None or self._process.poll() is not None:
            self._begin()
        self._stacks += 1
        home = self._place() / str(self._stacks)
        order = {
            "do": "start",
            "home": str(home),
            "environ": {**environ, "BAKEHOUSE_DATA_DIR": str(home)},
            "path": [entry or str(Path.cwd()) for entry in sys.path],
            "cwd": str(Path.cwd()),
        }
        return home, self._ask(order, START_LIMIT, home / "logs")

    def drain(self, seconds: float) -> dict[str, Any]:
        """Wait until the stack is idle; returns {"idle", "failed", "told"}."""
        return self._ask({"do": "drain", "seconds": seconds}, seconds + START_LIMIT, self._place())

    def stop(self) -> None:
        """End the stack, and all that it holds."""
        if self._process is not None and self._process.poll() is None:
            self._ask({"do": "stop"}, STOP_LIMIT, self._place())

    def end(self) -> None:
        """End the process and whatever it started."""
        if self._process is not None:
            assert self._process.stdin is not None  # noqa: S101
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None  # noqa: S101
            self._process.stdout.close()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _place(self) -> Path:
        if self._folder is None:
            # not pytest's own directory, whose path may be too long for a unix socket
            self._folder = Path(tempfile.mkdtemp(prefix="bakehouse-test-"))
        return self._folder

    def _begin(self) -> None:
        self.end()
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise StackUnavailable(f"{missing[0]} is not installed: pip install 'bakehouse[worker,embedded,emulator]'")
        place = self._place()
        with (place / "warm.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bakehouse_worker.local.warm", str(place)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._answer(IMPORT_LIMIT, place)

    def _ask(self, order: Mapping[str, Any], limit: float, logs: Path) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError):  # it has ended: there will be no answer
            self._process.stdin.write(orjson.dumps(order) + b"\n")
            self._process.stdin.flush()
        return self._answer(limit, logs)

    def _answer(self, limit: float, logs: Path) -> dict[str, Any]:
        line = self._line(limit)
        if line is None:
            self._kill()
            raise StackUnavailable(_told(f"the test's Bakehouse stack said nothing for {limit:g} seconds", logs))
        answer: dict[str, Any] = orjson.loads(line or b'{"error": "its process ended"}')
        if "error" in answer:
            raise StackUnavailable(_told(f"the test's Bakehouse stack did not come up: {answer['error']}", logs))
        return answer

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _line(self, limit: float) -> bytes | None:
        """Read one line; empty at the end of the output, None if none comes in time."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        found, deadline = b"", time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                read = os.read(self._process.stdout.fileno(), 65_536)
                if not read:
                    return b""
                found += read
        return found


def tail(logs: Path, names: Collection[str] = ()) -> str:
    """Return the last lines of the logs in a directory that have any, each under its name; only of these names, if some are given."""
    parts = []
    for log in sorted(logs.glob("*.log")):
        wanted = not names or log.stem in names
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:] if wanted else []
        if last:
            parts.append("\n".join([f"--- {log.name}", *last]))
    return "\n".join(parts)


def _told(sentence: str, logs: Path) -> str:
    found = tail(logs) or tail(logs.parent.parent)
    return f"{sentence}\n{found}" if found else sentence
